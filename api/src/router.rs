//! All routes, on one page.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::routing::{any, get, post};
use axum::{Router, middleware};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::App;
use crate::http::answer::Problem;
use crate::http::negotiate::Media;
use crate::http::{explorer, graphql, health, poll, reserved, schema, streams, trace};

/// Everything that can be asked for over HTTP.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        // One endpoint: POST and GET by the GraphQL-over-HTTP specification, sockets by upgrade, streams by the header Accept.
        .route("/graphql", any(graphql::handle))
        // Subscriptions in single answers, where proxies let nothing else through.
        .route("/graphql/poll", post(poll::handle))
        // The caller's schema as SDL.
        .route("/schema.graphql", get(schema::sdl))
        // For those who watch: no credentials.
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics));
    if app.config.http.explorer {
        // GraphiQL: a page and its files; what it asks for needs a token like anything else.
        router = router
            .route("/", get(explorer::page))
            .route("/explorer/{*file}", get(explorer::file));
    }
    router = router.fallback(async || {
        Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is nothing here; the API is at /graphql.").response(Media::Json)
    });
    // From the inside out: compression, CORS, then the log line around all.
    if app.config.http.compress_above > 0 {
        let above = u16::try_from(app.config.http.compress_above).unwrap_or(u16::MAX);
        let worth = SizeAbove::new(above.into())
            .and(NotForContentType::IMAGES)
            .and(NotForContentType::SSE)
            .and(NotForContentType::const_new("multipart/mixed"));
        router = router.layer(CompressionLayer::new().gzip(true).compress_when(worth));
    }
    if let Some(cors) = cors(&app.config.http.cors_origins) {
        router = router.layer(cors);
    }
    router
        .layer(middleware::from_fn_with_state(app.clone(), trace::trace))
        .with_state(app)
}

/// Which pages may call from a browser; `None`: those of the gateway's own origin.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // Settings hold only origins, which are visible ASCII.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let headers = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::ACCEPT,
        trace::REQUEST_ID,
        streams::LAST_EVENT_ID,
        reserved::TOKEN,
    ];
    let shown = [trace::REQUEST_ID, HeaderName::from_static("retry-after")];
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers(headers)
            .expose_headers(shown)
            .max_age(std::time::Duration::from_secs(3_600)),
    )
}
