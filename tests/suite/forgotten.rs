//! Events are not kept for ever: a cursor below those that are kept gets `RESYNC` with the reason, and goes on from there; one that had
//! heard all misses nothing.

use chrono::Utc;
use klio_client::Client;
use klio_tests::changes::{change, create, next};
use klio_tests::{Product, on_each_database};
use serde_json::json;

on_each_database!(a_cursor_below_what_is_kept_is_told_so);

const LIVE: &str = "subscription { customerChanged { change cursor reason customer { name } } }";

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
