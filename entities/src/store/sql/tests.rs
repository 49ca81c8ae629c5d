//! What tests of reading share: an org that sells things, its tables and a few rows, on each database.

mod agree;
mod answers;
mod filters;
mod numbers;
mod pages;
mod plans;
mod stock;
mod text;
mod walks;

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Statement, compile};
use crate::klass::change::KlassChange;
use crate::klass::definition::Definition;
use crate::klass::filter::{Op, Operand, Target};
use crate::klass::property::Home;
use crate::klass::query::{Order, OrderBy, Output, Page, Position, Read, Rows, Window};
use crate::klass::relationship::Link;
use crate::klass::{Actor, End, Filter, Kind, Klass, ObjectId, OrgId, Property, Registry, Value, read, resolve, settle, standard};
use crate::store::klasses::ChangeOptions;
use crate::store::tests::{Fresh, each};
use crate::store::{Dialect, Store, StoreConfig};

const ORDER: &str = r#"
name = "order"
[properties]
number = { kind = "string", required = true, unique = true }
total = { kind = "money", indexed = true }
status = { kind = "enum", values = ["pending", "in progress", "done"], indexed = true }
placedAt = { kind = "datetime", indexed = true }
due = { kind = "date" }
paid = { kind = "boolean" }
weight = { kind = "decimal" }
items = { kind = "integer" }
serial = { kind = "integer", big = true, required = true, indexed = true }
remark = { kind = "text" }
meta = { kind = "json" }
labels = { kind = "string", list = true }
sizes = { kind = "integer", list = true }
place = { kind = "tree", paths = ["eu/de/berlin", "eu/fr", "us/tx"] }
contact = { kind = "email" }
spot = { kind = "object", type = "Spot", parts = { sort = { kind = "enum", values = ["a", "b"] }, open = "boolean", since = "date", seen = "datetime", rating = "decimal", floor = "integer", mail = "email", words = "list of string", cost = "money", more = "json" } }
spots = { kind = "object", list = true, type = "Spot", parts = { sort = { kind = "enum", values = ["a", "b"] }, open = "boolean", since = "date", seen = "datetime", rating = "decimal", floor = "integer", mail = "email", words = "list of string", cost = "money", more = "json" } }
costs = { kind = "money", list = true }
[relationships]
customer = { to = "customer", kind = "one", inverse = "orders" }
products = { to = "product", kind = "many", inverse = "orders", properties = { quantity = { kind = "integer" } } }
parent = { to = "order", kind = "one", inverse = "children" }
about = { to = ["customer", "product"], kind = "one", inverse = "mentions" }
"#;

const PRODUCT: &str = r#"
name = "product"
[properties]
name = { kind = "string", indexed = true }
price = { kind = "decimal", indexed = true }
"#;

const CUSTOMER: &str = r#"
name = "customer"
[properties]
tier = { kind = "string", indexed = true }
[relationships]
favourite = { to = "product", kind = "one", inverse = "fans" }
"#;

/// The registry of the org that sells things.
pub(super) fn registry(org: OrgId) -> Registry {
    let stored = settle::settle(standard::standard(), &[], definitions());
    resolve::resolve(org, "shop", 1, &stored).unwrap()
}

fn definitions() -> Vec<Definition> {
    [PRODUCT, CUSTOMER, ORDER]
        .iter()
        .map(|text| read::from_toml(text).unwrap())
        .collect()
}

pub(super) fn nil() -> OrgId {
    OrgId(Uuid::nil())
}

/// A store with the org's tables.
pub(super) struct Shop {
    pub store: Store,
    pub config: StoreConfig,
    pub org: OrgId,
    pub registry: Arc<Registry>,
    pub order: Arc<Klass>,
    pub product: Arc<Klass>,
    pub customer: Arc<Klass>,
    pub company: Arc<Klass>,
}

impl Shop {
    pub async fn new(fresh: &Fresh) -> Self {
        let store = &fresh.store;
        let org = OrgId(store.create_org("shop", "Shop").await.unwrap().id);
        let changes = definitions().into_iter().map(KlassChange::Define).collect();
        let done = store.change_klasses(&Actor::system(org), changes, ChangeOptions::default()).await;
        let registry = done.unwrap_or_else(|e| panic!("{e}")).registry;
        let klass = |name: &str| registry.klass(name).unwrap().clone();
        Self {
            store: store.clone(),
            config: fresh.config.clone(),
            org,
            order: klass("order"),
            product: klass("product"),
            customer: klass("customer"),
            company: klass("company"),
            registry,
        }
    }

    pub fn scaled(&self) -> bool {
        self.store.dialect().scaled()
    }

    pub async fn execute(&self, sql: String) {
        let text = sql.clone();
        let done = self.store.transact(move |tx| {
            let sql = sql.clone();
            Box::pin(async move { tx.execute(sql, vec![]).await })
        });
        if let Err(e) = done.await {
            panic!("{e}\n{text}");
        }
    }

    /// Runs many statements, many to a transaction.
    pub async fn batch(&self, statements: Vec<String>) {
        for statements in statements.chunks(1000) {
            self.text(statements.join(";\n")).await;
        }
    }

    async fn text(&self, text: String) {
        let text = Arc::new(text);
        let done = self.store.transact(move |tx| {
            let text = text.clone();
            Box::pin(async move { tx.batch(&text).await })
        });
        if let Err(e) = done.await {
            panic!("{e}");
        }
    }

    /// Inserts an object; ends are given by the far object's id (a polymorphic one with its klass).
    pub async fn insert(&self, klass: &Klass, n: u32, values: &[(&str, Value)], links: &[(&str, u32)]) -> ObjectId {
        let sql = self.insert_sql(klass, n, values, links);
        for sql in sql {
            self.execute(sql).await;
        }
        id(n)
    }

    pub fn insert_sql(&self, klass: &Klass, n: u32, values: &[(&str, Value)], links: &[(&str, u32)]) -> Vec<String> {
        let dialect = self.store.dialect();
        let by = Value::String("system:0:klio".into());
        let mut here = vec![
            ("id".to_owned(), literal(dialect, &Value::Id(id(n)), 0)),
            ("created_at".into(), literal(dialect, &at(1_700_000_000 + i64::from(n)), 0)),
            ("updated_at".into(), literal(dialect, &at(1_700_000_000 + i64::from(n)), 0)),
            ("created_by".into(), literal(dialect, &by, 0)),
            ("updated_by".into(), literal(dialect, &by, 0)),
            ("version".into(), "1".into()),
        ];
        if klass.table.shared {
            here.push(("org_id".into(), literal(dialect, &Value::Id(ObjectId(self.org.0)), 0)));
        }
        let mut extra = vec![("id".to_owned(), literal(dialect, &Value::Id(id(n)), 0))];
        for (legal, value) in values {
            let p = klass.property(legal).unwrap();
            let at = if p.home == Home::Table { &mut here } else { &mut extra };
            if let Some(old) = at.iter_mut().find(|(c, _)| *c == p.column) {
                old.1 = literal(dialect, value, 0);
                continue;
            }
            at.push((p.column.clone(), literal(dialect, value, scale(&p.kind))));
            if let Value::Money { currency, .. } = value {
                at.push((format!("{}_currency", p.column), format!("'{currency}'")));
            }
        }
        for (legal, far) in links {
            let end = klass.end(legal.split(':').next().unwrap()).unwrap();
            let Link::Column {
                column,
                klass_column,
                home,
            } = &end.relationship.link
            else {
                panic!("{legal} is kept in a table")
            };
            let at = if *home == Home::Table { &mut here } else { &mut extra };
            at.push((column.clone(), literal(dialect, &Value::Id(id(*far)), 0)));
            if let Some(klass_column) = klass_column {
                at.push((klass_column.clone(), format!("'{}'", legal.split(':').nth(1).unwrap())));
            }
        }
        let mut out = vec![insert(&table_name(dialect, &klass.table), &here)];
        if extra.len() > 1 {
            out.push(insert(&table_name(dialect, klass.extension.as_ref().unwrap()), &extra));
        }
        out
    }

    /// Ties an order to a product.
    pub async fn link(&self, order: u32, product: u32, quantity: i64) {
        let sql = self.link_sql(order, product, quantity);
        self.execute(sql).await;
    }

    pub fn link_sql(&self, order: u32, product: u32, quantity: i64) -> String {
        let dialect = self.store.dialect();
        let Link::Table { table } = &self.order.end("products").unwrap().relationship.link else {
            panic!("products are kept in a column")
        };
        insert(
            &table_name(dialect, table),
            &[
                ("from_id".into(), literal(dialect, &Value::Id(id(order)), 0)),
                ("to_id".into(), literal(dialect, &Value::Id(id(product)), 0)),
                ("linked_at".into(), literal(dialect, &at(0), 0)),
                ("quantity".into(), quantity.to_string()),
            ],
        )
    }

    pub fn compile(&self, read: &Read) -> Statement {
        compile(self.store.dialect(), &self.registry, read)
    }

    /// What a read answers.
    pub async fn read(&self, read: &Read, args: &[Value]) -> Json {
        self.read_as(self.org, read, args).await
    }

    pub async fn read_as(&self, org: OrgId, read: &Read, args: &[Value]) -> Json {
        let statement = self.compile(read);
        match self.store.read(org, &statement, args).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes))),
            Err(e) => panic!("{e}\n{}", statement.sql),
        }
    }

    /// The numbers of the objects of a klass that a filter finds, in order of id.
    pub async fn find(&self, klass: &Arc<Klass>, filter: Filter, args: &[Value]) -> Vec<u32> {
        let page = page(klass).filter(filter).outputs(vec![value(klass, "id")]);
        numbers(&self.read(&page.read(), args).await[0])
    }

    /// The same over orders, with a constant operand.
    pub async fn orders(&self, legal: &str, op: Op, operand: Value) -> Vec<u32> {
        self.find(&self.order, compare(&self.order, legal, op, operand), &[]).await
    }
}

/// Runs a test in a shop on each database.
pub(super) async fn each_shop<F, Fut>(test: F)
where
    F: Fn(Shop) -> Fut,
    Fut: Future<Output = ()>,
{
    let test = &test;
    each(|fresh: Fresh| async move {
        // All of it: its directory goes when it is dropped.
        let fresh = fresh;
        test(Shop::new(&fresh).await).await;
    })
    .await;
}

/// The numbers in the first place of rows.
pub(super) fn numbers(rows: &Json) -> Vec<u32> {
    rows.as_array()
        .unwrap_or_else(|| panic!("no rows: {rows}"))
        .iter()
        .map(|row| number_of(&row[0]))
        .collect()
}

pub(super) fn number_of(id: &Json) -> u32 {
    let text = id.as_str().unwrap_or_else(|| panic!("no id: {id}"));
    Uuid::parse_str(text).unwrap().as_u128() as u32
}

pub(super) fn id(n: u32) -> ObjectId {
    ObjectId(Uuid::from_u128(u128::from(n)))
}

pub(super) fn at(seconds: i64) -> Value {
    Value::DateTime(DateTime::<Utc>::from_timestamp(seconds, 0).unwrap())
}

pub(super) fn text(text: &str) -> Value {
    Value::String(text.into())
}

pub(super) fn texts(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| text(item)).collect())
}

pub(super) fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

pub(super) fn money(amount: &str, currency: &str) -> Value {
    Value::Money {
        amount: amount.parse().unwrap(),
        currency: currency.into(),
    }
}

pub(super) fn date(text: &str) -> Value {
    Value::Date(text.parse::<NaiveDate>().unwrap())
}

pub(super) fn property(klass: &Klass, legal: &str) -> Arc<Property> {
    klass
        .property(legal)
        .unwrap_or_else(|| panic!("{} has no {legal}", klass.name))
        .clone()
}

pub(super) fn end(klass: &Klass, legal: &str) -> Arc<End> {
    klass.end(legal).unwrap_or_else(|| panic!("{} has no {legal}", klass.name)).clone()
}

pub(super) fn link_property(end: &End, legal: &str) -> Arc<Property> {
    end.relationship.properties.iter().find(|p| p.legal == legal).unwrap().clone()
}

pub(super) fn value(klass: &Klass, legal: &str) -> Output {
    Output::Value(property(klass, legal))
}

pub(super) fn compare(klass: &Klass, legal: &str, op: Op, operand: Value) -> Filter {
    Filter::Compare {
        target: Target::Property(property(klass, legal)),
        op,
        operand: Operand::Const(operand),
    }
}

pub(super) fn constant(n: i64) -> Operand {
    Operand::Const(Value::Integer(n))
}

pub(super) fn asc(klass: &Klass, legal: &str) -> Order {
    Order {
        through: vec![],
        by: OrderBy::Property(property(klass, legal)),
        descending: false,
        nulls_first: false,
    }
}

pub(super) fn desc(klass: &Klass, legal: &str) -> Order {
    Order {
        descending: true,
        ..asc(klass, legal)
    }
}

/// A page of a hundred rows, to be changed.
pub(super) fn page(klass: &Arc<Klass>) -> PageOf {
    let window = Window {
        limit: constant(100),
        backward: false,
        after: None,
        before: None,
    };
    PageOf(Page {
        klass: klass.clone(),
        filter: None,
        deleted: false,
        rows: Some(Rows {
            order: vec![],
            window,
            outputs: vec![],
        }),
        total: false,
        aggregates: vec![],
        groups: vec![],
    })
}

pub(super) struct PageOf(pub Page);

impl PageOf {
    fn rows(&mut self) -> &mut Rows {
        self.0.rows.as_mut().unwrap()
    }
    pub fn filter(mut self, filter: Filter) -> Self {
        self.0.filter = Some(filter);
        self
    }
    pub fn outputs(mut self, outputs: Vec<Output>) -> Self {
        self.rows().outputs = outputs;
        self
    }
    pub fn order(mut self, order: Vec<Order>) -> Self {
        self.rows().order = order;
        self
    }
    pub fn limit(mut self, limit: i64) -> Self {
        self.rows().window.limit = constant(limit);
        self
    }
    pub fn backward(mut self) -> Self {
        self.rows().window.backward = true;
        self
    }
    pub fn after(mut self, position: Position) -> Self {
        self.rows().window.after = Some(position);
        self
    }
    pub fn before(mut self, position: Position) -> Self {
        self.rows().window.before = Some(position);
        self
    }
    pub fn total(mut self) -> Self {
        self.0.total = true;
        self
    }
    pub fn read(self) -> Read {
        Read::Page(self.0)
    }
}

fn scale(kind: &Kind) -> u32 {
    match kind {
        Kind::Decimal => crate::klass::kind::DECIMAL_SCALE,
        Kind::Money => crate::klass::kind::MONEY_SCALE,
        _ => 0,
    }
}

pub(super) fn insert(table: &str, columns: &[(String, String)]) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let values: Vec<&str> = columns.iter().map(|(_, value)| value.as_str()).collect();
    format!("insert into {table} ({}) values ({})", names.join(", "), values.join(", "))
}

fn table_name(dialect: Dialect, table: &crate::klass::registry::Table) -> String {
    super::writer::Writer::new(dialect, &Registry::new(nil(), 0, vec![], vec![])).table(table)
}

/// A value as the databases store it, as a literal.
fn literal(dialect: Dialect, value: &Value, scale: u32) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let number = |d: &Decimal| match dialect {
        Dialect::Postgres => d.to_string(),
        Dialect::Sqlite => (*d * Decimal::from(10_i64.pow(scale))).trunc().to_string(),
    };
    match (value, dialect) {
        (Value::Null, _) => "null".into(),
        (Value::Bool(b), Dialect::Postgres) => b.to_string(),
        (Value::Bool(b), Dialect::Sqlite) => i32::from(*b).to_string(),
        (Value::Integer(i), _) => i.to_string(),
        (Value::Decimal(d) | Value::Money { amount: d, .. }, _) => number(d),
        (Value::String(s), _) => quoted(s),
        (Value::Date(d), _) => format!("'{d}'"),
        (Value::DateTime(t), Dialect::Postgres) => format!("'{}'", t.to_rfc3339()),
        (Value::DateTime(t), Dialect::Sqlite) => t.timestamp_micros().to_string(),
        (Value::Id(id), Dialect::Postgres) => format!("'{id}'"),
        (Value::Id(id), Dialect::Sqlite) => format!("x'{}'", id.0.simple()),
        (Value::Json(_) | Value::List(_), _) => quoted(&value.to_json().to_string()),
    }
}
