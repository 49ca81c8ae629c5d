//! Events are not kept for ever: a cursor below those that are kept gets `RESYNC` with the reason, and goes on from there; one that had
//! heard all misses nothing.

use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use klio_client::{Client, Subscription};
use klio_tests::{Product, on_each_database};
use serde_json::{Value as Json, json};

on_each_database!(a_cursor_below_what_is_kept_is_told_so);

const LIVE: &str = "subscription { customerChanged { change cursor reason customer { name } } }";
const CREATE: &str = "mutation ($n: String!) { createCustomer(input: {name: $n}) { cursor customer { id } errors { message } } }";

async fn next(changes: &mut Subscription) -> Json {
    let next = tokio::time::timeout(Duration::from_secs(60), changes.next())
        .await
        .expect("in time");
    let data = next.expect("it goes on").expect("a message");
    data.as_object().and_then(|it| it.values().next()).cloned().unwrap_or_default()
}

/// The next message of another kind than `CAUGHT_UP`.
async fn change(changes: &mut Subscription) -> Json {
    loop {
        let message = next(changes).await;
        if message["change"] != "CAUGHT_UP" {
            return message;
        }
    }
}

async fn create(client: &Client, name: &str) -> String {
    let data = client.query(CREATE, json!({ "n": name })).await.expect("a payload");
    let payload = &data["createCustomer"];
    assert_eq!(payload["errors"], json!([]), "{payload}");
    payload["cursor"].as_str().expect("a cursor").to_owned()
}

async fn a_cursor_below_what_is_kept_is_told_so(mut product: Product) {
    let client = Client::new(&product.url, &product.token);
    let old = create(&client, "one").await;
    create(&client, "two").await;
    let mut held = client.subscribe(LIVE, json!({}));
    assert_eq!(next(&mut held).await["change"], "CAUGHT_UP");
    let new = held.cursor().map(str::to_owned);
    drop(held);
    // All of it is old enough.
    let store = &product.running().app.store;
    while store
        .forget_events(Utc::now() + chrono::Duration::minutes(1), 1_000)
        .await
        .expect("forgets")
        > 0
    {}
    // What a node still remembers it tells; one that was just started remembers nothing.
    product.restart().await;
    let client = Client::new(&product.url, &product.token);
    let mut late = client.subscribe_after(LIVE, json!({}), Some(old));
    let message = next(&mut late).await;
    assert_eq!(message["change"], "RESYNC", "{message}");
    assert!(
        message["reason"].as_str().is_some_and(|why| why.contains("no longer kept")),
        "{message}"
    );
    // Of what was told when all was told nothing is missing.
    let mut timely = client.subscribe_after(LIVE, json!({}), new);
    create(&client, "three").await;
    for changes in [&mut late, &mut timely] {
        let message = change(changes).await;
        assert_eq!(message["customer"]["name"], "three", "{message}");
    }
}
