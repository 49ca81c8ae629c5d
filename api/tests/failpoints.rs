//! The real binary dies in the middle of a klass change, at each place at which it may; the next start finishes the change or undoes it,
//! no object is lost, and the doctor finds nothing. (Debug builds only: a release build has no such places.)
#![cfg(debug_assertions)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use klio_api::config::Config;
use klio_entities::klass::{Actor, OrgId};
use klio_entities::store::klasses::POINTS;
use klio_schema::execute::{Allow, Request};
use sea_orm::ConnectionTrait;
use serde_json::{Value as Json, json};

const BEFORE: &str = r#"
name = "order"
[properties]
number = { kind = "string" }
placed = { kind = "string", indexed = true }
"#;
/// Values change their kind, an index is made and another dropped, a default is filled in, a column goes.
const AFTER: &str = r#"
name = "order"
[properties]
number = { kind = "integer", unique = true }
state = { kind = "string", required = true, default = "new" }
"#;

/// As short as it may be.
const GRACE: &str = "1ms";

struct Place {
    folder: tempfile::TempDir,
    url: String,
}

impl Place {
    fn klio(&self, args: &[&str], grace: &str, failpoint: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klio"));
        command.args(args).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command
            .env("KLIO_DATABASE_URL", &self.url)
            .env("KLIO_DATABASE_KLASS_GRACE", grace)
            .env("KLIO_HTTP_LISTEN", "127.0.0.1:0");
        if let Some(name) = failpoint {
            command.env("KLIO_TEST_FAILPOINT", name);
        }
        command.output().expect("the command runs")
    }

    fn fine(&self, args: &[&str]) {
        let output = self.klio(args, GRACE, None);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn start(&self) -> klio_api::Running {
        let sets = [
            format!("database.url={}", self.url),
            format!("database.klass_grace={GRACE}"),
            "http.listen=127.0.0.1:0".to_owned(),
        ];
        let config = Config::from_parts(None, Vec::new(), &sets).expect("settings");
        klio_api::start(config).await.expect("it starts")
    }
}

async fn ask(running: &klio_api::Running, query: &str) -> Json {
    let store = &running.app.store;
    let org = store.org_by_slug("acme").await.expect("reads").expect("the org");
    let request = Request {
        query: query.to_owned(),
        operation: None,
        variables: Default::default(),
        extensions: Default::default(),
    };
    let actor = Actor::system(OrgId(org.id));
    let answer = running.app.gateway.execute(&actor, request, Allow { mutations: true }).await;
    let answer: Json = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(answer.get("errors").is_none(), "{answer}\n{query}");
    answer["data"].clone()
}

/// Waits until nothing is left to do of any change.
async fn settled(running: &klio_api::Running) {
    let store = &running.app.store;
    let open = "select 1 from klass_change where state not in ('done', 'undone')";
    let backend = store.connection().get_database_backend();
    for _ in 0..600 {
        store.resume_changes().await.expect("resumes");
        let statement = sea_orm::Statement::from_string(backend, open);
        if store.connection().query_one_raw(statement).await.expect("reads").is_none() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a change was never settled");
}

/// Dies at `point` of the change and is started again. `fails`: the change is one that cannot be made.
async fn dies_at(point: &str, place: &Place, fails: bool) {
    std::fs::write(place.folder.path().join("before.toml"), BEFORE).expect("a file");
    std::fs::write(place.folder.path().join("after.toml"), AFTER).expect("a file");
    place.fine(&["org", "create", "acme"]);
    place.fine(&["klass", "apply", "before.toml"]);
    let running = place.start().await;
    let twin = if fails { " 1" } else { "3" };
    for number in ["1", "2", twin] {
        let create = format!("mutation {{ createOrder(input: {{number: \"{number}\", placed: \"p\"}}) {{ errors {{ message }} }} }}");
        assert_eq!(ask(&running, &create).await["createOrder"]["errors"], json!([]));
    }
    running.shutdown().await;

    let apply = ["klass", "apply", "--force", "after.toml"];
    let died = if point.starts_with("contract") {
        // What is left when the grace period is over is done by a server.
        let applied = place.klio(&apply, "1h", None);
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        place.klio(&["serve"], GRACE, Some(point))
    } else {
        place.klio(&apply, GRACE, Some(point))
    };
    assert_eq!(
        died.status.code(),
        None,
        "{point}: it ended by itself: {}",
        String::from_utf8_lossy(&died.stderr)
    );

    let running = place.start().await;
    // Before it was begun, or when it cannot be made, there is nothing of it; otherwise all of it.
    if point == "planned" || fails {
        let data = ask(
            &running,
            "{ orders(orderBy: [{createdAt: ASC}]) { nodes { number placed version } } }",
        )
        .await;
        let row = |number: &str| json!({"number": number, "placed": "p", "version": 1});
        let rows = data["orders"]["nodes"].as_array().expect("a list");
        let mut numbers: Vec<Json> = rows
            .iter()
            .map(|r| json!({"number": r["number"], "placed": r["placed"], "version": 1}))
            .collect();
        numbers.sort_by_key(|r| r["number"].to_string());
        let mut expected = vec![row("1"), row("2"), row(twin)];
        expected.sort_by_key(|r| r["number"].to_string());
        assert_eq!(numbers, expected, "{point}");
    } else {
        let data = ask(&running, "{ orders(orderBy: [{number: ASC}]) { nodes { number state version } } }").await;
        let rows: Vec<Json> = [1, 2, 3].map(|n| json!({"number": n, "state": "new", "version": 2})).to_vec();
        assert_eq!(data["orders"]["nodes"], json!(rows), "{point}");
    }
    settled(&running).await;
    // It takes writes.
    let made = ask(
        &running,
        "mutation { createOrder(input: {externalId: \"x\"}) { order { id } errors { message } } }",
    )
    .await;
    assert_eq!(made["createOrder"]["errors"], json!([]), "{point}");
    running.shutdown().await;
    let doctor = place.klio(&["doctor"], GRACE, None);
    assert_eq!(
        doctor.status.code(),
        Some(0),
        "{point}: {}",
        String::from_utf8_lossy(&doctor.stdout)
    );
    assert_eq!(doctor.stdout, b"", "{point}");
}

fn fails(point: &str) -> bool {
    point == "undo"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_anywhere_in_a_change_on_sqlite() {
    for point in POINTS {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", Path::new(folder.path()).join("klio.db").display());
        dies_at(point, &Place { folder, url }, fails(point)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_anywhere_in_a_change_on_postgres() {
    let Ok(server) = std::env::var("KLIO_TEST_POSTGRES_URL") else {
        eprintln!("SKIPPED on Postgres: KLIO_TEST_POSTGRES_URL is not set");
        return;
    };
    let admin = sea_orm::Database::connect(&server).await.expect("the test server");
    let (head, _) = server.rsplit_once('/').expect("a URL with a database");
    for point in POINTS {
        let name = format!("klio_test_{}", uuid::Uuid::now_v7().simple());
        admin
            .execute_unprepared(&format!("create database {name}"))
            .await
            .expect("a new database");
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("{head}/{name}");
        dies_at(point, &Place { folder, url }, fails(point)).await;
        admin
            .execute_unprepared(&format!("drop database if exists {name} with (force)"))
            .await
            .expect("drops");
    }
}
