//! GraphiQL at `/`: from files built into the program when there were any at its build (`api/graphiql/`), from the public CDN
//! otherwise.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::App;

/// What both pages share: the token's field, the socket, the first query.
const SHARED: &str = include_str!("../../graphiql/src/klio.js");
/// The page when files are built in.
const BUILT_PAGE: &str = include_str!("../../graphiql/index.html");
/// The page when they are not.
const CDN_PAGE: &str = include_str!("../../graphiql/cdn.html");

// `FILES: &[(name, content type, bytes compressed with gzip)]`, sorted by name; made by build.rs.
include!(concat!(env!("OUT_DIR"), "/graphiql.rs"));

/// The page may load scripts and workers of its own, style itself, and talk to its own gateway; nothing may frame it.
const BUILT_POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; \
    font-src 'self' data:; img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The same, with the CDN.
const CDN_POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline' https://esm.sh; worker-src 'self' blob: https://esm.sh; \
    style-src 'self' 'unsafe-inline' https://esm.sh; font-src 'self' data: https://esm.sh; img-src 'self' data:; \
    connect-src 'self' ws: wss: https://esm.sh; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether GraphiQL's files are built in.
pub fn is_built_in() -> bool {
    !FILES.is_empty()
}

/// The page.
pub async fn page(State(_app): State<Arc<App>>) -> Response {
    let (page, policy) = if is_built_in() {
        (BUILT_PAGE, BUILT_POLICY)
    } else {
        (CDN_PAGE, CDN_POLICY)
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, page).into_response()
}

/// A file of the page.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    if name == "klio.js" {
        return (
            [
                (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
                (header::CACHE_CONTROL, "no-cache"),
            ],
            SHARED,
        )
            .into_response();
    }
    let Ok(at) = FILES.binary_search_by(|(file, _, _)| (*file).cmp(name.as_str())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (_, content_type, bytes) = FILES[at];
    // They are kept compressed, and every browser takes that.
    let takes_gzip =
        super::text(&headers, header::ACCEPT_ENCODING).is_some_and(|accepted| accepted.contains("gzip") || accepted.contains('*'));
    if !takes_gzip {
        return (
            StatusCode::NOT_ACCEPTABLE,
            "This file is kept compressed: send Accept-Encoding: gzip.\n",
        )
            .into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
