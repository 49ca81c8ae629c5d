//! Contact points: by which addresses a customer is found.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{MANY, contact_changes};
use crate::store::write::layout::{self, Storage, in_ids, in_texts, parameter};
use crate::store::write::unit::{Unit, row_set};
use crate::store::{Dialect, StoreError};

impl Unit<'_> {
    pub(super) async fn flush_lost_contacts(&self) -> Result<(), StoreError> {
        let mut lost: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut holders = Vec::new();
        for row in self.rows.values().filter(|row| !row.is_new()) {
            let (_, gone) = contact_changes(row);
            if !gone.is_empty() {
                holders.push(row.id);
            }
            gone.into_iter().for_each(|(kind, value)| lost.entry(kind).or_default().push(value));
        }
        for (kind, values) in lost {
            let sql = format!(
                "delete from contact_point where org_id = {} and kind = {} and value {} and customer_id {}",
                parameter(self.dialect, 1),
                parameter(self.dialect, 2),
                in_texts(self.dialect, 3),
                in_ids(self.dialect, 4)
            );
            let texts = layout::texts(self.dialect, values.iter().map(String::as_str));
            self.tx
                .execute(
                    sql,
                    vec![self.org.0.into(), kind.into(), texts, layout::ids(self.dialect, &holders)],
                )
                .await?;
        }
        Ok(())
    }

    pub(super) async fn flush_gained_contacts(&self) -> Result<(), StoreError> {
        let dialect = self.dialect;
        let mut gained = Vec::new();
        for row in self.rows.values() {
            let (new, _) = contact_changes(row);
            for (kind, value) in new {
                let mut cells = Vec::with_capacity(3);
                layout::cell(dialect, Storage::Uuid, &layout::id_value(Some(row.id)), &mut cells)?;
                cells.push(kind.into());
                cells.push(value.into());
                gained.push(Json::Array(cells));
            }
        }
        for chunk in gained.chunks(MANY) {
            let (from, bound) = row_set(dialect, 2, chunk.to_vec());
            let sql = format!(
                "insert into contact_point (org_id, customer_id, kind, value) select {}, {}, {}, {} from {from}",
                if dialect == Dialect::Postgres { "$1::uuid" } else { "?1" },
                Storage::Uuid.cell(dialect, 0, 0),
                Storage::Text.cell(dialect, 1, 0),
                Storage::Text.cell(dialect, 2, 0)
            );
            self.tx.execute(sql, vec![self.org.0.into(), bound]).await?;
        }
        Ok(())
    }
}
