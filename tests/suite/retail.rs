//! A shop's real files, imported and asked about: what the gateway answers is what the files say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use klio_api::import::{BATCH, Bad, Import, Progress, Summary, Watch, import};
use klio_api::klasses;
use klio_tests::{Product, folder, on_each_database};
use serde_json::{Value as Json, json};

on_each_database!(a_shop_is_imported_and_asked_about);

/// What it hears of an import.
#[derive(Default)]
struct Heard(Vec<String>);

impl Watch for Heard {
    fn bad(&mut self, bad: &Bad) {
        self.0.push(bad.to_string());
    }
    fn at(&mut self, _: &Progress) {}
}

/// Where the shop's files are.
fn files() -> Option<PathBuf> {
    let given = std::env::var_os("KLIO_TEST_RETAIL").map(PathBuf::from);
    let found = given.unwrap_or_else(|| folder().join("../../shared/data/retail"));
    if found.join("orders.json").exists() {
        return Some(found);
    }
    eprintln!(
        "SKIPPED the shop's import: {} is not there (set KLIO_TEST_RETAIL to its folder)",
        found.display()
    );
    None
}

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn bring(product: &Product, file: PathBuf, klass: &str, map: &str) -> (Summary, Vec<String>) {
    let store = &product.running().app.store;
    let actor = klasses::system(store, "acme").await.expect("the org is there");
    let job = Import {
        file,
        format: None,
        klass: klass.to_owned(),
        mapping: text(folder().join(format!("retail/maps/{map}.toml"))),
        dry_run: false,
        batch: BATCH,
        stop: Default::default(),
    };
    let mut heard = Heard::default();
    let summary = import(store, &actor, &job, &mut heard).await.expect("it comes to its end");
    (summary, heard.0)
}

/// Imports all four files; how many objects of each klass were created, changed and unchanged.
async fn bring_all(product: &Product, files: &std::path::Path) -> BTreeMap<String, [u64; 3]> {
    let mut counts = BTreeMap::new();
    for (file, klass, map) in [
        ("users.json", "customer", "customers"),
        ("products.json", "product", "products"),
        ("orders.json", "order", "orders"),
        ("conversations.jsonl", "conversation", "conversations"),
    ] {
        let (summary, bad) = bring(product, files.join(file), klass, map).await;
        assert_eq!(bad, Vec::<String>::new(), "{file}");
        assert_eq!(summary.failed(), 0, "{file}");
        eprintln!(
            "{file}: {} objects in {:.1} s on {:?}",
            summary.objects(),
            summary.took.as_secs_f32(),
            product.backend
        );
        for (klass, tally) in summary.klasses {
            counts.insert(klass, [tally.created, tally.updated, tally.unchanged]);
        }
    }
    counts
}

const EXPECTED: [(&str, u64); 10] = [
    ("conversation", 69),
    ("customer", 500),
    ("fulfilment", 577),
    ("message", 1_036),
    ("order", 1_000),
    ("order-item", 2_978),
    ("payment", 1_102),
    ("payment-method", 695),
    ("product", 50),
    ("variant", 591),
];

/// The files, as a test reads them: by no code of the product.
struct Shop {
    users: serde_json::Map<String, Json>,
    products: serde_json::Map<String, Json>,
    orders: serde_json::Map<String, Json>,
    conversations: Vec<Json>,
}

impl Shop {
    fn read(files: &std::path::Path) -> Self {
        let map = |name: &str| serde_json::from_str(&text(files.join(name))).expect("an object of records");
        let lines = text(files.join("conversations.jsonl"));
        Self {
            users: map("users.json"),
            products: map("products.json"),
            orders: map("orders.json"),
            conversations: lines
                .lines()
                .map(|line| serde_json::from_str(line).expect("a record a line"))
                .collect(),
        }
    }
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn word(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
}

/// An amount in the files, in cents.
fn cents(json: &Json) -> i64 {
    (json.as_f64().expect("an amount") * 100.0).round() as i64
}

/// An amount in an answer, in cents.
fn cents_of(money: &Json) -> i64 {
    if money.is_null() {
        return 0;
    }
    assert_eq!(money["currency"], "USD", "{money}");
    cents(&json!(word(&money["amount"]).parse::<f64>().expect("an amount")))
}

fn ids(connection: &Json) -> BTreeSet<String> {
    list(&connection["nodes"])
        .iter()
        .map(|node| word(&node["externalId"]).to_owned())
        .collect()
}

async fn a_shop_is_imported_and_asked_about(product: Product) {
    let Some(files) = files() else { return };
    let mut definitions: Vec<PathBuf> = std::fs::read_dir(folder().join("retail/klasses"))
        .expect("the shop's klasses")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    definitions.sort();
    let texts: Vec<String> = definitions.into_iter().map(text).collect();
    let store = &product.running().app.store;
    let actor = klasses::system(store, "acme").await.expect("the org is there");
    klasses::define(store, &actor, &texts).await.expect("the shop's klasses");

    let first = bring_all(&product, &files).await;
    let expected: BTreeMap<String, [u64; 3]> = EXPECTED.iter().map(|(klass, n)| ((*klass).to_owned(), [*n, 0, 0])).collect();
    assert_eq!(first, expected);
    let counted = counts(&product).await;
    let again = bring_all(&product, &files).await;
    let unchanged: BTreeMap<String, [u64; 3]> = EXPECTED.iter().map(|(klass, n)| ((*klass).to_owned(), [0, 0, *n])).collect();
    assert_eq!(again, unchanged, "the second run changes nothing");
    assert_eq!(counts(&product).await, counted);

    let shop = Shop::read(&files);
    pending_in_texas(&product, &shop).await;
    revenue(&product, &shop).await;
    best_customers(&product, &shop).await;
    refunds(&product, &shop).await;
    what_was_said(&product, &shop).await;
    what_is_to_be_had(&product, &shop).await;
    bad_references(&product).await;
}

/// How many there are, as clients see it, and the sum of their versions.
async fn counts(product: &Product) -> Json {
    let data = product
        .data(
            "{ customers { totalCount } paymentMethods { totalCount } products { totalCount } variants { totalCount } orders { totalCount }
               orderItems { totalCount } fulfilments { totalCount } payments { totalCount } conversations { totalCount } messages { totalCount } }",
            json!({}),
        )
        .await;
    let counts: Vec<u64> = data
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, c)| c["totalCount"].as_u64())
        .collect();
    assert_eq!(counts, [500, 695, 50, 591, 1_000, 2_978, 577, 1_102, 69, 1_036]);
    data
}

/// Customers with a pending order to Texas that holds a given product, with whom there was a conversation.
async fn pending_in_texas(product: &Product, shop: &Shop) {
    let talked: BTreeSet<&str> = shop.conversations.iter().map(|c| word(&c["user_id"])).collect();
    let mut by_product: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for order in shop.orders.values() {
        let user = word(&order["user_id"]);
        if order["status"] == "pending" && order["address"]["state"] == "TX" && talked.contains(user) {
            for item in list(&order["items"]) {
                by_product.entry(word(&item["product_id"])).or_default().insert(user.to_owned());
            }
        }
    }
    assert!(by_product.len() > 5, "the question has answers");
    for id in shop.products.keys() {
        let data = product
            .data(
                "query ($product: String!) {
                   customers(first: 200, filter: {
                     orders: { some: { state: { eq: \"TX\" }, status: { eq: PENDING }, items: { some: { product: { externalId: { eq: $product } } } } } }
                     conversations: { count: { gt: 0 } }
                   }) { totalCount nodes { externalId } }
                 }",
                json!({ "product": id }),
            )
            .await;
        let expected = by_product.get(id.as_str()).cloned().unwrap_or_default();
        assert_eq!(ids(&data["customers"]), expected, "product {id}");
        assert_eq!(data["customers"]["totalCount"], expected.len());
    }
}

/// Revenue by month and state.
async fn revenue(product: &Product, shop: &Shop) {
    // As the mapping says: an order every eight hours from the beginning of 2025 on.
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut expected: BTreeMap<(String, String), (u64, i64)> = BTreeMap::new();
    for (i, order) in shop.orders.values().enumerate() {
        let (mut month, mut day) = (0, i as u64 / 3);
        while day >= DAYS[month] {
            day -= DAYS[month];
            month += 1;
        }
        let key = (format!("2025-{:02}-01", month + 1), word(&order["address"]["state"]).to_owned());
        let entry = expected.entry(key).or_default();
        entry.0 += 1;
        entry.1 += list(&order["items"]).iter().map(|item| cents(&item["price"])).sum::<i64>();
    }
    let data = product
        .data(
            "{ orders { groups(by: [placedAt, state], bucket: MONTH, zone: \"UTC\", first: 1000) {
                 key { placedAt state } count aggregate { sum { total { amount currency } } } } } }",
            json!({}),
        )
        .await;
    let got: BTreeMap<(String, String), (u64, i64)> = list(&data["orders"]["groups"])
        .iter()
        .map(|group| {
            let key = (word(&group["key"]["placedAt"]).to_owned(), word(&group["key"]["state"]).to_owned());
            let value = (group["count"].as_u64().unwrap_or(0), cents_of(&group["aggregate"]["sum"]["total"]));
            (key, value)
        })
        .collect();
    assert!(expected.len() > 100, "the question has answers");
    assert_eq!(got, expected);
}

/// The five customers with the most orders.
async fn best_customers(product: &Product, shop: &Shop) {
    let mut bought: BTreeMap<&str, u64> = BTreeMap::new();
    for order in shop.orders.values() {
        *bought.entry(word(&order["user_id"])).or_default() += 1;
    }
    let mut most: Vec<u64> = bought.values().copied().collect();
    most.sort_unstable_by(|a, b| b.cmp(a));
    let data = product
        .data(
            "{ customers(orderBy: [{ orders: { count: DESC } }], first: 5) { nodes { externalId name locations { region } orders { totalCount } } } }",
            json!({}),
        )
        .await;
    let nodes = list(&data["customers"]["nodes"]);
    let counts: Vec<u64> = nodes.iter().filter_map(|node| node["orders"]["totalCount"].as_u64()).collect();
    assert_eq!(counts, most[..5]);
    for node in nodes {
        let id = word(&node["externalId"]);
        let user = &shop.users[id];
        assert_eq!(node["orders"]["totalCount"], bought[id], "{id}");
        assert_eq!(node["locations"][0]["region"], user["address"]["state"], "{id}");
        let name = format!("{} {}", word(&user["name"]["first_name"]), word(&user["name"]["last_name"]));
        assert_eq!(node["name"], name);
    }
}

/// Orders of which something was given back, and how much, by how it was paid.
async fn refunds(product: &Product, shop: &Shop) {
    let refund = |payment: &&Json| payment["transaction_type"] == "refund";
    let mut orders = BTreeSet::new();
    let mut by_source: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for (id, order) in &shop.orders {
        for payment in list(&order["payment_history"]).iter().filter(refund) {
            orders.insert(id.clone());
            let user = &shop.users[word(&order["user_id"])];
            let source = word(&user["payment_methods"][word(&payment["payment_method_id"])]["source"]).to_uppercase();
            let entry = by_source.entry(source).or_default();
            entry.0 += 1;
            entry.1 += cents(&payment["amount"]);
        }
    }
    let data = product
        .data(
            "query ($of: OrderFilter!) { orders(filter: $of, first: 200) { totalCount nodes { externalId } }
               payments(filter: { type: { eq: REFUND } }) { groups(by: [method_source]) { key { method_source } count aggregate { sum { amount { amount currency } } } } } }",
            json!({ "of": { "payments": { "some": { "type": { "eq": "REFUND" } } } } }),
        )
        .await;
    assert!(orders.len() > 50 && by_source.len() > 1, "the question has answers");
    assert_eq!(ids(&data["orders"]), orders);
    let got: BTreeMap<String, (u64, i64)> = list(&data["payments"]["groups"])
        .iter()
        .map(|group| {
            let value = (group["count"].as_u64().unwrap_or(0), cents_of(&group["aggregate"]["sum"]["amount"]));
            (word(&group["key"]["method_source"]).to_owned(), value)
        })
        .collect();
    assert_eq!(got, by_source);
}

/// Every conversation: with whom, about which orders, and every word of it in order.
async fn what_was_said(product: &Product, shop: &Shop) {
    for conversation in &shop.conversations {
        let id = word(&conversation["conversation_id"]);
        let data = product
            .data(
                "query ($id: String!) { conversation(externalId: $id) {
                   customer { externalId } messageCountIn messageCountOut orders(first: 200) { nodes { externalId } }
                   messages(first: 200, orderBy: [{ sentAt: ASC }]) { nodes { direction body } } } }",
                json!({ "id": id }),
            )
            .await;
        let got = &data["conversation"];
        let said = list(&conversation["messages"]);
        let incoming = said.iter().filter(|m| m["from"] == "customer").count();
        assert_eq!(got["customer"]["externalId"], conversation["user_id"], "{id}");
        assert_eq!(got["messageCountIn"], incoming, "{id}");
        assert_eq!(got["messageCountOut"], said.len() - incoming, "{id}");
        let about: BTreeSet<String> = list(&conversation["order_ids"]).iter().map(|o| word(o).to_owned()).collect();
        assert_eq!(ids(&got["orders"]), about, "{id}");
        let expected: Vec<Json> = said
            .iter()
            .map(|m| json!({ "direction": if m["from"] == "customer" { "IN" } else { "OUT" }, "body": m["text"] }))
            .collect();
        assert_eq!(got["messages"]["nodes"], json!(expected), "{id}");
    }
}

/// For each product: how many variants can be ordered, and what the cheapest and dearest cost.
async fn what_is_to_be_had(product: &Product, shop: &Shop) {
    let data = product
        .data(
            "{ products(first: 200) { nodes { externalId name variants(filter: { available: { eq: true } }) {
                 totalCount aggregate { min { price { amount currency } } max { price { amount currency } } } } } } }",
            json!({}),
        )
        .await;
    let nodes = list(&data["products"]["nodes"]);
    assert_eq!(nodes.len(), shop.products.len());
    for node in nodes {
        let known = &shop.products[word(&node["externalId"])];
        let prices: Vec<i64> = known["variants"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, variant)| variant["available"] == true)
            .map(|(_, variant)| cents(&variant["price"]))
            .collect();
        assert_eq!(node["name"], known["name"]);
        assert_eq!(node["variants"]["totalCount"], prices.len());
        let aggregate = &node["variants"]["aggregate"];
        assert_eq!(cents_of(&aggregate["min"]["price"]), prices.iter().copied().min().unwrap_or(0));
        assert_eq!(cents_of(&aggregate["max"]["price"]), prices.iter().copied().max().unwrap_or(0));
    }
}

/// References that lead nowhere are told with line and reason, and nothing else is lost.
async fn bad_references(product: &Product) {
    let file = product.folder.path().join("more.jsonl");
    let lines = [
        json!({ "conversation_id": "x1", "user_id": "no_one_0000", "order_ids": ["#W0000000"], "messages": [{ "from": "customer", "text": "Hello?" }] }),
        json!({ "conversation_id": "x2", "user_id": null, "order_ids": [], "messages": [{ "from": "robot", "text": "Beep." }, { "from": "agent", "text": "Hello!" }] }),
    ];
    std::fs::write(&file, lines.map(|line| format!("{line}\n")).concat()).expect("a file");
    let (summary, bad) = bring(product, file, "conversation", "conversations").await;
    assert_eq!(
        bad,
        [
            "more.jsonl:2 messages[0] message.direction: \"robot\" is not in the map; it knows agent, customer",
            "more.jsonl:1 conversation.customer: there is no customer with externalId \"no_one_0000\"; it was imported without this link",
            "more.jsonl:1 conversation.orders: there is no order with externalId \"#W0000000\"; it was imported without this link",
        ]
    );
    assert_eq!((summary.lost_links, summary.failed()), (2, 3));
    let data = product
        .data("{ conversation(externalId: \"x1\") { customer { id } messages { nodes { body } } } x2: conversation(externalId: \"x2\") { messages { nodes { body } } } }", json!({}))
        .await;
    assert_eq!(
        data,
        json!({
            "conversation": { "customer": null, "messages": { "nodes": [{ "body": "Hello?" }] } },
            "x2": { "messages": { "nodes": [{ "body": "Hello!" }] } },
        })
    );
}
