//! The hot pieces of a request, each by itself: reading and sizing a document, finding a plan, coercing variables, writing a response.
//!
//! `cargo bench --workspace --bench hot` measures all, and says what changed since the last time.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use klio_entities::klass::{Actor, OrgId};
use klio_entities::store::{Store, StoreConfig};
use klio_schema::catalog::{Catalog, Settings};
use klio_schema::execute::gateway::{Prepared, select};
use klio_schema::execute::tape::Tape;
use klio_schema::execute::write::{Answer, Loaded, Node, Writer};
use klio_schema::execute::{Allow, Gateway, Request};
use klio_schema::limits::{Limits, check_document};
use klio_schema::parse::parse;
use klio_schema::plan::coerce::coerce_variables;
use klio_schema::plan::{Fetch, Work};
use klio_schema::validate::validate;
use serde_json::{Map, Value as Json, json};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One customer: as small as a request is.
const ONE: &str = "query One($id: ID!) { customer(id: $id) { id name email phone lastActivityAt conversationCountOpen } }";
/// A customer's page, as an agent sees it.
const PAGE: &str = "query Page($id: ID!) { customer(id: $id) { id name email \
    conversations(first: 20, orderBy: [{lastMessageAt: DESC}]) { nodes { id name status lastMessageAt \
      messages(first: 5, orderBy: [{sentAt: DESC}]) { nodes { id direction channel preview sentAt } } } } } }";
/// Many rows.
const ROWS: &str = "{ customers(first: 100) { nodes { id name email phone createdAt tags title conversationCountOpen } } }";
/// Many values that a client gives.
const VALUES: &str =
    "query Values($filter: CustomerFilter, $ids: [ID!]!) { customers(filter: $filter) { nodes { id } } nodes(ids: $ids) { id } }";

/// A gateway with one org of a hundred customers, on SQLite.
struct World {
    run_time: Runtime,
    gateway: Gateway,
    actor: Actor,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let run_time = Runtime::new().expect("a run time");
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("klio.db").display());
        let (gateway, actor) = run_time.block_on(async {
            let store = Store::open(&StoreConfig::new(url)).await.expect("opens");
            store.migrate().await.expect("migrates");
            let org = OrgId(store.create_org("acme", "Acme").await.expect("an org").id);
            let catalog = Arc::new(Catalog::new(Arc::new(store.clone()), Settings::default()));
            (Gateway::new(store, catalog, Limits::default()), Actor::system(org))
        });
        let world = Self {
            run_time,
            gateway,
            actor,
            _folder: folder,
        };
        let create = "mutation($name: String!, $email: EmailAddress!) { createCustomer(input: {name: $name, email: $email}) { customer { id } errors { message } } }";
        for n in 0..100 {
            let variables = json!({"name": format!("Ada \"{n}\" Lovelace"), "email": format!("ada{n}@example.com")});
            let body = world.ask(create, &variables);
            assert!(body["data"]["createCustomer"]["customer"]["id"].is_string(), "{body}");
        }
        world
    }

    fn ask(&self, query: &str, variables: &Json) -> Json {
        let request = request(query, variables);
        let answer = self
            .run_time
            .block_on(self.gateway.execute(&self.actor, request, Allow { mutations: true }));
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    fn prepare(&self, request: &Request) -> Prepared {
        let prepared = self.run_time.block_on(self.gateway.prepare(&self.actor, request));
        prepared.unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    /// What the store answers to a query's first root field.
    fn answer(&self, prepared: &Prepared, fetch: &Fetch) -> (Bytes, Vec<klio_entities::klass::Value>) {
        let arguments: Vec<_> = fetch
            .arguments
            .iter()
            .map(|source| source.value(&prepared.variables, Utc::now()).expect("an argument"))
            .collect();
        let statement = fetch.statement.get().expect("it was run before");
        let text = self
            .run_time
            .block_on(self.gateway.store.read(self.actor.org, statement, &arguments));
        (text.expect("an answer"), arguments)
    }
}

fn request(query: &str, variables: &Json) -> Request {
    Request {
        query: query.to_owned(),
        variables: variables.as_object().cloned().unwrap_or_default(),
        ..Request::default()
    }
}

fn an_id(world: &World) -> Json {
    world.ask("{ customers(first: 1) { nodes { id } } }", &Json::Null)["data"]["customers"]["nodes"][0]["id"].clone()
}

fn documents(criterion: &mut Criterion) {
    let limits = Limits::default();
    criterion.bench_function("a document is read and its size checked", |bencher| {
        bencher.iter(|| {
            let document = parse(black_box(PAGE), &limits).expect("a document");
            check_document(&document, &limits).expect("within the limits");
            document
        });
    });
    // Fragments that spread others twice each: the size that is counted doubles with each, the work must not.
    let chain: String = (0..30).fold("{ ...f0 }".to_owned(), |text, n| {
        format!("{text} fragment f{n} on Query {{ ...f{m} ...f{m} }}", m = n + 1)
    }) + " fragment f30 on Query { __typename }";
    criterion.bench_function("a chain of fragments is refused", |bencher| {
        bencher.iter(|| {
            let refused = parse(black_box(&chain), &limits).and_then(|document| check_document(&document, &limits));
            refused.expect_err("it is too large")
        });
    });
    let world = World::new();
    let schema = world.run_time.block_on(world.gateway.schema(&world.actor)).expect("a schema");
    let document = parse(PAGE, &limits).expect("a document");
    criterion.bench_function("a document is validated", |bencher| {
        bencher.iter(|| validate(&schema.types, black_box(&document)).expect("valid"));
    });
}

fn plans(criterion: &mut Criterion) {
    let world = World::new();
    let request = request(ONE, &json!({"id": an_id(&world)}));
    world.prepare(&request);
    criterion.bench_function("a plan is found", |bencher| {
        bencher.iter(|| world.prepare(black_box(&request)));
    });
}

fn variables(criterion: &mut Criterion) {
    let world = World::new();
    let ids = vec![an_id(&world); 100];
    let texts: Vec<String> = (0..100).map(|n| format!("ada{n}@example.com")).collect();
    let given = json!({"ids": ids, "filter": {"email": {"in": texts}, "or": [{"name": {"eq": "Ada"}}, {"createdAt": {"gt": "2024-01-01T00:00:00Z"}}]}});
    let given: Map<String, Json> = given.as_object().cloned().unwrap_or_default();
    let prepared = world.prepare(&request(VALUES, &Json::Object(given.clone())));
    let (_, operation) = select(&prepared.document, None).expect("an operation");
    criterion.bench_function("two hundred values of variables are coerced", |bencher| {
        bencher.iter(|| coerce_variables(&prepared.schema.types, operation, black_box(&given)).expect("of their types"));
    });
}

fn responses(criterion: &mut Criterion) {
    let world = World::new();
    world.ask(ROWS, &Json::Null);
    let prepared = world.prepare(&request(ROWS, &Json::Null));
    let root = &prepared.plan.roots[0];
    let Ok(Work::Fetch(fetch)) = &root.work else {
        panic!("a page is one statement");
    };
    let (text, arguments) = world.answer(&prepared, fetch);
    criterion.bench_function("a store's answer of a hundred rows is taken apart", |bencher| {
        bencher.iter(|| Tape::read(black_box(text.clone())).expect("JSON"));
    });
    let answer = Answer {
        tape: Tape::read(text).expect("JSON"),
        arguments,
    };
    let loaded = Loaded::default();
    criterion.bench_function("a hundred rows are written", |bencher| {
        bencher.iter_batched(
            || Writer::new(&loaded),
            |mut writer| {
                let done = writer.root("Query", root, &fetch.shape, Node::Json(black_box(&answer), 0));
                assert!(done.is_ok() && writer.rows >= 100, "{} rows, {:?}", writer.rows, writer.errors);
                writer.out
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(hot, documents, plans, variables, responses);
criterion_main!(hot);
