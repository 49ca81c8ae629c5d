//! Queries from text to response over a real store: SQLite always, Postgres when `KLIO_TEST_POSTGRES_URL` says where.

use std::sync::Arc;

use klio_entities::klass::change::KlassChange;
use klio_entities::klass::draft::{LinkChange, Object};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::Key;
use klio_entities::klass::{Actor, Draft, ObjectId, OrgId, Registry, Role, Value, read};
use klio_entities::store::write::WriteOptions;
use klio_entities::store::{Store, StoreConfig};
use serde_json::{Value as Json, json};

use super::gateway::Gateway;
use super::{Allow, Request};
use crate::catalog::Catalog;
use crate::limits::Limits;

mod explain;
mod timeline;

const ORDER: &str = r#"
name = "order"
title = "Order {orderNumber}"
[timeline]
at = "placedAt"
[properties]
orderNumber = { kind = "string", required = true, unique = true, searchable = true }
total = { kind = "money", indexed = true }
weight = { kind = "decimal", indexed = true }
big = { kind = "integer", big = true }
paid = { kind = "boolean", required = true, default = false }
day = { kind = "date" }
placedAt = { kind = "datetime", indexed = true }
status = { kind = "enum", values = ["pending", "on its way", "delivered"], indexed = true }
secret = { kind = "string", sensitive = true }
extra = { kind = "json" }
words = { kind = "list of string" }
[relationships]
customer = { to = "customer", kind = "one", inverse = "orders" }
products = { to = "product", kind = "many", inverse = "orders", properties = { quantity = { kind = "integer", default = 1 } } }
subject = { to = ["customer", "product"], kind = "one", inverse = "subjectOf" }
"#;

const PRODUCT: &str = r#"
name = "product"
title = "{sku}"
[properties]
sku = { kind = "string", required = true, unique = true, searchable = true }
"#;

struct World {
    gateway: Gateway,
    actor: Actor,
    registry: Arc<Registry>,
    _dir: Option<tempfile::TempDir>,
}

impl World {
    async fn on(config: StoreConfig, dir: Option<tempfile::TempDir>) -> World {
        let store = Store::open(&config).await.expect("opens");
        store.migrate().await.expect("migrates");
        let org = OrgId(store.create_org("acme", "Acme").await.expect("an org").id);
        let actor = Actor::system(org);
        let changes = [PRODUCT, ORDER]
            .iter()
            .map(|text| KlassChange::Define(read::from_toml(text).expect("a definition")));
        let report = store
            .change_klasses(&actor, changes.collect(), Default::default())
            .await
            .expect("klasses");
        let catalog = Arc::new(Catalog::new(Arc::new(store.clone()), Default::default()));
        World {
            gateway: Gateway::new(store, catalog, Limits::default()),
            actor,
            registry: report.registry,
            _dir: dir,
        }
    }

    async fn create(&self, klass: &str, json: Json) -> ObjectId {
        let draft = Draft::Create(self.object(klass, &json));
        let done = self
            .gateway
            .store
            .write(&self.actor, &self.registry, vec![draft], WriteOptions::default())
            .await
            .expect("writes");
        match done.into_iter().next() {
            Some(Ok(written)) => written.ids[0],
            other => panic!("{klass} {json}: {other:?}"),
        }
    }

    /// An object from JSON: properties by legal name, ends as `{klass: id}` or a list of these, with properties of the link beside.
    fn object(&self, klass: &str, json: &Json) -> Object {
        let klass = self.registry.klass(klass).expect("a klass");
        let (mut values, mut links) = (Vec::new(), Vec::new());
        for (name, value) in json.as_object().expect("an object") {
            if let Some(end) = klass.end(name) {
                let several = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                let changes = several.iter().map(|link| {
                    let mut link = link.as_object().expect("a link").clone();
                    let (far, id) = link.iter().next().map(|(k, v)| (k.clone(), v.clone())).expect("whom");
                    link.remove(&far);
                    let id: uuid::Uuid = id.as_str().expect("an id").parse().expect("an id");
                    LinkChange::Connect {
                        klass: self.registry.klass(&far).expect("a klass").clone(),
                        key: Key::Id(Operand::Const(Value::Id(ObjectId(id)))),
                        link: link
                            .iter()
                            .map(|(name, value)| {
                                let property = end.relationship.properties.iter().find(|p| p.legal == *name).expect("a property");
                                (property.clone(), property.accept(value, &[]).expect("a value"))
                            })
                            .collect(),
                    }
                });
                links.push((end.clone(), changes.collect()));
            } else {
                let property = klass.property(name).expect("a property");
                values.push((property.clone(), property.accept(value, &[]).expect("a value")));
            }
        }
        Object {
            klass: klass.clone(),
            values,
            links,
            path: Vec::new(),
        }
    }

    async fn ask(&self, query: &str, variables: Json) -> Json {
        self.ask_as(&self.actor, query, variables).await.0
    }

    async fn ask_as(&self, actor: &Actor, query: &str, variables: Json) -> (Json, super::Stats) {
        let request = Request {
            query: query.into(),
            variables: variables.as_object().cloned().unwrap_or_default(),
            ..Request::default()
        };
        let answer = self.gateway.execute(actor, request, Allow { mutations: true }).await;
        let json: Json = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&answer.body)));
        assert_eq!(json.get("data").is_some(), answer.executed, "{json}");
        (json, answer.stats)
    }

    /// The data of a query without errors.
    async fn data(&self, query: &str, variables: Json) -> Json {
        let mut answer = self.ask(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{query}");
        answer["data"].take()
    }

    /// A customer, three products, and orders of them.
    async fn shop(&self) -> Shop {
        let ada = self
            .create(
                "customer",
                json!({"name": "Ada Lovelace", "email": "Ada@Example.org", "externalId": "c1", "tags": ["vip"]}),
            )
            .await;
        let bob = self.create("customer", json!({"name": "Bob"})).await;
        let mut products = Vec::new();
        for sku in ["hat", "coat", "shoe"] {
            products.push(self.create("product", json!({"sku": sku})).await);
        }
        let mut orders = Vec::new();
        for i in 0..7i64 {
            let status = ["pending", "on its way", "delivered"][i as usize % 3];
            let mut order = json!({
                "orderNumber": format!("A-{i}"), "status": status, "total": {"amount": format!("{}.50", i * 10), "currency": "EUR"},
                "weight": format!("{i}.125"), "big": 9_007_199_254_740_993i64 + i, "paid": i % 2 == 0, "day": format!("2026-11-0{}", i + 1),
                "extra": {"gift": i == 3, "n": i}, "words": ["x", format!("w{i}")], "secret": "s",
                "customer": {"customer": ada.to_string()},
                "products": [{"product": products[i as usize % 3].to_string(), "quantity": i + 1}, {"product": products[(i as usize + 1) % 3].to_string()}],
                "subject": if i % 2 == 0 { json!({"customer": bob.to_string()}) } else { json!({"product": products[0].to_string()}) },
            });
            if i != 5 {
                order["placedAt"] = json!(format!("2026-11-{:02}T10:00:00.123Z", 10 + i));
            }
            orders.push(self.create("order", order).await);
        }
        Shop { ada, orders }
    }
}

struct Shop {
    ada: ObjectId,
    orders: Vec<ObjectId>,
}

/// Runs a test on each database that is there.
async fn each<F, Fut>(test: F)
where
    F: Fn(World) -> Fut,
    Fut: Future<Output = ()>,
{
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = StoreConfig::new(format!("sqlite:{}", dir.path().join("klio.db").display()));
    config.klass_grace = std::time::Duration::ZERO;
    test(World::on(config, Some(dir)).await).await;
    if let Ok(server) = std::env::var("KLIO_TEST_POSTGRES_URL") {
        let name = format!("klio_query_{}", uuid::Uuid::now_v7().simple());
        psql(&server, &format!("create database {name}"));
        let (base, _) = server.rsplit_once('/').expect("a URL with a database");
        let mut config = StoreConfig::new(format!("{base}/{name}"));
        config.klass_grace = std::time::Duration::ZERO;
        config.max_connections = 6;
        test(World::on(config, None).await).await;
        psql(&server, &format!("drop database {name} with (force)"));
    }
}

/// Databases cannot be made from within a transaction, and this crate knows no driver: Postgres's own client does it.
fn psql(server: &str, command: &str) {
    let done = std::process::Command::new("psql")
        .args([server, "-q", "-c", command])
        .status()
        .expect("psql runs");
    assert!(done.success(), "{command}");
}

#[tokio::test]
async fn an_object_by_each_of_its_keys() {
    each(|world| async move {
        let shop = world.shop().await;
        let id = shop.ada.to_text("customer");
        for (arguments, variables) in [
            ("id: $k", json!({"k": id})),
            ("externalId: $k", json!({"k": "c1"})),
        ] {
            let query = format!("query($k: {}!) {{ customer({arguments}) {{ id name tags title createdBy {{ kind id name }} klass {{ name }} }} }}", if arguments.starts_with("id") { "ID" } else { "String" });
            let data = world.data(&query, variables).await;
            assert_eq!(
                data["customer"],
                json!({"id": id, "name": "Ada Lovelace", "tags": ["vip"], "title": "Ada Lovelace", "createdBy": {"kind": "SYSTEM", "id": null, "name": "klio"}, "klass": {"name": "customer"}})
            );
        }
        let data = world.data("{ a: order(orderNumber: \"A-3\") { big weight day placedAt status total { amount currency } extra words paid secret title } b: order(orderNumber: \"none\") { id } }", json!({})).await;
        assert_eq!(
            data,
            json!({"a": {"big": "9007199254740996", "weight": "3.125", "day": "2026-11-04", "placedAt": "2026-11-13T10:00:00.123Z", "status": "PENDING",
                "total": {"amount": "30.5", "currency": "EUR"}, "extra": {"gift": true, "n": 3}, "words": ["x", "w3"], "paid": false, "secret": "s", "title": "Order A-3"}, "b": null})
        );
        let reader = Actor { role: Role::Reader, ..world.actor.clone() };
        let (masked, _) = world.ask_as(&reader, "{ order(orderNumber: \"A-3\") { secret } }", json!({})).await;
        assert_eq!(masked["data"]["order"]["secret"], Json::Null);
        let (refused, _) = world.ask_as(&reader, "{ orders(filter: {secret: {eq: \"s\"}}) { totalCount } }", json!({})).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
        assert_eq!(refused["errors"][0]["path"], json!(["orders"]));
    })
    .await;
}

#[tokio::test]
async fn nodes_of_any_klass_in_one_statement_each() {
    each(|world| async move {
        let shop = world.shop().await;
        let (ada, order) = (shop.ada.to_text("customer"), shop.orders[1].to_text("order"));
        let nothing = ObjectId::new().to_text("order");
        let query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Customer { name } ... on KObject { version } ... on Order { orderNumber customer { name } } } }";
        let (answer, stats) = world.ask_as(&world.actor, query, json!({"ids": [order, "garbage", ada, nothing, order]})).await;
        let the_order = json!({"__typename": "Order", "id": order, "version": 1, "orderNumber": "A-1", "customer": {"name": "Ada Lovelace"}});
        assert_eq!(answer["data"]["nodes"], json!([the_order, null, {"__typename": "Customer", "id": ada, "name": "Ada Lovelace"}, null, the_order]), "{answer}");
        assert_eq!(stats.statements, 2);
        // The plan is kept; the ids are those of this run.
        let (again, _) = world.ask_as(&world.actor, query, json!({"ids": [ada]})).await;
        assert_eq!(again["data"]["nodes"][0]["name"], "Ada Lovelace");
        let data = world.data(&format!("{{ node(id: \"{ada}\") {{ id }} a: object(klass: \"customer\", externalId: \"c1\") {{ id title }} b: object(klass: \"order\", id: \"{order}\") {{ title }} }}"), json!({})).await;
        assert_eq!(data, json!({"node": {"id": ada}, "a": {"id": ada, "title": "Ada Lovelace"}, "b": {"title": "Order A-1"}}));
    })
    .await;
}

#[tokio::test]
async fn pages_both_ways_over_nulls_and_ties() {
    each(|world| async move {
        world.shop().await;
        for order in ["[{placedAt: ASC}]", "[{placedAt: DESC_NULLS_FIRST}]", "[{status: DESC}, {total: ASC}]", "[{paid: ASC}]", "[]", "[{customer: {name: ASC}}]"] {
            let order = order.replace("{paid: ASC}", "{createdAt: ASC}");
            let all = world.data(&format!("{{ orders(orderBy: {order}) {{ totalCount nodes {{ orderNumber }} }} }}"), json!({})).await;
            assert_eq!(all["orders"]["totalCount"], 7);
            let all = all["orders"]["nodes"].as_array().cloned().expect("a list");
            assert_eq!(all.len(), 7);
            let forward = format!("query($after: String) {{ orders(first: 3, after: $after, orderBy: {order}) {{ nodes {{ orderNumber }} pageInfo {{ hasNextPage hasPreviousPage endCursor }} }} }}");
            let backward = format!("query($before: String) {{ orders(last: 3, before: $before, orderBy: {order}) {{ nodes {{ orderNumber }} pageInfo {{ hasNextPage hasPreviousPage startCursor }} }} }}");
            let (mut seen, mut cursor) = (Vec::new(), Json::Null);
            loop {
                let page = world.data(&forward, json!({"after": cursor})).await;
                seen.extend(page["orders"]["nodes"].as_array().cloned().expect("a list"));
                cursor = page["orders"]["pageInfo"]["endCursor"].clone();
                if page["orders"]["pageInfo"]["hasNextPage"] == false {
                    break;
                }
            }
            assert_eq!(seen, all, "{order} forward");
            let (mut seen, mut cursor) = (Vec::new(), Json::Null);
            loop {
                let page = world.data(&backward, json!({"before": cursor})).await;
                let mut nodes = page["orders"]["nodes"].as_array().cloned().expect("a list");
                nodes.append(&mut seen);
                seen = nodes;
                cursor = page["orders"]["pageInfo"]["startCursor"].clone();
                if page["orders"]["pageInfo"]["hasPreviousPage"] == false {
                    break;
                }
            }
            assert_eq!(seen, all, "{order} backward");
        }
    })
    .await;
}

#[tokio::test]
async fn relationships_their_links_and_statements() {
    each(|world| async move {
        let shop = world.shop().await;
        let query = "query($id: ID!) { customer(id: $id) { orders(first: 2, orderBy: [{orderNumber: DESC}]) { totalCount nodes { orderNumber
            products(orderBy: [{sku: ASC}]) { edges { quantity node { sku orders { totalCount } } } }
            subject { __typename ... on Customer { name } ... on Product { sku } } } pageInfo { hasNextPage } } } }";
        let (answer, stats) = world.ask_as(&world.actor, query, json!({"id": shop.ada.to_text("customer")})).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        assert_eq!(stats.statements, 1);
        let orders = &answer["data"]["customer"]["orders"];
        assert_eq!(orders["totalCount"], 7);
        assert_eq!(orders["pageInfo"]["hasNextPage"], true);
        assert_eq!(orders["nodes"][0]["orderNumber"], "A-6");
        assert_eq!(orders["nodes"][0]["subject"], json!({"__typename": "Customer", "name": "Bob"}));
        assert_eq!(orders["nodes"][1]["subject"], json!({"__typename": "Product", "sku": "hat"}));
        assert_eq!(
            orders["nodes"][0]["products"]["edges"],
            json!([{"quantity": 1, "node": {"sku": "coat", "orders": {"totalCount": 5}}}, {"quantity": 7, "node": {"sku": "hat", "orders": {"totalCount": 5}}}])
        );
    })
    .await;
}

#[tokio::test]
async fn filters_and_search() {
    each(|world| async move {
        world.shop().await;
        for (filter, numbers) in [
            ("{status: {eq: ON_ITS_WAY}}", vec![1, 4]),
            ("{status: {in: [DELIVERED, ON_ITS_WAY]}, paid: {eq: true}}", vec![2, 4]),
            ("{total: {gt: \"30.5\"}}", vec![4, 5, 6]),
            (
                "{total: {amount: {between: {from: 10.5, to: \"20.50\"}}, currency: {eq: \"EUR\"}}}",
                vec![1, 2],
            ),
            ("{weight: {lte: 1.125}}", vec![0, 1]),
            ("{big: {eq: \"9007199254740995\"}}", vec![2]),
            ("{placedAt: {isNull: true}}", vec![5]),
            ("{placedAt: {gte: \"2026-11-15T12:00:00.123+02:00\"}}", vec![6]),
            ("{day: {lt: \"2026-11-03\"}}", vec![0, 1]),
            (
                "{or: [{orderNumber: {endsWith: \"0\"}}, {not: {orderNumber: {ne: \"A-6\"}}}]}",
                vec![0, 6],
            ),
            ("{words: {hasAny: [\"w2\", \"w3\"]}}", vec![2, 3]),
            ("{extra: {path: [\"gift\"], eq: true}}", vec![3]),
            ("{extra: {path: \"n\", gte: 5}}", vec![5, 6]),
            (
                "{customer: {name: {containsIgnoreCase: \"LOVE\"}}, orderNumber: {in: \"A-1\"}}",
                vec![1],
            ),
            ("{products: {every: {sku: {in: [\"hat\", \"coat\"]}}}}", vec![0, 3, 6]),
            ("{products: {some: {sku: {eq: \"shoe\"}}}, status: {eq: DELIVERED}}", vec![2, 5]),
            ("{products: {none: {sku: {eq: \"hat\"}}}}", vec![1, 4]),
            ("{and: []}", vec![0, 1, 2, 3, 4, 5, 6]),
            ("{or: []}", vec![]),
        ] {
            let data = world
                .data(
                    &format!("{{ orders(filter: {filter}, orderBy: [{{orderNumber: ASC}}]) {{ nodes {{ orderNumber }} }} }}"),
                    json!({}),
                )
                .await;
            let found: Vec<&str> = data["orders"]["nodes"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|node| node["orderNumber"].as_str())
                .collect();
            let expected: Vec<String> = numbers.iter().map(|n| format!("A-{n}")).collect();
            assert_eq!(found, expected, "{filter}");
        }
        let search = |text: &str| json!({"text": text});
        let query = "query($text: String) { orders(search: $text) { totalCount } }";
        assert_eq!(world.data(query, search("a-3")).await["orders"]["totalCount"], 1);
        assert_eq!(world.data(query, search("a- 3")).await["orders"]["totalCount"], 1);
        assert_eq!(world.data(query, search("b")).await["orders"]["totalCount"], 0);
        assert_eq!(world.data(query, search("")).await["orders"]["totalCount"], 7);
    })
    .await;
}

#[tokio::test]
async fn numbers_and_groups() {
    each(|world| async move {
        world.shop().await;
        let query = "{ orders(filter: {paid: {eq: true}}) { aggregate { count countDistinct { status } sum { total { amount currency } weight big } avg { weight } min { placedAt } max { total { amount } } percentile { weight(p: 0.5) } }
            groups(by: [status], orderBy: [{count: DESC}, {sum: {weight: ASC}}]) { key { status } count aggregate { sum { weight } } } } }";
        let data = world.data(query, json!({})).await;
        let it = &data["orders"]["aggregate"];
        assert_eq!(it["count"], 4, "{data}");
        assert_eq!(it["countDistinct"]["status"], 3);
        assert_eq!(it["sum"]["total"], json!({"amount": "122", "currency": "EUR"}));
        assert_eq!(it["sum"]["weight"], "12.5");
        assert_eq!(it["min"]["placedAt"], "2026-11-10T10:00:00.123Z");
        assert_eq!(it["max"]["total"]["amount"], "60.5");
        let number = |json: &Json| json.as_f64().or_else(|| json.as_str().and_then(|text| text.parse().ok())).expect("a number");
        assert!((number(&it["avg"]["weight"]) - 3.125).abs() < 1e-9, "{it}");
        assert!((number(&it["percentile"]["weight"]) - 3.125).abs() < 1e-9, "{it}");
        assert_eq!(
            data["orders"]["groups"],
            json!([{"key": {"status": "PENDING"}, "count": 2, "aggregate": {"sum": {"weight": "6.25"}}},
                   {"key": {"status": "DELIVERED"}, "count": 1, "aggregate": {"sum": {"weight": "2.125"}}},
                   {"key": {"status": "ON_ITS_WAY"}, "count": 1, "aggregate": {"sum": {"weight": "4.125"}}}])
        );
        let query = "{ orders { groups(by: [placedAt, customer], bucket: MONTH, having: {count: {gt: 1}}) { key { placedAt customer { name } status } count } } }";
        let data = world.data(query, json!({})).await;
        assert_eq!(data["orders"]["groups"], json!([{"key": {"placedAt": "2026-11-01", "customer": {"name": "Ada Lovelace"}, "status": null}, "count": 6}]));
    })
    .await;
}

#[tokio::test]
async fn request_errors_cost_and_introspection_beside_data() {
    each(|world| async move {
        world.shop().await;
        let code = |answer: &Json| answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned();
        for (query, variables, expected) in [
            ("{", json!({}), "GRAPHQL_PARSE_FAILED"),
            ("{ nope }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("query A { __typename } query B { __typename }", json!({}), "UNKNOWN_OPERATION"),
            ("query($n: Int!) { orders(first: $n) { totalCount } }", json!({}), "BAD_INPUT"),
            ("query($n: Int) { orders(first: $n) { totalCount } }", json!({"n": "x"}), "BAD_INPUT"),
            ("subscription { klassChanged { change } }", json!({}), "OPERATION_NOT_ALLOWED"),
            ("{ a: orders(first: 200) { nodes { products(first: 200) { nodes { orders(first: 200) { nodes { id } } } } } } }", json!({}), "TOO_COSTLY"),
        ] {
            let answer = world.ask(query, variables).await;
            assert_eq!(code(&answer), expected, "{query}: {answer}");
            assert_eq!(answer.get("data"), None);
        }
        let answer = world.ask("{ a: order(id: \"x\") { id } orders(first: 2) { nodes { id } } }", json!({})).await;
        assert_eq!((code(&answer).as_str(), &answer["data"]["a"]), ("BAD_INPUT", &Json::Null));
        assert_eq!(answer["data"]["orders"]["nodes"].as_array().map(Vec::len), Some(2));
        let cost = &answer["extensions"]["cost"];
        assert!(cost["requested"].as_u64() >= cost["actual"].as_u64() && cost["remaining"].as_u64() > Some(0), "{cost}");
        let data = world
            .data(
                "query($n: String!) { __typename orders { totalCount } t: __type(name: $n) { ...F } __schema { queryType { name } } } fragment F on __Type { kind name }",
                json!({"n": "Order"}),
            )
            .await;
        assert_eq!(
            data,
            json!({"__typename": "Query", "orders": {"totalCount": 7}, "t": {"kind": "OBJECT", "name": "Order"}, "__schema": {"queryType": {"name": "Query"}}})
        );
        let cursor = world.data("{ orders { cursor } klass(name: \"order\") { fieldName properties { name } } viewer { name canWrite } }", json!({})).await;
        assert!(cursor["orders"]["cursor"].is_string());
        assert_eq!(cursor["klass"]["fieldName"], "order");
        assert_eq!(cursor["viewer"], json!({"name": "klio", "canWrite": true}));
    })
    .await;
}
