//! The Rust client: it comes back by itself, with a new token when the old one is void, and its example survives a restart.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use klio_client::{Client, Error, Kind, Retry};
use klio_tests::redis::free_port;
use klio_tests::{Product, until};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::door::start;

const LIVE: &str = "subscription { customerChanged { change cursor customer { name } } }";
const CREATE: &str = "mutation ($n: String!) { createCustomer(input: {name: $n}) { customer { id } errors { message } } }";

async fn next(changes: &mut klio_client::Subscription) -> Result<Json, Error> {
    let item = tokio::time::timeout(Duration::from_secs(20), changes.next())
        .await
        .expect("in time");
    item.expect("it goes on").map(|mut data| data["customerChanged"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_void_is_replaced_and_nothing_is_missed() {
    let product = start(&[]).await;
    let app = &product.running().app;
    // Each is withdrawn while it is used.
    let asked = Arc::new(AtomicUsize::new(0));
    let tokens: Vec<String> = vec![
        product.token_of_named("acme", "admin", "first").await,
        product.token_of_named("acme", "admin", "second").await,
        product.token_of_named("acme", "admin", "third").await,
    ];
    let client = Client::new(&product.url, "").with_tokens({
        let asked = asked.clone();
        move || {
            let token = tokens.get(asked.fetch_add(1, Ordering::SeqCst)).cloned();
            async move { token.ok_or_else(|| "no more tokens".to_owned()) }
        }
    });
    let mut changes = client.subscribe(LIVE, json!({}));
    assert_eq!(next(&mut changes).await.expect("a message")["change"], "CAUGHT_UP");
    let withdraw = async |name: &str| {
        let token = klio_api::auth::named(&app.store, "acme", name)
            .await
            .expect("an answer")
            .expect("a token");
        assert!(app.store.revoke_token(token.org, token.id).await.expect("a revocation"));
    };
    let mut names = Vec::new();
    for (n, revoked) in [(0, Some("first")), (1, Some("second")), (2, None)] {
        if let Some(name) = revoked {
            withdraw(name).await;
        }
        product.data(CREATE, json!({"n": format!("customer {n}")})).await;
        // Over HTTP too: once the gateway has noticed, the answer is 401, and the client tries again with the next.
        until("the client has a good token", async || {
            client.query("{ __typename }", json!({})).await.ok()
        })
        .await;
        while names.len() <= n {
            let change = next(&mut changes).await.expect("a message");
            if change["change"] == "ADDED" {
                names.push(change["customer"]["name"].as_str().expect("a name").to_owned());
            }
        }
    }
    assert_eq!(names, ["customer 0", "customer 1", "customer 2"], "each once, in order");
    assert!(changes.cursor().is_some());
    // No token is left: that is said.
    withdraw("third").await;
    let why = loop {
        match next(&mut changes).await {
            Ok(_) => {}
            Err(why) => break why,
        }
    };
    assert!(matches!(&why, Error::Token(why) if why == "no more tokens"), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_typed_and_what_cannot_be_mended_ends_it() {
    let product = start(&[]).await;
    let client = Client::new(&product.url, &product.token);
    let refused = client.query("{ nope }", json!({})).await.expect_err("an error");
    assert_eq!(refused.kind(), Some(Kind::Document), "{refused:?}");
    let refused = client
        .with_token("klio_wrong")
        .query("{ __typename }", json!({}))
        .await
        .expect_err("an error");
    assert_eq!(refused.kind(), Some(Kind::Unauthenticated), "{refused:?}");
    let mut wrong = client.subscribe("subscription { nope }", json!({}));
    let refused = next(&mut wrong).await.expect_err("an error");
    assert_eq!(refused.kind(), Some(Kind::Document), "{refused:?}");
    assert!(wrong.next().await.is_none(), "it is over");
    let mut wrong = client.with_token("klio_wrong").subscribe(LIVE, json!({}));
    let refused = next(&mut wrong).await.expect_err("an error");
    assert!(matches!(refused, Error::Closed { code: 4403, .. }), "{refused:?}");
    // Nobody at all.
    let retry = Retry {
        attempts: 3,
        first: Duration::from_millis(10),
        ..Retry::default()
    };
    let nobody = Client::new(format!("http://127.0.0.1:{}", free_port()), "x").with_retry(retry);
    let refused = nobody.query("{ __typename }", json!({})).await.expect_err("an error");
    assert!(matches!(refused, Error::Unreached(_)), "{refused:?}");
    let refused = next(&mut nobody.subscribe(LIVE, json!({}))).await.expect_err("an error");
    assert!(matches!(refused, Error::Connection(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_a_gateway_that_restarts() {
    let mut product = start(&[&format!("http.listen=127.0.0.1:{}", free_port())]).await;
    let client = Client::new(&product.url, &product.token);
    let asking = tokio::spawn(async move {
        for _ in 0..100 {
            match client.query("{ __typename }", json!({})).await {
                // A connection that ends right when it is used: the gateway may have had the request.
                Ok(_) | Err(Error::Connection(_)) => {}
                Err(other) => return Err(other),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, Error>(())
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        product.restart().await;
    }
    asking.await.expect("no panic").expect("no error");
}

/// The example, as it stands beside the tests.
fn example() -> PathBuf {
    let deps = std::env::current_exe().expect("this program");
    let target = deps.parent().and_then(|deps| deps.parent()).expect("target/debug");
    target.join("examples").join("tail")
}

struct Tail {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Tail {
    fn start(product: &Product, customer: &str, file: &str) -> Self {
        let mut command = Command::new(example());
        command.args([&product.url, customer, file]).env("KLIO_TOKEN", &product.token);
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("the example was built with the tests");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (to, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(20), self.lines.recv()).await;
        line.expect("in time").expect("it goes on")
    }

    /// The next message of the timeline that it shows.
    async fn message(&mut self) -> String {
        loop {
            let line = self.line().await;
            if line.starts_with("ADDED") && line.contains(" MESSAGE ") {
                return line.rsplit(' ').next().unwrap_or_default().to_owned();
            }
        }
    }

    async fn caught_up(&mut self) {
        while self.line().await != "CAUGHT_UP" {}
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_tails_a_timeline_through_restarts_of_the_gateway_and_its_own() {
    let mut product = start(&[&format!("http.listen=127.0.0.1:{}", free_port())]).await;
    let made = product
        .data(
            "mutation { createCustomer(input: {name: \"Una\", email: \"una@example.com\"}) { customer { id } errors { message } } }",
            json!({}),
        )
        .await;
    let customer = made["createCustomer"]["customer"]["id"].clone();
    let made = product
        .data(
            "mutation ($c: ID!) { createConversation(input: {name: \"Hello\", customer: {connect: {id: $c}}}) { conversation { id } errors { message } } }",
            json!({ "c": customer }),
        )
        .await;
    let conversation = made["createConversation"]["conversation"]["id"].clone();
    let say = async |product: &Product, body: &str| {
        let query = "mutation ($c: ID!, $b: String!) { createMessage(input: {body: $b, channel: CHAT, direction: IN, conversation: {connect: {id: $c}}}) { errors { message } } }";
        product.data(query, json!({ "c": conversation, "b": body })).await;
    };
    let file = product.folder.path().join("cursor").display().to_string();
    let mut tail = Tail::start(&product, "una@example.com", &file);
    tail.caught_up().await;
    say(&product, "one").await;
    assert_eq!(tail.message().await, "one");
    product.restart().await;
    say(&product, "two").await;
    assert_eq!(tail.message().await, "two");
    // Killed, while things go on.
    until("the cursor is kept", async || std::fs::read_to_string(&file).is_ok().then_some(())).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(tail);
    say(&product, "three").await;
    product.restart().await;
    say(&product, "four").await;
    let mut tail = Tail::start(&product, "una@example.com", &file);
    assert_eq!(
        (tail.message().await, tail.message().await),
        ("three".into(), "four".into()),
        "behind its cursor"
    );
}
