//! Inputs as a client writes them, and the drafts that come of them.

use klio_entities::klass::{OrgId, read, resolve, settle, standard};
use serde_json::json;

use super::*;
use crate::plan::coerce::coerce_variables;

const KLASSES: [&str; 3] = [
    r#"
name = "product"
plural = "products"
[properties]
sku = { kind = "string", required = true, unique = true }
"#,
    r#"
name = "parcel"
plural = "parcels"
[properties]
code = { kind = "string", unique = true }
"#,
    r#"
name = "order"
plural = "orders"
[properties]
number = { kind = "string", required = true, unique = true }
total = { kind = "money" }
status = { kind = "enum", values = ["pending", "in progress"] }
weight = { kind = "decimal", min = 0 }
[relationships]
customer = { to = "customer", kind = "one", inverse = "orders" }
products = { to = "product", kind = "many", inverse = "orders", properties = { quantity = { kind = "integer", required = true } } }
about = { to = ["parcel", "product"], kind = "one", inverse = "mentionedIn" }
"#,
];

fn types() -> Types {
    let written = KLASSES
        .iter()
        .map(|text| read::from_toml(text).expect("the definitions are right"))
        .collect();
    let stored = settle::settle(standard::standard(), &[], written);
    let registry = resolve::resolve(OrgId(uuid::Uuid::nil()), "acme", 1, &stored).expect("the definitions fit together");
    crate::types::build(&Arc::new(registry)).expect("the names do not collide")
}

/// The object that an input of this type makes, and all that is wrong with it.
fn object(types: &Types, ty: &str, input: Json) -> (Object, Vec<Fault>) {
    let document = async_graphql_parser::parse_query(format!("mutation($it: {ty}!) {{ x }}")).expect("it parses");
    let (_, operation) = document.operations.iter().next().expect("there is one");
    let given = json!({ "it": input });
    let variables = coerce_variables(types, &operation.node, given.as_object().expect("it is one")).expect("it is of its type");
    let klass = types.registry.klass("order").expect("it is defined").clone();
    let mut inputs = Inputs::new(types);
    let it = inputs.object(
        &klass,
        &TypeRef::named(ty.to_owned()),
        &variables.values["it"],
        &["input".to_owned()],
    );
    (it, inputs.faults)
}

fn value(object: &Object, legal: &str) -> Option<Value> {
    object.values.iter().find(|(p, _)| p.legal == legal).map(|(_, v)| v.clone())
}

#[test]
fn values_by_kind_absent_stays_and_null_clears() {
    let types = types();
    let input = json!({"total": {"amount": "12.50", "currency": "usd"}, "status": "IN_PROGRESS", "weight": null});
    let (it, faults) = object(&types, "UpdateOrderInput", input);
    assert_eq!(faults, []);
    let amount = rust_decimal::Decimal::new(125, 1);
    assert_eq!(
        value(&it, "total"),
        Some(Value::Money {
            amount,
            currency: "USD".into()
        })
    );
    // As stored, not by its legal name.
    assert_eq!(value(&it, "status"), Some(Value::String("in progress".into())));
    assert_eq!(value(&it, "weight"), Some(Value::Null));
    assert_eq!(value(&it, "number"), None);
}

#[test]
fn every_fault_is_told_with_its_path() {
    let types = types();
    let input = json!({
        "number": "A-1",
        "weight": "-1",
        "total": {"amount": "1", "currency": "dollars"},
        "products": {
            "connect": [{"key": {"id": "order_01h455vb4pex5vsknk084sn02q"}, "link": {"quantity": 1}}],
            "create": [{"object": {"sku": "x"}, "link": {"quantity": null}}],
        },
    });
    let (_, faults) = object(&types, "CreateOrderInput", input);
    let mut paths: Vec<_> = faults.iter().map(|f| f.path.join(".")).collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "input.products.connect.0.key.id",
            "input.products.create.0.link.quantity",
            "input.total.currency",
            "input.weight"
        ],
        "{faults:?}"
    );
}

#[test]
fn links_of_every_sort() {
    let types = types();
    let id = ObjectId::new();
    let input = json!({
        "number": "A-1",
        "customer": {"connect": {"email": "Ann@Example.com"}},
        "products": {
            "connect": [{"key": {"sku": "a"}, "link": {"quantity": 2}}],
            "create": [{"object": {"sku": "b"}, "link": {"quantity": 3}}],
            "upsert": [{"key": {"sku": "c"}, "create": {"sku": "c"}, "update": {"tags": ["t"]}, "link": {"quantity": 4}}],
            "disconnect": [{"id": id.to_text("product")}],
        },
        "about": {"parcel": {"create": {"code": "p"}}},
    });
    let (it, faults) = object(&types, "CreateOrderInput", input);
    assert_eq!(faults, []);
    let links = |legal: &str| &it.links.iter().find(|(end, _)| end.legal == legal).expect("it was given").1;
    let LinkChange::Connect {
        klass,
        key: Key::Contact(ContactKind::Email, Operand::Const(email)),
        ..
    } = &links("customer")[0]
    else {
        panic!("{:?}", links("customer"))
    };
    assert_eq!((klass.name.as_str(), email), ("customer", &Value::String("ann@example.com".into())));
    let products = links("products");
    let quantity = |link: &[(Arc<Property>, Value)]| link.iter().map(|(p, v)| (p.legal.clone(), v.clone())).collect::<Vec<_>>();
    let of = |n| vec![("quantity".to_owned(), Value::Integer(n))];
    match &products[..] {
        [
            LinkChange::Connect {
                link: one,
                key: Key::Unique(by, _),
                ..
            },
            LinkChange::Create { link: two, object },
            LinkChange::Upsert {
                link: three,
                create,
                update,
                ..
            },
            LinkChange::Disconnect {
                object: Some((far, Key::Id(Operand::Const(Value::Id(gone))))),
            },
        ] => {
            assert_eq!((quantity(one), quantity(two), quantity(three)), (of(2), of(3), of(4)));
            assert_eq!((by.legal.as_str(), far.name.as_str(), *gone), ("sku", "product", id));
            assert_eq!(object.path.join("."), "input.products.create.0.object");
            assert_eq!((create.values.len(), update.values.len()), (1, 1));
        }
        other => panic!("{other:?}"),
    }
    let [LinkChange::Create { object, .. }] = &links("about")[..] else {
        panic!("{:?}", links("about"))
    };
    assert_eq!(object.klass.name, "parcel");
}

#[test]
fn a_to_one_end_is_untied_by_null_and_by_disconnect() {
    let types = types();
    for input in [
        json!({"customer": null}),
        json!({"customer": {"disconnect": true}}),
        json!({"about": {"parcel": {"disconnect": true}}}),
    ] {
        let (it, faults) = object(&types, "UpdateOrderInput", input.clone());
        assert_eq!(faults, [], "{input}");
        assert!(
            matches!(it.links[..], [(_, ref changes)] if changes[..] == [LinkChange::Disconnect { object: None }]),
            "{input}: {it:?}"
        );
    }
    let (it, faults) = object(&types, "UpdateOrderInput", json!({"customer": {"disconnect": false}}));
    assert_eq!((faults, it.links[0].1.len()), (vec![], 0));
}
