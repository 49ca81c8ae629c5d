//! Several nodes on one database, and Redis between them: fast with it, complete without it.

use std::time::{Duration, Instant};

use klio_api::{Config, Running};
use klio_tests::listen::{Listener, WAYS, Way};
use klio_tests::redis::{Server, cluster, is_there, sentinels};
use klio_tests::{Backend, Product, until};
use serde_json::{Value as Json, json};

const LIVE: &str = "subscription { customerChanged { change cursor customer { name } } }";
const CREATE: &str = "mutation ($n: String!) { createCustomer(input: {name: $n}) { customer { id } errors { message } } }";

/// Two nodes, and a listener at the second who hears what is written at the first.
struct Pair {
    product: Product,
    second: Running,
    listener: Listener,
    written: usize,
}

impl Pair {
    /// `None`: Postgres or Redis is not to be had.
    async fn start(redis: &str) -> Option<Self> {
        let redis = format!("redis.url={redis}");
        let product = Product::start_with(Backend::Postgres, &[&redis]).await?;
        let second = product.another_node().await;
        ready(&product.url, "ready").await;
        ready(&second.url(), "ready").await;
        let listener = Listener::open(Way::Socket, &second.url(), &product.token, LIVE, &json!({}), None).await;
        let mut listener = listener.expect("a subscription");
        let first = listener.within(Duration::from_secs(10)).await.expect("a message");
        assert_eq!(first["data"]["customerChanged"]["change"], "CAUGHT_UP");
        Some(Self {
            product,
            second,
            listener,
            written: 0,
        })
    }

    /// Writes at the first node, hears at the second; how long that takes.
    async fn crosses(&mut self) -> Duration {
        let name = format!("customer {}", self.written);
        self.written += 1;
        self.product.data(CREATE, json!({ "n": name })).await;
        let began = Instant::now();
        let told = self.listener.within(Duration::from_secs(10)).await;
        let told = told.unwrap_or_else(|| panic!("{name} never came: {:?}", self.listener.ended));
        assert_eq!(
            told["data"]["customerChanged"]["customer"]["name"],
            json!(name),
            "each once, in order"
        );
        began.elapsed()
    }

    /// The median and the longest of some.
    async fn cross(&mut self, times: usize) -> (Duration, Duration) {
        let mut all = Vec::with_capacity(times);
        for _ in 0..times {
            all.push(self.crosses().await);
        }
        all.sort();
        (all[times / 2], all[times - 1])
    }

    /// The half of them within a quarter of the sweep's interval: it is news that brings them.
    async fn is_fast(&mut self, what: &str) {
        let (median, longest) = self.cross(15).await;
        eprintln!("{what}: median {median:?}, longest {longest:?}");
        assert!(
            median < Duration::from_millis(250),
            "{what}: median {median:?}, longest {longest:?}"
        );
    }

    async fn degraded(&self) {
        ready(&self.product.url, "degraded").await;
        ready(&self.second.url(), "degraded").await;
    }

    async fn whole(&self) {
        ready(&self.product.url, "ready").await;
        ready(&self.second.url(), "ready").await;
    }
}

async fn health(url: &str) -> (u16, Json) {
    let answer = reqwest::get(format!("{url}/health/ready")).await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn ready(url: &str, word: &str) {
    until(&format!("{url} is {word}"), async || {
        let (status, told) = health(url).await;
        assert_eq!(status, 200, "it serves all the while: {told}");
        (told["status"] == word).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_commits_reaches_the_sockets_of_another_at_once() {
    if !is_there() {
        return;
    }
    let mut redis = Server::start(&[]).await;
    let Some(mut pair) = Pair::start(&redis.url()).await else { return };
    pair.is_fast("with Redis").await;
    // Gone: it serves on, and nothing is lost.
    redis.kill();
    pair.degraded().await;
    let (_, told) = health(&pair.second.url()).await;
    assert!(
        told["parts"]["bus"].as_str().is_some_and(|why| why.starts_with("is away for")),
        "{told}"
    );
    let (median, longest) = pair.cross(10).await;
    eprintln!("without: median {median:?}, longest {longest:?}");
    assert!(median < Duration::from_millis(700), "median {median:?}, longest {longest:?}");
    redis.run().await;
    pair.whole().await;
    pair.is_fast("back again").await;
    // Its connections cut, as by an operator.
    redis.say(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.expect("an answer");
    pair.cross(5).await;
    pair.whole().await;
    pair.is_fast("after its connections were cut").await;
    let text = reqwest::get(format!("{}/metrics", pair.second.url()))
        .await
        .expect("an answer")
        .text()
        .await;
    let text = text.expect("a text");
    assert!(text.contains("klio_bus_up 1"), "{text}");
    let heard = text
        .lines()
        .find_map(|line| line.strip_prefix("klio_bus_news_total{what=\"heard\"} "));
    assert!(
        heard.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 20)),
        "{heard:?}"
    );
    pair.second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_paused_is_found_out() {
    if !is_there() {
        return;
    }
    let redis = Server::start(&[]).await;
    let Some(mut pair) = Pair::start(&redis.url()).await else { return };
    // Nothing breaks: it only answers no more.
    redis.pause();
    let (_, longest) = pair.cross(3).await;
    assert!(longest < Duration::from_millis(2_500), "the sweep finds it: {longest:?}");
    let began = Instant::now();
    pair.degraded().await;
    assert!(began.elapsed() < Duration::from_secs(8), "after {:?}", began.elapsed());
    pair.cross(3).await;
    redis.go_on();
    pair.whole().await;
    pair.is_fast("going on").await;
    pair.second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_cluster_with_sharded_channels() {
    if !is_there() {
        return;
    }
    let mut nodes = cluster().await;
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", nodes[0].port, nodes[1].port);
    let Some(mut pair) = Pair::start(&url).await else { return };
    pair.is_fast("with a Cluster").await;
    let channels = nodes[0].say(&["PUBSUB", "SHARDCHANNELS"]).await.expect("an answer");
    assert!(channels.lines().count() > 10, "each shard has a part: {channels}");
    // A shard dies: what went over it comes by the sweep.
    nodes[2].kill();
    pair.degraded().await;
    let (_, longest) = pair.cross(10).await;
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    nodes[2].run().await;
    pair.whole().await;
    pair.is_fast("the shard is back").await;
    pair.second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sentinel_and_a_failover() {
    if !is_there() {
        return;
    }
    let (mut master, _replica, sentinels) = sentinels().await;
    let hosts: Vec<String> = sentinels.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect();
    let Some(mut pair) = Pair::start(&format!("redis+sentinel://{}/main", hosts.join(","))).await else {
        return;
    };
    pair.is_fast("with Sentinel").await;
    master.kill();
    pair.degraded().await;
    pair.cross(3).await;
    // The replica is made master.
    pair.whole().await;
    pair.is_fast("with the new master").await;
    pair.second.shutdown().await;
}

/// A reader's subscription at one node, by each transport; then `withdraw`; then writes go on. How long the last message came after.
async fn silence(redis: Option<&Server>, withdraw: impl AsyncFn(&Product, &str)) {
    let sets = redis.map(|redis| format!("redis.url={}", redis.url()));
    let sets: Vec<&str> = sets.iter().map(String::as_str).chain(["streams.poll_wait=5s"]).collect();
    let Some(product) = Product::start_with(Backend::Postgres, &sets).await else {
        return;
    };
    let second = product.another_node().await;
    if redis.is_some() {
        ready(&product.url, "ready").await;
        ready(&second.url(), "ready").await;
    }
    let mut listening = Vec::new();
    for way in WAYS {
        let token = product.token_of_named("acme", "agent", &format!("{way:?}")).await;
        let listener = Listener::open(way, &second.url(), &token, LIVE, &json!({}), None).await;
        let mut listener = listener.unwrap_or_else(|why| panic!("{way:?}: {why}"));
        // It is told of writes before.
        product.data(CREATE, json!({ "n": "before" })).await;
        loop {
            let told = listener.within(Duration::from_secs(10)).await.unwrap_or_else(|| panic!("{way:?}"));
            if told["data"]["customerChanged"]["change"] == "CAUGHT_UP" {
                break;
            }
        }
        listening.push((way, listener));
    }
    // Writes never pause, so whoever may still hear does.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let writing = async {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            product.data(CREATE, json!({ "n": "during" })).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let watching = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for (way, _) in &listening {
            withdraw(&product, &format!("{way:?}")).await;
        }
        let began = Instant::now();
        let heard = futures_util::future::join_all(listening.into_iter().map(async |(way, mut listener)| {
            let mut last = Duration::ZERO;
            while listener.within(Duration::from_secs(5)).await.is_some() {
                last = began.elapsed();
            }
            let why = listener.ended.unwrap_or_else(|| panic!("{way:?} is open still"));
            (way, last, why)
        }))
        .await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for (way, last, why) in heard {
            eprintln!("{way:?}: silent after {last:?}: {why}");
            assert!(last < Duration::from_secs(1), "{way:?} heard something after {last:?}");
        }
    };
    tokio::join!(writing, watching);
    second.shutdown().await;
}

/// Withdraws a token behind the gateways' backs; the same with news of it.
async fn revoke(product: &Product, name: &str, tell: bool) {
    let app = &product.running().app;
    let token = klio_api::auth::named(&app.store, "acme", name).await.expect("an answer");
    let token = token.expect("the token");
    assert!(app.store.revoke_token(token.org, token.id).await.expect("a revocation"));
    if tell {
        assert_eq!(klio_api::auth::tell(&app.config.redis, token.id).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_falls_silent_within_a_second_on_every_transport() {
    silence(None, async |product, name| revoke(product, name, false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_role_falls_silent_within_a_second_on_every_transport() {
    silence(None, async |product, name| {
        let store = &product.running().app.store;
        product.token_of_named("acme", "reader", &format!("pattern of {name}")).await;
        let named = async |name: &str| {
            klio_api::auth::named(store, "acme", name)
                .await
                .expect("an answer")
                .expect("a token")
        };
        let (token, pattern) = (named(name).await, named(&format!("pattern of {name}")).await);
        assert!(store.set_token_role(token.org, token.id, pattern.role).await.expect("a change"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_news_that_crosses_nodes() {
    if !is_there() {
        return;
    }
    let redis = Server::start(&[]).await;
    silence(Some(&redis), async |product, name| revoke(product, name, true).await).await;
    // Without looking for it by itself, for a long time, another node ends the connection at once.
    let sets = [format!("redis.url={}", redis.url()), "auth.recheck=1h".into()];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let Some(product) = Product::start_with(Backend::Postgres, &sets).await else {
        return;
    };
    let second = product.another_node().await;
    ready(&product.url, "ready").await;
    ready(&second.url(), "ready").await;
    let token = product.token_of_named("acme", "agent", "one").await;
    let listener = Listener::open(Way::Events, &second.url(), &token, LIVE, &json!({}), None).await;
    let mut listener = listener.expect("a stream");
    listener.within(Duration::from_secs(10)).await.expect("a message");
    // As `klio token revoke` does it.
    revoke(&product, "one", true).await;
    let began = Instant::now();
    assert_eq!(listener.within(Duration::from_secs(10)).await, None);
    assert!(
        listener.ended.is_some() && began.elapsed() < Duration::from_secs(1),
        "after {:?}",
        began.elapsed()
    );
    second.shutdown().await;
}

/// Settings of a node by themselves are right.
#[test]
fn redis_is_set_by_one_variable() {
    let of = |url: &str| Config::from_parts(None, vec![("KLIO_REDIS_URL".into(), url.into())], &[]);
    assert!(of("redis://h:6379").expect("right").redis.url.is_some());
    assert!(of("").expect("right").redis.url.is_none());
    let told = of("redis://user:secret@").expect_err("wrong").to_string();
    assert!(told.contains("KLIO_REDIS_URL") && !told.contains("secret"), "{told}");
}
