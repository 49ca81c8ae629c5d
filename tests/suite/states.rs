//! States: the present one at once, then the latest whenever it changes, by every transport and from every node.

use std::time::Duration;

use futures_util::StreamExt;
use klio_client::{Client, Subscription};
use klio_tests::listen::{Listener, WAYS, Way};
use klio_tests::redis::{Server, is_there};
use klio_tests::{Backend, Product, on_each_database, until};
use serde_json::{Value as Json, json};

on_each_database!(
    a_count_follows_what_matches_by_every_transport,
    who_views_and_who_types_is_seen_until_they_go,
    a_customer_at_a_glance_is_there_again_after_a_restart
);

const COUNT: &str = "subscription { customersCount(filter: {name: {startsWith: \"A\"}}) { count } }";
const CREATE: &str = "mutation ($n: String!) { createCustomer(input: {name: $n}) { customer { id } errors { message } } }";
const PRESENCE: &str = "subscription ($of: ID!) { presence(of: $of) { present { actor { name } typing } } }";
const BEAT: &str = "mutation ($of: ID!, $activity: PresenceActivity!) { beat(of: $of, activity: $activity) { until errors { message } } }";
const STATE: &str = "subscription ($id: ID!) { customerState(id: $id) { conversations { open all } viewers { typing } } }";

/// The states that a subscription tells, until one is as wished.
async fn hear(states: &mut Subscription, wished: impl Fn(&Json) -> bool) -> Json {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), states.next()).await.expect("in time");
        let data = next.expect("it goes on").expect("a state");
        let state = data.as_object().and_then(|it| it.values().next()).cloned().unwrap_or_default();
        if wished(&state) {
            return state;
        }
    }
}

async fn customer(product: &Product, name: &str) -> String {
    let data = product.data(CREATE, json!({ "n": name })).await;
    data["createCustomer"]["customer"]["id"].as_str().expect("an id").to_owned()
}

/// Names of those who are there, and whether they type.
fn present(state: &Json) -> Vec<(String, bool)> {
    let all = state["present"].as_array().into_iter().flatten();
    all.map(|it| (it["actor"]["name"].as_str().unwrap_or_default().to_owned(), it["typing"] == true))
        .collect()
}

async fn a_count_follows_what_matches_by_every_transport(product: Product) {
    customer(&product, "Ann").await;
    let mut open = Vec::new();
    for way in WAYS {
        let listener = Listener::open(way, &product.url, &product.token, COUNT, &json!({}), None).await;
        open.push((way, listener.expect("a subscription")));
    }
    let count = |told: &Json| told["data"]["customersCount"]["count"].as_i64();
    for (way, listener) in &mut open {
        let told = listener.within(Duration::from_secs(10)).await.expect("a state");
        assert_eq!(count(&told), Some(1), "{way:?}: {told}");
    }
    customer(&product, "Bob").await;
    customer(&product, "Amy").await;
    for (way, listener) in &mut open {
        let told = listener.within(Duration::from_secs(10)).await.expect("a state");
        assert_eq!(count(&told), Some(2), "{way:?}: {told}");
        // Those who poll brought what they had, and are not told it again.
        let again = listener
            .within(Duration::from_millis(if *way == Way::Poll { 800 } else { 200 }))
            .await;
        assert_eq!(again, None, "{way:?}");
    }
}

async fn who_views_and_who_types_is_seen_until_they_go(product: Product) {
    let ann = customer(&product, "Ann").await;
    let client = Client::new(&product.url, &product.token);
    let mut states = client.subscribe(PRESENCE, json!({ "of": ann }));
    assert_eq!(present(&hear(&mut states, |_| true).await), []);
    let other = client.with_token(product.token_of_named("acme", "reader", "other").await);
    let beat = async |client: &Client, activity: &str| {
        let data = client
            .query(BEAT, json!({ "of": ann, "activity": activity }))
            .await
            .expect("a payload");
        assert_eq!(data["beat"]["errors"], json!([]), "{data}");
    };
    beat(&client, "VIEWING").await;
    beat(&other, "TYPING").await;
    let both = hear(&mut states, |state| present(state).len() == 2).await;
    let mut told = present(&both);
    told.sort();
    assert_eq!(told, [("other".to_owned(), true), ("test".to_owned(), false)]);
    beat(&other, "GONE").await;
    let one = hear(&mut states, |state| present(state).len() == 1).await;
    assert_eq!(present(&one), [("test".to_owned(), false)]);
}

async fn a_customer_at_a_glance_is_there_again_after_a_restart(mut product: Product) {
    let ann = customer(&product, "Ann").await;
    let client = Client::new(&product.url, &product.token);
    let begin = "mutation ($c: ID!) { createConversation(input: {name: \"Hello\", customer: {connect: {id: $c}}}) { errors { message } } }";
    let mut states = client.subscribe(STATE, json!({ "id": ann }));
    assert_eq!(hear(&mut states, |_| true).await["conversations"]["all"], 0);
    product.data(begin, json!({ "c": ann })).await;
    hear(&mut states, |state| state["conversations"] == json!({"open": 1, "all": 1})).await;
    product.restart().await;
    let mut states = Client::new(&product.url, &product.token).subscribe(STATE, json!({ "id": ann }));
    let first = hear(&mut states, |_| true).await;
    assert_eq!(first["conversations"], json!({"open": 1, "all": 1}));
    product.data(begin, json!({ "c": ann })).await;
    hear(&mut states, |state| state["conversations"] == json!({"open": 2, "all": 2})).await;
}

/// A beat at one node is seen at the other, by its bus; and not in another org.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_at_one_node_is_seen_at_another() {
    if !is_there() {
        return;
    }
    let redis = Server::start(&[]).await;
    let url = format!("redis.url={}", redis.url());
    let Some(product) = Product::start_with(Backend::Postgres, &[&url]).await else {
        return;
    };
    let second = product.another_node().await;
    for url in [&product.url, &second.url()] {
        until("the bus is there", async || {
            let answer = reqwest::get(format!("{url}/health/ready")).await.ok()?;
            (answer.json::<Json>().await.ok()?["status"] == "ready").then_some(())
        })
        .await;
    }
    let ann = customer(&product, "Ann").await;
    let there = Client::new(second.url(), &product.token);
    let here = Client::new(&product.url, &product.token);
    let mut states = there.subscribe(PRESENCE, json!({ "of": ann }));
    assert_eq!(present(&hear(&mut states, |_| true).await), []);
    here.query(BEAT, json!({ "of": ann, "activity": "TYPING" }))
        .await
        .expect("a payload");
    let seen = hear(&mut states, |state| !present(state).is_empty()).await;
    assert_eq!(present(&seen), [("test".to_owned(), true)]);
    // And a count is that of all nodes' writes.
    let mut counts = there.subscribe(COUNT, json!({}));
    assert_eq!(hear(&mut counts, |_| true).await["count"], 1);
    customer(&product, "Amy").await;
    assert_eq!(hear(&mut counts, |_| true).await["count"], 2);
    second.shutdown().await;
}
