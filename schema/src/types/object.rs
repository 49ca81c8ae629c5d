//! The object type of a klass, its connection and its edge; connections of relationships whose links carry properties.

use std::sync::Arc;

use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Klass, Property};

use super::model::{Argument, Field, Meaning, Name, Text, Type, TypeRef, UnionType};
use super::{Builder, base, describe, has_link_properties, is_standard, kinds, list, list_req, names, object, req, t};

impl Builder<'_> {
    pub(super) fn object_type(&mut self, klass: &Arc<Klass>) {
        let name = &klass.legal.type_name;
        let about: Text = match (&klass.description, &klass.display_name) {
            (Some(text), _) => text.clone().into(),
            (None, Some(label)) => format!("{label}.").into(),
            (None, None) => format!("An object of klass `{}`.", klass.name).into(),
        };
        let mut out = object(name, about);
        out.klass = Some(Arc::clone(klass));
        out.fields.reserve(klass.properties.len() + klass.ends.len() + 3);
        out.implements = vec!["Node".into(), "Object".into()];
        if !klass.standard {
            out.implements.push("KObject".into());
        }
        for property in &klass.properties {
            self.legal(&property.legal, || format!("The name of property `{}`", property.name));
            self.kind_types(klass, property);
            let field = property_field(klass, property);
            self.put(&mut out, field);
        }
        self.put(&mut out, Field::new("klass", req("Klass"), Meaning::KlassOf, "Its klass."));
        self.put(
            &mut out,
            Field::new("title", req("String"), Meaning::Title, "How it is named for people."),
        );
        if is_standard(klass, "customer") {
            let field = super::timeline::field(self.registry);
            self.put(&mut out, field);
        }
        for end in &klass.ends {
            self.legal(&end.legal, || format!("The name of the end `{}` of a relationship", end.legal));
            for field in self.end_fields(klass, end) {
                self.put(&mut out, field);
            }
        }
        // Old names last, and only where no living name has taken theirs.
        for property in &klass.properties {
            for alias in &property.aliases {
                if !out.fields.contains_key(&alias.legal) {
                    let mut field = property_field(klass, property);
                    field.name = Name::from(&alias.legal);
                    field.deprecated = Some(alias.reason.clone().into());
                    out.fields.insert(field.name.clone(), field);
                }
            }
        }
        for end in &klass.ends {
            for alias in &end.aliases {
                // A polymorphic to-many end has a field for each klass; its old name is made the same way.
                let old = End {
                    legal: alias.legal.clone(),
                    ..(**end).clone()
                };
                for mut field in self.end_fields_named(klass, end, &old) {
                    if !out.fields.contains_key(&field.name) {
                        field.deprecated = Some(alias.reason.clone().into());
                        out.fields.insert(field.name.clone(), field);
                    }
                }
            }
        }
        self.add_object(out);
    }

    fn end_fields(&mut self, klass: &Arc<Klass>, end: &Arc<End>) -> Vec<Field> {
        for far in self.far(end) {
            if has_link_properties(end) {
                self.link_connection(klass, end, &far);
                self.link_order(klass, end, &far);
            }
        }
        if end.is_polymorphic() && end.cardinality == Cardinality::One && !end.relationship.open {
            self.end_union(klass, end);
        }
        self.end_fields_named(klass, end, end)
    }

    /// The fields of an end; `named` has the name that is told.
    fn end_fields_named(&mut self, klass: &Arc<Klass>, end: &Arc<End>, named: &End) -> Vec<Field> {
        let far = self.far(end);
        let deprecated: Option<Text> = end.deprecated.clone().map(Into::into);
        let about = |far: &Klass| -> Text {
            match &end.description {
                Some(text) => text.clone().into(),
                None => format!(
                    "Its {}.",
                    if end.cardinality == Cardinality::One {
                        &far.name
                    } else {
                        &far.plural
                    }
                )
                .into(),
            }
        };
        let mut fields = Vec::with_capacity(far.len());
        match (end.cardinality, far.as_slice()) {
            // An object of any klass that the org has or will have: said by their interface, so the type stays as klasses come and go.
            (Cardinality::One, _) if end.is_polymorphic() && end.relationship.open => {
                let text = end.description.clone().unwrap_or_else(|| "The one object at the other end.".into());
                fields.push(Field::new(&named.legal, t("KObject"), Meaning::One(Arc::clone(end)), text));
            }
            (_, []) => {}
            (Cardinality::One, [only]) if !end.is_polymorphic() => {
                fields.push(Field::new(
                    &named.legal,
                    t(&only.legal.type_name),
                    Meaning::One(Arc::clone(end)),
                    about(only),
                ));
            }
            (Cardinality::One, _) => {
                let text = end
                    .description
                    .clone()
                    .unwrap_or_else(|| "The one object at the other end, of one of several klasses.".into());
                fields.push(Field::new(
                    &named.legal,
                    t(names::of_end(klass, end, "")),
                    Meaning::One(Arc::clone(end)),
                    text,
                ));
            }
            (Cardinality::Many, _) => {
                for klass_there in &far {
                    let name = if end.is_polymorphic() {
                        names::arm(named, klass_there)
                    } else {
                        named.legal.clone()
                    };
                    let ty = self.connection_name(klass, end, klass_there);
                    fields.push(
                        Field::new(
                            name,
                            req(ty),
                            Meaning::Many(Arc::clone(end), Arc::clone(klass_there)),
                            about(klass_there),
                        )
                        .args(list_args(klass_there, self.order_type(klass, end, klass_there))),
                    );
                }
            }
        }
        for field in &mut fields {
            field.deprecated.clone_from(&deprecated);
        }
        fields
    }

    /// The connection type of a to-many end: the far klass's own, unless the links carry properties.
    fn connection_name(&self, klass: &Klass, end: &End, far: &Klass) -> String {
        if has_link_properties(end) {
            names::of_end(klass, end, &link_suffix(end, far, "Connection"))
        } else {
            names::of_klass(far, "Connection")
        }
    }

    fn link_connection(&mut self, klass: &Arc<Klass>, end: &Arc<End>, far: &Arc<Klass>) {
        let connection = self.connection_name(klass, end, far);
        let edge = names::of_end(klass, end, &link_suffix(end, far, "Edge"));
        self.connection_types(
            &connection,
            &edge,
            far,
            &names::of_end(klass, end, ""),
            &end.relationship.properties,
        );
    }

    pub(super) fn connection(&mut self, klass: &Arc<Klass>) {
        let connection = names::of_klass(klass, "Connection");
        let edge = names::of_klass(klass, "Edge");
        self.connection_types(&connection, &edge, klass, "", &[]);
    }

    fn connection_types(&mut self, connection: &str, edge: &str, klass: &Arc<Klass>, link_owner: &str, link: &[Arc<Property>]) {
        let node = &klass.legal.type_name;
        let mut out = object(Name::of(connection), format!("A page of {}.", klass.plural));
        base::connection_fields(&mut out, node, edge);
        out.fields.insert(
            "aggregate".into(),
            Field::new(
                "aggregate",
                req(names::of_klass(klass, "Aggregate")),
                Meaning::Aggregate,
                "Numbers over all of them, on all pages.",
            ),
        );
        let groups = Field::new(
            "groups",
            list_req(names::of_klass(klass, "Group")),
            Meaning::Groups,
            "All of them, on all pages, gathered by what they share.",
        )
        .args(super::aggregate::group_args(klass));
        out.fields.insert("groups".into(), groups);
        self.add_object(out);

        let mut it = object(Name::of(edge), format!("One of a page of {}.", klass.plural));
        it.fields
            .insert("node".into(), Field::new("node", req(node), Meaning::EdgeNode, "The object."));
        it.fields.insert(
            "cursor".into(),
            Field::new(
                "cursor",
                req("String"),
                Meaning::EdgeCursor,
                "Its position, for `after` and `before`.",
            ),
        );
        for property in link {
            self.legal(&property.legal, || format!("The name of the link's property `{}`", property.name));
            self.item_types(property.kind.item(), link_owner, &property.legal, &property.name);
            let ty = kinds::output(&property.kind, link_owner, &property.legal);
            let field = Field {
                deprecated: property.deprecated.clone().map(Into::into),
                ..Field::new(
                    &property.legal,
                    nonnull(ty, property),
                    Meaning::LinkProperty(Arc::clone(property)),
                    describe(property, "A property of the link."),
                )
            };
            self.put(&mut it, field);
        }
        for property in link {
            for alias in property
                .aliases
                .iter()
                .filter(|alias| !it.fields.contains_key(&alias.legal))
                .collect::<Vec<_>>()
            {
                let ty = kinds::output(&property.kind, link_owner, &property.legal);
                let field = Field {
                    deprecated: Some(alias.reason.clone().into()),
                    ..Field::new(
                        &alias.legal,
                        nonnull(ty, property),
                        Meaning::LinkProperty(Arc::clone(property)),
                        describe(property, "A property of the link."),
                    )
                };
                it.fields.insert(field.name.clone(), field);
            }
        }
        self.add_object(it);
    }

    /// `union NoteSubject = Customer | Company`: a polymorphic to-one end answers with a union, so that a client knows what may come.
    fn end_union(&mut self, klass: &Arc<Klass>, end: &Arc<End>) {
        let members: Vec<Name> = self.far(end).iter().map(|k| Name::from(&k.legal.type_name)).collect();
        if members.is_empty() {
            return;
        }
        let name = Name::from(names::of_end(klass, end, ""));
        let union = UnionType {
            name: name.clone(),
            description: Some(format!("What `{}.{}` may be.", klass.legal.type_name, end.legal).into()),
            members,
        };
        self.add(name, Type::Union(union));
    }
}

/// `ProductsConnection`'s tail: a polymorphic end's types are made for each far klass.
pub(super) fn link_suffix(end: &End, far: &Klass, suffix: &str) -> String {
    if end.is_polymorphic() {
        [&far.legal.type_name, suffix].concat()
    } else {
        suffix.to_owned()
    }
}

fn property_field(klass: &Klass, property: &Arc<Property>) -> Field {
    let ty = kinds::output(&property.kind, &klass.legal.type_name, &property.legal);
    let ty = if property.system && property.legal == "tags" {
        ty.required()
    } else {
        nonnull(ty, property)
    };
    let about = match &property.description {
        None if property.system => base::common_text(&property.legal).unwrap_or(Text::Borrowed("Kept by the gateway.")),
        None if property.display_name.is_none() => Text::Borrowed("A property of the klass."),
        _ => describe(property, ""),
    };
    let about = if property.sensitive {
        format!("{about} Sensitive: null for roles that may not see it.").into()
    } else {
        about
    };
    Field {
        deprecated: property.deprecated.clone().map(Into::into),
        ..Field::new(&property.legal, ty, Meaning::Property(Arc::clone(property)), about)
    }
}

/// Required is enforced on write and verified on what is there, so it is never null, unless masked.
fn nonnull(ty: TypeRef, property: &Property) -> TypeRef {
    if property.required && !property.sensitive {
        ty.required()
    } else {
        ty
    }
}

/// `filter search orderBy first after last before withDeleted` of a list of objects; `order` is the input by which it is sorted.
pub(super) fn list_args(klass: &Klass, order: String) -> Vec<Argument> {
    let mut args = Vec::with_capacity(8);
    args.push(Argument::plain(
        "filter",
        t(names::of_klass(klass, "Filter")),
        "Only those that match.",
    ));
    args.push(Argument::plain(
        "search",
        t("String"),
        "Only those with these words in a searchable property.",
    ));
    args.push(Argument::plain(
        "orderBy",
        list(order),
        "In this order: the first key counts most. The newest come first when none is given.",
    ));
    args.extend(base::page_args());
    args.push(base::with_deleted());
    args
}
