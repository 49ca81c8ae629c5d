//! What a test says and hears through the client: customers that are made, and the messages of a subscription.

use std::time::Duration;

use futures_util::StreamExt;
use klio_client::{Client, Subscription};
use serde_json::{Value as Json, json};

/// Makes a customer.
pub const CREATE: &str = "mutation ($n: String!) { createCustomer(input: {name: $n}) { customer { id } cursor errors { message } } }";

/// The next message of a subscription that has one root field.
pub async fn next(changes: &mut Subscription) -> Json {
    let next = tokio::time::timeout(Duration::from_secs(60), changes.next())
        .await
        .expect("in time");
    let data = next.expect("it goes on").expect("a message");
    data.as_object().and_then(|it| it.values().next()).cloned().unwrap_or_default()
}

/// The next message of another kind than `CAUGHT_UP`.
pub async fn change(changes: &mut Subscription) -> Json {
    loop {
        let message = next(changes).await;
        if message["change"] != "CAUGHT_UP" {
            return message;
        }
    }
}

/// Makes a customer; the cursor behind it.
pub async fn create(client: &Client, name: &str) -> String {
    let data = client.query(CREATE, json!({ "n": name })).await.expect("a payload");
    let payload = &data["createCustomer"];
    assert_eq!(payload["errors"], json!([]), "{payload}");
    payload["cursor"].as_str().expect("a cursor").to_owned()
}
