//! One subscription over a WebSocket of its own: graphql-transport-ws, coming back behind the last cursor.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, Stream, StreamExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::token::Tokens;
use super::{Error, GraphqlError, Kind, Response, Retry};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// How long a connection may take to be made, and to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(10);
/// The close code for a token that is not good.
const FORBIDDEN: u16 = 4403;

/// A stream of what a subscription tells: data, or what went wrong. It ends when the gateway completes it, or after an error
/// that coming back does not mend. Dropped, it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    items: mpsc::Receiver<(Result<Value, Error>, Option<String>)>,
    cursor: Option<String>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// The place behind the last item that was taken: what to keep, to go on there another time ([`super::Client::subscribe_after`]).
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The same, with the root field of each message read as `T`.
    pub fn typed<T: DeserializeOwned>(self) -> Typed<T> {
        Typed {
            inner: self,
            as_what: PhantomData,
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Value, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_recv(cx).map(|next| {
            let (item, cursor) = next?;
            if cursor.is_some() {
                self.cursor = cursor;
            }
            Some(item)
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A subscription whose messages are read as `T`. What cannot be read is an [`Error::Unexpected`] and does not end it.
#[derive(Debug)]
pub struct Typed<T> {
    inner: Subscription,
    as_what: PhantomData<fn() -> T>,
}

impl<T> Typed<T> {
    /// As [`Subscription::cursor`].
    pub fn cursor(&self) -> Option<&str> {
        self.inner.cursor()
    }
}

impl<T: DeserializeOwned> Stream for Typed<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.inner).poll_next(cx).map(|next| {
            Some(next?.and_then(|data| {
                let field = match data {
                    Value::Object(fields) => fields.into_iter().next().map(|(_, field)| field).unwrap_or_default(),
                    other => other,
                };
                serde_json::from_value(field).map_err(|error| Error::Unexpected(error.to_string()))
            }))
        })
    }
}

/// How a connection ended.
enum End {
    /// The subscription is over.
    Over,
    /// Come back.
    Again(Error),
    /// Come back with another token than this.
    Refused(String, Error),
    /// Coming back does not help.
    Fatal(Error),
}

impl Subscription {
    pub(crate) fn start(url: String, tokens: Tokens, request: Value, after: Option<String>, retry: Retry) -> Self {
        let (to, items) = mpsc::channel(64);
        let cursor = after.clone();
        let task = tokio::spawn(async move {
            let heard = Arc::new(Mutex::new(false));
            let mut run = Run {
                url,
                tokens,
                request,
                cursor: after,
                retry,
                heard: heard.clone(),
                to,
            };
            let mut attempt = 0;
            loop {
                let end = run.listen().await.unwrap_or_else(End::Again);
                let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
                if heard {
                    attempt = 0;
                }
                let why = match end {
                    End::Over => return,
                    End::Fatal(why) => return run.fail(why).await,
                    End::Again(why) => why,
                    End::Refused(token, why) => match run.tokens.instead_of(&token).await {
                        Ok(Some(_)) => why,
                        Ok(None) => return run.fail(why).await,
                        Err(why) => return run.fail(why).await,
                    },
                };
                attempt += 1;
                if attempt > retry.attempts {
                    return run.fail(why).await;
                }
                tokio::time::sleep(retry.wait(attempt)).await;
            }
        });
        Self { items, cursor, task }
    }
}

struct Run {
    url: String,
    tokens: Tokens,
    request: Value,
    /// Behind what was told.
    cursor: Option<String>,
    retry: Retry,
    /// Something came since the last time.
    heard: Arc<Mutex<bool>>,
    to: mpsc::Sender<(Result<Value, Error>, Option<String>)>,
}

impl Run {
    async fn fail(&self, why: Error) {
        // Nobody listens any more: fine.
        let _ = self.to.send((Err(why), None)).await;
    }

    /// One connection, from opening to end.
    async fn listen(&mut self) -> Result<End, Error> {
        let token = match self.tokens.now().await {
            Ok(token) => token,
            Err(why) => return Ok(End::Fatal(why)),
        };
        let mut request = self.url.as_str().into_client_request().map_err(broken)?;
        let protocol = "graphql-transport-ws"
            .parse()
            .map_err(|_| Error::Connection("no header can be made".into()))?;
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let late = || Error::Connection("it took too long".into());
        let connected = tokio::time::timeout(PATIENCE, tokio_tungstenite::connect_async(request)).await;
        let (mut socket, _) = connected.map_err(|_| late())?.map_err(broken)?;
        say(
            &mut socket,
            json!({"type": "connection_init", "payload": {"authorization": format!("Bearer {token}")}}),
        )
        .await?;
        let mut patience = PATIENCE;
        loop {
            // The gateway pings: who says nothing for long is not there any more, though the connection stands.
            let Some(message) = tokio::time::timeout(patience, socket.next()).await.map_err(|_| late())? else {
                return Err(Error::Connection("the connection ended".into()));
            };
            let text = match message.map_err(broken)? {
                Message::Text(text) => text,
                Message::Close(frame) => {
                    let (code, reason) = frame.map_or((1006, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    let why = Error::Closed { code, reason };
                    let mends = matches!(code, 1000 | 1001 | 1005 | 1006 | 1012 | 1013 | 1014) || (4_501..5_000).contains(&code);
                    return Ok(match code {
                        FORBIDDEN => End::Refused(token, why),
                        _ if mends => End::Again(why),
                        _ => End::Fatal(why),
                    });
                }
                _ => continue,
            };
            let mut message: Value = serde_json::from_str(&text).map_err(|error| Error::Connection(error.to_string()))?;
            match message["type"].as_str().unwrap_or_default() {
                "connection_ack" => {
                    patience = self.retry.silence;
                    let mut payload = self.request.clone();
                    if let Some(cursor) = &self.cursor {
                        payload["extensions"] = json!({"resume": cursor});
                    }
                    say(&mut socket, json!({"type": "subscribe", "id": "1", "payload": payload})).await?;
                }
                "ping" => say(&mut socket, json!({"type": "pong"})).await?,
                "next" => {
                    *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    let response: Response =
                        serde_json::from_value(message["payload"].take()).map_err(|error| Error::Connection(error.to_string()))?;
                    let cursor = cursor_of(&response.data);
                    if cursor.is_some() {
                        self.cursor.clone_from(&cursor);
                    }
                    if self.to.send((response.into_data(200), cursor)).await.is_err() {
                        return Ok(End::Over);
                    }
                }
                "error" => {
                    let errors: Vec<GraphqlError> = serde_json::from_value(message["payload"].take()).unwrap_or_default();
                    let why = Error::Operation {
                        status: 200,
                        errors,
                        data: Value::Null,
                    };
                    let passes = matches!(why.kind(), Some(Kind::RateLimited | Kind::Unavailable | Kind::Timeout));
                    return Ok(if passes { End::Again(why) } else { End::Fatal(why) });
                }
                "complete" => {
                    let _ = socket.close(None).await;
                    return Ok(End::Over);
                }
                _ => {}
            }
        }
    }
}

/// The cursor of a root field.
fn cursor_of(data: &Value) -> Option<String> {
    let field = data.as_object()?.values().next()?;
    field.get("cursor")?.as_str().map(str::to_owned)
}

async fn say(socket: &mut Socket, message: Value) -> Result<(), Error> {
    socket.send(Message::text(message.to_string())).await.map_err(broken)
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> Error {
    Error::Connection(error.to_string())
}
