//! Sockets: who may open one, when it ends, and that nothing is lost on the way.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use klio_tests::redis::free_port;
use klio_tests::{Product, until};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::door::start;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A socket, with a sub-protocol and perhaps an origin.
async fn open(product: &Product, origin: Option<&str>) -> Result<Socket, SocketError> {
    let mut request = (product.url.replacen("http", "ws", 1) + "/graphql")
        .into_client_request()
        .expect("a URL");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a header"));
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().expect("a header"));
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

pub(crate) async fn say(socket: &mut Socket, message: Json) {
    socket
        .send(Message::text(message.to_string()))
        .await
        .expect("a socket that takes messages");
}

/// The next message, or the close code.
pub(crate) async fn hear(socket: &mut Socket) -> Result<Json, u16> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), socket.next())
            .await
            .expect("something within 10 s");
        match next {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("messages are JSON")),
            Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(1006),
        }
    }
}

/// An acknowledged socket.
pub(crate) async fn acked(product: &Product, token: &str) -> Socket {
    let mut socket = open(product, None).await.expect("a socket");
    say(
        &mut socket,
        json!({"type": "connection_init", "payload": {"authorization": format!("Bearer {token}")}}),
    )
    .await;
    assert_eq!(hear(&mut socket).await, Ok(json!({"type": "connection_ack"})));
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_token() {
    let product = start(&[]).await;
    let store = &product.running().app.store;
    // Revoked behind the gateway's back, while the socket is idle.
    let mut socket = acked(&product, &product.token).await;
    let token = store.tokens(None).await.expect("tokens").pop().expect("the admin's token");
    store.revoke_token(token.org, token.id).await.expect("a revocation");
    let began = Instant::now();
    assert_eq!(hear(&mut socket).await, Err(4403));
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    // Expired: at the very time.
    let end = std::time::SystemTime::now() + Duration::from_secs(2);
    let (short, _) = store
        .create_token(token.org, "short", token.role, Some(end.into()))
        .await
        .expect("a token");
    let mut socket = acked(&product, &short).await;
    // A new token of the same actor would keep it open; of another it ends.
    assert_eq!(hear(&mut socket).await, Err(4403));
    let late = std::time::SystemTime::now().duration_since(end).expect("not before its time");
    assert!(late < Duration::from_millis(500), "{late:?} late");
    let mut socket = acked(&product, &product.token_of("acme", "agent").await).await;
    let other = product.token_of("acme", "admin").await;
    say(
        &mut socket,
        json!({"type": "ping", "payload": {"authorization": format!("Bearer {other}")}}),
    )
    .await;
    assert_eq!(hear(&mut socket).await, Ok(json!({"type": "pong"})));
    assert_eq!(hear(&mut socket).await, Err(4403), "another actor's token");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_open_a_socket_and_how_many() {
    let product = start(&[
        "websocket.origins=https://app.example.com",
        "websocket.connections_limit=3",
        "websocket.connections_per_actor=2",
    ])
    .await;
    for (origin, fine) in [
        (None, true),
        (Some("https://app.example.com"), true),
        (Some(product.url.as_str()), true),
        (Some("https://evil.example"), false),
        (Some("https://app.example.com.evil.example"), false),
        (Some("null"), false),
    ] {
        match open(&product, origin).await {
            Ok(_) => assert!(fine, "{origin:?} came in"),
            Err(SocketError::Http(answer)) => assert!(!fine && answer.status() == 403, "{origin:?}: {}", answer.status()),
            Err(error) => panic!("{origin:?}: {error}"),
        }
        until("the place is free again", async || {
            (product.running().app.places.open() == 0).then_some(())
        })
        .await;
    }
    let first = acked(&product, &product.token).await;
    let _second = acked(&product, &product.token).await;
    let mut third = open(&product, None).await.expect("a socket");
    say(&mut third, json!({"type": "connection_init", "payload": {"token": product.token}})).await;
    assert_eq!(hear(&mut third).await, Err(1013), "a third of the same actor");
    drop(third);
    until("the place is free again", async || {
        (product.running().app.places.open() == 2).then_some(())
    })
    .await;
    let other = product.token_of("acme", "reader").await;
    let _third = acked(&product, &other).await;
    match open(&product, None).await {
        Err(SocketError::Http(answer)) => assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"1".parse().expect("a value"))
        ),
        _ => panic!("a fourth socket"),
    }
    drop(first);
    until("a place is free", async || (product.running().app.places.open() == 2).then_some(())).await;
    let _again = acked(&product, &product.token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_holds_up_nobody() {
    let product = start(&["websocket.write_timeout=2s"]).await;
    let query = "{ __schema { types { name description fields { name description args { name description } } } } }";
    let mut slow = acked(&product, &product.token).await;
    // Far more than the kernel's buffers hold, and not one byte is read.
    for i in 0..100 {
        if slow
            .send(Message::text(
                json!({"id": i.to_string(), "type": "subscribe", "payload": {"query": query}}).to_string(),
            ))
            .await
            .is_err()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut brisk = acked(&product, &product.token).await;
    for i in 0..50 {
        let began = Instant::now();
        say(
            &mut brisk,
            json!({"id": i.to_string(), "type": "subscribe", "payload": {"query": "{ __typename }"}}),
        )
        .await;
        assert_eq!(hear(&mut brisk).await.expect("an answer")["type"], "next");
        assert_eq!(hear(&mut brisk).await.expect("an end")["type"], "complete");
        assert!(
            began.elapsed() < Duration::from_millis(500),
            "answer {i} took {:?}",
            began.elapsed()
        );
        // 50 a second are allowed.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    until("the one that takes nothing is cut off", async || {
        (product.running().app.places.open() == 1).then_some(())
    })
    .await;
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_orderly() {
    let product = start(&["http.drain_timeout=4s"]).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(acked(&product, &product.token).await);
    }
    let url = product.url.clone();
    product.running().drain();
    let mut times = Vec::new();
    let began = Instant::now();
    // Each hears it in its own time: read one after the other, all would seem to be as late as the first.
    let mut ends: futures_util::stream::FuturesUnordered<_> = sockets.iter_mut().map(hear).collect();
    while let Some(end) = ends.next().await {
        assert_eq!(end, Err(1012));
        times.push(began.elapsed());
    }
    assert!(began.elapsed() < Duration::from_secs(4), "after {:?}", began.elapsed());
    assert!(times[19] - times[0] > Duration::from_millis(100), "all at once: {times:?}");
    assert!(
        TcpStream::connect(url.trim_start_matches("http://")).await.is_err(),
        "nobody comes in any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_misses_nothing_while_the_gateway_restarts() {
    let mut product = start(&[&format!("http.listen=127.0.0.1:{}", free_port())]).await;
    let client = klio_client::Client::new(&product.url, &product.token);
    let make = async |client: &klio_client::Client, n: usize| {
        let query = "mutation ($name: String!) { createCustomer(input: {name: $name}) { customer { id } errors { message } } }";
        let data = client
            .query(query, json!({"name": format!("customer {n}")}))
            .await
            .expect("a customer");
        assert_eq!(data["createCustomer"]["errors"], json!([]));
    };
    let query = "subscription ($after: Cursor) { customerChanged(after: $after) { change cursor customer { name } } }";
    let mut changes = client.subscribe(query, json!({}));
    let mut next = async || {
        let item = tokio::time::timeout(Duration::from_secs(20), changes.next())
            .await
            .expect("a message within 20 s");
        item.expect("it goes on").expect("a change")["customerChanged"].take()
    };
    assert_eq!(next().await["change"], "CAUGHT_UP");
    let mut seen = Vec::new();
    for n in 0..30 {
        if n % 10 == 5 {
            product.restart().await;
        }
        make(&client, n).await;
    }
    while seen.len() < 30 {
        let change = next().await;
        if change["change"] == "ADDED" {
            seen.push(change["customer"]["name"].as_str().expect("a name").to_owned());
        }
    }
    let wanted: Vec<String> = (0..30).map(|n| format!("customer {n}")).collect();
    assert_eq!(seen, wanted, "each once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_loses_nothing() {
    const ROUNDS: usize = 40;
    const EACH: usize = 50;
    let product = start(&["websocket.write_timeout=60s", "limits.bucket=1000000000"]).await;
    let mut slow = acked(&product, &product.token).await;
    // Ten times a name of 1,000 characters: 20 MB in all, far more than the kernel's buffers and the gateway's own hold.
    let wide: String = (0..10).map(|n| format!(" n{n}: name")).collect();
    let query = format!("subscription {{ customerChanged {{ change customer {{ externalId{wide} }} }} }}");
    say(&mut slow, json!({"id": "1", "type": "subscribe", "payload": {"query": query}})).await;
    assert_eq!(
        hear(&mut slow).await.expect("a message")["payload"]["data"]["customerChanged"]["change"],
        "CAUGHT_UP"
    );
    let query = "mutation ($inputs: [CreateCustomerInput!]!) { createCustomers(inputs: $inputs) { results { errors { message } } } }";
    for round in 0..ROUNDS {
        let inputs: Vec<Json> = (0..EACH)
            .map(|n| json!({"name": "x".repeat(1_000), "externalId": (round * EACH + n).to_string()}))
            .collect();
        product.data(query, json!({"inputs": inputs})).await;
    }
    // Now it begins to read.
    let mut seen = Vec::new();
    while seen.len() < ROUNDS * EACH {
        let message = hear(&mut slow).await.expect("it goes on");
        let change = &message["payload"]["data"]["customerChanged"];
        assert_eq!(change["change"], "ADDED", "{message}");
        seen.push(
            change["customer"]["externalId"]
                .as_str()
                .expect("an id")
                .parse::<usize>()
                .expect("a number"),
        );
    }
    assert!(seen.iter().copied().eq(0..ROUNDS * EACH), "each once, in order: {seen:?}");
}
