//! Mappings that are wrong, and what is said of them.

use expect_test::{Expect, expect};
use klio_entities::klass::OrgId;
use klio_entities::klass::change::{KlassChange, empty, plan};
use klio_entities::klass::read;

use super::*;

const KLASSES: &[&str] = &[
    include_str!("../../../../tests/retail/klasses/order.toml"),
    include_str!("../../../../tests/retail/klasses/order_item.toml"),
    include_str!("../../../../tests/retail/klasses/product.toml"),
    include_str!("../../../../tests/retail/klasses/variant.toml"),
    include_str!("../../../../tests/retail/klasses/fulfilment.toml"),
    include_str!("../../../../tests/retail/klasses/payment.toml"),
    include_str!("../../../../tests/retail/klasses/payment_method.toml"),
];

/// The shop's klasses.
fn registry() -> Registry {
    let changes: Vec<KlassChange> = KLASSES
        .iter()
        .map(|text| KlassChange::Define(read::from_toml(text).expect("a definition")))
        .collect();
    let before = empty(OrgId(uuid::Uuid::nil()), "acme").expect("the standard klasses");
    plan(&before, "acme", &[], &changes).expect("they fit together").registry
}

fn refused(text: &str, klass: &str, expected: Expect) {
    let faults = Mapping::read(text, &registry(), klass).expect_err("it is wrong");
    expected.assert_eq(&faults.to_string());
}

#[test]
fn the_shops_mappings_are_read() {
    let registry = registry();
    for (klass, text) in [
        ("customer", include_str!("../../../../tests/retail/maps/customers.toml")),
        ("product", include_str!("../../../../tests/retail/maps/products.toml")),
        ("order", include_str!("../../../../tests/retail/maps/orders.toml")),
        ("conversation", include_str!("../../../../tests/retail/maps/conversations.toml")),
    ] {
        let mapping = Mapping::read(text, &registry, klass).expect("a good mapping");
        assert_eq!(mapping.root.klass.name, klass);
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = r#"
klass = "order"
key = "status"
colour = "red"

[properties]
externalId = "@key"
ordrNumber = "order_id"
total = { sum = "items[].price" , currancy = "USD" }
placedAt = { start = "yesterday", step = "8 hours" }
version = "v"
customer = "user_id"
state = 17
city = "^.x"
zip = { joim = ["a", "b"] }

[links]
custmer = { from = "user_id" }
items = { from = "ids[]", by = "price" }
fulfilments = { by = "externalId" }
customer = { parent = true }

[[children]]
klass = "order-itm"
records = "items"

[[children]]
klass = "payment"
key = "externalId"
properties = { type = "a..b" }
"#;
    refused(
        text,
        "order",
        expect![[r#"
        colour: `colour` is no key of this table (There are: klass, key, properties, links, children.)
        properties.city: `^.x` goes above the file's records (Take away a `^.`.)
        properties.customer: `customer` is a relationship (Say it under [links].)
        properties.ordrNumber: klass order has no property `ordrNumber` (Did you mean `orderNumber`?)
        properties.placedAt.start: this is not a moment (Write a moment such as "2025-01-01T00:00:00Z".)
        properties.placedAt.step: this is not a duration (Write step = "PT8H" or "P1D" (ISO 8601).)
        properties.placedAt.times: how often the step is taken is not said (Write a path such as "@index", or a number.)
        properties.state: this is integer, and a path or a table was expected (Write { value = 17 } for what is always the same.)
        properties.total.currancy: `currancy` is no key of this table (Did you mean `currency`?)
        properties.version: `version` is kept by the gateway and cannot be set (Take it out.)
        properties.zip: this table does not say what it makes (Did you mean `join`?)
        links.custmer: klass order has no relationship `custmer` (Did you mean `customer`?)
        links.customer.parent: the file's records have no parent (Use `from`.)
        links.fulfilments: where the link leads is not said (Add from = "…": where its key stands in the record.)
        links.items.by: `price` of order-item is not unique (Use one of: externalId.)
        key: `status` is not unique, so it does not tell which object a record is (Use one of: externalId, orderNumber.)
        children[0].klass: there is no klass `order-itm` (Did you mean `order-item`?)
        children[1].records: where its records stand is not said (Add records = "…": where they stand in the record above.)
        children[1].properties.type: `a..b` is not a path: a step has no name"#]],
    );
}

#[test]
fn the_key_must_be_told() {
    refused(
        "klass = \"order\"\n[properties]\nstatus = \"status\"",
        "order",
        expect![[
            r#"key: `externalId` is the key, and [properties] does not say where it comes from (Add externalId = "…" to [properties].)"#
        ]],
    );
    refused(
        "klass = \"order\"",
        "customer",
        expect!["klass: the mapping is for `order`, and `customer` was asked for (Give --klass the mapping's klass, or another mapping.)"],
    );
    refused(
        "klass = ",
        "order",
        expect![[r#"
        TOML parse error at line 1, column 9
          |
        1 | klass = 
          |         ^
        string values must be quoted, expected literal string"#]],
    );
}
