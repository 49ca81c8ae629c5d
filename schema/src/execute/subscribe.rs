//! A subscription: the log's events become messages of the schema. Nothing that was committed is left out: where that cannot be
//! kept, the message is `RESYNC` and says why.
//!
//! The document is compiled once per version of the klasses; each message is a record, and the objects in it are read fresh, in
//! batches, by the plan of its selection, so that they are what a query would answer. The transport ends a subscription (token
//! expired, client gone) by dropping its stream.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use klio_entities::klass::filter::{Op, Operand, Target};
use klio_entities::klass::query::{Output, Page, Read, Rows};
use klio_entities::klass::{Actor, Filter, Klass, ObjectId, Value, filter_memory};
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Event, Identity, KLASS_STREAM, Source};
use klio_subscriptions::live::{Live, Subscriber};
use klio_subscriptions::place::{self, At};
use klio_subscriptions::ring::Item;
use klio_subscriptions::route::Interest;
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
pub mod share;
mod terms;

use message::{message, resync};
use share::Class;
use terms::interest;

/// How many events are turned into messages together, at most.
const BATCH: usize = 64;

/// How often a batch is tried that the database refuses; and the first pause, which doubles each time (to a second).
const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

/// Something to be told of: what an event may mean, or a message that is complete; the event, which of its matters it is and whether
/// it is the last of them, and the place before the event.
struct Pending {
    what: Result<Matter, Cell>,
    event: Option<Arc<Event>>,
    index: u16,
    last: bool,
    place: Cursor,
}

/// A message on its way, and the event of which it tells.
struct Made {
    cell: Cell,
    event: Option<Arc<Event>>,
    index: u16,
    behind: Cursor,
}

/// What came, with the place behind each.
pub(super) struct Batch(Vec<(Live, Cursor)>, Option<Option<Live>>);

/// What became of a batch.
#[derive(Default)]
pub(super) struct Step {
    /// Messages, in order.
    pub items: Vec<Item<Message>>,
    /// All that was committed when it was asked for has been told.
    pub fresh: bool,
    /// It goes on in another stream or log.
    pub jumps: bool,
    /// There will be no more: the last item says why.
    pub over: bool,
}

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
        let identity = self.store.identity().await.map_err(|e| refuse(store_error(e)))?;
        let (record, arguments) = record_of(&planned).map_err(refuse)?;
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
        let class = Class::of(actor);
        let key = self.shares.key(&class, &request, text.as_deref());
        let known = self.shares.known(&key);
        let (shared, seat) = match known {
            Some(known) => known,
            None => {
                let actor = class.actor();
                let (watch, source) = self.watch(&actor, &planned, record, &arguments).await.map_err(refuse)?;
                let session = Session::new(self, &actor, request, planned, watch, source, identity, None);
                self.shares.start(key, session)
            }
        };
        Ok(share::listen(self.clone(), shared, seat, after))
    }
}

/// A subscription under way: what makes its messages.
pub(super) struct Session {
    gateway: Gateway,
    actor: Actor,
    request: Arc<Request>,
    planned: Prepared,
    watch: Watch,
    source: Source,
    identity: Arc<Identity>,
    events: Subscriber,
    /// Changes of klasses.
    klasses: Subscriber,
    memory: Memory,
    /// The object that was followed here, and the version that was told: its arrival is no news.
    moved: Option<(ObjectId, Json)>,
    /// Where it began, if within an event: the messages of it that were told.
    began: Cursor,
    jumps: bool,
}

impl Session {
    #[allow(clippy::too_many_arguments, reason = "they are its parts")]
    fn new(
        gateway: &Gateway,
        actor: &Actor,
        request: impl Into<Arc<Request>>,
        planned: Prepared,
        watch: Watch,
        source: Source,
        identity: Arc<Identity>,
        after: Option<Cursor>,
    ) -> Self {
        let events = gateway.live.follow(actor.org, source.clone(), interest(&watch), after);
        Self {
            gateway: gateway.clone(),
            actor: actor.clone(),
            request: request.into(),
            planned,
            watch,
            source,
            identity,
            events,
            klasses: klass_changes(gateway, actor),
            memory: Memory::default(),
            moved: None,
            began: after.unwrap_or(Cursor::NOWHERE),
            jumps: false,
        }
    }

    /// One of the same operation that goes on from a place by itself.
    pub(super) async fn resume(gateway: &Gateway, actor: &Actor, request: Arc<Request>, after: Cursor) -> Result<Self, Error> {
        let planned = gateway.plan_subscription(actor, &request).await.map_err(first)?;
        let identity = gateway.store.identity().await.map_err(store_error)?;
        let (record, arguments) = record_of(&planned)?;
        let (watch, source) = gateway.watch(actor, &planned, record, &arguments).await?;
        Ok(Self::new(gateway, actor, request, planned, watch, source, identity, Some(after)))
    }

    /// The place behind all that it has told.
    pub(super) fn stands(&self) -> Cursor {
        self.events.place()
    }

    /// Asks for [`Step::fresh`] once more.
    pub(super) fn again(&mut self) {
        self.events.again();
    }

    /// Waits for something to happen. May be dropped while it waits.
    pub(super) async fn wait(&mut self) -> Batch {
        let first = tokio::select! {
            item = self.events.next() => item,
            item = self.klasses.next() => return Batch(Vec::new(), Some(item)),
        };
        let mut batch = Vec::from_iter(first.map(|item| (item, self.events.place())));
        // What is there already goes along: one statement reads the objects of all.
        while !batch.is_empty() && batch.len() < BATCH {
            match self.events.next().now_or_never() {
                Some(Some(item)) => batch.push((item, self.events.place())),
                _ => break,
            }
        }
        Batch(batch, None)
    }

    /// Turns what happened into messages.
    pub(super) async fn make(&mut self, batch: Batch) -> Step {
        let mut step = Step {
            fresh: batch.0.iter().any(|(item, _)| matches!(item, Live::CaughtUp(_))),
            ..Step::default()
        };
        self.jumps = false;
        let done = match batch {
            Batch(_, Some(item)) => self.klasses_changed(item).await,
            Batch(batch, None) => self.take_in_time(batch).await.map(|items| step.items = items),
        };
        step.jumps = self.jumps;
        if let Err(error) = done {
            // The client goes on from the last cursor that it got, so nothing is lost by ending here.
            step.items.push(Item {
                what: Message::of(refused(vec![*error], Stats::default()).body),
                at: None,
                index: 0,
                behind: self.stands(),
                size: 0,
            });
            step.over = true;
        }
        step
    }

    /// The message that says that all up to a place has been told.
    pub(super) async fn caught_up(gateway: &Gateway, actor: &Actor, request: &Request, place: &Cursor) -> Result<Message, Error> {
        let planned = gateway.plan_subscription(actor, request).await.map_err(first)?;
        let identity = gateway.store.identity().await.map_err(store_error)?;
        let cell = message("CAUGHT_UP", Some(identity.encode(actor.org, place)), Vec::new());
        let mut told = written(gateway, actor, &planned, std::slice::from_ref(&cell)).await?;
        told.pop().ok_or_else(|| Error::internal("a message that is not written"))
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
            Some(Live::Resync { .. }) | None => self.klasses = klass_changes(&self.gateway, &self.actor),
        }
        Ok(())
    }

    /// Turns a batch into responses, again after a pause when the database does not answer or refuses: as long as the log can be
    /// continued, a subscription waits rather than ends.
    async fn take_in_time(&mut self, batch: Vec<(Live, Cursor)>) -> Result<Vec<Item<Message>>, Box<Error>> {
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

    async fn take(&mut self, batch: Vec<(Live, Cursor)>) -> Result<Vec<Item<Message>>, Box<Error>> {
        self.refresh().await?;
        let made = self.messages(batch).await?;
        if made.is_empty() {
            return Ok(Vec::new());
        }
        let cells: Vec<Cell> = made.iter().map(|it| it.cell.clone()).collect();
        let told = written(&self.gateway, &self.actor, &self.planned, &cells).await?;
        let of_stream = matches!(self.source, Source::Stream(_));
        Ok(told
            .into_iter()
            .zip(made)
            .map(|(what, made)| Item {
                size: what.body.len() + 64,
                what,
                at: made
                    .event
                    .map(|event| if of_stream { At::stream(&event) } else { At::feed(&event) }),
                index: made.index,
                behind: made.behind,
            })
            .collect())
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
        let watch = self.gateway.rewatch(&self.actor, &planned, &self.watch)?;
        let same = interest(&watch) == interest(&self.watch);
        self.watch = watch;
        self.planned = planned;
        if !same {
            // What a batch holds is told first; whatever comes behind it is found again by the place.
            self.listen(self.stands());
        }
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
        self.jumps = true;
        self.listen(event.feed_cursor(self.identity.epoch));
    }

    /// Goes on from a place.
    fn listen(&mut self, after: Cursor) {
        self.events = self
            .gateway
            .live
            .follow(self.actor.org, self.source.clone(), interest(&self.watch), Some(after));
    }

    /// The cursor behind a message, and the place that it stands for.
    fn cursor(&self, event: &Event, index: u16, last: bool, place: &Cursor) -> (String, Cursor) {
        let epoch = self.identity.epoch;
        let at = match &self.source {
            Source::Stream(_) => At::stream(event),
            _ => At::feed(event),
        };
        let before = Cursor { epoch, ..*place };
        let behind = if last {
            place::behind(&before, &at)
        } else {
            place::within(&before, &at, index + 1)
        };
        let told = match &self.source {
            Source::Stream(_) if last && self.is_leaving(event) => event.feed_cursor(epoch),
            // Where the object stands in another stream by the time the client comes back, the feed says where that goes on.
            Source::Stream(_) => Cursor {
                feed: Some(event.feed),
                ..behind
            },
            _ => behind,
        };
        (self.identity.encode(self.actor.org, &told), behind)
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
    async fn messages(&mut self, batch: Vec<(Live, Cursor)>) -> Result<Vec<Made>, Box<Error>> {
        let registry = self.planned.schema.registry.clone();
        let read = |filter: &Filter, _: &Klass, image: &Image| filter_memory::matches(filter, image, &[]);
        let mut matters: Vec<Pending> = Vec::with_capacity(batch.len());
        for (item, place) in batch {
            match item {
                Live::Event(event) => {
                    if self.is_arrival(&event) {
                        continue;
                    }
                    let its = self.watch.matters(&registry, &event, &read);
                    let told = its.iter().filter(|matter| !matches!(matter, Matter::Moved { .. })).count();
                    let at = match self.source {
                        Source::Stream(_) => At::stream(&event),
                        _ => At::feed(&event),
                    };
                    for (index, matter) in its.into_iter().enumerate() {
                        let number = u16::try_from(index).unwrap_or(u16::MAX);
                        let moves = matches!(matter, Matter::Moved { .. });
                        if !moves && self.began.part > 0 && place::has(&self.began, &at, number) {
                            continue;
                        }
                        matters.push(Pending {
                            what: Ok(matter),
                            event: Some(event.clone()),
                            index: number,
                            last: index + 1 >= told,
                            place,
                        });
                    }
                }
                Live::CaughtUp(_) => {}
                Live::Resync { reason } => {
                    // The log may be another one now (restored), with cursors of its own.
                    self.identity = self.gateway.store.refresh_identity().await.map_err(store_error)?;
                    let head = self.gateway.store.head(self.actor.org, &self.source).await.map_err(store_error)?;
                    self.jumps = true;
                    self.listen(head);
                    let cursor = self.identity.encode(self.actor.org, &head);
                    matters.push(Pending {
                        what: Err(resync(&reason.to_string(), cursor)),
                        event: None,
                        index: 0,
                        last: true,
                        place: self.stands(),
                    });
                }
            }
        }
        let matching = self.ask(&matters).await?;
        let mut out: Vec<Made> = Vec::with_capacity(matters.len());
        let mut moved: Option<(Arc<Klass>, ObjectId, Arc<Event>)> = None;
        for Pending {
            what,
            event,
            index,
            last,
            place,
        } in matters
        {
            if let Some((.., of)) = &moved
                && event.as_ref().is_none_or(|it| (it.feed.xid, it.at) != (of.feed.xid, of.at))
            {
                // The new stream is followed from behind this transaction: all that it did is told here, what follows there.
                break;
            }
            let (matter, event) = match (what, event) {
                (Ok(matter), Some(event)) => (matter, event),
                (Ok(_), None) => continue,
                (Err(cell), _) => {
                    out.push(Made {
                        cell,
                        event: None,
                        index: 0,
                        behind: place,
                    });
                    continue;
                }
            };
            let (cursor, behind) = self.cursor(&event, index, last, &place);
            let cell = match matter {
                Matter::Object { klass, id, before, after } => {
                    let now = after.unwrap_or_else(|| matching.contains(&id));
                    let unsure = before.is_none() || after.is_none();
                    let before = before.or_else(|| self.memory.recall(id));
                    if unsure {
                        self.memory.note(id, now);
                    }
                    decide(before, now).map(|change| self.object(&klass, id, change, &event, cursor))
                }
                Matter::Entry { kind, conversation } => self.entry(kind, conversation, &event, cursor).await?,
                Matter::Klass(name) => Some(self.klass(&name, &event, cursor)),
                Matter::Reshaped(reason) => Some(resync(reason, cursor)),
                Matter::Moved { klass, id } => {
                    moved = Some((klass, id, event));
                    continue;
                }
            };
            out.extend(cell.map(|cell| Made {
                cell,
                event: Some(event),
                index,
                behind,
            }));
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
            .filter_map(|pending| match &pending.what {
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

/// Changes of an org's klasses, from now on.
fn klass_changes(gateway: &Gateway, actor: &Actor) -> Subscriber {
    let source = Source::Stream(KLASS_STREAM.into());
    gateway.live.follow(actor.org, source, Interest::All, None)
}
