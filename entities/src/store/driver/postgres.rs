//! Reads on Postgres: a few connections on which statements are pipelined (tokio-postgres), one text column each.
//!
//! A pool that lends a connection for each read waits for its answer before it sends the next; here the next statement is on the
//! server before the last one is answered, which is half as much again for small reads (docs/performance.md). A read takes the
//! first connection that is idle, and shares one only when none is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::TryStreamExt;
use quick_cache::sync::Cache;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Config, Statement};

use super::postgres_tls::{self, Tls};
use crate::store::silence::GRACE;
use crate::store::sql::bind::Bound;
use crate::store::{StoreConfig, StoreError};

/// A read whose caller went away may take this long to end by itself: that costs less than a new connection.
const PATIENCE: Duration = Duration::from_millis(50);
/// Statements that stay prepared on a connection.
const PREPARED: usize = 512;
/// Connections that read, when the settings say none.
const LANES: usize = 8;

/// The connections that read. Dropping it closes them.
pub struct Readers {
    config: Config,
    tls: Tls,
    lanes: Vec<Arc<Lane>>,
    /// How long an answer is waited for: longer than the server lets a statement take.
    patience: Duration,
}

/// A place for a connection, which is opened when it is needed, and anew when it broke.
#[derive(Default)]
struct Lane {
    open: ArcSwapOption<Open>,
    opening: tokio::sync::Mutex<()>,
    under_way: AtomicUsize,
}

/// An open connection.
struct Open {
    client: Client,
    prepared: Cache<Arc<str>, Statement>,
    under_way: AtomicUsize,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration may hold a password, so it is not shown.
        f.debug_struct("Readers").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

impl Readers {
    /// For so many connections (the default when `readers` is 0), none of which is opened yet.
    pub fn new(config: &StoreConfig) -> Result<Self, StoreError> {
        let (mut postgres, tls) = postgres_tls::settings(&config.url)?;
        // Everyone speaks UTC: timestamps in JSON come out as `…+00:00`. No machine code for plans: a page is over before it
        // would be made. Plans as the server finds them: after some runs a short read has one that serves all values (made anew each
        // time, it would take thrice as long), while a search for what begins with a text goes on to get one for its own, without which
        // it finds no index. A role's or database's own `plan_cache_mode` would break one or the other; see docs/performance.md.
        let options = format!(
            "{} -c TimeZone=UTC -c jit=off -c plan_cache_mode=auto -c default_transaction_read_only=on -c statement_timeout={}",
            postgres.get_options().unwrap_or_default(),
            config.statement_timeout.as_millis()
        );
        postgres
            .application_name("klio")
            .options(options)
            .connect_timeout(Duration::from_secs(10));
        let lanes = if config.readers == 0 { LANES } else { config.readers as usize };
        Ok(Self {
            config: postgres,
            tls,
            patience: config.statement_timeout + GRACE,
            lanes: std::iter::repeat_with(Arc::<Lane>::default).take(lanes).collect(),
        })
    }

    /// Runs a statement that answers with at most one row of one text; no row and null are `null`. The statement stays prepared on
    /// its connection.
    ///
    /// When the caller goes away meanwhile, the statement is called off on the server, unless others share its connection; then
    /// that connection takes no more, and closes when they are done.
    pub(crate) async fn read(&self, sql: &Arc<str>, parameters: &[Bound]) -> Result<Bytes, StoreError> {
        let (broke, answer) = self.try_read(sql, parameters).await;
        // A connection that was dead before we came (the server started anew) is no reason to fail.
        if broke { self.try_read(sql, parameters).await.1 } else { answer }
    }

    /// Whether the connection broke, and the answer.
    async fn try_read(&self, sql: &Arc<str>, parameters: &[Bound]) -> (bool, Result<Bytes, StoreError>) {
        let lane = self.lane();
        // Counted from now on, so that those who come while it is opened choose another.
        let _chosen = Chosen::of(lane);
        let mut lent = loop {
            let open = match self.open(lane).await {
                Ok(open) => open,
                Err(error) => return (false, Err(error)),
            };
            let mut lent = Lent::of(lane, open, &self.tls);
            if lane.has(&lent.open) {
                break lent;
            }
            // Taken out of use since it was looked up: someone may be calling off what runs on it.
            lent.done = true;
        };
        let answer = tokio::time::timeout(self.patience, lent.open.read(sql, parameters)).await;
        lent.done = true;
        let Ok(answer) = answer else {
            // Lost on its way, and all that comes behind it on this connection would be, too.
            lane.retire(&lent.open);
            return (false, Err(StoreError::silence()));
        };
        let answer = answer.map_err(|error| StoreError::from_postgres(&error));
        // A server that ends a session says so before the connection closes.
        let broke = lent.open.client.is_closed() || matches!(answer, Err(StoreError::Unavailable(_)));
        if broke {
            lane.retire(&lent.open);
        }
        (broke, answer)
    }

    /// The first idle connection, else the one that has the least to do.
    fn lane(&self) -> &Arc<Lane> {
        let mut least = (usize::MAX, 0);
        for (index, lane) in self.lanes.iter().enumerate() {
            let under_way = lane.under_way.load(Ordering::Relaxed);
            if under_way == 0 {
                return lane;
            }
            least = least.min((under_way, index));
        }
        // There is at least one: `new` makes them.
        &self.lanes[least.1]
    }

    async fn open(&self, lane: &Lane) -> Result<Arc<Open>, StoreError> {
        let usable = || lane.open.load_full().filter(|open| !open.client.is_closed());
        if let Some(open) = usable() {
            return Ok(open);
        }
        let _opening = lane.opening.lock().await;
        if let Some(open) = usable() {
            return Ok(open);
        }
        let (client, connection) = self
            .config
            .connect(self.tls.clone())
            .await
            .map_err(|error| StoreError::from_postgres(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to the database broke");
            }
        });
        // What is read for a node that died is given up within a second. Not every platform can look; there it ends with its time.
        let _ = client.batch_execute("set client_connection_check_interval = '1s'").await;
        let open = Arc::new(Open {
            client,
            prepared: Cache::new(PREPARED),
            under_way: AtomicUsize::new(0),
        });
        lane.open.store(Some(open.clone()));
        Ok(open)
    }
}

impl Open {
    async fn read(&self, sql: &Arc<str>, parameters: &[Bound]) -> Result<Bytes, tokio_postgres::Error> {
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement,
            None => {
                // The org comes first, also in a statement over an org's own tables, which has no use for it and so no type.
                let org: &[Type] = if parameters.is_empty() { &[] } else { &[Type::UUID] };
                let statement = self.client.prepare_typed(sql, org).await?;
                self.prepared.insert(sql.clone(), statement.clone());
                statement
            }
        };
        let rows = self.client.query_raw(&statement, parameters).await?;
        futures_util::pin_mut!(rows);
        let Some(row) = rows.try_next().await? else {
            return Ok(Bytes::from_static(b"null"));
        };
        let text: Option<Text> = row.try_get(0)?;
        Ok(text.map_or(Bytes::from_static(b"null"), |text| text.0))
    }
}

/// The bytes of a text.
struct Text(Bytes);

impl<'a> FromSql<'a> for Text {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Bytes::copy_from_slice(raw)))
    }

    fn accepts(ty: &Type) -> bool {
        // The text of JSON (a plan's) goes over the wire as it is.
        [Type::TEXT, Type::JSON].contains(ty)
    }
}

/// A lane that has something to do.
struct Chosen<'a>(&'a Lane);

impl<'a> Chosen<'a> {
    fn of(lane: &'a Lane) -> Self {
        lane.under_way.fetch_add(1, Ordering::Relaxed);
        Self(lane)
    }
}

impl Drop for Chosen<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    fn has(&self, open: &Arc<Open>) -> bool {
        self.open.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, open))
    }

    /// Takes a connection out of use: whoever comes from now on opens another.
    fn retire(&self, open: &Arc<Open>) {
        if self.has(open) {
            self.open.store(None);
        }
    }

    /// What was asked over a connection is of no use any more. When it does not end by itself soon, the connection takes no more, and
    /// the statement is called off unless others share it.
    async fn give_up(self: Arc<Self>, open: Arc<Open>, tls: Tls) {
        // Answered in turn, so behind the statement.
        if tokio::time::timeout(PATIENCE, open.client.simple_query("")).await.is_ok() {
            return;
        }
        self.retire(&open);
        // Whoever was counted before that is seen here, and whoever comes later sees that: a cancellation meets no one else's statement.
        if open.under_way.load(Ordering::SeqCst) == 0
            && let Err(error) = open.client.cancel_token().cancel_query(tls).await
        {
            // It ends by itself when its time has passed.
            tracing::debug!(%error, "a read could not be called off");
        }
    }
}

/// A connection for the time of one read.
struct Lent<'a> {
    lane: &'a Arc<Lane>,
    open: Arc<Open>,
    tls: &'a Tls,
    done: bool,
}

impl<'a> Lent<'a> {
    fn of(lane: &'a Arc<Lane>, open: Arc<Open>, tls: &'a Tls) -> Self {
        open.under_way.fetch_add(1, Ordering::SeqCst);
        Self {
            lane,
            open,
            tls,
            done: false,
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.open.under_way.fetch_sub(1, Ordering::SeqCst);
        if !self.done
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(self.lane.clone().give_up(self.open.clone(), self.tls.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::store::Dialect;
    use crate::store::tests::each;

    async fn ask(readers: &Readers, sql: &str) -> Result<String, StoreError> {
        let answer = readers.read(&sql.into(), &[]).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_goes_away_calls_the_read_off() {
        each(|fresh| async move {
            if fresh.store.dialect() != Dialect::Postgres {
                return;
            }
            let readers = Readers::new(&fresh.store.0.config).unwrap();
            let sleep = ask(&readers, "select 'gone' || pg_sleep(8)");
            assert!(tokio::time::timeout(Duration::from_millis(300), sleep).await.is_err());
            let running = "select count(*)::text from pg_stat_activity where datname = current_database() and query like '%pg_sleep(8)' and state = 'active'";
            let start = Instant::now();
            while ask(&readers, running).await.unwrap() != "0" {
                assert!(start.elapsed() < Duration::from_secs(6), "still running");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn those_who_share_a_connection_are_not_called_off() {
        each(|fresh| async move {
            if fresh.store.dialect() != Dialect::Postgres {
                return;
            }
            let config = StoreConfig {
                readers: 1,
                ..fresh.store.0.config.clone()
            };
            let readers = Readers::new(&config).unwrap();
            let long = ask(&readers, "select 'late' || pg_sleep(1)");
            let gone = tokio::time::timeout(Duration::from_millis(200), ask(&readers, "select 'gone' || pg_sleep(0.5)"));
            let (long, gone) = tokio::join!(long, gone);
            assert!(gone.is_err());
            assert_eq!(long.unwrap(), "late");
            assert_eq!(ask(&readers, "select 'on'").await.unwrap(), "on");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_that_died_is_opened_anew() {
        each(|fresh| async move {
            if fresh.store.dialect() != Dialect::Postgres {
                return;
            }
            let readers = Readers::new(&fresh.store.0.config).unwrap();
            assert_eq!(ask(&readers, "select 'x'").await.unwrap(), "x");
            fresh
                .store
                .rows(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
                    vec![],
                )
                .await
                .unwrap();
            assert_eq!(ask(&readers, "select 'y'").await.unwrap(), "y");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_text_or_null_and_nothing_is_written() {
        each(|fresh| async move {
            if fresh.store.dialect() != Dialect::Postgres {
                return;
            }
            let readers = Readers::new(&fresh.store.0.config).unwrap();
            for (sql, want) in [
                ("select 'x'", "x"),
                ("select null::text", "null"),
                ("select 'x' where false", "null"),
            ] {
                assert_eq!(ask(&readers, sql).await.unwrap(), want, "{sql}");
            }
            for wrong in ["select nothing", "create table t (a text)"] {
                assert!(matches!(ask(&readers, wrong).await, Err(StoreError::Database(_))), "{wrong}");
            }
        })
        .await;
    }
}
