//! A subscription as a bare client of each transport hears it: nothing is retried and nothing is hidden.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// By which transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is what it says")]
pub enum Way {
    Socket,
    Events,
    EventsSingle,
    Multipart,
    Poll,
}

/// All of them.
pub const WAYS: [Way; 5] = [Way::Socket, Way::Events, Way::EventsSingle, Way::Multipart, Way::Poll];

/// A subscription that is open.
pub struct Listener {
    carrier: Carrier,
    ready: VecDeque<Json>,
    /// Why it ended, when it did.
    pub ended: Option<String>,
}

enum Carrier {
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Body {
        response: reqwest::Response,
        text: Vec<u8>,
        multipart: bool,
    },
    Poll {
        http: reqwest::Client,
        url: String,
        token: String,
        request: Json,
    },
}

impl Listener {
    /// Opens one; `resume`: the cursor behind which it goes on.
    ///
    /// # Errors
    /// Why it is not let in.
    pub async fn open(way: Way, url: &str, token: &str, query: &str, variables: &Json, resume: Option<&str>) -> Result<Self, String> {
        let mut request = json!({"query": query, "variables": variables});
        if let Some(resume) = resume {
            request["extensions"] = json!({"resume": resume});
        }
        let carrier = match way {
            Way::Socket => socket(url, token, &request, None).await?,
            Way::Poll => Carrier::Poll {
                http: reqwest::Client::new(),
                url: format!("{url}/graphql/poll"),
                token: token.to_owned(),
                request,
            },
            Way::EventsSingle => single(url, token, request).await?,
            Way::Events | Way::Multipart => {
                let accept = match way {
                    Way::Events => "text/event-stream",
                    _ => "multipart/mixed;subscriptionSpec=1.0, application/json",
                };
                let sent = reqwest::Client::new()
                    .post(format!("{url}/graphql"))
                    .bearer_auth(token)
                    .header("accept", accept)
                    .json(&request);
                body(sent, way == Way::Multipart).await?
            }
        };
        Ok(Self {
            carrier,
            ready: VecDeque::new(),
            ended: None,
        })
    }

    /// Opens a socket that takes in no more than it is asked for: its receive buffer has so many bytes.
    ///
    /// # Errors
    /// Why it is not let in.
    pub async fn narrow(url: &str, token: &str, query: &str, variables: &Json, buffer: u32) -> Result<Self, String> {
        let request = json!({"query": query, "variables": variables});
        Ok(Self {
            carrier: socket(url, token, &request, Some(buffer)).await?,
            ready: VecDeque::new(),
            ended: None,
        })
    }

    /// The next response; `None`: it has ended.
    pub async fn next(&mut self) -> Option<Json> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(response);
            }
            if self.ended.is_some() {
                return None;
            }
            if let Err(why) = self.pull().await {
                self.ended = Some(why);
            }
        }
    }

    /// The next response within a time; `None` when it has ended or nothing came.
    pub async fn within(&mut self, time: Duration) -> Option<Json> {
        tokio::time::timeout(time, self.next()).await.ok().flatten()
    }

    async fn pull(&mut self) -> Result<(), String> {
        match &mut self.carrier {
            Carrier::Socket(socket) => match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let mut message: Json = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                    match message["type"].as_str() {
                        Some("next") => self.ready.push_back(message["payload"].take()),
                        Some("error") => return Err(format!("error {}", message["payload"])),
                        Some("complete") => return Err("complete".into()),
                        _ => {}
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or("closed".into(), |frame| format!("{} {}", u16::from(frame.code), frame.reason)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("gone".into()),
            },
            Carrier::Body { response, text, multipart } => {
                let chunk = response.chunk().await.map_err(|error| error.to_string())?;
                let Some(chunk) = chunk else { return Err("end of the body".into()) };
                text.extend_from_slice(&chunk);
                let mark: &[u8] = if *multipart { b"\r\n--graphql" } else { b"\n\n" };
                while let Some(at) = text.windows(mark.len()).position(|window| window == mark) {
                    let rest = text.split_off(at + mark.len());
                    let piece = String::from_utf8(std::mem::replace(text, rest)).map_err(|error| error.to_string())?;
                    let told = if *multipart { part(&piece) } else { event(&piece) };
                    match told? {
                        Some(response) => self.ready.push_back(response),
                        None => continue,
                    }
                }
            }
            Carrier::Poll { http, url, token, request } => {
                let sent = http.post(url.as_str()).bearer_auth(&*token).json(request).send().await;
                let answer = sent.map_err(|error| error.to_string())?;
                let status = answer.status().as_u16();
                let mut body: Json = answer.json().await.map_err(|error| error.to_string())?;
                if status != 200 || body.get("errors").is_some() {
                    return Err(format!("{status} {body}"));
                }
                if let Some(cursor) = body["cursor"].as_str() {
                    request["extensions"] = json!({"resume": cursor});
                }
                if let Json::Array(messages) = body["messages"].take() {
                    self.ready.extend(messages);
                }
                if body["complete"] == true {
                    return Err("complete".into());
                }
            }
        }
        Ok(())
    }
}

async fn socket(url: &str, token: &str, request: &Json, buffer: Option<u32>) -> Result<Carrier, String> {
    let mut upgrade = (url.replacen("http", "ws", 1) + "/graphql")
        .into_client_request()
        .map_err(|error| error.to_string())?;
    let protocol = "graphql-transport-ws".parse().map_err(|_| "no header can be made")?;
    upgrade.headers_mut().insert("sec-websocket-protocol", protocol);
    let stream = connect(url, buffer).await.map_err(|error| error.to_string())?;
    let opened = tokio_tungstenite::client_async(upgrade, MaybeTlsStream::Plain(stream)).await;
    let (mut socket, _) = opened.map_err(|error| error.to_string())?;
    for message in [
        json!({"type": "connection_init", "payload": {"authorization": format!("Bearer {token}")}}),
        json!({"type": "subscribe", "id": "1", "payload": request}),
    ] {
        // The second may not come before the first is acknowledged.
        socket
            .send(Message::text(message.to_string()))
            .await
            .map_err(|error| error.to_string())?;
        if message["type"] == "connection_init" {
            match socket.next().await {
                Some(Ok(Message::Text(text))) if text.contains("connection_ack") => {}
                other => return Err(format!("no acknowledgement: {other:?}")),
            }
        }
    }
    Ok(Carrier::Socket(Box::new(socket)))
}

/// A connection to a gateway on this machine.
async fn connect(url: &str, buffer: Option<u32>) -> std::io::Result<TcpStream> {
    let address = url.trim_start_matches("http://").parse().map_err(std::io::Error::other)?;
    let socket = TcpSocket::new_v4()?;
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer)?;
    }
    socket.connect(address).await
}

async fn single(url: &str, token: &str, mut request: Json) -> Result<Carrier, String> {
    let http = reqwest::Client::new();
    let url = format!("{url}/graphql");
    let reserved = http.put(&url).bearer_auth(token).send().await.map_err(|error| error.to_string())?;
    let status = reserved.status().as_u16();
    let stream = reserved.text().await.map_err(|error| error.to_string())?;
    if status != 201 {
        return Err(format!("{status} {stream}"));
    }
    let open = http.get(format!("{url}?token={stream}")).header("accept", "text/event-stream");
    let carrier = body(open, false).await?;
    request["extensions"]["operationId"] = json!("1");
    let order = http.post(&url).bearer_auth(token).header("x-graphql-event-stream-token", stream);
    let answer = order.json(&request).send().await.map_err(|error| error.to_string())?;
    match answer.status().as_u16() {
        202 => Ok(carrier),
        status => Err(format!("{status} {}", answer.text().await.unwrap_or_default())),
    }
}

async fn body(request: reqwest::RequestBuilder, multipart: bool) -> Result<Carrier, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let kind = response
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let streams = kind.starts_with(if multipart { "multipart/mixed" } else { "text/event-stream" });
    if response.status() != 200 || !streams {
        let status = response.status();
        return Err(format!("{status} {}", response.text().await.unwrap_or_default()));
    }
    Ok(Carrier::Body {
        response,
        text: Vec::new(),
        multipart,
    })
}

/// The response in an event, if it brings one.
fn event(text: &str) -> Result<Option<Json>, String> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match field("event:") {
        Some("next") => {
            let data: Json = serde_json::from_str(field("data:").unwrap_or_default()).map_err(|error| format!("{error}: {text}"))?;
            Ok(Some(data.get("payload").cloned().unwrap_or(data)))
        }
        Some(other) => Err(other.to_owned()),
        None => Ok(None),
    }
}

/// The response in a part, if it brings one.
fn part(text: &str) -> Result<Option<Json>, String> {
    let Some((_, json)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let json = json.trim_end_matches("--graphql").trim();
    let mut body: Json = serde_json::from_str(json).map_err(|error| format!("{error}: {text}"))?;
    match body.get("errors") {
        Some(errors) => Err(format!("error {errors}")),
        None => Ok(body.get_mut("payload").map(Json::take)),
    }
}
