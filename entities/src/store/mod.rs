//! What there is: the store of all orgs, on SQLite or Postgres.
//!
//! Reading order: [`config`], [`tx`] (one transaction; the only way to write), [`org`], [`klasses`] (an org's registry and its
//! changes), `ddl` (from definitions to tables).
//!
//! What others wait for is boxed (`BoxFuture`) rather than `async fn`: the code of an `async fn` is made anew in every unit of every
//! crate that waits for it, which was more than half of the binary and of the time to build it.
//!
//! What must never be: a statement on a shared table that does not name `org_id`; SQL text that holds a value of someone's
//! input; a write outside [`Store::transact`].

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use klio_migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection};

pub mod config;
pub mod cursor;
pub mod ddl;
pub mod ddl_steps;
pub mod doctor;
pub mod driver;
pub mod error;
pub mod event;
pub mod explain;
pub mod klasses;
pub mod listener;
pub mod org;
mod read;
mod silence;
pub mod sql;
pub mod timeline;
pub mod token;
pub mod tx;
pub mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use config::{Dialect, StoreConfig};
pub use cursor::Cursor;
pub use error::{Constraint, ConstraintKind, StoreError};
pub use event::{Event, EventOp, Events, Hint, Resync, Source};
pub use tx::Tx;
pub use write::{Idempotency, Results, WriteOptions};

/// The store. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Shared>);

/// What all clones of a [`Store`] share.
pub(crate) struct Shared {
    pub(crate) config: StoreConfig,
    pub(crate) dialect: Dialect,
    /// The plain pool; see [`silence`].
    connection: ArcSwap<DatabaseConnection>,
    /// SQLite: the queue of the one writer. Postgres writes over `connection`.
    pub(crate) writer: Option<tx::Writer>,
    /// Who runs planned reads.
    readers: read::Readers,
    pub(crate) registries: klasses::Registries,
    pub(crate) hands: klasses::hand::Hands,
    #[cfg(test)]
    pub(crate) points: klasses::point::Points,
    pub(crate) log: event::Log,
    pub(crate) lanes: write::together::Lanes,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password, so it is not shown.
        f.debug_struct("Store").field("dialect", &self.0.dialect).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects. Makes a SQLite file that is not there; runs no migration.
    pub fn open<'a>(config: &'a StoreConfig) -> BoxFuture<'a, Result<Store, StoreError>> {
        Box::pin(async move {
            let dialect = config.dialect()?;
            let (connection, writer, readers) = match dialect {
                Dialect::Postgres => (
                    driver::pool::postgres(config).await?,
                    None,
                    read::Readers::Postgres(Box::new(driver::postgres::Readers::new(config)?)),
                ),
                Dialect::Sqlite => {
                    driver::sqlite_settings::prepare();
                    // The writer's connection comes first: it makes the file and sets WAL, which the others then find.
                    let deadline = tx::Deadline::none();
                    let writer = driver::pool::sqlite(config, 1, Some(deadline.clone())).await?;
                    let connection = driver::pool::sqlite(config, config.max_connections.max(1), None).await?;
                    let path = std::path::Path::new(config.sqlite_path().unwrap_or_default());
                    let readers = driver::sqlite::Readers::open(path, config.readers, config.statement_timeout)?;
                    (
                        connection,
                        Some(tx::Writer::start(writer, deadline, config.statement_timeout)),
                        read::Readers::Sqlite(readers),
                    )
                }
            };
            Ok(Store(Arc::new(Shared {
                config: config.clone(),
                dialect,
                connection: ArcSwap::from_pointee(connection),
                writer,
                readers,
                registries: klasses::Registries::default(),
                hands: klasses::hand::Hands::default(),
                #[cfg(test)]
                points: klasses::point::Points::default(),
                log: event::Log::default(),
                lanes: write::together::Lanes::default(),
            })))
        })
    }

    /// SQLite: brings what was committed from the log beside the file into the file, so that the file is whole by itself. At the end, when
    /// nobody reads any more (else some of it stays where it was, which does no harm).
    ///
    /// # Errors
    /// What the database says.
    pub fn fold<'a>(&'a self) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if self.0.dialect == Dialect::Sqlite {
                self.rows("pragma wal_checkpoint(truncate)", Vec::new()).await?;
            }
            Ok(())
        })
    }

    /// Brings the tables up to date; answers the names of the steps that were run. Safe when several nodes start at once.
    pub fn migrate<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            // One node at a time: a lock of the session, on a connection of its own, gone with it.
            let lock = match self.0.dialect {
                Dialect::Postgres => Some(driver::pool::session_lock(&self.0.config, MIGRATION_LOCK).await?),
                Dialect::Sqlite => None,
            };
            let pending = self.pending_migrations().await?;
            if !pending.is_empty() {
                // Without the time limit of requests: a step may build an index on much data.
                let unhurried = match self.0.dialect {
                    Dialect::Postgres => driver::pool::postgres_unhurried(&self.0.config).await?,
                    Dialect::Sqlite => self.connection(),
                };
                Migrator::up(&unhurried, None).await?;
            }
            if let Some(lock) = lock {
                lock.release().await;
            }
            Ok(pending)
        })
    }

    /// The names of the steps that [`Store::migrate`] would run.
    pub fn pending_migrations<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let pending = Migrator::get_pending_migrations(&self.connection()).await?;
            Ok(pending.iter().map(|m| m.name().to_string()).collect())
        })
    }

    /// Whether the database answers.
    pub fn ping<'a>(&'a self) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.connection().execute_unprepared("select 1").await?;
            Ok(())
        })
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    /// How many connections there are to the database for plain statements.
    pub fn pool(&self) -> Pool {
        let (open, idle) = match self.0.dialect {
            Dialect::Postgres => {
                let connection = self.connection();
                let pool = connection.get_postgres_connection_pool();
                (pool.size(), pool.num_idle())
            }
            Dialect::Sqlite => {
                let connection = self.connection();
                let pool = connection.get_sqlite_connection_pool();
                (pool.size(), pool.num_idle())
            }
        };
        Pool { open: open as usize, idle }
    }

    /// A plain connection pool, for reads of system tables through SeaORM's entities. Writes of one statement (a token) may go
    /// through it too; on SQLite they wait for the writer, so what is written often belongs into [`Store::transact`].
    pub fn connection(&self) -> DatabaseConnection {
        DatabaseConnection::clone(&self.0.connection.load())
    }
}

/// Connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// All of them.
    pub open: usize,
    /// Those that do nothing just now.
    pub idle: usize,
}

/// Key of the advisory lock under which migrations run ("klio" and a number).
const MIGRATION_LOCK: i64 = 0x6b6c_696f_0000_0001;
