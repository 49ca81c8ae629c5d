//! `/health/live`, `/health/ready`, `/metrics`: for those who watch.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::App;

/// The process runs.
pub async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// It can serve; which part cannot, otherwise. `degraded`: it serves, only later than it might (other nodes are not heard).
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let database = match tokio::time::timeout(Duration::from_secs(2), app.store.ping()).await {
        Ok(Ok(())) => "ok",
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database does not answer");
            "does not answer"
        }
        Err(_) => "does not answer within 2 s",
    };
    let door = if app.is_draining() { "is closing" } else { "ok" };
    let ready = database == "ok" && door == "ok";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut parts = json!({"database": database, "door": door});
    let bus = app.gateway.live.bus();
    let away = bus.away();
    if app.config.redis.url.is_some() {
        parts["bus"] = match &away {
            None => "ok".into(),
            Some(away) => format!("is away for {} s: {}", away.since.elapsed().as_secs(), away.why).into(),
        };
    }
    let word = match (ready, away) {
        (false, _) => "not ready",
        (true, None) => "ready",
        (true, Some(_)) => "degraded",
    };
    (status, Json(json!({"status": word, "parts": parts}))).into_response()
}

/// For Prometheus.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    if !app.config.http.metrics {
        return StatusCode::NOT_FOUND.into_response();
    }
    app.metrics.look(&app.gateway, &app.listeners.told());
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        app.metrics.text(),
    )
        .into_response()
}
