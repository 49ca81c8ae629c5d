//! Operations answered by a stream: graphql-sse in its distinct connections mode, and Apollo's multipart subscriptions.
//!
//! <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>,
//! <https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol>.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use klio_schema::execute::{Allow, OperationType, Request};

use super::answer::{Problem, json_response};
use super::graphql;
use super::negotiate::{Media, Streamed};
use crate::App;
use crate::auth::Session;
use crate::params::Params;
use crate::stream::flow::{Flow, Form};
use crate::stream::operation::{Said, operation};
use crate::stream::stay::{Refused, Stay};

/// The header with which a browser's `EventSource` tells the last `id:` that it saw, which is a cursor.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A place for someone on a connection that stays open.
///
/// # Errors
/// There is no room.
pub fn stay(app: &Arc<App>, session: Session) -> Result<Stay, Problem> {
    let place = if app.is_draining() {
        None
    } else {
        app.places.enter(app.config.websocket.connections_limit)
    };
    let place = place.ok_or_else(|| {
        let why = "There is no room for another connection just now.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", why).retry_after(1)
    })?;
    let mut stay = Stay::new(app.clone(), place);
    match stay.admit(session) {
        Ok(()) => Ok(stay),
        Err(Refused::Full | Refused::Another) => {
            let why = "This actor has too many connections.";
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", why).retry_after(1))
        }
    }
}

/// Takes over the cursor of `Last-Event-ID`, unless the request says itself from where to go on.
pub fn resume(request: &mut Request, headers: &HeaderMap) {
    if let Some(last) = super::text(headers, LAST_EVENT_ID).filter(|last| !last.is_empty())
        && !request.extensions.contains_key("resume")
    {
        request.extensions.insert("resume".into(), last.into());
    }
}

/// Answers an operation as a stream, or as a single response when it is no subscription and the client takes that too (`media`).
///
/// # Errors
/// There is no room.
pub async fn answer(
    app: &Arc<App>,
    headers: &HeaderMap,
    streamed: Streamed,
    media: Option<Media>,
    session: Session,
    params: Params,
    allow: Allow,
) -> Result<Response, Problem> {
    let actor = session.actor.clone();
    let mut request: Request = params.into();
    if let Some(media) = media
        && !matches!(app.gateway.operation_kind(&actor, &request).await, Ok(OperationType::Subscription))
    {
        return Ok(graphql::one(app, media, &actor, request, allow).await);
    }
    resume(&mut request, headers);
    let stay = stay(app, session)?;
    let form = match streamed {
        Streamed::Events => Form::Events,
        Streamed::Multipart => Form::Multipart,
    };
    let mut said = operation(app.clone(), actor, form.way(), request, allow).await;
    if form == Form::Multipart {
        // What is wrong with the request is told as ever: a multipart response has begun well.
        let first = said.next().await;
        if let Some(Said::Failed(body)) = first {
            let media = media.unwrap_or(Media::GraphqlResponse);
            let (status, retry) = graphql::status_of_refusal(&body, media);
            let mut response = json_response(status, media, body);
            if let Some(seconds) = retry {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            return Ok(response);
        }
        said = futures_util::stream::iter(first).chain(said).boxed();
    }
    Ok(Flow::of(app, form, stay, said).response())
}
