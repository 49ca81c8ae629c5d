//! `GET /schema.graphql`: the schema of the caller's org, as SDL.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::answer::{self, Problem};
use super::negotiate::Media;
use crate::App;

/// The SDL, with an ETag, so that tools that poll get 304 until a klass changes.
pub async fn sdl(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let session = match answer::session(&app, &headers).await {
        Ok(session) => session,
        Err(problem) => return problem.response(Media::Json),
    };
    let schema = match app.gateway.catalog.schema(session.actor.org).await {
        Ok(schema) => schema,
        Err(error) => {
            tracing::error!(%error, "an org's schema is not to be had");
            return Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "The schema is not to be had just now.",
            )
            .retry_after(1)
            .response(Media::Json);
        }
    };
    let hash = Sha256::digest(schema.sdl());
    let etag = format!("\"{}\"", hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>());
    let known = super::text(&headers, header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let fields = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::VARY, "authorization".to_owned()),
        (header::ETAG, etag),
    ];
    (fields, schema.sdl()).into_response()
}
