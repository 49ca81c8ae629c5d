//! Which log it is. A log that lost what it had acknowledged is another one, and cursors of the one before get RESYNC.
//!
//! On Postgres that shows: a cluster that was failed over or recovered has another timeline, a database that was made anew from a dump
//! has other object ids. On SQLite a backup that is put back looks as it did then, so a **witness** stands beside the file: a line that
//! says how far which log had come. A log that has come less far was put back.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::get;
use crate::klass::OrgId;
use crate::store::cursor::{Cursor, NotACursor};
use crate::store::{Dialect, Store, StoreError};

/// Which log it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// Changes when acknowledged events may be gone.
    pub epoch: u64,
    secret: Vec<u8>,
}

impl Identity {
    /// A cursor's text for clients.
    pub fn encode(&self, org: OrgId, cursor: &Cursor) -> String {
        cursor.encode(org, &self.secret)
    }

    /// The cursor in a client's text.
    pub fn decode(&self, org: OrgId, text: &str) -> Result<Cursor, NotACursor> {
        Cursor::decode(text, org, &self.secret)
    }
}

/// How far which log had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Witness {
    epoch: Uuid,
    /// The highest position that was given to an event.
    position: i64,
}

impl Witness {
    fn read(text: &str) -> Option<Self> {
        let (epoch, position) = text.trim().split_once(' ')?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            position: position.parse().ok()?,
        })
    }

    /// Whether a log is the one that this one tells of, and lacks nothing of it.
    fn knows(&self, log: &Witness) -> bool {
        self.epoch == log.epoch && self.position <= log.position
    }
}

impl Store {
    /// Which log it is; read once and kept. See [`Store::refresh_identity`].
    pub fn identity<'a>(&'a self) -> BoxFuture<'a, Result<Arc<Identity>, StoreError>> {
        Box::pin(async move {
            if let Some(identity) = self.0.log.identity.read().await.as_ref() {
                return Ok(identity.clone());
            }
            self.refresh_identity().await
        })
    }

    /// Reads anew which log it is: after a connection was lost the database may be another (failed over, restored).
    pub fn refresh_identity<'a>(&'a self) -> BoxFuture<'a, Result<Arc<Identity>, StoreError>> {
        Box::pin(async move {
            let _turn = self.0.log.refreshing.lock().await;
            let row = self.rows("select epoch, secret from log_epoch where id = 1", vec![]).await?;
            let row = row.first().ok_or_else(|| StoreError::Corrupt("log_epoch is empty".into()))?;
            let mut hash = Sha256::new();
            hash.update(get::<Uuid>(row, 0)?.as_bytes());
            if self.dialect() == Dialect::Postgres {
                // Another cluster, this one gone back in time, or a database or table made anew: another log, though the table says the same.
                let told = self
                    .rows(
                        "select s.system_identifier::text, c.timeline_id::text, d.oid::text, 'log_epoch'::regclass::oid::text \
                         from pg_control_system() s, pg_control_checkpoint() c, pg_database d where d.datname = current_database()",
                        vec![],
                    )
                    .await?;
                for row in &told {
                    for part in 0..4 {
                        hash.update(get::<String>(row, part)?.as_bytes());
                    }
                }
            }
            let digest = hash.finalize();
            let identity = Arc::new(Identity {
                epoch: digest[..8].iter().fold(0, |n, &b| (n << 8) | u64::from(b)),
                secret: get(row, 1)?,
            });
            let mut kept = self.0.log.identity.write().await;
            if let Some(known) = kept.as_ref()
                && *known == identity
            {
                return Ok(known.clone());
            }
            *kept = Some(identity.clone());
            Ok(identity)
        })
    }

    /// Makes this another log: all cursors get RESYNC. To be done when a backup was put back in a way that nothing shows.
    ///
    /// # Errors
    /// What the database says.
    pub fn renew_epoch<'a>(&'a self) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.transact(|tx| {
                Box::pin(async move {
                    tx.execute("update log_epoch set epoch = $1 where id = 1", vec![Uuid::new_v4().into()])
                        .await?;
                    Ok(())
                })
            })
            .await?;
            self.refresh_identity().await?;
            Ok(())
        })
    }

    /// SQLite: makes this another log if the witness beside the file knows more than the file does; whether it did. Before anyone is given
    /// a cursor.
    ///
    /// # Errors
    /// What the database says.
    pub fn hear_witness<'a>(&'a self) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let Some(path) = self.witness_path() else { return Ok(false) };
            // One that is not there (a new database, or one that was moved) or cannot be read knows nothing.
            let known = std::fs::read_to_string(path).ok().and_then(|text| Witness::read(&text));
            let restored = match known {
                Some(known) => !known.knows(&self.log_now().await?),
                None => false,
            };
            if restored {
                self.renew_epoch().await?;
            }
            self.tell_witness().await?;
            Ok(restored)
        })
    }

    /// SQLite: writes down how far the log has come. For a task that runs every second, and the end.
    ///
    /// # Errors
    /// What the database says; the file cannot be written.
    pub fn tell_witness<'a>(&'a self) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(path) = self.witness_path() else { return Ok(()) };
            let Witness { epoch, position } = self.log_now().await?;
            let text = format!("{epoch} {position}\n");
            if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
                return Ok(());
            }
            let new = path.with_extension("new");
            std::fs::write(&new, text)
                .and_then(|()| std::fs::rename(&new, &path))
                .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
        })
    }

    fn witness_path(&self) -> Option<PathBuf> {
        let path = self.0.config.sqlite_path().filter(|_| self.dialect() == Dialect::Sqlite)?;
        Some(PathBuf::from(format!("{path}-witness")))
    }

    async fn log_now(&self) -> Result<Witness, StoreError> {
        let sql = "select epoch, coalesce((select seq from sqlite_sequence where name = 'event'), 0) from log_epoch where id = 1";
        let rows = self.rows(sql, vec![]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Corrupt("log_epoch is empty".into()))?;
        Ok(Witness {
            epoch: get(row, 0)?,
            position: get(row, 1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_knows_a_log_that_lacks_nothing() {
        let epoch = Uuid::from_u128(7);
        let at = |position| Witness { epoch, position };
        let text = format!("{epoch} 12\n");
        assert_eq!(Witness::read(&text), Some(at(12)));
        for broken in ["", "12", "x 12", &format!("{epoch} "), &format!("{epoch} x")] {
            assert_eq!(Witness::read(broken), None, "{broken}");
        }
        assert!(at(12).knows(&at(12)));
        assert!(at(12).knows(&at(13)), "written by another program since");
        assert!(!at(12).knows(&at(11)), "put back");
        let other = Witness {
            epoch: Uuid::from_u128(8),
            position: 20,
        };
        assert!(!at(12).knows(&other), "put back from before it was renewed");
    }
}
