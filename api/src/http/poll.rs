//! `POST /graphql/poll`: a subscription in single answers, for clients whose proxies let no stream through.
//!
//! The body is a request like any other, with a subscription. The answer has the messages that came since, and a cursor:
//!
//! ```json
//! {"messages": [{"data": …}, …], "cursor": "…", "complete": false}
//! ```
//!
//! The next request brings that cursor as `extensions.resume` (or `Last-Event-ID`). It is answered as soon as there is something, or
//! with no messages when nothing came for a while (`streams.poll_wait`, or less by `?wait=5s`). It is the same cursor as everywhere,
//! so nothing is lost or told twice between two requests, on whatever node they arrive, and a client may change transports at will.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::{BufMut, BytesMut};
use futures_util::StreamExt;
use klio_schema::execute::{Allow, Message, OperationType, Request};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{self, Problem, json_response};
use super::negotiate::Media;
use super::{graphql, streams};
use crate::App;
use crate::config::duration;
use crate::stream::operation::{Said, operation};
use crate::stream::stay::End;

/// An answer has no more messages than this …
const MESSAGES: usize = 500;
/// … nor begins another one behind so many bytes.
const BYTES: usize = 1024 * 1024;
/// How long an answer that has something waits for what comes right behind it.
const GATHER: Duration = Duration::from_millis(5);

/// Answers a poll.
pub async fn handle(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    match poll(&app, &parts, body).await {
        Ok(response) => response,
        Err(problem) => problem.response(answer::media(&parts.headers).unwrap_or(Media::Json)),
    }
}

async fn poll(app: &Arc<App>, parts: &Parts, body: axum::body::Body) -> Result<Response, Problem> {
    let media = answer::media(&parts.headers)?;
    let session = answer::session(app, &parts.headers).await?;
    let wait = wait(app, parts)?;
    let mut request: Request = graphql::posted(app, parts, body).await?.into();
    streams::resume(&mut request, &parts.headers);
    let actor = session.actor.clone();
    if let Ok(OperationType::Query | OperationType::Mutation) = app.gateway.operation_kind(&actor, &request).await {
        return Err(Problem::bad(
            "Only a subscription can be polled; send queries and mutations to /graphql.",
        ));
    }
    let mut stay = streams::stay(app, session)?;
    let resumed = match request.extensions.get("resume") {
        Some(Value::String(cursor)) => Some(cursor.clone()),
        _ => None,
    };
    let until = Instant::now() + wait;
    let _counted = Counted::new(app);
    let mut said = operation(app.clone(), actor, "poll", request, Allow { mutations: false }).await;
    let mut batch = Batch::default();
    batch.cursor.clone_from(&resumed);
    loop {
        let message = tokio::select! {
            biased;
            end = stay.ended(false) => match end {
                // What was gathered goes with the answer: the client comes back to another node.
                End::Drain => break,
                End::Expired | End::Revoked => return Err(Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", end.why())),
            },
            message = said.next() => message,
            () = tokio::time::sleep_until(until) => break,
            () = tokio::time::sleep(GATHER), if batch.tells => break,
        };
        match message {
            Some(Said::Lasts) => continue,
            Some(Said::Next(message)) => batch.add(&message, resumed.is_some()),
            Some(Said::Failed(body)) => {
                let (status, _) = graphql::status_of_refusal(&body, media);
                return Ok(json_response(status, media, body));
            }
            Some(Said::Done) | None => {
                batch.complete = true;
                break;
            }
        }
        if batch.count >= MESSAGES || batch.messages.len() >= BYTES {
            break;
        }
    }
    app.metrics.stream_messages.with_label_values(&["poll"]).inc_by(batch.count as u64);
    Ok(json_response(StatusCode::OK, media, batch.body().freeze()))
}

/// How long the client is willing to wait.
fn wait(app: &App, parts: &Parts) -> Result<Duration, Problem> {
    let most = app.config.streams.poll_wait;
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|Query(pairs)| pairs);
    let said = pairs.ok().and_then(|pairs| pairs.into_iter().find(|(key, _)| key == "wait"));
    match said {
        None => Ok(most),
        Some((_, text)) => match duration(&text) {
            Some(wait) => Ok(wait.min(most)),
            None => Err(Problem::bad("wait is a duration such as 500ms or 10s.")),
        },
    }
}

#[derive(Default)]
struct Batch {
    messages: BytesMut,
    count: usize,
    cursor: Option<String>,
    complete: bool,
    /// It has something for which its client has waited.
    tells: bool,
}

impl Batch {
    fn add(&mut self, message: &Message, resumed: bool) {
        if let Some(cursor) = &message.cursor {
            self.cursor = Some(cursor.to_string());
        }
        // Who comes back knows that it is caught up, unless something came before.
        if message.caught_up && resumed && self.count == 0 {
            return;
        }
        self.tells = true;
        self.count += 1;
        if !self.messages.is_empty() {
            self.messages.put_u8(b',');
        }
        self.messages.put_slice(&message.body);
    }

    fn body(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(self.messages.len() + 256);
        out.put_slice(b"{\"messages\":[");
        out.put_slice(&self.messages);
        out.put_slice(b"],\"cursor\":");
        out.put_slice(Value::from(self.cursor.clone()).to_string().as_bytes());
        out.put_slice(if self.complete {
            b",\"complete\":true}"
        } else {
            b",\"complete\":false}"
        });
        out
    }
}

/// A poll that waits is among the streams.
struct Counted(Arc<App>);

impl Counted {
    fn new(app: &Arc<App>) -> Self {
        app.metrics.streams.with_label_values(&["poll"]).inc();
        Self(app.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.streams.with_label_values(&["poll"]).dec();
    }
}
