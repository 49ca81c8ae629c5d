//! Who holds a unique value: the database says that one is taken, this finds out which and by whom.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sea_orm::{QueryResult, Value as Bound};
use uuid::Uuid;

use super::apply::{duplicate, step};
use super::flush::contact_changes;
use super::layout::{self, Storage, in_texts, parameter, quote, table};
use super::unit::{Unit, broken, label, values_condition};
use crate::klass::property::Home;
use crate::klass::{Fault, Klass, OrgId, Property, Value};
use crate::store::{Dialect, Store, StoreError, Tx};

/// A unique value that a unit tried to write.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    draft: usize,
    path: Vec<String>,
    klass: Arc<Klass>,
    id: Uuid,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Property(Arc<Property>, Value),
    Contact(&'static str, String),
}

/// Where the answer is looked for.
pub(super) enum Place<'a> {
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

    async fn rows(&self, sql: String, values: Vec<Bound>) -> Result<Vec<QueryResult>, StoreError> {
        match self {
            Place::Store(store) => store.rows(sql, values).await,
            Place::Tx(tx) => tx.query(sql, values).await,
        }
    }
}

/// All unique values that a unit writes anew.
pub(super) fn tried(unit: &Unit<'_>) -> Vec<Tried> {
    let mut tried = Vec::new();
    for row in unit.rows.values().filter(|row| row.touched) {
        let mut put = |path, what| {
            tried.push(Tried {
                draft: row.draft,
                path,
                klass: row.klass.clone(),
                id: row.id,
                what,
            });
        };
        for (i, slot) in row.layout.slots.iter().enumerate() {
            let Some(property) = &slot.property else { continue };
            let unique = (property.unique || Some(i) == row.layout.external_id) && i != row.layout.id;
            let changed = row.before.as_ref().is_none_or(|before| before[i] != row.after[i]);
            if unique && changed && !row.after[i].is_null() {
                put(
                    step(&row.path, &property.legal),
                    What::Property(property.clone(), row.after[i].clone()),
                );
            }
        }
        for (kind, value) in contact_changes(row).0 {
            let legal = match kind {
                "email" => "email",
                "phone" => "phone",
                _ => "externalIds",
            };
            put(step(&row.path, legal), What::Contact(kind, value));
        }
    }
    tried
}

/// A fault, by draft, for each value that another object holds. None: no one holds any (any more).
pub(super) async fn explain(place: Place<'_>, org: OrgId, tried: &[Tried]) -> Result<HashMap<usize, Vec<Fault>>, StoreError> {
    let dialect = place.dialect();
    let mut faults: HashMap<usize, Vec<Fault>> = HashMap::new();
    let mut properties: BTreeMap<(String, String), Vec<&Tried>> = BTreeMap::new();
    let mut contacts: BTreeMap<&'static str, Vec<&Tried>> = BTreeMap::new();
    for one in tried {
        match &one.what {
            What::Property(property, _) => properties
                .entry((one.klass.name.clone(), property.column.clone()))
                .or_default()
                .push(one),
            What::Contact(kind, _) => contacts.entry(kind).or_default().push(one),
        }
    }
    for all in properties.values() {
        let Some((klass, What::Property(property, _))) = all.first().map(|one| (&one.klass, &one.what)) else {
            continue;
        };
        let storage = layout::storage(&property.kind);
        let alias = if property.home == Home::Extension { 'x' } else { 't' };
        let column = format!("{alias}.{}", quote(&property.column));
        let values: Vec<Value> = all
            .iter()
            .filter_map(|one| match &one.what {
                What::Property(property, value) => Some(layout::key_value(&property.kind, value.clone())),
                What::Contact(..) => None,
            })
            .collect();
        let key = layout::key_column(dialect, &property.kind, &column);
        let (condition, bound) = values_condition(dialect, storage, &key, 1, values.iter())?;
        let select = if storage == Storage::Money {
            format!("{column}, {alias}.{}", quote(&format!("{}_currency", property.column)))
        } else {
            column
        };
        let mut sql = format!(
            "select t.id, t.deleted_at is not null, {select} from {} t",
            table(dialect, &klass.table)
        );
        if let Some(extension) = klass.extension.as_ref().filter(|_| property.home == Home::Extension) {
            sql.push_str(&format!(" join {} x on x.id = t.id", table(dialect, extension)));
        }
        sql.push_str(&format!(" where {condition}"));
        let mut parameters = vec![bound];
        if klass.table.shared {
            sql.push_str(&format!(" and t.org_id = {}", parameter(dialect, 2)));
            parameters.push(org.0.into());
        }
        let mut holders: HashMap<String, (Uuid, bool)> = HashMap::new();
        for row in place.rows(sql, parameters).await? {
            let id: Uuid = row.try_get_by_index(0).map_err(broken)?;
            let value = layout::key_value(&property.kind, layout::read(dialect, storage, &row, &mut 2)?);
            holders.insert(layout::to_json(&value).to_string(), (id, truth(dialect, &row, 1)?));
        }
        for one in all {
            let What::Property(property, value) = &one.what else { continue };
            if let Some((holder, deleted)) = holders.get(&layout::to_json(&layout::key_value(&property.kind, value.clone())).to_string())
                && *holder != one.id
            {
                let fault = duplicate(&one.path, &property.legal, value, &label(&one.klass, *holder), *deleted, false);
                faults.entry(one.draft).or_default().push(fault);
            }
        }
    }
    for (kind, all) in contacts {
        let values = all.iter().filter_map(|one| match &one.what {
            What::Contact(_, value) => Some(value.as_str()),
            What::Property(..) => None,
        });
        let sql = format!(
            "select p.value, p.customer_id, c.deleted_at is not null from contact_point p join customer c on c.id = p.customer_id \
             where p.org_id = {} and p.kind = {} and p.value {}",
            parameter(dialect, 1),
            parameter(dialect, 2),
            in_texts(dialect, 3)
        );
        let mut holders: HashMap<String, (Uuid, bool)> = HashMap::new();
        for row in place
            .rows(sql, vec![org.0.into(), kind.into(), layout::texts(dialect, values)])
            .await?
        {
            let holder = (row.try_get_by_index(1).map_err(broken)?, truth(dialect, &row, 2)?);
            holders.insert(row.try_get_by_index(0).map_err(broken)?, holder);
        }
        // Two drafts of one list with the same contact point: the first may have it.
        let mut first: HashMap<&str, Uuid> = HashMap::new();
        for one in all {
            let What::Contact(_, value) = &one.what else { continue };
            let told = one.path.last().cloned().unwrap_or_default();
            let text = Value::String(value.clone());
            let fault = match holders.get(value) {
                Some((holder, deleted)) if *holder != one.id => Some(
                    duplicate(&one.path, &told, &text, &label(&one.klass, *holder), *deleted, false).remedy(contact_remedy(kind, *deleted)),
                ),
                Some(_) => None,
                None => match first.insert(value, one.id) {
                    Some(other) if other != one.id => Some(duplicate(&one.path, &told, &text, "", false, true)),
                    _ => None,
                },
            };
            if let Some(fault) = fault {
                faults.entry(one.draft).or_default().push(fault);
            }
        }
    }
    Ok(faults)
}

fn contact_remedy(kind: &str, deleted: bool) -> String {
    let shared = match kind {
        "email" => "sharedEmails",
        "phone" => "sharedPhones",
        _ => "sharedExternalIds",
    };
    match deleted {
        true => format!("restore or destroy that customer, or put it into {shared}"),
        false => format!("change that customer instead, or put it into {shared} if it is not the customer's alone"),
    }
}

fn truth(dialect: Dialect, row: &QueryResult, index: usize) -> Result<bool, StoreError> {
    Ok(match dialect {
        Dialect::Postgres => row.try_get_by_index::<bool>(index).map_err(broken)?,
        Dialect::Sqlite => row.try_get_by_index::<i64>(index).map_err(broken)? != 0,
    })
}
