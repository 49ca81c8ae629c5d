//! Load for tests of faults: writers that note what was acknowledged, subscribers that note what they heard. The same throws of the dice each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use klio_client::{Client, Retry};
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::{History, Outcome, Verdict};
use crate::processes::Gateway;
use crate::until;

/// How many customers are written to, one after the other.
pub const STREAMS: usize = 3;
const WRITERS: usize = 4;
/// Settings of a gateway that is not to hold back its writers.
pub const SETS: [&str; 3] = ["limits.bucket=1000000000", "http.drain_timeout=3s", "limits.refill=1000000000"];

/// The same throws each time.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// From here to before there.
    pub fn throw(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        from + (self.0 >> 33) % (to - from)
    }

    /// Waits for so many milliseconds.
    pub async fn wait(&mut self, from: u64, to: u64) {
        tokio::time::sleep(Duration::from_millis(self.throw(from, to))).await;
    }
}

/// Writers at one address, subscribers at another.
pub struct Load {
    history: Arc<History>,
    /// The token of those who write and listen.
    pub token: String,
    url: String,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
}

/// The patience of a client that outlives the gateway.
pub fn retry() -> Retry {
    Retry {
        attempts: 10_000,
        first: Duration::from_millis(20),
        most: Duration::from_millis(400),
        ..Retry::default()
    }
}

/// The stream of a write's name: `s1-w2-17`.
pub fn stream_of(name: &str) -> &str {
    name.split('-').next().unwrap_or_default()
}

impl Load {
    /// Starts both, on a gateway without orgs.
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
            // At the gateway itself: a balancer may still hold its nodes for lost.
            url: gateway.url.clone(),
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

/// A test's end, unless all rules hold.
pub fn judge(what: &str, verdict: &Verdict) {
    eprintln!("{what}: {verdict}");
    assert!(verdict.writes.0 > 20, "{what}: hardly anything was written: {verdict}");
    assert!(verdict.holds(false), "{what}: {verdict}");
}
