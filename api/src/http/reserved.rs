//! graphql-sse, single connection mode: one event stream for many operations, for browsers that open only a few connections.
//!
//! <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>. PUT reserves a stream and answers a token; GET with that token
//! opens it (once, within half a minute); POST with the token starts an operation, DELETE stops one. PUT, POST and DELETE show who
//! asks in `Authorization` as ever. GET need not: a browser's `EventSource` cannot, so the token stands for whoever reserved, is as
//! long as any other, opens nothing else, and is void with its stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use klio_entities::klass::Actor;
use klio_schema::execute::Request;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::{self, Problem, json_response};
use super::negotiate::Media;
use super::{graphql, streams};
use crate::App;
use crate::stream::flow::Flow;
use crate::stream::operations::{Key, Limits, Pace};
use crate::stream::stay::Stay;
use crate::ws::protocol::ID_LIMIT;

/// The header of a reservation's token.
pub const TOKEN: HeaderName = HeaderName::from_static("x-graphql-event-stream-token");
/// How long a reservation waits for its stream.
const WAITS: Duration = Duration::from_secs(30);

/// What a stream is to do.
#[derive(Debug)]
pub enum Order {
    /// Run this.
    Start(Key, Request),
    /// End this.
    Stop(Key),
}

/// The reservations of a node. Their tokens are good on this node alone: a load balancer must keep a client on its node.
#[derive(Debug, Default)]
pub struct Reservations(Mutex<HashMap<String, Arc<Reservation>>>);

/// A stream that is reserved, or open.
#[derive(Debug)]
pub struct Reservation {
    token: String,
    actor: Arc<Actor>,
    made: Instant,
    orders: mpsc::Sender<Order>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Until the stream is open.
    waiting: Option<(Stay, mpsc::Receiver<Order>)>,
    keys: HashMap<Arc<str>, Key>,
    ids: HashMap<Key, Arc<str>>,
    last_key: Key,
    pace: Pace,
}

/// Nothing that is done under these locks can leave them half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reservations {
    fn find(&self, token: &str) -> Option<Arc<Reservation>> {
        lock(&self.0).get(token).cloned()
    }

    /// A reservation is over.
    pub fn end(&self, reservation: &Reservation) {
        lock(&self.0).remove(&reservation.token);
    }
}

impl Reservation {
    /// Whether an operation is still wanted.
    pub fn knows(&self, key: Key) -> bool {
        lock(&self.state).ids.contains_key(&key)
    }

    /// The client's name of an operation, if it still wants it; `over`: it is the last time.
    pub fn id(&self, key: Key, over: bool) -> Option<Arc<str>> {
        let mut state = lock(&self.state);
        if !over {
            return state.ids.get(&key).cloned();
        }
        let id = state.ids.remove(&key)?;
        state.keys.remove(&id);
        Some(id)
    }

    fn forget(&self, id: &str) -> Option<Key> {
        let mut state = lock(&self.state);
        let key = state.keys.remove(id)?;
        state.ids.remove(&key);
        Some(key)
    }
}

/// The token that a request brings.
pub fn token(parts: &Parts) -> Option<String> {
    if let Some(token) = super::text(&parts.headers, TOKEN) {
        return Some(token.to_owned());
    }
    query(parts, "token")
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).ok()?;
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// PUT: reserves a stream.
///
/// # Errors
/// Nobody who may; no room.
pub async fn reserve(app: &Arc<App>, parts: &Parts) -> Result<Response, Problem> {
    let session = answer::session(app, &parts.headers).await?;
    let actor = session.actor.clone();
    let stay = streams::stay(app, session)?;
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret)
        .map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "No random numbers are to be had.").retry_after(1))?;
    let token = secret.iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let websocket = &app.config.websocket;
    let (orders, receiver) = mpsc::channel(websocket.operations_limit.max(1) * 2);
    let reservation = Arc::new(Reservation {
        token: token.clone(),
        actor,
        made: Instant::now(),
        orders,
        state: Mutex::new(State {
            waiting: Some((stay, receiver)),
            keys: HashMap::new(),
            ids: HashMap::new(),
            last_key: 0,
            pace: Pace::new(Limits {
                operations: websocket.operations_limit,
                starts_per_second: websocket.subscribe_rate,
            }),
        }),
    });
    lock(&app.reservations.0).insert(token.clone(), reservation.clone());
    tokio::spawn({
        let app = app.clone();
        async move {
            tokio::select! {
                () = tokio::time::sleep(WAITS) => {}
                () = app.drain.cancelled() => {}
            }
            // Its place is given back with it.
            let unused = lock(&reservation.state).waiting.take();
            if unused.is_some() {
                app.reservations.end(&reservation);
            }
        }
    });
    Ok(plain(StatusCode::CREATED, &token))
}

/// What there is of a token, for whom it is.
fn found(app: &App, token: &str) -> Result<Arc<Reservation>, Problem> {
    app.reservations.find(token).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            "There is no such reservation: make one with PUT.",
        )
    })
}

/// GET: opens the stream.
///
/// # Errors
/// There is no such reservation, or it has its stream.
pub fn open(app: &Arc<App>, token: &str) -> Result<Response, Problem> {
    let reservation = found(app, token)?;
    let waiting = lock(&reservation.state).waiting.take();
    let Some((stay, orders)) = waiting else {
        return Err(Problem::new(StatusCode::CONFLICT, "CONFLICT", "The stream is open already."));
    };
    Ok(Flow::reserved(app, stay, reservation, orders).response())
}

/// POST: starts an operation. DELETE: stops one.
///
/// # Errors
/// What is wrong with the request; what is wrong with the operation is told on the stream.
pub async fn order(app: &Arc<App>, parts: &Parts, body: Body, token: &str) -> Result<Response, Problem> {
    let session = answer::session(app, &parts.headers).await?;
    let reservation = found(app, token)?;
    if session.actor.org != reservation.actor.org || session.actor.id != reservation.actor.id {
        return Err(Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", "This stream is another actor's."));
    }
    let missing = || Problem::bad("The operation's id is missing: a string of at most 256 bytes.");
    if parts.method == Method::DELETE {
        let id = query(parts, "operationId").ok_or_else(missing)?;
        if let Some(key) = reservation.forget(&id) {
            // A stream that is gone has stopped already.
            let _ = reservation.orders.send(Order::Stop(key)).await;
        }
        return Ok(plain(StatusCode::OK, ""));
    }
    let params = graphql::posted(app, parts, body).await?;
    let id: Arc<str> = match params.extensions.get("operationId") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= ID_LIMIT => id.as_str().into(),
        _ => return Err(missing()),
    };
    let mut request: Request = params.into();
    streams::resume(&mut request, &parts.headers);
    // What is wrong with the document is told here, as ever; what comes of it, on the stream.
    if let Err(refused) = app.gateway.operation_kind(&session.actor, &request).await {
        let media = answer::media(&parts.headers).unwrap_or(Media::GraphqlResponse);
        let (status, _) = graphql::status_of_refusal(&refused.body, media);
        app.metrics.errors(&refused.stats.codes);
        return Ok(json_response(status.max(StatusCode::BAD_REQUEST), media, refused.body));
    }
    let key = {
        let mut state = lock(&reservation.state);
        if state.keys.contains_key(&id) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "CONFLICT",
                format!("Operation with ID {id} already exists."),
            ));
        }
        let under_way = state.ids.len();
        state
            .pace
            .start(under_way, reservation.made.elapsed())
            .map_err(|why| Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", why).retry_after(1))?;
        state.last_key += 1;
        let key = state.last_key;
        state.keys.insert(id.clone(), key);
        state.ids.insert(key, id.clone());
        key
    };
    if reservation.orders.try_send(Order::Start(key, request)).is_err() {
        reservation.forget(&id);
        let why = "The stream takes no more operations just now.";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", why).retry_after(1));
    }
    Ok(plain(StatusCode::ACCEPTED, ""))
}
