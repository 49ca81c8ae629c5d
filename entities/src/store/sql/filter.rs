//! A [`Filter`] as a condition. Its twin, which reads objects in memory, is `klass/filter_memory.rs`: both must agree.
//!
//! Two-valued: a comparison whose target is null is false, but for `Ne`, `NotIn` and `HasNone`, which it matches. In SQL a comparison
//! with null is unknown, which `where`, `and` and `or` take for false; so only `not` must be careful, and says `is not true`.
//!
//! `Matches` speaks the regular expressions of Rust's `regex` on SQLite and of Postgres on Postgres; what both understand alike
//! (classes, anchors, repetition, groups, alternation) is what one should use.

use std::sync::Arc;

use crate::klass::filter::{ContactKind, Op, Operand, Quantifier, Target};
use crate::klass::{Filter, Kind, Property, Value};

use super::bind::Form;
use super::part;
use super::relate::{reach, reference};
use super::scope::Scope;
use super::writer::Writer;

/// Adds a filter to what must hold.
pub(super) fn require(writer: &mut Writer<'_>, scope: &mut Scope, filter: &Filter) {
    match filter {
        Filter::And(parts) => {
            for part in parts {
                require(writer, scope, part);
            }
        }
        other => {
            let condition = condition(writer, scope, other);
            scope.conditions.push(condition);
        }
    }
}

/// A filter as one term: it can stand beside `and` and under `not` as it is.
pub(super) fn condition(writer: &mut Writer<'_>, scope: &mut Scope, filter: &Filter) -> String {
    match filter {
        Filter::And(parts) => match parts.as_slice() {
            [] => "true".to_owned(),
            [one] => condition(writer, scope, one),
            many => join(writer, scope, many, " and "),
        },
        Filter::Or(parts) => match parts.as_slice() {
            [] => "false".to_owned(),
            [one] => condition(writer, scope, one),
            many => join(writer, scope, many, " or "),
        },
        Filter::Not(inner) => negate(writer, scope, inner),
        Filter::Compare { target, op, operand } => compare(writer, scope, target, *op, operand),
        Filter::Items { of, quantifier, filter } => part::items(writer, scope, of, *quantifier, filter),
        Filter::Related {
            end,
            klass,
            quantifier,
            filter,
        } => {
            let mut far = reach(writer, scope, end, klass, false);
            match quantifier {
                Quantifier::Some | Quantifier::None => require(writer, &mut far, filter),
                Quantifier::Every => {
                    let not = negate(writer, &mut far, filter);
                    far.conditions.push(not);
                }
            }
            let not = if *quantifier == Quantifier::Some { "" } else { "not " };
            format!("{not}exists (select 1{})", far.source(writer))
        }
        Filter::Count {
            end,
            klass,
            filter,
            op,
            operand,
        } => {
            let mut far = reach(writer, scope, end, klass, false);
            require(writer, &mut far, filter);
            let number = writer.operand(operand, Form::Integer);
            format!("(select count(*){}) {} {number}", far.source(writer), sign(*op))
        }
    }
}

fn join(writer: &mut Writer<'_>, scope: &mut Scope, parts: &[Filter], word: &str) -> String {
    let parts: Vec<String> = parts.iter().map(|part| condition(writer, scope, part)).collect();
    format!("({})", parts.join(word))
}

pub(super) fn negate(writer: &mut Writer<'_>, scope: &mut Scope, inner: &Filter) -> String {
    match inner {
        Filter::Not(twice) => condition(writer, scope, twice),
        // These are never unknown, so plain negation keeps them fit for an index.
        Filter::Related {
            end,
            klass,
            quantifier,
            filter,
        } if *quantifier != Quantifier::Every => {
            let quantifier = if *quantifier == Quantifier::Some {
                Quantifier::None
            } else {
                Quantifier::Some
            };
            let opposite = Filter::Related {
                end: end.clone(),
                klass: klass.clone(),
                quantifier,
                filter: filter.clone(),
            };
            condition(writer, scope, &opposite)
        }
        other => format!("({}) is not true", condition(writer, scope, other)),
    }
}

/// A unique property has this value.
pub(super) fn equals(writer: &mut Writer<'_>, scope: &mut Scope, property: &Arc<Property>, operand: &Operand) -> String {
    compare(writer, scope, &Target::Property(property.clone()), Op::Eq, operand)
}

fn compare(writer: &mut Writer<'_>, scope: &mut Scope, target: &Target, op: Op, operand: &Operand) -> String {
    match target {
        Target::Property(property) => {
            let column = scope.column(property.home, &property.column);
            typed(writer, &column, &property.kind, op, operand)
        }
        Target::Amount(property) => {
            let column = scope.column(property.home, &property.column);
            typed(writer, &column, &Kind::Money, op, operand)
        }
        Target::Currency(property) => {
            let column = scope.column(property.home, &format!("{}_currency", property.column));
            typed(writer, &column, &Kind::String, op, operand)
        }
        Target::Link(property) => {
            let column = scope.link_column(&property.column);
            typed(writer, &column, &property.kind, op, operand)
        }
        Target::Reference(end) => {
            let id = reference(writer, scope, end);
            typed(writer, &id, &Kind::Id, op, operand)
        }
        Target::Contact(kind) => contact(writer, scope, *kind, operand, op == Op::In),
        Target::LinkCurrency(property) => {
            let column = scope.link_column(&format!("{}_currency", property.column));
            typed(writer, &column, &Kind::String, op, operand)
        }
        Target::Path(base, path) => {
            let json = part::root(scope, base);
            part::at_path(writer, &json, path, op, operand)
        }
        Target::Part(base, path, kind) => {
            let json = part::root(scope, base);
            let value = part::part(writer, &json, path, kind);
            typed(writer, &value, kind, op, operand)
        }
    }
}

/// A customer has this contact point (one of these). The key of the table makes it one look-up, whatever the number of customers.
pub(super) fn contact(writer: &mut Writer<'_>, scope: &mut Scope, kind: ContactKind, operand: &Operand, many: bool) -> String {
    let name = match kind {
        ContactKind::Email => "email",
        ContactKind::Phone => "phone",
        ContactKind::ExternalId => "externalId",
    };
    let form = Form::Contact(kind);
    let id = scope.id();
    let point = writer.table_alias();
    let name = writer.text(name);
    let value = format!("{point}.\"value\"");
    let value = if many {
        writer.in_list(&value, operand, &form)
    } else {
        format!("{value} = {}", writer.operand(operand, form))
    };
    format!(
        "{id} in (select {point}.\"customer_id\" from \"contact_point\" {point} where {point}.\"org_id\" = {} and {point}.\"kind\" = {name} and {value})",
        writer.org()
    )
}

pub(super) fn sign(op: Op) -> &'static str {
    match op {
        Op::Ne => "<>",
        Op::Gt => ">",
        Op::Gte => ">=",
        Op::Lt => "<",
        Op::Lte => "<=",
        // Only orders reach this; whatever else came is a mistake of the plan, and equality is the most careful reading.
        _ => "=",
    }
}

/// A column of a kind against an operand.
pub(super) fn typed(writer: &mut Writer<'_>, column: &str, kind: &Kind, op: Op, operand: &Operand) -> String {
    let form = Form::of(kind);
    // An e-mail address is kept as given; whether two are the same is told in lower case. (It sorts as it is kept.)
    let mail = *kind == Kind::Email && matches!(op, Op::Eq | Op::Ne | Op::In | Op::NotIn);
    let key = if mail { writer.mail(column) } else { column.to_owned() };
    match op {
        Op::Eq | Op::Ne if form == Form::Json => {
            let value = writer.operand(operand, form);
            let same = if writer.postgres() {
                format!("{column} = {value}")
            } else {
                format!("json_same({column}, {value})")
            };
            if op == Op::Eq { same } else { format!("({same}) is not true") }
        }
        Op::Eq | Op::Ne | Op::Gt | Op::Gte | Op::Lt | Op::Lte => {
            let value = writer.operand(operand, form);
            let value = if mail { writer.mail(&value) } else { value };
            match op {
                // An operand that is null is equal to nothing either.
                Op::Ne => format!("({key} = {value}) is not true"),
                other => format!("{key} {} {value}", sign(other)),
            }
        }
        Op::In | Op::NotIn => {
            let any = if mail {
                writer.mail_in_list(column, operand)
            } else {
                writer.in_list(column, operand, &form)
            };
            if op == Op::In { any } else { format!("({any}) is not true") }
        }
        Op::IsNull => is_null(writer, column, operand),
        Op::Contains { fold } => like(writer, column, operand, true, true, fold),
        Op::StartsWith { fold: true } => like(writer, column, operand, false, true, true),
        Op::StartsWith { fold: false } => starts_with(writer, column, operand, Form::Text, Form::PrefixEnd),
        Op::EndsWith { fold } => like(writer, column, operand, true, false, fold),
        Op::Matches { fold } => {
            let pattern = writer.operand(operand, Form::Text);
            match (writer.postgres(), fold) {
                (true, false) => format!("{column} ~ {pattern}"),
                (true, true) => format!("{column} ~* {pattern}"),
                (false, false) => format!("matches({column}, {pattern})"),
                (false, true) => format!("matches_fold({column}, {pattern})"),
            }
        }
        Op::EqFold => {
            let value = writer.operand(operand, Form::Text);
            format!("{} = {}", writer.fold(column), writer.fold(&value))
        }
        Op::HasAny => has_any(writer, column, operand),
        Op::HasNone => format!("({}) is not true", has_any(writer, column, operand)),
        Op::HasAll => has_all(writer, column, operand),
        Op::Under => under(writer, column, kind, operand),
        Op::Near => near(writer, column, operand),
    }
}

pub(super) fn is_null(writer: &mut Writer<'_>, expr: &str, operand: &Operand) -> String {
    match operand {
        Operand::Const(Value::Bool(false)) => format!("{expr} is not null"),
        Operand::Const(_) => format!("{expr} is null"),
        Operand::Arg(_) => format!("({expr} is null) = {}", writer.operand(operand, Form::Bool)),
    }
}

/// The operand stands in the text: at its start, its end, or anywhere.
fn like(writer: &mut Writer<'_>, column: &str, operand: &Operand, before: bool, after: bool, fold: bool) -> String {
    if writer.postgres() {
        let pattern = writer.operand(operand, Form::Like { before, after });
        return if fold {
            format!("{} like {}", writer.fold(column), writer.fold(&pattern))
        } else {
            format!("{column} like {pattern}")
        };
    }
    // SQLite's own `like` is blind to the case of ASCII letters and of no others, so it serves neither way.
    let value = writer.operand(operand, Form::Text);
    let (column, value) = if fold {
        (writer.fold(column), writer.fold(&value))
    } else {
        (column.to_owned(), value)
    };
    match (before, after) {
        (true, true) => format!("instr({column}, {value}) > 0"),
        (false, _) => format!("substr({column}, 1, length({value})) = {value}"),
        // substr(x, -0) would be the whole text.
        (true, false) => format!("({value} = '' and {column} is not null or substr({column}, -length({value})) = {value})"),
    }
}

/// The text starts with the operand: on SQLite as a range, which an index serves.
fn starts_with(writer: &mut Writer<'_>, column: &str, operand: &Operand, from: Form, to: Form) -> String {
    if writer.postgres() {
        return like(writer, column, operand, false, true, false);
    }
    let from = writer.operand(operand, from);
    let to = writer.operand(operand, to);
    format!("({column} >= {from} and {column} < {to})")
}

fn under(writer: &mut Writer<'_>, column: &str, kind: &Kind, operand: &Operand) -> String {
    let (open, column, close) = match (kind, writer.postgres()) {
        (Kind::List(_), true) => {
            let x = writer.table_alias();
            (
                format!("exists (select 1 from jsonb_array_elements_text({column}) {x} where "),
                x,
                ")",
            )
        }
        (Kind::List(_), false) => {
            let x = writer.table_alias();
            (
                format!("exists (select 1 from json_each({column}) {x} where "),
                format!("{x}.value"),
                ")",
            )
        }
        _ => (String::new(), column.to_owned(), ""),
    };
    let at = writer.operand(operand, Form::Text);
    let from = writer.operand(operand, Form::Below);
    let below = if writer.postgres() {
        format!("starts_with({column}, {from})")
    } else {
        let to = writer.operand(operand, Form::BelowEnd);
        format!("({column} >= {from} and {column} < {to})")
    };
    format!("{open}({column} = {at} or {below}){close}")
}

/// On Postgres by containment, which an index of the list serves.
pub(super) fn has_any(writer: &mut Writer<'_>, column: &str, operand: &Operand) -> String {
    if writer.postgres() {
        let items = writer.operand(operand, Form::List(Box::new(Form::JsonItem)));
        return format!("{column} @> any({items})");
    }
    let items = writer.operand(operand, Form::Json);
    let (x, y) = (writer.table_alias(), writer.table_alias());
    format!("exists (select 1 from json_each({column}) {x} where {x}.value in (select {y}.value from json_each({items}) {y}))")
}

pub(super) fn has_all(writer: &mut Writer<'_>, column: &str, operand: &Operand) -> String {
    let items = writer.operand(operand, Form::Json);
    if writer.postgres() {
        return format!("{column} @> {items}");
    }
    let (x, y) = (writer.table_alias(), writer.table_alias());
    format!(
        "({column} is not null and {items} is not null and not exists (select 1 from json_each({items}) {x} where ({x}.value in (select {y}.value from json_each({column}) {y})) is not true))"
    )
}

/// One of the locations lies within so many km of a point.
fn near(writer: &mut Writer<'_>, column: &str, operand: &Operand) -> String {
    let mut part = |index| writer.operand(operand, Form::Item(index, Box::new(Form::Float)));
    let (latitude, longitude, km) = (part(0), part(1), part(2));
    if !writer.postgres() {
        return format!("near({column}, {latitude}, {longitude}, {km})");
    }
    let x = writer.table_alias();
    let number = |name: &str| format!("({x}.value ->> '{name}')::float8");
    let (lat, lon) = (number("latitude"), number("longitude"));
    // Haversine; the same formula, in the same order, as the SQL function on SQLite and the reader in memory.
    format!(
        "exists (select 1 from jsonb_array_elements(case jsonb_typeof({column}) when 'array' then {column} when 'object' then jsonb_build_array({column}) end) {x} \
         where 12742 * asin(sqrt(least(1, power(sind(({lat} - {latitude}) / 2), 2) + cosd({latitude}) * cosd({lat}) * power(sind(({lon} - {longitude}) / 2), 2)))) <= {km})"
    )
}
