//! A page: rows in an order, between two positions, with totals, aggregates and groups.

use crate::klass::filter::{Op, Operand, Target};
use crate::klass::property::Home;
use crate::klass::query::{Order, OrderBy, Page, Position, Rows, Window};
use crate::klass::{End, Filter, Kind};

use super::aggregate;
use super::bind::Form;
use super::filter::require;
use super::relate::{count, follow, joined, reach};
use super::scope::{Scope, visible};
use super::value;
use super::writer::{Writer, quote};

/// The JSON of a page: of a klass, or of the objects at an end of another.
pub(super) fn page(writer: &mut Writer<'_>, page: &Page, mut near: Option<(&mut Scope, &End)>) -> String {
    let rows = match &page.rows {
        Some(rows) => {
            let scope = base(writer, page, near.as_mut());
            self::rows(writer, scope, rows, near.is_none())
        }
        None => "null".to_owned(),
    };
    let mut groups = Vec::with_capacity(page.groups.len());
    for wanted in &page.groups {
        let scope = base(writer, page, near.as_mut());
        groups.push(aggregate::groups(writer, scope, wanted));
    }
    let groups = writer.array(&groups);
    if page.total && !page.aggregates.is_empty() {
        // Both in one pass over all that match.
        let mut scope = base(writer, page, near.as_mut());
        let alias = writer.page_alias();
        let (picks, numbers) = aggregate::picked(writer, &mut scope, &page.aggregates, &alias);
        let numbers = writer.array(&numbers);
        let row = writer.array(&[rows, format!("{alias}.n"), numbers, groups]);
        return format!(
            "(select {row} from (select count(*) as n, {}{}) {alias})",
            picks.join(", "),
            scope.source(writer)
        );
    }
    let total = if page.total {
        let scope = base(writer, page, near.as_mut());
        format!("(select count(*){})", scope.source(writer))
    } else {
        "null".to_owned()
    };
    let aggregates = if page.aggregates.is_empty() {
        "null".to_owned()
    } else {
        let scope = base(writer, page, near.as_mut());
        aggregate::aggregates(writer, scope, &page.aggregates)
    };
    writer.array(&[rows, total, aggregates, groups])
}

/// All that match.
fn base(writer: &mut Writer<'_>, page: &Page, near: Option<&mut (&mut Scope, &End)>) -> Scope {
    let top = near.is_none();
    let mut scope = match near {
        None => Scope::table(writer, &page.klass, page.deleted),
        Some((near, end)) => reach(writer, near, end, &page.klass, page.deleted),
    };
    if let Some(filter) = &page.filter {
        if top && by_reference(filter) {
            scope.conditions = visible(writer, &page.klass, &scope.alias, page.deleted, true);
        }
        require(writer, &mut scope, filter);
    }
    scope
}

/// Only objects that are tied to given ones: then an index on the link finds them.
fn by_reference(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().any(by_reference),
        Filter::Compare { target, op, .. } => matches!(target, Target::Reference(_)) && matches!(op, Op::Eq | Op::In),
        _ => false,
    }
}

fn rows(writer: &mut Writer<'_>, mut scope: Scope, rows: &Rows, top: bool) -> String {
    let keys = sort_keys(writer, &mut scope, &rows.order);
    // What hangs on another object is found by that object's id, not in the order of a key.
    let halves = if top { halves(writer, &keys, &rows.window) } else { None };
    let parts = match halves {
        Some(parts) => parts,
        None => vec![Part {
            conditions: beyond_window(writer, &keys, &rows.window),
            order: order_by(writer, &keys, rows.window.backward),
        }],
    };
    let alias = writer.page_alias();
    scope.turn_page(alias.clone());
    let row = value::row(writer, &mut scope, &rows.outputs, &keys);
    let limit = writer.limit(&rows.window.limit);
    let selects: Vec<String> = parts
        .iter()
        .map(|part| {
            let source = scope.source_and(writer, &part.conditions);
            format!("select {}{source} order by {} limit {limit}", scope.picks(), part.order)
        })
        .collect();
    let base = match selects.as_slice() {
        [one] => one.clone(),
        many => {
            let parts: Vec<String> = many.iter().map(|select| format!("select * from ({select}) x")).collect();
            format!("{} limit {limit}", parts.join(" union all "))
        }
    };
    format!("(select {} from ({base}) {alias})", writer.rows(&row))
}

/// A part of a list that one range of an index holds.
struct Part {
    conditions: Vec<String>,
    order: String,
}

/// An order by one key that may be null, as two lists one behind the other: those with a value, and those without (nulls first:
/// the other way round). Each is a range of the index on the key, from a position on and in its order, which `k > v or k is null`
/// never is. The second is read only when the first does not fill the page. `None` where one list does as well.
fn halves(writer: &mut Writer<'_>, keys: &[SortKey], window: &Window) -> Option<Vec<Part>> {
    let [key, id] = keys else { return None };
    if !key.nullable || !key.column {
        return None;
    }
    // In its own order of nulls an index of Postgres is read as it is; SQLite reads either order from its index.
    let positions: Vec<(&Position, bool)> = [(&window.after, true), (&window.before, false)]
        .into_iter()
        .filter_map(|(p, after)| p.as_ref().map(|p| (p, after)))
        .collect();
    if positions.is_empty() && (!writer.postgres() || key.nulls_first == key.descending) {
        return None;
    }
    let mut with = vec![format!("{} is not null", key.expr)];
    let mut without = vec![format!("{} is null", key.expr)];
    let (mut any_with, mut any_without) = (true, true);
    for (position, after) in positions {
        let sign = if key.descending != after { ">" } else { "<" };
        let at = writer.operand(&position.id, Form::Id);
        match position.keys.first().and_then(Option::as_ref) {
            Some(operand) => {
                let value = writer.operand(operand, Form::of(&key.kind));
                with.push(format!("({}, {}) {sign} ({value}, {at})", key.expr, id.expr));
                any_without &= key.nulls_first != after;
            }
            None => {
                without.push(format!("{} {sign} {at}", id.expr));
                any_with &= key.nulls_first == after;
            }
        }
    }
    let (way, nulls_first) = (key.descending != window.backward, key.nulls_first != window.backward);
    let desc = if way { " desc" } else { "" };
    let mut parts = Vec::with_capacity(2);
    if any_with {
        parts.push(Part {
            conditions: with,
            order: format!("{}{desc}, {}{desc}", key.expr, id.expr),
        });
    }
    if any_without {
        // The key stands in the order too, though it is null throughout: so the index on it serves.
        parts.push(Part {
            conditions: without,
            order: format!("{}{desc}, {}{desc}", key.expr, id.expr),
        });
    }
    if nulls_first {
        parts.reverse();
    }
    if parts.is_empty() {
        parts.push(Part {
            conditions: vec!["false".into()],
            order: id.expr.clone(),
        });
    }
    Some(parts)
}

/// A key of an order, the id as the last.
pub(super) struct SortKey {
    /// As it is read from the tables.
    expr: String,
    /// Of which kind its value is.
    kind: Kind,
    descending: bool,
    nulls_first: bool,
    nullable: bool,
    /// A column of the klass's own table.
    column: bool,
    /// No two objects share it, and all have it: what stands behind it in the order decides nothing.
    decides: bool,
}

/// The keys up to one that decides: what sorting and comparing need. (A cursor holds them all.)
fn needed(keys: &[SortKey]) -> &[SortKey] {
    let last = keys.iter().position(|key| key.decides).unwrap_or(keys.len().saturating_sub(1));
    &keys[..=last.min(keys.len().saturating_sub(1))]
}

impl SortKey {
    pub fn new(expr: String, kind: Kind, descending: bool) -> Self {
        Self {
            expr,
            kind,
            descending,
            nulls_first: false,
            nullable: false,
            column: true,
            decides: false,
        }
    }
}

/// The keys of an order. The id comes last, in the direction of the key before it, so that an index on both serves.
fn sort_keys(writer: &mut Writer<'_>, scope: &mut Scope, order: &[Order]) -> Vec<SortKey> {
    let mut keys = Vec::with_capacity(order.len() + 1);
    for Order {
        through,
        by,
        descending,
        nulls_first,
    } in order
    {
        let mut far = if through.is_empty() { None } else { follow(writer, scope, through) };
        let lost = !through.is_empty() && far.is_none();
        let at = far.as_mut().unwrap_or(scope);
        let (expr, kind, nullable) = match by {
            _ if lost => ("null".to_owned(), Kind::String, true),
            OrderBy::Property(p) => (at.column(p.home, &p.column), p.kind.clone(), !p.required || !through.is_empty()),
            OrderBy::Link(p) => (at.link_column(&p.column), p.kind.clone(), !p.required),
            OrderBy::Count(end) => (count(writer, at, end), Kind::Integer { big: true }, false),
        };
        if let Some(far) = far {
            joined(writer, scope, &far);
        }
        keys.push(SortKey {
            expr,
            kind,
            descending: *descending,
            nulls_first: *nulls_first,
            nullable,
            decides: through.is_empty() && matches!(by, OrderBy::Property(p) if p.unique && p.required && p.kind != Kind::Email),
            column: through.is_empty() && matches!(by, OrderBy::Property(p) if p.home == Home::Table),
        });
    }
    let descending = order.last().is_some_and(|order| order.descending);
    keys.push(SortKey::new(scope.id(), Kind::Id, descending));
    keys
}

/// What stands behind `order by`.
pub(super) fn order_by(writer: &Writer<'_>, keys: &[SortKey], backward: bool) -> String {
    let terms: Vec<String> = needed(keys)
        .iter()
        .map(|key| {
            let descending = key.descending != backward;
            let nulls_first = key.nulls_first != backward;
            // Where the database puts nulls by itself: Postgres takes them for the largest, SQLite for the smallest. It is not said
            // where it need not be: Postgres uses an index only for the very order of nulls that the index has.
            let by_itself = if writer.postgres() { descending } else { !descending };
            let nulls = match (key.nullable && nulls_first != by_itself, nulls_first) {
                (false, _) => "",
                (true, true) => " nulls first",
                (true, false) => " nulls last",
            };
            format!("{}{}{nulls}", key.expr, if descending { " desc" } else { "" })
        })
        .collect();
    terms.join(", ")
}

/// The positions between which a window lies, as conditions.
pub(super) fn beyond_window(writer: &mut Writer<'_>, keys: &[SortKey], window: &Window) -> Vec<String> {
    let mut out = Vec::new();
    for (position, after) in [(&window.after, true), (&window.before, false)] {
        if let Some(position) = position {
            out.push(beyond(writer, keys, position, after));
        }
    }
    out
}

/// Strictly behind a position in the order, or strictly before it.
fn beyond(writer: &mut Writer<'_>, keys: &[SortKey], position: &Position, after: bool) -> String {
    let all = keys.len();
    let keys = needed(keys);
    let values: Vec<Option<String>> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| {
            let operand: Option<&Operand> = if i + 1 == all {
                Some(&position.id)
            } else {
                position.keys.get(i).and_then(Option::as_ref)
            };
            operand.map(|operand| writer.operand(operand, Form::of(&key.kind)))
        })
        .collect();
    // All the same way and never null: a comparison of rows, which is a range of an index.
    let same = keys.iter().all(|key| key.descending == keys[0].descending && !key.nullable);
    if same && values.iter().all(Option::is_some) {
        let sign = if keys[0].descending != after { ">" } else { "<" };
        let left: Vec<&str> = keys.iter().map(|key| key.expr.as_str()).collect();
        let right: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
        return match (left.as_slice(), right.as_slice()) {
            ([left], [right]) => format!("{left} {sign} {right}"),
            _ => format!("({}) {sign} ({})", left.join(", "), right.join(", ")),
        };
    }
    // Else from the last key to the first: beyond here, or equal here and beyond in the rest.
    let mut condition = String::new();
    for (key, value) in keys.iter().zip(&values).rev() {
        let greater = key.descending != after;
        let nulls_beyond = key.nulls_first != after;
        let (beyond, equal) = match value {
            Some(value) => {
                let sign = if greater { ">" } else { "<" };
                let beyond = format!("{} {sign} {value}", key.expr);
                let beyond = if key.nullable && nulls_beyond {
                    format!("({beyond} or {} is null)", key.expr)
                } else {
                    beyond
                };
                (Some(beyond), format!("{} = {value}", key.expr))
            }
            None if nulls_beyond => (None, format!("{} is null", key.expr)),
            None => (Some(format!("{} is not null", key.expr)), format!("{} is null", key.expr)),
        };
        condition = match (beyond, condition.is_empty()) {
            (Some(beyond), true) => beyond,
            (Some(beyond), false) => format!("({beyond} or {equal} and {condition})"),
            // Null and nulls last: nothing lies beyond but what has null too.
            (None, true) => "false".to_owned(),
            (None, false) => format!("({equal} and {condition})"),
        };
    }
    condition
}

/// A position: the values of the keys.
pub(super) fn cursor(writer: &mut Writer<'_>, scope: &mut Scope, keys: &[SortKey]) -> String {
    let mut items = Vec::with_capacity(keys.len());
    for (i, key) in keys.iter().enumerate() {
        let expr = scope.pick(key.expr.clone(), quote(&format!("k{}", i + 1)));
        items.push(match key.kind {
            Kind::Money => expr,
            ref kind => value::json(writer, kind, !key.nullable, &expr, None),
        });
    }
    writer.array(&items)
}
