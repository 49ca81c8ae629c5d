//! Writes of many callers in one transaction.
//!
//! A commit waits for the disk and a statement for its way there and back, whether they carry one object or fifty. So an org's
//! writes go in a few lanes: who finds one free goes at once, alone; who does not waits, and goes with all others who wait when one
//! becomes free. The busier it is, the more go together; no one waits for company.
//!
//! Only writes go together whose order cannot matter: an object is made, or values of an object are set, each of another object,
//! and links are at most to-one and kept in the object's own row. Whoever has a fault is taken out and goes alone, so that no one's
//! answer depends on others; the rest goes again. Each has a version, events and a cursor of its own: the cursor stands behind its own
//! events, so others' in the same transaction are news ([`told`](super::told)).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::unit::Author;
use super::{Job, WriteOptions, items, transaction};
use crate::klass::draft::{LinkChange, Object, Written};
use crate::klass::query::Key;
use crate::klass::relationship::{Link, Side};
use crate::klass::{Actor, Draft, Faults, ObjectId, OrgId, Registry, Value};
use crate::store::{Dialect, Store, StoreError};

/// Most that go together.
const MOST: usize = 50;
/// Lanes of an org on Postgres: while one commits, others work. More of them carry fewer writes each, which takes more than it gives
/// (measured). (SQLite has one writer.)
const LANES: usize = 2;

/// The lanes of all orgs that write just now.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<HashMap<OrgId, Lane>>);

#[derive(Debug, Default)]
struct Lane {
    /// How many transactions are under way.
    busy: usize,
    waiting: VecDeque<Waiting>,
}

/// A write that waits for a lane.
#[derive(Debug)]
struct Waiting {
    actor: Actor,
    registry: Arc<Registry>,
    draft: Draft,
    to: oneshot::Sender<Verdict>,
}

/// What became of one that waited.
#[derive(Debug)]
enum Verdict {
    /// It was written with others.
    Written(Written),
    /// It is to go alone.
    Alone(Draft, Option<Turn>),
}

/// What came of joining others.
pub(super) enum Joined {
    /// It was written with others.
    Written(Written),
    /// It goes alone, and lets the next go when the turn is dropped.
    Alone(Vec<Draft>, Option<Turn>),
    /// Those who wrote were broken off; whether it was written is not known.
    Lost,
}

/// The use of a lane. Dropping it lets those go who wait.
pub(super) struct Turn {
    store: Store,
    org: OrgId,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("org", &self.org).finish_non_exhaustive()
    }
}

/// Whether a write may go with those of others.
fn may_join(drafts: &[Draft], options: &WriteOptions) -> bool {
    let plain = options.idempotency.is_none() && options.cause.is_none() && !options.imported && !options.dry_run;
    let [draft] = drafts else { return false };
    plain
        && match draft {
            Draft::Create(object) => has_own_links_only(object),
            Draft::Update { set, .. } => target(draft).is_some() && set.links.is_empty(),
            _ => false,
        }
}

/// Links are kept in the object's own row: no other object changes by them.
fn has_own_links_only(object: &Object) -> bool {
    object.links.iter().all(|(end, changes)| {
        let own = end.side == Side::From && matches!(end.relationship.link, Link::Column { .. });
        own && changes.iter().all(|change| matches!(change, LinkChange::Connect { .. }))
    })
}

/// The object that an update names by its id.
fn target(draft: &Draft) -> Option<ObjectId> {
    match draft {
        Draft::Update { key: Key::Id(operand), .. } => match operand.value(&[]) {
            Value::Id(id) => Some(*id),
            _ => None,
        },
        _ => None,
    }
}

impl Store {
    /// Goes with others, if it may and they are many; otherwise alone.
    pub(super) async fn join(&self, actor: &Actor, registry: &Arc<Registry>, mut drafts: Vec<Draft>, options: &WriteOptions) -> Joined {
        if !may_join(&drafts, options) {
            return Joined::Alone(drafts, None);
        }
        let Some(draft) = drafts.pop() else {
            return Joined::Alone(drafts, None);
        };
        let org = actor.org;
        let verdict = {
            let mut lanes = self.0.lanes.0.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes.entry(org).or_default();
            let many = match self.dialect() {
                Dialect::Postgres => LANES,
                Dialect::Sqlite => 1,
            };
            if lane.busy < many {
                lane.busy += 1;
                let store = self.clone();
                return Joined::Alone(vec![draft], Some(Turn { store, org }));
            }
            let (to, verdict) = oneshot::channel();
            lane.waiting.push_back(Waiting {
                actor: actor.clone(),
                registry: registry.clone(),
                draft,
                to,
            });
            verdict
        };
        match verdict.await {
            Ok(Verdict::Written(written)) => Joined::Written(written),
            Ok(Verdict::Alone(draft, turn)) => Joined::Alone(vec![draft], turn),
            Err(_) => Joined::Lost,
        }
    }

    /// Writes all at once. `Err`: nothing is written; those at these places have faults (none: no one knows who is to blame).
    async fn write_together(&self, all: &[Waiting]) -> Result<Vec<Written>, HashSet<usize>> {
        let nobody = |error: StoreError| {
            tracing::debug!(%error, writes = all.len(), "writes that went together go each by itself");
            HashSet::new()
        };
        let first = all.first().ok_or_else(HashSet::new)?;
        let job = Arc::new(Job {
            org: first.actor.org,
            actor: first.actor.clone(),
            author: Author::Each(all.iter().map(|one| one.actor.to_text()).collect()),
            registry: first.registry.clone(),
            drafts: all.iter().map(|one| one.draft.clone()).collect(),
            matched: all.iter().map(|_| Ok(vec![])).collect(),
            options: WriteOptions {
                atomic: true,
                ..WriteOptions::default()
            },
            identity: self.identity().await.map_err(nobody)?,
            undone: Mutex::default(),
        });
        let run = job.clone();
        match self.transact(move |tx| Box::pin(transaction(tx, run.clone()))).await {
            Ok(done) => {
                if let Some(hint) = done.hint {
                    self.hint(hint);
                }
                // A transaction that is all or nothing, and was committed, has no faults.
                done.results.into_iter().collect::<Result<_, Faults>>().map_err(|_| HashSet::new())
            }
            Err(StoreError::Faults(faults)) if faults.0.is_empty() => {
                let undone = job.undone.lock().unwrap_or_else(PoisonError::into_inner).results.clone();
                let faulty = |(place, result)| items::own_faults(result).map(|_| place);
                Err(undone.iter().enumerate().filter_map(faulty).collect())
            }
            Err(error) => Err(nobody(error)),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let group = {
            let mut lanes = self.store.0.lanes.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(lane) = lanes.get_mut(&self.org) else { return };
            let group = lane.next();
            if group.is_empty() {
                lane.busy -= 1;
                if lane.busy == 0 {
                    lanes.remove(&self.org);
                }
                return;
            }
            group
        };
        let turn = Turn {
            store: self.store.clone(),
            org: self.org,
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(turn.go(group))),
            // The run time is going down, and those who wait with it.
            Err(_) => drop(group),
        }
    }
}

impl Lane {
    /// Those who go next: they know the same klasses, and each writes another object.
    fn next(&mut self) -> Vec<Waiting> {
        let mut group: Vec<Waiting> = Vec::new();
        let mut targets = HashSet::new();
        let mut left = VecDeque::with_capacity(self.waiting.len());
        for one in self.waiting.drain(..) {
            let is_new = |of: &Draft, targets: &HashSet<ObjectId>| target(of).is_none_or(|id| !targets.contains(&id));
            let fits = group.len() < MOST
                && group.first().is_none_or(|first| Arc::ptr_eq(&first.registry, &one.registry))
                && is_new(&one.draft, &targets);
            // Whoever went away before the write began is not written.
            if one.to.is_closed() {
                continue;
            }
            if fits {
                targets.extend(target(&one.draft));
                group.push(one);
            } else {
                // Two writes of one object keep their order.
                targets.extend(target(&one.draft));
                left.push_back(one);
            }
        }
        self.waiting = left;
        group
    }
}

impl Turn {
    async fn go(self, mut group: Vec<Waiting>) {
        while group.len() > 1 {
            match self.store.write_together(&group).await {
                Ok(written) => {
                    for (one, written) in group.into_iter().zip(written) {
                        // Whoever went away meanwhile is written all the same.
                        let _ = one.to.send(Verdict::Written(written));
                    }
                    return;
                }
                Err(faulty) if faulty.is_empty() => break,
                Err(faulty) => {
                    let mut left = Vec::with_capacity(group.len());
                    for (place, one) in group.into_iter().enumerate() {
                        if faulty.contains(&place) {
                            one.alone(None);
                        } else {
                            left.push(one);
                        }
                    }
                    group = left;
                }
            }
        }
        let mut turn = Some(self);
        for one in group {
            one.alone(turn.take());
        }
    }
}

impl Waiting {
    fn alone(self, turn: Option<Turn>) {
        // To whoever went away nothing is owed; the turn goes on.
        let _ = self.to.send(Verdict::Alone(self.draft, turn));
    }
}
