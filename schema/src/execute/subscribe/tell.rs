//! What a batch of events tells a subscription: from events to matters, from matters to messages.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use klio_entities::klass::filter::{Op, Operand, Target};
use klio_entities::klass::query::{Output, Page, Read, Rows};
use klio_entities::klass::{Filter, Klass, ObjectId, Value, filter_memory};
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Event, Source};
use klio_subscriptions::live::Live;
use klio_subscriptions::place::{self, At};
use serde_json::Value as Json;

use super::message::{Place, resync, stored_instant, with_cursor};
use super::related::Related;
use super::session::Session;
use crate::error::Error;
use crate::execute::change::{Change, Judgement, decide};
use crate::execute::follow::{Image, Matter, Watch, customer_of, stream_of};
use crate::execute::record::Cell;
use crate::execute::run::store_error;
use crate::execute::watch::{uuid_of, whole};

/// Something to be told of.
struct Pending {
    /// What an event may mean, or a message that is complete.
    what: Result<Matter, Cell>,
    event: Option<Arc<Event>>,
    /// Which of the event's messages it is.
    index: u16,
    /// How many of these have been told with it; `None`: all.
    told: Option<u16>,
    /// The place before the event.
    place: Cursor,
}

/// A message on its way, and the event of which it tells.
pub(super) struct Made {
    pub cell: Cell,
    pub event: Option<Arc<Event>>,
    pub index: u16,
    pub behind: Cursor,
}

impl Session {
    /// The cursor behind a message, and the place that it stands for.
    fn cursor(&self, event: &Event, told: Option<u16>, place: &Cursor) -> (String, Cursor) {
        let epoch = self.identity.epoch;
        let at = self.at(event);
        let before = Cursor { epoch, ..*place };
        let behind = match told {
            None => place::behind(&before, &at),
            Some(count) => place::within(&before, &at, count),
        };
        let told = match &self.source {
            Source::Stream(_) if told.is_none() && self.is_leaving(event) => event.feed_cursor(epoch),
            // Where the object stands in another stream by the time the client comes back, the feed says where that goes on.
            Source::Stream(_) => Cursor {
                feed: Some(event.feed),
                ..behind
            },
            _ => behind,
        };
        (self.identity.encode(self.actor.org, &told), behind)
    }

    /// Where an event stands in what is read.
    fn at(&self, event: &Event) -> At {
        if self.in_feed() { At::feed(event) } else { At::stream(event) }
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
    pub(super) async fn messages(&mut self, batch: Vec<(Live, Cursor)>) -> Result<Vec<Made>, Box<Error>> {
        let registry = self.planned.schema.registry.clone();
        let read = |filter: &Filter, _: &Klass, image: &Image| filter_memory::matches(filter, image, &[]);
        let events = batch.iter().filter_map(|(item, _)| match item {
            Live::Event(event) if !self.is_arrival(event) => Some(event.clone()),
            _ => None,
        });
        let events: Vec<Arc<Event>> = events.collect();
        let own: Vec<Vec<Matter>> = events
            .iter()
            .map(|event| self.watch.matters(&registry, event, self.in_feed(), &read))
            .collect();
        // What is told of an object on its own account is read behind all of these events, and so tells of what it reads as well.
        let told = own.iter().flatten().filter_map(|matter| match matter {
            Matter::Object { id, .. } => Some(*id),
            _ => None,
        });
        let related = self.related(&events, told.collect()).await?;
        let Related { matters: related, before } = related;
        let mut each = own.into_iter().zip(related);
        let mut matters: Vec<Pending> = Vec::with_capacity(batch.len());
        for (item, place) in batch {
            match item {
                Live::Event(event) => {
                    if self.is_arrival(&event) {
                        continue;
                    }
                    let (own, related) = each.next().unwrap_or_default();
                    self.pend(event, own, related, place, &mut matters);
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
                        told: None,
                        place: self.stands(),
                    });
                }
            }
        }
        self.tell(matters, &before).await
    }

    /// Puts what an event means behind what is to be told already.
    fn pend(&self, event: Arc<Event>, own: Vec<Matter>, related: Vec<Matter>, place: Cursor, to: &mut Vec<Pending>) {
        let at = self.at(&event);
        let moves = |matter: &Matter| matches!(matter, Matter::Moved { .. });
        let count = own.iter().filter(|matter| !moves(matter)).count();
        let number = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
        let alone = related.is_empty();
        let all = related.len();
        for (index, matter) in own.into_iter().enumerate() {
            if !moves(&matter) && self.began.part > 0 && place::has(&self.began, &at, number(index)) {
                continue;
            }
            to.push(Pending {
                what: Ok(matter),
                event: Some(event.clone()),
                index: number(index),
                told: (!alone || index + 1 < count).then_some(number(index + 1)),
                place,
            });
        }
        for (index, matter) in related.into_iter().enumerate() {
            to.push(Pending {
                what: Ok(matter),
                event: Some(event.clone()),
                // Which they are is found anew each time, so they are not counted: who comes back in their midst hears of all again.
                index: number(count),
                told: (index + 1 < all).then_some(number(count)),
                place,
            });
        }
    }

    /// Messages of what is to be told.
    async fn tell(&mut self, matters: Vec<Pending>, past: &HashMap<ObjectId, Judgement>) -> Result<Vec<Made>, Box<Error>> {
        let matching = self.ask(&matters).await?;
        let mut out: Vec<Made> = Vec::with_capacity(matters.len());
        let mut moved: Option<(Arc<Klass>, ObjectId, Arc<Event>)> = None;
        for Pending {
            what,
            event,
            index,
            told,
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
            let (cursor, behind) = self.cursor(&event, told, &place);
            let cell = match matter {
                Matter::Object { klass, id, before, after } => {
                    let now = after.unwrap_or_else(|| matching.contains(&id));
                    // What the image does not say may have been said, or be said by what the filter reads; if nothing of that has
                    // changed, it was as it is.
                    let guess = || match past.get(&id) {
                        _ if self.touches_filter(&event) => None,
                        Some(known) => *known,
                        None => Some(now),
                    };
                    let was = before.or_else(|| self.memory.recall(id)).or_else(guess);
                    let change = self.change(id, was, now, before.is_none() || after.is_none());
                    change.map(|change| self.object(&klass, id, change, Place::of(&klass, &event), cursor))
                }
                Matter::Related {
                    klass,
                    id,
                    after,
                    at,
                    channel,
                } => {
                    let now = after.unwrap_or_else(|| matching.contains(&id));
                    let was = self.memory.recall(id).or(after).or_else(|| past.get(&id).copied().flatten());
                    let place = Place {
                        at: stored_instant(&at),
                        channel: channel.as_deref(),
                    };
                    let change = self.change(id, was, now, after.is_none());
                    change.map(|change| self.object(&klass, id, change, Some(place), cursor))
                }
                Matter::Entry { kind, conversation } => self.entry(kind, conversation, &event, cursor).await?,
                Matter::Entries { conversation, came } => {
                    let Some(mut cells) = self.moved_entries(conversation, came, &event).await? else {
                        let cell = resync("a conversation has another customer now", cursor);
                        out.push(Made {
                            cell,
                            event: Some(event),
                            index,
                            behind,
                        });
                        continue;
                    };
                    let last = cells.pop();
                    for cell in cells {
                        // Which they are is found anew each time, so they are not counted.
                        let (cursor, behind) = self.cursor(&event, Some(index), &place);
                        out.push(Made {
                            cell: with_cursor(cell, cursor),
                            event: Some(event.clone()),
                            index,
                            behind,
                        });
                    }
                    last.map(|cell| with_cursor(cell, cursor))
                }
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

    /// What is told of an object that was in view or not, and is or is not. What no image says is kept for the next time, if it is told:
    /// the present may be ahead of the event at hand, and what was passed over here is to be told by the event that made it so.
    fn change(&mut self, id: ObjectId, was: Judgement, now: bool, unsure: bool) -> Option<Change> {
        let change = decide(was, now);
        if change.is_some() && (unsure || self.memory.recall(id).is_some()) {
            self.memory.note(id, now);
        }
        change
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
                Ok(Matter::Object { id, after: None, .. } | Matter::Related { id, after: None, .. }) => Some(*id),
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
        let json = self.gateway.ask(&self.actor, &self.planned.schema, &read).await?;
        let rows = json.get(0).and_then(Json::as_array).into_iter().flatten();
        Ok(rows.filter_map(|row| uuid_of(row.get(0)?)).collect())
    }
}
