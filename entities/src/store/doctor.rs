//! What differs between an org's definitions and what the database holds, and its mending.
//!
//! Mended is what can be without losing anything: what is missing is made, an index that is not valid is built again, a change that
//! was left in the middle is finished or undone, columns and tables of which the definitions themselves say that they were given up
//! are dropped, contact points are made what the customers say. The rest is told and left alone.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde::Serialize;
use uuid::Uuid;

use super::ddl::{self, Name, TableSpec, Type, quote};
use super::ddl_steps::{self, Step, literal};
use super::{Dialect, Store, StoreError};
use crate::klass::filter::ContactKind;
use crate::klass::property::Home;
use crate::klass::{OrgId, Registry, contact};
use crate::tables::klass_change;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What sort: `missing`, `invalid`, `type`, `extra`, `change`, `null`, `stream`, `contact`.
    pub what: &'static str,
    /// Where: a table, column, index, stream.
    pub at: String,
    /// In a sentence.
    pub message: String,
    /// Whether it is in order now.
    pub mended: bool,
}

/// A table as it is.
#[derive(Debug, Default)]
struct Found {
    columns: BTreeMap<String, String>,
    /// By name: whether it is valid.
    indexes: BTreeMap<String, bool>,
    /// Columns with a foreign key.
    keys: BTreeSet<String>,
}

impl Store {
    /// Compares an org's tables, log and contact points with its definitions; mends what can be, if told to.
    pub fn doctor<'a>(&'a self, org: OrgId, mend: bool) -> BoxFuture<'a, Result<Vec<Finding>, StoreError>> {
        Box::pin(async move {
            let mut findings = Vec::new();
            self.open_changes(org, mend, &mut findings).await?;
            let registry = self.fresh_registry(org).await?;
            self.tables(org, &registry, mend, &mut findings).await?;
            self.nulls(&registry, &mut findings).await?;
            self.streams(org, mend, &mut findings).await?;
            self.contact_points(org, mend, &mut findings).await?;
            Ok(findings)
        })
    }

    async fn open_changes(&self, org: OrgId, mend: bool, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let open = || {
            klass_change::Entity::find()
                .filter(klass_change::Column::OrgId.eq(org.0))
                .filter(klass_change::Column::State.is_in(["planned", "running", "switched"]))
        };
        let left = open().all(&self.connection()).await?;
        if left.is_empty() {
            return Ok(());
        }
        if mend {
            self.resume_changes().await?;
        }
        let still = open().count(&self.connection()).await?;
        for change in left {
            // What has switched waits for its grace period: that is as it should be.
            let waits = change.state == "switched";
            if !waits || still == 0 {
                findings.push(Finding {
                    what: "change",
                    at: format!("klass change {}", change.id),
                    message: format!("the change to version {} was left {}", change.version, change.state),
                    mended: mend && still == 0,
                });
            }
        }
        Ok(())
    }

    async fn tables(&self, org: OrgId, registry: &Registry, mend: bool, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let slug = self.definitions(org).await?.slug;
        let wanted = ddl::tables(registry);
        let schema = super::org::schema_name(&slug);
        let found = self.found(&schema, &wanted).await?;
        let from = findings.len();
        let mut steps = Vec::new();
        for table in &wanted {
            self.compare(table, found.get(&table.name), findings, &mut steps);
        }
        let mut drops = Vec::new();
        self.extra(org, &schema, &wanted, &found, findings, &mut drops).await?;
        if !mend || (steps.is_empty() && drops.is_empty()) {
            return Ok(());
        }
        let mut hand = self.hand(org).await?;
        for step in steps.iter().chain(&drops) {
            self.step(&mut hand, step).await?;
        }
        hand.release().await;
        let now = self.found(&schema, &wanted).await?;
        let mut still = Vec::new();
        for table in &wanted {
            self.compare(table, now.get(&table.name), &mut still, &mut Vec::new());
        }
        self.extra(org, &schema, &wanted, &now, &mut still, &mut Vec::new()).await?;
        for finding in &mut findings[from..] {
            finding.mended = !still.contains(finding);
        }
        Ok(())
    }

    /// What a table lacks, and the steps that make it.
    fn compare(&self, table: &TableSpec, found: Option<&Found>, findings: &mut Vec<Finding>, steps: &mut Vec<Step>) {
        let dialect = self.dialect();
        let mut tell = |what, at: String, message: String| {
            findings.push(Finding {
                what,
                at,
                message,
                mended: false,
            });
        };
        let Some(found) = found else {
            tell("missing", table.name.to_string(), "the table is missing".into());
            if !table.shared {
                let made = ddl_steps::steps(&[], std::slice::from_ref(table));
                steps.extend(made.expand);
            }
            return;
        };
        for column in &table.columns {
            let at = format!("{}.{}", table.name, column.name);
            match found.columns.get(&column.name) {
                None => {
                    tell("missing", at, "the column is missing".into());
                    if !table.shared {
                        steps.push(Step::AddColumn {
                            table: table.name.clone(),
                            column: column.clone(),
                        });
                    }
                }
                Some(ty) if !same_type(dialect, column.ty, ty) => {
                    tell("type", at, format!("the column is {ty}, it should be {}", column.ty.sql(dialect)));
                }
                Some(_) => {}
            }
            if column.references.is_some() && !found.keys.contains(&column.name) {
                tell(
                    "missing",
                    format!("{}.{}", table.name, column.name),
                    "the foreign key is missing".into(),
                );
                if !table.shared {
                    steps.push(Step::AddForeignKey {
                        table: table.name.clone(),
                        column: column.clone(),
                    });
                }
            }
        }
        for index in table.indexes.iter().filter(|i| !i.gin || dialect == Dialect::Postgres) {
            let name = table.name.index(&index.name, dialect);
            let (what, message) = match found.indexes.get(&name) {
                Some(true) => continue,
                Some(false) => ("invalid", "the index is not valid: its building was interrupted"),
                None => ("missing", "the index is missing"),
            };
            tell(what, name, message.into());
            if !table.shared {
                steps.push(Step::CreateIndex {
                    table: table.name.clone(),
                    index: index.clone(),
                });
            }
        }
    }

    /// What no definition wants. Of the org's own tables only: shared ones are the migrations'.
    async fn extra(
        &self,
        org: OrgId,
        schema: &str,
        wanted: &[TableSpec],
        found: &BTreeMap<Name, Found>,
        findings: &mut Vec<Finding>,
        drops: &mut Vec<Step>,
    ) -> Result<(), StoreError> {
        // While a change waits for the end of its grace period, what it is going to drop is still there, rightly.
        let waiting = klass_change::Entity::find()
            .filter(klass_change::Column::OrgId.eq(org.0))
            .filter(klass_change::Column::State.is_in(["running", "switched"]))
            .count(&self.connection())
            .await?;
        if waiting > 0 {
            return Ok(());
        }
        let retired: BTreeSet<String> = self
            .definitions(org)
            .await?
            .stored
            .into_iter()
            .flat_map(|s| s.settled.retired)
            .collect();
        let given_up = |name: &str| {
            retired.contains(name)
                || ["_currency", "_klass"]
                    .iter()
                    .any(|end| name.strip_suffix(end).is_some_and(|n| retired.contains(n)))
        };
        for (name, table) in found.iter().filter(|(name, _)| name.schema.as_deref() == Some(schema)) {
            let Some(spec) = wanted.iter().find(|t| t.name == *name) else {
                let known = given_up(&name.name);
                findings.push(extra(name.to_string(), "table", known));
                if known {
                    drops.push(Step::DropTable { table: name.clone() });
                }
                continue;
            };
            for column in table.columns.keys().filter(|c| !spec.columns.iter().any(|s| s.name == **c)) {
                let known = given_up(column);
                findings.push(extra(format!("{name}.{column}"), "column", known));
                if known {
                    drops.push(Step::DropColumn {
                        table: name.clone(),
                        column: column.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    async fn found(&self, schema: &str, wanted: &[TableSpec]) -> Result<BTreeMap<Name, Found>, StoreError> {
        let shared: Vec<String> = wanted.iter().filter(|t| t.shared).map(|t| literal(&t.name.name)).collect();
        let shared = shared.join(", ");
        let mut out: BTreeMap<Name, Found> = BTreeMap::new();
        let (columns, indexes, keys) = match self.dialect() {
            Dialect::Postgres => {
                let which = format!(
                    "(n.nspname = {} or (n.nspname = 'public' and c.relname in ({shared})))",
                    literal(schema)
                );
                let table = "pg_class c join pg_namespace n on n.oid = c.relnamespace";
                (
                    format!(
                        "select n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, null) from {table} \
                         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped where c.relkind = 'r' and {which}"
                    ),
                    format!(
                        "select n.nspname::text, c.relname::text, i.relname::text, case when x.indisvalid then 'valid' else '' end from {table} \
                         join pg_index x on x.indrelid = c.oid join pg_class i on i.oid = x.indexrelid where c.relkind = 'r' and {which}"
                    ),
                    format!(
                        "select n.nspname::text, c.relname::text, a.attname::text, '' from {table} \
                         join pg_constraint k on k.conrelid = c.oid and k.contype = 'f' and k.convalidated \
                         join pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1] where {which}"
                    ),
                )
            }
            Dialect::Sqlite => {
                let prefix = format!("{schema}__");
                let which = format!(
                    "m.type = 'table' and (substr(m.name, 1, {}) = {} or m.name in ({shared}))",
                    prefix.len(),
                    literal(&prefix)
                );
                let select = |of: &str, value: &str| format!("select '', m.name, p.{of}, {value} from sqlite_master m");
                (
                    format!("{}, pragma_table_info(m.name) p where {which}", select("name", "lower(p.type)")),
                    format!("{}, pragma_index_list(m.name) p where {which}", select("name", "'valid'")),
                    format!("{}, pragma_foreign_key_list(m.name) p where {which}", select("\"from\"", "''")),
                )
            }
        };
        for (part, sql) in [columns, indexes, keys].iter().enumerate() {
            for row in self.select(sql, vec![]).await? {
                let text = |i: usize| row.try_get_by_index::<String>(i).map_err(|e| StoreError::Corrupt(e.to_string()));
                let (space, table, it, value) = (text(0)?, text(1)?, text(2)?, text(3)?);
                let name = match (self.dialect(), table.strip_prefix(&format!("{schema}__"))) {
                    (Dialect::Sqlite, Some(own)) => own_name(schema, own),
                    (Dialect::Postgres, _) if space == schema => own_name(schema, &table),
                    _ => Name { schema: None, name: table },
                };
                let found = out.entry(name).or_default();
                match part {
                    0 => {
                        found.columns.insert(it, value);
                    }
                    1 => {
                        found.indexes.insert(it, value == "valid");
                    }
                    _ => {
                        found.keys.insert(it);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Objects without a value that they must have.
    async fn nulls(&self, registry: &Registry, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let dialect = self.dialect();
        for klass in &registry.klasses {
            let required: Vec<_> = klass
                .properties
                .iter()
                .filter(|p| p.required && !p.system && p.home == Home::Table && !klass.standard)
                .collect();
            if required.is_empty() {
                continue;
            }
            let table = Name::from(&klass.table).sql(dialect);
            let counts: Vec<String> = required
                .iter()
                .map(|p| format!("count(*) filter (where {} is null)", quote(&p.column)))
                .collect();
            // A column that is missing was told already.
            let Ok(rows) = self
                .select_unhurried(
                    &format!("select {} from {table} where deleted_at is null", counts.join(", ")),
                    vec![],
                )
                .await
            else {
                continue;
            };
            for (i, property) in required.iter().enumerate() {
                let count: i64 = rows.first().and_then(|r| r.try_get_by_index(i).ok()).unwrap_or_default();
                if count > 0 {
                    findings.push(Finding {
                        what: "null",
                        at: format!("{}.{}", klass.name, property.name),
                        message: format!("{count} objects have no value, though it is required"),
                        mended: false,
                    });
                }
            }
        }
        Ok(())
    }

    /// Streams whose counter is not the number of their last event, or which have a hole.
    async fn streams(&self, org: OrgId, mend: bool, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let sql = "select e.stream, e.last, e.n, h.seq, h.floor from \
             (select stream, max(seq) as last, count(*) as n from event where org_id = $1 group by stream) e \
             left join stream_head h on h.org_id = $1 and h.stream = e.stream \
             where h.seq is null or h.seq <> e.last or e.n <> e.last - h.floor order by 1 limit 1000";
        for row in self.select_unhurried(sql, vec![org.0.into()]).await? {
            let int = |i: usize| {
                row.try_get_by_index::<Option<i64>>(i)
                    .map_err(|e| StoreError::Corrupt(e.to_string()))
            };
            let stream: String = row.try_get_by_index(0).map_err(|e| StoreError::Corrupt(e.to_string()))?;
            let (last, n, head, floor) = (int(1)?.unwrap_or(0), int(2)?.unwrap_or(0), int(3)?, int(4)?.unwrap_or(0));
            let message = match head {
                None => format!("the stream has {n} events and no head"),
                Some(head) if head != last => format!("the head says {head}, the last event is {last}"),
                Some(_) => format!("of the events {} to {last} only {n} are there", floor + 1),
            };
            // A counter that is behind would give a number twice: that can be mended. A hole cannot.
            let behind = head.is_none_or(|head| head < last);
            if mend && behind {
                let stream = stream.clone();
                self.transact(move |tx| {
                    let stream = stream.clone();
                    Box::pin(async move {
                        tx.execute(
                            "insert into stream_head (org_id, stream, seq) values ($1, $2, $3) on conflict (org_id, stream) do update set seq = excluded.seq \
                             where stream_head.seq < excluded.seq",
                            vec![org.0.into(), stream.into(), last.into()],
                        )
                        .await
                    })
                })
                .await?;
            }
            findings.push(Finding {
                what: "stream",
                at: stream,
                message,
                mended: mend && behind,
            });
        }
        Ok(())
    }

    /// Contact points that are not those which their customers have.
    async fn contact_points(&self, org: OrgId, mend: bool, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        type Point = (&'static str, String);
        let mut after = Uuid::nil();
        loop {
            let sql =
                "select id, email, phone, emails, phones, external_ids from customer where org_id = $1 and id > $2 order by id limit 500";
            let rows = self.select(sql, vec![org.0.into(), after.into()]).await?;
            let mut wanted: BTreeMap<Uuid, BTreeSet<Point>> = BTreeMap::new();
            for row in &rows {
                let damaged = |e: sea_orm::DbErr| StoreError::Corrupt(e.to_string());
                let id: Uuid = row.try_get_by_index(0).map_err(damaged)?;
                after = id;
                let points = wanted.entry(id).or_default();
                let mut put = |kind, name, text: &str| points.extend(contact::normalise(kind, text).map(|it| (name, it)));
                let text = |i: usize| row.try_get_by_index::<Option<String>>(i).map_err(damaged);
                let list = |i: usize| row.try_get_by_index::<Option<serde_json::Value>>(i).map_err(damaged);
                for (at, kind, name, part) in [
                    (1, ContactKind::Email, "email", "email"),
                    (2, ContactKind::Phone, "phone", "phone"),
                    (5, ContactKind::ExternalId, "externalId", "externalId"),
                ] {
                    if at < 3
                        && let Some(text) = text(at)?
                    {
                        put(kind, name, &text);
                    }
                    let items = list(if at < 3 { at + 2 } else { at })?;
                    for item in items.as_ref().and_then(|l| l.as_array()).into_iter().flatten() {
                        if let Some(text) = item.get(part).and_then(|t| t.as_str()) {
                            put(kind, name, text);
                        }
                    }
                }
            }
            let (Some(first), Some(last)) = (wanted.keys().next(), wanted.keys().last()) else {
                return Ok(());
            };
            let held = self
                .select(
                    "select customer_id, kind, value from contact_point where org_id = $1 and customer_id between $2 and $3",
                    vec![org.0.into(), (*first).into(), (*last).into()],
                )
                .await?;
            let mut present: BTreeMap<Uuid, BTreeSet<(String, String)>> = BTreeMap::new();
            for row in &held {
                let get = |i: usize| row.try_get_by_index::<String>(i).map_err(|e| StoreError::Corrupt(e.to_string()));
                let id: Uuid = row.try_get_by_index(0).map_err(|e| StoreError::Corrupt(e.to_string()))?;
                present.entry(id).or_default().insert((get(1)?, get(2)?));
            }
            for (id, points) in wanted {
                let have = present.remove(&id).unwrap_or_default();
                let want: BTreeSet<(String, String)> = points.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
                for (point, missing) in want
                    .difference(&have)
                    .map(|p| (p, true))
                    .chain(have.difference(&want).map(|p| (p, false)))
                {
                    let mended = mend && self.mend_contact(org, id, point.clone(), missing).await?;
                    findings.push(Finding {
                        what: "contact",
                        at: format!("customer {id}"),
                        // The value itself is someone's address: it does not belong in a log.
                        message: format!(
                            "a contact point of kind {} {}",
                            point.0,
                            if missing {
                                "does not identify the customer"
                            } else {
                                "is no longer the customer's"
                            }
                        ),
                        mended,
                    });
                }
            }
        }
    }

    /// `false` when another customer holds it.
    async fn mend_contact(&self, org: OrgId, customer: Uuid, point: (String, String), missing: bool) -> Result<bool, StoreError> {
        let rows = self
            .transact(move |tx| {
                let (kind, value) = point.clone();
                Box::pin(async move {
                    let values = vec![org.0.into(), customer.into(), kind.into(), value.into()];
                    let sql = if missing {
                        "insert into contact_point (org_id, customer_id, kind, value) values ($1, $2, $3, $4) on conflict do nothing"
                    } else {
                        "delete from contact_point where org_id = $1 and customer_id = $2 and kind = $3 and value = $4"
                    };
                    tx.execute(sql, values).await
                })
            })
            .await?;
        Ok(rows > 0)
    }
}

fn own_name(schema: &str, table: &str) -> Name {
    Name {
        schema: Some(schema.to_owned()),
        name: table.to_owned(),
    }
}

fn extra(at: String, sort: &str, given_up: bool) -> Finding {
    let message = if given_up {
        format!("the {sort} was given up by a change and is still there")
    } else {
        format!("no definition knows the {sort}; look at it, then drop it by hand")
    };
    Finding {
        what: "extra",
        at,
        message,
        mended: false,
    }
}

fn same_type(dialect: Dialect, wanted: Type, found: &str) -> bool {
    let name = match (dialect, wanted) {
        (Dialect::Postgres, Type::Instant) => "timestamp with time zone",
        _ => wanted.sql(dialect),
    };
    name == found
}
