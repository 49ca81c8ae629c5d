//! The socket's state machine: graphql-transport-ws without a socket, a clock or a task.
//!
//! What comes in is an [`Input`], what is to be done about it an [`Output`]; `driver.rs` carries both. The protocol:
//! <https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverWebSocket.md>. Close codes are chosen by what the
//! official client does with them: it comes back after 1012, 1013 and 4403, and gives up for good after the rest used here,
//! which say that the client itself is at fault.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::params::Params;
use crate::stream::operations::{Key, Limits, Pace};
use crate::stream::stay::End;

/// The longest id of an operation, in bytes.
pub const ID_LIMIT: usize = 256;

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A text message, and when it came (since the connection began).
    Text(String, Duration),
    /// A binary message.
    Binary,
    /// A message larger than this many bytes.
    TooLarge(usize),
    /// Nothing was said for too long.
    InitTimeout,
    /// Verification, asked for by [`Output::Verify`], says yes.
    Accepted {
        /// As asked.
        refresh: bool,
    },
    /// Verification says no, because …
    Refused(String),
    /// Verification could not be made, or there is no room: the client should come back later.
    Busy(String),
    /// Whoever is there may not stay.
    End(End),
    /// An operation has a result: a whole response.
    Next(Key, Bytes),
    /// An operation failed before it was executed: a list of errors, as JSON.
    Failed(Key, Vec<u8>),
    /// An operation has ended.
    Done(Key),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this text.
    Send(String),
    /// Close, and do nothing more.
    Close(u16, String),
    /// Say who this is, by [`Input::Accepted`] or [`Input::Refused`].
    Verify {
        /// The payload of `connection_init` (or of a `ping` that brings a new token).
        payload: Map<String, Value>,
        /// A new token on a connection that is someone already: it must be the same one.
        refresh: bool,
    },
    /// Begin an operation.
    Start(Key, Params),
    /// End an operation; whatever it still says is dropped.
    Stop(Key),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `connection_init` is awaited.
    Opened,
    /// Who it is, is being found out.
    Verifying,
    /// Acknowledged.
    Ready,
    /// Over.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub struct Protocol {
    state: State,
    pace: Pace,
    keys: HashMap<Arc<str>, Key>,
    ids: HashMap<Key, Arc<str>>,
    last_key: Key,
}

impl Protocol {
    /// A connection that was opened just now.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: State::Opened,
            pace: Pace::new(limits),
            keys: HashMap::new(),
            ids: HashMap::new(),
            last_key: 0,
        }
    }

    /// `connection_init` is still awaited.
    pub fn awaits_init(&self) -> bool {
        self.state == State::Opened
    }

    /// Nothing more will be done.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Takes what happened; tells what is to be done, in this order.
    pub fn on(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        if self.state == State::Closed {
            return out;
        }
        match input {
            Input::Text(text, at) => self.message(&text, at, &mut out),
            Input::Binary => self.close(4400, "Messages are text, not binary", &mut out),
            Input::TooLarge(limit) => self.close(1009, &format!("A message has at most {limit} bytes"), &mut out),
            Input::InitTimeout if self.state == State::Opened => self.close(4408, "Connection initialisation timeout", &mut out),
            Input::InitTimeout => {}
            Input::Accepted { refresh: false } if self.state == State::Verifying => {
                self.state = State::Ready;
                out.push(Output::Send(r#"{"type":"connection_ack"}"#.into()));
            }
            Input::Accepted { .. } => {}
            Input::Refused(why) => self.close(4403, &why, &mut out),
            Input::Busy(why) => self.close(1013, &why, &mut out),
            Input::End(end @ (End::Expired | End::Revoked)) => self.close(4403, end.why(), &mut out),
            Input::End(end @ End::Drain) => self.close(1012, end.why(), &mut out),
            Input::Next(key, payload) => {
                if let Some(id) = self.ids.get(&key) {
                    out.push(Output::Send(message("next", id, Some(&payload))));
                }
            }
            Input::Failed(key, errors) => {
                if let Some(id) = self.forget(key) {
                    out.push(Output::Send(message("error", &id, Some(&errors))));
                }
            }
            Input::Done(key) => {
                if let Some(id) = self.forget(key) {
                    out.push(Output::Send(message("complete", &id, None)));
                }
            }
        }
        out
    }

    fn message(&mut self, text: &str, at: Duration, out: &mut Vec<Output>) {
        let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
            return self.close(4400, "A message is a JSON object", out);
        };
        let Some(Value::String(kind)) = message.remove("type") else {
            return self.close(4400, "A message has a type", out);
        };
        let payload = match (message.remove("payload"), kind.as_str()) {
            (None | Some(Value::Null), _) => None,
            (Some(Value::Object(payload)), _) => Some(payload),
            (Some(_), _) => return self.close(4400, "A payload is a JSON object", out),
        };
        match kind.as_str() {
            "connection_init" if self.state == State::Opened => {
                self.state = State::Verifying;
                out.push(Output::Verify {
                    payload: payload.unwrap_or_default(),
                    refresh: false,
                });
            }
            "connection_init" => self.close(4429, "Too many initialisation requests", out),
            "ping" => {
                let brings_token = payload.as_ref().is_some_and(|p| token_of(p).is_some());
                match payload {
                    // A token is not said back.
                    Some(payload) if brings_token => {
                        out.push(Output::Send(r#"{"type":"pong"}"#.into()));
                        if self.state == State::Ready {
                            out.push(Output::Verify { payload, refresh: true });
                        }
                    }
                    Some(payload) => out.push(Output::Send(format!(r#"{{"type":"pong","payload":{}}}"#, Value::Object(payload)))),
                    None => out.push(Output::Send(r#"{"type":"pong"}"#.into())),
                }
            }
            "pong" => {}
            "subscribe" => self.subscribe(message.remove("id"), payload, at, out),
            "complete" => match message.remove("id") {
                Some(Value::String(id)) => {
                    if let Some(key) = self.keys.remove(id.as_str()) {
                        self.ids.remove(&key);
                        out.push(Output::Stop(key));
                    }
                }
                _ => self.close(4400, "complete has an id, a string", out),
            },
            _ => self.close(4400, &format!("There is no message of type {kind}"), out),
        }
    }

    fn subscribe(&mut self, id: Option<Value>, payload: Option<Map<String, Value>>, at: Duration, out: &mut Vec<Output>) {
        if self.state != State::Ready {
            return self.close(4401, "Unauthorized", out);
        }
        let id: Arc<str> = match id {
            Some(Value::String(id)) if !id.is_empty() && id.len() <= ID_LIMIT => id.into(),
            _ => return self.close(4400, "subscribe has an id, a string of at most 256 bytes", out),
        };
        let params = match Params::from_json(Value::Object(payload.unwrap_or_default())) {
            Ok(params) => params,
            Err(why) => return self.close(4400, &why, out),
        };
        if self.keys.contains_key(&id) {
            return self.close(4409, &format!("Subscriber for {id} already exists"), out);
        }
        if let Err(why) = self.pace.start(self.ids.len(), at) {
            return out.push(Output::Send(message("error", &id, Some(&refusal(&why)))));
        }
        self.last_key += 1;
        self.keys.insert(id.clone(), self.last_key);
        self.ids.insert(self.last_key, id);
        out.push(Output::Start(self.last_key, params));
    }

    fn forget(&mut self, key: Key) -> Option<Arc<str>> {
        let id = self.ids.remove(&key)?;
        self.keys.remove(&id);
        Some(id)
    }

    fn close(&mut self, code: u16, why: &str, out: &mut Vec<Output>) {
        self.state = State::Closed;
        self.keys.clear();
        self.ids.clear();
        // A close frame holds 125 bytes, two of them the code.
        let mut end = why.len().min(123);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        out.push(Output::Close(code, why[..end].to_owned()));
    }
}

/// The credential in a payload: `{"authorization": "Bearer …"}` or `{"token": "…"}`, however the keys' letters are written.
pub fn token_of(payload: &Map<String, Value>) -> Option<&str> {
    payload.iter().find_map(|(key, value)| {
        let text = value.as_str()?;
        if key.eq_ignore_ascii_case("authorization") {
            crate::auth::bearer(text)
        } else if key.eq_ignore_ascii_case("token") {
            Some(text)
        } else {
            None
        }
    })
}

/// A message with an id; `payload` is JSON already.
fn message(kind: &str, id: &str, payload: Option<&[u8]>) -> String {
    let mut text = Vec::with_capacity(payload.map_or(0, <[u8]>::len) + id.len() + 48);
    text.extend_from_slice(br#"{"id":"#);
    // Writing into memory cannot fail, and a string has no form that JSON lacks.
    let _ = serde_json::to_writer(&mut text, id);
    text.extend_from_slice(br#","type":""#);
    text.extend_from_slice(kind.as_bytes());
    text.push(b'"');
    if let Some(payload) = payload {
        text.extend_from_slice(br#","payload":"#);
        text.extend_from_slice(payload);
    }
    text.push(b'}');
    // Responses are made from strings; a broken one would still leave as text.
    String::from_utf8(text).unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into_owned())
}

fn refusal(why: &str) -> Vec<u8> {
    serde_json::json!([{"message": why, "extensions": {"code": "RATE_LIMITED"}}])
        .to_string()
        .into_bytes()
}

#[cfg(test)]
mod tests;
