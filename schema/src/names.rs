//! The only maker of GraphQL names. Klasses, properties, relationships and enum values carry legal names already (made once, stored
//! with the klass); here are the names that are made *of* them.

use klio_entities::klass::{End, Fault, Klass, Registry};

/// Every collision between generated names, and between them and built-in ones: each fault names both sides.
pub fn check(registry: &Registry) -> Vec<Fault> {
    match crate::types::build(&std::sync::Arc::new(registry.clone())) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0,
    }
}

/// May stand as a name in a schema: letters, digits and `_`, no digit first, not `__…`.
pub fn is_legal(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
        && !name.starts_with("__")
}

/// `placedAt` → `PlacedAt`.
pub fn upper_first(name: &str) -> String {
    let mut out = name.to_owned();
    if let Some(head) = out.get_mut(..1) {
        head.make_ascii_uppercase();
    }
    out
}

/// `ecommOrder` → `ECOMM_ORDER`.
pub fn screaming(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut lower_before = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && lower_before {
            out.push('_');
        }
        lower_before = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// `Order` + `Filter`: a type that belongs to a klass.
pub fn of_klass(klass: &Klass, suffix: &str) -> String {
    [&klass.legal.type_name, suffix].concat()
}

/// `OrderStatus`: the type of a property that shares none, where `owner` is a klass or an object kind.
pub fn of_property(owner: &str, property: &str) -> String {
    [owner, &upper_first(property)].concat()
}

/// `OrderProducts` + `Connection`: a type that belongs to an end of a relationship.
pub fn of_end(klass: &Klass, end: &End, suffix: &str) -> String {
    [&klass.legal.type_name, &upper_first(&end.legal), suffix].concat()
}

/// `linkedOrders` and `subjectCustomer`: the field of a polymorphic end for one of its klasses.
pub fn arm(end: &End, klass: &Klass) -> String {
    use klio_entities::klass::relationship::Cardinality;
    let tail = match end.cardinality {
        Cardinality::One => &klass.legal.field,
        Cardinality::Many => &klass.legal.plural,
    };
    [&end.legal, &*upper_first(tail)].concat()
}

/// `productsLink`: the link to an object at an end, among the names of that object's klass.
pub fn link_of(end: &End) -> String {
    [&end.legal, "Link"].concat()
}

/// `createOrder`, `linkOrderProducts`: a mutation.
pub fn mutation(verb: &str, object: &str) -> String {
    [verb, &upper_first(object)].concat()
}

/// `orderChanged`.
pub fn changed(klass: &Klass) -> String {
    [&klass.legal.field, "Changed"].concat()
}

/// `ordersCount`.
pub fn counted(klass: &Klass) -> String {
    [&klass.legal.plural, "Count"].concat()
}

/// `customer_gender`: a group key through a to-one end.
pub fn group_through(end: &str, property: &str) -> String {
    [end, "_", property].concat()
}

/// The timeline kind of a klass's objects: `ECOMM_ORDER`.
pub fn timeline_kind(klass: &Klass) -> String {
    screaming(&klass.legal.field)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::types::testing::{choice, klass, property, registry};

    #[test]
    fn made_names() {
        assert_eq!(upper_first("placedAt"), "PlacedAt");
        assert_eq!(upper_first("état"), "état");
        assert_eq!(screaming("ecommOrder"), "ECOMM_ORDER");
        assert_eq!(screaming("HTTPCall2Done"), "HTTPCALL2_DONE");
        assert!(is_legal("_a1") && !is_legal("1a") && !is_legal("__a") && !is_legal("") && !is_legal("a-b"));
    }

    #[test]
    fn collisions_name_both() {
        let mut order = klass("order", "orders", vec![]);
        order.klass.legal.type_name = "Order".into();
        let all = vec![
            order,
            klass("orderConnection", "money", vec![property("a", choice(Some("Hue"), &["red"]))]),
            klass("money", "moneys", vec![property("b", choice(Some("Hue"), &["red", "blue"]))]),
            klass("sheep", "sheep", vec![]),
        ];
        let faults = check(&registry(all, vec![]));
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        expect![[r#"
            klasses.orderConnection: Klass `orderConnection` needs the GraphQL type name `OrderConnection`, which klass `order` has (Give one of the two another name.)
            klasses.money.b: The type `Hue` is shared with property `orderConnection.a`, but is defined differently there (Define both alike, or give one of them another `type`.)
            klasses.money: Klass `money` needs the GraphQL type name `Money`, which the schema itself has (Give one of the two another name.)
            klasses.money: Klass `money` needs the GraphQL field `Query.money`, which klass `orderConnection` has (Give one of the two another name.)
            klasses.sheep: Klass `sheep` needs the GraphQL field `Query.sheep` twice, for one object and for many (Give it a plural that differs from its name.)"#]].assert_eq(&told.join("\n"));
    }
}
