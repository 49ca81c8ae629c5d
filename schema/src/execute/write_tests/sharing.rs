//! One execution for all who ask the same and may see the same; nobody else's, nothing lost, nothing twice.

use std::sync::atomic::Ordering;

use klio_entities::klass::Role;
use serde_json::{Value as Json, json};

use super::{World, each};

const CARDS: &str = "subscription($after: Cursor) { cardChanged(after: $after) { change cursor card { label secret } } }";

async fn cards(world: &World) {
    let input = json!({"name": "card", "properties": [
        {"name": "label", "kind": "string"},
        {"name": "secret", "kind": "string", "sensitive": true},
    ]});
    let done = world
        .write(
            "mutation($it: KlassInput!) { defineKlass(input: $it) { applied errors { path message } } }",
            json!({"it": input}),
        )
        .await;
    assert_eq!(done, json!({"applied": true, "errors": []}));
}

async fn card(world: &World, label: &str) -> String {
    let done = world
        .write(
            "mutation($it: CreateCardInput!) { createCard(input: $it) { cursor errors { code path message } } }",
            json!({"it": {"label": label, "secret": "s3cret"}}),
        )
        .await;
    done["cursor"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned()
}

/// What an agent and a reader of the same subscription are told of a secret, whoever came first.
async fn secrets(world: &World, first: Role, second: Role) -> [Json; 2] {
    let mut first = world.by(first).listen(CARDS, json!({})).await;
    assert_eq!(first.next().await["change"], "CAUGHT_UP");
    let mut second = world.by(second).listen(CARDS, json!({})).await;
    assert_eq!(second.next().await["change"], "CAUGHT_UP");
    card(world, "x").await;
    let of = |message: Json| message["card"]["secret"].clone();
    [of(first.change().await), of(second.change().await)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_see_less_shares_nothing_with_who_may_see_more() {
    each(async |world| {
        cards(&world).await;
        let secret = json!("s3cret");
        assert_eq!(secrets(&world, Role::Agent, Role::Reader).await, [secret.clone(), Json::Null]);
        assert_eq!(secrets(&world, Role::Reader, Role::Agent).await, [Json::Null, secret.clone()]);
        // The guard itself: with the class taken out of the key, this very test shows the secret to the reader.
        while world.gateway.shares.count() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        world.gateway.shares.blind.store(true, Ordering::Relaxed);
        assert_eq!(secrets(&world, Role::Agent, Role::Reader).await, [secret.clone(), secret]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_executed_once_for_all_who_ask_the_same() {
    each(async |world| {
        cards(&world).await;
        let before = card(&world, "before").await;
        let mut all = Vec::new();
        for n in 0..60 {
            // Some come with a cursor, some as another actor of the same class: they share all the same.
            let variables = if n % 3 == 0 { json!({"after": before}) } else { json!({}) };
            let who = if n % 2 == 0 { Role::Agent } else { Role::Owner };
            let mut messages = world.by(who).listen(CARDS, variables).await;
            while messages.next().await["change"] != "CAUGHT_UP" {}
            all.push(messages);
        }
        assert_eq!(world.gateway.shares.count(), 1);
        let runs = world.gateway.shares.runs();
        card(&world, "one").await;
        let mut bodies = Vec::new();
        for messages in &mut all {
            let message = messages.raw().await;
            bodies.push(message.body);
        }
        assert_eq!(world.gateway.shares.runs() - runs, 1);
        let first = bodies[0].as_ptr();
        assert!(bodies.iter().all(|body| body.as_ptr() == first), "the same bytes, not made again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_for_long_misses_nothing_and_holds_up_no_one() {
    each(async |world| {
        cards(&world).await;
        let mut fast = world.listen(CARDS, json!({})).await;
        let mut slow = world.listen(CARDS, json!({})).await;
        for messages in [&mut fast, &mut slow] {
            assert_eq!(messages.next().await["change"], "CAUGHT_UP");
        }
        // More than waits for anyone.
        for batch in 0..4 {
            let inputs: Vec<Json> = (0..100).map(|n| json!({"label": format!("{}", batch * 100 + n)})).collect();
            let done = world
                .write(
                    "mutation($it: [CreateCardInput!]!) { createCards(inputs: $it) { errors { message } } }",
                    json!({"it": inputs}),
                )
                .await;
            assert_eq!(done["errors"], json!([]));
            for n in 0..100 {
                assert_eq!(fast.change().await["card"]["label"], format!("{}", batch * 100 + n));
            }
        }
        let mut cursor = Json::Null;
        for n in 0..200 {
            let message = slow.change().await;
            assert_eq!(message["card"]["label"], format!("{n}"));
            cursor = message["cursor"].clone();
        }
        drop(slow);
        let mut again = world.listen(CARDS, json!({"after": cursor})).await;
        for n in 200..400 {
            assert_eq!(again.next().await["card"]["label"], format!("{n}"));
        }
        assert_eq!(again.next().await["change"], "CAUGHT_UP");
        card(&world, "last").await;
        for messages in [&mut fast, &mut again] {
            assert_eq!(messages.change().await["card"]["label"], "last");
            messages.quiet().await;
        }
    })
    .await;
}
