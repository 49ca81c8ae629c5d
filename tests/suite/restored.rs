//! A database that was put back from a backup has another log: a cursor of what is gone gets RESYNC and is never taken for one of what came
//! instead; what is written from then on is heard.

use std::path::Path;

use futures_util::StreamExt;
use klio_client::Client;
use klio_tests::changes::{CREATE, change, create, next};
use klio_tests::load::{SETS, retry};
use klio_tests::processes::{Gateway, Postgres};
use klio_tests::{Backend, new_database};
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value as Json, json};

const FEED: &str = "subscription { customerChanged { change cursor reason customer { name } } }";
const STREAM: &str = "subscription ($id: ID!) { customerChanged(id: $id) { change cursor reason customer { name } } }";
const RENAME: &str = "mutation ($id: ID!, $n: String!) { updateCustomer(id: $id, set: {name: $n}) { cursor errors { message } } }";

/// The database, to be kept and put back while no gateway runs.
enum Kept<'u> {
    File(&'u Path),
    /// Where it can be spoken to of databases, and the database's name.
    Server(String, String),
}

impl Kept<'_> {
    async fn copy(&self, back: bool) {
        match self {
            Kept::File(path) => {
                let (backup, database) = (path.with_extension("backup"), path.to_path_buf());
                let (from, to) = if back { (backup, database) } else { (database, backup) };
                if back {
                    // They belong to what is replaced.
                    for end in ["-wal", "-shm"] {
                        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
                    }
                }
                std::fs::copy(from, to).expect("a copy");
            }
            Kept::Server(server, name) => {
                let connection = Database::connect(server).await.expect("the server answers");
                let (from, to) = if back {
                    (format!("{name}_backup"), name.clone())
                } else {
                    (name.clone(), format!("{name}_backup"))
                };
                for statement in [
                    format!("drop database if exists {to} with (force)"),
                    format!("create database {to} template {from}"),
                ] {
                    connection.execute_unprepared(&statement).await.expect("a copy");
                }
                connection.close().await.expect("it closes");
            }
        }
    }
}

async fn write(client: &Client, query: &str, variables: Json) -> Json {
    let data = client.query(query, variables).await.expect("an answer");
    let payload = data.as_object().and_then(|it| it.values().next()).cloned().expect("a payload");
    assert_eq!(payload["errors"], json!([]), "{payload}");
    payload
}

/// What a subscription behind a cursor says first, and what it says of the next write.
async fn goes_on(client: &Client, query: &str, variables: Json, cursor: &str, next: impl AsyncFnOnce()) {
    let mut changes = client.subscribe_after(query, variables, Some(cursor.to_owned()));
    let mut hear = async || {
        let data = changes.next().await.expect("it goes on").expect("no error");
        data["customerChanged"].clone()
    };
    let first = hear().await;
    assert_eq!(first["change"], "RESYNC", "{first}");
    assert!(first["reason"].as_str().is_some_and(|why| why.contains("restored")), "{first}");
    // What the feed could not yet show when the client was told to read afresh comes once more.
    loop {
        let told = hear().await;
        if told["change"] == "CAUGHT_UP" {
            break;
        }
        let name = told["customer"]["name"].as_str().expect("a name");
        assert!(name.starts_with("instead") || name == "between", "{told}");
    }
    next().await;
    let told = hear().await;
    assert_eq!(told["customer"]["name"], "after", "{told}");
}

async fn a_backup_is_put_back(backend: Backend) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(backend, &folder).await else {
        return;
    };
    let path = folder.path().join("klio.db");
    let kept = match backend {
        Backend::Sqlite => Kept::File(&path),
        Backend::Postgres => {
            let name = database.rsplit('/').next().expect("a name").to_owned();
            Kept::Server(std::env::var("KLIO_TEST_POSTGRES_URL").expect("it is there"), name)
        }
    };
    let mut gateway = Gateway::start(&database, &[]).await;
    gateway.say(&["org", "create", "acme"]);
    let token = gateway.say(&["token", "create", "--org", "acme", "--role", "admin"]);
    let client = Client::new(&gateway.url, &token);
    let one = write(&client, CREATE, json!({"n": "one"})).await["customer"]["id"].clone();
    gateway.end().await;
    kept.copy(false).await;

    gateway.run().await;
    write(&client, CREATE, json!({"n": "lost"})).await;
    let lost = write(&client, RENAME, json!({"id": one, "n": "lost too"})).await;
    let lost = lost["cursor"].as_str().expect("a cursor");
    gateway.end().await;
    kept.copy(true).await;

    gateway.run().await;
    // As many as were lost, and more: by its number alone the old cursor would be somewhere among them.
    for n in 0..3 {
        write(&client, CREATE, json!({"n": format!("instead {n}")})).await;
        write(&client, RENAME, json!({"id": one, "n": format!("instead {n}")})).await;
    }
    let rename = async || {
        write(&client, RENAME, json!({"id": one, "n": "after"})).await;
    };
    goes_on(&client, FEED, json!({}), lost, rename).await;
    write(&client, RENAME, json!({"id": one, "n": "between"})).await;
    goes_on(&client, STREAM, json!({"id": one}), lost, rename).await;
    let fresh = write(&client, RENAME, json!({"id": one, "n": "before the restart"})).await;
    // A restart alone changes nothing: cursors are good.
    gateway.end().await;
    gateway.run().await;
    let cursor = fresh["cursor"].as_str().expect("a cursor").to_owned();
    let mut changes = client.subscribe_after(STREAM, json!({"id": one}), Some(cursor));
    let first = changes.next().await.expect("it goes on").expect("no error");
    assert_eq!(first["customerChanged"]["change"], "CAUGHT_UP", "{first}");
    // Said by hand, where nothing shows it.
    drop(changes);
    gateway.end().await;
    gateway.say(&["doctor", "--restored"]);
    gateway.run().await;
    let cursor = fresh["cursor"].as_str().expect("a cursor");
    goes_on(&client, STREAM, json!({"id": one}), cursor, rename).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_put_back_sqlite() {
    a_backup_is_put_back(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_put_back_postgres() {
    a_backup_is_put_back(Backend::Postgres).await;
}

/// As it is after a recovery from a base backup: whoever held on through it is told, and whoever comes later.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_put_back_with_all_its_databases() {
    let Some(postgres) = Postgres::start().await else { return };
    let mut gateway = Gateway::start(&postgres.url("postgres"), &SETS).await;
    gateway.say(&["org", "create", "acme"]);
    let token = gateway.say(&["token", "create", "--org", "acme", "--role", "admin"]);
    let client = Client::new(&gateway.url, &token).with_retry(retry());
    let mut open = client.subscribe(FEED, json!({}));
    assert_eq!(next(&mut open).await["change"], "CAUGHT_UP");
    let kept = create(&client, "kept").await;
    assert_eq!(change(&mut open).await["customer"]["name"], "kept");
    postgres.back_up().await;
    let lost = create(&client, "lost").await;
    assert_eq!(change(&mut open).await["customer"]["name"], "lost");

    gateway.kill();
    postgres.kill().await;
    postgres.restore().await;
    gateway.run().await;
    // Who held on is told, though the log may by now be as long as it was; and so is whoever comes with a cursor of before, even one
    // of what the backup has.
    create(&client, "new").await;
    let message = change(&mut open).await;
    assert_eq!(message["change"], "RESYNC", "{message}");
    assert!(message["reason"].as_str().is_some_and(|why| why.contains("restored")), "{message}");
    for cursor in [kept, lost] {
        let mut late = client.subscribe_after(FEED, json!({}), Some(cursor));
        let message = next(&mut late).await;
        assert_eq!(message["change"], "RESYNC", "{message}");
        create(&client, "later").await;
        loop {
            if change(&mut late).await["customer"]["name"] == "later" {
                break;
            }
        }
    }
    let data = client.query("{ customers { nodes { name } } }", json!({})).await.expect("a page");
    let names = data["customers"]["nodes"].to_string();
    assert!(names.contains("kept") && !names.contains("lost"), "{names}");
}
