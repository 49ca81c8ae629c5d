//! The hand that changes an org's tables: one at a time per org, in this process and among all nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use crate::klass::OrgId;
use crate::store::ddl_steps::{Sql, Step};
use crate::store::driver::pool::{self, SessionLock};
use crate::store::write::org_lock;
use crate::store::{Dialect, Store, StoreError};

/// Apart from the lock that writers share: a change holds this one from its beginning to its end.
const CHANGE: i64 = 0x6b6c_6173_7300_0000;
/// How often a step is tried that waits too long for a lock.
const TRIES: u32 = 60;

/// Who changes klasses in this process.
#[derive(Default)]
pub(crate) struct Hands(Mutex<HashMap<OrgId, Arc<tokio::sync::Mutex<()>>>>);

/// Held while an org's klasses are changed.
pub(crate) struct Hand {
    org: OrgId,
    /// Postgres: the lock's session is also the one that runs the steps: without time limit, outside a transaction.
    session: Option<SessionLock>,
    _here: OwnedMutexGuard<()>,
}

impl Hand {
    pub(crate) fn org(&self) -> OrgId {
        self.org
    }

    pub(crate) async fn release(self) {
        if let Some(session) = self.session {
            session.release().await;
        }
    }
}

impl Store {
    fn here(&self, org: OrgId) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.hands.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.entry(org).or_default().clone()
    }

    /// Waits until no one else changes the org's klasses.
    pub(crate) async fn hand(&self, org: OrgId) -> Result<Hand, StoreError> {
        let here = self.here(org).lock_owned().await;
        let session = match self.0.dialect {
            Dialect::Postgres => Some(pool::session_lock(&self.0.config, org_lock(org) ^ CHANGE).await?),
            Dialect::Sqlite => None,
        };
        Ok(Hand { org, session, _here: here })
    }

    /// `None` when someone else is at it.
    pub(super) async fn try_hand(&self, org: OrgId) -> Result<Option<Hand>, StoreError> {
        let Ok(here) = self.here(org).try_lock_owned() else {
            return Ok(None);
        };
        let session = match self.0.dialect {
            Dialect::Postgres => match pool::try_session_lock(&self.0.config, org_lock(org) ^ CHANGE).await? {
                Some(session) => Some(session),
                None => return Ok(None),
            },
            Dialect::Sqlite => None,
        };
        Ok(Some(Hand { org, session, _here: here }))
    }

    /// Runs a step. Safe to run again.
    pub(crate) async fn step(&self, hand: &mut Hand, step: &Step) -> Result<(), StoreError> {
        tracing::debug!(org = %hand.org.0, step = step.describe(), "klass change");
        for sql in step.sql(self.0.dialect) {
            match &mut hand.session {
                Some(session) => on_postgres(session, &sql).await?,
                None => self.on_sqlite(sql).await?,
            }
        }
        Ok(())
    }

    async fn on_sqlite(&self, sql: Sql) -> Result<(), StoreError> {
        self.transact(move |tx| {
            let sql = sql.clone();
            Box::pin(async move {
                if let Some(unless) = sql.unless
                    && tx.query_one(unless, vec![]).await?.is_some()
                {
                    return Ok(());
                }
                tx.batch(&sql.text).await
            })
        })
        .await
    }
}

/// Waits a little for each lock and often, rather than once and long: who waits for a table's lock makes all others wait behind it.
async fn on_postgres(session: &mut SessionLock, sql: &Sql) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        // The guard again each time: a build `concurrently` that gave up leaves an index that is not valid.
        if let Some(unless) = &sql.unless
            && session.answers(unless).await?
        {
            return Ok(());
        }
        let done = if sql.alone {
            session.run("set lock_timeout = '5s'").await?;
            session.run(&sql.text).await
        } else {
            let done = session
                .run(&format!("begin; set local lock_timeout = '400ms'; {}; commit", sql.text))
                .await;
            if done.is_err() {
                session.run("rollback").await?;
            }
            done
        };
        tries += 1;
        match done {
            Err(StoreError::Timeout | StoreError::Contended(_)) if tries < TRIES => {
                tokio::time::sleep(Duration::from_millis(u64::from(50 * tries.min(20)))).await;
            }
            other => return other,
        }
    }
}
