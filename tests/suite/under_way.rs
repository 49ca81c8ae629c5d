//! What is under way: it runs beside others, may end when the gateway ends, is given up when its client goes, and is broken off
//! when it takes too long.

use std::time::{Duration, Instant};

use klio_tests::{Backend, Product, until};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value as Json, json};

use crate::sockets::{acked, hear, say};

/// Someone else at the database, over one connection.
async fn other(product: &Product) -> DatabaseConnection {
    let mut options = ConnectOptions::new(&product.database);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.expect("a connection")
}

/// Makes every write of customers wait (on Postgres every read too), until [`free`].
async fn hold(product: &Product, other: &DatabaseConnection) {
    let sql = match product.backend {
        Backend::Sqlite => "begin immediate",
        Backend::Postgres => "begin; lock table customer in access exclusive mode",
    };
    other.execute_unprepared(sql).await.expect("the lock");
}

async fn free(other: &DatabaseConnection) {
    other.execute_unprepared("rollback").await.expect("the end of the lock");
}

/// How many statements of the gateway wait for a lock. (Postgres)
async fn waiting(other: &DatabaseConnection) -> i64 {
    let sql = "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    // Within a transaction, which holds the lock, the view would not change.
    other
        .execute_unprepared("select pg_stat_clear_snapshot()")
        .await
        .expect("a new look");
    let row = other
        .query_one_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql))
        .await
        .expect("an answer")
        .expect("a row");
    row.try_get("", "n").expect("a number")
}

async fn until_waiting(other: &DatabaseConnection, count: i64) {
    until(&format!("{count} statements wait"), async || {
        (waiting(other).await == count).then_some(())
    })
    .await;
}

fn post(product: &Product, body: Json) -> tokio::task::JoinHandle<(u16, Json)> {
    let request = reqwest::Client::new()
        .post(format!("{}/graphql", product.url))
        .bearer_auth(&product.token)
        .json(&body);
    tokio::spawn(async move {
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    })
}

const CREATE: &str = "mutation { createCustomer(input: {name: \"Late\"}) { customer { name } errors { message } } }";
const COUNT: &str = "{ customers(first: 1) { totalCount } }";

async fn a_write_under_way_ends_before_the_gateway_does(backend: Backend) {
    // The lock is held for longer than a statement usually may take.
    let sets = ["http.drain_timeout=20s", "database.statement_timeout=30s"];
    let Some(product) = Product::start_with(backend, &sets).await else {
        return;
    };
    let other = other(&product).await;
    let mut socket = acked(&product, &product.token).await;
    let mut idle = acked(&product, &product.token).await;
    hold(&product, &other).await;
    say(&mut socket, json!({"id": "w", "type": "subscribe", "payload": {"query": CREATE}})).await;
    // On SQLite nothing shows that a request has arrived, so there the socket stands for both.
    let over_http = (backend == Backend::Postgres).then(|| post(&product, json!({"query": CREATE})));
    let metrics = &product.running().app.metrics;
    until("both are under way", async || {
        let text = String::from_utf8(metrics.text()).expect("text");
        text.contains("klio_socket_operations 1\n").then_some(())
    })
    .await;
    if backend == Backend::Postgres {
        until_waiting(&other, 2).await;
    }
    product.running().drain();
    // Sockets on which nothing is under way are closed within half of the time, 5 s at most.
    assert_eq!(hear(&mut idle).await, Err(1012));
    tokio::time::timeout(Duration::from_millis(5_200), hear(&mut socket))
        .await
        .expect_err("it is neither closed nor answered while the lock is held");
    free(&other).await;
    let answer = hear(&mut socket).await.expect("the answer");
    assert_eq!(answer["payload"]["data"]["createCustomer"]["customer"]["name"], "Late");
    assert_eq!(hear(&mut socket).await.expect("its end")["type"], "complete");
    assert_eq!(hear(&mut socket).await, Err(1012));
    if let Some(over_http) = over_http {
        let (status, body) = over_http.await.expect("no panic");
        assert_eq!(
            (status, &body["data"]["createCustomer"]["customer"]["name"]),
            (200, &json!("Late")),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_ends_before_the_gateway_does_sqlite() {
    a_write_under_way_ends_before_the_gateway_does(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_ends_before_the_gateway_does_postgres() {
    a_write_under_way_ends_before_the_gateway_does(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_queries_at_once_and_mutations_in_order() {
    let Some(product) = Product::start(Backend::Postgres).await else {
        return;
    };
    let query = json!({"query": COUNT});
    let create = json!({"query": CREATE});
    let order = json!([query, create, query, {"query": "{ nope }"}, create, query, query]);
    let (status, body) = post(&product, order).await.expect("no panic");
    let counts: Vec<&Json> = [0, 2, 5, 6].map(|at: usize| &body[at]["data"]["customers"]["totalCount"]).into();
    assert_eq!((status, counts), (200, vec![&json!(0), &json!(1), &json!(2), &json!(2)]), "{body}");
    assert_eq!(body[3]["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");

    let other = other(&product).await;
    hold(&product, &other).await;
    let batch = post(&product, json!([query, query, query]));
    until_waiting(&other, 3).await;
    free(&other).await;
    let (_, body) = batch.await.expect("no panic");
    assert_eq!(body.as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_client_is_gone_is_given_up() {
    // Not because its time is over.
    let Some(product) = Product::start_with(Backend::Postgres, &["database.statement_timeout=10m"]).await else {
        return;
    };
    let other = other(&product).await;
    hold(&product, &other).await;
    let over_http = post(&product, json!({"query": COUNT}));
    until_waiting(&other, 1).await;
    over_http.abort();
    until_waiting(&other, 0).await;
    // By the client's complete, and by the socket's end.
    let mut socket = acked(&product, &product.token).await;
    say(&mut socket, json!({"id": "a", "type": "subscribe", "payload": {"query": COUNT}})).await;
    until_waiting(&other, 1).await;
    say(&mut socket, json!({"id": "a", "type": "complete"})).await;
    until_waiting(&other, 0).await;
    say(&mut socket, json!({"id": "b", "type": "subscribe", "payload": {"query": COUNT}})).await;
    until_waiting(&other, 1).await;
    drop(socket);
    until_waiting(&other, 0).await;
    free(&other).await;
    assert_eq!(
        product.data(COUNT, json!({})).await["customers"]["totalCount"],
        0,
        "the gateway goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_broken_off() {
    let Some(product) = Product::start_with(Backend::Postgres, &["database.statement_timeout=300ms"]).await else {
        return;
    };
    let other = other(&product).await;
    hold(&product, &other).await;
    let began = Instant::now();
    let (_, body) = post(&product, json!({"query": COUNT})).await.expect("no panic");
    assert_eq!(body["errors"][0]["extensions"]["code"], "TIMEOUT", "{body}");
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    free(&other).await;
    assert_eq!(product.data(COUNT, json!({})).await["customers"]["totalCount"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_which_part_is_not() {
    let Some(product) = Product::start(Backend::Postgres).await else {
        return;
    };
    let server = std::env::var("KLIO_TEST_POSTGRES_URL").expect("it was there a moment ago");
    let server = Database::connect(server).await.expect("a connection");
    let name = product.database.rsplit_once('/').expect("a database").1;
    let ready = async || {
        let answer = reqwest::get(format!("{}/health/ready", product.url)).await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Json>().await.expect("JSON"))
    };
    assert_eq!(ready().await.0, 200);
    let away = format!(
        "alter database {name} allow_connections false; select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    );
    server.execute_unprepared(&away).await.expect("the database is away");
    let told = until("it is not ready", async || Some(ready().await).filter(|(status, _)| *status == 503)).await;
    assert_eq!(told.1["status"], "not ready");
    assert_eq!(told.1["parts"]["door"], "ok");
    assert!(
        told.1["parts"]["database"]
            .as_str()
            .is_some_and(|what| what.starts_with("does not answer")),
        "{}",
        told.1
    );
    let live = reqwest::get(format!("{}/health/live", product.url)).await.expect("an answer");
    assert_eq!(live.status(), 200, "it lives all the same");
    server
        .execute_unprepared(&format!("alter database {name} allow_connections true"))
        .await
        .expect("the database is back");
    until("it is ready again", async || (ready().await.0 == 200).then_some(())).await;
}

async fn a_klass_defined_elsewhere_is_there_with_the_next_request(backend: Backend) {
    let Some(product) = Product::start(backend).await else { return };
    product.data(COUNT, json!({})).await;
    let sets = [format!("database.url={}", product.database), "http.listen=127.0.0.1:0".to_owned()];
    let config = klio_api::Config::from_parts(None, Vec::new(), &sets).expect("settings");
    let node = klio_api::start(config).await.expect("another node on the same database");
    let there = klio_client::Client::new(node.url(), &product.token);
    let define = async |name: &str, properties: &[&str]| {
        let properties: Vec<Json> = properties.iter().map(|name| json!({"name": name, "kind": "string"})).collect();
        let query = "mutation ($input: KlassInput!) { defineKlass(input: $input) { klass { name } errors { message } } }";
        let told = there.query(query, json!({"input": {"name": name, "properties": properties}})).await;
        assert_eq!(told.expect("a change")["defineKlass"]["errors"], json!([]));
    };
    define("order", &["number"]).await;
    let found = product.data("{ orders(first: 1) { totalCount } }", json!({})).await;
    assert_eq!(found["orders"]["totalCount"], 0);
    // Something new in a variable shows only when its value is read.
    define("order", &["number", "colour"]).await;
    let query = "mutation ($input: CreateOrderInput!) { createOrder(input: $input) { order { number } errors { message } } }";
    let made = product.data(query, json!({"input": {"number": "N1", "colour": "red"}})).await;
    assert_eq!(made["createOrder"]["order"]["number"], "N1");
    let mut socket = acked(&product, &product.token).await;
    define("parcel", &["number"]).await;
    say(
        &mut socket,
        json!({"id": "p", "type": "subscribe", "payload": {"query": "subscription { parcelChanged { change } }"}}),
    )
    .await;
    let told = hear(&mut socket).await.expect("a message");
    assert_eq!(told["payload"]["data"]["parcelChanged"]["change"], "CAUGHT_UP", "{told}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_klass_defined_elsewhere_is_there_with_the_next_request_sqlite() {
    a_klass_defined_elsewhere_is_there_with_the_next_request(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_klass_defined_elsewhere_is_there_with_the_next_request_postgres() {
    a_klass_defined_elsewhere_is_there_with_the_next_request(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_zone_that_is_none_is_named() {
    let Some(product) = Product::start(Backend::Sqlite).await else {
        return;
    };
    let query = "mutation ($zone: String) { createCustomer(input: {name: \"Una\", timeZone: $zone}) { customer { timeZone } errors { path message } } }";
    let good = product.data(query, json!({"zone": "America/Chicago"})).await;
    assert_eq!(good["createCustomer"]["customer"]["timeZone"], "America/Chicago");
    let bad = product.ask(query, json!({"zone": "Chicago"})).await;
    let error = &bad["data"]["createCustomer"]["errors"][0];
    assert_eq!(error["path"], json!(["input", "timeZone"]), "{bad}");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("\"Chicago\" is not the name of a time zone")),
        "{bad}"
    );
    let groups = "query ($zone: TimeZone!) { customers { groups(by: [createdAt], bucket: DAY, zone: $zone) { count } } }";
    let bad = product.ask(groups, json!({"zone": "Mars/Olympus"})).await;
    let message = bad["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("zone") && message.contains("Mars/Olympus") && message.contains("IANA"),
        "{bad}"
    );
}
