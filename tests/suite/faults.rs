//! Faults while writers write and subscribers listen: nothing acknowledged is lost, nothing is told twice or out of order.
//!
//! Real processes are killed. Each test is seeded; the long run over all faults is `tests/soak`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use klio_client::{Client, Retry};
use klio_tests::history::{History, Outcome, Verdict};
use klio_tests::processes::{Gateway, Postgres};
use klio_tests::redis::{Server, is_there};
use klio_tests::wires::Wires;
use klio_tests::{Backend, new_database, until};
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const STREAMS: usize = 3;
const WRITERS: usize = 4;
pub const SETS: [&str; 3] = ["limits.bucket=1000000000", "http.drain_timeout=3s", "limits.refill=1000000000"];

/// The same throws each time.
pub struct Dice(pub u64);

impl Dice {
    fn throw(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        from + (self.0 >> 33) % (to - from)
    }

    pub async fn wait(&mut self, from: u64, to: u64) {
        tokio::time::sleep(Duration::from_millis(self.throw(from, to))).await;
    }
}

/// Writers at one address, subscribers at another.
pub struct Load {
    history: Arc<History>,
    token: String,
    url: String,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
}

fn retry() -> Retry {
    Retry {
        attempts: 10_000,
        first: Duration::from_millis(20),
        most: Duration::from_millis(400),
        ..Retry::default()
    }
}

/// The stream of a write's name: `s1-w2-17`.
fn stream_of(name: &str) -> &str {
    name.split('-').next().unwrap_or_default()
}

impl Load {
    /// Writers at a gateway.
    pub async fn start(gateway: &Gateway, subscribers_at: &str) -> Self {
        Self::start_at(gateway, &gateway.url, subscribers_at).await
    }

    /// Writers and subscribers at addresses that lead to a gateway and to others on its database.
    pub async fn start_at(gateway: &Gateway, writers_at: &str, subscribers_at: &str) -> Self {
        gateway.say(&["org", "create", "acme"]);
        gateway.say(&["org", "create", "other"]);
        let token = gateway.say(&["token", "create", "--org", "acme", "--role", "admin"]);
        let foreign = gateway.say(&["token", "create", "--org", "other", "--role", "admin"]);
        let client = Client::new(writers_at, &token).with_retry(retry());
        let history = Arc::new(History::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut customers = Vec::new();
        for n in 0..STREAMS {
            let query = "mutation ($n: String!) { createConversation(input: {name: $n, externalId: $n, customer: {create: {name: $n, externalId: $n}}}) { conversation { customer { id } } errors { message } } }";
            let data = client.query(query, json!({"n": format!("s{n}")})).await.expect("a conversation");
            assert_eq!(data["createConversation"]["errors"], json!([]), "{data}");
            customers.push(data["createConversation"]["conversation"]["customer"]["id"].clone());
        }
        let mut subscribers = Vec::new();
        let at = Client::new(subscribers_at, &token).with_retry(retry());
        let timeline = "subscription ($c: ID!) { timeline(customer: $c) { change cursor reason entry { ... on Message { body } } } }";
        let feed = "subscription { messageChanged { change cursor reason message { body } } }";
        for n in 0..STREAMS * 2 {
            let stream = format!("s{}", n % STREAMS);
            let (client, variables) = (at.clone(), json!({"c": customers[n % STREAMS]}));
            subscribers.push(
                listen(
                    &history,
                    &client,
                    timeline,
                    variables,
                    &format!("timeline {n}"),
                    Some(stream),
                    "entry",
                )
                .await,
            );
        }
        for n in 0..2 {
            subscribers.push(listen(&history, &at, feed, json!({}), &format!("feed {n}"), None, "message").await);
        }
        let other = at.with_token(foreign);
        subscribers.push(
            listen(
                &history,
                &other,
                feed,
                json!({}),
                "another org's",
                Some("nothing".into()),
                "message",
            )
            .await,
        );
        let writers = (0..WRITERS)
            .map(|writer| tokio::spawn(write(history.clone(), writers_at.to_owned(), token.clone(), writer, stop.clone())))
            .collect();
        Self {
            history,
            token,
            url: writers_at.to_owned(),
            stop,
            writers,
            subscribers,
        }
    }

    /// Waits for so many more writes.
    pub async fn more(&self, count: usize) {
        let before = self.history.done();
        until("writes go on", async || (self.history.done() >= before + count).then_some(())).await;
    }

    /// Ends the writers, waits for the subscribers to hear the rest, and judges.
    pub async fn verdict(self) -> Verdict {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.expect("no panic");
        }
        let there = there(&Client::new(&self.url, &self.token).with_retry(retry())).await;
        let began = Instant::now();
        while !self.history.complete(&there) && began.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Whoever would hear something twice may do so now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.subscribers.iter().for_each(JoinHandle::abort);
        self.history.check(&there)
    }
}

/// All messages that there are, by stream.
async fn there(client: &Client) -> BTreeMap<String, BTreeSet<String>> {
    let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut after = Json::Null;
    loop {
        let query = "query ($after: String) { messages(first: 200, after: $after) { nodes { body } pageInfo { hasNextPage endCursor } } }";
        let data = client.query(query, json!({ "after": after })).await.expect("a page");
        for node in data["messages"]["nodes"].as_array().into_iter().flatten() {
            let name = node["body"].as_str().expect("a body");
            there.entry(stream_of(name).to_owned()).or_default().insert(name.to_owned());
        }
        if data["messages"]["pageInfo"]["hasNextPage"] != true {
            return there;
        }
        after = data["messages"]["pageInfo"]["endCursor"].clone();
    }
}

/// A subscriber, once it is caught up.
async fn listen(
    history: &Arc<History>,
    client: &Client,
    query: &'static str,
    variables: Json,
    name: &str,
    stream: Option<String>,
    of: &'static str,
) -> JoinHandle<()> {
    history.subscriber(name, stream.as_deref());
    let (told, mut ready) = watch::channel(false);
    let (history, client, name) = (history.clone(), client.clone(), name.to_owned());
    let task = tokio::spawn(async move {
        let mut changes = client.subscribe(query, variables);
        while let Some(item) = changes.next().await {
            let data = item.unwrap_or_else(|error| panic!("{name}: {error}"));
            let change = data.as_object().and_then(|it| it.values().next()).cloned().unwrap_or_default();
            match change["change"].as_str() {
                Some("CAUGHT_UP") => {
                    told.send_replace(true);
                }
                Some("RESYNC") => history.resync(&name, change["reason"].as_str().unwrap_or_default()),
                Some("ADDED") => {
                    if let Some(body) = change[of]["body"].as_str() {
                        history.heard(&name, stream_of(body), body);
                    }
                }
                _ => {}
            }
        }
    });
    let caught_up = tokio::time::timeout(Duration::from_secs(20), ready.wait_for(|ready| *ready)).await;
    caught_up.expect("caught up in time").expect("it listens");
    task
}

/// Writes one message after the other, to one stream after the other.
async fn write(history: Arc<History>, url: String, token: String, writer: usize, stop: Arc<AtomicBool>) {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client");
    let query = "mutation ($b: String!, $c: String!) { createMessage(input: {body: $b, channel: CHAT, direction: IN, conversation: {connect: {externalId: $c}}}) { message { id } errors { message } } }";
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let stream = format!("s{}", (writer + n) % STREAMS);
        let name = format!("{stream}-w{writer}-{n}");
        let began = Instant::now();
        let request = http
            .post(format!("{url}/graphql"))
            .bearer_auth(&token)
            .header("accept", "application/graphql-response+json")
            .json(&json!({"query": query, "variables": {"b": name, "c": stream}}));
        let outcome = match request.send().await {
            Err(error) if error.is_connect() => Outcome::Refused,
            Err(_) => Outcome::Unknown,
            Ok(answer) => match answer.json::<Json>().await {
                Ok(body) if body["data"]["createMessage"]["message"]["id"].is_string() => Outcome::Done,
                // It says that something went wrong, not that nothing was done.
                Ok(_) | Err(_) => Outcome::Unknown,
            },
        };
        history.wrote(&name, &stream, outcome, began);
        let pause = if outcome == Outcome::Done { 2 } else { 30 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Fails unless all rules hold.
pub fn judge(what: &str, verdict: &Verdict) {
    eprintln!("{what}: {verdict}");
    assert!(verdict.writes.0 > 20, "{what}: hardly anything was written: {verdict}");
    assert!(verdict.holds(false), "{what}: {verdict}");
}

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

/// Wires to a gateway, and the address at which they begin.
async fn wires_to(gateway: &Gateway) -> (Wires, String) {
    let wires = Wires::to(gateway.url.trim_start_matches("http://")).await;
    let url = format!("http://{}", wires.address);
    (wires, url)
}

async fn a_storm_of_reconnects(backend: Backend) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(backend, &folder).await else {
        return;
    };
    let gateway = Gateway::start(&database, &SETS).await;
    let (wires, url) = wires_to(&gateway).await;
    let load = Load::start(&gateway, &url).await;
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
    let (wires, url) = wires_to(&two).await;
    let load = Load::start(&one, &url).await;
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
