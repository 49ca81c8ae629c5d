//! A client for a Klio gateway: queries and mutations over HTTP, subscriptions over a WebSocket that comes back by itself and
//! goes on behind the last cursor it saw.
//!
//! ```no_run
//! # async fn example() -> Result<(), klio_client::Error> {
//! use futures_util::StreamExt;
//! let klio = klio_client::Client::new("http://127.0.0.1:4000", "klio_…");
//! let data = klio.query("{ customers(first: 1) { nodes { name } } }", serde_json::json!({})).await?;
//! println!("{}", data["customers"]["nodes"][0]["name"]);
//! let mut changes = klio.subscribe("subscription ($after: Cursor) { customerChanged(after: $after) { change cursor } }", serde_json::json!({}));
//! while let Some(change) = changes.next().await {
//!     println!("{}", change?["customerChanged"]["change"]);
//! }
//! # Ok(()) }
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod socket;

pub use socket::Subscription;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The gateway could not be reached, or the connection broke. Trying again may help.
    #[error("the gateway was not reached: {0}")]
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
}

impl Error {
    /// The code of the first error of an operation.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Operation { errors, .. } => errors.first().and_then(GraphqlError::code),
            _ => None,
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
    /// How often a subscription comes back without having heard anything in between.
    pub attempts: u32,
    /// The wait before the first time; it doubles each time.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            first: Duration::from_millis(50),
            most: Duration::from_secs(5),
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
    token: String,
    http: reqwest::Client,
    retry: Retry,
}

impl Client {
    /// For the gateway at a URL (`http://127.0.0.1:4000`), with a token.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        let url: String = url.into();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            token: token.into(),
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
            token: token.into(),
            ..self.clone()
        }
    }

    /// The gateway's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a query or a mutation; answers its data.
    ///
    /// # Errors
    /// Also when there are data beside the errors: they are in the error.
    pub async fn query(&self, query: &str, variables: Value) -> Result<Value, Error> {
        let (status, response) = self.send(query, variables).await?;
        response.into_data(status)
    }

    /// Runs a query or a mutation; answers the whole response, with the HTTP status.
    ///
    /// # Errors
    /// Only when there is no GraphQL response.
    pub async fn send(&self, query: &str, variables: Value) -> Result<(u16, Response), Error> {
        self.post(&json!({"query": query, "variables": variables})).await
    }

    /// Posts a request as it is.
    ///
    /// # Errors
    /// Only when there is no GraphQL response.
    pub async fn post(&self, request: &Value) -> Result<(u16, Response), Error> {
        let sent = self
            .http
            .post(format!("{}/graphql", self.url))
            .header("accept", "application/graphql-response+json")
            .header("authorization", format!("Bearer {}", self.token))
            .json(request)
            .send()
            .await;
        let answer = sent.map_err(|error| Error::Connection(error.to_string()))?;
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
            .header("authorization", format!("Bearer {}", self.token))
            .send()
            .await;
        let answer = sent.map_err(|error| Error::Connection(error.to_string()))?;
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

    /// Listens. The answer is a stream of data; it comes back by itself when the connection is lost.
    ///
    /// When the query has a variable `$after: Cursor` and selects `cursor` of its root field, it goes on behind the last one:
    /// nothing is missed and nothing comes twice. Without, it starts anew with what happens then.
    pub fn subscribe(&self, query: &str, variables: Value) -> Subscription {
        Subscription::start(
            self.url.replacen("http", "ws", 1) + "/graphql",
            self.token.clone(),
            query.to_owned(),
            variables,
            self.retry,
        )
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
    }
}
