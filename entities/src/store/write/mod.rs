//! The one write path: for people, imports and workflows alike.
//!
//! A draft becomes rows in memory ([`unit`], [`apply`], [`links`], [`delete`]); what follows from it is worked out ([`derived`], the
//! timeline); rows become statements ([`flush`]); then come the events, whose counters are taken last. All of it is one transaction.
//!
//! | | atomic | item by item |
//! |---|---|---|
//! | a fault | nothing is written; the drafts without fault of their own say so | that draft is not written, the others are |
//! | costs | one unit | one unit, in a savepoint; again without the faulty ones if there are any |
//!
//! What must never be: a read that decides, without a lock that keeps it true; an event without its change.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use chrono::{SubsecRound, Utc};
use futures_util::future::BoxFuture;
use serde_json::Value as Json;
use uuid::Uuid;

use super::event::{self, Hint, Identity};
use super::{ConstraintKind, Dialect, Store, StoreError, Tx, timeline};
use crate::klass::draft::Written;
use crate::klass::fault::Code;
use crate::klass::filter::Operand;
use crate::klass::query::{Output, Page, Read, Rows, Window};
use crate::klass::{Actor, Draft, Fault, Faults, OrgId, Registry, Value, filter_memory};

mod apply;
mod delete;
mod derived;
mod duplicate;
pub(crate) mod fill;
mod flush;
pub(crate) mod idempotency;
mod items;
pub(crate) mod layout;
mod links;
pub(crate) mod together;
mod told;
pub(crate) mod unit;

use unit::{Author, Lock, Row, Unit};

pub use idempotency::Idempotency;

/// How often a write is tried when others get in its way (two upserts of one key, …).
const TRIES: u32 = 5;

/// How drafts are written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// All or nothing. Otherwise each draft has a result of its own.
    pub atomic: bool,
    /// Answer a repeated request with the first one's result.
    pub idempotency: Option<Idempotency>,
    /// Back-filled data: sets `importedAt`.
    pub imported: bool,
    /// The event of which this is a consequence, and how many deep.
    pub cause: Option<(Uuid, u32)>,
    /// Everything is done as always, and undone at the end: the results tell what would become of each draft. (Their ids and
    /// cursors mean nothing then.)
    pub dry_run: bool,
}

/// What a write answers: a result per draft.
pub type Results = Vec<Result<Written, Faults>>;

/// What one run of a transaction leaves for its caller, who acts on it after the commit.
#[derive(Clone, Debug, Default)]
struct Outcomes {
    results: Results,
    hint: Option<Hint>,
    /// Unique values that were tried, when the database said that one is taken.
    tried: Vec<duplicate::Tried>,
}

/// What all runs of one write share.
struct Job {
    org: OrgId,
    actor: Actor,
    author: Author,
    registry: Arc<Registry>,
    drafts: Vec<Draft>,
    /// What the filter of each draft found: none, if it has none.
    matched: Vec<Result<Vec<Uuid>, Fault>>,
    options: WriteOptions,
    identity: Arc<Identity>,
    /// The last run's outcome when it was undone.
    undone: Mutex<Outcomes>,
}

/// Key of the advisory lock under which an org's klasses change (exclusive) and its objects are written (shared).
pub fn org_lock(org: OrgId) -> i64 {
    let bits = org.0.as_u128();
    ((bits >> 64) as u64 ^ bits as u64) as i64
}

impl Store {
    /// Writes drafts. Each draft's result says what became of it, or every fault of it; a cursor in it is right behind the write.
    ///
    /// Errors: [`StoreError::Stale`] when a klass concerned changed since `registry` was read (read it, plan and try again), and
    /// whatever the database says. On an error nothing is written.
    pub fn write<'a>(
        &'a self,
        actor: &'a Actor,
        registry: &'a Arc<Registry>,
        drafts: Vec<Draft>,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Results, StoreError>> {
        Box::pin(async move {
            if drafts.is_empty() {
                return Ok(vec![]);
            }
            let (drafts, _turn) = match self.join(actor, registry, drafts, &options).await {
                together::Joined::Written(written) => return Ok(vec![Ok(written)]),
                together::Joined::Alone(drafts, turn) => (drafts, turn),
                together::Joined::Lost => return Err(StoreError::Unavailable("a write was broken off".into())),
            };
            let matched = self.matched(registry, &drafts).await?;
            let job = Arc::new(Job {
                org: actor.org,
                actor: actor.clone(),
                author: Author::One(actor.to_text()),
                registry: registry.clone(),
                drafts,
                matched,
                options,
                identity: self.identity().await?,
                undone: Mutex::default(),
            });
            let mut tries = 0;
            loop {
                tries += 1;
                let run = job.clone();
                let result = self.transact(move |tx| Box::pin(transaction(tx, run.clone()))).await;
                match result {
                    Ok(done) => {
                        if let Some(hint) = done.hint {
                            self.hint(hint);
                        }
                        return Ok(done.results);
                    }
                    Err(StoreError::Faults(faults)) if faults.0.is_empty() => {
                        let undone = job.undone.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
                        return Ok(undone.results);
                    }
                    Err(error) if error.constraint(ConstraintKind::Unique).is_some() => {
                        let tried = job.undone.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).tried.clone();
                        // An upsert that lost a race finds the winner's object when it looks again.
                        if tries < TRIES && (tries == 1 && job.drafts.iter().any(apply::has_upsert)) {
                            continue;
                        }
                        let faults = duplicate::explain(duplicate::Place::Store(self), job.org, &tried).await?;
                        if faults.is_empty() {
                            // Whoever held the value gave it up meanwhile.
                            if tries < TRIES {
                                continue;
                            }
                            return Err(error);
                        }
                        return Ok(refused(&job.drafts, faults));
                    }
                    Err(error) if error.constraint(ConstraintKind::ForeignKey).is_some() => {
                        let fault = Fault::new(
                            Code::Restricted,
                            Vec::<String>::new(),
                            "another object still points to this one, or the one linked to has just gone",
                        )
                        .remedy("read it again and decide anew");
                        return Ok(job.drafts.iter().map(|_| Err(fault.clone().into())).collect());
                    }
                    Err(StoreError::Database(message)) if self.is_stale(&job.registry).await? => {
                        tracing::debug!(message, "a statement met a klass that changed meanwhile");
                        return Err(StoreError::Stale);
                    }
                    Err(error) => return Err(error),
                }
            }
        })
    }

    async fn is_stale(&self, registry: &Registry) -> Result<bool, StoreError> {
        let rows = self
            .rows("select klass_version from org where id = $1", vec![registry.org.0.into()])
            .await?;
        let version: Option<i64> = rows.first().and_then(|row| row.try_get_by_index(0).ok());
        Ok(version.is_some_and(|version| version.unsigned_abs() != registry.version))
    }

    /// The objects that the filters of `UpdateAll` and `DeleteAll` find, to be looked at again under lock.
    async fn matched(&self, registry: &Registry, drafts: &[Draft]) -> Result<Vec<Result<Vec<Uuid>, Fault>>, StoreError> {
        let mut all = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let (klass, filter, at_most) = match draft {
                Draft::UpdateAll {
                    klass, filter, at_most, ..
                }
                | Draft::DeleteAll { klass, filter, at_most } => (klass, filter, *at_most),
                _ => {
                    all.push(Ok(vec![]));
                    continue;
                }
            };
            let id = klass
                .property("id")
                .ok_or_else(|| StoreError::Corrupt(format!("klass {} has no id", klass.name)))?;
            let read = Read::Page(Page {
                klass: klass.clone(),
                filter: Some(filter.clone()),
                deleted: false,
                rows: Some(Rows {
                    order: vec![],
                    window: Window {
                        limit: Operand::Const(Value::Integer(i64::from(at_most))),
                        backward: false,
                        after: None,
                        before: None,
                    },
                    outputs: vec![Output::Value(id.clone())],
                }),
                total: false,
                aggregates: vec![],
                groups: vec![],
            });
            let statement = super::sql::compile(self.dialect(), registry, &read);
            let bytes = match self.read(registry.org, &statement, &[]).await {
                Err(StoreError::Database(_)) if self.is_stale(registry).await? => return Err(StoreError::Stale),
                answer => answer?,
            };
            let answer: Json = serde_json::from_slice(&bytes).map_err(|e| StoreError::Corrupt(e.to_string()))?;
            let ids: Vec<Uuid> = answer[0]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|row| Uuid::parse_str(row[0].as_str()?).ok())
                .collect();
            all.push(if ids.len() > at_most as usize {
                Err(Fault::new(Code::TooMany, ["atMost"], format!("more than {at_most} objects match"))
                    .remedy("narrow the filter, or raise atMost if all of them are meant"))
            } else {
                Ok(ids)
            });
        }
        Ok(all)
    }
}

/// The results of drafts of which some have faults and all are undone.
fn refused(drafts: &[Draft], mut faults: HashMap<usize, Vec<Fault>>) -> Results {
    (0..drafts.len())
        .map(|i| {
            Err(match faults.remove(&i) {
                Some(faults) if !faults.is_empty() => Faults(faults),
                _ => Fault::new(
                    Code::Conflict,
                    Vec::<String>::new(),
                    "this was not written because others of the same request have faults",
                )
                .remedy("mend those, and send all again")
                .into(),
            })
        })
        .collect()
}

/// One run of the transaction.
async fn transaction(tx: &Tx, job: Arc<Job>) -> Result<Outcomes, StoreError> {
    if tx.dialect() == Dialect::Postgres {
        // Klasses do not change while anyone writes; many write at once. (SQLite has one writer.)
        tx.batch(&format!("select pg_advisory_xact_lock_shared({})", org_lock(job.org)))
            .await?;
    }
    if let Some(idempotency) = &job.options.idempotency {
        match idempotency::claim(tx, &job.actor, idempotency).await? {
            idempotency::Claim::Ours => {}
            idempotency::Claim::Done(results) => {
                return Ok(Outcomes {
                    results,
                    ..Outcomes::default()
                });
            }
            idempotency::Claim::Other => {
                let fault = Fault::new(
                    Code::IdempotencyMismatch,
                    ["idempotencyKey"],
                    "this idempotency key came with other input before",
                )
                .remedy("use a new key for a new request");
                return Ok(Outcomes {
                    results: job.drafts.iter().map(|_| Err(fault.clone().into())).collect(),
                    ..Outcomes::default()
                });
            }
        }
    }
    let all: Vec<usize> = (0..job.drafts.len()).collect();
    let outcomes = if job.options.atomic || job.drafts.len() == 1 {
        let (faults, done) = one_unit(tx, &job, &all).await?;
        if !faults.is_empty() {
            return Err(undo(
                &job,
                Outcomes {
                    results: refused(&job.drafts, faults),
                    ..Outcomes::default()
                },
            ));
        }
        done
    } else {
        items::item_by_item(tx, &job, all).await?
    };
    if job.options.dry_run {
        return Err(undo(&job, outcomes));
    }
    if let Some(idempotency) = &job.options.idempotency {
        idempotency::keep(tx, &job.actor, idempotency, &outcomes.results).await?;
    }
    Ok(outcomes)
}

/// The error that rolls back, after leaving what the caller is to answer.
fn undo(job: &Job, outcomes: Outcomes) -> StoreError {
    *job.undone.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = outcomes;
    StoreError::Faults(Faults(vec![]))
}

/// [`StoreError::Stale`] if the registry is not of this version and one of these klasses changed since.
async fn stale(tx: &Tx, job: &Job, version: i64, klasses: &HashSet<String>) -> Result<(), StoreError> {
    let known = i64::try_from(job.registry.version).unwrap_or(i64::MAX);
    if version == known {
        return Ok(());
    }
    let rows = tx
        .query(
            "select name from klass_definition where org_id = $1 and version > $2",
            vec![job.org.0.into(), known.into()],
        )
        .await?;
    for row in &rows {
        let name: String = row.try_get_by_index(0).map_err(unit::broken)?;
        if klasses.contains(&name) {
            return Err(StoreError::Stale);
        }
    }
    Ok(())
}

/// Some drafts as one unit: all faults, or all of it written.
async fn one_unit(tx: &Tx, job: &Arc<Job>, items: &[usize]) -> Result<(HashMap<usize, Vec<Fault>>, Outcomes), StoreError> {
    let mut unit = Unit {
        tx,
        dialect: tx.dialect(),
        registry: &job.registry,
        org: job.org,
        author: job.author.clone(),
        now: Utc::now().trunc_subsecs(6),
        imported: job.options.imported,
        cause: job.options.cause,
        rows: Default::default(),
        found: HashMap::new(),
        links: Vec::new(),
        faults: HashMap::new(),
        draft: 0,
        consequence: None,
        removed: Vec::new(),
        klasses: Default::default(),
    };
    let mut wants = Vec::new();
    for &item in items {
        apply::wants(&job.drafts[item], &mut wants);
    }
    unit.load(wants).await?;
    let mut roots: Vec<Vec<Uuid>> = Vec::with_capacity(items.len());
    for &item in items {
        unit.draft = item;
        let matched = match &job.matched[item] {
            Ok(ids) => unit.still_matched(&job.drafts[item], ids).await?,
            Err(fault) => {
                unit.fault(fault.clone());
                vec![]
            }
        };
        roots.push(unit.apply(&job.drafts[item], &matched).await?);
    }
    unit.fill().await?;
    unit.apply_rules().await?;
    unit.check_required();
    if !unit.faults.is_empty() {
        return Ok((unit.faults, Outcomes::default()));
    }
    unit.settle();
    let recount = unit.derive().await?;
    if let Err(error) = unit.flush().await {
        if error.constraint(ConstraintKind::Unique).is_some() {
            // Which value it was, and who holds it, is asked once this is undone.
            job.undone.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).tried = duplicate::tried(&unit);
        }
        return Err(error);
    }
    timeline::write(&unit).await?;
    if !recount.is_empty() {
        let written = unit.rows.values().map(|row| (row.id, row.after.clone())).collect();
        unit.recount(&recount).await?;
        unit.flush_recounted(written).await?;
    }
    let told = unit.events();
    let appended = event::append(tx, job.org, unit.now, &told.events).await?;
    if let Some(version) = appended.klass_version {
        stale(tx, job, version, &unit.klasses).await?;
    }
    let mut klasses: Vec<String> = Vec::new();
    for event in &told.events {
        if !klasses.contains(&event.klass) {
            klasses.push(event.klass.clone());
        }
    }
    let results = items
        .iter()
        .zip(&roots)
        .map(|(item, ids)| Ok(told::written(job, &unit, *item, ids, &appended, &told)))
        .collect();
    let hint = (!told.events.is_empty()).then(|| Hint {
        org: job.org,
        streams: appended.heads.clone(),
        klasses,
        xid: appended.feed.map_or(0, |feed| feed.own.xid),
    });
    Ok((
        HashMap::new(),
        Outcomes {
            results,
            hint,
            tried: vec![],
        },
    ))
}

impl Unit<'_> {
    /// Of the objects that a filter found, those that it still finds now that they are held. (Conditions on related objects are not
    /// asked again: they held when the filter was run.)
    async fn still_matched(&mut self, draft: &Draft, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let (klass, filter, lock) = match draft {
            Draft::UpdateAll { klass, filter, .. } => (klass, filter, Lock::Change),
            Draft::DeleteAll { klass, filter, .. } => (klass, filter, Lock::Remove),
            _ => return Ok(vec![]),
        };
        self.load_ids(klass, ids, lock).await?;
        let matches = |row: &Row| row.is_live() && filter_memory::matches(filter, &row.layout.to_json(&row.after), &[]) != Some(false);
        Ok(ids.iter().copied().filter(|id| self.rows.get(id).is_some_and(matches)).collect())
    }
}

#[cfg(test)]
mod tests;
