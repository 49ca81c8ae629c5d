//! What live updates cost, beside a bare server that broadcasts what it is given ([`floor`]): connections, memory, one event to all of
//! them, many events to a few each, what an hour away costs, everybody coming back at once, and the log's share of a write.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value as Json, json};
use tokio_postgres::NoTls;

use crate::http::{Connection, post};
use crate::process;
use crate::run::{Running, free, wait};

mod crowd;
pub mod floor;
mod log;
mod socket;

use crowd::{Crowd, connect};
use socket::Socket;

const TIMELINE: &str =
    "subscription ($c: ID!, $a: Cursor) { timeline(customer: $c, after: $a) { change cursor entry { ... on Message { body } } } }";
const CREATE: &str = "mutation ($b: String!) { createMessage(input: { body: $b, channel: CHAT, direction: IN, conversation: { connect: { externalId: \"s0\" } } }) { cursor errors { message } } }";
const CREATE_MANY: &str =
    "mutation ($i: [CreateMessageInput!]!) { createMessages(inputs: $i, atomic: true) { results { errors { message } } } }";

/// Customers of the many-events measurement, and subscribers of each.
const STREAMS: usize = 100;
const EACH: usize = 10;
/// Messages written at once there: a hundred mutations a second are a thousand events.
const AT_ONCE: usize = 10;
/// Messages that one who was away has missed.
const MISSED: usize = 20_000;

/// What to measure.
#[derive(Args, Debug)]
pub struct Realtime {
    /// Where the database's file and the gateway's log are kept.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// The gateway's program.
    #[arg(long, default_value = "target/release/klio")]
    klio: PathBuf,
    /// A PostgreSQL server, as `postgres://user@host:port/postgres`; without it SQLite is measured.
    #[arg(long)]
    postgres: Option<String>,
    /// Sockets at once.
    #[arg(long, default_value_t = 10_000)]
    sockets: usize,
    /// Events told to all of them.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How long a thousand events a second are written.
    #[arg(long, default_value_t = 5)]
    seconds: usize,
}

/// One of the two servers.
struct Server {
    name: &'static str,
    address: SocketAddr,
    process: Running,
    token: String,
    /// Of the streams `s0`, `s1`, …; none for the floor, which has one.
    customers: Vec<String>,
}

/// What one event to all costs.
#[derive(Default)]
struct Fan {
    /// Messages per second, of each round.
    rates: Vec<f64>,
    delays: Vec<u32>,
    micros: f64,
}

impl Server {
    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn variables(&self, stream: usize, after: Option<&str>) -> Json {
        json!({"c": self.customers.get(stream), "a": after})
    }

    /// A request that tells everyone something.
    fn publish(&self, number: usize) -> Vec<u8> {
        if self.customers.is_empty() {
            // As long as what the gateway says.
            let cursor = "x".repeat(107);
            let body = format!(
                r#"{{"id":"1","type":"next","payload":{{"data":{{"timeline":{{"change":"ADDED","cursor":"{cursor}","entry":{{"body":"message {number:06}"}}}}}}}}}}"#
            );
            return post("/publish", None, &body);
        }
        let body = json!({"query": CREATE, "variables": {"b": format!("message {number:06}")}});
        post("/graphql", Some(&self.token), &body.to_string())
    }

    async fn ask(&self, query: &str, variables: Json) -> anyhow::Result<Json> {
        let request = post(
            "/graphql",
            Some(&self.token),
            &json!({"query": query, "variables": variables}).to_string(),
        );
        let mut connection = Connection::open(self.address).await?;
        let (_, body) = connection.ask(&request).await?;
        let mut answer: Json = serde_json::from_slice(body)?;
        ensure!(answer.get("errors").is_none(), "{answer}");
        Ok(answer["data"].take())
    }

    /// One event after the other, each when all have heard the last.
    async fn fan_out(&self, crowd: &Crowd, sockets: usize, rounds: usize) -> anyhow::Result<Fan> {
        let mut fan = Fan::default();
        let mut connection = Connection::open(self.address).await?;
        let before = process::cpu(self.pid(), false);
        for round in 0..rounds {
            let request = self.publish(round);
            let began = Instant::now();
            connection.ask(&request).await?;
            crowd.heard(round + 1).await?;
            let delays = crowd.each(round, began);
            let last = delays.iter().copied().max().unwrap_or_default();
            fan.rates.push(sockets as f64 / (f64::from(last) / 1e6));
            fan.delays.extend(delays);
        }
        let used = process::cpu(self.pid(), false) - before;
        fan.micros = used.as_secs_f64() * 1e6 / (sockets * rounds) as f64;
        Ok(fan)
    }
}

impl Fan {
    fn rate(&mut self) -> f64 {
        self.rates.sort_by(f64::total_cmp);
        self.rates[self.rates.len() / 2]
    }
}

/// Within how many milliseconds this share came.
fn within(delays: &mut [u32], share: f64) -> f64 {
    delays.sort_unstable();
    let last = delays.len().saturating_sub(1);
    delays
        .get((last as f64 * share) as usize)
        .map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
}

/// A figure, the floor's, and the bar.
fn line(what: &str, ours: String, floor: String, bar: &str, held: bool) {
    println!("{what:<52} {ours:>14} {floor:>12}  {bar:<22}{}", if held { "" } else { " !" });
}

impl Realtime {
    /// Measures and prints.
    pub async fn run(self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let database = self.database().await?;
        println!(
            "{} sockets, {}",
            self.sockets,
            if self.postgres.is_some() { "PostgreSQL" } else { "SQLite" }
        );
        println!("{:<52} {:>14} {:>12}  bar", "", "gateway", "floor");
        // One after the other: each has the machine for itself.
        let mut floor = Measured::default();
        {
            let server = self.floor().await?;
            let crowd = self.crowd(&server, &mut floor).await?;
            drop(crowd);
        }
        let server = self.gateway(&database).await?;
        let mut ours = Measured::default();
        let crowd = self.crowd(&server, &mut ours).await?;
        ours.print(&mut floor, self.sockets);
        self.storm(&server, crowd).await?;
        log::analyze(&database).await?;
        self.many_events(&server).await?;
        self.catch_up(&server, &database).await?;
        drop(server);
        if self.postgres.is_some() {
            log::cost(&database).await?;
        }
        Ok(())
    }

    async fn database(&self) -> anyhow::Result<String> {
        let Some(server) = &self.postgres else {
            for end in ["", "-wal", "-shm"] {
                // It may not be there.
                let _ = std::fs::remove_file(self.folder.join(format!("realtime.db{end}")));
            }
            return Ok(format!("sqlite:{}", self.folder.join("realtime.db").display()));
        };
        let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute("drop database if exists klio_realtime with (force)").await?;
        client.batch_execute("create database klio_realtime").await?;
        let (head, _) = server.rsplit_once('/').context("a Postgres URL names a database")?;
        Ok(format!("{head}/klio_realtime"))
    }

    async fn floor(&self) -> anyhow::Result<Server> {
        let address = free()?;
        let process = Command::new(std::env::current_exe()?)
            .args(["floor-socket", "--listen", &address.to_string()])
            .spawn()?;
        let server = Server {
            name: "floor",
            address,
            process: Running(process),
            token: String::new(),
            customers: Vec::new(),
        };
        wait(address, &post("/publish", None, "x")).await.context("the floor")?;
        Ok(server)
    }

    async fn gateway(&self, database: &str) -> anyhow::Result<Server> {
        let address = free()?;
        let klio = |arguments: &[&str]| {
            let mut command = Command::new(&self.klio);
            for set in [
                &format!("database.url={database}"),
                "limits.refill=1000000000",
                "limits.bucket=1000000000",
                "websocket.connections_per_actor=20000",
            ] {
                command.args(["--set", set]);
            }
            command.args(arguments).stdin(Stdio::null());
            command
        };
        let tell = |arguments: &[&str]| -> anyhow::Result<String> {
            let output = klio(arguments).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        tell(&["migrate"])?;
        tell(&["org", "create", "live"])?;
        let token = tell(&["token", "create", "--org", "live", "--role", "agent"])?;
        let log = File::create(self.folder.join("gateway-realtime.log"))?;
        let process = klio(&["serve", "--listen", &address.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut server = Server {
            name: "gateway",
            address,
            process: Running(process),
            token,
            customers: Vec::new(),
        };
        let first = json!({"query": "{ customers(first: 1) { nodes { id } } }"}).to_string();
        wait(address, &post("/graphql", Some(&server.token), &first)).await?;
        for stream in 0..STREAMS {
            let query = "mutation ($n: String!) { createConversation(input: { name: $n, externalId: $n, customer: { create: { name: $n } } }) { conversation { customer { id } } errors { message } } }";
            let data = server.ask(query, json!({"n": format!("s{stream}")})).await?;
            let id = data["createConversation"]["conversation"]["customer"]["id"].as_str();
            server.customers.push(id.with_context(|| data.to_string())?.to_owned());
        }
        Ok(server)
    }

    /// Connections, memory, and one event to all.
    async fn crowd(&self, server: &Server, measured: &mut Measured) -> anyhow::Result<Crowd> {
        let idle = process::memory(server.pid()).resident;
        let (sockets, took) = connect(server.address, &server.token, self.sockets).await.context(server.name)?;
        measured.accepted = self.sockets as f64 / took.as_secs_f64();
        let began = Instant::now();
        let crowd = Crowd::listen(sockets, TIMELINE, |_| server.variables(0, None), self.rounds);
        crowd.caught_up().await.context(server.name)?;
        measured.subscribed = began.elapsed();
        measured.whole = process::memory(server.pid()).resident;
        measured.each = (measured.whole.saturating_sub(idle)) as f64 / self.sockets as f64;
        measured.fan = server.fan_out(&crowd, self.sockets, self.rounds).await.context(server.name)?;
        measured.after = process::memory(server.pid()).resident;
        Ok(crowd)
    }

    /// All connections break, some messages are missed, and everybody comes back at once with a cursor.
    async fn storm(&self, server: &Server, crowd: Crowd) -> anyhow::Result<()> {
        const AWAY: usize = 5;
        let cursors = crowd.cursors()?;
        drop(crowd);
        let mut connection = Connection::open(server.address).await?;
        for number in 0..AWAY {
            connection.ask(&server.publish(number)).await?;
        }
        let before = self.statements().await?;
        let began = Instant::now();
        let (sockets, connected) = connect(server.address, &server.token, cursors.len()).await?;
        let crowd = Crowd::listen(sockets, TIMELINE, |i| server.variables(0, Some(&cursors[i])), AWAY);
        crowd.caught_up().await?;
        crowd.heard(AWAY).await?;
        let took = began.elapsed();
        line(
            &format!("{} come back and have caught up, s", cursors.len()),
            format!("{:.1}", took.as_secs_f64()),
            String::new(),
            "<= 10",
            took <= Duration::from_secs(10),
        );
        println!("  of which connecting {:.1} s", connected.as_secs_f64());
        if let (Some(before), Some(after)) = (before, self.statements().await?) {
            println!("  statements of the database meanwhile: {}", after - before);
        }
        Ok(())
    }

    /// Statements that the database has run so far, as transactions (each read is one).
    async fn statements(&self) -> anyhow::Result<Option<i64>> {
        let Some(server) = &self.postgres else { return Ok(None) };
        // Its sessions tell their numbers at most once a second.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
        tokio::spawn(connection);
        let row = client
            .query_one("select xact_commit from pg_stat_database where datname = 'klio_realtime'", &[])
            .await?;
        Ok(Some(row.get(0)))
    }

    /// A thousand events a second, each to ten subscribers.
    async fn many_events(&self, server: &Server) -> anyhow::Result<()> {
        let batches = self.seconds * 1_000 / AT_ONCE;
        let messages = batches * AT_ONCE / STREAMS;
        let (sockets, _) = connect(server.address, &server.token, STREAMS * EACH).await?;
        let crowd = Crowd::listen(sockets, TIMELINE, |i| server.variables(i % STREAMS, None), messages);
        crowd.caught_up().await?;
        let began = Instant::now();
        let answered: Arc<Vec<AtomicU32>> = Arc::new((0..batches).map(|_| AtomicU32::new(0)).collect());
        let used = process::cpu(server.pid(), false);
        let mut tick = tokio::time::interval(Duration::from_millis(AT_ONCE as u64));
        let mut writers = Vec::new();
        let mut asked = Vec::with_capacity(batches);
        for batch in 0..batches {
            tick.tick().await;
            let inputs: Vec<Json> = (0..AT_ONCE)
                .map(|n| {
                    let stream = format!("s{}", (batch * AT_ONCE + n) % STREAMS);
                    json!({"body": "one of many", "channel": "CHAT", "direction": "IN", "conversation": {"connect": {"externalId": stream}}})
                })
                .collect();
            let body = json!({"query": CREATE_MANY, "variables": {"i": inputs}}).to_string();
            let (request, address, answered) = (post("/graphql", Some(&server.token), &body), server.address, answered.clone());
            asked.push(Instant::now());
            writers.push(tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                let (_, body) = connection.ask(&request).await?;
                ensure!(body.starts_with(b"{\"data\""), "{}", String::from_utf8_lossy(body));
                let now = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                answered[batch].store(now, Ordering::Relaxed);
                anyhow::Ok(())
            }));
        }
        for writer in writers {
            writer.await??;
        }
        let took = began.elapsed();
        crowd.heard(messages).await?;
        let used = process::cpu(server.pid(), false) - used;
        let (mut from_request, mut from_answer) = (Vec::new(), Vec::new());
        // Message k of a stream was written with the k-th batch of its turn.
        let turns = STREAMS / AT_ONCE;
        for message in 0..messages {
            for (socket, since_start) in crowd.each(message, began).into_iter().enumerate() {
                let batch = message * turns + (socket % STREAMS) / AT_ONCE;
                let sent = u32::try_from(asked[batch].duration_since(began).as_micros()).unwrap_or(u32::MAX);
                from_request.push(since_start.saturating_sub(sent));
                from_answer.push(since_start.saturating_sub(answered[batch].load(Ordering::Relaxed)));
            }
        }
        let p99 = within(&mut from_answer, 0.99);
        line(
            &format!(
                "{:.0} events/s to {EACH} each: from the writer's answer, p99 ms",
                (batches * AT_ONCE) as f64 / took.as_secs_f64()
            ),
            format!("{p99:.1}"),
            String::new(),
            "<= 20",
            p99 <= 20.0,
        );
        println!(
            "  from the writer's request: p50 {:.1} ms, p99 {:.1} ms; {:.1} us of the gateway's time a delivery, the writing with it",
            within(&mut from_request, 0.5),
            within(&mut from_request, 0.99),
            used.as_secs_f64() * 1e6 / from_request.len() as f64
        );
        Ok(())
    }

    /// One comes back who has missed much.
    async fn catch_up(&self, server: &Server, database: &str) -> anyhow::Result<()> {
        let data = server.ask(CREATE, json!({"b": "before"})).await?;
        let cursor = data["createMessage"]["cursor"]
            .as_str()
            .with_context(|| data.to_string())?
            .to_owned();
        for _ in 0..MISSED / 1_000 {
            let input = json!({"body": "missed", "channel": "CHAT", "direction": "IN", "conversation": {"connect": {"externalId": "s0"}}});
            server.ask(CREATE_MANY, json!({"i": vec![input; 1_000]})).await?;
        }
        log::analyze(database).await?;
        let began = Instant::now();
        let crowd = Crowd::listen(
            vec![Socket::open(server.address, &server.token).await?],
            TIMELINE,
            |_| server.variables(0, Some(&cursor)),
            MISSED,
        );
        crowd.caught_up().await?;
        crowd.heard(MISSED).await?;
        let ours = MISSED as f64 / began.elapsed().as_secs_f64();
        let floor = log::read(database, MISSED).await?;
        line(
            "catching up, events/s (floor: the log read in SQL)",
            format!("{ours:.0}"),
            floor.map(|rate| format!("{rate:.0}")).unwrap_or_default(),
            "",
            true,
        );
        Ok(())
    }
}

#[derive(Default)]
struct Measured {
    accepted: f64,
    subscribed: Duration,
    /// Bytes.
    whole: u64,
    after: u64,
    each: f64,
    fan: Fan,
}

impl Measured {
    fn print(&mut self, floor: &mut Measured, sockets: usize) {
        let (ours, theirs) = (self.fan.rate(), floor.fan.rate());
        line(
            "accepted up to connection_ack, /s",
            format!("{:.0}", self.accepted),
            format!("{:.0}", floor.accepted),
            ">= 5,000",
            self.accepted >= 5_000.0,
        );
        line(
            "all subscribed and caught up, s",
            format!("{:.2}", self.subscribed.as_secs_f64()),
            format!("{:.2}", floor.subscribed.as_secs_f64()),
            "",
            true,
        );
        line(
            "memory of a connection with a subscription, KB",
            format!("{:.1}", self.each / 1e3),
            format!("{:.1}", floor.each / 1e3),
            "<= 12",
            self.each <= 12_000.0,
        );
        line(
            "memory of the process, MB; after the events",
            format!("{}; {}", self.whole / 1_000_000, self.after / 1_000_000),
            format!("{}; {}", floor.whole / 1_000_000, floor.after / 1_000_000),
            "<= 150",
            self.after <= 150_000_000,
        );
        line(
            &format!("one event to {sockets}: messages/s"),
            format!("{ours:.0}"),
            format!("{theirs:.0}"),
            &format!(">= 80 %, is {:.0} %", ours / theirs * 100.0),
            ours >= 0.8 * theirs,
        );
        let (p99, bar) = (within(&mut self.fan.delays, 0.99), within(&mut floor.fan.delays, 0.99));
        line(
            &format!("one event to {sockets}: p99 from the request, ms"),
            format!("{p99:.0}"),
            format!("{bar:.0}"),
            &format!("<= 1.25 x, is {:.2}", p99 / bar),
            p99 <= 1.25 * bar,
        );
        line(
            "processor time of a delivered message, us",
            format!("{:.2}", self.fan.micros),
            format!("{:.2}", floor.fan.micros),
            "<= 1.5 coalesced",
            self.fan.micros <= floor.fan.micros.max(1.5),
        );
    }
}
