//! What is in the shop.

use serde_json::json;

use super::*;

/// Three customers, four products, six orders.
pub(super) async fn stocked(shop: &Shop) {
    let s = shop;
    for (n, name, price) in [
        (11, "Green Tea", "4.5"),
        (12, "Black TEA", "3.25"),
        (13, "Ämter 100%_a\\b", "10"),
        (14, "Gone", "1"),
    ] {
        s.insert(&s.product, n, &[("name", text(name)), ("price", decimal(price))], &[])
            .await;
    }
    s.insert(&s.company, 500, &[("name", text("Acme"))], &[]).await;
    s.insert(
        &s.customer,
        1,
        &[
            ("name", text("Ann")),
            ("email", text("Ann@Example.com")),
            ("tier", text("gold")),
            ("locations", Value::Json(json!([{"latitude": "52.52", "longitude": "13.405"}]))),
        ],
        &[("company", 500)],
    )
    .await;
    s.insert(
        &s.customer,
        2,
        &[("name", text("Bob")), ("tier", text("silver"))],
        &[("favourite", 11)],
    )
    .await;
    s.insert(&s.customer, 3, &[("name", text("Cleo"))], &[]).await;
    let order = |n: u32, values: Vec<(&'static str, Value)>, links: Vec<(&'static str, u32)>| async move {
        let mut all = vec![
            ("number", text(&format!("A{n}"))),
            ("serial", Value::Integer(i64::from(n) * 3_000_000_000)),
        ];
        all.extend(values);
        s.insert(&s.order, n, &all, &links).await;
    };
    order(
        101,
        vec![
            ("total", money("12.5", "EUR")),
            ("status", text("pending")),
            ("placedAt", at(1_780_000_000)),
            ("due", date("2026-08-01")),
            ("paid", Value::Bool(true)),
            ("weight", decimal("0.000001")),
            ("items", Value::Integer(2)),
            ("remark", text("Please ring")),
            ("meta", Value::Json(json!({"a": {"b": "x", "n": 5, "t": true}, "q\"k": [1, 2]}))),
            ("labels", texts(&["red", "blue"])),
            ("sizes", Value::List(vec![Value::Integer(1), Value::Integer(2)])),
            ("place", text("eu/de/berlin")),
            ("contact", text("Zoe@Example.COM")),
        ],
        vec![("customer", 1), ("about:customer", 2)],
    )
    .await;
    order(
        102,
        vec![
            ("total", money("7.25", "EUR")),
            ("status", text("in progress")),
            ("placedAt", at(1_782_000_000)),
            ("paid", Value::Bool(false)),
            ("weight", decimal("2.5")),
            ("items", Value::Integer(1)),
            ("labels", texts(&[])),
            ("place", text("eu/fr")),
            ("meta", Value::Json(json!({"a": {"b": "y", "n": 7}}))),
        ],
        vec![("customer", 1), ("parent", 101), ("about:product", 12)],
    )
    .await;
    order(
        103,
        vec![
            ("total", money("100", "USD")),
            ("status", text("done")),
            ("placedAt", at(1_785_000_000)),
            ("labels", texts(&["blue"])),
            ("place", text("us/tx")),
        ],
        vec![("customer", 2), ("parent", 101)],
    )
    .await;
    order(
        104,
        vec![("status", text("done")), ("items", Value::Integer(4))],
        vec![("customer", 3)],
    )
    .await;
    order(105, vec![("total", money("1", "EUR")), ("place", text("eu"))], vec![]).await;
    order(
        106,
        vec![
            ("total", money("999", "EUR")),
            ("deletedAt", at(1_785_000_000)),
            ("status", text("done")),
        ],
        vec![("customer", 1)],
    )
    .await;
    for (o, p, q) in [(101, 11, 2), (101, 12, 5), (101, 14, 1), (102, 11, 1), (103, 13, 9)] {
        s.link(o, p, q).await;
    }
    let gone = format!(
        "update {} set deleted_at = updated_at where id = {}",
        table_name(s.store.dialect(), &s.product.table),
        literal(s.store.dialect(), &Value::Id(id(14)), 0)
    );
    s.execute(gone).await;
    let point = format!(
        "insert into contact_point (org_id, customer_id, kind, value) values ({}, {}, 'email', 'ann@example.com')",
        literal(s.store.dialect(), &Value::Id(ObjectId(s.org.0)), 0),
        literal(s.store.dialect(), &Value::Id(id(1)), 0)
    );
    s.execute(point).await;
}
