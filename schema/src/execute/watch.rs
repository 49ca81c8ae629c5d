//! What a subscription follows, by its root field and arguments, and where in the log that is.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql_parser::types::OperationType;
use chrono::{DateTime, Utc};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::{Key, Output, Read, Window};
use klio_entities::klass::registry::CustomerLink;
use klio_entities::klass::{Actor, Filter, Klass, ObjectId, Value};
use klio_entities::store::event::{KLASS_STREAM, Source};
use klio_entities::store::sql;
use serde_json::Value as Json;

use super::follow::{Watch, stream_of};
use super::gateway::Prepared;
use super::run::store_error;
use super::subscribe::Path;
use super::{Gateway, Request};
use crate::catalog::OrgSchema;
use crate::error::{Code, Error};
use crate::plan::coerce::{Arguments, Variables};
use crate::plan::compiler::Ground;
use crate::plan::{self, Work, filter};
use crate::types::model::{EnumMeaning, Meaning, Types};

/// What a subscription follows.
pub(super) struct Follows {
    /// Of what it tells.
    pub watch: Watch,
    /// The ways to what it reads beside that.
    pub paths: Vec<Path>,
    /// Where the events of all that are.
    pub source: Source,
}

/// Everything, up to so many.
pub(super) fn whole(limit: usize) -> Window {
    Window {
        limit: Operand::Const(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))),
        backward: false,
        after: None,
        before: None,
    }
}

pub(super) fn uuid_of(json: &Json) -> Option<ObjectId> {
    json.as_str()?.parse().ok().map(ObjectId)
}

/// The root field of a subscription's plan, and its arguments in this run.
pub(super) fn record_of(planned: &Prepared) -> Result<(&plan::Record, Arguments), Error> {
    match planned.plan.roots.first().map(|root| &root.work) {
        Some(Ok(Work::Record(record))) => Ok((record, record.arguments.with_leaves(&planned.variables.leaves))),
        Some(Err(error)) => Err(error.clone()),
        _ => Err(Error::bad("a subscription has exactly one field.")),
    }
}

impl Gateway {
    /// Everything before a subscription starts, and again when the klasses have changed.
    pub(super) async fn plan_subscription(&self, actor: &Actor, request: &Request) -> Result<Prepared, Vec<Error>> {
        let planned = self.prepare(actor, request).await?;
        if planned.plan.kind != OperationType::Subscription {
            return Err(vec![Error::new(Code::OperationNotAllowed, "This is not a subscription.")]);
        }
        if planned.plan.roots.len() != 1 {
            return Err(vec![Error::new(
                Code::ValidationFailed,
                "A subscription has exactly one root field.",
            )]);
        }
        record_of(&planned).map_err(|error| vec![error])?;
        Ok(planned)
    }

    /// The plan by the present klasses, if it was made by others. What no longer validates is an error that says why.
    pub(super) async fn replanned(&self, actor: &Actor, request: &Request, planned: &Prepared) -> Result<Option<Prepared>, Box<Error>> {
        let version = self.schema(actor).await?.registry.version;
        if version == planned.schema.registry.version {
            return Ok(None);
        }
        let planned = self.plan_subscription(actor, request).await.map_err(|errors| {
            let why = errors.into_iter().next().map_or_else(String::new, |error| error.message);
            let message = format!("The klasses have changed, and this subscription no longer fits them: {why}");
            Error::new(Code::ValidationFailed, message)
        })?;
        Ok(Some(planned))
    }

    /// What a planned subscription follows, and where its events are.
    pub(super) async fn watch(
        &self,
        actor: &Actor,
        planned: &Prepared,
        record: &plan::Record,
        arguments: &Arguments,
    ) -> Result<Follows, Error> {
        let registry = &planned.schema.registry;
        let (watch, source) = match &record.means {
            Meaning::KlassChanged => (Watch::Klasses, Source::Stream(KLASS_STREAM.into())),
            Meaning::Changed(klass) => {
                let id = given_id(arguments, "id", klass)?;
                let filter = self.filter_of(actor, planned, record, klass, arguments)?;
                let source = match id {
                    None => Source::Klass(klass.name.clone()),
                    Some(id) => Source::Stream(stream_of(klass, id, self.customer(actor, &planned.schema, klass, id).await?)),
                };
                let watch = Watch::Klass {
                    klass: klass.clone(),
                    id,
                    filter,
                };
                (watch, source)
            }
            Meaning::TimelineChanged => {
                let klass = registry
                    .klass("customer")
                    .ok_or_else(|| Error::internal("there is no klass customer"))?;
                let customer = given_id(arguments, "customer", klass)?.ok_or_else(|| Error::bad("`customer` is not given."))?;
                self.customer(actor, &planned.schema, klass, customer).await?;
                let watch = timeline(&planned.schema.types, arguments, customer);
                (watch, Source::Stream(stream_of(klass, customer, Some(customer))))
            }
            Meaning::ConversationChanged => {
                let klass = registry
                    .klass("conversation")
                    .ok_or_else(|| Error::internal("there is no klass conversation"))?;
                let id = given_id(arguments, "id", klass)?.ok_or_else(|| Error::bad("`id` is not given."))?;
                let customer = self.customer(actor, &planned.schema, klass, id).await?;
                // What is said in a conversation of nobody stands in streams of its own.
                let source = customer.map_or(Source::Org, |customer| Source::Stream(stream_of(klass, id, Some(customer))));
                (Watch::Conversation { id, customer }, source)
            }
            _ => return Err(Error::internal("a field of Subscription has no meaning")),
        };
        let paths = self.paths(actor, planned, record, &watch);
        // Where something is read whose changes stand elsewhere, all is found in the feed.
        let elsewhere = matches!(source, Source::Stream(_)) && !paths.iter().all(Path::stays_in_stream);
        let source = if elsewhere { Source::Org } else { source };
        Ok(Follows { watch, paths, source })
    }

    /// The same, after the klasses have changed: what is followed stays, klasses and filter are those of the new plan.
    pub(super) fn rewatch(&self, actor: &Actor, planned: &Prepared, old: &Watch) -> Result<(Watch, Vec<Path>), Box<Error>> {
        let (record, arguments) = record_of(planned)?;
        let watch = match (&record.means, old) {
            (Meaning::Changed(klass), Watch::Klass { id, .. }) => {
                let filter = self.filter_of(actor, planned, record, klass, &arguments)?;
                Watch::Klass {
                    klass: klass.clone(),
                    id: *id,
                    filter,
                }
            }
            (_, Watch::Timeline { customer, .. }) => timeline(&planned.schema.types, &arguments, *customer),
            (_, Watch::Conversation { id, customer }) => Watch::Conversation {
                id: *id,
                customer: *customer,
            },
            _ => Watch::Klasses,
        };
        let paths = self.paths(actor, planned, record, &watch);
        Ok((watch, paths))
    }

    /// What its arguments pick, if they pick.
    fn filter_of(
        &self,
        actor: &Actor,
        planned: &Prepared,
        record: &plan::Record,
        klass: &Arc<Klass>,
        arguments: &Arguments,
    ) -> Result<Option<Filter>, Error> {
        self.filter_at(actor, planned, record, klass, arguments, Utc::now())
    }

    /// The same, as of a time, from which relative ones are counted.
    pub(super) fn filter_at(
        &self,
        actor: &Actor,
        planned: &Prepared,
        record: &plan::Record,
        klass: &Arc<Klass>,
        arguments: &Arguments,
        now: DateTime<Utc>,
    ) -> Result<Option<Filter>, Error> {
        let types = &planned.schema.types;
        let field = types.object("Subscription").and_then(|it| it.fields.get(&record.field));
        let field = field.ok_or_else(|| Error::internal(format!("no field {} on Subscription", record.field)))?;
        let variables = Variables::default();
        let ground = Ground {
            types,
            variables: &variables,
            sees_sensitive: actor.role.sees_sensitive(),
            scaled: self.store.dialect().scaled(),
            page_most: 0,
            page_default: 0,
            now,
        };
        filter::constant_of(&ground, klass, field, arguments)
    }

    /// To which customer an object belongs; an error when there is no such object.
    pub(super) async fn customer(
        &self,
        actor: &Actor,
        schema: &OrgSchema,
        klass: &Arc<Klass>,
        id: ObjectId,
    ) -> Result<Option<ObjectId>, Error> {
        let end = match &klass.customer {
            CustomerLink::Through(end) => klass.end(end),
            _ => None,
        };
        let output = match (end, klass.property("id")) {
            (Some(end), _) => Output::Reference(end.clone()),
            (None, Some(id)) => Output::Value(id.clone()),
            (None, None) => return Err(Error::internal("a klass has no id")),
        };
        let read = Read::One {
            klass: klass.clone(),
            key: Key::Id(Operand::Const(Value::Id(id))),
            deleted: true,
            outputs: vec![output],
        };
        let row = self.ask(actor, schema, &read).await?;
        if row.is_null() {
            return Err(Error::new(Code::NotFound, format!("There is no {} with this id.", klass.name)));
        }
        Ok(match &klass.customer {
            CustomerLink::Itself => Some(id),
            CustomerLink::Through(_) => row.get(0).and_then(uuid_of),
            CustomerLink::None => None,
        })
    }

    /// Runs a read of the gateway's own.
    pub(super) async fn ask(&self, actor: &Actor, schema: &OrgSchema, read: &Read) -> Result<Json, Error> {
        let statement = sql::compile(self.store.dialect(), &schema.registry, read);
        let text = self.store.read(actor.org, &statement, &[]).await.map_err(store_error)?;
        serde_json::from_slice(&text).map_err(Error::internal)
    }
}

fn timeline(types: &Types, arguments: &Arguments, customer: ObjectId) -> Watch {
    let stored = |name: &str| {
        let input = arguments.given(name)?;
        let argument = types
            .object("Subscription")
            .and_then(|it| it.fields.get("timeline"))
            .and_then(|f| f.arg(name));
        let ty = argument.map_or("", |it| it.ty.name());
        let known = types.enumeration(ty);
        let value = |name: &str| match known.and_then(|it| it.values.get(name)).map(|v| &v.means) {
            Some(EnumMeaning::Stored(stored)) => stored.clone(),
            _ => name.to_owned(),
        };
        Some(
            input
                .items()
                .iter()
                .filter_map(|item| item.as_str().map(value))
                .collect::<HashSet<String>>(),
        )
    };
    Watch::Timeline {
        customer,
        kinds: stored("kinds"),
        channels: stored("channels"),
    }
}

/// An id of this klass. One of another form or klass is told as "no such object", since that is what it is.
pub(super) fn given_id(arguments: &Arguments, name: &str, klass: &Klass) -> Result<Option<ObjectId>, Error> {
    let Some(text) = arguments.given(name).and_then(|v| v.as_str()) else {
        return Ok(None);
    };
    match ObjectId::parse(text) {
        Some((prefix, id)) if prefix == klass.id_prefix => Ok(Some(id)),
        _ => Err(Error::new(Code::NotFound, format!("There is no {} with this id.", klass.name))),
    }
}
