//! `/graphql`: the GraphQL-over-HTTP specification, to the letter, and the way to a socket.
//!
//! <https://graphql.github.io/graphql-over-http/draft/>. Cross-site forgery: nobody comes in by a cookie; a credential comes in
//! the header `Authorization` alone, which no page can send to another origin without the browser asking first, and a body is
//! JSON or nothing.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use klio_entities::klass::Actor;
use klio_schema::execute::{Allow, Answer, OperationType, Request};
use serde_json::Value;

use super::answer::{self, Problem, json_response};
use super::negotiate::{self, Media};
use super::trace::Told;
use crate::App;
use crate::params::Params;

/// Everything at `/graphql`.
pub async fn handle(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if is_upgrade(&parts) {
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => crate::ws::upgrade(&app, upgrade, &parts.headers),
            Err(rejection) => rejection.into_response(),
        };
    }
    let accepts = super::text(&parts.headers, header::ACCEPT);
    if parts.method == Method::GET && app.config.http.explorer && negotiate::prefers_html(accepts) && parts.uri.query().is_none() {
        return Redirect::to("/").into_response();
    }
    match answer(&app, &parts, body).await {
        Ok(response) => response,
        // What cannot be negotiated is told in JSON.
        Err(problem) => problem.response(answer::media(&parts.headers).unwrap_or(Media::Json)),
    }
}

fn is_upgrade(parts: &Parts) -> bool {
    let upgrade = parts
        .headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    // HTTP/2 opens sockets with CONNECT (RFC 8441).
    upgrade || parts.method == Method::CONNECT
}

async fn answer(app: &Arc<App>, parts: &Parts, body: Body) -> Result<Response, Problem> {
    let media = answer::media(&parts.headers)?;
    if parts.method != Method::GET && parts.method != Method::POST {
        return Err(
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "OPERATION_NOT_ALLOWED", "Use GET or POST.")
                .with(header::ALLOW, HeaderValue::from_static("GET, POST")),
        );
    }
    let session = answer::session(app, &parts.headers).await?;
    if parts.method == Method::GET {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::bad("The URL's query is not form-encoded UTF-8."))?;
        let params = Params::from_pairs(pairs).map_err(Problem::bad)?;
        return Ok(one(app, media, &session.actor, params, Allow { mutations: false }).await);
    }
    match negotiate::body(super::text(&parts.headers, header::CONTENT_TYPE)) {
        negotiate::Body::Json => {}
        negotiate::Body::OtherCharset => return Err(unsupported("The body must be UTF-8.")),
        negotiate::Body::Other => return Err(unsupported("The body must be JSON: send Content-Type: application/json.")),
    }
    let bytes = read(app, parts, body).await?;
    if bytes.is_empty() {
        return Err(Problem::bad("The body is empty; it must be a JSON object with a \"query\"."));
    }
    match serde_json::from_slice(&bytes).map_err(|error| Problem::bad(format!("The body is not JSON: {error}.")))? {
        Value::Array(items) => batch(app, media, &session.actor, items).await,
        value => {
            let params = Params::from_json(value).map_err(Problem::bad)?;
            Ok(one(app, media, &session.actor, params, Allow { mutations: true }).await)
        }
    }
}

fn unsupported(why: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_INPUT", why).with(header::ACCEPT, HeaderValue::from_static("application/json"))
}

/// The whole body, within bounds of size and time.
async fn read(app: &App, parts: &Parts, body: Body) -> Result<Bytes, Problem> {
    let limit = app.config.http.body_limit;
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "TOO_COSTLY",
            format!("The body is larger than {limit} bytes."),
        )
    };
    let said = super::text(&parts.headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if said.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match tokio::time::timeout(app.config.http.read_timeout, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // The limit's own error is the only one besides a client that went away, who hears nothing of it.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "TIMEOUT",
            "The body did not arrive in time.",
        )),
    }
}

/// One operation.
async fn one(app: &App, media: Media, actor: &Arc<Actor>, params: Params, allow: Allow) -> Response {
    let answer = run(app, actor, params.into(), allow).await;
    let (status, retry) = status(&answer, media);
    let mut response = json_response(status, media, answer.body.clone());
    if let Some(seconds) = retry {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response.extensions_mut().insert(Told::of(&answer, actor));
    response
}

/// Operations of one batch that run at once.
const AT_ONCE: usize = 4;

/// Several operations; the answers are a list in the same order. Queries run at once, a few at a time; a mutation waits for all
/// that stands before it, and all that stands behind it waits for the mutation, so each sees what it would see one by one.
async fn batch(app: &App, media: Media, actor: &Arc<Actor>, items: Vec<Value>) -> Result<Response, Problem> {
    let limit = app.config.limits.batch;
    if items.is_empty() {
        return Err(Problem::bad("The list of operations is empty."));
    }
    if items.len() > limit {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "TOO_COSTLY",
            format!("A request holds at most {limit} operations; this one has {}.", items.len()),
        ));
    }
    let mut told = Told::default();
    let mut bodies = BytesMut::new();
    let mut add = |(body, it): (Bytes, Told)| {
        bodies.put_u8(if bodies.is_empty() { b'[' } else { b',' });
        bodies.put_slice(&body);
        told.add(it);
    };
    let mut at_once = Vec::new();
    for item in items {
        let item = Params::from_json(item).map(Request::from);
        let alone = match &item {
            Ok(request) => matches!(app.gateway.operation_kind(actor, request).await, Ok(OperationType::Mutation)),
            Err(_) => false,
        };
        if alone {
            in_order(app, actor, std::mem::take(&mut at_once), &mut add).await;
            add(one_of_batch(app, actor, item).await);
        } else {
            at_once.push(item);
        }
    }
    in_order(app, actor, at_once, &mut add).await;
    bodies.put_u8(b']');
    let mut response = json_response(StatusCode::OK, media, bodies.freeze());
    response.extensions_mut().insert(told);
    Ok(response)
}

/// Runs operations, a few at once, and hands on their answers in the order of the operations.
async fn in_order(app: &App, actor: &Arc<Actor>, items: Vec<Result<Request, String>>, add: &mut impl FnMut((Bytes, Told))) {
    let mut answers = stream::iter(items).map(|item| one_of_batch(app, actor, item)).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        add(answer);
    }
}

async fn one_of_batch(app: &App, actor: &Arc<Actor>, item: Result<Request, String>) -> (Bytes, Told) {
    match item {
        Ok(request) => {
            let answer = run(app, actor, request, Allow { mutations: true }).await;
            let told = Told::of(&answer, actor);
            (answer.body, told)
        }
        Err(why) => (Problem::bad(why).body(), Told::default()),
    }
}

async fn run(app: &App, actor: &Arc<Actor>, request: Request, allow: Allow) -> Answer {
    let began = Instant::now();
    let answer = app.gateway.execute(actor, request, allow).await;
    app.metrics.operation("http", &answer, began.elapsed());
    answer
}

/// The status of an answer, and the seconds after which to come again.
fn status(answer: &Answer, media: Media) -> (StatusCode, Option<u64>) {
    if answer.executed {
        return (StatusCode::OK, None);
    }
    let (code, retry) = answer::first_error(&answer.body);
    let status = answer::status_of(&code);
    // Clients of application/json take a request that was well formed, whatever became of its document, as a 200; that the
    // request itself may not be made (GET for a mutation, rate, ours to mend) is said by the status to everyone.
    if media == Media::Json && status == StatusCode::BAD_REQUEST {
        return (StatusCode::OK, retry);
    }
    (status, retry)
}
