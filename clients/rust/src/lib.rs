//! A client for a Klio gateway: queries and mutations over HTTP, subscriptions over a WebSocket that comes back by itself and
//! goes on behind the last cursor it saw.
//!
//! What it does by itself:
//! - a subscription whose query selects `cursor` of its root field misses nothing and hears nothing twice, whatever becomes of the
//!   connection or the gateway, for as long as the log is kept; see [`Client::subscribe`];
//! - it waits between attempts, each time longer and never exactly as long as others do ([`Retry`]);
//! - it asks for a new token when the old one is no longer good, if it was told where from ([`Client::with_tokens`]);
//! - it tries again what was surely not executed ([`Client::query`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), klio_client::Error> {
//! use futures_util::StreamExt;
//! let klio = klio_client::Client::new("http://127.0.0.1:4000", "klio_…");
//! let data = klio.query("{ customers(first: 1) { nodes { name } } }", serde_json::json!({})).await?;
//! println!("{}", data["customers"]["nodes"][0]["name"]);
//! let mut changes = klio.subscribe("subscription { customerChanged { change cursor } }", serde_json::json!({}));
//! while let Some(change) = changes.next().await {
//!     println!("{}", change?["customerChanged"]["change"]);
//! }
//! # Ok(()) }
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod socket;
mod token;

pub use socket::{Subscription, Typed};
use token::Tokens;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at that address: nothing was sent.
    #[error("the gateway was not reached: {0}")]
    Unreached(String),
    /// The connection broke; what was sent may have been executed.
    #[error("the connection to the gateway broke: {0}")]
    Connection(String),
    /// The gateway answered something that is no GraphQL response.
    #[error("the gateway answered {status} and no GraphQL response: {text}")]
    Protocol {
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        text: String,
    },
    /// The operation has errors. There may be data all the same.
    #[error("{}", told(.errors))]
    Operation {
        /// HTTP status; 200 over a socket.
        status: u16,
        /// What went wrong.
        errors: Vec<GraphqlError>,
        /// What there is nevertheless; null when nothing was executed.
        data: Value,
    },
    /// The socket was closed for a reason that coming back does not mend.
    #[error("the gateway closed the socket: {code} {reason}")]
    Closed {
        /// Close code.
        code: u16,
        /// As the gateway put it.
        reason: String,
    },
    /// No token was to be had, from where they come ([`Client::with_tokens`]).
    #[error("there is no token: {0}")]
    Token(String),
    /// What came is not what it should be read as ([`Subscription::typed`]).
    #[error("a message is not as expected: {0}")]
    Unexpected(String),
}

/// What sort of error a gateway tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The document is wrong: syntax, names, types, an unknown operation.
    Document,
    /// A value is wrong.
    Input,
    /// The token is not good.
    Unauthenticated,
    /// The role may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Somebody else changed it meanwhile, or a unique value is taken.
    Conflict,
    /// More than an operation may cost.
    TooCostly,
    /// Too much at once: come back later.
    RateLimited,
    /// Broken off since it took too long.
    Timeout,
    /// Something behind the gateway does not answer: come back later.
    Unavailable,
    /// The gateway's own fault.
    Internal,
    /// One that this client does not know.
    Other,
}

impl Kind {
    /// Of `extensions.code`.
    pub fn of(code: &str) -> Self {
        match code {
            "GRAPHQL_PARSE_FAILED" | "GRAPHQL_VALIDATION_FAILED" | "UNKNOWN_OPERATION" | "OPERATION_NOT_ALLOWED" => Kind::Document,
            "BAD_INPUT" => Kind::Input,
            "UNAUTHENTICATED" => Kind::Unauthenticated,
            "FORBIDDEN" => Kind::Forbidden,
            "NOT_FOUND" => Kind::NotFound,
            "CONFLICT" => Kind::Conflict,
            "TOO_COSTLY" => Kind::TooCostly,
            "RATE_LIMITED" => Kind::RateLimited,
            "TIMEOUT" => Kind::Timeout,
            "UNAVAILABLE" => Kind::Unavailable,
            "INTERNAL" => Kind::Internal,
            _ => Kind::Other,
        }
    }
}

impl Error {
    /// The code of the first error of an operation.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Operation { errors, .. } => errors.first().and_then(GraphqlError::code),
            _ => None,
        }
    }

    /// What sort of error the first error of an operation is.
    pub fn kind(&self) -> Option<Kind> {
        self.code().map(Kind::of)
    }

    /// After how long to come back, if the gateway says so.
    pub fn retry_after(&self) -> Option<Duration> {
        let Error::Operation { errors, .. } = self else { return None };
        let seconds = errors.first()?.extensions.get("retryAfter")?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Nothing was executed, and trying again may help.
    fn may_pass(&self) -> bool {
        match self {
            Error::Operation { data: Value::Null, .. } => matches!(self.kind(), Some(Kind::RateLimited | Kind::Unavailable)),
            Error::Unreached(_) => true,
            _ => false,
        }
    }
}

fn told(errors: &[GraphqlError]) -> String {
    errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// One of the `errors` of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphqlError {
    /// A sentence.
    pub message: String,
    /// Which field of the response it befell.
    #[serde(default)]
    pub path: Vec<Value>,
    /// `{"code": …}` and more.
    #[serde(default)]
    pub extensions: Value,
}

impl GraphqlError {
    /// `extensions.code`.
    pub fn code(&self) -> Option<&str> {
        self.extensions.get("code")?.as_str()
    }
}

/// A whole response.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Response {
    /// Null when nothing was executed.
    #[serde(default)]
    pub data: Value,
    /// None when all went well.
    #[serde(default)]
    pub errors: Vec<GraphqlError>,
    /// `{"cost": …}` and more.
    #[serde(default)]
    pub extensions: Value,
}

impl Response {
    /// The data, or the errors as an error.
    ///
    /// # Errors
    /// Those of the response, if it has any.
    pub fn into_data(self, status: u16) -> Result<Value, Error> {
        if self.errors.is_empty() {
            return Ok(self.data);
        }
        Err(Error::Operation {
            status,
            errors: self.errors,
            data: self.data,
        })
    }
}

/// How often and how long it is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// How often a subscription comes back without having heard anything in between, or an operation that was not executed is tried
    /// again.
    pub attempts: u32,
    /// The wait before the first time; it doubles each time.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
    /// After how long without a word a socket is given up: the gateway says something every 12 s.
    pub silence: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            first: Duration::from_millis(50),
            most: Duration::from_secs(5),
            silence: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The wait before attempt `n` (from 1): between half and all of what doubling gives, so that many clients spread.
    pub fn wait(&self, n: u32) -> Duration {
        let full = self.first.saturating_mul(2u32.saturating_pow(n.saturating_sub(1))).min(self.most);
        // Not for secrets: the clock's last digits spread well enough.
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.subsec_nanos());
        full.mul_f64(0.5 + f64::from(nanos % 1_000) / 2_000.0)
    }
}

/// A gateway, and who asks it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    tokens: Tokens,
    http: reqwest::Client,
    retry: Retry,
}

impl Client {
    /// For the gateway at a URL (`http://127.0.0.1:4000`), with a token.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        let url: String = url.into();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            tokens: Tokens::fixed(token.into()),
            http: reqwest::Client::new(),
            retry: Retry::default(),
        }
    }

    /// With other patience.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same gateway, asked by someone else.
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self {
            tokens: Tokens::fixed(token.into()),
            ..self.clone()
        }
    }

    /// The same gateway, with tokens that are asked for: at first, and again whenever one is no longer good (expired, revoked). They
    /// must all be the same actor's. What the source answers as an error ends what needed the token with [`Error::Token`].
    ///
    /// ```no_run
    /// # fn example(client: klio_client::Client) {
    /// let client = client.with_tokens(async || Ok(std::env::var("KLIO_TOKEN").map_err(|error| error.to_string())?));
    /// # }
    /// ```
    pub fn with_tokens<F>(&self, source: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self {
            tokens: Tokens::from_source(source),
            ..self.clone()
        }
    }

    /// The gateway's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a query or a mutation; answers its data. What was surely not executed (nobody answered at the address; the gateway was busy,
    /// or had no database, and said so) is tried again, as often as [`Retry`] says; what may have been executed is not.
    ///
    /// # Errors
    /// Also when there are data beside the errors: they are in the error.
    pub async fn query(&self, query: &str, variables: Value) -> Result<Value, Error> {
        let request = json!({"query": query, "variables": variables});
        let mut attempt = 0;
        loop {
            let told = match self.post(&request).await {
                Ok((status, response)) => response.into_data(status),
                Err(error) => Err(error),
            };
            let error = match told {
                Err(error) if error.may_pass() && attempt < self.retry.attempts => error,
                told => return told,
            };
            attempt += 1;
            let wait = self.retry.wait(attempt);
            tokio::time::sleep(error.retry_after().map_or(wait, |after| after.min(self.retry.most).max(wait))).await;
        }
    }

    /// Runs a query or a mutation; answers the whole response, with the HTTP status.
    ///
    /// # Errors
    /// Only when there is no GraphQL response.
    pub async fn send(&self, query: &str, variables: Value) -> Result<(u16, Response), Error> {
        self.post(&json!({"query": query, "variables": variables})).await
    }

    /// Posts a request as it is; once more with a new token, if the old one is no longer good and another is to be had.
    ///
    /// # Errors
    /// Only when there is no GraphQL response.
    pub async fn post(&self, request: &Value) -> Result<(u16, Response), Error> {
        let token = self.tokens.now().await?;
        let answer = self.post_once(request, &token).await?;
        if answer.0 == 401
            && let Some(token) = self.tokens.instead_of(&token).await?
        {
            return self.post_once(request, &token).await;
        }
        Ok(answer)
    }

    async fn post_once(&self, request: &Value, token: &str) -> Result<(u16, Response), Error> {
        let sent = self
            .http
            .post(format!("{}/graphql", self.url))
            .header("accept", "application/graphql-response+json")
            .header("authorization", format!("Bearer {token}"))
            .json(request)
            .send()
            .await;
        let answer = sent.map_err(unsent)?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.map_err(|error| Error::Connection(error.to_string()))?;
        match serde_json::from_slice::<Response>(&bytes) {
            Ok(response) => Ok((status, response)),
            Err(_) => Err(Error::Protocol {
                status,
                text: String::from_utf8_lossy(&bytes).chars().take(500).collect(),
            }),
        }
    }

    /// The SDL of the org's schema.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn schema(&self) -> Result<String, Error> {
        let url = format!("{}/schema.graphql", self.url);
        let sent = self
            .http
            .get(url)
            .header("authorization", format!("Bearer {}", self.tokens.now().await?))
            .send()
            .await;
        let answer = sent.map_err(unsent)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(|error| Error::Connection(error.to_string()))?;
        if status == 200 {
            Ok(text)
        } else {
            Err(Error::Protocol {
                status,
                text: text.chars().take(500).collect(),
            })
        }
    }

    /// Listens. The answer is a stream of data; it comes back by itself when the connection is lost or the gateway restarts.
    ///
    /// When the query selects `cursor` of its root field (under that name), it goes on behind the last one: nothing is missed and
    /// nothing comes twice, but `CAUGHT_UP` comes each time that it has caught up. Without, it starts anew with what happens then.
    pub fn subscribe(&self, query: &str, variables: Value) -> Subscription {
        self.subscribe_after(query, variables, None)
    }

    /// Listens, behind a cursor that was kept ([`Subscription::cursor`], or one of a page or a mutation's payload).
    pub fn subscribe_after(&self, query: &str, variables: Value, cursor: Option<String>) -> Subscription {
        Subscription::start(
            self.url.replacen("http", "ws", 1) + "/graphql",
            self.tokens.clone(),
            json!({"query": query, "variables": variables}),
            cursor,
            self.retry,
        )
    }
}

/// Why there is no answer: was anything sent?
fn unsent(error: reqwest::Error) -> Error {
    if error.is_connect() {
        Error::Unreached(error.to_string())
    } else {
        Error::Connection(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let retry = Retry {
            attempts: 9,
            first: Duration::from_millis(100),
            most: Duration::from_secs(1),
            ..Retry::default()
        };
        for (n, most) in [(1, 100), (2, 200), (4, 800), (5, 1_000), (100, 1_000)] {
            let wait = retry.wait(n).as_millis();
            assert!(wait >= most / 2 && wait <= most, "{n}: {wait}");
        }
    }

    #[test]
    fn errors_tell_their_code() {
        let text = r#"{"errors":[{"message":"No.","extensions":{"code":"FORBIDDEN"},"path":["a",0]}]}"#;
        let response: Response = serde_json::from_str(text).expect("a response");
        let error = response.into_data(403).expect_err("errors");
        assert_eq!((error.code(), error.to_string().as_str()), (Some("FORBIDDEN"), "No."));
        assert_eq!((error.kind(), error.may_pass()), (Some(Kind::Forbidden), false));
        let text = r#"{"errors":[{"message":"Busy.","extensions":{"code":"RATE_LIMITED","retryAfter":1.5}}]}"#;
        let response: Response = serde_json::from_str(text).expect("a response");
        let error = response.into_data(429).expect_err("errors");
        assert_eq!((error.retry_after(), error.may_pass()), (Some(Duration::from_millis(1_500)), true));
        // With data beside it something was executed.
        let text = r#"{"data":{"a":1},"errors":[{"message":"Away.","extensions":{"code":"UNAVAILABLE"}}]}"#;
        let response: Response = serde_json::from_str(text).expect("a response");
        assert!(!response.into_data(200).expect_err("errors").may_pass());
    }
}
