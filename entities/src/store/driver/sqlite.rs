//! Reads on SQLite: threads of their own, a read-only connection each.
//!
//! sqlx sends every step of a statement to its thread and back; here a whole read is one message each way, and a short one none
//! (`sqlite_near`). A reader keeps its statements prepared. A read that takes too long, or whose caller is gone, is interrupted; one that still waits is never begun.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};
use tokio::sync::oneshot;

use super::sqlite_near::Near;
use super::{sqlite_functions, sqlite_settings};
use crate::store::StoreError;

/// The readers of one database. Dropping it ends their threads.
#[derive(Debug)]
pub struct Readers {
    shared: Arc<Shared>,
    near: Near,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    next: AtomicU64,
    /// What each thread is at.
    seats: Vec<Seat>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Debug)]
struct Job {
    id: u64,
    sql: Arc<str>,
    values: Vec<Value>,
    answer: oneshot::Sender<Result<Bytes, StoreError>>,
}

struct Seat {
    /// The job under way. Held while it is interrupted, so that the interrupt cannot meet the next one.
    job: Mutex<Option<u64>>,
    interrupt: InterruptHandle,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("job", &self.job).finish_non_exhaustive()
    }
}

/// A lock that was poisoned guards data that a panic cannot have left half changed: every critical section here is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    /// Opens so many readers (at least two, and as many as there are cores when `count` is 0) on a database that exists.
    pub fn open(path: &Path, count: u32, timeout: Duration) -> Result<Self, StoreError> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let count = if count == 0 { cores.max(2) } else { count as usize };
        let unavailable = |e: rusqlite::Error| StoreError::Unavailable(format!("the database file {}: {e}", path.display()));
        let mut connections = Vec::with_capacity(count);
        let mut seats = Vec::with_capacity(count);
        for _ in 0..count {
            let connection = open(path).map_err(unavailable)?;
            seats.push(Seat {
                job: Mutex::new(None),
                interrupt: connection.get_interrupt_handle(),
            });
            connections.push(connection);
        }
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            next: AtomicU64::new(1),
            seats,
        });
        for (seat, connection) in connections.into_iter().enumerate() {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("klio-reader-{}", seat + 1))
                .spawn(move || shared.read_on(seat, &connection))
                .map_err(|e| StoreError::Unavailable(format!("a thread for reading: {e}")))?;
        }
        let near = Near::open(path, cores).map_err(unavailable)?;
        Ok(Self { shared, near, timeout })
    }

    /// Runs a statement that answers with at most one row of one text; no row and null are `null`.
    pub async fn read(&self, sql: Arc<str>, values: Vec<Value>) -> Result<Bytes, StoreError> {
        if let Some(answer) = self.near.read(&sql, &values) {
            return answer;
        }
        let (answer, wait) = oneshot::channel();
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.queue).jobs.push_back(Job { id, sql, values, answer });
        self.shared.work.notify_one();
        // Whether time runs out or the caller goes away: this falls, and with it the read.
        let under_way = UnderWay {
            shared: &self.shared,
            id,
            done: false,
        };
        match tokio::time::timeout(self.timeout, wait).await {
            Ok(answer) => {
                under_way.done();
                answer.unwrap_or_else(|_| Err(StoreError::Unavailable("the reader ended".into())))
            }
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.work.notify_all();
    }
}

struct UnderWay<'a> {
    shared: &'a Shared,
    id: u64,
    done: bool,
}

impl UnderWay<'_> {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for seat in &self.shared.seats {
            let job = lock(&seat.job);
            if *job == Some(self.id) {
                seat.interrupt.interrupt();
            }
        }
        // One that still waits is passed over when its turn comes: nobody listens for its answer.
    }
}

impl Shared {
    fn read_on(&self, seat: usize, connection: &Connection) {
        while let Some(job) = self.next_job(seat) {
            if !job.answer.is_closed() {
                let answer = run(connection, &job.sql, &job.values).map_err(refused);
                *lock(&self.seats[seat].job) = None;
                // The caller may be gone meanwhile; then there is no one to tell.
                let _ = job.answer.send(answer);
            } else {
                *lock(&self.seats[seat].job) = None;
            }
        }
    }

    /// The next job, noted as this seat's before it can be answered.
    fn next_job(&self, seat: usize) -> Option<Job> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                *lock(&self.seats[seat].job) = Some(job.id);
                return Some(job);
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A connection that only reads.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(512);
    connection
        .execute_batch("pragma temp_store = memory; pragma cache_size = -16384; pragma mmap_size = 268435456; pragma query_only = on")?;
    sqlite_settings::keep_plans(&connection)?;
    sqlite_functions::register(&connection)?;
    Ok(connection)
}

/// Runs a statement that answers with at most one row of one text.
pub(super) fn run(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Bytes> {
    let mut statement = connection.prepare_cached(sql)?;
    // The org is the first parameter, also of a statement that names no shared table and so has no use for it.
    let used = statement.parameter_count();
    for (i, value) in values.iter().take(used).enumerate() {
        statement.raw_bind_parameter(i + 1, value)?;
    }
    let mut rows = statement.raw_query();
    let Some(row) = rows.next()? else {
        return Ok(Bytes::from_static(b"null"));
    };
    let text = row.get_ref(0)?.as_bytes_or_null()?;
    Ok(text.map_or(Bytes::from_static(b"null"), Bytes::copy_from_slice))
}

/// What an error of SQLite is to us.
pub(crate) fn refused(error: rusqlite::Error) -> StoreError {
    if let rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) = error {
        return StoreError::Corrupt(error.to_string());
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => StoreError::Timeout,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
            StoreError::Unavailable(error.to_string())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Database(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read that never ends by itself.
    const ENDLESS: &str = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n where i = ?1";

    fn readers(timeout: Duration) -> (tempfile::TempDir, Readers) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("klio.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("pragma journal_mode = wal; create table t (a text); insert into t values ('x'), (null)")
            .unwrap();
        let readers = Readers::open(&path, 1, timeout).unwrap();
        (dir, readers)
    }

    async fn read(readers: &Readers, sql: &str) -> Result<String, StoreError> {
        let bytes = readers.read(sql.into(), vec![Value::Integer(0)]).await?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn one_text_or_null() {
        let (_dir, readers) = readers(Duration::from_secs(5));
        assert_eq!(read(&readers, "select a from t where a is not null").await.unwrap(), "x");
        assert_eq!(read(&readers, "select a from t where a is null").await.unwrap(), "null");
        assert_eq!(read(&readers, "select a from t where a = 'none'").await.unwrap(), "null");
        assert!(matches!(read(&readers, "select nothing").await, Err(StoreError::Database(_))));
        assert!(
            matches!(read(&readers, "delete from t").await, Err(StoreError::Database(_))),
            "readers read only"
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_is_called_off_and_the_reader_goes_on() {
        let (_dir, readers) = readers(Duration::from_millis(100));
        let long = readers.read(ENDLESS.into(), vec![Value::Integer(0)]).await;
        assert!(matches!(long, Err(StoreError::Timeout)));
        // There is one reader: it answers only if it is free again.
        assert_eq!(read(&readers, "select a from t where a is not null").await.unwrap(), "x");
    }

    #[tokio::test]
    async fn who_goes_away_calls_the_read_off() {
        let (_dir, readers) = readers(Duration::from_secs(20));
        let gone = tokio::time::timeout(Duration::from_millis(100), readers.read(ENDLESS.into(), vec![Value::Integer(0)])).await;
        assert!(gone.is_err());
        let start = std::time::Instant::now();
        assert_eq!(read(&readers, "select a from t where a is not null").await.unwrap(), "x");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
