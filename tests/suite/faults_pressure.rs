//! Pressure while writers write and subscribers listen: readers that do not read, a transaction that does not end, nodes that come and
//! go. Whoever is not at fault hears everything, once and in order.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use klio_tests::load::{Dice, Load, SETS, Wires, judge};
use klio_tests::processes::Gateway;
use klio_tests::{Backend, new_database};
use sea_orm::{ConnectionTrait, Database, TransactionTrait};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Readers that do not read.
const SLOW: usize = 500;
/// At most so much more memory may they cost the gateway, each with a queue that is full.
const MEMORY: u64 = 200 * 1024 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A subscriber to all messages who reads no further than the acknowledgement.
async fn slow(gateway: &Gateway, token: &str) -> Socket {
    let mut upgrade = (gateway.url.replacen("http", "ws", 1) + "/graphql")
        .into_client_request()
        .expect("a request");
    let protocol = "graphql-transport-ws".parse().expect("a header");
    upgrade.headers_mut().insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = tokio_tungstenite::connect_async(upgrade).await.expect("a socket");
    let init = json!({"type": "connection_init", "payload": {"authorization": format!("Bearer {token}")}});
    socket.send(Message::text(init.to_string())).await.expect("sent");
    socket.next().await.expect("an acknowledgement").expect("a message");
    let query = "subscription { messageChanged { change cursor message { body preview conversation { name } } } }";
    let subscribe = json!({"type": "subscribe", "id": "1", "payload": {"query": query}});
    socket.send(Message::text(subscribe.to_string())).await.expect("sent");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_readers_do_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &folder).await else {
        return;
    };
    let gateway = Gateway::start(&database, &SETS).await;
    let load = Load::start(&gateway, &gateway.url.clone()).await;
    load.more(20).await;
    let before = gateway.memory();
    let mut readers = Vec::with_capacity(SLOW);
    for _ in 0..SLOW {
        readers.push(slow(&gateway, &load.token).await);
    }
    let began = Instant::now();
    load.more(300).await;
    eprintln!("300 writes beside {SLOW} readers who do not read: {:?}", began.elapsed());
    let more = gateway.memory().saturating_sub(before);
    eprintln!("{} KiB for each of them", more / 1024 / SLOW as u64);
    assert!(more < MEMORY, "{more} bytes more");
    // Whoever begins to read after all gets what there is, or is told to come back.
    let mut heard = 0;
    while heard < 20 {
        let next = tokio::time::timeout(Duration::from_secs(10), readers[0].next())
            .await
            .expect("in time");
        match next {
            Some(Ok(Message::Text(text))) if text.contains("ADDED") => heard += 1,
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map_or(1006, |frame| u16::from(frame.code));
                assert!(matches!(code, 1012 | 1013) || code > 4_500, "one that a client retries: {code}");
                break;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
    judge("five hundred readers do not read", &load.verdict().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_holds_one_customer() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &folder).await else {
        return;
    };
    let gateway = Gateway::start(&database, &SETS).await;
    let load = Load::start(&gateway, &gateway.url.clone()).await;
    let mut dice = Dice(6);
    let connection = Database::connect(&database).await.expect("a connection");
    for _ in 0..3 {
        load.more(20).await;
        // The row that gives the customer's events their numbers; whoever writes to this customer waits, and no event that is younger
        // than this transaction is below the feed's horizon.
        let open = connection.begin().await.expect("a transaction");
        let hold = "update stream_head set seq = seq where stream in (select 'c:' || id from customer where external_id = 's0')";
        let held = open.execute_unprepared(hold).await.expect("it holds");
        assert_eq!(held.rows_affected(), 1, "there is such a stream");
        dice.wait(1_500, 2_500).await;
        open.rollback().await.expect("it ends");
    }
    load.more(20).await;
    judge("a transaction holds one customer three times", &load.verdict().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_restarted_one_after_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &folder).await else {
        return;
    };
    // Without a bus: what one node commits is found by the other's sweep.
    let mut one = Gateway::start(&database, &SETS).await;
    let mut two = Gateway::start(&database, &SETS).await;
    let wires = Wires::between(&[&two, &one]).await;
    let load = Load::start(&one, &wires.url).await;
    let mut dice = Dice(7);
    for _ in 0..2 {
        for node in [&mut one, &mut two] {
            load.more(20).await;
            dice.wait(0, 300).await;
            node.end().await;
            dice.wait(0, 300).await;
            node.run().await;
        }
    }
    load.more(20).await;
    judge("two nodes are restarted in turn", &load.verdict().await);
}
