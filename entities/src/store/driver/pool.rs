//! The pools of sqlx under SeaORM, set up as the store needs them.

use std::str::FromStr;
use std::time::Duration;

use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use crate::store::tx::Deadline;
use crate::store::{StoreConfig, StoreError};

/// A connection that was idle for so long is asked whether it is still there before it is used.
const IDLE: Duration = Duration::from_secs(10);
/// It has so long to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Opens a pool on Postgres, at once: a wrong URL shows here.
pub async fn postgres(config: &StoreConfig) -> Result<DatabaseConnection, StoreError> {
    let (pool, options) = postgres_pool(config)?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_with(options).await?))
}

/// A pool on Postgres that opens its connections when they are needed.
pub fn postgres_unopened(config: &StoreConfig) -> Result<DatabaseConnection, StoreError> {
    let (pool, options) = postgres_pool(config)?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(options)))
}

fn postgres_pool(config: &StoreConfig) -> Result<(PgPoolOptions, PgConnectOptions), StoreError> {
    let timeout = config.statement_timeout.as_millis().to_string();
    let options = postgres_options(config)?.options([
        ("statement_timeout", timeout.as_str()),
        ("idle_in_transaction_session_timeout", "60000"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections.max(2))
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(10))
        // A dead connection shows at its first statement; asking before each would double the round trips.
        .test_before_acquire(false)
        // One that was idle may have been dropped on its way, by a network that told no one: it is asked first, and not for long.
        .before_acquire(|connection, it| {
            Box::pin(async move {
                if it.idle_for < IDLE {
                    return Ok(true);
                }
                let answer = tokio::time::timeout(ANSWERS_WITHIN, connection.ping()).await;
                Ok(answer.is_ok_and(|answer| answer.is_ok()))
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                // A read whose connection was closed is given up within a second. Not every platform can look; there it ends with its time.
                let _ = sqlx::query("set client_connection_check_interval = '1s'").execute(connection).await;
                Ok(())
            })
        });
    Ok((pool, options))
}

/// Opens a small pool on Postgres whose statements may take as long as they need: migrations, building of indexes.
pub async fn postgres_unhurried(config: &StoreConfig) -> Result<DatabaseConnection, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(postgres_options(config)?)
        .await?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

fn postgres_options(config: &StoreConfig) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(&config.url).map_err(|e| StoreError::Unavailable(format!("the database's URL: {e}")))?;
    Ok(options
        .application_name("klio")
        .statement_cache_capacity(512)
        // Everyone speaks UTC: timestamps in JSON come out as `…+00:00`.
        // No machine code for plans: a page is over before it would be made.
        .options([("TimeZone", "UTC"), ("jit", "off")])
        .disable_statement_logging())
}

/// A Postgres advisory lock held by a session of its own; it is gone when the session is, however that ends.
#[derive(Debug)]
pub struct SessionLock(PgConnection);

impl SessionLock {
    /// Runs statements as they are, several in one text, outside a transaction unless they begin one.
    pub async fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut self.0).await?;
        Ok(())
    }

    /// Whether a query answers a row.
    pub async fn answers(&mut self, sql: &str) -> Result<bool, StoreError> {
        Ok(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_optional(&mut self.0)
            .await?
            .is_some())
    }

    /// Gives the lock back.
    pub async fn release(self) {
        // Closing is what releases; if that fails the server ends the session when it notices.
        let _ = self.0.close().await;
    }
}

/// Waits for an advisory lock.
pub async fn session_lock(config: &StoreConfig, key: i64) -> Result<SessionLock, StoreError> {
    let mut connection = PgConnection::connect_with(&postgres_options(config)?).await?;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(key)
        .execute(&mut connection)
        .await?;
    Ok(SessionLock(connection))
}

/// Takes an advisory lock if no one holds it.
pub async fn try_session_lock(config: &StoreConfig, key: i64) -> Result<Option<SessionLock>, StoreError> {
    let mut connection = PgConnection::connect_with(&postgres_options(config)?).await?;
    let (got,): (bool,) = sqlx::query_as("select pg_try_advisory_lock($1)")
        .bind(key)
        .fetch_one(&mut connection)
        .await?;
    Ok(got.then_some(SessionLock(connection)))
}

/// Opens a pool of so many connections on the SQLite file, which is made when it is not there.
/// With a deadline, their statements are broken off ([`StoreError::Timeout`]) when it has passed.
pub(crate) async fn sqlite(config: &StoreConfig, connections: u32, deadline: Option<Deadline>) -> Result<DatabaseConnection, StoreError> {
    let path = config.sqlite_path().unwrap_or_default();
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL loses acknowledged writes when power fails.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(512)
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-32768")
        // Pages that are written again and again go into the file once in a while: at 1000, as it is by default, a sixth of the time to
        // write went there.
        .pragma("wal_autocheckpoint", "4000")
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let deadline = deadline.clone();
            Box::pin(async move {
                if let Some(deadline) = deadline {
                    // Every so many instructions, a millisecond or so.
                    connection
                        .lock_handle()
                        .await?
                        .set_progress_handler(20_000, move || !deadline.has_passed());
                }
                equip(connection).await
            })
        })
        .connect_with(options)
        .await?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// Gives a connection of sqlx the SQL functions that our statements (and indexes) use, and plans that stay.
async fn equip(connection: &mut sqlx::SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let raw = handle.as_raw_handle().as_ptr();
    // SAFETY: `raw` is an open database handle for as long as `handle` lives, and `handle` holds sqlx's lock on it, so no
    // other thread uses it meanwhile. `from_handle` makes a `Connection` that does not own the handle: dropping it, at the
    // end of this function and before `handle`, closes nothing. The pointer types agree because both crates link the one
    // `libsqlite3-sys` of this build (`links = "sqlite3"` allows no second). The functions live on in the handle, which
    // owns them until sqlx closes it.
    let borrowed = unsafe { rusqlite::Connection::from_handle(raw) }.map_err(|e| sqlx::Error::Configuration(Box::new(e)))?;
    super::sqlite_settings::keep_plans(&borrowed)
        .and_then(|()| super::sqlite_functions::register(&borrowed))
        .map_err(|e| sqlx::Error::Configuration(Box::new(e)))
}
