//! One transaction: the only way to write.
//!
//! ```ignore
//! let id = store
//!     .transact(move |tx| {
//!         let name = name.clone();
//!         Box::pin(async move {
//!             tx.execute("insert into t (id, name) values ($1, $2)", vec![id.into(), name.into()]).await?;
//!             Ok(id)
//!         })
//!     })
//!     .await?;
//! ```
//!
//! The work may be run **more than once** (after a deadlock, or when a group commit failed for another's reason), so it is an
//! `Fn`, keeps no state of its own, and does nothing outside the transaction. What must happen after the commit alone (hints)
//! is returned by it and done by the caller. It is `'static`: on SQLite it is handed to the writer's task, so it runs to its end
//! even when the caller goes away.
//!
//! | | Postgres | SQLite |
//! |---|---|---|
//! | is | a transaction, READ COMMITTED | a savepoint within a group of up to [`GROUP_JOBS`] jobs |
//! | commit | its own | one for the group: all answers wait for it |
//! | an error | rolls it back | rolls its savepoint back; the group goes on |
//! | gives up | `40001`, `40P01`: run again, up to [`ATTEMPTS`] times | the group's commit fails: each job runs again, alone |
//! | takes too long | the statement's time limit | the job's time limit: it holds up all others |
//!
//! `$1` and `?1` are both understood by SQLite; [`Dialect::param`] says which is usual.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, QueryResult, Statement, TransactionTrait, Value};
use tokio::sync::{mpsc, oneshot};

use super::silence::answered;
use super::{Dialect, Store, StoreError};

/// How many jobs commit together on SQLite, at most.
pub const GROUP_JOBS: usize = 100;
/// After how long a group takes no more jobs, if they keep coming.
pub const GROUP_TIME: Duration = Duration::from_millis(8);
/// From how many jobs on the next group waits a moment for stragglers: those who were answered are about to write again.
const BUSY: usize = 4;
/// How often a transaction is tried when the database gives it up.
pub const ATTEMPTS: u32 = 5;

/// What the work of a transaction returns.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// One open transaction.
#[derive(Debug)]
pub struct Tx {
    inner: Inner,
    /// How long an answer is waited for; `None`: as long as it takes.
    patience: Option<Duration>,
}

#[derive(Debug)]
enum Inner {
    Postgres(DatabaseTransaction),
    /// The writer's pool of one connection, within its open transaction.
    Sqlite(DatabaseConnection),
}

impl Tx {
    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self.inner {
            Inner::Postgres(_) => Dialect::Postgres,
            Inner::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs a statement; answers how many rows it touched.
    pub async fn execute(&self, sql: impl Into<String>, values: Vec<Value>) -> Result<u64, StoreError> {
        let result = match &self.inner {
            Inner::Postgres(tx) => {
                let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
                answered(self.patience, tx.execute_raw(statement)).await?
            }
            Inner::Sqlite(c) => {
                c.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values))
                    .await?
            }
        };
        Ok(result.rows_affected())
    }

    /// Runs a statement (also `insert … returning`); answers its rows: `row.try_get_by_index::<Uuid>(0)?`.
    pub async fn query(&self, sql: impl Into<String>, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        Ok(match &self.inner {
            Inner::Postgres(tx) => {
                let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
                answered(self.patience, tx.query_all_raw(statement)).await?
            }
            Inner::Sqlite(c) => {
                c.query_all_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values))
                    .await?
            }
        })
    }

    /// Runs a statement; answers its first row, if there is one.
    pub async fn query_one(&self, sql: impl Into<String>, values: Vec<Value>) -> Result<Option<QueryResult>, StoreError> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// Runs statements as they are, several in one text, unprepared: DDL.
    pub async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Postgres(tx) => answered(self.patience, tx.execute_unprepared(sql)).await?,
            Inner::Sqlite(c) => c.execute_unprepared(sql).await?,
        };
        Ok(())
    }

    /// Runs work in a savepoint: when it errs, what it did is undone and the transaction goes on. The way to give a bulk a
    /// result per item. (An error of [`StoreError::Contended`] or [`StoreError::Unavailable`] must be passed on: the whole
    /// transaction is lost then.)
    pub async fn savepoint<'a, T>(&'a self, work: impl FnOnce(&'a Tx) -> Work<'a, T>) -> Result<T, StoreError> {
        self.batch("savepoint item").await?;
        match work(self).await {
            Ok(value) => {
                self.batch("release savepoint item").await?;
                Ok(value)
            }
            Err(error) => {
                self.batch("rollback to savepoint item; release savepoint item").await?;
                Err(error)
            }
        }
    }
}

impl Store {
    /// Runs work in one transaction and commits it, or undoes all of it when it errs. See the head of this file.
    pub async fn transact<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Tx) -> Work<'a, T> + Send + Sync + 'static,
    {
        match &self.0.writer {
            Some(writer) => writer.submit(work, false).await,
            None => self.noticed(|connection| postgres(connection, Some(self.patience()), &work)).await,
        }
    }

    /// The same without a time limit on SQLite (on Postgres the work says `set local statement_timeout`): changes of tables.
    pub(crate) async fn transact_unhurried<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Tx) -> Work<'a, T> + Send + Sync + 'static,
    {
        match &self.0.writer {
            Some(writer) => writer.submit(work, true).await,
            None => postgres(self.connection(), None, &work).await,
        }
    }
}

async fn postgres<T, F>(connection: DatabaseConnection, patience: Option<Duration>, work: &F) -> Result<T, StoreError>
where
    T: Send,
    F: for<'a> Fn(&'a Tx) -> Work<'a, T> + Send + Sync,
{
    let mut attempt = 1;
    loop {
        let result = postgres_once(&connection, patience, work).await;
        match result {
            Err(StoreError::Contended(_)) if attempt < ATTEMPTS => {
                // Two that met should not meet again at once.
                let jitter = u64::from(uuid::Uuid::now_v7().as_bytes()[15]) % 8;
                tokio::time::sleep(Duration::from_millis(u64::from(attempt * attempt) + jitter)).await;
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn postgres_once<T, F>(connection: &DatabaseConnection, patience: Option<Duration>, work: &F) -> Result<T, StoreError>
where
    T: Send,
    F: for<'a> Fn(&'a Tx) -> Work<'a, T> + Send + Sync,
{
    let tx = Tx {
        inner: Inner::Postgres(answered(patience, connection.begin()).await?),
        patience,
    };
    let result = work(&tx).await;
    let Inner::Postgres(open) = tx.inner else {
        return Err(StoreError::Database("a transaction changed its database".into()));
    };
    match result {
        Ok(value) => {
            answered(patience, open.commit()).await?;
            Ok(value)
        }
        // Nothing more is said to who does not answer.
        Err(error) if error.is_silence() => Err(error),
        Err(error) => {
            // A rollback that fails leaves a broken connection, which the pool drops; the error that counts is the work's.
            let _ = answered(patience, open.rollback()).await;
            Err(error)
        }
    }
}

/// The queue of SQLite's one writer.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

/// Until when the writer's present job may run; the writer's connection asks for it as it goes (see `driver/pool.rs`).
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    base: Instant,
    /// Milliseconds since `base`; 0: no limit.
    at: Arc<AtomicU64>,
}

impl Deadline {
    pub(crate) fn none() -> Self {
        Self {
            base: Instant::now(),
            at: Arc::default(),
        }
    }

    pub(crate) fn has_passed(&self) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at != 0 && self.base.elapsed().as_millis() as u64 > at
    }

    fn set(&self, limit: Option<Duration>) {
        let at = limit.map_or(0, |limit| (self.base.elapsed() + limit).as_millis() as u64 + 1);
        self.at.store(at, Ordering::Relaxed);
    }
}

/// A job whose type of answer is forgotten.
trait Job: Send {
    /// Runs the work within an open savepoint and keeps its answer; `false`: roll back.
    fn run<'a>(&'a mut self, tx: &'a Tx, limit: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
    /// May take as long as it needs.
    fn is_unhurried(&self) -> bool;
    /// Ran into its time limit.
    fn was_late(&self) -> bool;
    /// Sends the answer, or the error that took its place.
    fn answer(self: Box<Self>, instead: Option<StoreError>);
}

struct Typed<T, F> {
    work: F,
    unhurried: bool,
    result: Option<Result<T, StoreError>>,
    to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Typed<T, F>
where
    T: Send + 'static,
    F: for<'a> Fn(&'a Tx) -> Work<'a, T> + Send + Sync + 'static,
{
    fn run<'a>(&'a mut self, tx: &'a Tx, limit: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            // A panic in one job must not end the writer of all. What it captured is dropped with it; the savepoint undoes its writes.
            let run = AssertUnwindSafe(async { (self.work)(tx).await }).catch_unwind();
            let outcome = if self.unhurried {
                run.await
            } else {
                // A statement that takes too long is broken off by the connection; this is for work that waits for anything else.
                tokio::time::timeout(limit + Duration::from_secs(1), run)
                    .await
                    .unwrap_or(Ok(Err(StoreError::Timeout)))
            };
            let result = outcome.unwrap_or_else(|_| Err(StoreError::Database("the work of a transaction panicked".into())));
            let keep = result.is_ok();
            self.result = Some(result);
            keep
        })
    }

    fn is_unhurried(&self) -> bool {
        self.unhurried
    }

    fn was_late(&self) -> bool {
        matches!(self.result, Some(Err(StoreError::Timeout)))
    }

    fn answer(self: Box<Self>, instead: Option<StoreError>) {
        let result = match (instead, self.result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Unavailable("the writer stopped before this was done".into())),
        };
        // The caller may have gone away; the write stands all the same.
        let _ = self.to.send(result);
    }
}

impl Writer {
    /// Starts the task. It ends when all senders are gone.
    pub(crate) fn start(connection: DatabaseConnection, deadline: Deadline, limit: Duration) -> Self {
        let (jobs, queue) = mpsc::channel(1024);
        let task = Task {
            tx: Tx {
                inner: Inner::Sqlite(connection),
                patience: None,
            },
            queue,
            deadline,
            limit,
            last: 0,
        };
        tokio::spawn(task.run());
        Self { jobs }
    }

    async fn submit<T, F>(&self, work: F, unhurried: bool) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a Tx) -> Work<'a, T> + Send + Sync + 'static,
    {
        let (to, answer) = oneshot::channel();
        let job = Box::new(Typed {
            work,
            unhurried,
            result: None,
            to,
        });
        let stopped = || StoreError::Unavailable("the writer has stopped".into());
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// The one who writes.
struct Task {
    tx: Tx,
    queue: mpsc::Receiver<Box<dyn Job>>,
    deadline: Deadline,
    /// How long a job may take.
    limit: Duration,
    /// How many jobs the last group had.
    last: usize,
}

impl Task {
    async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            self.group(first).await;
        }
    }

    /// Runs jobs as long as some wait, then commits them together and answers them all.
    async fn group(&mut self, first: Box<dyn Job>) {
        if let Err(error) = self.tx.batch("begin immediate").await {
            first.answer(Some(error));
            return;
        }
        let start = Instant::now();
        let mut done = Vec::new();
        let mut next = Some(first);
        let mut lost = None;
        while let Some(mut job) = next.take() {
            let outcome = self.savepoint(job.as_mut()).await;
            done.push(job);
            if let Err(error) = outcome {
                lost = Some(error);
                break;
            }
            if done.len() < GROUP_JOBS && start.elapsed() < GROUP_TIME {
                next = self.next(done.len()).await;
            }
        }
        self.last = done.len();
        if lost.is_none() {
            lost = self.tx.batch("commit").await.err();
        }
        let Some(error) = lost else {
            done.into_iter().for_each(|job| job.answer(None));
            return;
        };
        // The group is lost (no room, an error of the disk, a statement that was broken off). No one was answered yet, so each may run
        // again, alone; but not the one that was too slow.
        tracing::warn!(jobs = done.len(), %error, "a group commit failed; its jobs run again one by one");
        let _ = self.tx.batch("rollback").await;
        for mut job in done {
            if job.was_late() {
                job.answer(None);
                continue;
            }
            let failed = self.alone(job.as_mut()).await.err();
            if failed.is_some() {
                let _ = self.tx.batch("rollback").await;
            }
            let failed = if job.was_late() { None } else { failed };
            job.answer(failed);
        }
    }

    /// The next job of a group that has so many.
    async fn next(&mut self, so_far: usize) -> Option<Box<dyn Job>> {
        if let Ok(job) = self.queue.try_recv() {
            return Some(job);
        }
        tokio::task::yield_now().await;
        if self.last >= BUSY && so_far < self.last {
            return tokio::time::timeout(Duration::from_millis(1), self.queue.recv())
                .await
                .ok()
                .flatten();
        }
        self.queue.try_recv().ok()
    }

    /// Runs a job in a savepoint. An error means that the group's transaction is lost, not that the job's work erred.
    async fn savepoint(&self, job: &mut dyn Job) -> Result<(), StoreError> {
        self.tx.batch("savepoint job").await?;
        self.deadline.set((!job.is_unhurried()).then_some(self.limit));
        let keep = job.run(&self.tx, self.limit).await;
        self.deadline.set(None);
        if keep {
            self.tx.batch("release job").await
        } else {
            self.tx.batch("rollback to job; release job").await
        }
    }

    async fn alone(&self, job: &mut dyn Job) -> Result<(), StoreError> {
        self.tx.batch("begin immediate").await?;
        self.savepoint(job).await?;
        self.tx.batch("commit").await
    }
}
