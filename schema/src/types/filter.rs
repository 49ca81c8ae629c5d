//! Which objects: the filters of a klass's lists.

use std::sync::Arc;

use klio_entities::klass::filter::{ContactKind, Quantifier, Target};
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Klass, Property};

use super::model::{Argument, InputMeaning, InputType, Name, Text};
use super::{Builder, has_link_properties, input, is_standard, list, names, operators, t};

impl Builder<'_> {
    /// `OrderFilter`, `OrderListFilter`, `OrderCountFilter`.
    pub(super) fn filters(&mut self, klass: &Arc<Klass>) {
        let name = names::of_klass(klass, "Filter");
        let mut out = input(&name, Some(klass), format!("Which {}; all that is given must hold.", klass.plural));
        out.fields.reserve(klass.properties.len() + klass.ends.len() + 3);
        logic(&mut out, &name);
        let owner = &klass.legal.type_name;
        for property in &klass.properties {
            if let Some(field) = self.filter_field(owner, property, Target::Property) {
                self.put_input(&mut out, field);
            }
        }
        if is_standard(klass, "customer") {
            for (name, kind, text) in [
                (
                    "contactEmail",
                    ContactKind::Email,
                    "One of its e-mail addresses, compared in lower case.",
                ),
                ("contactPhone", ContactKind::Phone, "One of its telephone numbers."),
                (
                    "contactExternalId",
                    ContactKind::ExternalId,
                    "One of its ids in other systems (`externalIds`).",
                ),
            ] {
                self.put_input(
                    &mut out,
                    Argument::new(name, t("ContactFilter"), InputMeaning::Target(Target::Contact(kind)), text),
                );
            }
        }
        for end in &klass.ends {
            for field in self.end_filters(klass, end) {
                self.put_input(&mut out, field);
            }
        }
        for property in &klass.properties {
            self.old_names(&mut out, owner, property, Target::Property);
        }
        for end in &klass.ends {
            for alias in &end.aliases {
                let old = End {
                    legal: alias.legal.clone(),
                    ..(**end).clone()
                };
                for mut field in self.end_filters_named(end, &old) {
                    if !out.fields.contains_key(&field.name) {
                        field.deprecated = Some(alias.reason.clone().into());
                        out.fields.insert(field.name.clone(), field);
                    }
                }
            }
        }
        self.add_input(out);
        self.list_filters(klass, &name);
    }

    /// A property by the names that it used to have, where no living name has taken them.
    fn old_names(&mut self, into: &mut InputType, owner: &str, property: &Arc<Property>, target: fn(Arc<Property>) -> Target) {
        for alias in &property.aliases {
            if !into.fields.contains_key(&alias.legal)
                && let Some(mut field) = self.filter_field(owner, property, target)
            {
                field.name = Name::from(&alias.legal);
                field.deprecated = Some(alias.reason.clone().into());
                into.fields.insert(field.name.clone(), field);
            }
        }
    }

    fn list_filters(&mut self, klass: &Arc<Klass>, name: &str) {
        let count = names::of_klass(klass, "CountFilter");
        let mut out = operators::comparison(
            &count,
            "Int",
            "How many of the related ones match; all comparisons that are given must hold.",
        );
        out.klass = Some(Arc::clone(klass));
        let field = Argument::plain("filter", t(Name::of(name)), "Only these are counted: all when absent.");
        out.fields.insert("filter".into(), field);
        self.add_input(out);

        let mut out = input(
            names::of_klass(klass, "ListFilter"),
            Some(klass),
            format!("Which related {} there must be; all that is given must hold.", klass.plural),
        );
        quantifiers(&mut out, name);
        let field = Argument::new("count", t(count), InputMeaning::CountOf, "How many there must be.");
        out.fields.insert("count".into(), field);
        self.add_input(out);
    }

    fn end_filters(&mut self, klass: &Arc<Klass>, end: &Arc<End>) -> Vec<Argument> {
        let mut fields = self.end_filters_named(end, end);
        if has_link_properties(end) {
            for far in self.far(end) {
                if let Some(field) = self.link_filter(klass, end, &far) {
                    fields.push(field);
                }
            }
        }
        fields
    }

    fn end_filters_named(&mut self, end: &Arc<End>, named: &End) -> Vec<Argument> {
        let deprecated: Option<Text> = end.deprecated.clone().map(Into::into);
        self.far(end)
            .into_iter()
            .map(|far| {
                let name = if end.is_polymorphic() {
                    names::arm(named, &far)
                } else {
                    named.legal.clone()
                };
                let (ty, means, text) = match end.cardinality {
                    Cardinality::One => (
                        "Filter",
                        InputMeaning::ToOne(Arc::clone(end), Arc::clone(&far)),
                        "There is one, and it matches.",
                    ),
                    Cardinality::Many => (
                        "ListFilter",
                        InputMeaning::ToMany(Arc::clone(end), Arc::clone(&far)),
                        "Conditions on the related ones.",
                    ),
                };
                Argument {
                    deprecated: deprecated.clone(),
                    ..Argument::new(name, t(names::of_klass(&far, ty)), means, text)
                }
            })
            .collect()
    }

    /// `productsLinks: {some: {link: {quantity: {gt: 1}}, object: {…}}}`: conditions on links and their far objects at once.
    fn link_filter(&mut self, klass: &Arc<Klass>, end: &Arc<End>, far: &Arc<Klass>) -> Option<Argument> {
        let tail = if end.is_polymorphic() { far.legal.type_name.as_str() } else { "" };
        let owner = names::of_end(klass, end, "");
        let mut link = input(
            names::of_end(klass, end, &[tail, "LinkFilter"].concat()),
            Some(far),
            "Conditions on a link; all that are given must hold.",
        );
        for property in &end.relationship.properties {
            if let Some(field) = self.filter_field(&owner, property, Target::Link) {
                self.put_input(&mut link, field);
            }
        }
        for property in &end.relationship.properties {
            self.old_names(&mut link, &owner, property, Target::Link);
        }
        if link.fields.is_empty() {
            return None;
        }
        let linked_name = names::of_end(klass, end, &[tail, "LinkedFilter"].concat());
        let mut linked = input(
            &linked_name,
            Some(far),
            "Conditions on a link and on the object to which it leads; all that are given must hold.",
        );
        logic(&mut linked, &linked_name);
        operators::insert(
            &mut linked,
            vec![
                Argument::new("link", t(&link.name), InputMeaning::LinkFilter, "On the link."),
                Argument::new(
                    "object",
                    t(names::of_klass(far, "Filter")),
                    InputMeaning::FarFilter,
                    "On the object.",
                ),
            ],
        );
        let mut out = input(
            names::of_end(klass, end, &[tail, "LinksFilter"].concat()),
            Some(far),
            "Which links there must be; all that is given must hold.",
        );
        quantifiers(&mut out, &linked_name);
        let ty = out.name.clone();
        self.add_input(link);
        self.add_input(linked);
        self.add_input(out);
        let name = if end.is_polymorphic() {
            names::arm(end, far)
        } else {
            end.legal.clone()
        } + "Links";
        Some(Argument::new(
            name,
            t(ty),
            InputMeaning::ToMany(Arc::clone(end), Arc::clone(far)),
            "Conditions on the related ones and on the properties of the links to them.",
        ))
    }
}

/// `and or not`.
fn logic(into: &mut InputType, name: &str) {
    operators::insert(
        into,
        vec![
            Argument::new("and", list(Name::of(name)), InputMeaning::And, "All of these hold."),
            Argument::new("or", list(Name::of(name)), InputMeaning::Or, "At least one of these holds."),
            Argument::new("not", t(Name::of(name)), InputMeaning::Not, "This does not hold."),
        ],
    );
}

/// `some every none`.
pub(super) fn quantifiers(into: &mut InputType, filter: &str) {
    operators::insert(
        into,
        vec![
            Argument::new(
                "some",
                t(Name::of(filter)),
                InputMeaning::Quantifier(Quantifier::Some),
                "At least one matches.",
            ),
            Argument::new(
                "every",
                t(Name::of(filter)),
                InputMeaning::Quantifier(Quantifier::Every),
                "All match; true when there are none.",
            ),
            Argument::new(
                "none",
                t(Name::of(filter)),
                InputMeaning::Quantifier(Quantifier::None),
                "Not one matches.",
            ),
        ],
    );
}
