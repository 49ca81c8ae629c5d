//! Answers about the schema itself, and the hook by which a document is validated but never run by async-graphql.

use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, Response, ServerError, Variables, dynamic};
use bytes::Bytes;
use futures_util::FutureExt;

use crate::types::excerpt::excerpt;
use crate::types::model::Types;

/// Given with a request as data: run it (introspection), do not stop behind validation.
struct Introspect;

/// Stops every request between validation and execution, unless it asks about the schema itself.
pub(crate) struct StopBeforeExecution;

impl ExtensionFactory for StopBeforeExecution {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Stop)
    }
}

struct Stop;

#[async_trait::async_trait]
impl Extension for Stop {
    async fn execute(&self, ctx: &ExtensionContext<'_>, operation_name: Option<&str>, next: NextExecute<'_>) -> Response {
        if ctx.data_opt::<Introspect>().is_some() {
            next.run(ctx, operation_name).await
        } else {
            Response::default()
        }
    }
}

/// Whether a document is valid against a schema: by async-graphql's rules, which lack some of the specification's (`validate`
/// adds those). The caller has bounded the document before.
pub fn validate(types: &Types, document: &ExecutableDocument) -> Result<(), Vec<ServerError>> {
    match excerpt(types, document) {
        Ok(schema) => validate_whole(&schema, document.clone()),
        Err(error) => Err(vec![ServerError::new(error.to_string(), None)]),
    }
}

/// As [`validate`], against a schema as it is.
pub(crate) fn validate_whole(schema: &dynamic::Schema, document: ExecutableDocument) -> Result<(), Vec<ServerError>> {
    let mut request = Request::new("");
    request.set_parsed_query(document);
    let errors = now(schema, request).errors;
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Answers an operation whose root fields are all `__schema`, `__type` or `__typename`: the whole response.
pub fn answer(schema: &dynamic::Schema, document: ExecutableDocument, variables: Variables, operation: Option<&str>) -> Response {
    let mut request = Request::new("").variables(variables).data(Introspect);
    request.operation_name = operation.map(str::to_owned);
    request.set_parsed_query(document);
    now(schema, request)
}

/// [`answer`] as JSON: `{"data":…}`, with `errors` where there are any.
pub fn answer_bytes(schema: &dynamic::Schema, document: ExecutableDocument, variables: Variables, operation: Option<&str>) -> Bytes {
    match serde_json::to_vec(&answer(schema, document, variables, operation)) {
        Ok(json) => json.into(),
        // A response holds nothing that JSON cannot say.
        Err(_) => UNANSWERED,
    }
}

/// What cannot happen, said rather than hidden.
pub(crate) const UNANSWERED: Bytes = Bytes::from_static(b"{\"data\":null,\"errors\":[{\"message\":\"introspection was not answered\"}]}");

/// Nothing in it waits: every resolver answers at once.
fn now(schema: &dynamic::Schema, request: Request) -> Response {
    schema.execute(request).now_or_never().unwrap_or_else(|| {
        // Cannot happen; said rather than hung.
        Response::from_errors(vec![ServerError::new("the schema's own answer was not ready", None)])
    })
}
