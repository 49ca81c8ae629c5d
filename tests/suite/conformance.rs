//! Judged by others: GraphQL over HTTP by npm `graphql-http`, the socket by npm `graphql-ws`, event streams by npm `graphql-sse`,
//! multipart subscriptions (and the socket) by npm `@apollo/client`, execution and validation by npm `graphql`, each against the
//! running product.

use klio_tests::{Backend, Product, node};
use serde_json::json;

async fn judged(script: &str, backend: Backend, prepare: impl AsyncFnOnce(&Product), args: &[&str]) {
    // Signs of life are waited for.
    let Some(product) = Product::start_with(backend, &["streams.heartbeat=2s"]).await else {
        return;
    };
    prepare(&product).await;
    let mut all = vec![product.url.as_str(), product.token.as_str()];
    all.extend_from_slice(args);
    match node::run(script, &all).await {
        Some(Ok(report)) => eprintln!("{}", report.lines().last().unwrap_or_default()),
        Some(Err(report)) => panic!("{script}\n{report}"),
        None => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_over_http_all_audits() {
    judged("http/audit.mjs", Backend::Sqlite, async |_| {}, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_transport_ws_sqlite() {
    judged("ws.mjs", Backend::Sqlite, async |_| {}, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_transport_ws_postgres() {
    judged("ws.mjs", Backend::Postgres, async |_| {}, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_sse_sqlite() {
    judged("sse.mjs", Backend::Sqlite, async |_| {}, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_sse_postgres() {
    judged("sse.mjs", Backend::Postgres, async |_| {}, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apollo_client_sqlite() {
    judged("apollo.mjs", Backend::Sqlite, async |_| {}, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apollo_client_postgres() {
    judged("apollo.mjs", Backend::Postgres, async |_| {}, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn differential_sqlite() {
    judged("differential.mjs", Backend::Sqlite, furnish, &["1", "300"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn differential_postgres() {
    judged("differential.mjs", Backend::Postgres, furnish, &["2", "300"]).await;
}

/// Objects of several klasses, tied in every manner, for the differential test to walk.
async fn furnish(product: &Product) {
    product
        .data(
            r#"mutation ($k: KlassInput!) { defineKlass(input: $k) { klass { name } errors { message } } }"#,
            json!({ "k": {
                "name": "order", "plural": "orders", "title": "{orderNumber}", "timeline": { "at": "placedAt" },
                "properties": [
                    { "name": "orderNumber", "kind": "string", "required": true, "unique": true },
                    { "name": "total", "kind": "money" },
                    { "name": "weight", "kind": "decimal" },
                    { "name": "status", "kind": "enum", "values": [{ "value": "pending" }, { "value": "in transit" }, { "value": "done" }] },
                    { "name": "placedAt", "kind": "datetime" },
                    { "name": "day", "kind": "date" },
                    { "name": "gift", "kind": "boolean" },
                    { "name": "labels", "kind": "list of string" },
                    { "name": "extra", "kind": "json" }
                ],
                "relationships": [
                    { "name": "customer", "to": ["customer"], "kind": "one", "inverse": "orders" },
                    { "name": "parts", "to": ["order"], "kind": "many", "inverse": "wholes" }
                ]
            } }),
        )
        .await;
    for i in 0..5 {
        product
            .data(
                r#"mutation ($c: CreateCompanyInput!) { createCompany(input: $c) { company { id } errors { message path } } }"#,
                json!({ "c": { "name": format!("Company {i}"), "externalId": format!("c{i}"), "domains": [format!("c{i}.example")] } }),
            )
            .await;
    }
    for i in 0..12 {
        let company = if i % 4 == 0 {
            json!({})
        } else {
            json!({ "connect": { "externalId": format!("c{}", i % 5) } })
        };
        let mut input = json!({
            "name": format!("Person {i}"), "externalId": format!("p{i}"), "email": format!("p{i}@example.com"),
            "emails": [{ "type": "WORK", "email": format!("w{i}@example.com"), "verified": i % 2 == 0 }], "tags": ["a", "b"],
        });
        if i % 4 != 0 {
            input["company"] = company;
        }
        product
            .data(
                r#"mutation ($c: CreateCustomerInput!) { createCustomer(input: $c) { customer { id } errors { message path } } }"#,
                json!({ "c": input }),
            )
            .await;
        product
            .data(
                r#"mutation ($c: CreateConversationInput!) { createConversation(input: $c) { conversation { id } errors { message path } } }"#,
                json!({ "c": {
                    "name": format!("About {i}"), "externalId": format!("v{i}"), "status": (["OPEN", "SNOOZED", "DONE"][i % 3]),
                    "customer": { "connect": { "externalId": format!("p{i}") } },
                } }),
            )
            .await;
        for m in 0..(i % 4) {
            product
                .data(
                    r#"mutation ($m: CreateMessageInput!) { createMessage(input: $m) { message { id } errors { message path } } }"#,
                    json!({ "m": {
                        "body": format!("Message {m} “quoted” \n of {i} 🙂"), "channel": (["EMAIL", "CHAT", "SMS"][m % 3]), "direction": (["IN", "OUT"][m % 2]),
                        "sentAt": format!("2025-03-0{}T10:00:00Z", m + 1), "conversation": { "connect": { "externalId": format!("v{i}") } },
                    } }),
                )
                .await;
        }
        product
            .data(
                r#"mutation ($o: CreateOrderInput!) { createOrder(input: $o) { order { id } errors { message path } } }"#,
                json!({ "o": {
                    "orderNumber": format!("N{i}"), "externalId": format!("o{i}"), "total": { "amount": format!("{}.50", i * 10), "currency": "EUR" },
                    "weight": if i % 3 == 0 { json!(null) } else { json!("1.250") }, "status": (["PENDING", "IN_TRANSIT", "DONE"][i % 3]),
                    "placedAt": "2025-02-01T08:30:00Z", "day": "2025-02-01", "gift": i % 2 == 0, "labels": ["x", "y\"z"], "extra": { "n": [1, null, { "deep": true }] },
                    "customer": { "connect": { "externalId": format!("p{i}") } },
                } }),
            )
            .await;
    }
}
