//! One subscription over a WebSocket of its own: graphql-transport-ws, coming back behind the last cursor.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{Error, GraphqlError, Response, Retry};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// A stream of what a subscription tells: data, or what went wrong. It ends when the gateway completes it, or after an error
/// that coming back does not mend. Dropped, it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    items: mpsc::Receiver<Result<Value, Error>>,
    task: JoinHandle<()>,
}

impl Stream for Subscription {
    type Item = Result<Value, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_recv(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a connection ended.
enum End {
    /// The subscription is over.
    Over,
    /// Come back; whether anything was heard since the last time.
    Again { heard: bool, why: Error },
    /// Coming back does not help.
    Fatal(Error),
}

impl Subscription {
    pub(crate) fn start(url: String, token: String, query: String, variables: Value, retry: Retry) -> Self {
        let (to, items) = mpsc::channel(64);
        let task = tokio::spawn(async move {
            let mut run = Run {
                url,
                token,
                query,
                variables,
                to,
            };
            let mut attempt = 0;
            loop {
                let (heard, why) = match run.connect().await {
                    End::Over => return,
                    End::Fatal(why) => {
                        let _ = run.to.send(Err(why)).await;
                        return;
                    }
                    End::Again { heard, why } => (heard, why),
                };
                attempt = if heard { 1 } else { attempt + 1 };
                if attempt > retry.attempts {
                    let _ = run.to.send(Err(why)).await;
                    return;
                }
                tokio::time::sleep(retry.wait(attempt)).await;
            }
        });
        Self { items, task }
    }
}

struct Run {
    url: String,
    token: String,
    query: String,
    variables: Value,
    to: mpsc::Sender<Result<Value, Error>>,
}

impl Run {
    /// One connection, from opening to end.
    async fn connect(&mut self) -> End {
        let mut heard = false;
        match self.listen(&mut heard).await {
            Ok(end) => end,
            Err(why) => End::Again { heard, why },
        }
    }

    async fn listen(&mut self, heard: &mut bool) -> Result<End, Error> {
        let mut request = self.url.as_str().into_client_request().map_err(broken)?;
        let protocol = "graphql-transport-ws"
            .parse()
            .map_err(|_| Error::Connection("no header can be made".into()))?;
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.map_err(broken)?;
        say(
            &mut socket,
            json!({"type": "connection_init", "payload": {"authorization": format!("Bearer {}", self.token)}}),
        )
        .await?;
        while let Some(message) = socket.next().await {
            let text = match message.map_err(broken)? {
                Message::Text(text) => text,
                Message::Close(frame) => {
                    let (code, reason) = frame.map_or((1006, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    let why = Error::Closed { code, reason };
                    // 4403 may be mended by a new token, but not with the one we have.
                    let mends = matches!(code, 1000 | 1001 | 1005 | 1006 | 1012 | 1013 | 1014) || (4_500..5_000).contains(&code);
                    return Ok(if mends {
                        End::Again { heard: *heard, why }
                    } else {
                        End::Fatal(why)
                    });
                }
                _ => continue,
            };
            let mut message: Value = serde_json::from_str(&text).map_err(|error| Error::Connection(error.to_string()))?;
            match message["type"].as_str().unwrap_or_default() {
                "connection_ack" => {
                    let payload = json!({"query": self.query, "variables": self.variables});
                    say(&mut socket, json!({"type": "subscribe", "id": "1", "payload": payload})).await?;
                }
                "ping" => say(&mut socket, json!({"type": "pong"})).await?,
                "next" => {
                    *heard = true;
                    let response: Response =
                        serde_json::from_value(message["payload"].take()).map_err(|error| Error::Connection(error.to_string()))?;
                    self.remember(&response.data);
                    if self.to.send(response.into_data(200)).await.is_err() {
                        return Ok(End::Over);
                    }
                }
                "error" => {
                    let errors: Vec<GraphqlError> = serde_json::from_value(message["payload"].take()).unwrap_or_default();
                    return Ok(End::Fatal(Error::Operation {
                        status: 200,
                        errors,
                        data: Value::Null,
                    }));
                }
                "complete" => {
                    let _ = socket.close(None).await;
                    return Ok(End::Over);
                }
                _ => {}
            }
        }
        Err(Error::Connection("the connection ended".into()))
    }

    /// Keeps the cursor of a root field for the next time, when the query can take it.
    fn remember(&mut self, data: &Value) {
        if !self.query.contains("$after") {
            return;
        }
        let cursor = data
            .as_object()
            .and_then(|fields| fields.values().next())
            .and_then(|field| field.get("cursor"));
        if let Some(cursor) = cursor.filter(|cursor| cursor.is_string())
            && let Some(variables) = self.variables.as_object_mut()
        {
            variables.insert("after".into(), cursor.clone());
        }
    }
}

async fn say(socket: &mut Socket, message: Value) -> Result<(), Error> {
    socket.send(Message::text(message.to_string())).await.map_err(broken)
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> Error {
    Error::Connection(error.to_string())
}
