//! Short reads on SQLite, done by the one who asks.
//!
//! To hand a read to a thread and its answer back wakes two threads, which takes longer than to find one object by its key. So a read
//! begins on the asker's own thread, and is broken off once it has cost more than the way to a reader would: then a reader does it,
//! and the same statement goes to a reader at once for a while. What an asker may be held up by is so bounded, and it waits for no
//! lock: a connection that is in use, and a database that is busy, send it to the readers too.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quick_cache::sync::Cache;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode};

use super::sqlite;
use crate::store::StoreError;

/// Instructions of SQLite's machine between two looks at what a read has cost.
const STEP: i32 = 256;
/// After so many looks it is broken off: some 100 µs. (SQLite counts on from the statement's last run, so the first look may come early.)
const LOOKS: u32 = 5;
/// A statement that was broken off goes to the readers so many times before it is tried here again.
const REST: u32 = 500;
/// Statements that are remembered to be long.
const REMEMBERED: usize = 1_024;

/// Connections of those who ask.
pub(super) struct Near {
    places: Vec<Mutex<Place>>,
    /// Statements that take long, and how often they are still to go to the readers.
    long: Cache<Arc<str>, Arc<AtomicU32>>,
}

struct Place {
    connection: Connection,
    /// Looks at the read under way.
    looks: Arc<AtomicU32>,
}

impl std::fmt::Debug for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Near").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

impl Near {
    /// So many connections to a database that exists.
    pub(super) fn open(path: &Path, count: usize) -> rusqlite::Result<Self> {
        let places = (0..count).map(|_| {
            let connection = sqlite::open(path)?;
            // Whoever asks waits for nobody.
            connection.busy_timeout(std::time::Duration::ZERO)?;
            let looks = Arc::new(AtomicU32::new(0));
            let count = looks.clone();
            connection.progress_handler(STEP, Some(move || count.fetch_add(1, Ordering::Relaxed) >= LOOKS))?;
            Ok(Mutex::new(Place { connection, looks }))
        });
        Ok(Self {
            places: places.collect::<rusqlite::Result<_>>()?,
            long: Cache::new(REMEMBERED),
        })
    }

    /// The answer, if it is a short read's; `None`: let a reader do it.
    pub(super) fn read(&self, sql: &Arc<str>, values: &[Value]) -> Option<Result<Bytes, StoreError>> {
        let known = self.long.get(sql);
        if let Some(rest) = &known
            && rest
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
        {
            return None;
        }
        let place = self.places.iter().find_map(|place| place.try_lock().ok())?;
        place.looks.store(0, Ordering::Relaxed);
        match sqlite::run(&place.connection, sql, values) {
            Ok(answer) => Some(Ok(answer)),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => {
                    match known {
                        Some(rest) => rest.store(REST, Ordering::Relaxed),
                        None => self.long.insert(sql.clone(), Arc::new(AtomicU32::new(REST))),
                    }
                    None
                }
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => None,
                _ => Some(Err(sqlite::refused(error))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_answered_and_what_is_long_is_left_to_the_readers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("klio.db");
        let writer = Connection::open(&path).unwrap();
        let numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i from n";
        writer
            .execute_batch(&format!(
                "pragma journal_mode = wal; create table t (a integer primary key); {numbers}"
            ))
            .unwrap();
        let near = Near::open(&path, 1).unwrap();
        let short: Arc<str> = "select cast(a as text) from t where a = ?1".into();
        // Many times, so that SQLite's own count passes many steps.
        for i in 1..=2_000_i64 {
            let answer = near.read(&short, &[Value::Integer(i)]).expect("it is short").unwrap();
            assert_eq!(answer, i.to_string());
        }
        let long: Arc<str> = "select cast(sum(a) as text) from t where a < ?1".into();
        // With few rows it is short, with many it is not; then it is not tried for a while, however few there are.
        assert_eq!(near.read(&long, &[Value::Integer(4)]).expect("it is short").unwrap(), "6");
        assert!(near.read(&long, &[Value::Integer(20_000)]).is_none());
        for _ in 0..REST {
            assert!(near.read(&long, &[Value::Integer(4)]).is_none());
        }
        assert_eq!(near.read(&long, &[Value::Integer(4)]).expect("it is short").unwrap(), "6");
        // A connection in use is not waited for.
        let held = near.places[0].lock().unwrap();
        assert!(near.read(&short, &[Value::Integer(1)]).is_none());
        drop(held);
        assert!(matches!(
            near.read(&"select nothing".into(), &[]),
            Some(Err(StoreError::Database(_)))
        ));
    }
}
