//! A subscription: the log's events become messages of the schema. Nothing that was committed is left out: where that cannot be
//! kept, the message is `RESYNC` and says why. (What is told as it is now is another matter: [`state`].)
//!
//! The document is compiled once per version of the klasses; each message is a record, and the objects in it are read fresh, in
//! batches, by the plan of its selection, so that they are what a query would answer. The transport ends a subscription (token
//! expired, client gone) by dropping its stream.

use futures_util::stream::BoxStream;
use klio_entities::klass::Actor;
use serde_json::Value as Json;

use super::gateway::{Prepared, refused, write_data};
use super::record::Cell;
use super::run::{Run, store_error};
use super::watch::record_of;
use super::{Answer, Gateway, Message, Request, Stats};
use crate::error::{Error, write_errors};

mod entries;
mod message;
mod path;
mod related;
mod session;
pub mod share;
mod state;
mod tell;
mod terms;

pub(super) use path::Path;
use session::Session;
use share::Class;
pub(super) use state::read::any_object;

impl Gateway {
    /// Starts a subscription: each item is a whole response. What is wrong before it starts is an [`Answer`] (a request error).
    /// The stream ends by itself only after an error, which is its last item; dropping it ends the subscription.
    ///
    /// Subscribers who ask the same and may see the same share one execution and its bytes; see [`share`].
    pub async fn subscribe(&self, actor: &Actor, request: Request) -> Result<BoxStream<'static, Message>, Answer> {
        let refuse = |error: Error| refused(vec![error], Stats::default());
        let planned = self
            .plan_subscription(actor, &request)
            .await
            .map_err(|errors| refused(errors, Stats::default()))?;
        {
            let run = Run::new(
                &self.store,
                &planned.schema,
                actor,
                &planned.variables,
                &self.limits,
                planned.plan.kind,
            );
            self.charge(&run, &planned.plan, actor).map_err(refuse)?;
        }
        let class = Class::of(actor);
        let (record, arguments) = record_of(&planned).map_err(refuse)?;
        if state::is_state(&record.means) {
            let key = self.shares.key(&class, &request, None);
            return self.follow_state(class.actor(), key, request, planned).await.map_err(refuse);
        }
        let identity = self.store.identity().await.map_err(|e| refuse(store_error(e)))?;
        let text = arguments.given("after").and_then(|v| v.as_str()).map(str::to_owned);
        let resume = match request.extensions.get("resume") {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(text.as_str()),
            Some(_) => return Err(refuse(Error::bad("The extension `resume` is a cursor, a string."))),
        };
        let after = match (resume, text.as_deref()) {
            (None, None) => None,
            (Some(text), _) | (None, Some(text)) => match identity.decode(actor.org, text) {
                Ok(cursor) => Some(cursor),
                Err(_) => {
                    let what = if resume.is_some() { "What is to be resumed" } else { "`after`" };
                    return Err(refuse(Error::bad(format!(
                        "{what} is not a cursor of this org. Give the `cursor` of a page, a payload or an earlier message, as it is."
                    ))));
                }
            },
        };
        let key = self.shares.key(&class, &request, text.as_deref());
        let known = self.shares.known(&key);
        let (shared, seat) = match known {
            Some(known) => known,
            None => {
                let actor = class.actor();
                let follows = self.watch(&actor, &planned, record, &arguments).await.map_err(refuse)?;
                let session = Session::new(self, &actor, request, planned, follows, identity, None);
                self.shares.start(key, session)
            }
        };
        Ok(share::listen(self.clone(), shared, seat, after))
    }
}

/// Whole responses, one for each message.
async fn written(gateway: &Gateway, actor: &Actor, planned: &Prepared, cells: &[Cell]) -> Result<Vec<Message>, Error> {
    let plan = &planned.plan;
    let root = &plan.roots[0];
    let run = Run::new(
        &gateway.store,
        &planned.schema,
        actor,
        &planned.variables,
        &gateway.limits,
        plan.kind,
    );
    let (record, _) = record_of(planned)?;
    let told = run.told_each(root, &record.shape, cells).await?;
    Ok(told
        .into_iter()
        .zip(cells)
        .map(|(told, cell)| {
            let mut body = Vec::with_capacity(told.json.as_ref().map_or(8, Vec::len) + 64);
            body.extend_from_slice(b"{\"data\":");
            write_data(&mut body, plan, std::slice::from_ref(&told));
            if !told.errors.is_empty() {
                body.extend_from_slice(b",\"errors\":");
                write_errors(&mut body, &told.errors);
            }
            body.push(b'}');
            Message {
                body: body.into(),
                cursor: message::cursor_of(cell),
                caught_up: message::is_caught_up(cell),
            }
        })
        .collect())
}

/// The first of what is wrong with a subscription that was in order when it began.
fn first(errors: Vec<Error>) -> Error {
    errors
        .into_iter()
        .next()
        .unwrap_or_else(|| Error::internal("no error among errors"))
}
