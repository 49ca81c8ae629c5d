//! Subscriptions to a state: a customer at a glance, who is at an object, how many match. Only the latest counts, so nothing is
//! queued: who is slow gets the present state when it comes to take it, and who comes back gets it at once.
//!
//! A state is read, and told if it is other than what was told. It is read again when an event that could change it comes by
//! ([`super::terms`]), when somebody comes or goes, and no more often than [`PACE`] and its own statement allow. It is read once for all who
//! ask the same and may see the same, as [`super::share`] says; a log's places have no part in it. The cursor of such a message is a
//! digest of the state: who brings it back is told only what is other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use klio_entities::klass::{Actor, ObjectId};
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Source, customer_stream};
use klio_subscriptions::cast::{Cast, Sat, Seat};
use klio_subscriptions::live::{Live, Subscriber};
use klio_subscriptions::presence::List;
use klio_subscriptions::ring::Item;
use klio_subscriptions::route::{Interest, Term};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::share::{Key, LINGER, Shares};
use super::{session, written};
use crate::error::{Code, Error};
use crate::execute::gateway::{Prepared, refused};
use crate::execute::{Gateway, Message, Request, Stats};
use crate::types::model::Meaning;

pub(in crate::execute) mod read;

/// How often a state is read, at most.
const PACE: Duration = Duration::from_millis(100);
/// What reading takes, times this, is the shortest pause before the next time: so a dear count takes no more than its share.
const SHARE: u32 = 4;
/// How often a count is made whose filter depends on the time.
const TICK: Duration = Duration::from_secs(5);
/// For how long the first reading waits until the log is followed; later changes are seen anyhow.
const BEGIN: Duration = Duration::from_millis(200);

/// What a state is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Customer(ObjectId),
    Presence(ObjectId),
    Count,
}

/// Whether a root field tells a state.
pub(super) fn is_state(means: &Meaning) -> bool {
    matches!(means, Meaning::PresenceState | Meaning::CustomerState(_) | Meaning::Counted(_))
}

/// A state under way.
struct State {
    gateway: Gateway,
    actor: Actor,
    request: Arc<Request>,
    planned: Prepared,
    of: Of,
    /// Of presence alone there is no event.
    events: Option<Subscriber>,
    interest: Vec<Term>,
    present: Option<watch::Receiver<List>>,
    klasses: Subscriber,
    /// It changes with time alone.
    ticks: bool,
    /// The digest of what was told last.
    told: Option<Arc<str>>,
}

impl Gateway {
    /// Starts a subscription to a state, or shares one. `actor` is that of the class.
    pub(super) async fn follow_state(
        &self,
        actor: Actor,
        key: Key,
        request: Request,
        planned: Prepared,
    ) -> Result<BoxStream<'static, Message>, Error> {
        let known = request.extensions.get("resume").and_then(|it| it.as_str()).map(str::to_owned);
        let seat = match self.shares.known_state(&key) {
            Some(seat) => seat,
            None => {
                let of = self.state_of(&actor, &planned).await?;
                let klasses = session::klass_changes(self, &actor);
                let mut state = State {
                    gateway: self.clone(),
                    actor,
                    request: Arc::new(request),
                    planned,
                    of,
                    events: None,
                    interest: Vec::new(),
                    present: None,
                    klasses,
                    ticks: false,
                    told: None,
                };
                state.follow().map_err(|error| *error)?;
                self.shares.start_state(key, |cast| keep(self.shares.clone(), key, cast, state))
            }
        };
        Ok(listen(seat, known))
    }
}

/// The messages of a seat: the state at once, unless it is known, and whenever it is another.
fn listen(seat: Seat<Message>, known: Option<String>) -> BoxStream<'static, Message> {
    futures_util::stream::unfold((seat, known), |(mut seat, mut known)| async move {
        loop {
            match std::future::poll_fn(|cx| seat.poll(cx)).await {
                Sat::Item(message) => {
                    let known = known.take();
                    if known.is_none() || message.cursor.as_deref() != known.as_deref() {
                        return Some((message, (seat, None)));
                    }
                }
                Sat::Over => return None,
                Sat::Fresh | Sat::Behind => {}
            }
        }
    })
    .boxed()
}

/// Reads a state for all who sit there, until no one does.
async fn keep(shares: Arc<Shares>, key: Key, cast: Arc<Cast<Message>>, mut state: State) {
    cast.jump(Cursor::NOWHERE);
    if state.events.is_some() {
        // From here on what happens is seen; what happened before is in what is read.
        let _ = tokio::time::timeout(BEGIN, state.changed()).await;
    }
    let mut failures = 0;
    // Since when no one sits there: whoever comes back soon finds it as it was.
    let mut left = None;
    loop {
        // One reading answers all that has happened by now.
        while state.changed().now_or_never().is_some() {}
        let began = Instant::now();
        match Box::pin(state.read()).await {
            Ok(told) => {
                failures = 0;
                if let Some(message) = told {
                    shares.ran();
                    push(&cast, message);
                }
            }
            Err(error) if error.code == Code::Unavailable || (failures < session::TRIES && passes(&error)) => {
                failures += 1;
                // A statement that the database refuses may be of klasses that another node has changed since.
                state.gateway.catalog.changed(state.actor.org);
                tokio::time::sleep(PACE * 2u32.pow(failures.min(session::TRIES))).await;
                continue;
            }
            Err(error) => {
                shares.end_state(&key);
                push(&cast, Message::of(refused(vec![*error], Stats::default()).body));
                cast.end();
                return;
            }
        }
        let due = Instant::now() + PACE.max(began.elapsed() * SHARE);
        loop {
            left = if cast.seats() == 0 {
                left.or(Some(Instant::now() + LINGER))
            } else {
                None
            };
            tokio::select! {
                () = state.changed() => break,
                () = cast.work() => {}
                () = tokio::time::sleep_until(left.unwrap_or_else(Instant::now)), if left.is_some() => {
                    if shares.end_unused_state(&key, &cast) {
                        return;
                    }
                }
            }
        }
        tokio::time::sleep_until(due).await;
    }
}

fn passes(error: &Error) -> bool {
    matches!(error.code, Code::Timeout | Code::Internal)
}

fn push(cast: &Cast<Message>, message: Message) {
    let item = Item {
        size: message.body.len(),
        what: message,
        at: None,
        index: 0,
        behind: Cursor::NOWHERE,
    };
    cast.push(vec![item], Cursor::NOWHERE);
}

impl State {
    /// Follows what could change it.
    fn follow(&mut self) -> Result<(), Box<Error>> {
        let org = self.actor.org;
        let (interest, ticks) = self.interest()?;
        self.ticks = ticks;
        let live = &self.gateway.live;
        let of = match self.of {
            Of::Customer(id) | Of::Presence(id) => Some(id),
            Of::Count => None,
        };
        if let (Some(id), None) = (of, &self.present) {
            self.present = Some(live.presences().watch(org, id.0));
        }
        if interest != self.interest {
            let source = match self.of {
                Of::Customer(id) => Some(Source::Stream(customer_stream(id.0))),
                Of::Presence(_) => None,
                Of::Count => Some(Source::Klasses(interest.iter().map(|term| term.klass.clone()).collect())),
            };
            self.events = source.map(|source| live.follow(org, source, Interest::Any(interest.clone()), None));
            self.interest = interest;
        }
        Ok(())
    }

    /// Waits for something that may change it. May be dropped while it waits.
    async fn changed(&mut self) {
        let Self {
            gateway,
            actor,
            events,
            interest,
            present,
            klasses,
            ticks,
            ..
        } = self;
        loop {
            let event = async {
                match events.as_mut() {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            let beat = async {
                match present.as_mut() {
                    // It cannot err: the sender is kept for as long as there is a receiver.
                    Some(present) => drop(present.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                item = event => {
                    if !matches!(item, Some(Live::Event(_) | Live::CaughtUp(_))) {
                        // It goes on in another log, and is followed anew before it is read.
                        *events = None;
                        interest.clear();
                    }
                    return;
                }
                () = beat => return,
                item = klasses.next() => match item {
                    Some(Live::Event(_)) => {
                        // Another node may have done it.
                        gateway.catalog.changed(actor.org);
                        return;
                    }
                    Some(Live::CaughtUp(_)) => {}
                    Some(Live::Resync { .. }) | None => *klasses = session::klass_changes(gateway, actor),
                },
                () = tokio::time::sleep(TICK), if *ticks => return,
            }
        }
    }

    /// The state, if it is other than what was told.
    async fn read(&mut self) -> Result<Option<Message>, Box<Error>> {
        if let Some(planned) = self.gateway.replanned(&self.actor, &self.request, &self.planned).await? {
            self.planned = planned;
            self.follow()?;
        } else if self.interest.is_empty() {
            self.follow()?;
        }
        let cell = self.cell().await?;
        let mut all = written(&self.gateway, &self.actor, &self.planned, std::slice::from_ref(&cell)).await?;
        let message = all.pop().ok_or_else(|| Error::internal("a message that is not written"))?;
        let digest: Arc<str> = format!("state:{}", hex(&Sha256::digest(&message.body)[..12])).into();
        if self.told.as_ref() == Some(&digest) {
            return Ok(None);
        }
        self.told = Some(digest.clone());
        Ok(Some(Message {
            cursor: Some(digest),
            ..message
        }))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
