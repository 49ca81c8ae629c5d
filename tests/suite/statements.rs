//! Statements follow the levels of relationships, never the number of rows.

use klio_tests::{Backend, Product};
use serde_json::{Value as Json, json};

/// Documents, and how many levels of relationships each has.
const DOCUMENTS: [(&str, u64); 13] = [
    (
        "{ customers(first: 10) { totalCount nodes { name orders(first: 10) { totalCount nodes { number lines(first: 200) { totalCount nodes { number } } } } } } }",
        3,
    ),
    (
        "{ lines(first: 200) { nodes { number order { number customer { name company { name } } } } } }",
        4,
    ),
    (
        "{ orders { nodes { number products { nodes { sku orders { totalCount nodes { number } } } } } } }",
        3,
    ),
    (
        "{ customers(first: 10) { nodes { timeline(first: 200) { totalCount edges { kind node { __typename ... on Message { body conversation { name } } ... on ConversationCreated { conversation { name } } } } } } } }",
        1,
    ),
    (
        "{ customer(externalId: \"c0\") { timeline(first: 50) { nodes { __typename ... on Message { id direction channel preview sentAt } ... on ConversationCreated { at conversation { id name status } } } } } }",
        1,
    ),
    (
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Line { number order { number } } } }",
        2,
    ),
    (
        "query ($id: ID!) { node(id: $id) { id ... on Line { order { customer { name } } } } }",
        3,
    ),
    (
        "{ lines { totalCount aggregate { count sum { amount } } groups(by: [state]) { count key { state } } } }",
        1,
    ),
    (
        "{ customers(filter: { orders: { some: { lines: { some: { amount: { gte: 0 } } } } } }) { totalCount nodes { orders { nodes { lines { aggregate { count } } } } } } }",
        3,
    ),
    // To one of several klasses, and back.
    (
        "{ lines(first: 200) { nodes { number subject { __typename ... on Order { number customer { name } } ... on Product { sku } } } } }",
        3,
    ),
    (
        "{ orders { nodes { number subjectOf(first: 200) { totalCount nodes { number subject { __typename } } } } } }",
        3,
    ),
    (
        "{ lines(filter: { subjectProduct: { sku: { startsWith: \"p\" } } }) { totalCount nodes { subject { ... on Product { orders { nodes { number } } } } } } }",
        3,
    ),
    // To any klass of the org's own.
    (
        "{ notes(first: 200) { nodes { body about { id title klass { name } ... on Product { notes { totalCount } orders { totalCount } } } } } }",
        3,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn as_few_at_ten_thousand_rows_on_sqlite() {
    as_few(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_few_at_ten_thousand_rows_on_postgres() {
    as_few(Backend::Postgres).await;
}

async fn as_few(backend: Backend) {
    let Some(product) = Product::start_with(backend, &["limits.cost=5000000"]).await else {
        return;
    };
    furnish(&product).await;
    grow(&product, 0..1, 2).await;
    let few = counts(&product, 10).await;
    grow(&product, 1..1_000, 150).await;
    let many = counts(&product, 200).await;
    for (((document, levels), few), many) in DOCUMENTS.iter().zip(few).zip(many) {
        assert!(few > 0 && few <= *levels, "{few} statements for {levels} levels: {document}");
        assert_eq!(few, many, "statements at 10 and at 10,000 rows: {document}");
    }
}

async fn furnish(product: &Product) {
    let number = json!({ "name": "number", "kind": "string", "required": true, "unique": true });
    for klass in [
        json!({ "name": "product", "plural": "products", "title": "{sku}",
            "properties": [{ "name": "sku", "kind": "string", "required": true, "unique": true }] }),
        json!({ "name": "order", "plural": "orders", "title": "{number}", "properties": [number],
            "relationships": [{ "name": "customer", "to": ["customer"], "kind": "one", "inverse": "orders" },
                              { "name": "products", "to": ["product"], "kind": "many", "inverse": "orders" }] }),
        json!({ "name": "line", "plural": "lines", "title": "{number}",
            "properties": [number, { "name": "amount", "kind": "integer" },
                           { "name": "state", "kind": "enum", "values": [{ "value": "new" }, { "value": "old" }], "default": "new" }],
            "relationships": [{ "name": "order", "to": ["order"], "kind": "one", "inverse": "lines" },
                              { "name": "subject", "to": ["order", "product"], "kind": "one", "inverse": "subjectOf" }] }),
    ] {
        let define = "mutation ($k: KlassInput!) { defineKlass(input: $k) { klass { name } errors { message path } } }";
        product.data(define, json!({ "k": klass })).await;
    }
    let ten = |make: fn(usize) -> Json| (0..10).map(make).collect::<Vec<_>>();
    bulk(
        product,
        "Customers",
        "Customer",
        ten(|i| json!({ "name": format!("c{i}"), "externalId": format!("c{i}") })),
    )
    .await;
    bulk(product, "Products", "Product", ten(|i| json!({ "sku": format!("p{i}") }))).await;
    let order = |i| {
        json!({ "number": format!("o{i}"), "customer": { "connect": { "externalId": format!("c{i}") } },
                "products": { "connect": [{ "sku": format!("p{i}") }, { "sku": "p0" }] } })
    };
    bulk(product, "Orders", "Order", (1..10).map(order).collect()).await;
    let first = json!({ "number": "o0", "customer": { "connect": { "externalId": "c0" } }, "products": { "connect": [{ "sku": "p0" }] } });
    bulk(product, "Orders", "Order", vec![first]).await;
    let conversation = json!({ "name": "k", "externalId": "k", "customer": { "connect": { "externalId": "c0" } } });
    bulk(product, "Conversations", "Conversation", vec![conversation]).await;
}

/// More lines for each of the ten orders, and more messages: fewer than a page of the timeline, which so holds every kind at both sizes.
async fn grow(product: &Product, lines: std::ops::Range<usize>, messages: usize) {
    for order in 0..10 {
        let line = |i| {
            let subject = if i % 2 == 0 {
                json!({ "product": { "connect": { "sku": format!("p{order}") } } })
            } else {
                json!({ "order": { "connect": { "number": format!("o{order}") } } })
            };
            json!({ "number": format!("{order}-{i}"), "amount": i, "subject": subject, "order": { "connect": { "number": format!("o{order}") } } })
        };
        bulk(product, "Lines", "Line", lines.clone().map(line).collect()).await;
    }
    let message =
        |i| json!({ "body": format!("m{i}"), "channel": "CHAT", "direction": "IN", "conversation": { "connect": { "externalId": "k" } } });
    bulk(product, "Messages", "Message", (0..messages).map(message).collect()).await;
    // Of a klass that has no customer, so that they do not stand on the timeline.
    let note = |i| json!({ "body": format!("n{i}"), "about": { "product": { "connect": { "sku": format!("p{}", i % 10) } } } });
    bulk(product, "Notes", "Note", (0..messages).map(note).collect()).await;
    let data = product.data("{ lines { totalCount } }", json!({})).await;
    assert_eq!(data["lines"]["totalCount"], json!(10 * lines.end));
}

async fn bulk(product: &Product, plural: &str, klass: &str, inputs: Vec<Json>) {
    let text = format!(
        "mutation ($i: [Create{klass}Input!]!) {{ create{plural}(inputs: $i, atomic: true) {{ results {{ errors {{ message path }} }} errors {{ message path }} }} }}"
    );
    let data = product.data(&text, json!({ "i": inputs })).await;
    let results = data[format!("create{plural}")]["results"].as_array().cloned().expect("results");
    assert!(
        results.len() == inputs.len() && results.iter().all(|it| it["errors"] == json!([])),
        "{data}"
    );
}

/// How many statements each document takes, as the gateway's own counter has it.
async fn counts(product: &Product, ids: usize) -> Vec<u64> {
    let some = product
        .data("query ($n: Int) { lines(first: $n) { nodes { id } } }", json!({ "n": ids }))
        .await;
    let ids: Vec<Json> = some["lines"]["nodes"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|it| it["id"].clone())
        .collect();
    let mut counts = Vec::new();
    for (document, _) in DOCUMENTS {
        let before = statements(product).await;
        let variables = if document.contains("$ids") {
            json!({ "ids": ids })
        } else if document.contains("$id") {
            json!({ "id": ids[0] })
        } else {
            json!({})
        };
        product.data(document, variables).await;
        counts.push(statements(product).await - before);
    }
    eprintln!("{} ids on {:?}: {counts:?}", ids.len(), product.backend);
    counts
}

async fn statements(product: &Product) -> u64 {
    let answer = reqwest::get(format!("{}/metrics", product.url)).await.expect("metrics");
    let text = answer.text().await.expect("a whole answer");
    let line = text.lines().find_map(|line| line.strip_prefix("klio_statements_total "));
    line.and_then(|count| count.parse().ok()).expect("a count of statements")
}
