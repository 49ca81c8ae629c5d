//! The hand that changes an org's tables: one at a time per org, in this process and among all nodes.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
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
    /// SQLite: a lock on a file beside the database, for there may be another process (`klio klass apply`). It goes with the process.
    _file: Option<File>,
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
        if self.0.dialect == Dialect::Postgres {
            let session = pool::session_lock(&self.0.config, org_lock(org) ^ CHANGE).await?;
            return Ok(Hand {
                org,
                session: Some(session),
                _file: None,
                _here: here,
            });
        }
        loop {
            if let Some(file) = self.lock_file(org)? {
                return Ok(Hand {
                    org,
                    session: None,
                    _file: Some(file),
                    _here: here,
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `None` when someone else is at it.
    pub(super) async fn try_hand(&self, org: OrgId) -> Result<Option<Hand>, StoreError> {
        let Ok(here) = self.here(org).try_lock_owned() else {
            return Ok(None);
        };
        let (session, file) = match self.0.dialect {
            Dialect::Postgres => (pool::try_session_lock(&self.0.config, org_lock(org) ^ CHANGE).await?, None),
            Dialect::Sqlite => (None, self.lock_file(org)?),
        };
        Ok((session.is_some() || file.is_some()).then_some(Hand {
            org,
            session,
            _file: file,
            _here: here,
        }))
    }

    /// SQLite: the lock among processes, if it is free.
    fn lock_file(&self, org: OrgId) -> Result<Option<File>, StoreError> {
        let path = format!(
            "{}-klasses-{}.lock",
            self.0.config.sqlite_path().unwrap_or_default(),
            org.0.simple()
        );
        let cannot = |e: std::io::Error| StoreError::Unavailable(format!("{path}: {e}"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(cannot(e)),
        }
    }

    /// Runs a step. Safe to run again.
    pub(crate) async fn step(&self, hand: &mut Hand, step: &Step) -> Result<(), StoreError> {
        tracing::debug!(org = %hand.org.0, step = step.describe(), "klass change");
        let all = step.sql(self.0.dialect);
        let Some(session) = &mut hand.session else {
            return self.on_sqlite(all).await;
        };
        // What needs no guard goes together: a table and its indexes are one transaction.
        let mut rest = all.as_slice();
        while let Some(first) = rest.first() {
            let plain = rest.iter().take_while(|s| s.unless.is_none() && !s.alone).count();
            if plain > 1 {
                let text: Vec<&str> = rest[..plain].iter().map(|s| s.text.as_str()).collect();
                let together = Sql {
                    text: text.join("; "),
                    unless: None,
                    alone: false,
                };
                on_postgres(session, &together).await?;
            } else {
                on_postgres(session, first).await?;
            }
            rest = &rest[plain.max(1)..];
        }
        Ok(())
    }

    async fn on_sqlite(&self, all: Vec<Sql>) -> Result<(), StoreError> {
        self.transact_unhurried(move |tx| {
            let all = all.clone();
            Box::pin(async move {
                for sql in all {
                    let done = match sql.unless {
                        Some(unless) => tx.query_one(unless, vec![]).await?.is_some(),
                        None => false,
                    };
                    if !done {
                        tx.batch(&sql.text).await?;
                    }
                }
                Ok(())
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
