//! Runs plans: from a request to the bytes of a response.

mod beat;
pub mod bucket;
pub mod bulk;
pub mod change;
pub mod definition;
pub mod explain;
pub mod follow;
pub mod gateway;
pub mod gather;
pub mod input;
pub mod klass;
pub mod leaf;
pub mod mutate;
pub mod record;
pub mod run;
mod scalar;
pub mod subscribe;
pub mod tape;
pub mod watch;
pub mod write;

use std::sync::Arc;

use bytes::Bytes;
use klio_entities::klass::OrgId;
use klio_entities::store::Store;
use klio_entities::store::event::Source;
use serde_json::{Map, Value as Json};

use crate::error::Error;

pub use async_graphql_parser::types::OperationType;
pub use gateway::Gateway;
use run::store_error;

/// A GraphQL request, whatever way it came in.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The document.
    pub query: String,
    /// Which of its operations.
    pub operation: Option<String>,
    /// Values of its variables.
    pub variables: Map<String, Json>,
    /// Whatever else the client says. Of a subscription, `resume` is the cursor behind which it goes on, whatever its argument `after`
    /// says: a client that comes back sends the same operation, and this beside it.
    pub extensions: Map<String, Json>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `{"data":…,"errors":[…],"extensions":{…}}`
    pub body: Bytes,
    /// The operation was run. If not, it is a request error: `data` is not in the body, and HTTP answers 4xx.
    pub executed: bool,
    /// What it took.
    pub stats: Stats,
}

/// A message of a subscription. Clones share the bytes: all subscribers of one execution get the same.
#[derive(Clone, Debug)]
pub struct Message {
    /// A whole response: `{"data":…}`.
    pub body: Bytes,
    /// The position right behind it, as the client may give it as `after`; what a transport tells beside the body (`id:` of an event
    /// stream). Nothing where the message has none (an error that ends the subscription).
    pub cursor: Option<Arc<str>>,
    /// It says that all that was committed before has been told, and nothing else.
    pub caught_up: bool,
}

impl Message {
    /// One without a cursor: a response that stands for itself.
    pub fn of(body: Bytes) -> Self {
        Self {
            body,
            cursor: None,
            caught_up: false,
        }
    }
}

/// What a request took, for the log and for metrics.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// The name of the operation.
    pub operation: Option<String>,
    /// `query`, `mutation` or `subscription`; nothing if it did not come so far.
    pub kind: Option<&'static str>,
    /// Statements that were run.
    pub statements: usize,
    /// Rows that were written into the response.
    pub rows: usize,
    /// Points.
    pub cost: u64,
    /// The codes of the errors in the response, each once.
    pub codes: Vec<&'static str>,
}

/// What a way in allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Mutations (not by GET).
    pub mutations: bool,
}

/// Where an org's log stands, as a cursor.
pub(crate) async fn position(store: &Store, org: OrgId) -> Result<String, Error> {
    let identity = store.identity().await.map_err(store_error)?;
    let head = store.head(org, &Source::Org).await.map_err(store_error)?;
    Ok(identity.encode(org, &head))
}

#[cfg(test)]
mod write_tests;

#[cfg(test)]
mod query_tests;
