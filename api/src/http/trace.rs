//! What is told of each request: its id, one log line, its metrics. Never a token, a document, a variable or a body.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::FutureExt;
use klio_entities::klass::Actor;
use klio_schema::execute::Answer;

use super::answer::Problem;
use super::negotiate::{self, Media};
use crate::App;

/// The header of a request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a handler tells of what it did, in its response's extensions.
#[derive(Clone, Debug, Default)]
pub struct Told {
    operation: Option<String>,
    kind: Option<&'static str>,
    operations: usize,
    statements: usize,
    rows: usize,
    cost: u64,
    codes: Vec<&'static str>,
    actor: Option<uuid::Uuid>,
}

impl Told {
    /// Of one operation.
    pub fn of(answer: &Answer, actor: &Actor) -> Self {
        let stats = &answer.stats;
        Self {
            operation: stats.operation.clone(),
            kind: stats.kind,
            operations: 1,
            statements: stats.statements,
            rows: stats.rows,
            cost: stats.cost,
            codes: stats.codes.clone(),
            actor: Some(actor.id),
        }
    }

    /// Adds another operation of the same request.
    pub fn add(&mut self, other: Told) {
        self.operation = match (self.operation.take(), other.operation) {
            (Some(mine), Some(its)) if self.operations > 0 => Some(format!("{mine},{its}")),
            (mine, its) => mine.or(its),
        };
        self.kind = self.kind.or(other.kind);
        self.operations += other.operations;
        self.statements += other.statements;
        self.rows += other.rows;
        self.cost += other.cost;
        self.codes.extend(other.codes);
        self.actor = other.actor.or(self.actor);
    }
}

/// Tells of a request that was dropped before its end: the client went away.
struct Pending<'a> {
    line: Option<(Instant, &'a str, &'a Method, &'a str)>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some((began, id, method, path)) = self.line.take() {
            tracing::info!(target: "klio::request", %id, %method, path, status = 499, ms = milliseconds(began.elapsed()), "client went away");
        }
    }
}

/// Around every request.
pub async fn trace<F: Future<Output = Response>>(app: &App, mut request: Request, run: impl FnOnce(Request) -> F) -> Response {
    let began = Instant::now();
    let given = negotiate::request_id(super::text(request.headers(), REQUEST_ID)).map(str::to_owned);
    let id = given.unwrap_or_else(new_id);
    // The credential must not be shown by anything that prints headers.
    if let Some(authorization) = request.headers_mut().get_mut(header::AUTHORIZATION) {
        authorization.set_sensitive(true);
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let path = uri.path();
    let mut pending = Pending {
        line: Some((began, &id, &method, path)),
    };
    // A fault of ours ends one request, not the connection with all its others.
    let mut response = match AssertUnwindSafe(run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(target: "klio::request", %id, %method, path, "a handler panicked");
            let why = "Something went wrong inside the gateway; it is in its log.";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", why).response(Media::Json)
        }
    };
    pending.line = None;
    let took = began.elapsed();
    let status = response.status();
    app.metrics.request(path, &method, status, took);
    let told = response.extensions_mut().remove::<Told>().unwrap_or_default();
    let actor = told.actor.map(tracing::field::display);
    // The id holds only visible ASCII (it was checked or made here).
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let ms = milliseconds(took);
    let status = status.as_u16();
    if told.operations > 0 {
        let operations = (told.operations > 1).then_some(told.operations);
        let Told {
            operation,
            kind,
            statements,
            rows,
            cost,
            codes,
            ..
        } = told;
        let codes = (!codes.is_empty()).then(|| codes.join(","));
        tracing::info!(target: "klio::request", %id, %method, path, status, ms, kind, operation, operations, statements, rows, cost, codes, actor, "request");
    } else if path.starts_with("/health") || path == "/metrics" || path.starts_with("/explorer/") {
        tracing::debug!(target: "klio::request", %id, %method, path, status, ms, "request");
    } else {
        tracing::info!(target: "klio::request", %id, %method, path, status, ms, "request");
    }
    response
}

/// The line of a query or mutation that came by a connection which stays open. `way`: by which transport.
pub fn operation(way: &'static str, answer: &Answer, actor: &Actor, took: Duration) {
    let stats = &answer.stats;
    tracing::info!(
        target: "klio::request",
        way,
        path = "/graphql",
        executed = answer.executed,
        ms = milliseconds(took),
        kind = stats.kind,
        operation = stats.operation,
        codes = (!stats.codes.is_empty()).then(|| stats.codes.join(",")),
        statements = stats.statements,
        rows = stats.rows,
        cost = stats.cost,
        actor = %actor.id,
        "request"
    );
}

/// The line of a subscription that has begun.
pub fn subscription(way: &'static str, operation: Option<String>, actor: &Actor, took: Duration) {
    tracing::info!(
        target: "klio::request",
        way,
        path = "/graphql",
        kind = "subscription",
        ms = milliseconds(took),
        operation,
        actor = %actor.id,
        "request"
    );
}

/// A new request's id: a UUID of version 7. It need not be hard to guess, so the system is not asked for random bytes each time.
fn new_id() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut random = [0; 10];
    // Keys that the system made for this thread, and other ones with each call.
    random[..8].copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    random[8..].copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes()[..2]);
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    // Milliseconds fit in 64 bits for longer than there will be anyone to count them.
    #[allow(clippy::cast_possible_truncation)]
    let id = uuid::Builder::from_unix_timestamp_millis(since.as_millis() as u64, &random).into_uuid();
    id.to_string()
}

/// To the hundredth.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_in_the_order_of_time_and_no_two_are_the_same() {
        let ids: std::collections::BTreeSet<String> = (0..10_000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in &ids {
            let id: uuid::Uuid = id.parse().expect("a UUID");
            assert_eq!(id.get_version_num(), 7);
        }
        let before = uuid::Uuid::now_v7().to_string();
        assert!(new_id()[..8] >= before[..8]);
    }
}
