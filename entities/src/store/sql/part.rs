//! Conditions on what stands inside of a JSON value: places in free JSON, parts of values with parts, items of lists.

use crate::klass::filter::{Base, Op, Operand, Quantifier, Target};
use crate::klass::{Filter, Kind, kind};

use super::bind::Form;
use super::filter::{condition, has_all, has_any, is_null, negate, sign, typed};
use super::scope::Scope;
use super::writer::{Writer, literal};

/// The JSON in which a part or a place is looked for.
pub(super) fn root(scope: &mut Scope, base: &Base) -> String {
    match base {
        Base::Property(p) => scope.column(p.home, &p.column),
        Base::Link(p) => scope.link_column(&p.column),
        // Only a filter on items has such targets.
        Base::Item => scope.item.clone().unwrap_or_else(|| "null".to_owned()),
    }
}

/// A part of a value, as a column of its kind would be read.
pub(super) fn part(writer: &Writer<'_>, json: &str, path: &[String], kind: &Kind) -> String {
    let amount: Vec<String>;
    let path = if *kind == Kind::Money {
        amount = path.iter().cloned().chain(["amount".to_owned()]).collect();
        amount.as_slice()
    } else {
        path
    };
    let at = place(writer, json, path);
    // What is stored was accepted once; should its kind have changed since, it is no value of it, not an error.
    let matching = |pattern: &str, ty: &str| format!("(case when {0} ~ '{pattern}' then ({0})::{ty} end)", at.text);
    match (kind, writer.postgres()) {
        (Kind::Integer { .. }, _) => at.number,
        (Kind::Decimal | Kind::Money, true) => matching(r"^-?\d+(\.\d+)?$", "numeric"),
        (Kind::Decimal, false) => format!("scaled({}, {})", at.text, kind::DECIMAL_SCALE),
        (Kind::Money, false) => format!("scaled({}, {})", at.text, kind::MONEY_SCALE),
        (Kind::Boolean, true) => matching("^(true|false)$", "boolean"),
        (Kind::Boolean, false) => format!("(case {} when 'true' then 1 when 'false' then 0 end)", at.text),
        (Kind::Date, true) => matching(r"^\d{4}-\d\d-\d\d$", "date"),
        (Kind::DateTime, true) => matching(r"^\d{4}-\d\d-\d\dT", "timestamptz"),
        (Kind::DateTime, false) => format!("micros({})", at.text),
        (Kind::Json | Kind::Object(_) | Kind::List(_), true) => format!("nullif({}, 'null'::jsonb)", at.json),
        (Kind::Json | Kind::Object(_) | Kind::List(_), false) => format!("nullif({}, 'null')", at.json),
        // Columns of text are ordered by their bytes.
        (_, true) => format!("({} collate \"C\")", at.text),
        (_, false) => at.text,
    }
}

/// Conditions on the items of a list.
pub(super) fn items(writer: &mut Writer<'_>, scope: &mut Scope, of: &Target, quantifier: Quantifier, filter: &Filter) -> String {
    let list = match of {
        Target::Property(p) => scope.column(p.home, &p.column),
        Target::Link(p) => scope.link_column(&p.column),
        Target::Part(base, path, kind) => {
            let json = root(scope, base);
            part(writer, &json, path, kind)
        }
        // The check of a plan gives lists alone.
        _ => "null".to_owned(),
    };
    let item = writer.table_alias();
    let from = if writer.postgres() {
        format!("jsonb_array_elements(case jsonb_typeof({list}) when 'array' then {list} end) {item}")
    } else {
        format!("json_each({list}) {item}")
    };
    let outer = scope.item.replace(format!("{item}.value"));
    let condition = match quantifier {
        Quantifier::Some | Quantifier::None => condition(writer, scope, filter),
        Quantifier::Every => negate(writer, scope, filter),
    };
    scope.item = outer;
    let not = if quantifier == Quantifier::Some { "" } else { "not " };
    format!("{not}exists (select 1 from {from} where {condition})")
}

/// A place in a JSON property: as text, or as a number where the operand is one (an operand's kind may show only when it is bound,
/// so both are said and the one that is not meant is null).
pub(super) fn at_path(writer: &mut Writer<'_>, column: &str, path: &[String], op: Op, operand: &Operand) -> String {
    let place = place(writer, column, path);
    match op {
        Op::IsNull => return is_null(writer, &place.text, operand),
        Op::Eq | Op::Gt | Op::Gte | Op::Lt | Op::Lte | Op::Ne => {
            let number = writer.operand(operand, Form::PathNumber);
            let text = writer.operand(operand, Form::PathText);
            if op == Op::Ne {
                // Exactly one of the two operands is not null.
                return format!(
                    "(({} = {number}) is not true and ({} = {text}) is not true)",
                    place.number, place.text
                );
            }
            let sign = sign(op);
            return format!("({} {sign} {text} or {} {sign} {number})", place.text, place.number);
        }
        Op::In | Op::NotIn => {
            let text = writer.in_list(&place.text, operand, &Form::PathText);
            let number = writer.in_list(&place.number, operand, &Form::PathNumber);
            let any = format!("({text} or {number})");
            return if op == Op::In { any } else { format!("{any} is not true") };
        }
        Op::HasAny | Op::HasAll | Op::HasNone => {
            if op == Op::HasAll {
                return has_all(writer, &place.json, operand);
            }
            let any = has_any(writer, &place.json, operand);
            return if op == Op::HasNone { format!("({any}) is not true") } else { any };
        }
        Op::Contains { .. } | Op::StartsWith { .. } | Op::EndsWith { .. } | Op::Matches { .. } | Op::EqFold | Op::Under | Op::Near => {}
    }
    let target = if op == Op::Near { &place.json } else { &place.text };
    typed(writer, target, &Kind::Text, op, operand)
}

struct Place {
    json: String,
    text: String,
    number: String,
}

fn place(writer: &Writer<'_>, column: &str, path: &[String]) -> Place {
    // A step of digits may be a place in an array.
    let in_array = path.iter().any(|step| !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit()));
    if writer.postgres() && in_array {
        let steps: Vec<String> = path.iter().map(|step| literal(step)).collect();
        let json = format!("({column} #> array[{}])", steps.join(", "));
        let text = format!("({column} #>> array[{}])", steps.join(", "));
        let number = format!("(case jsonb_typeof{json} when 'number' then {text}::numeric end)");
        return Place { json, text, number };
    }
    if writer.postgres() {
        let steps: Vec<String> = path.iter().map(|step| literal(step)).collect();
        let Some((last, before)) = steps.split_last() else {
            return Place {
                json: column.to_owned(),
                text: format!("{column} #>> '{{}}'"),
                number: format!("{column} #>> '{{}}'"),
            };
        };
        let mut at = column.to_owned();
        for step in before {
            at = format!("{at} -> {step}");
        }
        let json = format!("({at} -> {last})");
        let text = format!("({at} ->> {last})");
        let number = format!("(case jsonb_typeof{json} when 'number' then {text}::numeric end)");
        return Place { json, text, number };
    }
    // A JSON path in double quotes takes any key but one with a double quote or a backslash in it; those, and places in arrays, go through our own function.
    let plain = !in_array && path.iter().all(|step| !step.contains(['"', '\\']));
    let (json, kind) = if plain {
        let mut text = String::from("$");
        for step in path {
            text.push_str(&format!(".\"{step}\""));
        }
        let text = literal(&text);
        (format!("({column} -> {text})"), format!("json_type({column}, {text})"))
    } else {
        let text = literal(&serde_json::Value::from(path).to_string());
        let json = format!("json_at({column}, {text})");
        let kind = format!("json_type({json})");
        (json, kind)
    };
    let value = format!("({json} ->> '$')");
    let text = format!("(case {kind} when 'true' then 'true' when 'false' then 'false' else cast({value} as text) end)");
    let number = format!("(case when {kind} in ('integer', 'real') then {value} end)");
    Place { json, text, number }
}
