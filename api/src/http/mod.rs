//! The door's HTTP side: one file a route, and what they share.

use axum::http::{HeaderMap, HeaderName};

pub mod answer;
pub mod explorer;
pub mod graphql;
pub mod health;
pub mod negotiate;
pub mod poll;
pub mod reserved;
pub mod schema;
pub mod streams;
pub mod trace;

/// A header's text; `None` when it is not there or is no text.
pub fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
