//! What is answered of an object: values, and what hangs on it.

use std::sync::Arc;

use crate::klass::query::Output;
use crate::klass::relationship::Link;
use crate::klass::{End, Kind, Klass};

use super::page;
use super::relate::{reach, reaches_one, reference};
use super::scope::Scope;
use super::timeline;
use super::writer::Writer;

/// An object as the JSON array of its outputs. `order` is the page's, for [`Output::Cursor`].
pub(super) fn row(writer: &mut Writer<'_>, scope: &mut Scope, outputs: &[Output], order: &[page::SortKey]) -> String {
    let items: Vec<String> = outputs.iter().map(|output| item(writer, scope, output, order)).collect();
    writer.array(&items)
}

fn item(writer: &mut Writer<'_>, scope: &mut Scope, output: &Output, order: &[page::SortKey]) -> String {
    match output {
        Output::Value(property) => {
            let column = scope.column(property.home, &property.column);
            let currency = (property.kind == Kind::Money).then(|| scope.column(property.home, &format!("{}_currency", property.column)));
            json(writer, &property.kind, property.required, &column, currency.as_deref())
        }
        Output::Link(property) => {
            let column = scope.link_column(&property.column);
            let currency = (property.kind == Kind::Money).then(|| scope.link_column(&format!("{}_currency", property.column)));
            json(writer, &property.kind, false, &column, currency.as_deref())
        }
        Output::Cursor => page::cursor(writer, scope, order),
        Output::One { end, klass, outputs } => one(writer, scope, end, klass, outputs),
        Output::OneOf { end, arms } => one_of(writer, scope, end, arms),
        Output::Reference(end) => {
            let id = reference(writer, scope, end);
            writer.id_json(&id, true)
        }
        Output::Many { end, page } => page::page(writer, page, Some((scope, end))),
        Output::Timeline(page) => {
            let customer = scope.id();
            timeline::timeline(writer, &customer, page)
        }
    }
}

/// The JSON of a value of a kind.
pub(super) fn json(writer: &Writer<'_>, kind: &Kind, required: bool, column: &str, currency: Option<&str>) -> String {
    match kind {
        Kind::Id => writer.id_json(column, !required),
        Kind::Money => {
            let currency = currency.unwrap_or("null");
            let pair = writer.array(&[column.to_owned(), currency.to_owned()]);
            format!("case when {column} is not null then {pair} end")
        }
        Kind::Json | Kind::Object(_) | Kind::List(_) => {
            if writer.postgres() {
                column.to_owned()
            } else {
                format!("json({column})")
            }
        }
        Kind::Actor
        | Kind::String
        | Kind::Text
        | Kind::Integer { .. }
        | Kind::Decimal
        | Kind::Boolean
        | Kind::Date
        | Kind::DateTime
        | Kind::Url
        | Kind::Email
        | Kind::Phone
        | Kind::Enum(_)
        | Kind::Tree { .. } => column.to_owned(),
    }
}

fn one(writer: &mut Writer<'_>, scope: &mut Scope, end: &End, klass: &Arc<Klass>, outputs: &[Output]) -> String {
    let mut far = reach(writer, scope, end, klass, false);
    let row = row(writer, &mut far, outputs, &[]);
    let id = far.id();
    // The data may hold two where the definition says one (a one-to-one that was made so later): the older one, rather than an error.
    let limit = if reaches_one(end) {
        String::new()
    } else {
        format!(" order by {id} limit 1")
    };
    format!("(select {row}{}{limit})", far.source(writer))
}

fn one_of(writer: &mut Writer<'_>, scope: &mut Scope, end: &End, arms: &[(Arc<Klass>, Vec<Output>)]) -> String {
    let klass_column = match &end.relationship.link {
        Link::Column {
            klass_column: Some(column),
            home,
            ..
        } => Some(scope.column(*home, column)),
        _ => None,
    };
    let mut parts = Vec::with_capacity(arms.len());
    for (klass, outputs) in arms {
        let mut far = reach(writer, scope, end, klass, false);
        let row = row(writer, &mut far, outputs, &[]);
        let id = far.id();
        let name = writer.text(&klass.name);
        let pair = writer.array(&[name.clone(), row]);
        let limit = if reaches_one(end) {
            String::new()
        } else {
            format!(" order by {id} limit 1")
        };
        let select = format!("(select {pair}{}{limit})", far.source(writer));
        parts.push((name, select));
    }
    match (klass_column, parts.as_slice()) {
        (_, []) => "null".to_owned(),
        // Only the arm that is meant is run.
        (Some(column), _) => {
            let arms: Vec<String> = parts.iter().map(|(name, select)| format!("when {name} then {select}")).collect();
            format!("case {column} {} end", arms.join(" "))
        }
        (None, [(_, only)]) => only.clone(),
        (None, _) => {
            let arms: Vec<&str> = parts.iter().map(|(_, select)| select.as_str()).collect();
            format!("coalesce({})", arms.join(", "))
        }
    }
}
