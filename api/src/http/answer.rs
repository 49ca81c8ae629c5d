//! Answers that are no result: every code with its HTTP status, in one place.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::negotiate::{self, Media};
use crate::App;
use crate::auth::{self, Refusal, Session};

/// The status of a request that failed with this code before anything was executed.
pub fn status_of(code: &str) -> StatusCode {
    match code {
        "UNAUTHENTICATED" => StatusCode::UNAUTHORIZED,
        "FORBIDDEN" => StatusCode::FORBIDDEN,
        "NOT_FOUND" => StatusCode::NOT_FOUND,
        "OPERATION_NOT_ALLOWED" => StatusCode::METHOD_NOT_ALLOWED,
        "CONFLICT" => StatusCode::CONFLICT,
        "RATE_LIMITED" => StatusCode::TOO_MANY_REQUESTS,
        "INTERNAL" => StatusCode::INTERNAL_SERVER_ERROR,
        "UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
        "TIMEOUT" => StatusCode::GATEWAY_TIMEOUT,
        // GRAPHQL_PARSE_FAILED, GRAPHQL_VALIDATION_FAILED, BAD_INPUT, UNKNOWN_OPERATION, TOO_COSTLY
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The code of a response's first error, and after how many seconds to try again if it says so.
pub fn first_error(body: &[u8]) -> (String, Option<u64>) {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        extensions: Extensions,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Extensions {
        #[serde(default)]
        code: String,
        #[serde(default)]
        retry_after: Option<f64>,
    }
    let body: Body = serde_json::from_slice(body).unwrap_or(Body { errors: Vec::new() });
    let extensions = body.errors.into_iter().next().map(|error| error.extensions).unwrap_or_default();
    // Whole seconds, rounded up; a wait is never longer than a day.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seconds = extensions.retry_after.map(|seconds| seconds.clamp(1.0, 86_400.0).ceil() as u64);
    (extensions.code, seconds)
}

/// Why a request was not even tried.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// With a status, a code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    /// 400: what was sent cannot be understood.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_INPUT", message)
    }

    /// Says when to try again.
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// As the body of a GraphQL response.
    pub fn body(&self) -> Bytes {
        json!({"errors": [{"message": self.message, "extensions": {"code": self.code}}]})
            .to_string()
            .into()
    }

    /// As an HTTP response.
    pub fn response(self, media: Media) -> Response {
        let mut response = json_response(self.status, media, self.body());
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        // The way in is named, and what was wrong with it, as RFC 6750 has it.
        let challenge = match refusal {
            Refusal::Missing => r#"Bearer realm="klio""#,
            Refusal::Invalid(_) => r#"Bearer realm="klio", error="invalid_token""#,
            Refusal::Unavailable => {
                return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", refusal.to_string()).retry_after(1);
            }
        };
        Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", refusal.to_string())
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}

/// A response of JSON.
pub fn json_response(status: StatusCode, media: Media, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept, authorization"));
    response
}

/// Who asks.
///
/// # Errors
/// Nobody who may.
pub async fn session(app: &App, headers: &HeaderMap) -> Result<Session, Problem> {
    // Never from the URL, which ends up in logs and histories.
    let credential = super::text(headers, header::AUTHORIZATION)
        .and_then(auth::bearer)
        .ok_or(Refusal::Missing)?;
    Ok(app.auth.verify(credential).await?)
}

/// What a client accepts.
///
/// # Errors
/// Nothing that there is.
pub fn media(headers: &HeaderMap) -> Result<Media, Problem> {
    negotiate::accept(super::text(headers, header::ACCEPT)).ok_or_else(|| {
        let why = "This answers application/graphql-response+json or application/json; the header Accept takes neither.";
        Problem::new(StatusCode::NOT_ACCEPTABLE, "BAD_INPUT", why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_errors() {
        let of = |text: &str| first_error(text.as_bytes());
        assert_eq!(
            of(r#"{"errors":[{"message":"m","extensions":{"code":"A"}},{"message":"n"}]}"#),
            ("A".into(), None)
        );
        assert_eq!(
            of(r#"{"errors":[{"message":"m","extensions":{"code":"RATE_LIMITED","retryAfter":1.2}}]}"#),
            ("RATE_LIMITED".into(), Some(2))
        );
        assert_eq!(of(r#"{"errors":[{"message":"m"}]}"#), (String::new(), None));
        assert_eq!(of("nonsense"), (String::new(), None));
    }

    #[test]
    fn a_problem_is_shaped_like_any_error() {
        assert_eq!(
            Problem::bad("No \"x\".").body(),
            r#"{"errors":[{"message":"No \"x\".","extensions":{"code":"BAD_INPUT"}}]}"#
        );
    }
}
