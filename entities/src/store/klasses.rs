//! An org's registry, and how its klasses change.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, TransactionTrait};
use serde_json::Value as Json;

use super::{Dialect, Store, StoreError, ddl, ddl_steps};

mod cell;
mod convert;
mod data;
mod fill;
pub(crate) mod hand;
pub(crate) mod point;
mod run;
mod work;

use crate::klass::change::{self, KlassChange};
use crate::klass::definition::Stored;
use crate::klass::diff::{Change, Class};
use crate::klass::fault::Code;
use crate::klass::{Actor, Fault, OrgId, Registry, resolve};
use hand::Hand;
pub use point::POINTS;

/// For how long a registry is taken as current without asking the database.
const TRUSTED: Duration = Duration::from_millis(250);

/// Registries by org.
#[derive(Default)]
pub(crate) struct Registries(RwLock<HashMap<OrgId, Cached>>);

struct Cached {
    registry: Arc<Registry>,
    checked: Instant,
}

/// How a change of klasses is to be made.
#[derive(Clone, Copy, Default)]
pub struct ChangeOptions<'a> {
    /// Only say what it would do.
    pub dry_run: bool,
    /// Do it although clients break or data is lost.
    pub force: bool,
    /// What else must hold of the registry that comes of it (names that collide in the schema).
    pub extra_check: Option<Check<'a>>,
}

/// A question to a registry, answered with what is wrong with it.
pub type Check<'a> = &'a (dyn Fn(&Registry) -> Vec<Fault> + Sync);

/// What became of a change of klasses.
#[derive(Clone, Debug)]
pub struct ChangeReport {
    /// The org's klasses from now on; with `dry_run`, as they would be.
    pub registry: Arc<Registry>,
    /// What differs from before, each judged.
    pub changes: Vec<Change>,
    /// Only with `dry_run`: why it would be refused.
    pub faults: Vec<Fault>,
    /// Whether it was done (also when there was nothing to do).
    pub applied: bool,
    /// Where in the log: right behind the change.
    pub cursor: Option<String>,
}

/// What the database holds of an org's klasses.
#[derive(Clone, Debug)]
pub(crate) struct Definitions {
    pub slug: String,
    pub version: i64,
    pub stored: Vec<Stored>,
}

impl Definitions {
    pub(crate) fn resolve(&self, org: OrgId) -> Result<Registry, StoreError> {
        resolve::resolve(org, &self.slug, self.version.unsigned_abs(), &self.stored)
            .map_err(|faults| StoreError::Corrupt(format!("the stored klasses of `{}` do not fit together: {faults}", self.slug)))
    }
}

impl Store {
    /// The org's klasses. From memory when it was current a moment (250 ms) ago; else its version is asked for, and it is read
    /// anew if that rose. A change made through this store shows at once; see also [`Store::fresh_registry`].
    /// Fault `NotFound` when there is no such org.
    pub fn registry<'a>(&'a self, org: OrgId) -> BoxFuture<'a, Result<Arc<Registry>, StoreError>> {
        Box::pin(async move {
            if let Some((registry, checked)) = self.0.registries.get(org)
                && checked.elapsed() < TRUSTED
            {
                return Ok(registry);
            }
            self.fresh_registry(org).await
        })
    }

    /// The newest version of the org's klasses that this store has read or made, from memory.
    pub fn known_version(&self, org: OrgId) -> Option<u64> {
        self.0.registries.get(org).map(|(registry, _)| registry.version)
    }

    /// The org's klasses as the database has them now: for a caller that got [`StoreError::Stale`], or heard of a change.
    pub fn fresh_registry<'a>(&'a self, org: OrgId) -> BoxFuture<'a, Result<Arc<Registry>, StoreError>> {
        Box::pin(async move {
            if let Some((registry, _)) = self.0.registries.get(org) {
                let asked = Instant::now();
                let rows = self
                    .select("select klass_version from org where id = $1", vec![org.0.into()])
                    .await?;
                let version: i64 = rows.first().ok_or_else(no_org)?.try_get_by_index(0).map_err(damaged)?;
                if version.unsigned_abs() == registry.version {
                    self.0.registries.put(registry.clone(), asked);
                    return Ok(registry);
                }
            }
            let asked = Instant::now();
            let registry = Arc::new(self.definitions(org).await?.resolve(org)?);
            self.0.registries.put(registry.clone(), asked);
            Ok(registry)
        })
    }

    /// Changes the org's klasses: all of `changes`, or none. When it returns, the next request sees the new klasses; see `run.rs` for how.
    ///
    /// Faults, all at once: of the definitions; `Breaking` for each breaking change unless forced; and for what the objects that exist do
    /// not comply with (a kind, a rule, required, unique), with how many they are and the first of them by id. Values that do not fit are
    /// never dropped, not even when forced. Defaults of newly required properties are filled in: each object that gets one gets a new
    /// version and an event.
    pub fn change_klasses<'a>(
        &'a self,
        actor: &'a Actor,
        changes: Vec<KlassChange>,
        options: ChangeOptions<'a>,
    ) -> BoxFuture<'a, Result<ChangeReport, StoreError>> {
        Box::pin(async move {
            if options.dry_run {
                let (change, report) = self.plan_change(actor, &changes, &options).await?;
                return Ok(ChangeReport {
                    faults: change.map_or(vec![], |(_, faults)| faults),
                    ..report
                });
            }
            let mut hand = self.hand(actor.org).await?;
            // What another left in the middle comes first: this change is planned on what comes of it.
            for line in self.resume_org(&mut hand).await? {
                tracing::info!("{line}");
            }
            let (change, mut report) = self.plan_change(actor, &changes, &options).await?;
            report.applied = true;
            let Some((change, faults)) = change else { return Ok(report) };
            data::gather(faults)?;
            // From here on it goes to its end, even when the caller goes away.
            let (store, change) = (self.clone(), Arc::new(change));
            report.registry = change.after.clone();
            let task = tokio::spawn(async move {
                let done = store.carry_out(&mut hand, change).await;
                hand.release().await;
                done
            });
            #[cfg(test)]
            self.0.points.keep(task.abort_handle());
            let ended = |e| {
                StoreError::Unavailable(format!(
                    "the klass change ended before its time ({e}); it is finished or undone at the next start"
                ))
            };
            report.cursor = task.await.map_err(ended)??;
            Ok(report)
        })
    }

    async fn carry_out(&self, hand: &mut Hand, change: Arc<run::Change>) -> Result<Option<String>, StoreError> {
        self.journal(&change).await?;
        let cursor = self.make(hand, change.clone()).await?;
        // The change is made; what is left may wait.
        if let Err(error) = self.settle_down(hand, change.id, &change.plan, self.0.config.klass_grace).await {
            tracing::warn!(change = %change.id, %error, "what a klass change left could not be dropped; the next start tries again");
        }
        Ok(cursor)
    }

    /// What would be done, with the faults that forbid it; `None` when there is nothing to do.
    async fn plan_change(
        &self,
        actor: &Actor,
        changes: &[KlassChange],
        options: &ChangeOptions<'_>,
    ) -> Result<(Option<(run::Change, Vec<Fault>)>, ChangeReport), StoreError> {
        let org = actor.org;
        let now = self.definitions(org).await?;
        let before = now.resolve(org)?;
        let planned = change::plan(&before, &now.slug, &now.stored, changes)?;
        if let Some(check) = options.extra_check {
            data::gather(check(&planned.registry))?;
        }
        let mut report = ChangeReport {
            registry: Arc::new(before.clone()),
            changes: planned.changes,
            faults: vec![],
            applied: false,
            cursor: None,
        };
        let stored: Vec<(i64, Stored)> = planned
            .stored
            .into_iter()
            .zip(0_i64..)
            .filter(|(s, _)| !now.stored.contains(s))
            .map(|(s, i)| (i, s))
            .collect();
        if stored.is_empty() {
            return Ok((None, report));
        }
        let after = Arc::new(planned.registry);
        let (old, new) = (ddl::tables(&before), ddl::tables(&after));
        let work = work::work(&before, &after, self.dialect());
        let mut faults: Vec<Fault> = Vec::new();
        if !options.force {
            faults.extend(report.changes.iter().filter(|c| c.class == Class::Breaking).map(|c| {
                let path = std::iter::once("klasses".to_owned()).chain(c.path.iter().cloned());
                Fault::new(Code::Breaking, path, c.message.clone()).remedy("Force the change if that is meant.")
            }));
        }
        for work in &work {
            faults.extend(work.check(self, org, &old).await?);
        }
        report.registry = after.clone();
        let change = run::Change {
            id: uuid::Uuid::now_v7(),
            org,
            before: Arc::new(before),
            after,
            plan: run::Plan {
                actor: actor.to_text(),
                started: chrono::Utc::now(),
                stored,
                steps: ddl_steps::steps(&old, &new),
            },
            work,
        };
        Ok((Some((change, faults)), report))
    }

    /// Definitions and version, of one moment.
    pub(crate) async fn definitions(&self, org: OrgId) -> Result<Definitions, StoreError> {
        let rows = self
            .select(
                "select o.slug, o.klass_version, d.body from org o left join klass_definition d on d.org_id = o.id where o.id = $1 order by d.position",
                vec![org.0.into()],
            )
            .await?;
        definitions_of(&rows)
    }

    /// The same without the time limit of requests.
    pub(crate) async fn select_unhurried(&self, sql: &str, values: Vec<sea_orm::Value>) -> Result<Vec<QueryResult>, StoreError> {
        if self.0.dialect == Dialect::Sqlite {
            return self.select(sql, values).await;
        }
        let tx = self.connection().begin().await?;
        tx.execute_unprepared("set local statement_timeout = 0").await?;
        let rows = tx
            .query_all_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values))
            .await?;
        tx.commit().await?;
        Ok(rows)
    }

    pub(crate) async fn select(&self, sql: &str, values: Vec<sea_orm::Value>) -> Result<Vec<QueryResult>, StoreError> {
        let backend = match self.0.dialect {
            Dialect::Postgres => DbBackend::Postgres,
            Dialect::Sqlite => DbBackend::Sqlite,
        };
        Ok(self
            .connection()
            .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
            .await?)
    }
}

fn definitions_of(rows: &[QueryResult]) -> Result<Definitions, StoreError> {
    let first = rows.first().ok_or_else(no_org)?;
    let mut out = Definitions {
        slug: first.try_get_by_index(0).map_err(damaged)?,
        version: first.try_get_by_index(1).map_err(damaged)?,
        stored: Vec::with_capacity(rows.len()),
    };
    for row in rows {
        if let Some(body) = row.try_get_by_index::<Option<Json>>(2).map_err(damaged)? {
            out.stored
                .push(serde_json::from_value(body).map_err(|e| StoreError::Corrupt(format!("a klass definition of `{}`: {e}", out.slug)))?);
        }
    }
    Ok(out)
}

fn no_org() -> StoreError {
    Fault::new(Code::NotFound, Vec::<String>::new(), "There is no such org.").into()
}

fn damaged(error: sea_orm::DbErr) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

impl Registries {
    fn get(&self, org: OrgId) -> Option<(Arc<Registry>, Instant)> {
        let all = self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.get(&org).map(|c| (c.registry.clone(), c.checked))
    }

    /// Keeps it, unless a newer one is kept already.
    pub(crate) fn put(&self, registry: Arc<Registry>, checked: Instant) {
        let mut all = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if all.get(&registry.org).is_some_and(|c| c.registry.version > registry.version) {
            return;
        }
        all.insert(registry.org, Cached { registry, checked });
    }
}
