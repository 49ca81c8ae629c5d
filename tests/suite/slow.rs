//! Slow readers hurt nobody: while hundreds take nothing, others hear everything at once and the gateway's memory stays where it was; when
//! they read again they get all of it, in order; and who takes nothing for too long is cut off.

use std::time::{Duration, Instant};

use klio_client::Client;
use klio_tests::listen::{Listener, Way};
use klio_tests::processes::Gateway;
use klio_tests::{Backend, new_database, until};
use serde_json::{Value as Json, json};

const SLOW: usize = 500;
const QUICK: usize = 5;
const MESSAGES: usize = 100;
/// So large that no buffer of the system takes them all.
const LENGTH: usize = 16 * 1024;
const BUFFER: u32 = 4 * 1024;

const LIVE: &str = "subscription ($c: ID!) { timeline(customer: $c) { change cursor entry { ... on Message { body } } } }";
const WRITE: &str = "mutation ($b: String!) { createMessage(input: {body: $b, channel: CHAT, direction: IN, conversation: {connect: {externalId: \"one\"}}}) { errors { message } } }";

struct Scene {
    gateway: Gateway,
    client: Client,
    token: String,
    customer: Json,
}

impl Scene {
    async fn set(database: &str, sets: &[&str]) -> Self {
        let gateway = Gateway::start(database, sets).await;
        gateway.say(&["org", "create", "acme"]);
        let token = gateway.say(&["token", "create", "--org", "acme", "--role", "admin"]);
        let client = Client::new(&gateway.url, &token);
        let create = "mutation { createConversation(input: {name: \"one\", externalId: \"one\", customer: {create: {name: \"one\"}}}) { conversation { customer { id } } errors { message } } }";
        let data = client.query(create, json!({})).await.expect("a conversation");
        let customer = data["createConversation"]["conversation"]["customer"]["id"].clone();
        Self {
            gateway,
            client,
            token,
            customer,
        }
    }

    async fn slow(&self) -> Listener {
        let variables = json!({"c": self.customer});
        let listener = Listener::narrow(&self.gateway.url, &self.token, LIVE, &variables, BUFFER).await;
        let mut listener = listener.expect("a subscription");
        caught_up(&mut listener).await;
        listener
    }

    async fn write(&self, number: usize) {
        let body = format!("{number} {}", "x".repeat(LENGTH));
        let data = self.client.query(WRITE, json!({ "b": body })).await.expect("an answer");
        assert_eq!(data["createMessage"]["errors"], json!([]), "{data}");
    }
}

async fn caught_up(listener: &mut Listener) {
    let first = listener.within(Duration::from_secs(20)).await.expect("a message");
    assert_eq!(first["data"]["timeline"]["change"], "CAUGHT_UP");
}

/// The next message's number.
async fn number(listener: &mut Listener) -> Option<usize> {
    loop {
        let told = listener.within(Duration::from_secs(30)).await?;
        let told = &told["data"]["timeline"];
        if told["change"] == "ADDED" {
            let body = told["entry"]["body"].as_str().expect("a body");
            return body.split(' ').next()?.parse().ok();
        }
        assert_eq!(told["change"], "CAUGHT_UP", "{told}");
    }
}

async fn slow_readers_hurt_nobody(backend: Backend) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(backend, &folder).await else {
        return;
    };
    // Slow as they are, they shall be kept.
    let sets = ["websocket.ping_interval=300s", "websocket.write_timeout=300s"];
    let scene = Scene::set(&database, &sets).await;
    let mut slow = Vec::with_capacity(SLOW);
    for _ in 0..SLOW {
        slow.push(scene.slow().await);
    }
    let mut quick = Vec::new();
    for _ in 0..QUICK {
        let variables = json!({"c": scene.customer});
        let listener = Listener::open(Way::Socket, &scene.gateway.url, &scene.token, LIVE, &variables, None).await;
        let mut listener = listener.expect("a subscription");
        caught_up(&mut listener).await;
        quick.push(listener);
    }
    let before = scene.gateway.memory();
    let mut longest = Duration::ZERO;
    for message in 0..MESSAGES {
        scene.write(message).await;
        let written = Instant::now();
        for listener in &mut quick {
            assert_eq!(number(listener).await, Some(message));
        }
        longest = longest.max(written.elapsed());
    }
    let grown = scene.gateway.memory().saturating_sub(before);
    eprintln!(
        "{SLOW} slow readers: the others waited {longest:?} at most; {} MB more memory",
        grown / 1_000_000
    );
    // What waits for them would be 800 MB.
    assert!(grown < 150_000_000, "{} MB", grown / 1_000_000);
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    // Now they read: each has everything, in order, once.
    for listener in &mut slow {
        for message in 0..MESSAGES {
            assert_eq!(number(listener).await, Some(message));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_hurt_nobody_sqlite() {
    slow_readers_hurt_nobody(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_hurt_nobody_postgres() {
    slow_readers_hurt_nobody(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Sqlite, &folder).await else {
        return;
    };
    let scene = Scene::set(&database, &["websocket.write_timeout=1s"]).await;
    let mut slow = scene.slow().await;
    let sockets = async || {
        let text = reqwest::get(format!("{}/metrics", scene.gateway.url))
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("klio_sockets "))?;
        line.parse::<usize>().ok()
    };
    assert_eq!(sockets().await, Some(1));
    let mut written = 0;
    until("it is cut off", async || {
        scene.write(written).await;
        written += 1;
        (sockets().await? == 0).then_some(())
    })
    .await;
    // What came before that it has, in order; then it ends, and would come back behind its cursor.
    let mut heard = 0;
    while let Some(number) = number(&mut slow).await {
        assert_eq!(number, heard);
        heard += 1;
    }
    assert!(slow.ended.is_some() && heard < written, "{heard} of {written}: {:?}", slow.ended);
}
