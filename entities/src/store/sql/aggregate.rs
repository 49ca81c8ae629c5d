//! Numbers over many objects, and objects gathered by keys.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use crate::klass::filter::Operand;
use crate::klass::property::Home;
use crate::klass::query::{Aggregate, AggregateFunction, Bucket, GroupBy, GroupKey, GroupOrder, Groups, Having};
use crate::klass::{Kind, Property, Value, kind};

use super::bind::{Form, Source};
use super::filter::sign;
use super::relate::{follow, joined, reference};
use super::scope::Scope;
use super::value::json;
use super::writer::Writer;

/// `[value, …]` over all that match.
pub(super) fn aggregates(writer: &mut Writer<'_>, mut scope: Scope, wanted: &[Aggregate]) -> String {
    let items: Vec<String> = wanted
        .iter()
        .map(|aggregate| {
            let number = number(writer, &mut scope, aggregate);
            number.json(writer, &number.expr, number.currency.as_deref())
        })
        .collect();
    format!("(select {}{})", writer.array(&items), scope.source(writer))
}

/// Aggregates as columns of a sub-select `alias`, and their JSON as it is read from there.
pub(super) fn picked(writer: &mut Writer<'_>, scope: &mut Scope, wanted: &[Aggregate], alias: &str) -> (Vec<String>, Vec<String>) {
    let (mut picks, mut items) = (Vec::new(), Vec::new());
    for (i, aggregate) in wanted.iter().enumerate() {
        let number = number(writer, scope, aggregate);
        let (name, money) = (format!("a{}", i + 1), format!("a{}c", i + 1));
        picks.push(format!("{} as {name}", number.expr));
        let currency = number.currency.as_ref().map(|currency| {
            picks.push(format!("{currency} as {money}"));
            format!("{alias}.{money}")
        });
        items.push(number.json(writer, &format!("{alias}.{name}"), currency.as_deref()));
    }
    (picks, items)
}

/// An aggregate, as an expression.
struct Number {
    expr: String,
    /// For money: the one currency, null where several meet.
    currency: Option<String>,
    kind: Kind,
}

impl Number {
    /// Its JSON, read from these columns.
    fn json(&self, writer: &Writer<'_>, expr: &str, currency: Option<&str>) -> String {
        match (&self.kind, currency) {
            (Kind::Money, Some(currency)) => {
                let pair = writer.array(&[self.exact(writer, expr), currency.to_owned()]);
                format!("case when {expr} is not null and {currency} is not null then {pair} end")
            }
            (Kind::Decimal | Kind::Integer { .. }, _) => self.exact(writer, expr),
            (kind, _) => json(writer, kind, false, expr, None),
        }
    }

    /// On SQLite a sum beyond 64 bits is text.
    fn exact(&self, writer: &Writer<'_>, expr: &str) -> String {
        if writer.postgres() {
            expr.to_owned()
        } else {
            format!("json({expr})")
        }
    }
}

fn number(writer: &mut Writer<'_>, scope: &mut Scope, aggregate: &Aggregate) -> Number {
    let integer = Kind::Integer { big: true };
    let Some(property) = &aggregate.property else {
        return Number {
            expr: "count(*)".into(),
            currency: None,
            kind: integer,
        };
    };
    let column = scope.column(property.home, &property.column);
    let money = property.kind == Kind::Money;
    let currency = money.then(|| scope.column(property.home, &format!("{}_currency", property.column)));
    let only = currency
        .as_ref()
        .map(|c| format!("case when min({c}) = max({c}) then min({c}) end"));
    let postgres = writer.postgres();
    let float = |expr: String| match &currency {
        // An amount has as many digits as money has; a mean over several currencies is no amount at all.
        Some(c) => Number {
            expr: format!(
                "case when min({c}) = max({c}) then round({expr}{}, {}) end",
                if postgres { "::numeric" } else { "" },
                kind::MONEY_SCALE
            ),
            currency: only.clone(),
            kind: Kind::Money,
        },
        None => Number {
            expr,
            currency: None,
            kind: Kind::Decimal,
        },
    };
    match aggregate.function {
        AggregateFunction::Count => Number {
            expr: format!("count({column})"),
            currency: None,
            kind: integer,
        },
        AggregateFunction::CountDistinct => {
            let what = match &currency {
                None => column,
                Some(c) if writer.postgres() => format!("({column}::text || {c})"),
                Some(c) => format!("({column} || {c})"),
            };
            Number {
                expr: format!("count(distinct {what})"),
                currency: None,
                kind: integer,
            }
        }
        AggregateFunction::Sum => {
            let sum = if writer.postgres() { "sum" } else { "big_sum" };
            Number {
                expr: format!("{sum}({column})"),
                currency: only,
                kind: property.kind.clone(),
            }
        }
        AggregateFunction::Min | AggregateFunction::Max => {
            let min = aggregate.function == AggregateFunction::Min;
            let expr = match (&property.kind, writer.postgres(), min) {
                (Kind::Boolean, true, true) => format!("bool_and({column})"),
                (Kind::Boolean, true, false) => format!("bool_or({column})"),
                // Postgres before 18 has no smallest uuid; their text sorts the same.
                (Kind::Id, true, true) => format!("min({column}::text)"),
                (Kind::Id, true, false) => format!("max({column}::text)"),
                (_, _, true) => format!("min({column})"),
                (_, _, false) => format!("max({column})"),
            };
            Number {
                expr,
                currency: only,
                kind: property.kind.clone(),
            }
        }
        AggregateFunction::Avg => float(match (writer.postgres(), scale(property)) {
            (true, _) => format!("avg({column})::float8"),
            (false, 0) => format!("avg({column})"),
            (false, scale) => format!("avg({column}) / 1e{scale}"),
        }),
        AggregateFunction::Percentile(fraction) => {
            let fraction = Decimal::from_f64(fraction).unwrap_or_default();
            let fraction = writer.bind(Source::Const(Value::Decimal(fraction)), Form::Float);
            float(match (writer.postgres(), scale(property)) {
                (true, _) => format!("percentile_cont({fraction}) within group (order by {column}::float8)"),
                (false, 0) => format!("percentile_cont({column}, {fraction})"),
                (false, scale) => format!("percentile_cont({column}, {fraction}) / 1e{scale}"),
            })
        }
    }
}

fn scale(property: &Property) -> u32 {
    match property.kind {
        Kind::Decimal => kind::DECIMAL_SCALE,
        Kind::Money => kind::MONEY_SCALE,
        _ => 0,
    }
}

/// `[[ [key, …], [aggregate, …] ], …]`.
pub(super) fn groups(writer: &mut Writer<'_>, mut scope: Scope, groups: &Groups) -> String {
    let mut picks = Vec::new();
    let mut keys = Vec::new();
    let alias = writer.page_alias();
    for (i, by) in groups.by.iter().enumerate() {
        let (expr, kind) = group_key(writer, &mut scope, by);
        picks.push(format!("{expr} as g{}", i + 1));
        keys.push(json(writer, &kind, false, &format!("{alias}.g{}", i + 1), None));
    }
    let (more, numbers) = picked(writer, &mut scope, &groups.aggregates, &alias);
    picks.extend(more);
    let having: Vec<String> = groups
        .having
        .iter()
        .map(|having| self::having(writer, &mut scope, having))
        .collect();
    let having = if having.is_empty() {
        String::new()
    } else {
        format!(" having {}", having.join(" and "))
    };
    let mut order: Vec<String> = Vec::new();
    for (by, descending) in &groups.order {
        let name = match by {
            GroupOrder::Key(i) => format!("g{}", i + 1),
            GroupOrder::Aggregate(i) => format!("a{}", i + 1),
        };
        order.push(format!("{name}{} nulls last", if *descending { " desc" } else { "" }));
    }
    for i in 0..groups.by.len() {
        if !groups.order.iter().any(|(by, _)| *by == GroupOrder::Key(i)) {
            order.push(format!("g{} nulls last", i + 1));
        }
    }
    let limit = match &groups.limit {
        Operand::Const(Value::Integer(n)) => n.max(&0).to_string(),
        other => writer.operand(other, Form::Integer),
    };
    let group_by: Vec<String> = (1..=groups.by.len()).map(|i| i.to_string()).collect();
    let group_by = if group_by.is_empty() {
        String::new()
    } else {
        format!(" group by {}", group_by.join(", "))
    };
    let order = if order.is_empty() {
        String::new()
    } else {
        format!(" order by {}", order.join(", "))
    };
    let row = writer.array(&[writer.array(&keys), writer.array(&numbers)]);
    if picks.is_empty() {
        picks.push("1 as one".to_owned());
    }
    format!(
        "(select {} from (select {}{}{group_by}{having}{order} limit {limit}) {alias})",
        writer.rows(&row),
        picks.join(", "),
        scope.source(writer)
    )
}

fn group_key(writer: &mut Writer<'_>, scope: &mut Scope, by: &GroupBy) -> (String, Kind) {
    let mut far = by.through.as_ref().and_then(|end| follow(writer, scope, std::slice::from_ref(end)));
    let out = if by.through.is_some() && far.is_none() {
        // Cannot be followed; the check refuses it before.
        ("null".to_owned(), Kind::String)
    } else {
        let at = far.as_mut().unwrap_or(scope);
        match &by.by {
            GroupKey::Property(property) if property.kind == Kind::Money => (currency(at, property.home, &property.column), Kind::String),
            GroupKey::Property(property) => (at.column(property.home, &property.column), property.kind.clone()),
            GroupKey::Reference(end) => (reference(writer, at, end), Kind::Id),
            GroupKey::Bucket { property, bucket, zone } => {
                let column = at.column(property.home, &property.column);
                (
                    self::bucket(writer, &column, property.kind == Kind::Date, *bucket, zone),
                    Kind::String,
                )
            }
        }
    };
    if let Some(far) = far {
        joined(writer, scope, &far);
    }
    out
}

fn currency(scope: &mut Scope, home: Home, column: &str) -> String {
    scope.column(home, &format!("{column}_currency"))
}

fn bucket(writer: &mut Writer<'_>, column: &str, date: bool, bucket: Bucket, zone: &str) -> String {
    let width = match bucket {
        Bucket::Hour => "hour",
        Bucket::Day => "day",
        Bucket::Week => "week",
        Bucket::Month => "month",
        Bucket::Quarter => "quarter",
        Bucket::Year => "year",
    };
    match (writer.postgres(), date) {
        (true, true) => format!("to_char(date_trunc('{width}', {column}::timestamp), {})", format_of(bucket)),
        (true, false) => {
            let zone = writer.text(zone);
            format!(
                "to_char(date_trunc('{width}', {column} at time zone {zone}), {})",
                format_of(bucket)
            )
        }
        (false, true) => format!("date_bucket({column}, '{width}')"),
        (false, false) => {
            let zone = writer.text(zone);
            format!("time_bucket({column}, '{width}', {zone})")
        }
    }
}

fn format_of(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::Hour => "'YYYY-MM-DD\"T\"HH24:MI'",
        _ => "'YYYY-MM-DD'",
    }
}

/// A condition on an aggregate. Money of several currencies meets none.
fn having(writer: &mut Writer<'_>, scope: &mut Scope, having: &Having) -> String {
    let number = number(writer, scope, &having.aggregate);
    let form = match (having.aggregate.function, &having.aggregate.property) {
        (AggregateFunction::Count | AggregateFunction::CountDistinct, _) | (_, None) => Form::Integer,
        (AggregateFunction::Avg | AggregateFunction::Percentile(_), _) => Form::Float,
        (AggregateFunction::Sum, Some(p)) if matches!(p.kind, Kind::Integer { .. }) => Form::Numeric(0),
        (_, Some(p)) => match p.kind {
            Kind::Id if writer.postgres() => Form::Text,
            ref kind => Form::of(kind),
        },
    };
    let operand = writer.operand(&having.operand, form);
    let condition = format!("{} {} {operand}", number.expr, sign(having.op));
    match &number.currency {
        Some(currency) => format!("({condition} and {currency} is not null)"),
        None => condition,
    }
}
