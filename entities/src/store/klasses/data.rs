//! Does and checks what a change asks of the objects that exist: before anything is changed, in batches while others go on, and once
//! more under the lock of the switch for what was written meanwhile.

use chrono::{DateTime, Utc};
use sea_orm::QueryResult;
use serde_json::Value as Json;
use uuid::Uuid;

use super::cell;
use super::convert::convert;
use super::run::Change;
use super::work::{Rows, What, Work, is_mail};
use crate::klass::fault::Code;
use crate::klass::{Fault, Faults, ObjectId, OrgId, Property};
use crate::store::ddl::{self, Name, TableSpec, quote};
use crate::store::event::NewEvent;
use crate::store::{Dialect, Store, StoreError, Tx};

/// How many rows are read or written at a time.
pub(super) const BATCH: usize = 500;
/// How many offending objects are named.
const NAMED: usize = 10;

/// Where statements run: anywhere, or within the switch.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Store(&'a Store),
    Tx(&'a Tx),
}

impl Place<'_> {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Place::Store(store) => store.dialect(),
            Place::Tx(tx) => tx.dialect(),
        }
    }

    pub(super) async fn rows(&self, sql: &str, values: Vec<sea_orm::Value>) -> Result<Vec<QueryResult>, StoreError> {
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
    pub(super) async fn run(&self, store: &Store, change: &Change) -> Result<Vec<Fault>, StoreError> {
        match &self.what {
            What::Convert { from, to } => {
                let write = from.column != to.column;
                self.convert(Place::Store(store), change.org, from, to, None, write).await
            }
            What::Fill { to, value } => self.fill(store, change, to, value).await.map(|()| vec![]),
            What::Required { .. } | What::Unique { .. } | What::Timeline { .. } => Ok(vec![]),
        }
    }

    /// Does or checks it again for what was written since the change began, while no one else writes. `events`: of what it does to
    /// objects, to be appended before the commit.
    pub(super) async fn catch_up(
        &self,
        tx: &Tx,
        change: &Change,
        since: DateTime<Utc>,
        events: &mut Vec<NewEvent>,
    ) -> Result<Vec<Fault>, StoreError> {
        let (place, org) = (Place::Tx(tx), change.org);
        match &self.what {
            What::Convert { from, to } => self.convert(place, org, from, to, Some(since), from.column != to.column).await,
            What::Fill { to, value } => {
                events.extend(self.fill_rest(tx, change, to, value).await?);
                Ok(vec![])
            }
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
        let selected = cell::select("t", &source);
        let present = format!("t.{} is not null", quote(&from.column));
        let mut values: Vec<sea_orm::Value> = vec![Uuid::nil().into(), Uuid::nil().into()];
        // What has no value needs no new one; those that lost theirs since are seen by the last pass.
        let sql = match (&self.rows, since) {
            // A link does not say when it was changed, so in the switch all of them are gone through again.
            (Rows::Links(..), since) => {
                let condition = if since.is_some() { "true" } else { present.as_str() };
                format!(
                    "select t.from_id, t.to_id, {selected} from {table} t where (t.from_id, t.to_id) > ($1, $2) and {condition} \
                     order by t.from_id, t.to_id limit {BATCH}"
                )
            }
            (_, None) => {
                values.truncate(1);
                format!("select t.id, t.id, {selected} from {table} t where t.id > $1 and {present} order by t.id limit {BATCH}")
            }
            (Rows::Table, Some(since)) => {
                values[1] = dialect.instant(since);
                format!("select t.id, t.id, {selected} from {table} t where t.id > $1 and t.updated_at >= $2 order by t.id limit {BATCH}")
            }
            (Rows::Extension(_), Some(since)) => {
                values[1] = dialect.instant(since);
                values.push(org.0.into());
                let base = Name::from(&self.klass.table).sql(dialect);
                format!(
                    "select t.id, t.id, {selected} from {table} t join {base} b on b.id = t.id \
                     where t.id > $1 and b.org_id = $3 and b.updated_at >= $2 order by t.id limit {BATCH}"
                )
            }
        };
        let links = matches!(self.rows, Rows::Links(..));
        let path = &self.path;
        let (mut unfit, mut named, mut reason) = (0_u64, Vec::new(), String::new());
        loop {
            let rows = place.rows(&sql, values.clone()).await?;
            let mut batch = Vec::with_capacity(rows.len());
            for row in &rows {
                let key = |i: usize| row.try_get_by_index::<Uuid>(i).map_err(|e| StoreError::Corrupt(e.to_string()));
                let (id, second) = (key(0)?, key(1)?);
                values[0] = id.into();
                if links {
                    values[1] = second.into();
                }
                let value = cell::read(dialect, &from.kind, row, 2)?;
                let fits = if value.is_null() || from.kind != to.kind {
                    convert(&value, to, path)
                } else {
                    to.accept(&value.to_json(), path).map_err(|fault| fault.message)
                };
                match fits {
                    Ok(value) => {
                        let mut cells: Vec<Json> = [id, second].map(|id| Json::from(id.simple().to_string())).to_vec();
                        cells.extend(cell::cells(dialect, &to.kind, &value));
                        batch.push(Json::Array(cells));
                    }
                    Err(why) => {
                        unfit += 1;
                        // Of links, the objects that have them.
                        if named.len() < NAMED && named.last() != Some(&id) {
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
                    .map(|(i, (c, ty))| format!("{} = {}", quote(c), cell::take(dialect, *ty, "r.value", i + 2)))
                    .collect();
                let batch = Json::Array(batch);
                let (rows, json): (_, sea_orm::Value) = match dialect {
                    Dialect::Postgres => ("jsonb_array_elements($1)", batch.into()),
                    Dialect::Sqlite => ("json_each($1)", batch.to_string().into()),
                };
                let key = |i: usize| cell::take(dialect, ddl::Type::Uuid, "r.value", i);
                let which = if links {
                    format!("t.from_id = {} and t.to_id = {}", key(0), key(1))
                } else {
                    format!("t.id = {}", key(0))
                };
                place
                    .execute(
                        format!("update {table} as t set {} from {rows} r where {which}", set.join(", ")),
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
        let (what, remedy) = if from.kind.name() == to.kind.name() {
            ("It cannot be so bounded".to_owned(), "Change those values first.")
        } else {
            (
                format!("It cannot go from {} to {}", from.kind.name(), to.kind.name()),
                "Change those values first, or add another property of the new kind.",
            )
        };
        let message = format!(
            "{what}: the values of {} do not fit ({reason}) {}.",
            self.counted(unfit),
            self.list(&named, unfit)
        );
        Ok(vec![Fault::bad(path.clone(), message).remedy(remedy)])
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
        let table = self.table().sql(dialect);
        let (from, id, values) = match (&self.rows, column) {
            (Rows::Table, Some(column)) => (format!("{base} t where t.{} is null", quote(column)), "t.id", vec![]),
            (Rows::Table, None) => (format!("{base} t"), "t.id", vec![]),
            (Rows::Links(..), Some(column)) => (format!("{table} t where t.{} is null", quote(column)), "t.from_id", vec![]),
            (Rows::Links(..), None) => (format!("{table} t"), "t.from_id", vec![]),
            (Rows::Extension(_), Some(column)) => (
                format!(
                    "{base} b left join {table} t on t.id = b.id where b.org_id = $1 and t.{} is null",
                    quote(column)
                ),
                "b.id",
                vec![org.0.into()],
            ),
            (Rows::Extension(_), None) => (format!("{base} b where b.org_id = $1"), "b.id", vec![org.0.into()]),
        };
        let rows = place.rows(&format!("select count(*) from {from}"), values.clone()).await?;
        let count: i64 = rows.first().and_then(|r| r.try_get_by_index(0).ok()).unwrap_or_default();
        if count == 0 {
            return Ok(vec![]);
        }
        let named = ids(&place
            .rows(&format!("select distinct {id} from {from} order by {id} limit {NAMED}"), values)
            .await?)?;
        let count = count.unsigned_abs();
        let have = if count == 1 { "has" } else { "have" };
        let message = format!(
            "It cannot be required: {} {have} no value: {}.",
            self.counted(count),
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
            self.counted(count),
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

    /// `3 objects`, `1 link`: what does not comply.
    fn counted(&self, count: u64) -> String {
        let what = match self.rows {
            Rows::Links(..) => "link",
            Rows::Table | Rows::Extension(_) => "object",
        };
        format!("{count} {what}{}", if count == 1 { "" } else { "s" })
    }

    fn list(&self, named: &[Uuid], count: u64) -> String {
        let mut out: Vec<String> = named.iter().map(|id| ObjectId(*id).to_text(&self.klass.id_prefix)).collect();
        match (&self.rows, count.saturating_sub(named.len() as u64)) {
            // An object may have several of them.
            (Rows::Links(..), more) if more > 0 && named.len() == NAMED => out.push("and more".into()),
            (Rows::Links(..), _) | (_, 0) => {}
            (_, more) => out.push(format!("and {more} more")),
        }
        out.join(", ")
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
