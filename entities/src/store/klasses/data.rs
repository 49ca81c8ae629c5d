//! Does and checks what a change asks of the objects that exist: before anything is changed, in batches while others go on, and once
//! more under the lock of the switch for what was written meanwhile.

use chrono::{DateTime, Utc};
use sea_orm::QueryResult;
use serde_json::Value as Json;
use uuid::Uuid;

use super::cell;
use super::convert::convert;
use super::work::{What, Work, is_mail};
use crate::klass::fault::Code;
use crate::klass::property::Home;
use crate::klass::{Fault, Faults, ObjectId, OrgId, Property, Value};
use crate::store::ddl::{self, Name, TableSpec, quote};
use crate::store::{Dialect, Store, StoreError, Tx};

/// How many rows are read or written at a time.
const BATCH: usize = 500;
/// How many offending objects are named.
const NAMED: usize = 10;

/// Where statements run: anywhere, or within the switch.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Store(&'a Store),
    Tx(&'a Tx),
}

impl Place<'_> {
    fn dialect(&self) -> Dialect {
        match self {
            Place::Store(store) => store.dialect(),
            Place::Tx(tx) => tx.dialect(),
        }
    }

    async fn rows(&self, sql: &str, values: Vec<sea_orm::Value>) -> Result<Vec<QueryResult>, StoreError> {
        match self {
            Place::Store(store) => store.select_unhurried(sql, values).await,
            Place::Tx(tx) => tx.query(sql, values).await,
        }
    }

    async fn execute(&self, sql: String, values: Vec<sea_orm::Value>) -> Result<u64, StoreError> {
        match self {
            Place::Store(store) => {
                store
                    .transact(move |tx| {
                        let (sql, values) = (sql.clone(), values.clone());
                        Box::pin(async move { tx.execute(sql, values).await })
                    })
                    .await
            }
            Place::Tx(tx) => tx.execute(sql, values).await,
        }
    }
}

impl Work {
    fn table(&self) -> Name {
        match (self.home, &self.klass.extension) {
            (Home::Extension, Some(extension)) => extension.into(),
            _ => (&self.klass.table).into(),
        }
    }

    /// What is not so, before the tables are changed. `there`: the tables that exist.
    pub(crate) async fn check(&self, store: &Store, org: OrgId, there: &[TableSpec]) -> Result<Vec<Fault>, StoreError> {
        let place = Place::Store(store);
        match &self.what {
            What::Convert { from, to } => self.convert(place, org, from, to, None, false).await,
            What::Fill { .. } | What::Timeline { .. } => Ok(vec![]),
            What::Required { old, .. } => {
                self.required(place, org, old.as_deref().filter(|_| there.iter().any(|t| t.name == self.table())))
                    .await
            }
            What::Unique { keys } => self.unique(place, keys).await,
        }
    }

    /// Does it, in batches, while others read and write. The new columns are there.
    pub(crate) async fn run(&self, store: &Store, org: OrgId) -> Result<Vec<Fault>, StoreError> {
        match &self.what {
            What::Convert { from, to } => {
                self.convert(Place::Store(store), org, from, to, None, from.column != to.column)
                    .await
            }
            What::Fill { to, value } => self.fill(Place::Store(store), org, to, value).await,
            What::Required { .. } | What::Unique { .. } | What::Timeline { .. } => Ok(vec![]),
        }
    }

    /// Does or checks it again for what was written since the change began, while no one else writes.
    pub(crate) async fn catch_up(&self, tx: &Tx, org: OrgId, since: DateTime<Utc>) -> Result<Vec<Fault>, StoreError> {
        let place = Place::Tx(tx);
        match &self.what {
            What::Convert { from, to } => self.convert(place, org, from, to, Some(since), from.column != to.column).await,
            What::Fill { to, value } => self.fill(place, org, to, value).await,
            What::Required { column, .. } => self.required(place, org, Some(column)).await,
            // Its index is there by now.
            What::Unique { .. } => Ok(vec![]),
            What::Timeline { place } => self.timeline(tx, org, place.as_ref()).await,
        }
    }

    async fn convert(
        &self,
        place: Place<'_>,
        org: OrgId,
        from: &Property,
        to: &Property,
        since: Option<DateTime<Utc>>,
        write: bool,
    ) -> Result<Vec<Fault>, StoreError> {
        let dialect = place.dialect();
        let source = cell::columns(&from.kind, &from.column);
        let table = self.table().sql(dialect);
        let mut values: Vec<sea_orm::Value> = vec![Uuid::nil().into()];
        let mut sql = format!("select t.id, {} from {table} t", cell::select("t", &source));
        let mut condition = "t.id > $1".to_string();
        if let Some(since) = since {
            let stamps = match self.home {
                Home::Table => "t",
                Home::Extension => {
                    sql.push_str(&format!(" join {} b on b.id = t.id", Name::from(&self.klass.table).sql(dialect)));
                    condition.push_str(" and b.org_id = $3");
                    "b"
                }
            };
            condition.push_str(&format!(" and {stamps}.updated_at >= $2"));
            values.push(dialect.instant(since));
            if self.home == Home::Extension {
                values.push(org.0.into());
            }
        } else {
            // What has no value needs no new one; those that lost theirs since are seen by the last pass.
            condition.push_str(&format!(" and t.{} is not null", quote(&from.column)));
        }
        sql.push_str(&format!(" where {condition} order by t.id limit {BATCH}"));
        let path = &self.path;
        let (mut unfit, mut named, mut reason) = (0_u64, Vec::new(), String::new());
        loop {
            let rows = place.rows(&sql, values.clone()).await?;
            let mut batch = Vec::with_capacity(rows.len());
            for row in &rows {
                let id: Uuid = row.try_get_by_index(0).map_err(|e| StoreError::Corrupt(e.to_string()))?;
                values[0] = id.into();
                let value = cell::read(dialect, &from.kind, row, 1)?;
                match convert(&value, to, path) {
                    Ok(value) => {
                        let mut cells = vec![Json::from(id.simple().to_string())];
                        cells.extend(cell::cells(dialect, &to.kind, &value));
                        batch.push(Json::Array(cells));
                    }
                    Err(why) => {
                        unfit += 1;
                        if named.len() < NAMED {
                            named.push(id);
                        }
                        if reason.is_empty() {
                            reason = why;
                        }
                    }
                }
            }
            if write && unfit == 0 && !batch.is_empty() {
                let target = cell::columns(&to.kind, &to.column);
                let set: Vec<String> = target
                    .iter()
                    .enumerate()
                    .map(|(i, (c, ty))| format!("{} = {}", quote(c), cell::take(dialect, *ty, "r.value", i + 1)))
                    .collect();
                let batch = Json::Array(batch);
                let (rows, json): (_, sea_orm::Value) = match dialect {
                    Dialect::Postgres => ("jsonb_array_elements($1)", batch.into()),
                    Dialect::Sqlite => ("json_each($1)", batch.to_string().into()),
                };
                let id = cell::take(dialect, ddl::Type::Uuid, "r.value", 0);
                place
                    .execute(
                        format!("update {table} as t set {} from {rows} r where t.id = {id}", set.join(", ")),
                        vec![json],
                    )
                    .await?;
            }
            if rows.len() < BATCH {
                break;
            }
        }
        if unfit == 0 {
            return Ok(vec![]);
        }
        let message = format!(
            "It cannot go from {} to {}: the values of {} do not fit ({reason}) {}.",
            from.kind.name(),
            to.kind.name(),
            objects(unfit),
            self.list(&named, unfit)
        );
        Ok(vec![
            Fault::bad(path.clone(), message).remedy("Change those values first, or add another property of the new kind."),
        ])
    }

    /// In batches by id; in the switch in one statement, for there are few left.
    async fn fill(&self, place: Place<'_>, org: OrgId, to: &Property, value: &Value) -> Result<Vec<Fault>, StoreError> {
        let dialect = place.dialect();
        let columns = cell::columns(&to.kind, &to.column);
        let cells = Json::Array(cell::cells(dialect, &to.kind, value));
        let (row, json): (_, sea_orm::Value) = match dialect {
            Dialect::Postgres => ("$1::jsonb", cells.into()),
            Dialect::Sqlite => ("$1", cells.to_string().into()),
        };
        let taken: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(i, (_, ty))| cell::take(dialect, *ty, row, i))
            .collect();
        let names: Vec<String> = columns.iter().map(|(c, _)| quote(c)).collect();
        let (table, column) = (self.table().sql(dialect), quote(&to.column));
        let base = Name::from(&self.klass.table).sql(dialect);
        let (fill, mut values) = match self.home {
            Home::Table => {
                let set: Vec<String> = names.iter().zip(&taken).map(|(n, v)| format!("{n} = {v}")).collect();
                (
                    format!("update {table} as b set {} where b.{column} is null", set.join(", ")),
                    vec![json],
                )
            }
            Home::Extension => {
                let sql = format!(
                    "insert into {table} (id, {}) select b.id, {} from {base} b where b.org_id = $2 \
                     and not exists (select 1 from {table} t where t.id = b.id and t.{column} is not null)",
                    names.join(", "),
                    taken.join(", "),
                );
                (sql, vec![json, org.0.into()])
            }
        };
        let end = match self.home {
            Home::Table => String::new(),
            Home::Extension => {
                let set: Vec<String> = names.iter().map(|n| format!("{n} = excluded.{n}")).collect();
                format!(" on conflict (id) do update set {}", set.join(", "))
            }
        };
        if matches!(place, Place::Tx(_)) {
            place.execute(format!("{fill}{end}"), values).await?;
            return Ok(vec![]);
        }
        let n = values.len();
        let batch = format!("{fill} and b.id > ${} and b.id <= ${}{end}", n + 1, n + 2);
        let (next, own) = match self.home {
            Home::Table => ("where b.id > $1", vec![]),
            Home::Extension => ("where b.id > $1 and b.org_id = $2", vec![org.0.into()]),
        };
        let next = format!("select b.id from {base} b {next} order by b.id limit 1 offset {}", BATCH - 1);
        let mut from = Uuid::nil();
        loop {
            let mut asked: Vec<sea_orm::Value> = vec![from.into()];
            asked.extend(own.iter().cloned());
            let to = ids(&place.rows(&next, asked).await?)?.first().copied();
            values.truncate(n);
            values.extend([from.into(), to.unwrap_or(Uuid::max()).into()]);
            place.execute(batch.clone(), values.clone()).await?;
            match to {
                Some(to) => from = to,
                None => return Ok(vec![]),
            }
        }
    }

    /// Only in the switch: until then no one expects such entries.
    async fn timeline(&self, tx: &Tx, org: OrgId, place: Option<&(String, String)>) -> Result<Vec<Fault>, StoreError> {
        let kind = self.klass.name.clone();
        tx.execute(
            "delete from timeline_entry where org_id = $1 and klass = $2 and kind = $2",
            vec![org.0.into(), kind.clone().into()],
        )
        .await?;
        if let Some((customer, at)) = place {
            let id = match tx.dialect() {
                Dialect::Postgres => "gen_random_uuid()",
                Dialect::Sqlite => "randomblob(16)",
            };
            let shared = self.klass.table.shared;
            let sql = format!(
                "insert into timeline_entry (org_id, id, customer_id, at, kind, klass, object_id) \
                 select $1, {id}, t.{customer}, coalesce(t.{at}, t.created_at), $2, $2, t.id from {table} t \
                 where t.{customer} is not null and t.deleted_at is null{own}",
                customer = quote(customer),
                at = quote(at),
                table = self.table().sql(tx.dialect()),
                own = if shared { " and t.org_id = $1" } else { "" },
            );
            tx.execute(sql, vec![org.0.into(), kind.into()]).await?;
        }
        Ok(vec![])
    }

    /// `column`: where the values are, `None` when nowhere yet.
    async fn required(&self, place: Place<'_>, org: OrgId, column: Option<&str>) -> Result<Vec<Fault>, StoreError> {
        let dialect = place.dialect();
        let base = Name::from(&self.klass.table).sql(dialect);
        let (from, id, values) = match (self.home, column) {
            (Home::Table, Some(column)) => (format!("{base} t where t.{} is null", quote(column)), "t.id", vec![]),
            (Home::Table, None) => (format!("{base} t"), "t.id", vec![]),
            (Home::Extension, Some(column)) => (
                format!(
                    "{base} b left join {} t on t.id = b.id where b.org_id = $1 and t.{} is null",
                    self.table().sql(dialect),
                    quote(column)
                ),
                "b.id",
                vec![org.0.into()],
            ),
            (Home::Extension, None) => (format!("{base} b where b.org_id = $1"), "b.id", vec![org.0.into()]),
        };
        let rows = place.rows(&format!("select count(*) from {from}"), values.clone()).await?;
        let count: i64 = rows.first().and_then(|r| r.try_get_by_index(0).ok()).unwrap_or_default();
        if count == 0 {
            return Ok(vec![]);
        }
        let named = ids(&place
            .rows(&format!("select {id} from {from} order by {id} limit {NAMED}"), values)
            .await?)?;
        let count = count.unsigned_abs();
        let have = if count == 1 { "has" } else { "have" };
        let message = format!(
            "It cannot be required: {} {have} no value: {}.",
            objects(count),
            self.list(&named, count)
        );
        Ok(vec![
            Fault::new(Code::Required, self.path.clone(), message).remedy("Give it a default, or fill in those values first."),
        ])
    }

    async fn unique(&self, place: Place<'_>, keys: &[String]) -> Result<Vec<Fault>, StoreError> {
        let table = self.table().sql(place.dialect());
        let key = keys.join(", ");
        let present = keys.iter().map(|k| format!("{k} is not null")).collect::<Vec<_>>().join(" and ");
        let twice = format!("select {key} from {table} where {present} group by {key} having count(*) > 1");
        let tuple = if keys.len() > 1 { format!("({key})") } else { key.clone() };
        let from = format!("{table} where {tuple} in ({twice})");
        let rows = place.rows(&format!("select count(*) from {from}"), vec![]).await?;
        let count: i64 = rows.first().and_then(|r| r.try_get_by_index(0).ok()).unwrap_or_default();
        if count == 0 {
            return Ok(vec![]);
        }
        let named = ids(&place
            .rows(&format!("select id from {from} order by {key}, id limit {NAMED}"), vec![])
            .await?)?;
        let count = count.unsigned_abs();
        let message = format!(
            "It cannot be unique: {} share their value with another: {}.",
            objects(count),
            self.list(&named, count)
        );
        Ok(vec![
            Fault::new(Code::Duplicate, self.path.clone(), message).remedy("Make those values differ first; deleted objects count too."),
        ])
    }

    /// Who shares a value, after the index on it could not be made.
    pub(crate) async fn duplicates(&self, store: &Store) -> Result<Vec<Fault>, StoreError> {
        match &self.what {
            What::Unique { keys } => self.unique(Place::Store(store), keys).await,
            What::Convert { to, .. } | What::Fill { to, .. } if to.unique => {
                let alone = if is_mail(to) {
                    ddl::Part::Folded(to.column.clone())
                } else {
                    ddl::Part::Column(to.column.clone())
                };
                self.unique(Place::Store(store), &[alone.sql(store.dialect())]).await
            }
            _ => Ok(vec![]),
        }
    }

    fn list(&self, named: &[Uuid], count: u64) -> String {
        let mut out: Vec<String> = named.iter().map(|id| ObjectId(*id).to_text(&self.klass.id_prefix)).collect();
        if count > named.len() as u64 {
            out.push(format!("and {} more", count - named.len() as u64));
        }
        out.join(", ")
    }
}

fn objects(count: u64) -> String {
    if count == 1 {
        "1 object".into()
    } else {
        format!("{count} objects")
    }
}

fn ids(rows: &[QueryResult]) -> Result<Vec<Uuid>, StoreError> {
    rows.iter()
        .map(|r| r.try_get_by_index(0).map_err(|e| StoreError::Corrupt(e.to_string())))
        .collect()
}

/// All faults of all work, or nothing.
pub(crate) fn gather(faults: Vec<Fault>) -> Result<(), StoreError> {
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults).into()) }
}
