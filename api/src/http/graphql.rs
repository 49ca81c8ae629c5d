//! `/graphql`: the GraphQL-over-HTTP specification, to the letter, and the way to a socket.
//!
//! <https://graphql.github.io/graphql-over-http/draft/>. Cross-site forgery: nobody comes in by a cookie; a credential comes in
//! the header `Authorization` alone, which no page can send to another origin without the browser asking first, and a body is
//! JSON or nothing.
//!
//! What stays open is answered elsewhere: sockets in `crate::ws`, streams of one operation in [`streams`], of many in [`reserved`].

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
use super::negotiate::{self, Media, Streamed};
use super::trace::Told;
use super::{reserved, streams};
use crate::App;
use crate::auth::Session;
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
    let streamed = negotiate::streamed(accepts);
    let answered = match (reserved::token(&parts), &parts.method) {
        (_, &Method::PUT) => reserved::reserve(&app, &parts).await,
        (Some(token), &Method::GET) if streamed == Some(Streamed::Events) => reserved::open(&app, &token),
        (Some(token), &Method::POST | &Method::DELETE) => reserved::order(&app, &parts, body, &token).await,
        _ => answer(&app, &parts, body, streamed).await,
    };
    match answered {
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

async fn answer(app: &Arc<App>, parts: &Parts, body: Body, streamed: Option<Streamed>) -> Result<Response, Problem> {
    let media = match (answer::media(&parts.headers), streamed) {
        (Ok(media), _) => Some(media),
        (Err(_), Some(_)) => None,
        (Err(problem), None) => return Err(problem),
    };
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
        return asked(app, parts, streamed, media, session, params, Allow { mutations: false }).await;
    }
    match json(app, parts, body).await? {
        Value::Array(items) => batch(app, media.unwrap_or(Media::Json), &session.actor, items).await,
        value => {
            let params = Params::from_json(value).map_err(Problem::bad)?;
            asked(app, parts, streamed, media, session, params, Allow { mutations: true }).await
        }
    }
}

/// Answers one operation in the manner that its client takes.
async fn asked(
    app: &Arc<App>,
    parts: &Parts,
    streamed: Option<Streamed>,
    media: Option<Media>,
    session: Session,
    params: Params,
    allow: Allow,
) -> Result<Response, Problem> {
    match streamed {
        Some(streamed) => streams::answer(app, &parts.headers, streamed, media, session, params, allow).await,
        None => Ok(one(app, media.unwrap_or(Media::Json), &session.actor, params.into(), allow).await),
    }
}

/// The operation in a body that holds one alone.
///
/// # Errors
/// What is wrong with the body.
pub async fn posted(app: &App, parts: &Parts, body: Body) -> Result<Params, Problem> {
    Params::from_json(json(app, parts, body).await?).map_err(Problem::bad)
}

/// A body's JSON.
async fn json(app: &App, parts: &Parts, body: Body) -> Result<Value, Problem> {
    match negotiate::body(super::text(&parts.headers, header::CONTENT_TYPE)) {
        negotiate::Body::Json => {}
        negotiate::Body::OtherCharset => return Err(unsupported("The body must be UTF-8.")),
        negotiate::Body::Other => return Err(unsupported("The body must be JSON: send Content-Type: application/json.")),
    }
    let bytes = read(app, parts, body).await?;
    if bytes.is_empty() {
        return Err(Problem::bad("The body is empty; it must be a JSON object with a \"query\"."));
    }
    serde_json::from_slice(&bytes).map_err(|error| Problem::bad(format!("The body is not JSON: {error}.")))
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

/// One operation, answered by a single response.
pub async fn one(app: &App, media: Media, actor: &Arc<Actor>, request: Request, allow: Allow) -> Response {
    let answer = run(app, actor, request, allow).await;
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
    status_of_refusal(&answer.body, media)
}

/// The status of a request that was not executed, and the seconds after which to come again.
pub fn status_of_refusal(body: &[u8], media: Media) -> (StatusCode, Option<u64>) {
    let (code, retry) = answer::first_error(body);
    let status = answer::status_of(&code);
    // Clients of application/json take a request that was well formed, whatever became of its document, as a 200; that the
    // request itself may not be made (GET for a mutation, rate, ours to mend) is said by the status to everyone.
    if media == Media::Json && status == StatusCode::BAD_REQUEST {
        return (StatusCode::OK, retry);
    }
    (status, retry)
}
