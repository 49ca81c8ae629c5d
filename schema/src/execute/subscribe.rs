//! A subscription: the log's events become messages of the schema. Nothing that was committed is left out: where that cannot be
//! kept, the message is `RESYNC` and says why.
//!
//! The document is compiled once per version of the klasses; each message is a record, and the objects in it are read fresh, in
//! batches, by the plan of its selection, so that they are what a query would answer. The transport ends a subscription (token
//! expired, client gone) by dropping its stream.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql_parser::types::OperationType;
use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};
use klio_entities::klass::filter::{Op, Operand, Target};
use klio_entities::klass::query::{Key, Output, Page, Read, Rows, TimelinePage, Window};
use klio_entities::klass::registry::CustomerLink;
use klio_entities::klass::{Actor, Filter, Klass, ObjectId, Value, filter_memory};
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Event, Identity, KLASS_STREAM, Source};
use klio_entities::store::sql;
use klio_subscriptions::live::Live;
use serde_json::Value as Json;

use super::change::{Change, Memory, decide};
use super::follow::{Image, Matter, Watch, at_of, channel_of, customer_of, stream_of};
use super::gateway::{Prepared, refused, write_data};
use super::record::{Cell, Record};
use super::run::{Run, store_error};
use super::{Answer, Gateway, Request, Stats};
use crate::error::{Code, Error, write_errors};
use crate::plan::coerce::{Arguments, Variables};
use crate::plan::compiler::Ground;
use crate::plan::{self, Work, filter};
use crate::types::model::{EnumMeaning, Meaning, Types};

/// How many events are turned into messages together, at most.
const BATCH: usize = 64;

/// How often a batch is tried that the database refuses; and the first pause, which doubles each time (to a second).
const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

type Events = Pin<Box<dyn Stream<Item = Live> + Send>>;

impl Gateway {
    /// Starts a subscription: each item is a whole response. What is wrong before it starts is an [`Answer`] (a request error).
    /// The stream ends by itself only after an error, which is its last item; dropping it ends the subscription.
    pub async fn subscribe(&self, actor: &Actor, request: Request) -> Result<BoxStream<'static, Bytes>, Answer> {
        let session = Session::start(self, actor, request).await?;
        let stream = futures_util::stream::unfold(session, |mut session| async move {
            let item = session.next().await?;
            Some((item, session))
        });
        Ok(stream.boxed())
    }
}

/// A subscription under way.
struct Session {
    gateway: Gateway,
    actor: Actor,
    request: Request,
    planned: Prepared,
    watch: Watch,
    source: Source,
    identity: Arc<Identity>,
    /// The mutexes are never locked: they make the session `Sync`, which its futures need to be sent.
    events: Mutex<Events>,
    /// Changes of klasses.
    klasses: Mutex<Events>,
    memory: Memory,
    /// The object that was followed here, and the version that was told: its arrival is no news.
    moved: Option<(ObjectId, Json)>,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl Session {
    async fn start(gateway: &Gateway, actor: &Actor, request: Request) -> Result<Self, Answer> {
        let refuse = |error: Error| refused(vec![error], Stats::default());
        let planned = gateway
            .plan_subscription(actor, &request)
            .await
            .map_err(|errors| refused(errors, Stats::default()))?;
        {
            let run = Run::new(
                &gateway.store,
                &planned.schema,
                actor,
                &planned.variables,
                &gateway.limits,
                planned.plan.kind,
            );
            gateway.charge(&run, &planned.plan, actor).map_err(refuse)?;
        }
        let identity = gateway.store.identity().await.map_err(|e| refuse(store_error(e)))?;
        let (record, arguments) = record_of(&planned).map_err(refuse)?;
        let after = match arguments.given("after").and_then(|v| v.as_str()) {
            None => None,
            Some(text) => match identity.decode(actor.org, text) {
                Ok(cursor) => Some(cursor),
                Err(_) => {
                    return Err(refuse(Error::bad(
                        "`after` is not a cursor of this org. Give the `cursor` of a page, a payload or an earlier message, as it is.",
                    )));
                }
            },
        };
        let (watch, source) = gateway.watch(actor, &planned, record, &arguments).await.map_err(refuse)?;
        let events = gateway.live.subscribe(actor.org, source.clone(), after).boxed();
        Ok(Self {
            gateway: gateway.clone(),
            actor: actor.clone(),
            request,
            planned,
            watch,
            source,
            identity,
            events: Mutex::new(events),
            klasses: Mutex::new(klass_changes(gateway, actor)),
            memory: Memory::default(),
            moved: None,
            ready: VecDeque::new(),
            over: false,
        })
    }

    /// The next response.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(response);
            }
            if self.over {
                return None;
            }
            let events = self.events.get_mut().unwrap_or_else(PoisonError::into_inner);
            let klasses = self.klasses.get_mut().unwrap_or_else(PoisonError::into_inner);
            let done = tokio::select! {
                item = events.next() => {
                    let mut batch = vec![item?];
                    // What is there already goes along: one statement reads the objects of all.
                    while batch.len() < BATCH {
                        match events.next().now_or_never() {
                            Some(Some(item)) => batch.push(item),
                            _ => break,
                        }
                    }
                    self.take_in_time(batch).await
                }
                item = klasses.next() => self.klasses_changed(item).await,
            };
            if let Err(error) = done {
                // The client goes on from the last cursor that it got, so nothing is lost by ending here.
                self.ready.push_back(refused(vec![*error], Stats::default()).body);
                self.over = true;
            }
        }
    }

    /// A klass has changed: a subscription that no longer fits ends now, not with its next event.
    async fn klasses_changed(&mut self, item: Option<Live>) -> Result<(), Box<Error>> {
        match item {
            Some(Live::Event(event)) => {
                let version = event.after.as_ref().and_then(|it| it.get("version")).and_then(Json::as_u64);
                if version.is_some_and(|version| version > self.planned.schema.registry.version) {
                    if self.gateway.schema(&self.actor).await?.registry.version < version.unwrap_or_default() {
                        // Another node did it, and the first subscription here to hear of it says so.
                        self.gateway.catalog.changed(self.actor.org);
                    }
                    self.refresh().await?;
                }
            }
            Some(Live::CaughtUp(_)) => {}
            Some(Live::Resync { .. }) | None => self.klasses = Mutex::new(klass_changes(&self.gateway, &self.actor)),
        }
        Ok(())
    }

    /// Turns a batch into responses, again after a pause when the database does not answer or refuses: as long as the log can be
    /// continued, a subscription waits rather than ends.
    async fn take_in_time(&mut self, batch: Vec<Live>) -> Result<(), Box<Error>> {
        let mut tries = 0;
        loop {
            match self.take(batch.clone()).await {
                Err(error) if error.code == Code::Unavailable => {}
                Err(error) if matches!(error.code, Code::Timeout | Code::Internal) && tries < TRIES => {
                    // A statement that the database refuses may be of klasses that another node has changed since.
                    self.gateway.catalog.changed(self.actor.org);
                }
                done => return done,
            }
            tokio::time::sleep(PAUSE * 2u32.pow(tries.min(TRIES))).await;
            tries += 1;
        }
    }

    async fn take(&mut self, batch: Vec<Live>) -> Result<(), Box<Error>> {
        self.refresh().await?;
        let cells = self.messages(batch).await?;
        if cells.is_empty() {
            return Ok(());
        }
        let plan = &self.planned.plan;
        let root = &plan.roots[0];
        let gateway = &self.gateway;
        let run = Run::new(
            &gateway.store,
            &self.planned.schema,
            &self.actor,
            &self.planned.variables,
            &gateway.limits,
            plan.kind,
        );
        let (record, _) = record_of(&self.planned)?;
        for told in run.told_each(root, &record.shape, &cells).await? {
            let mut body = Vec::with_capacity(told.json.as_ref().map_or(8, Vec::len) + 64);
            body.extend_from_slice(b"{\"data\":");
            write_data(&mut body, plan, std::slice::from_ref(&told));
            if !told.errors.is_empty() {
                body.extend_from_slice(b",\"errors\":");
                write_errors(&mut body, &told.errors);
            }
            body.push(b'}');
            self.ready.push_back(body.into());
        }
        Ok(())
    }

    /// Plans again when the klasses have changed. What no longer validates ends the subscription with the error that says why.
    async fn refresh(&mut self) -> Result<(), Box<Error>> {
        let version = self.gateway.schema(&self.actor).await?.registry.version;
        if version == self.planned.schema.registry.version {
            return Ok(());
        }
        let planned = self.gateway.plan_subscription(&self.actor, &self.request).await.map_err(|errors| {
            let why = errors.into_iter().next().map_or_else(String::new, |error| error.message);
            let message = format!("The klasses have changed, and this subscription no longer fits them: {why}");
            Error::new(Code::ValidationFailed, message)
        })?;
        // The source stays: what is followed is the same, and so no event is lost.
        self.watch = self.gateway.rewatch(&self.actor, &planned, &self.watch)?;
        self.planned = planned;
        Ok(())
    }

    /// Goes over to the stream in which what is followed stands now, right behind the transaction that brought it there.
    fn follow(&mut self, klass: &Klass, id: ObjectId, event: &Event) {
        let Some(image) = &event.after else { return };
        let customer = customer_of(klass, id, image);
        self.source = Source::Stream(stream_of(klass, id, customer));
        if let Watch::Conversation { customer: its, .. } = &mut self.watch {
            *its = customer;
        }
        self.moved = image.get("version").cloned().map(|version| (id, version));
        self.listen(event.feed_cursor(self.identity.epoch));
    }

    /// Goes on from a place.
    fn listen(&mut self, after: Cursor) {
        self.events = Mutex::new(
            self.gateway
                .live
                .subscribe(self.actor.org, self.source.clone(), Some(after))
                .boxed(),
        );
    }

    fn cursor(&self, event: &Event) -> String {
        let epoch = self.identity.epoch;
        let cursor = match &self.source {
            Source::Stream(_) if !self.is_leaving(event) => event.stream_cursor(epoch),
            _ => event.feed_cursor(epoch),
        };
        self.identity.encode(self.actor.org, &cursor)
    }

    /// Whether an event tells, in the stream that is followed, of what stands in another from then on.
    fn is_leaving(&self, event: &Event) -> bool {
        let registry = &self.planned.schema.registry;
        match (&self.watch, registry.klass(&event.klass), event.object, &event.after) {
            (Watch::Timeline { .. }, ..) => false,
            (_, Some(klass), Some(id), Some(image)) => event.stream != stream_of(klass, id, customer_of(klass, id, image)),
            _ => false,
        }
    }

    /// Whether an event tells again, in the stream to which an object was followed, what brought it there.
    fn is_arrival(&self, event: &Event) -> bool {
        self.moved.as_ref().is_some_and(|(id, version)| {
            event.object == Some(*id) && event.after.as_ref().and_then(|it| it.get("version")) == Some(version)
        })
    }

    /// What a batch tells, in order.
    async fn messages(&mut self, batch: Vec<Live>) -> Result<Vec<Cell>, Box<Error>> {
        let registry = self.planned.schema.registry.clone();
        let read = |filter: &Filter, _: &Klass, image: &Image| filter_memory::matches(filter, image, &[]);
        let mut matters = Vec::with_capacity(batch.len());
        for item in batch {
            match item {
                Live::Event(event) => {
                    if self.is_arrival(&event) {
                        continue;
                    }
                    for matter in self.watch.matters(&registry, &event, &read) {
                        matters.push((Ok(matter), Some(event.clone())));
                    }
                }
                Live::CaughtUp(cursor) => {
                    let cursor = self.identity.encode(self.actor.org, &cursor);
                    matters.push((Err(message("CAUGHT_UP", Some(cursor), Vec::new())), None));
                }
                Live::Resync { reason } => {
                    // The log may be another one now (restored), with cursors of its own.
                    self.identity = self.gateway.store.refresh_identity().await.map_err(store_error)?;
                    let head = self.gateway.store.head(self.actor.org, &self.source).await.map_err(store_error)?;
                    self.listen(head);
                    let cursor = self.identity.encode(self.actor.org, &head);
                    matters.push((Err(resync(&reason.to_string(), cursor)), None));
                }
            }
        }
        let matching = self.ask(&matters).await?;
        let mut out = Vec::with_capacity(matters.len());
        let mut moved: Option<(Arc<Klass>, ObjectId, Arc<Event>)> = None;
        for (matter, event) in matters {
            if let Some((.., of)) = &moved
                && event.as_ref().is_none_or(|it| (it.feed.xid, it.at) != (of.feed.xid, of.at))
            {
                // The new stream is followed from behind this transaction: all that it did is told here, what follows there.
                break;
            }
            let (matter, event) = match (matter, event) {
                (Ok(matter), Some(event)) => (matter, event),
                (Ok(_), None) => continue,
                (Err(cell), _) => {
                    out.push(cell);
                    continue;
                }
            };
            match matter {
                Matter::Object { klass, id, before, after } => {
                    let now = after.unwrap_or_else(|| matching.contains(&id));
                    let unsure = before.is_none() || after.is_none();
                    let before = before.or_else(|| self.memory.recall(id));
                    if unsure {
                        self.memory.note(id, now);
                    }
                    if let Some(change) = decide(before, now) {
                        out.push(self.object(&klass, id, change, &event));
                    }
                }
                Matter::Entry { kind, conversation } => out.extend(self.entry(kind, conversation, &event).await?),
                Matter::Klass(name) => out.push(self.klass(&name, &event)),
                Matter::Reshaped(reason) => out.push(resync(reason, self.cursor(&event))),
                Matter::Moved { klass, id } => moved = Some((klass, id, event)),
            }
        }
        if let Some((klass, id, event)) = moved {
            self.follow(&klass, id, &event);
        }
        Ok(out)
    }

    /// Asks the store which of the objects match whose images do not say it: one statement for all.
    async fn ask(&self, matters: &[(Result<Matter, Cell>, Option<Arc<Event>>)]) -> Result<HashSet<ObjectId>, Box<Error>> {
        let Watch::Klass {
            klass,
            filter: Some(filter),
            ..
        } = &self.watch
        else {
            return Ok(HashSet::new());
        };
        let unknown: HashSet<ObjectId> = matters
            .iter()
            .filter_map(|(matter, _)| match matter {
                Ok(Matter::Object { id, after: None, .. }) => Some(*id),
                _ => None,
            })
            .collect();
        let Some(id) = klass.property("id").filter(|_| !unknown.is_empty()) else {
            return Ok(HashSet::new());
        };
        let among = Filter::Compare {
            target: Target::Property(id.clone()),
            op: Op::In,
            operand: Operand::Const(Value::List(unknown.iter().map(|id| Value::Id(*id)).collect())),
        };
        let read = Read::Page(Page {
            klass: klass.clone(),
            filter: Some(Filter::And(vec![among, filter.clone()])),
            deleted: false,
            rows: Some(Rows {
                order: Vec::new(),
                window: whole(unknown.len()),
                outputs: vec![Output::Value(id.clone())],
            }),
            total: false,
            aggregates: Vec::new(),
            groups: Vec::new(),
        });
        let json = self.gateway.ask(&self.actor, &self.planned, &read).await?;
        let rows = json.get(0).and_then(Json::as_array).into_iter().flatten();
        Ok(rows.filter_map(|row| uuid_of(row.get(0)?)).collect())
    }

    /// A message about an object.
    fn object(&self, klass: &Arc<Klass>, id: ObjectId, change: Change, event: &Event) -> Cell {
        let object = if change == Change::Removed {
            Cell::NULL
        } else {
            Cell::Object(klass.clone(), id)
        };
        let mut fields = vec![("id", Cell::text(id.to_text(&klass.id_prefix)))];
        match &self.watch {
            Watch::Timeline { .. } => {
                fields.push(("entry", object));
                if let Some(image) = event.after.as_ref().or(event.before.as_ref()).filter(|_| change != Change::Removed) {
                    let at = at_of(klass, image).map_or(Cell::NULL, instant);
                    fields.extend(self.place(at, &klass.name, channel_of(klass, image)));
                }
            }
            Watch::Conversation { .. } => {
                fields.push(("object", object));
                fields.push(("klass", Cell::text(&klass.name)));
            }
            _ => fields.push(("object", object)),
        }
        message(change.as_str(), Some(self.cursor(event)), fields)
    }

    /// Where an entry stands on the timeline, by legal names.
    fn place(&self, at: Cell, kind: &str, channel: Option<&str>) -> [(&'static str, Cell); 3] {
        let types = &self.planned.schema.types;
        let channel_type = types
            .object("TimelineChange")
            .and_then(|it| it.fields.get("channel"))
            .map_or("", |f| f.ty.name());
        let channel = channel.map_or(Cell::NULL, |channel| legal(types, channel_type, channel));
        [("at", at), ("kind", legal(types, "TimelineKind", kind)), ("channel", channel)]
    }

    /// A message about an entry that stands for no object.
    async fn entry(&self, kind: &'static str, conversation: ObjectId, event: &Event) -> Result<Option<Cell>, Box<Error>> {
        let (Watch::Timeline { customer, .. }, Some(klass)) = (&self.watch, self.planned.schema.registry.klass("conversation")) else {
            return Ok(None);
        };
        let created = event.after.as_ref().and_then(|it| it.get("created_at")).and_then(Json::as_str);
        let at = match (kind, created.and_then(|text| DateTime::parse_from_rfc3339(text).ok())) {
            ("conversation.created", Some(at)) => at.with_timezone(&Utc),
            _ => event.at,
        };
        let constant = |value: Value| Some(Operand::Const(value));
        let read = Read::Timeline(TimelinePage {
            customer: Operand::Const(Value::Id(*customer)),
            kinds: constant(Value::List(vec![Value::String(kind.to_owned())])),
            channels: None,
            since: constant(Value::DateTime(at)),
            until: constant(Value::DateTime(at + Duration::microseconds(1))),
            window: whole(100),
            total: false,
        });
        let json = self.gateway.ask(&self.actor, &self.planned, &read).await?;
        let mut rows = json.get(0).and_then(Json::as_array).into_iter().flatten();
        let Some(row) = rows.find(|row| row.get(3).and_then(uuid_of) == Some(conversation)) else {
            // It went with the conversation to another customer since; the event that says so is on its way.
            return Ok(None);
        };
        let Some(id) = row.get(0).and_then(|place| uuid_of(place.get(1)?)) else {
            return Ok(None);
        };
        let (from, to) = (
            row.pointer("/6/from").cloned().unwrap_or(Json::Null),
            row.pointer("/6/to").cloned().unwrap_or(Json::Null),
        );
        let at = instant(&at.to_rfc3339());
        let entry = entry_record(&self.planned.schema.types, klass, kind, id, at.clone(), conversation, from, to);
        let mut fields = vec![("id", Cell::text(id.to_text("entry"))), ("entry", Cell::Record(entry))];
        fields.extend(self.place(at, kind, None));
        Ok(Some(message(Change::Added.as_str(), Some(self.cursor(event)), fields)))
    }

    /// A message about a klass.
    fn klass(&self, name: &str, event: &Event) -> Cell {
        let registry = &self.planned.schema.registry;
        let klass = registry.klass(name);
        let change = match klass {
            Some(klass) if klass.enabled => {
                if event.before.is_none() {
                    Change::Added
                } else {
                    Change::Updated
                }
            }
            _ => Change::Removed,
        };
        let record = klass.map_or(Cell::NULL, |klass| Cell::Record(Record::Klass(registry.clone(), klass.clone())));
        message(
            change.as_str(),
            Some(self.cursor(event)),
            vec![("klass", record), ("name", Cell::text(name))],
        )
    }
}

/// Changes of an org's klasses, from now on.
fn klass_changes(gateway: &Gateway, actor: &Actor) -> Events {
    let source = Source::Stream(KLASS_STREAM.into());
    gateway.live.subscribe(actor.org, source, None).boxed()
}

/// A message's record.
fn message(change: &str, cursor: Option<String>, mut fields: Vec<(&'static str, Cell)>) -> Cell {
    fields.push(("change", Cell::text(change)));
    fields.push(("cursor", Cell::optional(&cursor)));
    Cell::Record(Record::Made("Change".into(), fields))
}

fn resync(reason: &str, cursor: String) -> Cell {
    message("RESYNC", Some(cursor), vec![("reason", Cell::text(reason))])
}

/// The record of an entry of the timeline that stands for no object.
#[allow(clippy::too_many_arguments, reason = "they are the columns of the entry")]
pub fn entry_record(
    types: &Types,
    conversation: &Arc<Klass>,
    kind: &str,
    id: ObjectId,
    at: Cell,
    of: ObjectId,
    from: Json,
    to: Json,
) -> Record {
    let (name, value): (_, fn(&Types, Json) -> Cell) = match kind {
        "conversation.status" => ("ConversationStatusChange", |types, stored| {
            let ty = types
                .object("ConversationStatusChange")
                .and_then(|it| it.fields.get("to"))
                .map_or("", |f| f.ty.name());
            stored.as_str().map_or(Cell::NULL, |stored| legal(types, ty, stored))
        }),
        "conversation.assignment" => ("ConversationAssignmentChange", |_, json| Cell::Leaf(json)),
        _ => ("ConversationCreated", |_, _| Cell::NULL),
    };
    let fields = vec![
        ("id", Cell::text(id.to_text("entry"))),
        ("at", at),
        ("conversation", Cell::Object(conversation.clone(), of)),
        ("from", value(types, from)),
        ("to", value(types, to)),
    ];
    Record::Made(name.into(), fields)
}

/// The legal name of a stored value of an enum; of another type, the value itself.
fn legal(types: &Types, ty: &str, stored: &str) -> Cell {
    match types.enumeration(ty) {
        Some(it) => it
            .values
            .iter()
            .find(|(_, value)| matches!(&value.means, EnumMeaning::Stored(s) if s == stored))
            .map_or(Cell::NULL, |(name, _)| Cell::text(name)),
        None => Cell::text(stored),
    }
}

/// An instant as responses write it.
fn instant(text: &str) -> Cell {
    let mut out = Vec::new();
    match super::leaf::instant_text(&mut out, text) {
        Some(()) => Cell::text(String::from_utf8_lossy(&out)),
        None => Cell::text(text),
    }
}

/// Everything, up to so many.
fn whole(limit: usize) -> Window {
    Window {
        limit: Operand::Const(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))),
        backward: false,
        after: None,
        before: None,
    }
}

fn uuid_of(json: &Json) -> Option<ObjectId> {
    json.as_str()?.parse().ok().map(ObjectId)
}

/// The root field of a subscription's plan, and its arguments in this run.
fn record_of(planned: &Prepared) -> Result<(&plan::Record, Arguments), Error> {
    match planned.plan.roots.first().map(|root| &root.work) {
        Some(Ok(Work::Record(record))) => Ok((record, record.arguments.with_leaves(&planned.variables.leaves))),
        Some(Err(error)) => Err(error.clone()),
        _ => Err(Error::bad("a subscription has exactly one field.")),
    }
}

impl Gateway {
    /// Everything before a subscription starts, and again when the klasses have changed.
    async fn plan_subscription(&self, actor: &Actor, request: &Request) -> Result<Prepared, Vec<Error>> {
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

    /// What a planned subscription follows, and where its events are.
    async fn watch(
        &self,
        actor: &Actor,
        planned: &Prepared,
        record: &plan::Record,
        arguments: &Arguments,
    ) -> Result<(Watch, Source), Error> {
        let registry = &planned.schema.registry;
        match &record.means {
            Meaning::KlassChanged => Ok((Watch::Klasses, Source::Stream(KLASS_STREAM.into()))),
            Meaning::Changed(klass) => {
                let id = given_id(arguments, "id", klass)?;
                let filter = self.filter_of(actor, planned, record, klass, arguments)?;
                let source = match id {
                    None => Source::Klass(klass.name.clone()),
                    Some(id) => Source::Stream(stream_of(klass, id, self.customer(actor, planned, klass, id).await?)),
                };
                Ok((
                    Watch::Klass {
                        klass: klass.clone(),
                        id,
                        filter,
                    },
                    source,
                ))
            }
            Meaning::TimelineChanged => {
                let klass = registry
                    .klass("customer")
                    .ok_or_else(|| Error::internal("there is no klass customer"))?;
                let customer = given_id(arguments, "customer", klass)?.ok_or_else(|| Error::bad("`customer` is not given."))?;
                self.customer(actor, planned, klass, customer).await?;
                let watch = timeline(&planned.schema.types, arguments, customer);
                Ok((watch, Source::Stream(stream_of(klass, customer, Some(customer)))))
            }
            Meaning::ConversationChanged => {
                let klass = registry
                    .klass("conversation")
                    .ok_or_else(|| Error::internal("there is no klass conversation"))?;
                let id = given_id(arguments, "id", klass)?.ok_or_else(|| Error::bad("`id` is not given."))?;
                let customer = self.customer(actor, planned, klass, id).await?;
                Ok((Watch::Conversation { id, customer }, Source::Stream(stream_of(klass, id, customer))))
            }
            _ => Err(Error::internal("a field of Subscription has no meaning")),
        }
    }

    /// The same, after the klasses have changed: what is followed stays, klasses and filter are those of the new plan.
    fn rewatch(&self, actor: &Actor, planned: &Prepared, old: &Watch) -> Result<Watch, Box<Error>> {
        let (record, arguments) = record_of(planned)?;
        Ok(match (&record.means, old) {
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
        })
    }

    fn filter_of(
        &self,
        actor: &Actor,
        planned: &Prepared,
        record: &plan::Record,
        klass: &Arc<Klass>,
        arguments: &Arguments,
    ) -> Result<Option<Filter>, Error> {
        let Some(input) = arguments.given("filter") else { return Ok(None) };
        let types = &planned.schema.types;
        let argument = types
            .object("Subscription")
            .and_then(|it| it.fields.get(&record.field))
            .and_then(|f| f.arg("filter"));
        let ty = argument.map_or("", |it| it.ty.name());
        let variables = Variables::default();
        let ground = Ground {
            types,
            variables: &variables,
            sees_sensitive: actor.role.sees_sensitive(),
            scaled: self.store.dialect().scaled(),
            page_most: 0,
            page_default: 0,
            now: Utc::now(),
        };
        filter::constant(&ground, klass, ty, input).map(Some)
    }

    /// To which customer an object belongs; an error when there is no such object.
    async fn customer(&self, actor: &Actor, planned: &Prepared, klass: &Arc<Klass>, id: ObjectId) -> Result<Option<ObjectId>, Error> {
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
        let row = self.ask(actor, planned, &read).await?;
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
    async fn ask(&self, actor: &Actor, planned: &Prepared, read: &Read) -> Result<Json, Error> {
        let statement = sql::compile(self.store.dialect(), &planned.schema.registry, read);
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
fn given_id(arguments: &Arguments, name: &str, klass: &Klass) -> Result<Option<ObjectId>, Error> {
    let Some(text) = arguments.given(name).and_then(|v| v.as_str()) else {
        return Ok(None);
    };
    match ObjectId::parse(text) {
        Some((prefix, id)) if prefix == klass.id_prefix => Ok(Some(id)),
        _ => Err(Error::new(Code::NotFound, format!("There is no {} with this id.", klass.name))),
    }
}
