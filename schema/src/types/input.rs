//! What is written: inputs to create and update, keys, and links to other objects.

use std::sync::Arc;

use klio_entities::klass::filter::ContactKind;
use klio_entities::klass::property::Writable;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Klass, Property};

use super::model::{Argument, InputMeaning, Name, Text};
use super::{Builder, describe, has_link_properties, input, is_standard, kinds, list, names, operators, req, t};

impl Builder<'_> {
    /// `CreateOrderInput`, `UpdateOrderInput`, `UpsertOrderInput`, `OrderKey`, `OrderLink`, `OrderLinks`.
    pub(super) fn inputs(&mut self, klass: &Arc<Klass>) {
        let name = &klass.legal.type_name;
        let create_name = format!("Create{name}Input");
        let update_name = format!("Update{name}Input");
        let key_name = names::of_klass(klass, "Key");
        let mut create = input(&create_name, Some(klass), format!("A new object of klass `{}`.", klass.name));
        let mut update = input(
            &update_name,
            Some(klass),
            format!("Changes to an object of klass `{}`: what is absent stays, null clears.", klass.name),
        );
        create.fields.reserve(klass.properties.len() + klass.ends.len());
        update.fields.reserve(klass.properties.len() + klass.ends.len());
        for property in &klass.properties {
            if property.writable == Writable::Never {
                continue;
            }
            let ty = kinds::value(&property.kind, name, &property.legal);
            let given = Argument {
                deprecated: property.deprecated.clone().map(Into::into),
                ..Argument::new(
                    &property.legal,
                    ty.clone(),
                    InputMeaning::Value(Arc::clone(property)),
                    value_text(property),
                )
            };
            if property.writable == Writable::Always {
                self.put_input(&mut update, given.clone());
            }
            // A unique one may come from an upsert's key; system ones are made by the gateway when they are absent.
            let must = property.required && property.default.is_none() && !property.unique && !property.system;
            let ty = if must { ty.required() } else { ty };
            self.put_input(&mut create, Argument { ty, ..given });
        }
        for end in &klass.ends {
            if let Some(field) = self.links_field(klass, end) {
                self.put_input(&mut update, field.clone());
                self.put_input(&mut create, field);
            }
        }
        for property in &klass.properties {
            for alias in &property.aliases {
                for into in [&mut create, &mut update] {
                    // The old name of a required one stays optional, and with it the new one: either may be given.
                    let Some(there) = into.fields.get_mut(&property.legal) else {
                        continue;
                    };
                    there.ty = there.ty.nullable().clone();
                    let old = Argument {
                        name: Name::from(&alias.legal),
                        deprecated: Some(alias.reason.clone().into()),
                        ..there.clone()
                    };
                    into.fields.entry(old.name.clone()).or_insert(old);
                }
            }
        }
        self.add_input(create);
        self.add_input(update);
        self.key_input(klass, &key_name);

        let mut upsert = input(
            format!("Upsert{name}Input"),
            Some(klass),
            "A change of the object with this key if there is one, a new one otherwise.",
        );
        operators::insert(&mut upsert, upsert_fields(&key_name, &create_name, &update_name));
        self.add_input(upsert);
        self.link_inputs(klass, &key_name, &create_name);
    }

    fn key_input(&mut self, klass: &Arc<Klass>, key_name: &str) {
        let mut key = input(
            Name::of(key_name),
            Some(klass),
            "One object, by exactly one key. (An upsert takes no `id`: it could not make one with it.)",
        );
        key.one_of = true;
        operators::insert(&mut key, key_args(klass));
        self.add_input(key);
    }

    /// `OrderLink` (to-one ends) and `OrderLinks` (to-many ends) are shared by all relationships to a klass whose links carry no properties.
    fn link_inputs(&mut self, klass: &Arc<Klass>, key: &str, create: &str) {
        let upsert = format!("Upsert{}Input", klass.legal.type_name);
        let mut one = input(
            names::of_klass(klass, "Link"),
            Some(klass),
            "The object at a to-one end: exactly one of these.",
        );
        one.one_of = true;
        operators::insert(
            &mut one,
            vec![
                Argument::plain(
                    "connect",
                    t(Name::of(key)),
                    "Ties to one that exists; it replaces whatever was tied.",
                ),
                Argument::plain("create", t(Name::of(create)), "Makes one and ties to it."),
                Argument::plain("upsert", t(&upsert), "Makes or changes one and ties to it."),
                Argument::plain("disconnect", t("Boolean"), "`true`: unties. The object itself stays."),
            ],
        );
        self.add_input(one);
        let mut many = input(
            names::of_klass(klass, "Links"),
            Some(klass),
            "Changes at a to-many end: all of them are made.",
        );
        operators::insert(
            &mut many,
            vec![
                Argument::plain("connect", list(Name::of(key)), "Ties to these, which exist."),
                Argument::plain("create", list(Name::of(create)), "Makes these and ties to them."),
                Argument::plain("upsert", list(&upsert), "Makes or changes these and ties to them."),
                Argument::plain("disconnect", list(Name::of(key)), "Unties these. The objects themselves stay."),
            ],
        );
        self.add_input(many);
    }

    /// The field of an end in the inputs of its klass.
    fn links_field(&mut self, klass: &Arc<Klass>, end: &Arc<End>) -> Option<Argument> {
        let far = self.far(end);
        let ty = match far.as_slice() {
            [] => return None,
            [only] if !end.is_polymorphic() => self.links_type(klass, end, only),
            _ => {
                // A field for each klass that may stand there.
                let suffix = if end.cardinality == Cardinality::One { "Link" } else { "Links" };
                let mut out = input(names::of_end(klass, end, suffix), None, "By klass.");
                out.one_of = end.cardinality == Cardinality::One;
                for there in &far {
                    let ty = self.links_type(klass, end, there);
                    let field = Argument::new(
                        &there.legal.field,
                        t(ty),
                        InputMeaning::LinkKlass(Arc::clone(there)),
                        format!("Where an object of klass `{}` stands at the end.", there.name),
                    );
                    self.put_input(&mut out, field);
                }
                let name = String::from(&out.name);
                self.add_input(out);
                name
            }
        };
        let text: Text = match &end.description {
            Some(text) => text.clone().into(),
            None => "Ties to other objects.".into(),
        };
        let text = if end.relationship.required
            && end.cardinality == Cardinality::One
            && end.side == klio_entities::klass::relationship::Side::From
        {
            format!("{text} Required, unless the object is created through the other end.").into()
        } else {
            text
        };
        Some(Argument {
            deprecated: end.deprecated.clone().map(Into::into),
            ..Argument::new(&end.legal, t(ty), InputMeaning::Links(Arc::clone(end)), text)
        })
    }

    /// The input that holds `connect create upsert disconnect` at an end, for one far klass.
    fn links_type(&mut self, klass: &Arc<Klass>, end: &Arc<End>, far: &Arc<Klass>) -> String {
        if !has_link_properties(end) {
            return names::of_klass(far, if end.cardinality == Cardinality::One { "Link" } else { "Links" });
        }
        let make = |suffix: &str| link_name(klass, end, far, suffix);
        let (key, name) = (names::of_klass(far, "Key"), &far.legal.type_name);
        let link_input = make("LinkInput");
        let mut properties = input(&link_input, None, "The properties of a link: what is absent stays, null clears.");
        let owner = names::of_end(klass, end, "");
        for property in &end.relationship.properties {
            if property.writable == Writable::Never {
                continue;
            }
            let ty = kinds::value(&property.kind, &owner, &property.legal);
            let field = Argument {
                deprecated: property.deprecated.clone().map(Into::into),
                ..Argument::new(
                    &property.legal,
                    ty,
                    InputMeaning::LinkValue(Arc::clone(property)),
                    value_text(property),
                )
            };
            self.put_input(&mut properties, field);
        }
        for property in &end.relationship.properties {
            for alias in &property.aliases {
                let Some(there) = properties.fields.get(&property.legal) else {
                    continue;
                };
                let old = Argument {
                    name: Name::from(&alias.legal),
                    deprecated: Some(alias.reason.clone().into()),
                    ..there.clone()
                };
                properties.fields.entry(old.name.clone()).or_insert(old);
            }
        }
        let link = || Argument::plain("link", t(&link_input), "The properties of the link.");
        let mut add = |name: String, text: &'static str, mut fields: Vec<Argument>| {
            fields.push(link());
            let mut it = input(&name, Some(far), text);
            operators::insert(&mut it, fields);
            self.add_input(it);
            name
        };
        let connect = add(
            make("Connect"),
            "Ties to an object that exists; again: changes the link.",
            vec![Argument::plain("key", req(&key), "Which.")],
        );
        let create = add(
            make("Create"),
            "Makes an object and ties to it.",
            vec![Argument::plain("object", req(format!("Create{name}Input")), "The object.")],
        );
        let upsert = add(
            make("Upsert"),
            "Makes or changes an object and ties to it.",
            upsert_fields(&key, &format!("Create{name}Input"), &format!("Update{name}Input")),
        );
        self.add_input(properties);
        let mut out = input(make("Links"), Some(far), "Changes at a to-many end: all of them are made.");
        operators::insert(
            &mut out,
            vec![
                Argument::plain("connect", list(connect), "Ties to these, which exist."),
                Argument::plain("create", list(create), "Makes these and ties to them."),
                Argument::plain("upsert", list(upsert), "Makes or changes these and ties to them."),
                Argument::plain("disconnect", list(key), "Unties these. The objects themselves stay."),
            ],
        );
        let name = String::from(&out.name);
        self.add_input(out);
        name
    }
}

/// The input types that one end and one far klass bring: `OrderProductsConnect`.
pub(super) fn link_name(klass: &Klass, end: &End, far: &Klass, suffix: &str) -> String {
    let tail = if end.is_polymorphic() { far.legal.type_name.as_str() } else { "" };
    names::of_end(klass, end, &[tail, suffix].concat())
}

/// `id`, every unique property, a customer's contact points.
pub(super) fn key_args(klass: &Klass) -> Vec<Argument> {
    let mut args: Vec<Argument> = klass
        .properties
        .iter()
        .filter(|p| p.unique && !p.sensitive)
        .filter_map(|p| {
            let ty = match p.kind.item() {
                klio_entities::klass::Kind::Enum(it) => kinds::enum_name(it, &klass.legal.type_name, &p.legal),
                kind => kinds::scalar(kind)?.to_owned(),
            };
            let text = if p.legal == "id" {
                Text::Borrowed("Its id.")
            } else {
                describe(p, "A unique property.")
            };
            Some(Argument::new(&p.legal, t(ty), InputMeaning::Key(Arc::clone(p)), text))
        })
        .collect();
    if is_standard(klass, "customer") {
        for (name, kind, text) in [
            ("email", ContactKind::Email, "An e-mail address that identifies the customer."),
            ("phone", ContactKind::Phone, "A telephone number that identifies the customer."),
            (
                "contactExternalId",
                ContactKind::ExternalId,
                "One of the customer's ids in other systems (`externalIds`).",
            ),
        ] {
            if !args.iter().any(|a| a.name == name) {
                args.push(Argument::new(name, t("String"), InputMeaning::ContactKey(kind), text));
            }
        }
    }
    args
}

/// `key create update`.
pub(super) fn upsert_fields(key: &str, create: &str, update: &str) -> Vec<Argument> {
    vec![
        Argument::plain(
            "key",
            req(Name::of(key)),
            "Which: `externalId`, a unique property or a contact point.",
        ),
        Argument::plain("create", req(Name::of(create)), "If there is none. The key need not be repeated."),
        Argument::plain("update", req(Name::of(update)), "If there is one."),
    ]
}

/// What a value is for, with what is asked of it.
fn value_text(property: &Property) -> Text {
    let text = describe(property, "A property of the klass.");
    let rules = &property.validation;
    let mut more = String::new();
    if property.required && property.default.is_none() && !property.system {
        more.push_str(" Required.");
    }
    if property.unique {
        more.push_str(" Unique.");
    }
    match (rules.min_length, rules.max_length) {
        (Some(min), Some(max)) => more.push_str(&format!(" Length: {min} to {max}.")),
        (Some(min), None) => more.push_str(&format!(" Length: at least {min}.")),
        (None, Some(max)) => more.push_str(&format!(" Length: at most {max}.")),
        (None, None) => {}
    }
    if let Some(pattern) = &rules.pattern {
        more.push_str(&format!(" Matches `{pattern}`."));
    }
    if let Some(format) = rules.format {
        more.push_str(&format!(" Format: {}.", format.name()));
    }
    if more.is_empty() { text } else { format!("{text}{more}").into() }
}
