//! The floor of live updates: a bare server that knows nothing. A socket is acknowledged, subscribed to one broadcast, and told what is
//! posted to `/publish`: no schema, no rights, no log, no cursor. Its buffers are the gateway's.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Sender, channel};

/// As the gateway's sockets have.
const BUFFER: usize = 4 * 1024;
/// What a slow socket may lag behind, as the gateway's rings hold.
const WAITING: usize = 256;

type News = Sender<Utf8Bytes>;

/// Serves until it is killed.
pub async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let news: News = channel(WAITING).0;
    let router = Router::new()
        .route("/graphql", get(upgrade))
        .route("/publish", post(publish))
        .with_state(news);
    axum::serve(TcpListener::bind(listen).await?, router).await?;
    Ok(())
}

async fn publish(State(news): State<News>, body: String) -> &'static str {
    // Nobody may listen.
    let _ = news.send(body.into());
    "{}"
}

async fn upgrade(State(news): State<News>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols(["graphql-transport-ws"])
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .on_upgrade(async move |socket| {
            // A client that is gone is no fault.
            let _ = listen(socket, &news).await;
        })
}

async fn listen(mut socket: WebSocket, news: &News) -> Result<(), axum::Error> {
    // connection_init, then subscribe.
    socket.recv().await.transpose()?;
    socket.send(Message::Text(r#"{"type":"connection_ack"}"#.into())).await?;
    socket.recv().await.transpose()?;
    let mut heard = news.subscribe();
    let caught_up = r#"{"id":"1","type":"next","payload":{"data":{"timeline":{"change":"CAUGHT_UP","cursor":null,"entry":null}}}}"#;
    socket.send(Message::Text(caught_up.into())).await?;
    loop {
        tokio::select! {
            told = heard.recv() => match told {
                Ok(text) => socket.send(Message::Text(text)).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            said = socket.recv() => match said {
                Some(said) => { said?; }
                None => return Ok(()),
            },
        }
    }
}
