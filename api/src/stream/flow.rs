//! Operations written into the body of a response, as long as it lasts: event streams and multipart responses.
//!
//! The body is pulled by the connection as its client takes it, so a slow client holds up its own operations and nobody else's, and
//! nothing waits for it here but one chunk. Rights are looked at before each chunk: once a token is revoked, no more is said.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::BoxStream;
use klio_schema::execute::Allow;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::operation::Said;
use super::operations::{Key, Operations};
use super::stay::{End, Stay};
use crate::App;
use crate::http::reserved::{Order, Reservation};

/// What is there already is written together, up to about this many bytes.
const CHUNK: usize = 16 * 1024;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Events of one operation; graphql-sse, distinct connections mode.
    Events,
    /// Events of many operations, each with its id; graphql-sse, single connection mode.
    Reserved,
    /// Parts of a multipart response; Apollo's form.
    Multipart,
}

impl Form {
    /// As metrics and logs name it.
    pub fn way(self) -> &'static str {
        match self {
            Form::Events => "events",
            Form::Reserved => "events_single",
            Form::Multipart => "multipart",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Events | Form::Reserved => "text/event-stream; charset=utf-8",
            Form::Multipart => "multipart/mixed;boundary=\"graphql\";subscriptionSpec=\"1.0\"",
        }
    }

    fn begin(self, out: &mut BytesMut) {
        match self {
            // Something must come at once, or some proxies keep the header to themselves. A browser comes back after a second.
            Form::Events | Form::Reserved => out.put_slice(b"retry: 1000\n\n"),
            Form::Multipart => out.put_slice(b"--graphql"),
        }
    }

    fn heartbeat(self, out: &mut BytesMut) {
        match self {
            Form::Events | Form::Reserved => out.put_slice(b":\n\n"),
            Form::Multipart => part(out, &[b"{}"]),
        }
    }

    /// `id`: the operation's, where there are several.
    fn next(self, out: &mut BytesMut, id: &str, body: &[u8], cursor: Option<&str>) {
        match self {
            Form::Events => {
                out.put_slice(b"event: next\n");
                if let Some(cursor) = cursor {
                    out.put_slice(b"id: ");
                    out.put_slice(cursor.as_bytes());
                    out.put_u8(b'\n');
                }
                data(out, &[body]);
            }
            Form::Reserved => {
                out.put_slice(b"event: next\n");
                let id = Value::from(id).to_string();
                data(out, &[b"{\"id\":", id.as_bytes(), b",\"payload\":", body, b"}"]);
            }
            Form::Multipart => part(out, &[b"{\"payload\":", body, b"}"]),
        }
    }

    fn done(self, out: &mut BytesMut, id: &str) {
        match self {
            // The line of data must be there, or a browser does not tell of the event.
            Form::Events => out.put_slice(b"event: complete\ndata:\n\n"),
            Form::Reserved => {
                out.put_slice(b"event: complete\n");
                data(out, &[json!({ "id": id }).to_string().as_bytes()]);
            }
            Form::Multipart => {}
        }
    }

    /// The last words. An event stream that ends without `complete` is one to which its client comes back.
    fn end(self, out: &mut BytesMut, end: Option<End>) {
        match (self, end) {
            (Form::Events | Form::Reserved, None) => {}
            (Form::Events | Form::Reserved, Some(end)) => out.put_slice(format!(": {}\n\n", end.why()).as_bytes()),
            (Form::Multipart, end) => {
                if let Some(end) = end {
                    let errors = json!([{"message": end.why(), "extensions": {"code": end.code()}}]);
                    part(out, &[format!("{{\"payload\":null,\"errors\":{errors}}}").as_bytes()]);
                }
                out.put_slice(b"--\r\n");
            }
        }
    }
}

/// A field `data` and the end of an event.
fn data(out: &mut BytesMut, pieces: &[&[u8]]) {
    out.put_slice(b"data: ");
    for piece in pieces {
        // JSON has line breaks only where a space would do as well.
        out.extend(piece.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    }
    out.put_slice(b"\n\n");
}

/// A part and the boundary behind it, without which its reader would not know that it is whole.
fn part(out: &mut BytesMut, pieces: &[&[u8]]) {
    out.put_slice(b"\r\nContent-Type: application/json\r\n\r\n");
    for piece in pieces {
        out.put_slice(piece);
    }
    out.put_slice(b"\r\n--graphql");
}

/// See the head of this file.
#[derive(Debug)]
pub struct Flow {
    app: Arc<App>,
    form: Form,
    stay: Stay,
    operations: Operations,
    /// Where operations come from while it lasts. Without, it ends with its one operation.
    reserved: Option<(Arc<Reservation>, mpsc::Receiver<Order>)>,
    timer: Pin<Box<Sleep>>,
    beat_at: Instant,
    opened: Instant,
    began: bool,
    ended: Option<&'static str>,
}

impl Flow {
    /// Of one operation.
    pub fn of(app: &Arc<App>, form: Form, stay: Stay, operation: BoxStream<'static, Said>) -> Self {
        let mut flow = Self::new(app, form, stay, None);
        flow.operations.add(0, operation);
        flow
    }

    /// Of all operations that a reservation brings.
    pub fn reserved(app: &Arc<App>, stay: Stay, reservation: Arc<Reservation>, orders: mpsc::Receiver<Order>) -> Self {
        Self::new(app, Form::Reserved, stay, Some((reservation, orders)))
    }

    fn new(app: &Arc<App>, form: Form, stay: Stay, reserved: Option<(Arc<Reservation>, mpsc::Receiver<Order>)>) -> Self {
        let now = Instant::now();
        let beat_at = now + app.config.streams.heartbeat;
        app.metrics.streams.with_label_values(&[form.way()]).inc();
        Self {
            app: app.clone(),
            form,
            stay,
            operations: Operations::new(app.clone(), form.way()),
            reserved,
            timer: Box::pin(tokio::time::sleep_until(beat_at)),
            beat_at,
            opened: now,
            began: false,
            ended: None,
        }
    }

    /// As a response.
    pub fn response(self) -> Response {
        let form = self.form;
        let mut response = Response::new(Body::from_stream(self));
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, form.content_type()),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept, authorization"),
            // nginx would otherwise keep chunks until they fill a buffer.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Does what the reservation brings.
    fn take_orders(&mut self, cx: &mut Context<'_>) {
        let Some((reservation, orders)) = &mut self.reserved else { return };
        while let Poll::Ready(Some(order)) = orders.poll_recv(cx) {
            match (order, self.stay.actor()) {
                (Order::Start(key, request), Some(actor)) if reservation.knows(key) => {
                    self.operations.start(key, actor.clone(), request, Allow { mutations: true });
                }
                (Order::Start(..), _) => {}
                (Order::Stop(key), _) => self.operations.stop(key),
            }
        }
    }

    fn say(&mut self, out: &mut BytesMut, key: Key, said: Said) {
        let over = matches!(said, Said::Failed(_) | Said::Done);
        let id = match &self.reserved {
            None => Arc::default(),
            Some((reservation, _)) => match reservation.id(key, over) {
                Some(id) => id,
                // Stopped meanwhile: nobody listens.
                None => return,
            },
        };
        match said {
            Said::Lasts => return,
            Said::Next(message) => self.form.next(out, &id, &message.body, message.cursor.as_deref()),
            Said::Failed(body) => {
                self.form.next(out, &id, &body, None);
                self.form.done(out, &id);
            }
            Said::Done => return self.form.done(out, &id),
        }
        self.app.metrics.stream_messages.with_label_values(&[self.form.way()]).inc();
    }

    /// All that is there, to be written together.
    fn gather(&mut self, cx: &mut Context<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        while out.len() < CHUNK {
            match self.operations.poll(cx) {
                Poll::Ready((key, said)) => self.say(&mut out, key, said),
                Poll::Pending => break,
            }
        }
        if self.reserved.is_none() && self.operations.is_empty() {
            self.form.end(&mut out, None);
            self.ended = Some("complete");
        }
        out
    }

    fn end(&mut self, end: End) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.operations.clear();
        self.ended = Some(end.label());
        let mut out = BytesMut::new();
        self.form.end(&mut out, Some(end));
        Poll::Ready(Some(Ok(out.freeze())))
    }
}

impl Stream for Flow {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended.is_some() {
            return Poll::Ready(None);
        }
        if !this.began {
            this.began = true;
            let mut out = BytesMut::new();
            this.form.begin(&mut out);
            return Poll::Ready(Some(Ok(out.freeze())));
        }
        loop {
            match this.stay.poll(cx) {
                Poll::Ready(Some(end)) => return this.end(end),
                Poll::Ready(None) => continue,
                Poll::Pending => {}
            }
            let busy = this.operations.is_busy();
            let due = this.stay.due(busy);
            let next = due.map_or(this.beat_at, |(at, _)| at.min(this.beat_at));
            if this.timer.deadline() != next {
                this.timer.as_mut().reset(next);
            }
            if this.timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if let Some((_, end)) = due.filter(|(at, _)| now >= *at) {
                    return this.end(end);
                }
                this.beat_at = now + this.app.config.streams.heartbeat;
                let mut out = BytesMut::new();
                this.form.heartbeat(&mut out);
                return Poll::Ready(Some(Ok(out.freeze())));
            }
            this.take_orders(cx);
            let out = this.gather(cx);
            if !out.is_empty() {
                this.beat_at = Instant::now() + this.app.config.streams.heartbeat;
                return Poll::Ready(Some(Ok(out.freeze())));
            }
            if this.ended.is_some() {
                return Poll::Ready(None);
            }
            if this.operations.is_busy() == busy {
                return Poll::Pending;
            }
            // What is under way has changed, and with it when the gateway's end is due.
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let why = self.ended.unwrap_or("client");
        let way = self.form.way();
        self.app.metrics.streams.with_label_values(&[way]).dec();
        self.app.metrics.streams_closed.with_label_values(&[way, why]).inc();
        if let Some((reservation, _)) = &self.reserved {
            self.app.reservations.end(reservation);
        }
        let took: Duration = self.opened.elapsed();
        let actor = self.stay.actor().map(|actor| actor.id.to_string());
        tracing::info!(target: "klio::socket", way, ms = took.as_millis() as u64, actor, why, "stream closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn events() {
        let of = Form::Events;
        assert_eq!(
            written(|out| of.next(out, "", b"{\"data\":\n1}", Some("c1"))),
            "event: next\nid: c1\ndata: {\"data\": 1}\n\n"
        );
        assert_eq!(written(|out| of.next(out, "", b"{}", None)), "event: next\ndata: {}\n\n");
        assert_eq!(written(|out| of.done(out, "")), "event: complete\ndata:\n\n");
        assert_eq!(written(|out| of.end(out, None)), "");
        assert_eq!(
            written(|out| of.end(out, Some(End::Drain))),
            ": The gateway restarts: come back\n\n"
        );
        let of = Form::Reserved;
        assert_eq!(
            written(|out| of.next(out, "a\"b", b"{}", Some("c1"))),
            "event: next\ndata: {\"id\":\"a\\\"b\",\"payload\":{}}\n\n"
        );
        assert_eq!(written(|out| of.done(out, "a")), "event: complete\ndata: {\"id\":\"a\"}\n\n");
    }

    #[test]
    fn parts() {
        let of = Form::Multipart;
        let whole = written(|out| {
            of.begin(out);
            of.heartbeat(out);
            of.next(out, "", b"{\"data\":1}", Some("c1"));
            of.end(out, Some(End::Revoked));
        });
        let head = "\r\nContent-Type: application/json\r\n\r\n";
        assert_eq!(
            whole,
            format!(
                "--graphql{head}{{}}\r\n--graphql{head}{{\"payload\":{{\"data\":1}}}}\r\n--graphql{head}\
                 {{\"payload\":null,\"errors\":[{{\"message\":\"The token was revoked or changed\",\"extensions\":{{\"code\":\"UNAUTHENTICATED\"}}}}]}}\r\n--graphql--\r\n"
            )
        );
    }
}
