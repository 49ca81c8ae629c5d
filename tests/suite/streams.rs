//! Subscriptions by every transport: the same rights, the same limits, the same cursor, the same end.

use std::time::{Duration, Instant};

use klio_tests::listen::{Listener, WAYS, Way};
use klio_tests::{Product, until};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::door::start;

const LIVE: &str = "subscription { customerChanged { change cursor customer { name } } }";
const CREATE: &str = "mutation ($n: String!) { createCustomer(input: {name: $n}) { customer { id } errors { message } } }";

async fn listen(product: &Product, way: Way, token: &str) -> Listener {
    Listener::open(way, &product.url, token, LIVE, &json!({}), None)
        .await
        .unwrap_or_else(|why| panic!("{way:?}: {why}"))
}

/// Waits until all that was committed before is told.
async fn caught_up(listener: &mut Listener, way: Way) -> String {
    loop {
        let told = listener.within(Duration::from_secs(10)).await;
        let told = told.unwrap_or_else(|| panic!("{way:?}: nothing came: {:?}", listener.ended));
        let told = &told["data"]["customerChanged"];
        if told["change"] == "CAUGHT_UP" {
            return told["cursor"].as_str().expect("a cursor").to_owned();
        }
    }
}

/// Names of customers that were added, until so many are there; the last cursor.
async fn names(listener: &mut Listener, count: usize) -> (Vec<String>, Option<String>) {
    let (mut names, mut last) = (Vec::new(), None);
    while names.len() < count {
        let Some(told) = listener.within(Duration::from_secs(20)).await else {
            break;
        };
        let told = &told["data"]["customerChanged"];
        last = told["cursor"].as_str().map(str::to_owned);
        if told["change"] == "ADDED" {
            names.push(told["customer"]["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    (names, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tells_the_same_and_one_goes_on_where_another_stopped() {
    let product = start(&["streams.poll_wait=2s"]).await;
    for (index, way) in WAYS.into_iter().enumerate() {
        let mut first = listen(&product, way, &product.token).await;
        caught_up(&mut first, way).await;
        for n in 0..3 {
            product.data(CREATE, json!({"n": format!("{way:?} {n}")})).await;
        }
        let (heard, cursor) = names(&mut first, 2).await;
        assert_eq!(heard, [format!("{way:?} 0"), format!("{way:?} 1")], "{way:?}");
        drop(first);
        product.data(CREATE, json!({"n": "meanwhile"})).await;
        // From one transport to the next.
        let next = WAYS[(index + 1) % WAYS.len()];
        let resumed = Listener::open(next, &product.url, &product.token, LIVE, &json!({}), cursor.as_deref()).await;
        let mut resumed = resumed.unwrap_or_else(|why| panic!("{next:?}: {why}"));
        let (heard, _) = names(&mut resumed, 2).await;
        assert_eq!(heard, [format!("{way:?} 2"), "meanwhile".into()], "{next:?} behind {way:?}");
    }
    until("all places are free again", async || {
        (product.running().app.places.open() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_has_the_limits_of_an_actor() {
    let product = start(&["websocket.connections_per_actor=2", "streams.poll_wait=5s"]).await;
    for way in WAYS {
        let token = product.token_of("acme", "agent").await;
        let mut one = listen(&product, Way::Events, &token).await;
        let mut two = listen(&product, Way::Socket, &token).await;
        caught_up(&mut one, Way::Events).await;
        caught_up(&mut two, Way::Socket).await;
        let why = match Listener::open(way, &product.url, &token, LIVE, &json!({}), None).await {
            Err(why) => why,
            Ok(mut third) => {
                assert_eq!(third.within(Duration::from_secs(5)).await, None, "{way:?}: a third");
                third.ended.unwrap_or_default()
            }
        };
        assert!(
            why.contains("429") && why.contains("RATE_LIMITED") || why.contains("too many connections"),
            "{way:?}: {why}"
        );
        drop((one, two));
        until("the places are free again", async || {
            (product.running().app.places.open() == 0).then_some(())
        })
        .await;
        caught_up(&mut listen(&product, way, &token).await, way).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ends_when_its_token_expires() {
    let product = start(&[]).await;
    let store = &product.running().app.store;
    let admin = store.tokens(None).await.expect("tokens").pop().expect("the admin's token");
    let end = std::time::SystemTime::now() + Duration::from_secs(3);
    let (short, _) = store
        .create_token(admin.org, "short", admin.role, Some(end.into()))
        .await
        .expect("a token");
    let mut listeners = Vec::new();
    for way in WAYS {
        let mut listener = listen(&product, way, &short).await;
        caught_up(&mut listener, way).await;
        listeners.push((way, listener));
    }
    for (way, mut listener) in listeners {
        assert_eq!(listener.within(Duration::from_secs(5)).await, None, "{way:?}");
        let why = listener.ended.unwrap_or_else(|| panic!("{way:?} goes on"));
        let late = std::time::SystemTime::now().duration_since(end).expect("not before its time");
        assert!(late < Duration::from_millis(700), "{way:?}: {late:?} late, {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ends_in_order_with_the_gateway_and_goes_on_with_the_next() {
    for way in WAYS {
        let mut product = start(&["http.drain_timeout=3s", "streams.poll_wait=30s"]).await;
        let mut listener = listen(&product, way, &product.token).await;
        caught_up(&mut listener, way).await;
        product.data(CREATE, json!({"n": "before"})).await;
        let (heard, cursor) = names(&mut listener, 1).await;
        assert_eq!(heard, ["before"]);
        let began = Instant::now();
        let ends = tokio::spawn(async move {
            while let Some(told) = listener.within(Duration::from_secs(6)).await {
                // A poll that finds something says where that ends.
                assert_eq!(told["data"]["customerChanged"]["change"], "CAUGHT_UP");
            }
            listener.ended
        });
        // A poll has to be there to be ended.
        tokio::time::sleep(Duration::from_millis(200)).await;
        product.restart().await;
        assert!(began.elapsed() < Duration::from_millis(3_200), "{way:?} held the gateway's end up");
        let why = ends.await.expect("no panic").unwrap_or_else(|| panic!("{way:?} goes on"));
        assert!(!why.contains("complete"), "{way:?}: {why}");
        product.data(CREATE, json!({"n": "after"})).await;
        let again = Listener::open(way, &product.url, &product.token, LIVE, &json!({}), cursor.as_deref()).await;
        let (heard, _) = names(&mut again.unwrap_or_else(|why| panic!("{way:?}: {why}")), 1).await;
        assert_eq!(heard, ["after"], "{way:?}");
    }
}

/// A socket to the gateway that holds little, so that who does not read is soon felt.
async fn narrow(product: &Product) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let address = product.url.trim_start_matches("http://").parse().expect("an address");
    socket.connect(address).await.expect("a connection")
}

async fn ask_for_events(stream: &mut TcpStream, token: &str, query: &str) {
    let body = json!({ "query": query }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("a request");
    stream.write_all(body.as_bytes()).await.expect("a request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_event_stream_holds_up_nobody_and_loses_nothing() {
    const ROUNDS: usize = 40;
    const EACH: usize = 50;
    let product = start(&["websocket.write_timeout=4s", "limits.bucket=1000000000"]).await;
    let wide: String = (0..10).map(|n| format!(" n{n}: name")).collect();
    let query = format!("subscription {{ customerChanged {{ change customer {{ externalId{wide} }} }} }}");
    // One reads nothing, one a little at a time, one as it comes.
    let mut never = narrow(&product).await;
    ask_for_events(&mut never, &product.token, &query).await;
    let mut slow = narrow(&product).await;
    ask_for_events(&mut slow, &product.token, &query).await;
    let open = Listener::open(Way::Events, &product.url, &product.token, &query, &json!({}), None).await;
    let mut brisk = open.expect("a stream");
    assert_eq!(
        brisk.next().await.expect("a message")["data"]["customerChanged"]["change"],
        "CAUGHT_UP"
    );
    until("all three listen", async || {
        (product.running().app.places.open() == 3).then_some(())
    })
    .await;
    let writing = async {
        let query = "mutation ($inputs: [CreateCustomerInput!]!) { createCustomers(inputs: $inputs) { results { errors { message } } } }";
        for round in 0..ROUNDS {
            let inputs: Vec<Json> = (0..EACH)
                .map(|n| json!({"name": "x".repeat(1_000), "externalId": (round * EACH + n).to_string()}))
                .collect();
            product.data(query, json!({ "inputs": inputs })).await;
        }
    };
    let reading_briskly = async {
        for n in 0..ROUNDS * EACH {
            let told = brisk.within(Duration::from_secs(10)).await.expect("in time");
            assert_eq!(told["data"]["customerChanged"]["customer"]["externalId"], json!(n.to_string()));
        }
    };
    let reading_slowly = async {
        let (mut text, mut ids, mut chunk) = (Vec::new(), Vec::new(), vec![0; 64 * 1_024]);
        while ids.len() < ROUNDS * EACH {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let n = tokio::time::timeout(Duration::from_secs(10), slow.read(&mut chunk))
                .await
                .expect("in time")
                .expect("bytes");
            assert!(n > 0, "it ended after {} events", ids.len());
            text.extend_from_slice(&chunk[..n]);
            let mark = b"\"externalId\":\"";
            while let Some(at) = text.windows(mark.len()).position(|window| window == mark) {
                let rest = &text[at + mark.len()..];
                let Some(end) = rest.iter().position(|byte| *byte == b'"') else {
                    break;
                };
                let id: usize = String::from_utf8_lossy(&rest[..end]).parse().expect("a number");
                ids.push(id);
                text.drain(..at + mark.len() + end);
            }
        }
        assert!(ids.iter().copied().eq(0..ROUNDS * EACH), "each once, in order: {ids:?}");
    };
    tokio::join!(writing, reading_briskly, reading_slowly);
    until("the one that reads nothing is cut off", async || {
        (product.running().app.places.open() == 2).then_some(())
    })
    .await;
    drop((slow, brisk, never));
    until("all places are free", async || {
        (product.running().app.places.open() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_answers_when_there_is_something_or_after_a_while() {
    let product = start(&["streams.poll_wait=1s"]).await;
    let poll = async |request: Json, wait: &str| {
        let sent = reqwest::Client::new()
            .post(format!("{}/graphql/poll{wait}", product.url))
            .bearer_auth(&product.token)
            .json(&request)
            .send();
        let answer = sent.await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Json>().await.expect("JSON"))
    };
    let (status, first) = poll(json!({"query": LIVE}), "").await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["messages"][0]["data"]["customerChanged"]["change"], "CAUGHT_UP");
    assert_eq!(first["complete"], false);
    let from = |cursor: &Json| json!({"query": LIVE, "extensions": {"resume": cursor}});
    // Nothing: after the time that is set, or that it asks for.
    let began = Instant::now();
    let (_, nothing) = poll(from(&first["cursor"]), "").await;
    assert_eq!(nothing["messages"], json!([]));
    assert!(began.elapsed() >= Duration::from_millis(950), "after {:?}", began.elapsed());
    let began = Instant::now();
    poll(from(&first["cursor"]), "?wait=100ms").await;
    assert!(began.elapsed() < Duration::from_millis(700), "after {:?}", began.elapsed());
    // Something: at once, and all that came between two polls.
    let (_, told) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            product.data(CREATE, json!({"n": "one"})).await
        },
        poll(from(&nothing["cursor"]), "")
    );
    assert_eq!(told.1["messages"][0]["data"]["customerChanged"]["customer"]["name"], "one");
    for n in ["two", "three"] {
        product.data(CREATE, json!({ "n": n })).await;
    }
    let (_, more) = poll(from(&told.1["cursor"]), "").await;
    let heard: Vec<&Json> = more["messages"].as_array().expect("a list").iter().collect();
    let heard: Vec<&Json> = heard.iter().map(|it| &it["data"]["customerChanged"]["customer"]["name"]).collect();
    assert_eq!(heard[..2], [&json!("two"), &json!("three")], "{more}");
    for (request, code) in [
        (json!({"query": "{ __typename }"}), "BAD_INPUT"),
        (json!({"query": "subscription { nope }"}), "GRAPHQL_VALIDATION_FAILED"),
        (json!({"query": LIVE, "extensions": {"resume": "nonsense"}}), "BAD_INPUT"),
    ] {
        let (_, refused) = poll(request, "").await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], code, "{refused}");
    }
    assert_eq!(poll(json!({"query": LIVE}), "?wait=soon").await.0, 400);
}
