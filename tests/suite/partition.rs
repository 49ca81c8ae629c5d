//! A node whose network is slow, stops or comes back: it says so, others work on, and its subscribers miss nothing.

use std::time::Duration;

use klio_tests::load::{Dice, Load, SETS, judge};
use klio_tests::processes::Gateway;
use klio_tests::redis::{Server, is_there};
use klio_tests::wires::Wires;
use klio_tests::{Backend, new_database, until};
use serde_json::Value as Json;

/// What a node says of itself: `ready`, `degraded`, `not ready`.
async fn says(gateway: &Gateway, word: &str) {
    let url = format!("{}/health/ready", gateway.url);
    until(&format!("the node says {word}"), async || {
        let told: Json = reqwest::get(&url).await.ok()?.json().await.ok()?;
        (told["status"] == word).then_some(())
    })
    .await;
}

async fn start(database: &str, sets: &[String]) -> Gateway {
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    Gateway::start(database, &sets).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_cut_off_from_its_database_and_from_redis() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &folder).await else {
        return;
    };
    let redis = Server::start(&[]).await;
    let with = |redis: String| -> Vec<String> {
        SETS.iter()
            .map(|set| (*set).to_owned())
            .chain([format!("redis.url={redis}"), "database.statement_timeout=2s".to_owned()])
            .collect()
    };
    let one = start(&database, &with(redis.url())).await;
    // The second node reaches both over wires of ours.
    let (at, name) = database
        .split_once('@')
        .and_then(|(_, rest)| rest.split_once('/'))
        .expect("host, port and name");
    let (to_database, to_redis) = (Wires::to(&[at]).await, Wires::to(&[&format!("127.0.0.1:{}", redis.port)]).await);
    let over = format!("postgres://postgres@{}/{name}", to_database.address);
    let two = start(&over, &with(format!("redis://{}", to_redis.address))).await;
    let load = Load::start(&one, &two.url.clone()).await;
    let mut dice = Dice(21);
    load.more(20).await;
    // A long way: 30 ms each way to both.
    for wires in [&to_database, &to_redis] {
        wires.delay(Duration::from_millis(30));
    }
    load.more(40).await;
    for wires in [&to_database, &to_redis] {
        wires.delay(Duration::ZERO);
    }
    for _ in 0..2 {
        // Redis is gone without a word: the node finds out, and looks into the log.
        to_redis.stop(true);
        says(&two, "degraded").await;
        load.more(20).await;
        to_redis.stop(false);
        says(&two, "ready").await;
        // So is the database; the other node writes on.
        to_database.stop(true);
        says(&two, "not ready").await;
        load.more(20).await;
        to_database.stop(false);
        says(&two, "ready").await;
        dice.wait(0, 200).await;
        // Both connections break, and are made anew.
        to_database.cut();
        to_redis.cut();
        load.more(20).await;
    }
    // What is connected stays connected and carries nothing any more, as when the far machine was replaced by another one.
    to_database.abandon();
    to_redis.abandon();
    load.more(20).await;
    says(&two, "ready").await;
    load.more(20).await;
    judge("a node is cut off", &load.verdict().await);
}
