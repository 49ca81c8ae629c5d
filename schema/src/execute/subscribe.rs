//! A subscription: the log's events become messages of the schema. Nothing that was committed is left out: where that cannot be
//! kept, the message is `RESYNC` and says why.
//!
//! The document is compiled once per version of the klasses; each message is a record, and the objects in it are read fresh, in
//! batches, by the plan of its selection, so that they are what a query would answer. The transport ends a subscription (token
//! expired, client gone) by dropping its stream.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};
use klio_entities::klass::filter::{Op, Operand, Target};
use klio_entities::klass::query::{Output, Page, Read, Rows};
use klio_entities::klass::{Actor, Filter, Klass, ObjectId, Value, filter_memory};
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Event, Identity, KLASS_STREAM, Source};
use klio_subscriptions::live::Live;
use serde_json::Value as Json;

use super::change::{Memory, decide};
use super::follow::{Image, Matter, Watch, customer_of, stream_of};
use super::gateway::{Prepared, refused, write_data};
use super::record::Cell;
use super::run::{Run, store_error};
use super::watch::{record_of, uuid_of, whole};
use super::{Answer, Gateway, Message, Request, Stats};
use crate::error::{Code, Error, write_errors};

mod message;

use message::{message, resync};

/// How many events are turned into messages together, at most.
const BATCH: usize = 64;

/// How often a batch is tried that the database refuses; and the first pause, which doubles each time (to a second).
const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

/// What an event may mean, or a message that is complete, in order.
type Pending = (Result<Matter, Cell>, Option<Arc<Event>>);
type Events = Pin<Box<dyn Stream<Item = Live> + Send>>;

impl Gateway {
    /// Starts a subscription: each item is a whole response. What is wrong before it starts is an [`Answer`] (a request error).
    /// The stream ends by itself only after an error, which is its last item; dropping it ends the subscription.
    pub async fn subscribe(&self, actor: &Actor, request: Request) -> Result<BoxStream<'static, Message>, Answer> {
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
    ready: VecDeque<Message>,
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
    async fn next(&mut self) -> Option<Message> {
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
                self.ready.push_back(Message {
                    body: refused(vec![*error], Stats::default()).body,
                    cursor: None,
                });
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
        for (told, cell) in run.told_each(root, &record.shape, &cells).await?.into_iter().zip(&cells) {
            let mut body = Vec::with_capacity(told.json.as_ref().map_or(8, Vec::len) + 64);
            body.extend_from_slice(b"{\"data\":");
            write_data(&mut body, plan, std::slice::from_ref(&told));
            if !told.errors.is_empty() {
                body.extend_from_slice(b",\"errors\":");
                write_errors(&mut body, &told.errors);
            }
            body.push(b'}');
            self.ready.push_back(Message {
                body: body.into(),
                cursor: message::cursor_of(cell),
            });
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
    async fn ask(&self, matters: &[Pending]) -> Result<HashSet<ObjectId>, Box<Error>> {
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
}

/// Changes of an org's klasses, from now on.
fn klass_changes(gateway: &Gateway, actor: &Actor) -> Events {
    let source = Source::Stream(KLASS_STREAM.into());
    gateway.live.subscribe(actor.org, source, None).boxed()
}
