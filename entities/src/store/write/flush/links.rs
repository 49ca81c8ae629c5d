//! Links that stand in tables of their own: taken away, then put.

use std::collections::BTreeMap;

use sea_orm::Value as Bound;
use serde_json::Value as Json;
use uuid::Uuid;

use super::MANY;
use crate::klass::Value;
use crate::klass::relationship::Link;
use crate::store::write::layout::{self, Storage, parameter, quote, table};
use crate::store::write::links::LinkOp;
use crate::store::write::unit::{Unit, row_set};
use crate::store::{Dialect, StoreError};

impl Unit<'_> {
    pub(super) async fn flush_links(&mut self) -> Result<(), StoreError> {
        // The last word on each link.
        let mut last: BTreeMap<(String, String, Uuid, Uuid), LinkOp> = BTreeMap::new();
        for op in self.links.drain(..) {
            let key = (op.relationship.klass.clone(), op.relationship.name.clone(), op.from, op.to);
            last.insert(key, op);
        }
        let mut groups: BTreeMap<(String, String), (Vec<LinkOp>, Vec<LinkOp>)> = BTreeMap::new();
        for ((klass, name, _, _), op) in last {
            let group = groups.entry((klass, name)).or_default();
            if op.put.is_some() { group.1.push(op) } else { group.0.push(op) }
        }
        for (gone, put) in groups.values() {
            for chunk in gone.chunks(MANY) {
                self.remove_links(chunk).await?;
            }
            for chunk in put.chunks(MANY) {
                self.put_links(chunk).await?;
            }
        }
        // Kept for those who ask later what changed (the timeline).
        self.links = groups.into_values().flat_map(|(gone, put)| gone.into_iter().chain(put)).collect();
        Ok(())
    }

    async fn remove_links(&self, ops: &[LinkOp]) -> Result<(), StoreError> {
        let Some(Link::Table { table: links }) = ops.first().map(|op| &op.relationship.link) else {
            return Ok(());
        };
        let dialect = self.dialect;
        let mut values: Vec<Bound> = Vec::new();
        let mut org = String::new();
        if links.shared {
            values.push(self.org.0.into());
            org = format!("org_id = {} and ", parameter(dialect, 1));
        }
        let id = |id: Uuid| match dialect {
            Dialect::Postgres => Json::String(id.to_string()),
            Dialect::Sqlite => Json::String(id.simple().to_string()),
        };
        let rows = ops.iter().map(|op| Json::Array(vec![id(op.from), id(op.to)])).collect();
        let (from, bound) = row_set(dialect, values.len() + 1, rows);
        values.push(bound);
        let sql = format!(
            "delete from {} where {org}(from_id, to_id) in (select {}, {} from {from})",
            table(dialect, links),
            Storage::Uuid.cell(dialect, 0, 0),
            Storage::Uuid.cell(dialect, 1, 0)
        );
        self.tx.execute(sql, values).await?;
        Ok(())
    }

    async fn put_links(&self, ops: &[LinkOp]) -> Result<(), StoreError> {
        let Some(relationship) = ops.first().map(|op| op.relationship.clone()) else {
            return Ok(());
        };
        let Link::Table { table: links } = &relationship.link else {
            return Ok(());
        };
        let dialect = self.dialect;
        // By the properties given: those that are not given stay as they are.
        let mut groups: BTreeMap<Vec<String>, Vec<&LinkOp>> = BTreeMap::new();
        for op in ops {
            let mut given: Vec<String> = op.put.iter().flatten().map(|(property, _)| property.column.clone()).collect();
            given.sort();
            given.dedup();
            groups.entry(given).or_default().push(op);
        }
        for (given, ops) in groups {
            let properties: Vec<_> = relationship.properties.iter().filter(|p| given.contains(&p.column)).collect();
            let mut columns = vec!["from_id".to_string(), "to_id".to_string()];
            let mut storages = vec![Storage::Uuid, Storage::Uuid];
            if relationship.to.len() > 1 {
                columns.push("to_klass".into());
                storages.push(Storage::Text);
            }
            columns.push("linked_at".into());
            storages.push(Storage::Time);
            let mut set = Vec::new();
            for property in &properties {
                let storage = layout::storage(&property.kind);
                let mut names = vec![quote(&property.column)];
                if storage == Storage::Money {
                    names.push(quote(&format!("{}_currency", property.column)));
                }
                set.extend(names.iter().map(|name| format!("{name} = excluded.{name}")));
                columns.extend(names);
                storages.push(storage);
            }
            let mut json = Vec::with_capacity(ops.len());
            for op in ops {
                let mut cells = Vec::new();
                layout::cell(dialect, Storage::Uuid, &layout::id_value(Some(op.from)), &mut cells)?;
                layout::cell(dialect, Storage::Uuid, &layout::id_value(Some(op.to)), &mut cells)?;
                if relationship.to.len() > 1 {
                    cells.push(Json::String(op.to_klass.clone()));
                }
                layout::cell(dialect, Storage::Time, &Value::DateTime(self.now), &mut cells)?;
                for property in &properties {
                    let value = op
                        .put
                        .iter()
                        .flatten()
                        .rev()
                        .find(|(p, _)| p.column == property.column)
                        .map(|(_, value)| value.clone());
                    let storage = layout::storage(&property.kind);
                    let value = layout::settle(storage, value.unwrap_or(Value::Null)).unwrap_or(Value::Null);
                    layout::cell(dialect, storage, &value, &mut cells)?;
                }
                json.push(Json::Array(cells));
            }
            let mut selected = Vec::new();
            let mut at = 0;
            for storage in storages {
                for part in 0..storage.types().len() {
                    selected.push(storage.cell(dialect, at, part));
                    at += 1;
                }
            }
            let mut values: Vec<Bound> = Vec::new();
            if links.shared {
                values.push(self.org.0.into());
                columns.insert(0, "org_id".into());
                selected.insert(
                    0,
                    if dialect == Dialect::Postgres {
                        "$1::uuid".into()
                    } else {
                        "?1".into()
                    },
                );
            }
            let (from, bound) = row_set(dialect, values.len() + 1, json);
            values.push(bound);
            let conflict = if set.is_empty() {
                "nothing".to_string()
            } else {
                format!("update set {}", set.join(", "))
            };
            let sql = format!(
                "insert into {} ({}) select {} from {from} where true on conflict (from_id, to_id) do {conflict}",
                table(dialect, links),
                columns.join(", "),
                selected.join(", ")
            );
            self.tx.execute(sql, values).await?;
        }
        Ok(())
    }
}
