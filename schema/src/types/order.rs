//! In which order: the inputs by which a klass's lists are sorted, those along links with properties among them.

use std::sync::Arc;

use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Klass, Property};

use super::model::{Argument, InputMeaning, InputType, Name};
use super::{Builder, describe, has_link_properties, input, names, t};

impl Builder<'_> {
    /// `OrderOrder`.
    pub(super) fn orders(&mut self, klass: &Arc<Klass>) {
        let out = self.order_input(klass, names::of_klass(klass, "Order"));
        self.add_input(out);
    }

    /// `OrderProductsOrder`: what `ProductOrder` has, and `link`, by a property of the link that leads there. `None` where no
    /// property of the links has an order; then the far klass's own input serves.
    pub(super) fn link_order(&mut self, klass: &Arc<Klass>, end: &Arc<End>, far: &Arc<Klass>) -> Option<String> {
        let sorted: Vec<&Arc<Property>> = end.relationship.properties.iter().filter(|p| p.kind.is_ordered()).collect();
        if !has_link_properties(end) || sorted.is_empty() {
            return None;
        }
        let mut link = input(
            names::of_end(klass, end, &super::object::link_suffix(end, far, "LinkOrder")),
            Some(far),
            "By a property of the link: exactly one.",
        );
        link.one_of = true;
        for property in &sorted {
            let field = by_property(property, InputMeaning::OrderLinkProperty);
            self.put_input(&mut link, field);
        }
        old_names(&mut link, sorted.iter().copied(), InputMeaning::OrderLinkProperty);
        let name = self.order_type(klass, end, far);
        let mut out = self.order_input(far, name.clone());
        // The far klass's own names come first: whoever sorts by them goes on when the links get properties.
        let field = if out.fields.contains_key("link") {
            names::link_of(end)
        } else {
            "link".to_owned()
        };
        let field = Argument::new(
            field,
            t(&link.name),
            InputMeaning::OrderLink,
            "By a property of the link that leads there.",
        );
        self.put_input(&mut out, field);
        self.add_input(link);
        self.add_input(out);
        Some(name)
    }

    /// The name of the input that sorts the objects of a klass at an end.
    pub(super) fn order_type(&self, klass: &Klass, end: &End, far: &Klass) -> String {
        if has_link_properties(end) && end.relationship.properties.iter().any(|p| p.kind.is_ordered()) {
            names::of_end(klass, end, &super::object::link_suffix(end, far, "Order"))
        } else {
            names::of_klass(far, "Order")
        }
    }

    fn order_input(&mut self, klass: &Arc<Klass>, name: String) -> InputType {
        let mut out = input(
            name,
            Some(klass),
            format!("By what {} are ordered: exactly one; give a list for more.", klass.plural),
        );
        out.one_of = true;
        let sorted = |property: &&Arc<Property>| {
            property.kind.is_ordered()
                && (property.indexed || property.unique || matches!(property.legal.as_str(), "createdAt" | "updatedAt"))
        };
        for property in klass.properties.iter().filter(sorted) {
            let field = by_property(property, InputMeaning::OrderProperty);
            self.put_input(&mut out, field);
        }
        for end in &klass.ends {
            if let Some(field) = self.order_field(end, &end.legal) {
                self.put_input(&mut out, field);
            }
        }
        old_names(&mut out, klass.properties.iter().filter(sorted), InputMeaning::OrderProperty);
        for end in &klass.ends {
            for alias in &end.aliases {
                if !out.fields.contains_key(&alias.legal)
                    && let Some(mut field) = self.order_field(end, &alias.legal)
                {
                    field.deprecated = Some(alias.reason.clone().into());
                    out.fields.insert(field.name.clone(), field);
                }
            }
        }
        out
    }

    /// By something of the one object at an end, or by how many there are.
    fn order_field(&self, end: &Arc<End>, name: &str) -> Option<Argument> {
        Some(match (end.cardinality, self.far(end).as_slice()) {
            (_, []) => return None,
            (Cardinality::One, [far]) if !end.is_polymorphic() => Argument::new(
                Name::of(name),
                t(names::of_klass(far, "Order")),
                InputMeaning::OrderThrough(Arc::clone(end), Arc::clone(far)),
                "By something of the object at this end.",
            ),
            (Cardinality::One, _) => return None,
            (Cardinality::Many, _) => Argument::new(
                Name::of(name),
                t("CountOrder"),
                InputMeaning::OrderCount(Arc::clone(end)),
                "By how many there are at this end.",
            ),
        })
    }
}

fn by_property(property: &Arc<Property>, means: fn(Arc<Property>) -> InputMeaning) -> Argument {
    Argument {
        deprecated: property.deprecated.clone().map(Into::into),
        ..Argument::new(
            &property.legal,
            t("SortDirection"),
            means(Arc::clone(property)),
            describe(property, "By this property."),
        )
    }
}

/// Properties by the names that they used to have, where no living name has taken them.
fn old_names<'p>(into: &mut InputType, properties: impl Iterator<Item = &'p Arc<Property>>, means: fn(Arc<Property>) -> InputMeaning) {
    for property in properties {
        for alias in &property.aliases {
            if !into.fields.contains_key(&alias.legal) {
                let mut field = by_property(property, means);
                field.name = Name::from(&alias.legal);
                field.deprecated = Some(alias.reason.clone().into());
                into.fields.insert(field.name.clone(), field);
            }
        }
    }
}
