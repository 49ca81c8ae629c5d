//! A page of a customer's timeline.

use crate::klass::Kind;
use crate::klass::query::{Entries, EntryArm, EntryOf, TimelinePage};

use super::bind::Form;
use super::page::{SortKey, beyond_window, order_by};
use super::scope::Scope;
use super::value::{self, json};
use super::writer::{Writer, all};

/// `[entries or null, total or null]` of the customer with this id, an expression. The list runs from the newest entry to the oldest;
/// the index of the table runs so too.
pub(super) fn timeline(writer: &mut Writer<'_>, customer: &str, page: &TimelinePage) -> String {
    let t = writer.table_alias();
    let column = |name: &str| format!("{t}.\"{name}\"");
    let mut conditions = vec![
        format!("{} = {}", column("org_id"), writer.org()),
        format!("{} = {customer}", column("customer_id")),
    ];
    for (name, list) in [("kind", &page.kinds), ("channel", &page.channels)] {
        if let Some(list) = list {
            conditions.push(writer.in_list(&column(name), list, &Form::Text));
        }
    }
    if let Some(since) = &page.since {
        conditions.push(format!("{} >= {}", column("at"), writer.operand(since, Form::Time)));
    }
    if let Some(until) = &page.until {
        conditions.push(format!("{} < {}", column("at"), writer.operand(until, Form::Time)));
    }
    let total = if page.total {
        format!("(select count(*) from \"timeline_entry\" {t} where {})", all(&conditions))
    } else {
        "null".to_owned()
    };
    let rows = match &page.entries {
        Some(entries) => {
            let keys = [
                SortKey::new(column("at"), Kind::DateTime, true),
                SortKey::new(column("id"), Kind::Id, true),
            ];
            conditions.extend(beyond_window(writer, &keys, &page.window));
            let order = order_by(writer, &keys, page.window.backward);
            let limit = writer.limit(&page.window.limit);
            let p = writer.page_alias();
            let mut picks = Vec::with_capacity(8);
            let row = entry(writer, &p, entries, &mut picks);
            let picks: Vec<String> = picks.into_iter().map(column).collect();
            format!(
                "(select {} from (select {} from \"timeline_entry\" {t} where {} order by {order} limit {limit}) {p})",
                writer.rows(&row),
                picks.join(", "),
                all(&conditions)
            )
        }
        None => "null".to_owned(),
    };
    writer.array(&[rows, total])
}

/// An entry as JSON, out of the page's rows `p`; notes the columns that they must have.
fn entry(writer: &mut Writer<'_>, p: &str, entries: &Entries, picks: &mut Vec<&'static str>) -> String {
    let mut of = |wanted: bool, name: &'static str| {
        if !wanted {
            return None;
        }
        if !picks.contains(&name) {
            picks.push(name);
        }
        Some(format!("{p}.\"{name}\""))
    };
    let kind = of(true, "kind").unwrap_or_default();
    let (at, id) = (of(entries.place, "at"), of(entries.place, "id"));
    let (klass, object) = (of(entries.object, "klass"), of(entries.object, "object_id"));
    let (channel, data) = (of(entries.channel, "channel"), of(entries.data, "data"));
    let mut parts = Vec::with_capacity(entries.arms.len());
    for EntryArm {
        kind,
        klass,
        of: which,
        outputs,
    } in &entries.arms
    {
        let near = match which {
            EntryOf::Object => of(true, "object_id"),
            EntryOf::Conversation => of(true, "conversation_id"),
        };
        let alias = writer.table_alias();
        let from = format!("{} {alias}", writer.table(&klass.table));
        // An object's entry goes with it, and what befell a conversation stays told when it is gone: so deleted ones are shown.
        let mut far = Scope::over(writer, klass, alias.clone(), from, true);
        far.conditions.insert(0, format!("{alias}.\"id\" = {}", near.unwrap_or_default()));
        let row = value::row(writer, &mut far, outputs, &[]);
        parts.push(format!("when {} then (select {row}{})", writer.text(kind), far.source(writer)));
    }
    let arm = if parts.is_empty() {
        None
    } else {
        // Only the arm that is meant is run.
        Some(format!("case {kind} {} end", parts.join(" ")))
    };
    let place = at.zip(id).map(|(at, id)| writer.array(&[at, writer.id_json(&id, false)]));
    let object = object.map(|id| writer.id_json(&id, true));
    let data = data.map(|data| json(writer, &Kind::Json, false, &data, None));
    let items = [place, Some(kind), klass, object, channel, arm, data].map(|item| item.unwrap_or_else(|| "null".to_owned()));
    writer.array(&items)
}
