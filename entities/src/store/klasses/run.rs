//! A change under way: journaled before it begins, made step by step, switched in one transaction, cleaned up after a grace period;
//! finished or undone at the next start if the process ended in the middle.
//!
//! ```text
//! planned ─► running ─► switched ─► done
//!     └──────────┴─► undone
//! ```
//!
//! Every step may be run again, so the journal holds the whole plan and how far it is by these four words alone: what was running
//! is begun anew from its first step.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::data;
use super::hand::Hand;
use super::work::{Work, work};
use crate::klass::definition::Stored;
use crate::klass::fault::Code;
use crate::klass::{Fault, OrgId, Registry, resolve};
use crate::store::cursor::{Cursor, StreamPosition, stream_hash};
use crate::store::ddl::{self, TableSpec};
use crate::store::ddl_steps::{self, Step, Steps};
use crate::store::event::{self, Appended, EventOp, Hint, KLASS_STREAM, NewEvent};
use crate::store::write::org_lock;
use crate::store::{ConstraintKind, Dialect, Store, StoreError, Tx};
use crate::tables::klass_change;

/// What the journal keeps of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Who wants it, as stored in `created_by`.
    pub actor: String,
    /// When it was begun.
    pub started: DateTime<Utc>,
    /// The definitions that it brings, each with its place in the order.
    pub stored: Vec<(i64, Stored)>,
    /// The steps; those before the switch are only told, and made again from the definitions.
    pub steps: Steps,
}

/// A change, with all that it needs.
#[derive(Debug)]
pub(super) struct Change {
    pub id: Uuid,
    pub org: OrgId,
    pub before: Arc<Registry>,
    pub after: Arc<Registry>,
    pub plan: Plan,
    pub work: Vec<Work>,
}

/// Clocks of nodes differ: what was written so long before a change began counts as written since.
const MARGIN: chrono::Duration = chrono::Duration::minutes(10);

impl Store {
    /// Writes a change into the journal.
    pub(super) async fn journal(&self, change: &Change) -> Result<(), StoreError> {
        let plan = serde_json::to_string(&change.plan).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let (id, org, version) = (change.id, change.org.0, version(&change.after));
        self.transact(move |tx| {
            let plan = plan.clone();
            Box::pin(async move {
                let sql = format!(
                    "insert into klass_change (id, org_id, version, state, plan, created_at) values ($1, $2, $3, 'planned', {}, $5)",
                    json_param(tx.dialect(), 4)
                );
                tx.execute(sql, vec![id.into(), org.into(), version.into(), plan.into(), Utc::now().into()])
                    .await
            })
        })
        .await?;
        Ok(())
    }

    async fn mark(&self, id: Uuid, state: &'static str, error: Option<String>) -> Result<(), StoreError> {
        let finished = matches!(state, "done" | "undone").then(Utc::now);
        self.transact(move |tx| {
            let error = error.clone();
            Box::pin(async move {
                tx.execute(
                    "update klass_change set state = $2, error = $3, finished_at = $4 where id = $1",
                    vec![id.into(), state.into(), error.into(), finished.into()],
                )
                .await
            })
        })
        .await?;
        Ok(())
    }

    /// Makes a journaled change: everything up to and with the switch. When it cannot be made it is undone, and the error says why.
    pub(super) async fn make(&self, hand: &mut Hand, change: Arc<Change>) -> Result<Option<String>, StoreError> {
        match self.expand_and_switch(hand, &change).await {
            Ok(cursor) => Ok(cursor),
            // It stays in the journal, for the next start.
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            Err(error) => {
                if let Err(more) = self.undo(hand, &change, error.to_string()).await {
                    tracing::warn!(change = %change.id, error = %more, "a klass change could not be undone; the next start tries again");
                }
                Err(error)
            }
        }
    }

    async fn expand_and_switch(&self, hand: &mut Hand, change: &Arc<Change>) -> Result<Option<String>, StoreError> {
        self.point("planned").await;
        self.mark(change.id, "running", None).await?;
        self.point("running").await;
        for step in &change.plan.steps.expand {
            self.step(hand, step).await?;
            self.point("expand").await;
        }
        for work in &change.work {
            data::gather(work.run(self, change).await?)?;
            self.point("work").await;
        }
        for step in &change.plan.steps.indexes {
            match self.step(hand, step).await {
                Ok(()) => {}
                Err(error) if error.constraint(ConstraintKind::Unique).is_some() => {
                    let mut faults = Vec::new();
                    for work in &change.work {
                        faults.extend(work.duplicates(self).await?);
                    }
                    data::gather(faults)?;
                    let fault = Fault::new(
                        Code::Duplicate,
                        ["klasses"],
                        format!(
                            "Some objects or links share values that may be held once only: {} is not possible.",
                            step.describe()
                        ),
                    );
                    return Err(fault.remedy("Make those values differ first.").into());
                }
                Err(error) => return Err(error),
            }
            self.point("index").await;
        }
        self.point("switch").await;
        let run = change.clone();
        let identity = self.identity().await?;
        let appended = self
            .transact_unhurried(move |tx| {
                let run = run.clone();
                Box::pin(async move { switch(tx, &run).await })
            })
            .await?;
        self.0.registries.put(change.after.clone(), std::time::Instant::now());
        self.point("switched").await;
        self.hint(Hint {
            org: change.org,
            streams: appended.heads.clone(),
            klasses: change.plan.stored.iter().map(|(_, s)| s.written.name.clone()).collect(),
            xid: appended.feed.map_or(0, |feed| feed.own.xid),
        });
        let head = appended.heads.iter().find(|(stream, _)| stream == KLASS_STREAM);
        let cursor = Cursor {
            epoch: identity.epoch,
            stream: head.map(|(stream, seq)| StreamPosition {
                hash: stream_hash(stream),
                seq: *seq,
            }),
            feed: appended.feed,
            part: 0,
        };
        Ok(Some(identity.encode(change.org, &cursor)))
    }

    /// What comes after the switch: at once the indexes that went, and the rest when the grace period is over.
    pub(super) async fn settle_down(&self, hand: &mut Hand, id: Uuid, plan: &Plan, grace: Duration) -> Result<(), StoreError> {
        let org = hand.org();
        let wanted = ddl::tables(&*self.fresh_registry(org).await?);
        for step in plan.steps.after.iter().filter(|s| !is_wanted(s, &wanted)) {
            self.step(hand, step).await?;
            self.point("after").await;
        }
        if plan.steps.contract.is_empty() || grace.is_zero() {
            return self.contract(hand, id, plan).await;
        }
        let store = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let Some(shared) = store.upgrade() else { return };
            let store = Store(shared);
            if let Err(error) = store.contract_later(org, id).await {
                tracing::warn!(change = %id, %error, "what a klass change left could not be dropped; the next start tries again");
            }
        });
        Ok(())
    }

    async fn contract_later(&self, org: OrgId, id: Uuid) -> Result<(), StoreError> {
        let mut hand = self.hand(org).await?;
        let row = klass_change::Entity::find_by_id(id).one(&self.connection()).await?;
        if let Some(row) = row.filter(|r| r.state == "switched") {
            let plan = plan_of(&row)?;
            self.contract(&mut hand, id, &plan).await?;
        }
        hand.release().await;
        Ok(())
    }

    async fn contract(&self, hand: &mut Hand, id: Uuid, plan: &Plan) -> Result<(), StoreError> {
        // What a later change wants again stays.
        let wanted = ddl::tables(&*self.fresh_registry(hand.org()).await?);
        for step in plan.steps.contract.iter().filter(|s| !is_wanted(s, &wanted)) {
            self.step(hand, step).await?;
            self.point("contract").await;
        }
        self.point("contracted").await;
        self.mark(id, "done", None).await
    }

    /// Takes away what the steps made and the definitions of now do not want.
    async fn undo(&self, hand: &mut Hand, change: &Change, error: String) -> Result<(), StoreError> {
        let wanted = ddl::tables(&change.before);
        let back = ddl_steps::steps(&ddl::tables(&change.after), &wanted);
        for step in back.after.iter().chain(&back.contract).filter(|s| !is_wanted(s, &wanted)) {
            self.step(hand, step).await?;
            self.point("undo").await;
        }
        self.mark(change.id, "undone", Some(error)).await
    }

    /// Finishes or undoes what earlier processes left in the middle. To be called at each start, before requests are served; then
    /// now and then, for changes that others made and did not stay to clean up after. Changes that another node is making right
    /// now are left to it. Answers what was done, a line each.
    pub fn resume_changes<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let open = klass_change::Entity::find()
                .filter(klass_change::Column::State.is_in(["planned", "running", "switched"]))
                .order_by_asc(klass_change::Column::Version)
                .all(&self.connection())
                .await?;
            let mut told = Vec::new();
            let mut orgs: Vec<OrgId> = open.iter().map(|c| OrgId(c.org_id)).collect();
            orgs.dedup();
            orgs.sort_unstable();
            orgs.dedup();
            for org in orgs {
                let Some(mut hand) = self.try_hand(org).await? else { continue };
                told.extend(self.resume_org(&mut hand).await?);
                hand.release().await;
            }
            Ok(told)
        })
    }

    /// The same for one org, by one who holds its hand.
    pub(super) async fn resume_org(&self, hand: &mut Hand) -> Result<Vec<String>, StoreError> {
        let org = hand.org();
        let open = klass_change::Entity::find()
            .filter(klass_change::Column::OrgId.eq(org.0))
            .filter(klass_change::Column::State.is_in(["planned", "running", "switched"]))
            .order_by_asc(klass_change::Column::Version)
            .all(&self.connection())
            .await?;
        let mut told = Vec::new();
        for row in open {
            let plan = plan_of(&row)?;
            let what = match row.state.as_str() {
                "planned" => {
                    self.mark(row.id, "undone", Some("the process ended before it was begun".into()))
                        .await?;
                    "was not begun"
                }
                "running" => {
                    let change = Arc::new(self.change_of(org, &row, &plan).await?);
                    match self.make(hand, change).await {
                        Ok(_) => {
                            self.settle_down(hand, row.id, &plan, self.0.config.klass_grace).await?;
                            "was finished"
                        }
                        Err(error @ StoreError::Unavailable(_)) => return Err(error),
                        Err(error) => {
                            told.push(format!("klass change {} (version {}) was undone: {error}", row.id, row.version));
                            continue;
                        }
                    }
                }
                _ => {
                    let age = (Utc::now() - row.finished_at.unwrap_or(row.created_at))
                        .to_std()
                        .unwrap_or_default();
                    let left = self.0.config.klass_grace.saturating_sub(age);
                    self.settle_down(hand, row.id, &plan, left).await?;
                    if !left.is_zero() {
                        continue;
                    }
                    "was cleaned up after"
                }
            };
            told.push(format!("klass change {} (version {}) {what}", row.id, row.version));
        }
        Ok(told)
    }

    /// A change from its journal.
    async fn change_of(&self, org: OrgId, row: &klass_change::Model, plan: &Plan) -> Result<Change, StoreError> {
        let now = self.definitions(org).await?;
        let before = now.resolve(org)?;
        let mut stored = now.stored;
        for (_, it) in &plan.stored {
            match stored.iter_mut().find(|s| s.written.name == it.written.name) {
                Some(old) => *old = it.clone(),
                None => stored.push(it.clone()),
            }
        }
        let after = resolve::resolve(org, &now.slug, before.version + 1, &stored)?;
        let mut plan = plan.clone();
        plan.steps = ddl_steps::steps(&ddl::tables(&before), &ddl::tables(&after));
        Ok(Change {
            id: row.id,
            org,
            work: work(&before, &after, self.dialect()),
            before: Arc::new(before),
            after: Arc::new(after),
            plan,
        })
    }
}

/// The one moment of a change: no one writes, what was written meanwhile is caught up with, and the definitions of tomorrow are today's.
async fn switch(tx: &Tx, change: &Change) -> Result<Appended, StoreError> {
    let org = change.org;
    if tx.dialect() == Dialect::Postgres {
        tx.batch("set local lock_timeout = '20s'; set local statement_timeout = '10min'")
            .await?;
        tx.query("select pg_advisory_xact_lock($1)", vec![org_lock(org).into()]).await?;
    }
    let row = tx
        .query_one("select klass_version from org where id = $1", vec![org.0.into()])
        .await?;
    let now: Option<i64> = row.and_then(|r| r.try_get_by_index(0).ok());
    if now != Some(version(&change.before)) {
        return Err(StoreError::Stale);
    }
    let (mut faults, mut events) = (Vec::new(), Vec::new());
    for work in &change.work {
        faults.extend(work.catch_up(tx, change, change.plan.started - MARGIN, &mut events).await?);
    }
    data::gather(faults)?;
    for (position, stored) in &change.plan.stored {
        let body = serde_json::to_string(stored).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let sql = format!(
            "insert into klass_definition (org_id, name, body, position, version) values ($1, $2, {}, $4, $5) \
             on conflict (org_id, name) do update set body = excluded.body, version = excluded.version",
            json_param(tx.dialect(), 3)
        );
        let name = stored.written.name.clone();
        tx.execute(
            sql,
            vec![
                org.0.into(),
                name.into(),
                body.into(),
                (*position).into(),
                version(&change.after).into(),
            ],
        )
        .await?;
    }
    tx.execute(
        "update org set klass_version = $2 where id = $1",
        vec![org.0.into(), version(&change.after).into()],
    )
    .await?;
    tx.execute(
        "update klass_change set state = 'switched', finished_at = $2 where id = $1",
        vec![change.id.into(), Utc::now().into()],
    )
    .await?;
    log(tx, change, events).await
}

/// An event for each klass, in the stream `t:klass`, behind those of objects. Last before the commit: it takes the streams' counters.
async fn log(tx: &Tx, change: &Change, mut events: Vec<NewEvent>) -> Result<Appended, StoreError> {
    let image = |registry: &Registry| serde_json::json!({ "version": registry.version }).to_string();
    // A klass that the schema did not show is one that was not there, for those who listen.
    let was_there = |name: &str| change.before.klass(name).is_some_and(|klass| klass.enabled);
    events.extend(change.plan.stored.iter().map(|(_, stored)| NewEvent {
        stream: KLASS_STREAM.to_owned(),
        id: Uuid::now_v7(),
        klass: stored.written.name.clone(),
        object: None,
        op: EventOp::Klass,
        actor: change.plan.actor.clone(),
        cause: None,
        depth: 0,
        changed: vec![],
        before: was_there(&stored.written.name).then(|| image(&change.before)),
        after: Some(image(&change.after)),
    }));
    event::append(tx, change.org, Utc::now(), &events).await
}

/// Whether the step would drop what these tables need.
fn is_wanted(step: &Step, tables: &[TableSpec]) -> bool {
    let find = |name: &ddl::Name| tables.iter().find(|t| t.name == *name);
    match step {
        Step::DropTable { table } => find(table).is_some(),
        Step::DropColumn { table, column } => find(table).is_some_and(|t| t.columns.iter().any(|c| c.name == *column)),
        Step::DropIndex { table, index } => find(table).is_some_and(|t| t.indexes.iter().any(|i| i.name == *index)),
        Step::CreateTable { .. } | Step::AddColumn { .. } | Step::AddForeignKey { .. } | Step::CreateIndex { .. } => false,
    }
}

fn plan_of(row: &klass_change::Model) -> Result<Plan, StoreError> {
    serde_json::from_value(row.plan.clone()).map_err(|e| StoreError::Corrupt(format!("the journal of klass change {}: {e}", row.id)))
}

fn version(registry: &Registry) -> i64 {
    i64::try_from(registry.version).unwrap_or(i64::MAX)
}

/// A parameter that holds JSON text for a column that keeps the order of keys.
pub(super) fn json_param(dialect: Dialect, n: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("${n}::json"),
        Dialect::Sqlite => format!("${n}"),
    }
}
