//! The product, started in this process on a database of its own, and the questions that tests ask it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use klio_api::{Config, Running};
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub mod cases;
pub mod changes;
pub mod history;
pub mod listen;
pub mod load;
pub mod node;
pub mod normal;
pub mod processes;
pub mod redis;
pub mod wires;

/// Which database the product runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file in a temporary folder.
    Sqlite,
    /// A database of its own on the server of `KLIO_TEST_POSTGRES_URL`.
    Postgres,
}

/// A running gateway with the org `acme` and a token of its admin.
pub struct Product {
    running: Option<Running>,
    /// On what it runs.
    pub backend: Backend,
    /// `http://127.0.0.1:port`.
    pub url: String,
    /// The admin's token.
    pub token: String,
    /// The database's URL.
    pub database: String,
    /// A folder for this test alone; gone with it.
    pub folder: TempDir,
    http: reqwest::Client,
    sets: Vec<String>,
}

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a database that nobody has used yet; `None` (said loudly) when there is no server to make it on.
pub async fn new_database(backend: Backend, folder: &TempDir) -> Option<String> {
    match backend {
        Backend::Sqlite => Some(format!("sqlite:{}", folder.path().join("klio.db").display())),
        Backend::Postgres => {
            let Ok(server) = std::env::var("KLIO_TEST_POSTGRES_URL") else {
                eprintln!("SKIPPED on Postgres: KLIO_TEST_POSTGRES_URL is not set (tests/run starts a server and sets it)");
                return None;
            };
            let name = format!("klio_test_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
            let connection = Database::connect(&server).await.expect("the test server answers");
            connection
                .execute_unprepared(&format!("CREATE DATABASE {name}"))
                .await
                .expect("a new database is made");
            connection.close().await.expect("the connection closes");
            let (head, _) = server.rsplit_once('/').expect("a Postgres URL names a database");
            Some(format!("{head}/{name}"))
        }
    }
}

impl Product {
    /// Starts it; `None` when the backend is not to be had.
    pub async fn start(backend: Backend) -> Option<Self> {
        Self::start_with(backend, &[]).await
    }

    /// Starts it with settings, `section.key=value`.
    pub async fn start_with(backend: Backend, sets: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = new_database(backend, &folder).await?;
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        let running = serve(&database, &sets).await;
        let url = running.url();
        let mut product = Self {
            running: Some(running),
            backend,
            url,
            token: String::new(),
            database,
            folder,
            http: reqwest::Client::new(),
            sets,
        };
        product.org("acme").await;
        product.token = product.token_of("acme", "admin").await;
        Some(product)
    }

    /// Ends it and starts it anew on the same database.
    pub async fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
        let running = serve(&self.database, &self.sets).await;
        self.url = running.url();
        self.running = Some(running);
    }

    /// Another node on the same database, with the same settings.
    pub async fn another_node(&self) -> Running {
        serve(&self.database, &self.sets).await
    }

    /// What runs.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs between start and drop")
    }

    /// Makes an org.
    pub async fn org(&self, slug: &str) {
        self.running().app.store.create_org(slug, slug).await.expect("a new org");
    }

    /// Makes a token.
    pub async fn token_of(&self, org: &str, role: &str) -> String {
        klio_api::auth::issue(&self.running().app.store, org, role, "test")
            .await
            .expect("a new token")
    }

    /// Makes a token of a name.
    pub async fn token_of_named(&self, org: &str, role: &str, name: &str) -> String {
        klio_api::auth::issue(&self.running().app.store, org, role, name)
            .await
            .expect("a new token")
    }

    /// Asks as the admin; the whole answer.
    pub async fn ask(&self, query: &str, variables: Json) -> Json {
        self.ask_as(&self.token, query, variables).await
    }

    /// Asks with a token; the whole answer, without `extensions`.
    pub async fn ask_as(&self, token: &str, query: &str, variables: Json) -> Json {
        let answer = self
            .http
            .post(format!("{}/graphql", self.url))
            .bearer_auth(token)
            .header("accept", "application/graphql-response+json")
            .json(&json!({ "query": query, "variables": variables }))
            .send()
            .await
            .expect("the gateway answers");
        let text = answer.text().await.expect("the answer arrives whole");
        let mut body: Json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"));
        if let Some(body) = body.as_object_mut() {
            body.remove("extensions");
        }
        body
    }

    /// Asks as the admin for data; an error is the test's end.
    pub async fn data(&self, query: &str, variables: Json) -> Json {
        data(self.ask(query, variables).await, query)
    }
}

async fn serve(database: &str, sets: &[String]) -> Running {
    let mut all = vec![
        format!("database.url={database}"),
        "http.listen=127.0.0.1:0".to_owned(),
        "http.drain_timeout=2s".to_owned(),
    ];
    all.extend_from_slice(sets);
    let config = Config::from_parts(None, Vec::new(), &all).expect("the settings of a test are right");
    klio_api::start(config).await.expect("the gateway starts")
}

/// The data of an answer without errors (neither at the top nor in a payload); anything else is the test's end.
pub fn data(mut answer: Json, query: &str) -> Json {
    assert!(answer.get("errors").is_none(), "errors: {answer:#}\nfor {query}");
    let data = answer["data"].take();
    for payload in data.as_object().into_iter().flatten() {
        let errors = payload.1.get("errors").and_then(Json::as_array);
        assert!(errors.is_none_or(Vec::is_empty), "user errors: {data:#}\nfor {query}");
    }
    data
}

/// Waits until a condition holds, asking again and again; a minute without it is the test's end.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The folder `tests/`.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Makes of each `async fn name(product: Product)` a test on SQLite and one on Postgres.
#[macro_export]
macro_rules! on_each_database {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(product) = $crate::Product::start($crate::Backend::Sqlite).await {
                    super::$name(product).await;
                }
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(product) = $crate::Product::start($crate::Backend::Postgres).await {
                    super::$name(product).await;
                }
            })+
        }
    };
}
