//! Writing and listening through the gateway, on a store of its own for each test: SQLite, and Postgres when
//! `KLIO_TEST_POSTGRES_URL` says where a server is.

mod klasses;
mod mutations;
mod related;
mod sharing;
mod states;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use klio_entities::klass::actor::ActorKind;
use klio_entities::klass::{Actor, OrgId, Role};
use klio_entities::store::{Store, StoreConfig};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{Allow, Gateway, Message, Request};
use crate::catalog::{Catalog, Settings};
use crate::limits::Limits;

/// A gateway with one org in it.
#[derive(Clone)]
pub(super) struct World {
    pub(super) gateway: Arc<Gateway>,
    pub(super) org: OrgId,
    pub(super) actor: Actor,
}

/// Runs a test on each database that is there.
pub(super) async fn each<F, Fut>(test: F)
where
    F: Fn(World) -> Fut,
    Fut: Future<Output = ()>,
{
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = StoreConfig::new(format!("sqlite:{}", dir.path().join("klio.db").display()));
    config.klass_grace = Duration::ZERO;
    test(world(&config).await).await;
    let Ok(server) = std::env::var("KLIO_TEST_POSTGRES_URL") else {
        return;
    };
    let name = format!("klio_test_{}", Uuid::now_v7().simple());
    on_server(&server, &format!("create database {name}")).await;
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let mut config = StoreConfig::new(format!("{base}/{name}"));
    config.max_connections = 8;
    config.klass_grace = Duration::ZERO;
    test(world(&config).await).await;
    on_server(&server, &format!("drop database {name} with (force)")).await;
}

async fn on_server(server: &str, sql: &str) {
    use sea_orm::ConnectionTrait;
    let connection = sea_orm::Database::connect(server).await.expect("the test server");
    connection.execute_unprepared(sql).await.expect("runs");
    connection.close().await.expect("closes");
}

async fn world(config: &StoreConfig) -> World {
    let store = Store::open(config).await.expect("opens");
    store.migrate().await.expect("migrates");
    let org = store.create_org("acme", "Acme").await.expect("makes an org").id;
    let org = OrgId(org);
    let catalog = Arc::new(Catalog::new(Arc::new(store.clone()), Settings::default()));
    // What tests write in a second is more than a client may.
    let limits = Limits {
        bucket: 1_000_000,
        refill: 1_000_000,
        ..Limits::default()
    };
    let gateway = Arc::new(Gateway::new(store, catalog, limits));
    World {
        gateway,
        org,
        actor: actor(org, Role::Owner),
    }
}

/// Somebody of this role.
pub(super) fn actor(org: OrgId, role: Role) -> Actor {
    Actor {
        org,
        kind: ActorKind::Token,
        id: Uuid::from_u128(role as u128 + 1),
        name: format!("{role:?}"),
        role,
    }
}

impl World {
    /// As somebody else.
    pub(super) fn by(&self, role: Role) -> World {
        World {
            actor: actor(self.org, role),
            ..self.clone()
        }
    }

    /// The whole response.
    pub(super) async fn ask(&self, query: &str, variables: Json) -> Json {
        let answer = self
            .gateway
            .execute(&self.actor, request(query, variables), Allow { mutations: true })
            .await;
        serde_json::from_slice(&answer.body).expect("a response is JSON")
    }

    /// `data`, of a response without errors.
    pub(super) async fn data(&self, query: &str, variables: Json) -> Json {
        let response = self.ask(query, variables).await;
        assert_eq!(response.get("errors"), None, "{query}\n{response}");
        response["data"].clone()
    }

    /// The payload of a mutation with one field.
    pub(super) async fn write(&self, query: &str, variables: Json) -> Json {
        let data = self.data(query, variables).await;
        data.as_object().and_then(|it| it.values().next()).cloned().expect("one field")
    }

    /// Subscribes.
    pub(super) async fn listen(&self, query: &str, variables: Json) -> Messages {
        match self.gateway.subscribe(&self.actor, request(query, variables)).await {
            Ok(stream) => Messages(stream),
            Err(answer) => panic!("{query}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }

    /// The klasses of these tests: `order` of a customer, with products.
    pub(super) async fn shop(&self) {
        for input in [
            json!({"name": "product", "properties": [{"name": "sku", "kind": "string", "required": true, "unique": true}]}),
            json!({
                "name": "order",
                "timeline": {"at": "placedAt"},
                "properties": [
                    {"name": "number", "kind": "string", "required": true, "unique": true},
                    {"name": "total", "kind": "money"},
                    {"name": "status", "kind": "enum", "values": [{"value": "pending"}, {"value": "in progress"}], "indexed": true},
                    {"name": "placedAt", "kind": "datetime"},
                ],
                "relationships": [
                    {"name": "customer", "to": ["customer"], "inverse": "orders"},
                    {
                        "name": "products", "to": ["product"], "kind": "many", "inverse": "orders",
                        "properties": [{"name": "quantity", "kind": "integer"}],
                    },
                ],
            }),
        ] {
            let done = self
                .write(
                    "mutation($it: KlassInput!) { defineKlass(input: $it) { applied errors { path message remedy } } }",
                    json!({"it": input}),
                )
                .await;
            assert_eq!(done, json!({"applied": true, "errors": []}));
        }
    }

    /// A customer's id.
    pub(super) async fn customer(&self, name: &str) -> String {
        let done = self
            .write(
                "mutation($it: CreateCustomerInput!) { createCustomer(input: $it) { customer { id } errors { path message } } }",
                json!({"it": {"name": name}}),
            )
            .await;
        done["customer"]["id"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned()
    }

    /// An order's id.
    pub(super) async fn order(&self, input: Json) -> String {
        let done = self
            .write(
                "mutation($it: CreateOrderInput!) { createOrder(input: $it) { order { id } errors { code path message } } }",
                json!({"it": input}),
            )
            .await;
        done["order"]["id"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned()
    }
}

pub(super) fn request(query: &str, variables: Json) -> Request {
    let variables = match variables {
        Json::Object(map) => map,
        _ => Default::default(),
    };
    Request {
        query: query.to_owned(),
        variables,
        ..Request::default()
    }
}

/// A subscription's messages.
pub(super) struct Messages(BoxStream<'static, Message>);

impl Messages {
    /// The next response; a test fails that waits for more than ten seconds.
    pub(super) async fn response(&mut self) -> Option<Json> {
        let item = tokio::time::timeout(Duration::from_secs(10), self.0.next())
            .await
            .expect("a message within ten seconds")?;
        Some(serde_json::from_slice(&item.body).expect("a response is JSON"))
    }

    /// The next message as it is.
    pub(super) async fn raw(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(10), self.0.next());
        next.await.expect("a message within ten seconds").expect("a message")
    }

    /// The value of the root field in the next response.
    pub(super) async fn next(&mut self) -> Json {
        let response = self.response().await.expect("a message");
        assert_eq!(response.get("errors"), None, "{response}");
        response["data"]
            .as_object()
            .and_then(|it| it.values().next())
            .cloned()
            .expect("one field")
    }

    /// The next one that is not CAUGHT_UP.
    pub(super) async fn change(&mut self) -> Json {
        loop {
            let message = self.next().await;
            if message["change"] != "CAUGHT_UP" {
                return message;
            }
        }
    }

    /// The next one, if there is one within a while.
    pub(super) async fn soon(&mut self) -> Option<Json> {
        tokio::time::timeout(Duration::from_millis(300), self.next()).await.ok()
    }

    /// Nothing more comes within this time.
    pub(super) async fn quiet(&mut self) {
        if let Ok(item) = tokio::time::timeout(Duration::from_millis(300), self.0.next()).await {
            panic!("{:?}", item.map(|it| String::from_utf8_lossy(&it.body).into_owned()));
        }
    }
}

/// The codes of a payload's errors.
pub(super) fn codes(payload: &Json) -> Vec<&str> {
    payload["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["code"].as_str())
        .collect()
}
