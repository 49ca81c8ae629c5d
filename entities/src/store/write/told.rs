//! What a unit tells when its rows are written: new versions, the events of what changed, and what became of each draft.

use std::collections::HashMap;

use uuid::Uuid;

use super::Job;
use super::unit::{Author, Fate, Row, Unit};
use crate::klass::draft::{Outcome, Written};
use crate::klass::{Draft, ObjectId, Value};
use crate::store::cursor::{Cursor, FeedPosition, Own, StreamPosition, stream_hash};
use crate::store::event::{Appended, EventOp, NewEvent, customer_stream, object_stream};

/// The events of a unit.
pub(super) struct Told {
    /// In the order in which they are appended.
    pub events: Vec<NewEvent>,
    /// Of which draft each is; none: what follows from what drafts did.
    drafts: Vec<Option<usize>>,
    /// The stream in which each changed object's event stands.
    places: HashMap<Uuid, String>,
}

/// What became of a draft.
pub(super) fn written(job: &Job, unit: &Unit<'_>, item: usize, ids: &[Uuid], appended: &Appended, told: &Told) -> Written {
    let draft = &job.drafts[item];
    let klass = match draft {
        Draft::Create(object) | Draft::Upsert { create: object, .. } => &object.klass,
        Draft::Update { set, .. } | Draft::UpdateAll { set, .. } => &set.klass,
        Draft::Delete { klass, .. } | Draft::Restore { klass, .. } | Draft::Destroy { klass, .. } | Draft::DeleteAll { klass, .. } => klass,
    };
    let outcome = |row: &Row| match draft {
        _ if row.is_new() => Outcome::Created,
        _ if !row.touched => Outcome::Unchanged,
        Draft::Delete { .. } | Draft::DeleteAll { .. } => Outcome::Deleted,
        Draft::Restore { .. } => Outcome::Restored,
        Draft::Destroy { .. } => Outcome::Destroyed,
        _ => Outcome::Updated,
    };
    let rows: Vec<&Row> = ids.iter().filter_map(|id| unit.rows.get(id)).collect();
    let changed = rows.iter().copied().find(|row| outcome(row) != Outcome::Unchanged);
    let cursor = changed.and_then(|row| told.places.get(&row.id)).map(|stream| {
        let (seq, feed) = match unit.author {
            Author::One(_) => (appended.head(stream), appended.feed),
            // Others wrote in the same transaction: what they did behind ours is news.
            Author::Each(_) => told.behind(item, stream, appended),
        };
        let cursor = Cursor {
            epoch: job.identity.epoch,
            stream: Some(StreamPosition {
                hash: stream_hash(stream),
                seq,
            }),
            feed,
            part: 0,
        };
        job.identity.encode(job.org, &cursor)
    });
    Written {
        klass: klass.name.clone(),
        ids: ids.iter().map(|id| ObjectId(*id)).collect(),
        outcome: changed.or(rows.first().copied()).map_or(Outcome::Unchanged, outcome),
        cursor,
    }
}

impl Told {
    /// The place right behind a draft's own events: in a stream, and in the feed.
    fn behind(&self, draft: usize, stream: &str, appended: &Appended) -> (i64, Option<FeedPosition>) {
        let (mut seq, mut position) = (0, 0);
        let places = appended.seqs.iter().zip(&appended.positions);
        for ((event, _), (at, in_feed)) in self
            .events
            .iter()
            .zip(&self.drafts)
            .zip(places)
            .filter(|((_, of), _)| **of == Some(draft))
        {
            position = position.max(*in_feed);
            if event.stream == stream {
                seq = seq.max(*at);
            }
        }
        let feed = appended.feed.map(|feed| match feed.own {
            // SQLite, where a place in the feed is the position alone.
            Own::NONE => FeedPosition { position, ..feed },
            own => FeedPosition {
                own: Own { position, ..own },
                ..feed
            },
        });
        (seq, feed)
    }
}

impl Unit<'_> {
    /// Rows that a draft touched and that are as they were are left alone; the others get their new version.
    pub(super) fn settle(&mut self) {
        for row in self.rows.values_mut().filter(|row| row.touched && row.before.is_some()) {
            if !row.differs() {
                row.touched = false;
                continue;
            }
            let version = row.version();
            row.after[row.layout.version] = Value::Integer(version + 1);
            row.after[row.layout.updated_at] = Value::DateTime(self.now);
            row.after[row.layout.updated_by] = Value::String(self.author.of(row.draft).to_owned());
        }
    }

    /// The events of all that changed.
    pub(super) fn events(&self) -> Told {
        let mut told = Told {
            events: Vec::new(),
            drafts: Vec::new(),
            places: HashMap::new(),
        };
        let mut rows: Vec<&Row> = self.rows.values().collect();
        if let Author::Each(_) = self.author {
            // By draft, and what only follows comes last: so each caller's own events end before what is news to that caller.
            rows.sort_by_key(|row| (!row.touched, row.draft));
        }
        for row in rows {
            self.events_of(row, &mut told);
        }
        told
    }

    fn events_of(&self, row: &Row, told: &mut Told) {
        let stream = |customer: Option<Uuid>| match customer {
            Some(customer) => customer_stream(customer),
            None => object_stream(&row.klass.name, row.id),
        };
        let destroyed = row.fate == Fate::Destroyed;
        if destroyed && row.is_new() {
            return;
        }
        let layout = &row.layout;
        let (before, changed) = match &row.before {
            None => (None, Vec::new()),
            Some(before) if destroyed => (Some(layout.to_text(before)), Vec::new()),
            Some(before) => {
                let (difference, mut names) = layout.difference(before, &row.after);
                let system = [layout.version, layout.updated_at, layout.updated_by];
                names.retain(|name| !system.iter().any(|&slot| layout.slots[slot].legal == *name));
                names.extend(row.ends.iter().cloned());
                (Some(difference), names)
            }
        };
        let mut push = |op: EventOp, stream: String, id: Uuid, changed: Vec<String>, before: Option<String>| {
            told.events.push(NewEvent {
                stream,
                id,
                klass: row.klass.name.clone(),
                object: Some(row.id),
                op,
                actor: self.author.of(row.draft).to_owned(),
                cause: row.cause.map(|(cause, _)| cause),
                depth: row.cause.map_or(0, |(_, depth)| depth),
                changed,
                before,
                after: (!destroyed).then(|| layout.to_text(&row.after)),
            });
            told.drafts.push(row.touched.then_some(row.draft));
        };
        let mut place = None;
        let differs = row.before.as_ref() != Some(&row.after) || !row.ends.is_empty() || destroyed;
        if differs {
            let op = match (&row.before, destroyed) {
                (None, _) => EventOp::Created,
                (_, true) => EventOp::Destroyed,
                _ if row.was_live() && row.is_deleted() => EventOp::Deleted,
                _ if !row.was_live() && !row.is_deleted() => EventOp::Restored,
                _ => EventOp::Updated,
            };
            let now_in = stream(if destroyed { row.customer_before() } else { row.customer() });
            if let Some(before_in) = row
                .before
                .as_ref()
                .map(|_| stream(row.customer_before()))
                .filter(|known| *known != now_in)
            {
                // Who follows the stream that it leaves must hear of it too.
                push(op, before_in, Uuid::now_v7(), changed.clone(), before.clone());
            }
            push(op, now_in.clone(), row.event, changed, before);
            place = Some(now_in);
        }
        for (op, names) in [(EventOp::Unlinked, &row.unlinked), (EventOp::Linked, &row.linked)] {
            if !names.is_empty() && !destroyed {
                let names = names.iter().cloned().collect();
                push(op, stream(row.customer()), Uuid::now_v7(), names, Some("{}".to_owned()));
            }
        }
        if let Some(stream) = place {
            told.places.insert(row.id, stream);
        }
    }
}
