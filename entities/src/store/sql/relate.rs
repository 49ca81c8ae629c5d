//! From an object to those at the other end of a relationship.

use std::sync::Arc;

use crate::klass::relationship::{Link, Side};
use crate::klass::{End, Klass};

use super::scope::{Scope, visible};
use super::writer::{Writer, all};

/// The objects of `klass` at the far side of `end`, seen from `near`. Soft-deleted ones are hidden unless `deleted`.
pub(super) fn reach(writer: &mut Writer<'_>, near: &mut Scope, end: &End, klass: &Arc<Klass>, deleted: bool) -> Scope {
    let alias = writer.table_alias();
    let table = writer.table(&klass.table);
    match (&end.relationship.link, end.side) {
        (
            Link::Column {
                column,
                klass_column,
                home,
            },
            Side::From,
        ) => {
            let mut far = Scope::over(writer, klass, alias.clone(), format!("{table} {alias}"), deleted);
            let here = near.column(*home, column);
            far.conditions.insert(0, format!("{alias}.\"id\" = {here}"));
            if let Some(klass_column) = klass_column {
                let here = near.column(*home, klass_column);
                let name = writer.text(&klass.name);
                far.conditions.push(format!("{here} = {name}"));
            }
            far
        }
        (
            Link::Column {
                column,
                klass_column,
                home,
            },
            Side::To,
        ) => {
            let mut far = Scope::over(writer, klass, alias.clone(), format!("{table} {alias}"), deleted);
            let id = near.id();
            let there = far.column(*home, column);
            far.conditions.insert(0, format!("{there} = {id}"));
            if let Some(klass_column) = klass_column {
                let there = far.column(*home, klass_column);
                let name = writer.text(&end.klass);
                far.conditions.push(format!("{there} = {name}"));
            }
            far
        }
        (Link::Table { table: links }, side) => {
            let (mine, theirs) = match side {
                Side::From => ("from_id", "to_id"),
                Side::To => ("to_id", "from_id"),
            };
            let link = format!("{alias}l");
            let from = format!(
                "{} {link} join {table} {alias} on {alias}.\"id\" = {link}.\"{theirs}\"",
                writer.table(links)
            );
            let mut far = Scope::over(writer, klass, alias, from, deleted);
            let id = near.id();
            far.conditions.insert(0, format!("{link}.\"{mine}\" = {id}"));
            if links.shared {
                far.conditions.push(format!("{link}.\"org_id\" = {}", writer.org()));
            }
            if end.relationship.to.len() > 1 {
                let to = match side {
                    Side::From => &klass.name,
                    Side::To => &end.klass,
                };
                let name = writer.text(to);
                far.conditions.push(format!("{link}.\"to_klass\" = {name}"));
            }
            far.link = Some(link);
            far
        }
    }
}

/// At most one object can be reached this way, whatever the rows say.
pub(super) fn reaches_one(end: &End) -> bool {
    end.side == Side::From && matches!(end.relationship.link, Link::Column { .. })
}

/// The id of the object at a to-one end, without looking whether it is there.
pub(super) fn reference(writer: &mut Writer<'_>, near: &mut Scope, end: &End) -> String {
    match (&end.relationship.link, end.side) {
        (Link::Column { column, home, .. }, Side::From) => near.column(*home, column),
        (Link::Column { .. }, Side::To) => match writer.registry.klass(&end.relationship.klass).cloned() {
            Some(klass) => {
                let mut far = reach(writer, near, end, &klass, false);
                let id = far.id();
                format!("(select {id}{} order by {id} limit 1)", far.source(writer))
            }
            None => "null".to_owned(),
        },
        (Link::Table { table }, side) => {
            let (mine, theirs) = match side {
                Side::From => ("from_id", "to_id"),
                Side::To => ("to_id", "from_id"),
            };
            let alias = writer.table_alias();
            let id = near.id();
            let mut conditions = vec![format!("{alias}.\"{mine}\" = {id}")];
            if table.shared {
                conditions.push(format!("{alias}.\"org_id\" = {}", writer.org()));
            }
            if side == Side::To && end.relationship.to.len() > 1 {
                let name = writer.text(&end.klass);
                conditions.push(format!("{alias}.\"to_klass\" = {name}"));
            }
            format!(
                "(select {alias}.\"{theirs}\" from {} {alias} where {} order by {alias}.\"{theirs}\" limit 1)",
                writer.table(table),
                all(&conditions)
            )
        }
    }
}

/// Follows to-one ends by left joins, for an order or a group's key: the scope of the last object, joined to `near`. Once its columns
/// have been asked for, give it to [`joined`]. `None` where an end cannot be followed (several klasses: the check refuses that before).
pub(super) fn follow(writer: &mut Writer<'_>, near: &mut Scope, through: &[Arc<End>]) -> Option<Scope> {
    let mut at: Option<Scope> = None;
    for end in through {
        let [to] = end.to.as_slice() else { return None };
        let klass = writer.registry.klass(to)?.clone();
        let here = match &mut at {
            None => reference(writer, near, end),
            Some(scope) => {
                let here = reference(writer, scope, end);
                joined(writer, near, scope);
                here
            }
        };
        let alias = writer.table_alias();
        let mut on = vec![format!("{alias}.\"id\" = {here}")];
        on.extend(visible(writer, &klass, &alias, false, true));
        near.joins
            .push(format!("left join {} {alias} on {}", writer.table(&klass.table), all(&on)));
        at = Some(Scope::over(writer, &klass, alias, String::new(), true));
    }
    at
}

/// Joins what was asked of an object that was followed.
pub(super) fn joined(writer: &Writer<'_>, near: &mut Scope, scope: &Scope) {
    if let Some(join) = scope.extension_join(writer)
        && !near.joins.contains(&join)
    {
        near.joins.push(join);
    }
}

/// How many objects there are at a to-many end (those that are not deleted).
pub(super) fn count(writer: &mut Writer<'_>, near: &mut Scope, end: &End) -> String {
    let counts: Vec<String> = end
        .to
        .iter()
        .filter_map(|name| writer.registry.klass(name).cloned())
        .map(|klass| {
            let far = reach(writer, near, end, &klass, false);
            format!("(select count(*){})", far.source(writer))
        })
        .collect();
    match counts.as_slice() {
        [] => "0".to_owned(),
        [one] => one.clone(),
        many => format!("({})", many.join(" + ")),
    }
}
