//! Carries a socket's protocol: reads, writes, runs operations and watches the clock, all in one task a connection.
//!
//! Operations are polled only while little waits to be written, so a slow client holds up its own operations and nobody
//! else's: a subscription that is not polled keeps its place in the log and goes on from there. Reading goes on meanwhile,
//! so pings and completes are heard.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Sink, SinkExt, StreamExt};
use klio_schema::execute::Allow;
use serde_json::{Map, Value};
use tokio::time::{Instant, Sleep};

use super::protocol::{Input, Output, Protocol, token_of};
use crate::App;
use crate::auth::{Refusal, Session};
use crate::params::Params;
use crate::stream::operation::Said;
use crate::stream::operations::{Key, Limits, Operations};
use crate::stream::places::Place;
use crate::stream::stay::{End, Refused, Stay};

/// Operations are not polled while this many bytes wait to be written.
const OUTBOX_BYTES: usize = 64 * 1024;
/// … or this many messages.
const OUTBOX_MESSAGES: usize = 128;
/// Nothing is read while this many messages wait: a client that sends and does not take gets no more said.
const OUTBOX_FULL: usize = 512;
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What happened at the edges.
enum Event {
    Message(Message),
    /// The socket is gone, or broke.
    Gone(Option<String>),
    /// A message was larger than it may be.
    TooLarge,
    Operation(Key, Said),
    Verified(bool, Result<Session, Refusal>),
    End(End),
    /// The gateway is about to end.
    Drain,
    Time,
}

struct Connection {
    app: Arc<App>,
    socket: WebSocket,
    stay: Stay,
    protocol: Protocol,
    opened: Instant,
    header_token: Option<String>,
    // ---- writing
    outbox: VecDeque<Message>,
    outbox_bytes: usize,
    unflushed: bool,
    stuck_since: Option<Instant>,
    // ---- operations
    operations: Operations,
    verification: Option<BoxFuture<'static, (bool, Result<Session, Refusal>)>>,
    // ---- time
    timer: Pin<Box<Sleep>>,
    ping_at: Instant,
    heard_at: Instant,
    closing: Option<(Instant, u16)>,
    /// Nothing can be read any more.
    deaf: bool,
    /// Whether reading or operations have the first turn: neither starves the other.
    turn: bool,
}

/// Runs a connection to its end.
pub async fn drive(app: Arc<App>, socket: WebSocket, place: Place, spoken: bool, header_token: Option<String>) {
    app.metrics.sockets.inc();
    let now = Instant::now();
    let websocket = &app.config.websocket;
    let mut connection = Connection {
        protocol: Protocol::new(Limits {
            operations: websocket.operations_limit,
            starts_per_second: websocket.subscribe_rate,
        }),
        opened: now,
        ping_at: now + websocket.ping_interval,
        heard_at: now,
        timer: Box::pin(tokio::time::sleep(websocket.init_timeout)),
        stay: Stay::new(app.clone(), place),
        operations: Operations::new(app.clone(), "websocket"),
        app,
        socket,
        header_token,
        outbox: VecDeque::new(),
        outbox_bytes: 0,
        unflushed: false,
        stuck_since: None,
        verification: None,
        closing: None,
        deaf: false,
        turn: false,
    };
    if !spoken {
        connection.close(4406, "Subprotocol not acceptable".into());
    }
    let why = connection.run().await;
    let code = connection.closing.map_or(0, |(_, code)| code);
    connection.app.metrics.sockets.dec();
    connection.app.metrics.sockets_closed.with_label_values(&[&code.to_string()]).inc();
    let actor = connection.stay.actor().map(|actor| actor.id.to_string());
    tracing::info!(
        target: "klio::socket",
        ms = connection.opened.elapsed().as_millis() as u64,
        actor,
        code = (code != 0).then_some(code),
        why,
        "socket closed"
    );
}

impl Connection {
    /// Until the end; answers why, unless the client closed it.
    async fn run(&mut self) -> Option<String> {
        loop {
            self.set_timer();
            let event = std::future::poll_fn(|cx| self.poll(cx)).await;
            match event {
                Event::Message(message) => self.message(message),
                Event::Gone(why) => return why,
                Event::TooLarge => {
                    let limit = self.app.config.websocket.message_limit;
                    self.feed(Input::TooLarge(limit));
                }
                Event::Operation(key, said) => self.said(key, said),
                Event::Verified(refresh, result) => self.verified(refresh, result),
                Event::End(end) => self.feed(Input::End(end)),
                // The timer is set anew.
                Event::Drain => {}
                Event::Time => {
                    if let Some(why) = self.time() {
                        return Some(why);
                    }
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.turn = !self.turn;
        // What is ready is taken in first and written together: one flush for a burst.
        for of_reading in [self.turn, !self.turn] {
            if of_reading {
                if !self.deaf
                    && self.outbox.len() < OUTBOX_FULL
                    && let Poll::Ready(received) = self.socket.poll_next_unpin(cx)
                {
                    return Poll::Ready(match received {
                        Some(Ok(message)) => Event::Message(message),
                        Some(Err(error)) => self.broken(&error),
                        None => Event::Gone(None),
                    });
                }
            } else if self.outbox.len() < OUTBOX_MESSAGES
                && self.outbox_bytes < OUTBOX_BYTES
                && let Poll::Ready((key, said)) = self.operations.poll(cx)
            {
                return Poll::Ready(Event::Operation(key, said));
            }
        }
        if let Some(verification) = &mut self.verification
            && let Poll::Ready((refresh, result)) = verification.poll_unpin(cx)
        {
            self.verification = None;
            return Poll::Ready(Event::Verified(refresh, result));
        }
        if let Poll::Ready(end) = self.stay.poll(cx) {
            return Poll::Ready(end.map_or(Event::Drain, Event::End));
        }
        if self.timer.poll_unpin(cx).is_ready() {
            return Poll::Ready(Event::Time);
        }
        let full = self.outbox.len() >= OUTBOX_MESSAGES || self.outbox_bytes >= OUTBOX_BYTES;
        match self.poll_write(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Event::Gone(Some(error.to_string()))),
            // There is room again for operations that were not polled: they have not left a waker, so look again.
            Poll::Ready(Ok(())) if full => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Ok(())) => Poll::Pending,
            Poll::Pending => {
                if full && self.outbox.len() < OUTBOX_MESSAGES && self.outbox_bytes < OUTBOX_BYTES {
                    cx.waker().wake_by_ref();
                }
                // The timer was set before anything was stuck; it must know.
                if self.stuck_since.is_none() {
                    self.stuck_since = Some(Instant::now());
                    cx.waker().wake_by_ref();
                    self.timer.as_mut().reset(Instant::now());
                }
                Poll::Pending
            }
        }
    }

    /// What a reading error means. A message that is too large leaves a socket on which the reason can still be told.
    fn broken(&mut self, error: &axum::Error) -> Event {
        let what = error.to_string();
        // tungstenite's error is not in axum's interface; its words are.
        if what.contains("too long") && self.closing.is_none() {
            self.deaf = true;
            return Event::TooLarge;
        }
        Event::Gone(Some(what))
    }

    /// Hands messages to the socket as it takes them, then flushes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        while !self.outbox.is_empty() {
            match self.socket.poll_ready_unpin(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            if let Some(message) = self.outbox.pop_front() {
                self.outbox_bytes -= length(&message);
                Pin::new(&mut self.socket).start_send(message)?;
                self.unflushed = true;
                self.stuck_since = None;
            }
        }
        if self.unflushed {
            match self.socket.poll_flush_unpin(cx) {
                Poll::Ready(result) => {
                    self.unflushed = false;
                    self.stuck_since = None;
                    return Poll::Ready(result);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn message(&mut self, message: Message) {
        self.heard_at = Instant::now();
        match message {
            Message::Text(text) => {
                self.app.metrics.messages_in.inc();
                let at = self.opened.elapsed();
                self.feed(Input::Text(text.as_str().to_owned(), at));
            }
            Message::Binary(_) => self.feed(Input::Binary),
            // Pongs are answers to our pings; pings and closes were answered below us.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }

    fn said(&mut self, key: Key, said: Said) {
        match said {
            Said::Lasts => {}
            Said::Next(message) => self.feed(Input::Next(key, message.body)),
            Said::Failed(body) => self.feed(failed(key, &body)),
            Said::Done => self.feed(Input::Done(key)),
        }
    }

    fn feed(&mut self, input: Input) {
        for output in self.protocol.on(input) {
            match output {
                Output::Send(text) => self.push(Message::Text(text.into())),
                Output::Close(code, why) => self.close(code, why),
                Output::Verify { payload, refresh } => self.verify(&payload, refresh),
                Output::Start(key, params) => self.start(key, params),
                Output::Stop(key) => self.operations.stop(key),
            }
        }
    }

    fn push(&mut self, message: Message) {
        if matches!(message, Message::Text(_)) {
            self.app.metrics.messages_out.inc();
        }
        self.outbox_bytes += length(&message);
        self.outbox.push_back(message);
    }

    fn close(&mut self, code: u16, why: String) {
        self.operations.clear();
        self.verification = None;
        self.stay.over();
        self.closing = Some((Instant::now() + CLOSE_TIMEOUT, code));
        self.push(Message::Close(Some(CloseFrame { code, reason: why.into() })));
    }

    fn verify(&mut self, payload: &Map<String, Value>, refresh: bool) {
        // The header is good for the first word of clients that can set one; a browser cannot.
        let credential = token_of(payload).map(str::to_owned).or_else(|| self.header_token.take());
        let auth = self.app.auth.clone();
        self.verification = Some(
            async move {
                let result = match credential {
                    Some(credential) => auth.verify(&credential).await,
                    None => Err(Refusal::Missing),
                };
                (refresh, result)
            }
            .boxed(),
        );
    }

    fn verified(&mut self, refresh: bool, result: Result<Session, Refusal>) {
        let session = match result {
            Ok(session) => session,
            Err(Refusal::Unavailable) => return self.feed(Input::Busy("Try again later".into())),
            Err(Refusal::Missing) => {
                return self.feed(Input::Refused(
                    "connection_init must bring {\"authorization\": \"Bearer <token>\"}".into(),
                ));
            }
            Err(why @ Refusal::Invalid(_)) => return self.feed(Input::Refused(why.to_string())),
        };
        let input = match self.stay.admit(session) {
            Ok(()) => Input::Accepted { refresh },
            Err(Refused::Another) => Input::Refused("The new token is another actor's".into()),
            Err(Refused::Full) => Input::Busy("This actor has too many connections".into()),
        };
        self.feed(input);
    }

    fn start(&mut self, key: Key, params: Params) {
        if let Some(actor) = self.stay.actor().cloned() {
            self.operations.start(key, actor, params.into(), Allow { mutations: true });
        }
    }

    /// Does what is due; answers why the connection must end at once, if it must.
    fn time(&mut self) -> Option<String> {
        let now = Instant::now();
        let websocket = &self.app.config.websocket;
        if let Some(since) = self.stuck_since
            && now >= since + websocket.write_timeout
        {
            return Some("the client took nothing for too long".into());
        }
        if let Some((end, _)) = self.closing {
            return (now >= end).then(|| "the client did not answer the close".into());
        }
        if self.protocol.awaits_init() && now >= self.opened + websocket.init_timeout {
            self.feed(Input::InitTimeout);
            return None;
        }
        if let Some((_, end)) = self.stay.due(self.operations.is_busy()).filter(|(at, _)| now >= *at) {
            self.feed(Input::End(end));
            return None;
        }
        if now >= self.ping_at {
            let interval = websocket.ping_interval;
            if now >= self.heard_at + 2 * interval {
                return Some("the client answers no pings".into());
            }
            self.ping_at = now + interval;
            self.push(Message::Ping(Bytes::new()));
        }
        None
    }

    /// Sets the timer to what is due first.
    fn set_timer(&mut self) {
        let websocket = &self.app.config.websocket;
        let stuck = self.stuck_since.map(|since| since + websocket.write_timeout);
        let next = match self.closing {
            Some((end, _)) => Some(end),
            None => {
                let init = self.protocol.awaits_init().then(|| self.opened + websocket.init_timeout);
                let end = self.stay.due(self.operations.is_busy()).map(|(at, _)| at);
                [init, Some(self.ping_at), end].into_iter().flatten().min()
            }
        };
        if let Some(at) = [next, stuck].into_iter().flatten().min()
            && self.timer.deadline() != at
        {
            self.timer.as_mut().reset(at);
        }
    }
}

/// The errors of an answer that was not executed.
fn failed(key: Key, body: &[u8]) -> Input {
    #[derive(serde::Deserialize)]
    struct Errors<'a> {
        #[serde(borrow)]
        errors: &'a serde_json::value::RawValue,
    }
    let errors = serde_json::from_slice::<Errors<'_>>(body).map(|body| body.errors.get().as_bytes().to_vec());
    Input::Failed(
        key,
        errors.unwrap_or_else(|_| br#"[{"message":"The operation was refused."}]"#.to_vec()),
    )
}

fn length(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}
