//! Counting anew, by the database, what does not follow from what is in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sea_orm::Value as Bound;
use serde_json::json;
use uuid::Uuid;

use super::{PREVIEW, Recount, add, get_mark, preview, set, set_mark};
use crate::klass::Value;
use crate::store::write::layout::{self, aside, in_ids, parameter};
use crate::store::write::unit::{Unit, broken};
use crate::store::{Dialect, StoreError};

impl Unit<'_> {
    /// Counts anew what [`Unit::derive`] could not tell, from the rows as they are now in the database.
    pub async fn recount(&mut self, recount: &Recount) -> Result<(), StoreError> {
        if !recount.conversations.is_empty() {
            self.recount_conversations(&recount.conversations.iter().copied().collect::<Vec<_>>())
                .await?;
        }
        if !recount.customers.is_empty() {
            self.recount_customers(&recount.customers.iter().copied().collect::<Vec<_>>())
                .await?;
        }
        if !recount.activity.is_empty() {
            let ids: Vec<Uuid> = recount.activity.iter().copied().collect();
            let sql = format!(
                "select customer_id, max(at) from timeline_entry where org_id = {} and customer_id {} group by customer_id",
                parameter(self.dialect, 1),
                in_ids(self.dialect, 2)
            );
            let mut latest: HashMap<Uuid, DateTime<Utc>> = HashMap::new();
            for row in self.tx.query(sql, vec![self.org.0.into(), layout::ids(self.dialect, &ids)]).await? {
                let id: Uuid = row.try_get_by_index(0).map_err(broken)?;
                latest.extend(layout::read_time(self.dialect, &row, &mut 1)?.map(|at| (id, at)));
            }
            for id in ids {
                if let Some(row) = self.rows.get_mut(&id) {
                    let layout = row.layout.clone();
                    set(
                        &layout,
                        &mut row.after,
                        "last_activity_at",
                        latest.get(&id).map_or(Value::Null, |at| Value::DateTime(*at)),
                    );
                }
            }
        }
        Ok(())
    }

    async fn recount_conversations(&mut self, ids: &[Uuid]) -> Result<(), StoreError> {
        let (org, among, aside) = (parameter(self.dialect, 1), in_ids(self.dialect, 2), aside(self.dialect));
        let values = || -> Vec<Bound> { vec![self.org.0.into(), layout::ids(self.dialect, ids)] };
        for id in ids {
            if let Some(row) = self.rows.get_mut(id) {
                let layout = row.layout.clone();
                for column in ["message_count_in", "message_count_out", "note_count"] {
                    set(&layout, &mut row.after, column, Value::Integer(0));
                }
                for name in ["first_message_in", "last_message_in", "first_message_out", "last_message_out"] {
                    set_mark(&layout, &mut row.after, name, None);
                }
                for column in ["last_message_at", "first_response_at", "preview", "channels"] {
                    set(&layout, &mut row.after, column, Value::Null);
                }
            }
        }
        let sql = format!(
            "select m.conversation_id, m.direction, m.channel, count(*), min(m.sent_at), max(m.sent_at) from message m \
             where {aside}m.org_id = {org} and m.conversation_id {among} and m.deleted_at is null group by 1, 2, 3"
        );
        let mut channels: BTreeMap<Uuid, BTreeSet<String>> = BTreeMap::new();
        for found in self.tx.query(sql, values()).await? {
            let id: Uuid = found.try_get_by_index(0).map_err(broken)?;
            let direction: String = found.try_get_by_index(1).map_err(broken)?;
            let channel: String = found.try_get_by_index(2).map_err(broken)?;
            let n: i64 = found.try_get_by_index(3).map_err(broken)?;
            let (first, last) = (
                layout::read_time(self.dialect, &found, &mut 4)?,
                layout::read_time(self.dialect, &found, &mut 5)?,
            );
            channels.entry(id).or_default().insert(channel.clone());
            let Some(row) = self.rows.get_mut(&id) else { continue };
            let layout = row.layout.clone();
            add(&layout, &mut row.after, &format!("message_count_{direction}"), n);
            let name = format!("first_message_{direction}");
            if let Some(first) = first {
                let mark = (first, channel.clone());
                let known = get_mark(&layout, &row.after, &name);
                set_mark(
                    &layout,
                    &mut row.after,
                    &name,
                    Some(known.map_or_else(|| mark.clone(), |known| known.min(mark.clone()))),
                );
            }
            let name = format!("last_message_{direction}");
            let latest = get_mark(&layout, &row.after, &name).max(last.map(|last| (last, channel)));
            set_mark(&layout, &mut row.after, &name, latest);
            let latest = layout.time(&row.after, "last_message_at").max(last);
            set(
                &layout,
                &mut row.after,
                "last_message_at",
                latest.map_or(Value::Null, Value::DateTime),
            );
        }
        for (id, channels) in channels {
            if let Some(row) = self.rows.get_mut(&id) {
                let layout = row.layout.clone();
                set(&layout, &mut row.after, "channels", Value::Json(json!(channels)));
            }
        }
        // The first of the answers behind the first question. One pass over the conversations' messages: a sub-select for each
        // of them would be done as many times as there are messages.
        let sql = format!(
            "select o.conversation_id, min(o.sent_at) from (select m.conversation_id, m.sent_at, m.direction, {auto} as auto, \
             min(case when m.direction = 'in' then m.sent_at end) over (partition by m.conversation_id) as asked from message m \
             where {aside}m.org_id = {org} and m.conversation_id {among} and m.deleted_at is null) o \
             where o.direction = 'out' and not o.auto and o.sent_at >= o.asked group by 1",
            auto = if self.dialect == Dialect::Postgres {
                "m.auto"
            } else {
                "coalesce(m.auto, 0)"
            }
        );
        for found in self.tx.query(sql, values()).await? {
            let id: Uuid = found.try_get_by_index(0).map_err(broken)?;
            let at = layout::read_time(self.dialect, &found, &mut 1)?;
            if let Some(row) = self.rows.get_mut(&id) {
                let layout = row.layout.clone();
                set(
                    &layout,
                    &mut row.after,
                    "first_response_at",
                    at.map_or(Value::Null, Value::DateTime),
                );
            }
        }
        let sql = format!(
            "select l.conversation_id, l.preview, substr(l.body, 1, {}) from (select m.conversation_id, m.preview, m.body, \
             row_number() over (partition by m.conversation_id order by m.sent_at desc, m.id desc) as place from message m \
             where {aside}m.org_id = {org} and m.conversation_id {among} and m.deleted_at is null) l where l.place = 1",
            PREVIEW * 4
        );
        for found in self.tx.query(sql, values()).await? {
            let id: Uuid = found.try_get_by_index(0).map_err(broken)?;
            let given: Option<String> = found.try_get_by_index(1).map_err(broken)?;
            let body: Option<String> = found.try_get_by_index(2).map_err(broken)?;
            if let Some(row) = self.rows.get_mut(&id) {
                let layout = row.layout.clone();
                set(
                    &layout,
                    &mut row.after,
                    "preview",
                    preview(given.as_deref(), body.as_deref()).map_or(Value::Null, Value::String),
                );
            }
        }
        let sql = format!(
            "select n.conversation_id, count(*) from note n where {aside}n.org_id = {org} and n.conversation_id {among} and n.deleted_at is null group by 1"
        );
        for found in self.tx.query(sql, values()).await? {
            let id: Uuid = found.try_get_by_index(0).map_err(broken)?;
            let n: i64 = found.try_get_by_index(1).map_err(broken)?;
            if let Some(row) = self.rows.get_mut(&id) {
                let layout = row.layout.clone();
                set(&layout, &mut row.after, "note_count", Value::Integer(n));
            }
        }
        Ok(())
    }

    async fn recount_customers(&mut self, ids: &[Uuid]) -> Result<(), StoreError> {
        let sql = format!(
            "select m.customer_id, m.direction, m.channel, max(m.sent_at) from message m where {}m.org_id = {} and m.customer_id {} \
             and m.deleted_at is null group by 1, 2, 3",
            aside(self.dialect),
            parameter(self.dialect, 1),
            in_ids(self.dialect, 2)
        );
        for id in ids {
            if let Some(row) = self.rows.get_mut(id) {
                let layout = row.layout.clone();
                set_mark(&layout, &mut row.after, "last_message_in", None);
                set_mark(&layout, &mut row.after, "last_message_out", None);
            }
        }
        for found in self.tx.query(sql, vec![self.org.0.into(), layout::ids(self.dialect, ids)]).await? {
            let id: Uuid = found.try_get_by_index(0).map_err(broken)?;
            let direction: String = found.try_get_by_index(1).map_err(broken)?;
            let channel: String = found.try_get_by_index(2).map_err(broken)?;
            let Some(at) = layout::read_time(self.dialect, &found, &mut 3)? else {
                continue;
            };
            if let Some(row) = self.rows.get_mut(&id) {
                let layout = row.layout.clone();
                let name = format!("last_message_{direction}");
                let last = get_mark(&layout, &row.after, &name).max(Some((at, channel)));
                set_mark(&layout, &mut row.after, &name, last);
            }
        }
        Ok(())
    }
}
