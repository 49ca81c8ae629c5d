//! One run: data, gateway, floor, rounds by turns.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::chance::Chance;
use crate::drive::{Round, drive};
use crate::http::{Connection, post};
use crate::process;
use crate::queries::{Ids, QUERIES, Query, typeid};
use crate::report::{Line, Results, same};
use crate::{data, documents, floor, grow};

/// Changes when the data set does: a database of another version is made anew.
const VERSION: u32 = 1;
/// Different requests of one question.
const REQUESTS: usize = 4_096;

#[derive(Args, Debug)]
pub struct Run {
    /// Where data, databases and results are kept.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// The gateway's program.
    #[arg(long, default_value = "target/release/klio")]
    klio: PathBuf,
    /// A PostgreSQL server, as `postgres://user@host:port/postgres`; without it only SQLite is measured.
    #[arg(long)]
    postgres: Option<String>,
    /// The process of that server, for its processor time.
    #[arg(long)]
    postgres_pid: Option<u32>,
    /// Leave SQLite out.
    #[arg(long)]
    no_sqlite: bool,
    /// Only these questions (Q1,Q5).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How long a round is.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Rounds of each, by turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// 1 makes 50,000 customers on Postgres, and a tenth of that on SQLite.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// So many klasses more than the two of the data set: growth by klasses.
    #[arg(long, default_value_t = 0)]
    klasses: usize,
    /// So many orgs more, each with the two klasses of the data set: growth by orgs.
    #[arg(long, default_value_t = 0)]
    orgs: usize,
    /// So many customers on Postgres, each of the data set's again and again: growth by customers.
    #[arg(long, default_value_t = 0)]
    customers: usize,
    /// Measure what 10,000 documents cost that were never asked before, too.
    #[arg(long)]
    documents: bool,
    /// A setting of PostgreSQL's for the gateway's sessions alone (plan_cache_mode=force_custom_plan): to find out what it brings.
    #[arg(long, value_name = "NAME=VALUE")]
    session: Option<String>,
}

/// A program that ends with us.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Run {
    pub async fn run(self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut results = Results::default();
        if let Some(server) = &self.postgres {
            let database = self.on_postgres(server).await?;
            self.measure("PostgreSQL", &database, &mut results).await?;
        }
        if !self.no_sqlite {
            let database = self.on_sqlite()?;
            self.measure("SQLite", &database, &mut results).await?;
        }
        let path = results.save(&self.folder.join("results"))?;
        println!("\nwritten to {}", path.display());
        Ok(())
    }

    fn klio(&self, database: &str, arguments: &[&str]) -> Command {
        let options = match &self.session {
            Some(setting) if database.starts_with("postgres") => format!("?options=-c%20{}", setting.replace('=', "%3D")),
            _ => String::new(),
        };
        let mut command = Command::new(&self.klio);
        command
            .args(["--set", &format!("database.url={database}{options}")])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn tell(&self, database: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .klio(database, arguments)
            .output()
            .with_context(|| self.klio.display().to_string())?;
        ensure!(
            output.status.success(),
            "klio {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Loads the data set into an empty database, as a user would.
    fn load(&self, database: &str, scale: f64) -> anyhow::Result<()> {
        let files = self.folder.join(format!("data-{VERSION}-{scale}"));
        if !files.join("orders.ndjson").exists() {
            data::write(&files, scale)?;
        }
        self.tell(database, &["migrate"])?;
        self.tell(database, &["org", "create", "bench", "--if-missing"])?;
        let [customer, order] = ["customer.toml", "order.toml"].map(|file| here(&["klasses", file]));
        self.tell(database, &["klass", "apply", "--org", "bench", &customer, &order])?;
        for (name, klass) in [
            ("companies", "company"),
            ("customers", "customer"),
            ("conversations", "conversation"),
            ("orders", "order"),
        ] {
            let began = Instant::now();
            let file = files.join(format!("{name}.ndjson")).display().to_string();
            let map = here(&["maps", &format!("{name}.toml")]);
            let told = self.tell(database, &["import", &file, "--klass", klass, "--map", &map, "--org", "bench"])?;
            let created: usize = told
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok())
                .sum();
            let took = began.elapsed().as_secs_f64();
            println!("  {name}: {created} objects in {took:.1} s, {:.0}/s", created as f64 / took);
        }
        Ok(())
    }

    /// More klasses and orgs, in the database of this run alone.
    fn grow(&self, database: &str) -> anyhow::Result<()> {
        let files = self.folder.join("klasses");
        std::fs::create_dir_all(&files)?;
        let mut apply = vec!["klass".to_owned(), "apply".into(), "--org".into(), "bench".into()];
        for n in 0..self.klasses {
            let file = files.join(format!("extra{n}.toml"));
            let text = format!(
                "name = \"extra{n}\"\nplural = \"extra{n}s\"\ntitle = \"{{code}}\"\n[properties]\ncode = {{ kind = \"string\", indexed = true }}\n\
                 amount = {{ kind = \"money\" }}\nat = {{ kind = \"datetime\", indexed = true }}\nkind = {{ kind = \"enum\", values = [\"a\", \"b\"] }}\n\
                 [relationships]\ncustomer = {{ to = \"customer\", kind = \"one\", inverse = \"extra{n}s\" }}\n"
            );
            std::fs::write(&file, text)?;
            apply.push(file.display().to_string());
        }
        if self.klasses > 0 {
            self.tell(database, &apply.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        let [customer, order] = ["customer.toml", "order.toml"].map(|file| here(&["klasses", file]));
        for n in 0..self.orgs {
            let org = format!("other-{n}");
            self.tell(database, &["org", "create", &org])?;
            self.tell(database, &["klass", "apply", "--org", &org, &customer, &order])?;
        }
        Ok(())
    }

    async fn on_postgres(&self, server: &str) -> anyhow::Result<String> {
        let (head, _) = server.rsplit_once('/').context("a Postgres URL names a database")?;
        let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
        tokio::spawn(connection);
        let base = format!("klio_bench_{VERSION}_{}", self.scale).replace('.', "_");
        let exists = |name: String| {
            let client = &client;
            async move {
                client
                    .query_opt("select 1 from pg_database where datname = $1", &[&name])
                    .await
                    .map(|row| row.is_some())
            }
        };
        if !exists(base.clone()).await? {
            let raw = format!("{base}_loading");
            println!("loading the data set into PostgreSQL (kept for the next run)");
            client.batch_execute(&format!("drop database if exists {raw} with (force)")).await?;
            client.batch_execute(&format!("create database {raw}")).await?;
            self.load(&format!("{head}/{raw}"), self.scale)?;
            let (loaded, connection) = tokio_postgres::connect(&format!("{head}/{raw}"), NoTls).await?;
            let ended = tokio::spawn(connection);
            loaded.batch_execute("vacuum (freeze, analyze)").await?;
            drop(loaded);
            let _ = ended.await;
            client.batch_execute(&format!("alter database {raw} rename to {base}")).await?;
        }
        // A run writes; the next one begins where this one did.
        client.batch_execute("drop database if exists klio_bench_run with (force)").await?;
        client
            .batch_execute(&format!("create database klio_bench_run template {base}"))
            .await?;
        client.batch_execute("checkpoint").await?;
        Ok(format!("{head}/klio_bench_run"))
    }

    fn on_sqlite(&self) -> anyhow::Result<String> {
        let scale = self.scale / 10.0;
        let base = self.folder.join(format!("base-{VERSION}-{scale}.db"));
        if !base.exists() {
            println!("loading the data set into SQLite (kept for the next run)");
            let raw = self.folder.join("loading.db");
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", raw.display()));
            }
            self.load(&format!("sqlite:{}", raw.display()), scale)?;
            floor::connect(&raw)?.execute_batch("pragma wal_checkpoint(truncate); analyze")?;
            std::fs::rename(&raw, &base)?;
        }
        let run = self.folder.join("run.db");
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", run.display()));
        }
        std::fs::copy(&base, &run)?;
        Ok(format!("sqlite:{}", run.display()))
    }

    async fn measure(&self, name: &str, database: &str, results: &mut Results) -> anyhow::Result<()> {
        // The data set may have been loaded by an earlier version.
        self.tell(database, &["migrate"])?;
        self.grow(database)?;
        if self.customers > 0 && database.starts_with("postgres") {
            grow::customers(database, self.customers).await?;
        }
        let ids = ids(database).await?;
        let token = self.tell(database, &["token", "create", "--org", "bench", "--role", "agent"])?;
        let (gateway_at, floor_at) = (free()?, free()?);
        let log = self.folder.join(format!("gateway-{}.log", name.to_lowercase()));
        let began = Instant::now();
        // Points come back fast enough for a load that no single actor should be allowed.
        let serve = [
            "--set",
            "limits.refill=1000000000",
            "--set",
            "limits.bucket=1000000000",
            "serve",
            "--listen",
            &gateway_at.to_string(),
        ];
        let gateway = Running(
            self.klio(database, &serve)
                .stdout(Stdio::null())
                .stderr(File::create(&log)?)
                .spawn()?,
        );
        let first = post("/graphql", Some(&token), r#"{"query":"{ customers(first: 1) { nodes { id } } }"}"#);
        wait(gateway_at, &first)
            .await
            .with_context(|| format!("the gateway; see {}", log.display()))?;
        let start = began.elapsed();
        let floor = Running(
            Command::new(std::env::current_exe()?)
                .args(["floor", "--database", database, "--listen", &floor_at.to_string()])
                .spawn()?,
        );
        wait(floor_at, &post("/Q4", None, "[]")).await.context("the floor")?;
        let idle = process::memory(gateway.0.id());
        println!(
            "\n{name}: start to first answer {} ms, idle {} MB of its own, {} MB resident",
            start.as_millis(),
            idle.own / 1_000_000,
            idle.resident / 1_000_000
        );
        let at = At {
            gateway: (gateway_at, gateway.0.id()),
            floor: (floor_at, floor.0.id()),
            database: if name == "SQLite" { None } else { self.postgres_pid },
            token: &token,
        };
        Line::heading();
        for query in &QUERIES {
            if self.only.is_empty() || self.only.iter().any(|only| only == query.name) {
                let line = self.ask(name, query, &ids, &at).await.with_context(|| query.name)?;
                line.print();
                results.lines.push(line);
            }
        }
        if self.documents {
            let customer = ids.customers[ids.customers.len() / 2];
            documents::first_time(gateway_at, gateway.0.id(), &token, &typeid("customer", customer)).await?;
        }
        Ok(())
    }

    async fn ask(&self, backend: &str, query: &Query, ids: &Ids, at: &At<'_>) -> anyhow::Result<Line> {
        let mut chance = Chance::new(7);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            let (variables, values) = (query.variables)(ids, &mut chance);
            let body = serde_json::json!({"query": query.document, "variables": variables}).to_string();
            ours.push(post("/graphql", Some(at.token), &body));
            theirs.push(post(&format!("/{}", query.name), None, &serde_json::to_string(&values)?));
        }
        self.check(query, at, &ours[0], &theirs[0]).await?;
        let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
        let mut line = Line::new(backend, query);
        let (mut gateway, mut floor) = (Round::default(), Round::default());
        // A round that is not counted: caches fill, the floor's too.
        let warm = Duration::from_secs_f64(self.seconds.min(1.0) / 2.0);
        drive(at.floor.0, theirs.clone(), warm).await?;
        drive(at.gateway.0, ours.clone(), warm).await?;
        for _ in 0..self.rounds {
            let time = Duration::from_secs_f64(self.seconds);
            let before = at.used(at.floor.1);
            let round = drive(at.floor.0, theirs.clone(), time).await?;
            line.floor_cpu += at.used(at.floor.1) - before;
            line.ratios.push(-round.rate());
            floor.add(round);
            let (before, alone) = (at.used(at.gateway.1), process::cpu(at.gateway.1, false));
            let round = drive(at.gateway.0, ours.clone(), time).await?;
            line.gateway_cpu += process::cpu(at.gateway.1, false) - alone;
            line.both_cpu += at.used(at.gateway.1) - before;
            // The ratio of two rounds side by side.
            if let Some(last) = line.ratios.last_mut() {
                *last = round.rate() / -*last;
            }
            gateway.add(round);
        }
        let memory = process::memory(at.gateway.1);
        (line.memory, line.resident) = (memory.own, memory.resident);
        line.finish(gateway, floor);
        Ok(line)
    }

    /// That both answer the same: a floor that does less would be no floor.
    async fn check(&self, query: &Query, at: &At<'_>, ours: &[u8], theirs: &[u8]) -> anyhow::Result<()> {
        let mut answers = Vec::new();
        for (address, request) in [(at.gateway.0, ours), (at.floor.0, theirs)] {
            let mut connection = Connection::open(address).await?;
            let (status, body) = connection.ask(request).await?;
            ensure!(status == 200, "answer {status}: {}", String::from_utf8_lossy(body));
            let mut answer = serde_json::from_slice::<serde_json::Value>(body)?;
            ensure!(answer.get("errors").is_none(), "errors: {}", answer["errors"]);
            answers.push(answer["data"].take());
        }
        // Q5 makes something new each time.
        if query.name != "Q5"
            && let Err(place) = same(&answers[0], &answers[1])
        {
            let [ours, theirs] = [0, 1].map(|n| answers[n].to_string().chars().take(1_000).collect::<String>());
            bail!("gateway and floor answer differently at {place}:\n{ours}\n{theirs}");
        }
        Ok(())
    }
}

struct At<'a> {
    gateway: (SocketAddr, u32),
    floor: (SocketAddr, u32),
    database: Option<u32>,
    token: &'a str,
}

impl At<'_> {
    /// Processor time of a process and of the database.
    fn used(&self, pid: u32) -> Duration {
        process::cpu(pid, false) + self.database.map_or(Duration::ZERO, |pid| process::cpu(pid, true))
    }
}

/// A file of this crate's folder.
fn here(parts: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
    parts.iter().fold(folder, |path, part| path.join(part)).display().to_string()
}

/// An address where nobody listens.
pub fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until a server answers a request.
pub async fn wait(address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        if let Ok(mut connection) = Connection::open(address).await {
            let (status, body) = connection.ask(request).await?;
            ensure!(status == 200, "answer {status}: {}", String::from_utf8_lossy(body));
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(30), "it does not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ids(database: &str) -> anyhow::Result<Ids> {
    let sql = |table: &str| format!("select id, external_id from {table}");
    let mut ids = Ids::default();
    for table in ["customer", "conversation"] {
        let mut rows: Vec<(usize, Uuid)> = Vec::new();
        let number = |external: String| external.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        match database.strip_prefix("sqlite:") {
            Some(path) => {
                let connection = rusqlite::Connection::open(path)?;
                let mut statement = connection.prepare(&sql(table))?;
                let mut found = statement.query([])?;
                while let Some(row) = found.next()? {
                    rows.push((number(row.get(1)?), Uuid::from_slice(&row.get::<_, Vec<u8>>(0)?)?));
                }
            }
            None => {
                let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
                tokio::spawn(connection);
                for row in client.query(&sql(table), &[]).await? {
                    rows.push((number(row.get(1)), row.get(0)));
                }
            }
        }
        rows.sort_unstable();
        if table == "customer" {
            // Of copies there are as many busy ones, but they are others.
            ids.busy = rows.partition_point(|(number, _)| *number < usize::MAX) / 100;
        }
        let of_table = if table == "customer" {
            &mut ids.customers
        } else {
            &mut ids.conversations
        };
        of_table.extend(rows.into_iter().map(|(_, id)| id));
    }
    Ok(ids)
}
