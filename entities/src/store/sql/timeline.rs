//! A page of a customer's timeline.

use crate::klass::Kind;
use crate::klass::query::TimelinePage;

use super::bind::Form;
use super::page::{SortKey, beyond_window, order_by};
use super::value::json;
use super::writer::{Writer, all};

/// `[rows, total or null]`. The list runs from the newest entry to the oldest; the index of the table runs so too.
pub(super) fn timeline(writer: &mut Writer<'_>, page: &TimelinePage) -> String {
    let customer = writer.operand(&page.customer, Form::Id);
    let (rows, total) = parts(writer, page, customer);
    writer.array(&[rows, total])
}

/// The whole statement for many customers: `[[customer, rows, total or null], …]`, a page for each, by one look-up of the index each.
pub(super) fn timelines(writer: &mut Writer<'_>, page: &TimelinePage) -> String {
    let list = writer.operand(&page.customer, Form::List(Box::new(Form::Id)));
    let customers = if writer.postgres() {
        format!("unnest({list}) c(id)")
    } else {
        format!("(select {} id from json_each({list})) c", Form::Id.json_each_item("value"))
    };
    let (rows, total) = parts(writer, page, "c.id".to_owned());
    let row = writer.array(&[writer.id_json("c.id", false), rows, total]);
    let json = writer.rows(&row);
    format!("select {} from {customers}", writer.top(&json))
}

fn parts(writer: &mut Writer<'_>, page: &TimelinePage, customer: String) -> (String, String) {
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
    let keys = [
        SortKey::new(column("at"), Kind::DateTime, true),
        SortKey::new(column("id"), Kind::Id, true),
    ];
    conditions.extend(beyond_window(writer, &keys, &page.window));
    let order = order_by(writer, &keys, page.window.backward);
    let limit = writer.limit(&page.window.limit);
    let p = writer.page_alias();
    let of = |name: &str| format!("{p}.\"{name}\"");
    let position = writer.array(&[of("at"), writer.id_json(&of("id"), false)]);
    let row = writer.array(&[
        position,
        of("kind"),
        of("klass"),
        writer.id_json(&of("object_id"), true),
        of("channel"),
        writer.id_json(&of("conversation_id"), true),
        json(writer, &Kind::Json, false, &of("data"), None),
    ]);
    let rows = format!(
        "(select {} from (select {t}.* from \"timeline_entry\" {t} where {} order by {order} limit {limit}) {p})",
        writer.rows(&row),
        all(&conditions)
    );
    (rows, total)
}
