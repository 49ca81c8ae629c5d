//! The floor: what one would write by hand for just these nine questions. An axum handler that sends one prepared statement over the
//! fastest driver there is and puts its text into the answer: no schema, no rights, no limits, no log.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as SqliteValue;
use serde_json::Value as Json;
use tokio::sync::oneshot;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::queries::QUERIES;
use crate::writes;

/// Connections to Postgres, on each of which statements are pipelined.
const CONNECTIONS: usize = 10;

/// Serves the questions of a database (`postgres://…` or `sqlite:PATH`) at `/Q1` … `/Q9`.
pub async fn serve(database: &str, listen: SocketAddr) -> anyhow::Result<()> {
    let mut router = Router::new();
    match database.strip_prefix("sqlite:") {
        Some(path) => {
            // SAFETY: nothing of SQLite runs in this process yet, and the setting takes one `int`. As in the gateway: no count is
            // kept of the memory in use, for which all threads would take one lock.
            unsafe { rusqlite::ffi::sqlite3_config(rusqlite::ffi::SQLITE_CONFIG_MEMSTATUS, 0 as std::ffi::c_int) };
            let store = Arc::new(Sqlite::open(Path::new(path))?);
            for (index, query) in QUERIES.iter().enumerate() {
                let answer = move |State(store): State<Arc<Sqlite>>, body: Bytes| async move { told(store.answer(index, &body).await) };
                router = router.route(&format!("/{}", query.name), post(answer).with_state(store.clone()));
            }
        }
        None => {
            let store = Arc::new(Postgres::open(database).await?);
            for (index, query) in QUERIES.iter().enumerate() {
                let answer = move |State(store): State<Arc<Postgres>>, body: Bytes| async move { told(store.answer(index, &body).await) };
                router = router.route(&format!("/{}", query.name), post(answer).with_state(store.clone()));
            }
        }
    }
    let listener = tokio::net::TcpListener::bind(listen).await?;
    axum::serve(listener, router).await?;
    Ok(())
}

fn told(answer: anyhow::Result<String>) -> Response {
    match answer {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

fn wrapped(index: usize, text: &str) -> String {
    let (head, tail) = QUERIES[index].wrap;
    let mut body = String::with_capacity(head.len() + text.len() + tail.len());
    body.push_str(head);
    body.push_str(text);
    body.push_str(tail);
    body
}

struct Postgres {
    connections: Vec<(Client, Vec<Statement>)>,
    next: AtomicUsize,
}

impl Postgres {
    async fn open(url: &str) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            let mut statements = Vec::new();
            for query in &QUERIES {
                let sql = if query.postgres.is_empty() {
                    Cow::Owned(writes::postgres(true))
                } else {
                    Cow::Borrowed(query.postgres)
                };
                statements.push(client.prepare(&sql).await.with_context(|| query.name)?);
            }
            connections.push((client, statements));
        }
        Ok(Self {
            connections,
            next: AtomicUsize::new(0),
        })
    }

    async fn answer(&self, index: usize, body: &[u8]) -> anyhow::Result<String> {
        let variables: Vec<Json> = serde_json::from_slice(body)?;
        let (client, statements) = &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len()];
        let texts: Vec<&str> = variables.iter().map(|v| v.as_str().unwrap_or_default()).collect();
        let ids: Vec<Option<Uuid>> = texts.iter().map(|text| text.parse().ok()).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = texts
            .iter()
            .zip(&ids)
            .map(|(text, id)| match id {
                Some(id) => id as &(dyn ToSql + Sync),
                None => text as &(dyn ToSql + Sync),
            })
            .collect();
        let row = client.query_opt(&statements[index], &parameters).await?;
        let text = row.as_ref().and_then(|row| row.get::<_, Option<&str>>(0)).unwrap_or("null");
        Ok(wrapped(index, text))
    }
}

struct Job {
    index: usize,
    values: Vec<SqliteValue>,
    answer: oneshot::Sender<anyhow::Result<String>>,
}

/// Threads that read and one that writes, a connection each.
struct Sqlite {
    read: mpsc::Sender<Job>,
    write: mpsc::Sender<Job>,
}

impl Sqlite {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let (read, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..std::thread::available_parallelism()?.get().max(2) {
            let (jobs, connection) = (jobs.clone(), connect(path)?);
            std::thread::spawn(move || {
                loop {
                    // The lock falls before the work begins.
                    let Ok(Ok(job)) = jobs.lock().map(|jobs| jobs.recv()) else { return };
                    let _ = job.answer.send(read_one(&connection, job.index, &job.values));
                }
            });
        }
        let (write, jobs) = mpsc::channel::<Job>();
        let path: PathBuf = path.into();
        std::thread::spawn(move || {
            let connection = match connect(&path) {
                Ok(connection) => connection,
                Err(error) => return eprintln!("{error:#}"),
            };
            let events = match writes::Events::of(&connection) {
                Ok(events) => events,
                Err(error) => return eprintln!("{error:#}"),
            };
            while let Ok(first) = jobs.recv() {
                // What waits is committed together, as the gateway does: a commit is a flush to the disk.
                let all: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(99)).collect();
                let done = writes::sqlite(&connection, &events, all.iter().map(|job| job.values.as_slice()));
                match done {
                    Ok(texts) => {
                        for (job, text) in all.into_iter().zip(texts) {
                            let _ = job.answer.send(Ok(wrapped(job.index, &text)));
                        }
                    }
                    Err(error) => {
                        for job in all {
                            let _ = job.answer.send(Err(anyhow::anyhow!("{error:#}")));
                        }
                    }
                }
            }
        });
        Ok(Self { read, write })
    }

    async fn answer(&self, index: usize, body: &[u8]) -> anyhow::Result<String> {
        let variables: Vec<Json> = serde_json::from_slice(body)?;
        let value = |json: &Json| {
            let text = json.as_str().unwrap_or_default();
            match (text.parse::<Uuid>(), text.parse::<i64>()) {
                (Ok(id), _) => SqliteValue::Blob(id.as_bytes().to_vec()),
                (_, Ok(number)) => SqliteValue::Integer(number),
                _ => SqliteValue::Text(text.to_owned()),
            }
        };
        let (answer, wait) = oneshot::channel();
        let job = Job {
            index,
            values: variables.iter().map(value).collect(),
            answer,
        };
        let lane = if QUERIES[index].sqlite.is_empty() {
            &self.write
        } else {
            &self.read
        };
        lane.send(job).context("the thread ended")?;
        wait.await?
    }
}

/// A connection of one who works on the gateway's tables: with the function that some of their indexes use.
pub fn connect(path: &Path) -> anyhow::Result<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("fold", 1, flags, |context| {
        Ok(context.get::<Option<String>>(0)?.map(|text| text.to_lowercase()))
    })?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    // As the gateway: otherwise statements are made anew for each value that is bound.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "pragma temp_store = memory; pragma cache_size = -16384; pragma mmap_size = 268435456; pragma synchronous = full; pragma foreign_keys = on",
    )?;
    Ok(connection)
}

fn read_one(connection: &rusqlite::Connection, index: usize, values: &[SqliteValue]) -> anyhow::Result<String> {
    let mut statement = connection.prepare_cached(QUERIES[index].sqlite)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let text = rows
        .next()?
        .map(|row| row.get_ref(0)?.as_str().map(|text| wrapped(index, text)).map_err(Into::into));
    text.unwrap_or_else(|| anyhow::Ok(wrapped(index, "null")))
}
