//! All routes, on one page.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get, post};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::App;
use crate::http::answer::Problem;
use crate::http::negotiate::Media;
use crate::http::{explorer, graphql, health, poll, reserved, schema, streams, trace};

/// What comes back compressed, to those who take it.
type Compression = CompressionLayer<And<And<And<SizeAbove, NotForContentType>, NotForContentType>, NotForContentType>>;

/// The way in for every request: a log line around all, then the routes.
pub struct Door {
    app: Arc<App>,
    router: Router,
    compression: Option<Compression>,
    /// Nothing but compression stands between a request and `/graphql`.
    straight: bool,
}

impl Door {
    /// Everything that can be asked for over HTTP.
    pub fn new(app: Arc<App>) -> Self {
        let compression = compression(app.config.http.compress_above);
        let straight = app.config.http.cors_origins.is_empty();
        Self {
            router: router(app.clone(), compression.clone()),
            app,
            compression,
            straight,
        }
    }

    /// Answers a request.
    pub async fn answer<B>(self: Arc<Self>, request: axum::http::Request<B>) -> Result<Response, Infallible>
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        Ok(trace::trace(&self.app, request.map(Body::new), |request| self.routed(request)).await)
    }

    /// Boxed: whatever holds this is moved a few times on its way, which costs as much as it is large.
    fn routed(&self, request: Request) -> BoxFuture<'static, Response> {
        // Nearly all requests go here, so they go past what is made anew in the router for each of them.
        if self.straight && request.uri().path() == "/graphql" {
            let app = self.app.clone();
            let packed = |_: &&Compression| request.headers().contains_key(header::ACCEPT_ENCODING);
            let Some(compression) = self.compression.as_ref().filter(packed) else {
                return graphql::handle(State(app), request).boxed();
            };
            let answer = move |request| graphql::handle(State(app.clone()), request).boxed();
            let graphql = compression.layer(service_fn(move |request| answer(request).map(Ok::<_, Infallible>)));
            return graphql.oneshot(request).map(|Ok(response)| response.map(Body::new)).boxed();
        }
        self.router.clone().oneshot(request).map(|Ok(response)| response).boxed()
    }
}

fn compression(above: usize) -> Option<Compression> {
    if above == 0 {
        return None;
    }
    let above = u16::try_from(above).unwrap_or(u16::MAX);
    let worth = SizeAbove::new(above.into())
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("multipart/mixed"));
    Some(CompressionLayer::new().gzip(true).compress_when(worth))
}

fn router(app: Arc<App>, compression: Option<Compression>) -> Router {
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
    // From the inside out.
    if let Some(compression) = compression {
        router = router.layer(compression);
    }
    if let Some(cors) = cors(&app.config.http.cors_origins) {
        router = router.layer(cors);
    }
    router.with_state(app)
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
