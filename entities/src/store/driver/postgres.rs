//! Reads on Postgres, over the pool that SeaORM uses: one text column, no model between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::{AssertSqlSafe, Postgres, Row, ValueRef as _};

use crate::store::StoreError;

/// A read whose caller went away sooner than this is left to end by itself: that costs less than a new connection.
const PATIENCE: Duration = Duration::from_millis(50);

/// Runs a statement that answers with at most one row of one text; no row and null are `null`. The statement stays prepared on
/// its connection; how long it may take is a setting of the connection.
///
/// When the caller goes away meanwhile, the connection is closed; the server looks every second whether its client is still there
/// (`client_connection_check_interval`) and gives the statement up.
pub async fn read(pool: &PgPool, sql: Arc<str>, arguments: PgArguments) -> Result<Bytes, StoreError> {
    let mut lent = Lent {
        connection: pool.acquire().await?,
        since: Instant::now(),
        done: false,
    };
    // Safe: the text is our compiler's, with every value bound.
    let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(true);
    let row = query.fetch_optional(&mut *lent.connection).await;
    lent.done = true;
    let Some(row) = row? else { return Ok(Bytes::from_static(b"null")) };
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(Bytes::from_static(b"null"));
    }
    Ok(Bytes::copy_from_slice(
        value.as_bytes().map_err(|e| StoreError::Corrupt(e.to_string()))?,
    ))
}

/// A connection of the pool for the time of one read.
struct Lent {
    connection: PoolConnection<Postgres>,
    since: Instant,
    done: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.done && self.since.elapsed() > PATIENCE {
            self.connection.close_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Dialect;
    use crate::store::tests::each;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_goes_away_calls_the_read_off() {
        each(|fresh| async move {
            if fresh.store.dialect() != Dialect::Postgres {
                return;
            }
            let pool = fresh.store.connection().get_postgres_connection_pool();
            let sleep = read(pool, "select 'gone' || pg_sleep(8)".into(), PgArguments::default());
            assert!(tokio::time::timeout(Duration::from_millis(300), sleep).await.is_err());
            let running = "select count(*)::text from pg_stat_activity where datname = current_database() and query like '%pg_sleep(8)' and state = 'active'";
            let start = Instant::now();
            loop {
                let count = read(pool, running.into(), PgArguments::default()).await.unwrap();
                if &count[..] == b"0" {
                    break;
                }
                assert!(start.elapsed() < Duration::from_secs(6), "still running: {count:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_text_or_null() {
        each(|fresh| async move {
            if fresh.store.dialect() != Dialect::Postgres {
                return;
            }
            let pool = fresh.store.connection().get_postgres_connection_pool();
            for (sql, want) in [
                ("select 'x'", "x"),
                ("select null::text", "null"),
                ("select 'x' where false", "null"),
            ] {
                assert_eq!(read(pool, sql.into(), PgArguments::default()).await.unwrap(), want, "{sql}");
            }
            assert!(matches!(
                read(pool, "select nothing".into(), PgArguments::default()).await,
                Err(StoreError::Database(_))
            ));
        })
        .await;
    }
}
