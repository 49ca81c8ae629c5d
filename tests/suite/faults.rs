//! Faults while writers write and subscribers listen: nothing acknowledged is lost, nothing is told twice or out of order.
//!
//! Real processes are killed. Each test is seeded; the long run over all faults is `tests/soak`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use klio_tests::load::{Dice, Load, SETS, judge};
use klio_tests::processes::{Gateway, Postgres};
use klio_tests::redis::{Server, is_there};
use klio_tests::wires::Wires;
use klio_tests::{Backend, new_database};

/// Places in a write at which a gateway may die: before the commit, and between the commit and its hint.
const PLACES: [&str; 2] = ["write.appended", "write.committed"];

async fn the_gateway_is_killed(backend: Backend, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(backend, &folder).await else {
        return;
    };
    let mut gateway = Gateway::start(&database, &SETS).await;
    let load = Load::start(&gateway, &gateway.url.clone()).await;
    let mut dice = Dice(seed);
    for _ in 0..5 {
        load.more(20).await;
        dice.wait(0, 300).await;
        gateway.kill();
        dice.wait(0, 100).await;
        gateway.run().await;
    }
    load.more(20).await;
    judge("the gateway is killed five times", &load.verdict().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_killed_sqlite() {
    the_gateway_is_killed(Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_killed_postgres() {
    the_gateway_is_killed(Backend::Postgres, 2).await;
}

async fn the_gateway_dies_in_the_midst_of_a_write(backend: Backend, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(backend, &folder).await else {
        return;
    };
    let mut gateway = Gateway::start(&database, &SETS).await;
    let load = Load::start(&gateway, &gateway.url.clone()).await;
    let mut dice = Dice(seed);
    for _ in 0..2 {
        for place in PLACES {
            load.more(20).await;
            gateway.die_at(place, dice.throw(1, 40)).await;
            gateway.run().await;
        }
    }
    load.more(20).await;
    judge(
        "the gateway dies before a commit, and between a commit and its hint",
        &load.verdict().await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_dies_in_the_midst_of_a_write_sqlite() {
    the_gateway_dies_in_the_midst_of_a_write(Backend::Sqlite, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_dies_in_the_midst_of_a_write_postgres() {
    the_gateway_dies_in_the_midst_of_a_write(Backend::Postgres, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_stopped_at_once() {
    let Some(postgres) = Postgres::start().await else { return };
    let gateway = Gateway::start(&postgres.url("postgres"), &SETS).await;
    let load = Load::start(&gateway, &gateway.url.clone()).await;
    let mut dice = Dice(3);
    for _ in 0..3 {
        load.more(30).await;
        dice.wait(0, 300).await;
        postgres.kill().await;
        dice.wait(0, 500).await;
        postgres.run().await;
    }
    load.more(30).await;
    judge("Postgres is stopped at once three times", &load.verdict().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_paused_between_two_nodes() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &folder).await else {
        return;
    };
    let mut redis = Server::start(&[]).await;
    let url = format!("redis.url={}", redis.url());
    let sets: Vec<&str> = SETS.into_iter().chain([url.as_str()]).collect();
    let mut one = Gateway::start(&database, &sets).await;
    let mut two = Gateway::start(&database, &sets).await;
    let load = Load::start(&one, &two.url.clone()).await;
    let mut dice = Dice(4);
    for round in 0..2 {
        load.more(20).await;
        redis.kill();
        load.more(20).await;
        redis.run().await;
        dice.wait(0, 500).await;
        redis.pause();
        load.more(20).await;
        redis.go_on();
        // A rolling deployment: one node after the other, in good order.
        let node = if round == 0 { &mut two } else { &mut one };
        node.end().await;
        node.run().await;
    }
    load.more(20).await;
    judge("Redis is killed and paused, nodes are restarted", &load.verdict().await);
}

async fn a_storm_of_reconnects(backend: Backend) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(backend, &folder).await else {
        return;
    };
    let gateway = Gateway::start(&database, &SETS).await;
    let wires = Wires::to(&[gateway.address()]).await;
    let load = Load::start(&gateway, &wires.url()).await;
    let mut dice = Dice(5);
    for _ in 0..25 {
        load.more(5).await;
        dice.wait(0, 120).await;
        wires.cut();
    }
    load.more(20).await;
    judge("all connections are cut 25 times", &load.verdict().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_reconnects_sqlite() {
    a_storm_of_reconnects(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_reconnects_postgres() {
    a_storm_of_reconnects(Backend::Postgres).await;
}

/// All faults, one after the other as the dice fall, for `KLIO_TEST_SOAK_MINUTES`; `tests/soak` runs it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/soak runs it"]
async fn soak() {
    let of = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (minutes, seed) = (of("KLIO_TEST_SOAK_MINUTES", 1), of("KLIO_TEST_SOAK_SEED", 1));
    let (Some(postgres), true) = (Postgres::start().await, is_there()) else {
        return;
    };
    let mut redis = Server::start(&[]).await;
    let url = format!("redis.url={}", redis.url());
    let sets: Vec<&str> = SETS.into_iter().chain([url.as_str()]).collect();
    let mut one = Gateway::start(&postgres.url("postgres"), &sets).await;
    let mut two = Gateway::start(&postgres.url("postgres"), &sets).await;
    let wires = Wires::to(&[two.address()]).await;
    let load = Load::start(&one, &wires.url()).await;
    let mut dice = Dice(seed);
    let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    while Instant::now() < end {
        load.more(50).await;
        dice.wait(0, 400).await;
        let fault = match dice.throw(0, 9) {
            0 => {
                one.kill();
                dice.wait(0, 200).await;
                one.run().await;
                "the writers' gateway killed"
            }
            1 => {
                two.kill();
                dice.wait(0, 200).await;
                two.run().await;
                "the subscribers' gateway killed"
            }
            2 => {
                two.end().await;
                two.run().await;
                "the subscribers' gateway restarted"
            }
            3 => {
                postgres.kill().await;
                dice.wait(0, 500).await;
                postgres.run().await;
                "Postgres stopped at once"
            }
            4 => {
                redis.kill();
                load.more(10).await;
                redis.run().await;
                "Redis killed"
            }
            5 => {
                one.die_at(PLACES[0], dice.throw(1, 40)).await;
                one.run().await;
                "the writers' gateway dead before a commit"
            }
            6 => {
                one.die_at(PLACES[1], dice.throw(1, 40)).await;
                one.run().await;
                "the writers' gateway dead between a commit and its hint"
            }
            7 => {
                redis.pause();
                load.more(10).await;
                redis.go_on();
                "Redis paused"
            }
            _ => {
                wires.cut();
                "all connections cut"
            }
        };
        *faults.entry(fault).or_default() += 1;
    }
    let verdict = load.verdict().await;
    let holds = if verdict.holds(false) { "HOLDS" } else { "FAILS" };
    let mut report = format!("# Soak of {minutes} minutes, seed {seed}: {holds}\n\n{verdict}\n\nFaults:\n\n");
    for (fault, count) in &faults {
        report.push_str(&format!("- {fault}: {count}\n"));
    }
    if let Ok(file) = std::env::var("KLIO_TEST_SOAK_REPORT") {
        std::fs::write(file, &report).expect("a report");
    }
    eprintln!("{report}");
    assert!(verdict.holds(false), "{report}");
}
