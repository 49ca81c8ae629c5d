//! Sockets: `protocol.rs` decides, `driver.rs` does, here they are let in.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::App;
use crate::http::answer::Problem;
use crate::http::negotiate::{self, Media};

mod driver;
pub mod protocol;

/// The sub-protocol that is spoken.
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// Read and write buffers of a socket, in bytes. What tungstenite takes by default costs 138 KB a connection; this 7 KB.
const BUFFER: usize = 4 * 1024;
/// A socket's write buffer never grows beyond this, in bytes: one answer of an operation must fit.
const WRITE_LIMIT: usize = 64 * 1024 * 1024;

/// Lets a socket in, or says why not.
pub fn upgrade(app: &Arc<App>, upgrade: WebSocketUpgrade, headers: &HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    let lists = [&app.config.websocket.origins, &app.config.http.cors_origins];
    if !lists.iter().any(|list| negotiate::origin_allowed(origin, host, list)) {
        let why = "Web pages of this origin may not open a socket here; the settings websocket.origins and http.cors_origins list those that may.";
        return Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", why).response(Media::Json);
    }
    let place = if app.is_draining() {
        None
    } else {
        app.places.enter(app.config.websocket.connections_limit)
    };
    let Some(place) = place else {
        let why = "There is no room for another socket just now.";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", why)
            .retry_after(1)
            .response(Media::Json);
    };
    let spoken = upgrade.requested_protocols().any(|protocol| protocol == SUBPROTOCOL);
    // A client that speaks something else hears 4406 only over a socket, and opens one only with a sub-protocol of its own.
    let chosen = match upgrade.requested_protocols().next() {
        _ if spoken => Some(HeaderValue::from_static(SUBPROTOCOL)),
        first => first.cloned(),
    };
    let header_token = text(header::AUTHORIZATION).and_then(crate::auth::bearer).map(str::to_owned);
    let limit = app.config.websocket.message_limit;
    let app = app.clone();
    let mut upgrade = upgrade;
    if let Some(chosen) = chosen {
        upgrade.set_selected_protocol(chosen);
    }
    upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(WRITE_LIMIT)
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| {
            let tasks = app.tasks.clone();
            tasks.track_future(driver::drive(app, socket, place, spoken, header_token))
        })
}
