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
    refused(text, "order", expect![[]]);
}

#[test]
fn the_key_must_be_told() {
    refused("klass = \"order\"\n[properties]\nstatus = \"status\"", "order", expect![[]]);
    refused("klass = \"order\"", "customer", expect![[]]);
    refused("klass = ", "order", expect![[]]);
}
