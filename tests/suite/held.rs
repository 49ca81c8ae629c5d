//! A long transaction that holds one customer holds up nobody else: other customers' streams are heard at once, what follows the whole org
//! waits (it may not pass by what could still come before) and then has all of it, in order.

use std::time::Duration;

use klio_tests::listen::{Listener, Way};
use klio_tests::{Backend, Product};
use sea_orm::{ConnectionTrait, Database, TransactionTrait};
use serde_json::json;

const TIMELINE: &str = "subscription ($c: ID!) { timeline(customer: $c) { change entry { ... on Message { body } } } }";
const FEED: &str = "subscription { messageChanged { change message { body } } }";
const WRITE: &str = "mutation ($b: String!, $c: String!) { createMessage(input: {body: $b, channel: CHAT, direction: IN, conversation: {connect: {externalId: $c}}}) { errors { message } } }";

async fn listen(product: &Product, query: &str, variables: serde_json::Value) -> Listener {
    let listener = Listener::open(Way::Socket, &product.url, &product.token, query, &variables, None).await;
    let mut listener = listener.expect("a subscription");
    let first = listener.within(Duration::from_secs(20)).await.expect("a message");
    assert!(first.to_string().contains("CAUGHT_UP"), "{first}");
    listener
}

/// The text of the next message.
async fn body(listener: &mut Listener, field: &str, of: &str) -> String {
    let told = listener.within(Duration::from_secs(20)).await.expect("a message");
    told["data"][field][of]["body"]
        .as_str()
        .unwrap_or_else(|| panic!("{told}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_holds_up_its_customer_alone() {
    let Some(product) = Product::start(Backend::Postgres).await else {
        return;
    };
    let mut ids = Vec::new();
    for name in ["held", "free"] {
        let create = "mutation ($n: String!) { createConversation(input: {name: $n, externalId: $n, customer: {create: {name: $n, externalId: $n}}}) { conversation { customer { id } } errors { message } } }";
        let data = product.data(create, json!({ "n": name })).await;
        ids.push(data["createConversation"]["conversation"]["customer"]["id"].clone());
    }
    let mut free = listen(&product, TIMELINE, json!({"c": ids[1]})).await;
    let mut held = listen(&product, TIMELINE, json!({"c": ids[0]})).await;
    let mut feed = listen(&product, FEED, json!({})).await;

    let connection = Database::connect(&product.database).await.expect("the database answers");
    let transaction = connection.begin().await.expect("it begins");
    let hold = "update customer set name = name where external_id = 'held'";
    transaction.execute_unprepared(hold).await.expect("it holds the customer");

    // The write to the customer that is held waits; it is sent first and committed last.
    let waiting = product.data(WRITE, json!({"b": "held 0", "c": "held"}));
    let others = async {
        for n in 0..3 {
            let text = format!("free {n}");
            product.data(WRITE, json!({"b": text, "c": "free"})).await;
            assert_eq!(body(&mut free, "timeline", "entry").await, text);
        }
        // Three commits are there, and the feed may not tell them yet.
        assert!(
            feed.within(Duration::from_millis(1_500)).await.is_none(),
            "told before what may come before it"
        );
        transaction.rollback().await.expect("it ends");
    };
    tokio::join!(waiting, others);
    assert_eq!(body(&mut held, "timeline", "entry").await, "held 0");
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(body(&mut feed, "messageChanged", "message").await);
    }
    assert_eq!(told.iter().filter(|it| *it == "held 0").count(), 1, "{told:?}");
    told.retain(|it| it.starts_with("free"));
    assert_eq!(told, ["free 0", "free 1", "free 2"]);
}
