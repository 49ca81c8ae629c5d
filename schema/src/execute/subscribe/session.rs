//! A subscription to the log under way: what came is taken together, read together, and told in order, whatever happens to the
//! klasses, the database and the object that is followed.

use std::sync::Arc;

use futures_util::FutureExt;
use klio_entities::klass::{Actor, Klass, ObjectId};
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Event, Identity, KLASS_STREAM, Source};
use klio_subscriptions::live::{Live, Subscriber};
use klio_subscriptions::place::At;
use klio_subscriptions::ring::Item;
use klio_subscriptions::route::Interest;
use serde_json::Value as Json;

use super::message::message;
use super::terms::interest;
use super::{Path, first, written};
use crate::error::{Code, Error};
use crate::execute::change::Memory;
use crate::execute::follow::{Watch, customer_of, stream_of};
use crate::execute::gateway::{Prepared, refused};
use crate::execute::record::Cell;
use crate::execute::run::store_error;
use crate::execute::watch::{Follows, record_of};
use crate::execute::{Gateway, Message, Request, Stats};

/// How many events are turned into messages together, at most.
const BATCH: usize = 64;

/// How often a batch is tried that the database refuses; and the first pause, which doubles each time (to a second).
pub(super) const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

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

/// A subscription under way: what makes its messages.
pub(super) struct Session {
    pub(super) gateway: Gateway,
    pub(super) actor: Actor,
    pub(super) request: Arc<Request>,
    pub(super) planned: Prepared,
    pub(super) watch: Watch,
    /// The ways to what is read beside it.
    pub(super) paths: Vec<Path>,
    pub(super) source: Source,
    pub(super) identity: Arc<Identity>,
    pub(super) events: Subscriber,
    /// Changes of klasses.
    pub(super) klasses: Subscriber,
    pub(super) memory: Memory,
    /// The object that was followed here, and the version that was told: its arrival is no news.
    pub(super) moved: Option<(ObjectId, Json)>,
    /// Where it began, if within an event: the messages of it that were told.
    pub(super) began: Cursor,
    pub(super) jumps: bool,
}

impl Session {
    pub(super) fn new(
        gateway: &Gateway,
        actor: &Actor,
        request: impl Into<Arc<Request>>,
        planned: Prepared,
        follows: Follows,
        identity: Arc<Identity>,
        after: Option<Cursor>,
    ) -> Self {
        let Follows { watch, paths, source } = follows;
        let interest = interest(&planned.schema.registry, &watch, &paths, in_feed(&source));
        let events = gateway.live.follow(actor.org, source.clone(), interest, after);
        Self {
            gateway: gateway.clone(),
            actor: actor.clone(),
            request: request.into(),
            planned,
            watch,
            paths,
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
        let follows = gateway.watch(actor, &planned, record, &arguments).await?;
        Ok(Self::new(gateway, actor, request, planned, follows, identity, Some(after)))
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
        let Some(planned) = self.gateway.replanned(&self.actor, &self.request, &self.planned).await? else {
            return Ok(());
        };
        // The source stays: what is followed is the same, and so no event is lost.
        let before = self.interest();
        (self.watch, self.paths) = self.gateway.rewatch(&self.actor, &planned, &self.watch)?;
        self.planned = planned;
        if self.interest() != before {
            // What a batch holds is told first; whatever comes behind it is found again by the place.
            self.listen(self.stands());
        }
        Ok(())
    }

    /// Goes over to the stream in which what is followed stands now, right behind the transaction that brought it there.
    pub(super) fn follow(&mut self, klass: &Klass, id: ObjectId, event: &Event) {
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
    pub(super) fn listen(&mut self, after: Cursor) {
        self.events = self
            .gateway
            .live
            .follow(self.actor.org, self.source.clone(), self.interest(), Some(after));
    }

    fn interest(&self) -> Interest {
        interest(&self.planned.schema.registry, &self.watch, &self.paths, self.in_feed())
    }

    /// It reads the org's feed, and not the stream of what it follows.
    pub(super) fn in_feed(&self) -> bool {
        in_feed(&self.source)
    }
}

fn in_feed(source: &Source) -> bool {
    !matches!(source, Source::Stream(_))
}

/// Changes of an org's klasses, from now on.
pub(super) fn klass_changes(gateway: &Gateway, actor: &Actor) -> Subscriber {
    let source = Source::Stream(KLASS_STREAM.into());
    gateway.live.follow(actor.org, source, Interest::All, None)
}
