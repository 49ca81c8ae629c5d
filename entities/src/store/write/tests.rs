//! Tests of the write path, on SQLite and (when `KLIO_TEST_POSTGRES_URL` says where) Postgres.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::layout::{Layout, quote, table};
use super::{Results, WriteOptions};
use crate::klass::draft::{LinkChange, Object, Outcome, Written};
use crate::klass::fault::Code;
use crate::klass::filter::Operand;
use crate::klass::property::Home;
use crate::klass::query::Key;
use crate::klass::relationship::{Link, Side};
use crate::klass::{Actor, Definition, Draft, End, Faults, Klass, ObjectId, OrgId, Registry, Value, read, resolve, settle, standard};
use crate::store::tests::{Fresh, each};
use crate::store::{Cursor, Dialect, Event, EventOp, Events, Resync, Source, Store, StoreError};

mod basic;
mod derived;
mod links;
mod log;
mod races;
mod together;

/// An org with klasses of its own, in a store of its own.
#[derive(Clone)]
struct World {
    store: Store,
    registry: Arc<Registry>,
    actor: Actor,
}

const ORDER: &str = r#"
name = "order"
title = "{orderNumber}"
[timeline]
at = "placedAt"
[properties]
orderNumber = { kind = "string", required = true, unique = true }
total = { kind = "money" }
weight = { kind = "decimal" }
paid = { kind = "boolean", default = false }
day = { kind = "date" }
placedAt = { kind = "datetime" }
words = { kind = "list of string" }
extra = { kind = "json" }
[relationships]
customer = { to = "customer", kind = "one", inverse = "orders", onDelete = "restrict" }
products = { to = "product", kind = "many", inverse = "orders", onDelete = "restrict", properties = { quantity = { kind = "integer", default = 1 } } }
parent = { to = "order", kind = "one", inverse = "children", onDelete = "cascade" }
subject = { to = ["customer", "product"], kind = "one", inverse = "subjectOf" }
"#;

const PRODUCT: &str = r#"
name = "product"
title = "{sku}"
[properties]
sku = { kind = "string", required = true, unique = true }
stock = { kind = "integer" }
[relationships]
maker = { to = "company", kind = "one", inverse = "products" }
sheet = { to = "sheet", kind = "one", inverse = "product", inverseKind = "one" }
"#;

const SHEET: &str = r#"
name = "sheet"
title = "{text}"
[properties]
text = { kind = "string" }
"#;

const CUSTOMER: &str = r#"
name = "customer"
[properties]
loyaltyTier = { kind = "string" }
cardNumber = { kind = "string", unique = true }
"#;

impl World {
    async fn new(store: &Store, slug: &str) -> World {
        let org = store.create_org(slug, slug).await.expect("an org");
        let org_id = OrgId(org.id);
        let written: Vec<Definition> = [CUSTOMER, SHEET, PRODUCT, ORDER]
            .iter()
            .map(|text| read::from_toml(text).expect("a definition"))
            .collect();
        let stored = settle::settle(standard::standard(), &[], written);
        let registry = Arc::new(resolve::resolve(org_id, slug, 1, &stored).expect("a registry"));
        make_tables(store, &registry).await;
        World {
            store: store.clone(),
            registry,
            actor: Actor::system(org_id),
        }
    }

    fn klass(&self, name: &str) -> Arc<Klass> {
        self.registry.klass(name).expect("a klass").clone()
    }

    /// An object from JSON: properties by legal name; ends as `{"connect": id}`, `{"create": {…}}`, `{"disconnect": id or null}`, or a
    /// list of these; `link` beside them holds properties of the link.
    fn object(&self, klass: &str, json: Json) -> Object {
        let klass = self.klass(klass);
        let mut object = Object {
            klass: klass.clone(),
            values: vec![],
            links: vec![],
            path: vec!["input".into()],
        };
        for (name, value) in json.as_object().expect("an object") {
            if let Some(end) = klass.end(name) {
                let changes = match value {
                    Json::Array(changes) => changes.iter().map(|change| self.change(end, change)).collect(),
                    change => vec![self.change(end, change)],
                };
                object.links.push((end.clone(), changes));
            } else {
                let property = klass.property(name).unwrap_or_else(|| panic!("{} has no {name}", klass.name));
                let value = if value.is_null() {
                    Value::Null
                } else {
                    property.accept(value, &[]).expect("a value")
                };
                object.values.push((property.clone(), value));
            }
        }
        object
    }

    fn change(&self, end: &Arc<End>, json: &Json) -> LinkChange {
        let name = json.get("klass").and_then(Json::as_str).unwrap_or(&end.to[0]);
        let klass = self.klass(name);
        let link = json.get("link").and_then(Json::as_object).cloned().unwrap_or_default();
        let link = link
            .iter()
            .map(|(name, value)| {
                let property = end
                    .relationship
                    .properties
                    .iter()
                    .find(|p| p.legal == *name)
                    .expect("a property of the link");
                (property.clone(), property.accept(value, &[]).expect("a value"))
            })
            .collect();
        let key = |json: &Json| match json {
            Json::String(id) => by_id(id.parse().expect("an id")),
            Json::Object(map) => {
                let (name, value) = map.iter().next().expect("a key");
                let property = klass.property(name).expect("a property").clone();
                let value = property.accept(value, &[]).expect("a value");
                Key::Unique(property, Operand::Const(value))
            }
            _ => panic!("no key: {json}"),
        };
        if let Some(json) = json.get("connect") {
            return LinkChange::Connect {
                key: key(json),
                klass,
                link,
            };
        }
        if let Some(json) = json.get("create") {
            return LinkChange::Create {
                object: self.object(name, json.clone()),
                link,
            };
        }
        if let Some(json) = json.get("upsert") {
            return LinkChange::Upsert {
                key: key(&json["key"]),
                create: self.object(name, json["create"].clone()),
                update: self.object(name, json["update"].clone()),
                link,
            };
        }
        match json.get("disconnect") {
            Some(Json::Null) => LinkChange::Disconnect { object: None },
            Some(json) => LinkChange::Disconnect {
                object: Some((klass.clone(), key(json))),
            },
            None => panic!("no change: {json}"),
        }
    }

    async fn write(&self, drafts: Vec<Draft>) -> Results {
        let options = WriteOptions {
            atomic: true,
            ..WriteOptions::default()
        };
        self.store
            .write(&self.actor, &self.registry, drafts, options)
            .await
            .expect("writes")
    }

    async fn one(&self, draft: Draft) -> Result<Written, Faults> {
        self.write(vec![draft]).await.remove(0)
    }

    async fn create(&self, klass: &str, json: Json) -> Uuid {
        self.one(Draft::Create(self.object(klass, json))).await.expect("is made").ids[0].0
    }

    fn update_draft(&self, klass: &str, id: Uuid, json: Json) -> Draft {
        Draft::Update {
            key: by_id(id),
            version: None,
            set: self.object(klass, json),
        }
    }

    async fn update(&self, klass: &str, id: Uuid, json: Json) -> Result<Written, Faults> {
        self.one(self.update_draft(klass, id, json)).await
    }

    fn upsert_draft(&self, klass: &str, key: &str, value: Json, create: Json, update: Json) -> Draft {
        let property = self.klass(klass).property(key).expect("a property").clone();
        let value = property.accept(&value, &[]).expect("a value");
        Draft::Upsert {
            key: Key::Unique(property, Operand::Const(value)),
            create: self.object(klass, create),
            update: self.object(klass, update),
        }
    }

    async fn delete(&self, klass: &str, id: Uuid) -> Result<Written, Faults> {
        let klass = self.klass(klass);
        self.one(Draft::Delete {
            klass,
            id: ObjectId(id),
            version: None,
        })
        .await
    }

    async fn restore(&self, klass: &str, id: Uuid) -> Result<Written, Faults> {
        let klass = self.klass(klass);
        self.one(Draft::Restore { klass, id: ObjectId(id) }).await
    }

    async fn destroy(&self, klass: &str, id: Uuid) -> Result<Written, Faults> {
        let klass = self.klass(klass);
        self.one(Draft::Destroy { klass, id: ObjectId(id) }).await
    }

    /// The row, by column, as events tell it; `None` when there is none.
    async fn row(&self, klass: &str, id: Uuid) -> Option<serde_json::Map<String, Json>> {
        let klass = self.klass(klass);
        let layout = Layout::of(&klass).expect("a layout");
        let dialect = self.store.dialect();
        let mut sql = format!("select {} from {} t", layout.select(), table(dialect, &klass.table));
        if let Some(extension) = klass.extension.as_ref().filter(|_| layout.extended) {
            sql.push_str(&format!(" left join {} x on x.id = t.id", table(dialect, extension)));
        }
        sql.push_str(" where t.id = $1");
        let rows = self.store.rows(sql, vec![id.into()]).await.expect("reads");
        let image = layout.read(dialect, rows.first()?, 0).expect("a row");
        Some(layout.to_json(&image))
    }

    async fn count(&self, sql: &str) -> i64 {
        let rows = self.store.rows(sql, vec![]).await.expect("reads");
        rows[0].try_get_by_index(0).expect("a number")
    }

    /// Waits until no transaction of the whole Postgres server (other tests') holds the feed back.
    async fn settled(&self) {
        while self.store.dialect() == Dialect::Postgres
            && self
                .count("select count(*) from event where xid >= pg_snapshot_xmin(pg_current_snapshot())")
                .await
                > 0
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// All events of a source from the beginning.
    async fn events(&self, source: &Source) -> Vec<Arc<Event>> {
        self.settled().await;
        let mut cursor = start(&self.store, source).await;
        let mut all = Vec::new();
        loop {
            match self.store.events(self.actor.org, source, &cursor, 7).await.expect("reads") {
                Events::Page {
                    events,
                    cursor: next,
                    more,
                    ..
                } => {
                    all.extend(events);
                    cursor = next;
                    if !more {
                        return all;
                    }
                }
                Events::Resync(why) => panic!("resync: {why}"),
            }
        }
    }
}

/// The cursor before everything.
async fn start(store: &Store, source: &Source) -> Cursor {
    let epoch = store.identity().await.expect("an identity").epoch;
    Cursor {
        epoch,
        stream: match source {
            Source::Stream(stream) => Some(crate::store::cursor::StreamPosition {
                hash: crate::store::cursor::stream_hash(stream),
                seq: 0,
            }),
            _ => None,
        },
        feed: Some(crate::store::cursor::FeedPosition {
            xid: 0,
            position: 0,
            own: crate::store::cursor::Own::NONE,
        }),
        part: 0,
    }
}

fn by_id(id: Uuid) -> Key {
    Key::Id(Operand::Const(Value::Id(ObjectId(id))))
}

fn codes(result: &Result<Written, Faults>) -> Vec<(Code, String)> {
    match result {
        Ok(_) => vec![],
        Err(faults) => faults.0.iter().map(|fault| (fault.code, fault.path.join("."))).collect(),
    }
}

/// The tables of an org's klasses, as `store/ddl.rs` would make them.
async fn make_tables(store: &Store, registry: &Registry) {
    let dialect = store.dialect();
    let kind = |storage: super::layout::Storage, part: usize| match dialect {
        Dialect::Postgres => storage.types()[part],
        Dialect::Sqlite => match (storage.types()[part], storage) {
            ("uuid", _) => "blob",
            ("text" | "date" | "jsonb", _) => "text",
            _ => "integer",
        },
    };
    let mut sql = String::new();
    let columns = |klass: &Klass, home: Home| {
        let layout = Layout::of(&Arc::new(klass.clone())).expect("a layout");
        let mut columns = Vec::new();
        for slot in layout.slots.iter().filter(|slot| slot.home == home && slot.column != "id") {
            let unique = slot.property.as_ref().is_some_and(|p| p.unique || p.column == "external_id");
            let one_to_one = klass.ends.iter().any(|end| {
                end.side == Side::From
                    && matches!(&end.relationship.link, Link::Column { column, .. } if *column == slot.column)
                    && end.relationship.inverse_cardinality == crate::klass::relationship::Cardinality::One
            });
            let constraint = if unique || one_to_one { " unique" } else { "" };
            columns.push(format!("{} {}{constraint}", quote(&slot.column), kind(slot.storage, 0)));
            if slot.storage == super::layout::Storage::Money {
                columns.push(format!("{} text", quote(&format!("{}_currency", slot.column))));
            }
        }
        columns
    };
    let uuid = if dialect == Dialect::Postgres { "uuid" } else { "blob" };
    for klass in &registry.klasses {
        if !klass.standard {
            sql.push_str(&format!(
                "create table {} (id {uuid} primary key, {});\n",
                table(dialect, &klass.table),
                columns(klass, Home::Table).join(", ")
            ));
        } else if let Some(extension) = &klass.extension {
            sql.push_str(&format!(
                "create table {} (id {uuid} primary key references {}, {});\n",
                table(dialect, extension),
                table(dialect, &klass.table),
                columns(klass, Home::Extension).join(", ")
            ));
        }
    }
    for relationship in &registry.relationships {
        if let Link::Table { table: links } = &relationship.link
            && !links.shared
        {
            let mut columns = vec![format!("from_id {uuid} not null"), format!("to_id {uuid} not null")];
            if relationship.to.len() > 1 {
                columns.push("to_klass text not null".into());
            }
            columns.push(format!("linked_at {}", kind(super::layout::Storage::Time, 0)));
            for property in &relationship.properties {
                columns.push(format!(
                    "{} {}",
                    quote(&property.column),
                    kind(super::layout::storage(&property.kind), 0)
                ));
            }
            sql.push_str(&format!(
                "create table {} ({}, primary key (from_id, to_id));\n",
                table(dialect, links),
                columns.join(", ")
            ));
        }
    }
    store
        .transact(move |tx| {
            let sql = sql.clone();
            Box::pin(async move { tx.batch(&sql).await })
        })
        .await
        .expect("makes the tables");
}
