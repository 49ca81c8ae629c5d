//! Klasses change while people work: writers and readers at full speed, a klass that is widened, renamed in, narrowed and
//! re-kinded beneath them, and not one request fails for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use klio_tests::{Product, on_each_database};
use serde_json::{Value as Json, json};

on_each_database!(no_request_fails_while_klasses_change);

fn ticket(extra: Json, amount: &str) -> Json {
    let mut properties = vec![
        json!({ "name": "number", "kind": "string", "required": true, "unique": true }),
        json!({ "name": "amount", "kind": amount }),
        json!({ "name": "state", "kind": "enum", "values": [{ "value": "new" }, { "value": "old" }], "default": "new" }),
    ];
    properties.extend(extra.as_array().cloned().unwrap_or_default());
    json!({ "name": "ticket", "plural": "tickets", "title": "{number}", "properties": properties,
            "relationships": [{ "name": "customer", "to": ["customer"], "kind": "one", "inverse": "tickets" }] })
}

const DEFINE: &str = "mutation ($k: KlassInput!) { defineKlass(input: $k) { klass { name } errors { message path } } }";
const CHANGE: &str =
    "mutation ($k: KlassInput!) { defineKlass(input: $k, force: true) { changes { path class } errors { message path remedy } } }";

async fn no_request_fails_while_klasses_change(product: Product) {
    let product = Arc::new(product);
    product.data(DEFINE, json!({ "k": ticket(json!([]), "integer") })).await;
    product
        .data(
            "mutation { createCustomer(input: { name: \"Busy\", externalId: \"busy\" }) { customer { id } errors { message } } }",
            json!({}),
        )
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let (writes, reads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for worker in 0..3 {
        let (product, done, writes) = (product.clone(), done.clone(), writes.clone());
        workers.push(tokio::spawn(async move {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                n += 1;
                let answer = product
                    .ask(
                        "mutation ($n: String!, $a: Int!) { createTicket(input: { number: $n, customer: { connect: { externalId: \"busy\" } } }) { ticket { id number state } errors { message path } }
                          updateCustomer: updateCustomers(filter: { externalId: { eq: \"busy\" } }, set: { gender: FEMALE }, atMost: $a) { errors { message } } }",
                        json!({ "n": format!("{worker}-{n}"), "a": 1 }),
                    )
                    .await;
                assert!(answer.get("errors").is_none() && answer["data"]["createTicket"]["errors"] == json!([]), "a write failed: {answer:#}");
                writes.fetch_add(1, Ordering::Relaxed);
            }
            n
        }));
    }
    for _ in 0..2 {
        let (product, done, reads) = (product.clone(), done.clone(), reads.clone());
        workers.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let answer = product
                    .ask("{ tickets(first: 5, orderBy: [{ number: DESC }]) { nodes { id number state customer { name tickets(first: 1) { totalCount } } } } }", json!({}))
                    .await;
                assert!(answer.get("errors").is_none(), "a read failed: {answer:#}");
                reads.fetch_add(1, Ordering::Relaxed);
            }
            0
        }));
    }
    let steps = [
        ticket(json!([{ "name": "note", "kind": "string" }]), "integer"),
        ticket(
            json!([{ "name": "note", "kind": "string", "indexed": true }, { "name": "due", "kind": "datetime" }]),
            "integer",
        ),
        ticket(
            json!([{ "name": "note", "kind": "string", "indexed": true }, { "name": "due", "kind": "datetime" }]),
            "decimal",
        ),
        ticket(json!([{ "name": "due", "kind": "datetime" }]), "decimal"),
        ticket(json!([]), "decimal"),
    ];
    for (i, step) in steps.into_iter().enumerate() {
        // Some work between two changes, counted rather than timed.
        let (w, r) = (writes.load(Ordering::Relaxed), reads.load(Ordering::Relaxed));
        klio_tests::until("work goes on", async || {
            (writes.load(Ordering::Relaxed) > w + 5 && reads.load(Ordering::Relaxed) > r + 5).then_some(())
        })
        .await;
        assert!(workers.iter().all(|w| !w.is_finished()), "a worker ended before change {i}");
        product.data(CHANGE, json!({ "k": step })).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut written = 0;
    for worker in workers {
        written += worker.await.expect("no worker failed");
    }
    let count = product.data("{ tickets { totalCount } }", json!({})).await;
    assert_eq!(
        count["tickets"]["totalCount"],
        json!(written),
        "each acknowledged write is there, once"
    );
}
