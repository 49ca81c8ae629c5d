//! The log by itself, in hand-written statements on the gateway's tables: what it costs a write, and how fast it can be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::writes;

/// Writers at once.
const WRITERS: usize = 16;
/// How long a round is; and how many there are of each, by turns.
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

async fn client(database: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// What the database would do by itself within a minute: it looks at tables that have just been filled.
pub async fn analyze(database: &str) -> anyhow::Result<()> {
    if !database.starts_with("sqlite:") {
        client(database).await?.batch_execute("analyze").await?;
    }
    Ok(())
}

/// Events per second when the newest of one stream are read in one statement; `None` on SQLite.
pub async fn read(database: &str, events: usize) -> anyhow::Result<Option<f64>> {
    if database.starts_with("sqlite:") {
        return Ok(None);
    }
    let client = client(database).await?;
    let longest = "select org_id, stream, seq from stream_head order by seq desc limit 1";
    let row = client.query_one(longest, &[]).await?;
    let (org, stream, head): (Uuid, String, i64) = (row.get(0), row.get(1), row.get(2));
    let from = head - i64::try_from(events)?;
    let began = Instant::now();
    let statement = "select seq, id, klass, object_id, op, actor, at, changed::text, before::text, after::text from event where org_id = $1 and stream = $2 and seq > $3 order by seq";
    let rows = client.query(statement, &[&org, &stream, &from]).await?;
    Ok(Some(rows.len() as f64 / began.elapsed().as_secs_f64()))
}

/// Writes messages with and without counter and events, by turns, and prints what the log takes.
pub async fn cost(database: &str) -> anyhow::Result<()> {
    let conversations: Vec<Uuid> = client(database)
        .await?
        .query("select id from conversation order by id", &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let conversations = Arc::new(conversations);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(rate(database, &writes::postgres(false), &conversations).await?);
        with.push(rate(database, &writes::postgres(true), &conversations).await?);
    }
    for rates in [&mut with, &mut without] {
        rates.sort_by(f64::total_cmp);
    }
    let (with, without) = (with[ROUNDS / 2], without[ROUNDS / 2]);
    let share = 100.0 * (1.0 - with / without);
    super::line(
        "hand-written writes/s with the log (floor: without)",
        format!("{with:.0}"),
        format!("{without:.0}"),
        &format!("<= 15 %, is {share:.0} %"),
        share <= 15.0,
    );
    Ok(())
}

async fn rate(database: &str, statement: &str, conversations: &Arc<Vec<Uuid>>) -> anyhow::Result<f64> {
    let mut writers = Vec::new();
    let began = Instant::now();
    for writer in 0..WRITERS {
        let (client, conversations, text) = (client(database).await?, conversations.clone(), statement.to_owned());
        writers.push(tokio::spawn(async move {
            let statement = client.prepare(&text).await?;
            let mut done = 0usize;
            let began = Instant::now();
            while began.elapsed() < ROUND {
                let conversation = conversations[(writer + done * 7) % conversations.len()];
                client
                    .query(&statement, &[&conversation, &"a message of middling length, as they are"])
                    .await?;
                done += 1;
            }
            anyhow::Ok(done)
        }));
    }
    let mut done = 0;
    for writer in writers {
        done += writer.await.context("a writer")??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}
