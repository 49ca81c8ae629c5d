//! The two readers of filters agree: what a database finds is what the reader in memory says, over generated rows and filters.
//! (On Postgres for a database in C.UTF-8 or the like: text compares as its collation says.)

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Map;

use super::*;
use crate::klass::filter::{Base, Quantifier};
use crate::klass::filter_memory::matches;

const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "ä",
    "Ä",
    "ab",
    "aB",
    "b%",
    "%",
    "_",
    "a_b",
    "\\",
    "ΑΣ",
    "ας",
    "İ",
    "eu",
    "eu/de",
    "eu0",
    "\u{10FFFF}",
    "zz",
];
const WORDS: &[&str] = &["red", "blue", "it's", "\"x\""];
const MAILS: &[&str] = &["ann@x.com", "Ann@X.com", "bob@x.com"];
const STATES: &[&str] = &["pending", "in progress", "done"];
const PLACES: &[&str] = &["eu", "eu/de", "eu/de/berlin", "eu/fr", "us", "us/tx"];
const DECIMALS: &[&str] = &["0", "-1.5", "1.5", "1.500001", "1.5000005", "999999999999.999999"];

fn of(pool: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::select(pool).prop_map(text).boxed()
}

pub(super) fn some(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 4 => value].boxed()
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    proptest::collection::vec(item, 0..4).prop_map(Value::List).boxed()
}

fn decimals() -> BoxedStrategy<Value> {
    proptest::sample::select(DECIMALS).prop_map(decimal).boxed()
}

fn integers() -> BoxedStrategy<Value> {
    (-2_i64..3).prop_map(Value::Integer).boxed()
}

/// The properties that are compared, with their values, and the values with which they are compared.
pub(super) fn values() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let money = (
        proptest::sample::select(&["1", "2.5", "-3.0001"][..]),
        proptest::sample::select(&["EUR", "USD"][..]),
    );
    let meta = proptest::sample::select(vec![
        serde_json::json!({"a": "x", "n": 1}),
        serde_json::json!({"n": 1, "a": "x"}),
        serde_json::json!({"a": true, "n": 2.5, "l": ["p", {"q": 3}]}),
        serde_json::json!({"a": null, "n": "1"}),
        serde_json::json!([1]),
    ]);
    vec![
        ("remark", of(TEXTS)),
        ("status", of(STATES)),
        ("contact", of(MAILS)),
        ("place", of(PLACES)),
        ("items", integers()),
        ("weight", proptest::sample::select(&DECIMALS[..4]).prop_map(decimal).boxed()),
        ("total", money.prop_map(|(amount, currency)| super::money(amount, currency)).boxed()),
        ("paid", any::<bool>().prop_map(Value::Bool).boxed()),
        (
            "due",
            proptest::sample::select(&["2026-01-01", "2026-01-02"][..]).prop_map(date).boxed(),
        ),
        ("placedAt", (0_i64..3).prop_map(at).boxed()),
        ("labels", list(of(WORDS))),
        ("sizes", list(integers())),
        ("meta", meta.prop_map(Value::Json).boxed()),
        ("spot", spot().prop_map(Value::Json).boxed()),
        (
            "spots",
            proptest::collection::vec(spot(), 0..3)
                .prop_map(|spots| Value::List(spots.into_iter().map(Value::Json).collect()))
                .boxed(),
        ),
        (
            "costs",
            proptest::collection::vec(cost(), 0..3)
                .prop_map(|costs| Value::Json(Json::Array(costs)))
                .boxed(),
        ),
    ]
}

/// Money, as it stands in JSON.
fn cost() -> BoxedStrategy<Json> {
    let amount = proptest::sample::select(&["1", "2.5", "-3.0001"][..]);
    let currency = proptest::sample::select(&["EUR", "USD"][..]);
    (amount, currency)
        .prop_map(|(amount, currency)| serde_json::json!({"amount": amount, "currency": currency}))
        .boxed()
}

/// A value with parts, as it is stored: parts may be null or not there.
fn spot() -> BoxedStrategy<Json> {
    let part = |name: &'static str, values: Vec<Json>| {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some((name, Json::Null))),
            4 => proptest::sample::select(values).prop_map(move |value| Some((name, value))),
        ]
        .boxed()
    };
    let texts = |all: &[&str]| all.iter().map(|t| Json::from(*t)).collect::<Vec<_>>();
    let parts = vec![
        part("sort", texts(&["a", "b"])),
        part("open", vec![true.into(), false.into()]),
        part("since", texts(&["2026-01-01", "2026-01-02"])),
        part("seen", texts(&["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000001Z"])),
        part("rating", texts(&DECIMALS[..4])),
        part("floor", (-2_i64..3).map(Json::from).collect()),
        part("mail", texts(MAILS)),
        part(
            "words",
            vec![
                serde_json::json!([]),
                serde_json::json!(["red"]),
                serde_json::json!(["red", "it's"]),
            ],
        ),
        prop_oneof![1 => Just(None), 3 => cost().prop_map(|cost| Some(("cost", cost)))].boxed(),
        part("more", vec![serde_json::json!({"n": 1}), serde_json::json!({"n": "x"})]),
    ];
    parts
        .prop_map(|parts| Json::Object(parts.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect()))
        .boxed()
}

/// Comparisons of the parts of a value.
fn part_filters(whole: &Target) -> Vec<BoxedStrategy<Filter>> {
    let sorted = vec![Op::Eq, Op::Ne, Op::Gt, Op::Gte, Op::Lt, Op::Lte];
    let among = vec![Op::In, Op::NotIn];
    let time = |micros: i64| {
        let start = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().timestamp_micros();
        Value::DateTime(DateTime::from_timestamp_micros(start + micros).unwrap())
    };
    let times = (0_i64..3).prop_map(time).boxed();
    let dates = proptest::sample::select(&["2026-01-01", "2026-01-02", "2026-01-03"][..])
        .prop_map(date)
        .boxed();
    let flags = any::<bool>().prop_map(Value::Bool).boxed();
    let rows: Vec<(&str, Vec<Op>, BoxedStrategy<Value>)> = vec![
        ("sort", vec![Op::Eq, Op::Ne], of(&["a", "b", "c"])),
        ("sort", among.clone(), list(of(&["a", "b"]))),
        ("open", vec![Op::Eq, Op::Ne], flags.clone()),
        ("since", sorted.clone(), dates.clone()),
        ("since", among.clone(), list(dates)),
        ("seen", sorted.clone(), times),
        ("rating", sorted.clone(), decimals()),
        ("rating", among.clone(), list(decimals())),
        ("floor", sorted.clone(), integers()),
        ("floor", among, list(integers())),
        ("mail", vec![Op::Eq, Op::Ne, Op::EqFold, Op::Contains { fold: true }], of(MAILS)),
        ("words", vec![Op::HasAny, Op::HasAll, Op::HasNone], list(of(WORDS))),
        ("cost", sorted, decimals()),
    ];
    let compare = |target: Target, ops: Vec<Op>, operand: BoxedStrategy<Value>| {
        (proptest::sample::select(ops), operand)
            .prop_map(move |(op, value)| Filter::Compare {
                target: target.clone(),
                op,
                operand: Operand::Const(value),
            })
            .boxed()
    };
    let mut out = Vec::new();
    for (name, ops, operand) in rows {
        let target = whole.part(name).unwrap();
        out.push(compare(target.clone(), vec![Op::IsNull], flags.clone()));
        out.push(compare(target, ops, operand));
    }
    let currency = whole.part("cost").and_then(|cost| cost.part("currency")).unwrap();
    out.push(compare(currency, vec![Op::Eq, Op::Ne], of(&["EUR", "USD"])));
    let place = whole.part("more").and_then(|more| more.place(vec!["n".into()])).unwrap();
    out.push(compare(place, vec![Op::Eq, Op::Ne], prop_oneof![integers(), of(&["x"])].boxed()));
    out
}

/// Conditions on the items of a list.
fn item_filters(list: Target, kind: Kind) -> BoxedStrategy<Filter> {
    let item = Target::Part(Base::Item, vec![], Box::new(kind.clone()));
    let conditions = match kind {
        Kind::Money => vec![
            (proptest::sample::select(vec![Op::Eq, Op::Ne, Op::Gt, Op::Lte]), decimals())
                .prop_map(move |(op, value)| Filter::Compare {
                    target: item.clone(),
                    op,
                    operand: Operand::Const(value),
                })
                .boxed(),
        ],
        _ => part_filters(&item),
    };
    let condition = proptest::sample::select(conditions).prop_flat_map(|it| it);
    let both = proptest::collection::vec(condition, 0..3).prop_map(Filter::And);
    let quantifiers = vec![Quantifier::Some, Quantifier::Every, Quantifier::None];
    (proptest::sample::select(quantifiers), both)
        .prop_map(move |(quantifier, filter)| Filter::Items {
            of: Box::new(list.clone()),
            quantifier,
            filter: Box::new(filter),
        })
        .boxed()
}

pub(super) fn filters(shop: &Shop) -> BoxedStrategy<Filter> {
    let mut leaves: Vec<BoxedStrategy<Filter>> = Vec::new();
    let target = |target: Target, ops: Vec<Op>, operand: BoxedStrategy<Value>| {
        (proptest::sample::select(ops), operand)
            .prop_map(move |(op, value)| Filter::Compare {
                target: target.clone(),
                op,
                operand: Operand::Const(value),
            })
            .boxed()
    };
    let flags = |op: fn(bool) -> Op| [op(false), op(true)];
    let sorted = vec![Op::Eq, Op::Ne, Op::Gt, Op::Gte, Op::Lt, Op::Lte];
    for (legal, values) in values() {
        let p = || Target::Property(property(&shop.order, legal));
        leaves.push(target(p(), vec![Op::IsNull], any::<bool>().prop_map(Value::Bool).boxed()));
        match legal {
            "labels" | "sizes" => {
                leaves.push(target(p(), vec![Op::HasAny, Op::HasAll, Op::HasNone, Op::Eq, Op::Ne], values));
                continue;
            }
            "spot" => {
                leaves.extend(part_filters(&p()));
                continue;
            }
            "spots" | "costs" => {
                let kind = property(&shop.order, legal).kind.item().clone();
                // As often as all others together: there is much to go wrong.
                leaves.extend((0..8).map(|_| item_filters(p(), kind.clone())));
                continue;
            }
            "meta" => {
                leaves.push(target(p(), vec![Op::Eq, Op::Ne], values));
                continue;
            }
            "weight" => leaves.push(target(p(), sorted.clone(), decimals())),
            "total" => leaves.push(target(p(), sorted.clone(), prop_oneof![values.clone(), decimals()].boxed())),
            _ => leaves.push(target(p(), sorted.clone(), values.clone())),
        }
        leaves.push(target(p(), vec![Op::In, Op::NotIn], list(values.clone())));
    }
    let remark = || Target::Property(property(&shop.order, "remark"));
    let mut textual = vec![Op::EqFold];
    textual.extend(flags(|fold| Op::Contains { fold }));
    textual.extend(flags(|fold| Op::StartsWith { fold }));
    textual.extend(flags(|fold| Op::EndsWith { fold }));
    leaves.push(target(remark(), textual, of(TEXTS)));
    leaves.push(target(
        remark(),
        flags(|fold| Op::Matches { fold }).to_vec(),
        of(&["^a", "[ä-ö]$", "a.b", "(b|%)", ""]),
    ));
    leaves.push(target(
        Target::Property(property(&shop.order, "place")),
        vec![Op::Under],
        of(PLACES),
    ));
    leaves.push(target(remark(), vec![Op::Under], of(&["eu", "eu/de"])));
    let total = property(&shop.order, "total");
    leaves.push(target(Target::Amount(total.clone()), sorted.clone(), decimals()));
    leaves.push(target(Target::Currency(total), vec![Op::Eq, Op::Ne], of(&["EUR", "USD"])));
    for path in [vec!["a"], vec!["n"], vec!["l", "0"], vec!["l", "1", "q"], vec!["zz"]] {
        let path = || {
            Target::Path(
                Base::Property(property(&shop.order, "meta")),
                path.iter().map(|s| (*s).to_owned()).collect(),
            )
        };
        leaves.push(target(
            path(),
            sorted.clone(),
            prop_oneof![of(&["x", "1", "true"]), integers(), decimals()].boxed(),
        ));
        leaves.push(target(
            path(),
            vec![Op::In, Op::NotIn],
            prop_oneof![list(of(&["x", "1", "p"])), list(integers())].boxed(),
        ));
        leaves.push(target(path(), vec![Op::IsNull], any::<bool>().prop_map(Value::Bool).boxed()));
    }
    let leaf = proptest::sample::select(leaves).prop_flat_map(|leaf| leaf);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|f| Filter::Not(Box::new(f))),
        ]
    })
    .boxed()
}

#[test]
fn databases_and_memory_find_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(each_shop(|shop| async move {
        let handle = tokio::runtime::Handle::current();
        // The test's runner is not asynchronous.
        tokio::task::spawn_blocking(move || agree(&handle, &shop)).await.unwrap();
    }));
}

fn agree(runtime: &tokio::runtime::Handle, shop: &Shop) {
    let cases = if shop.store.dialect() == Dialect::Sqlite { 1500 } else { 500 };
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let mut images: Vec<(u32, Map<String, Json>)> = Vec::new();
    let pools: Vec<(&str, BoxedStrategy<Value>)> = values().into_iter().map(|(legal, values)| (legal, some(values))).collect();
    for n in 1..=60 {
        let mut row = vec![("number", text(&format!("N{n}"))), ("serial", Value::Integer(1))];
        let mut image = Map::new();
        for (legal, pool) in &pools {
            let value = pool.new_tree(&mut runner).unwrap().current();
            image.insert(property(&shop.order, legal).column.clone(), value.to_json());
            row.push((legal, value));
        }
        runtime.block_on(shop.insert(&shop.order, n, &row, &[]));
        images.push((n, image));
    }
    let result = runner.run(&filters(shop), |filter| {
        let found = runtime.block_on(shop.find(&shop.order, filter.clone(), &[]));
        let said: Vec<u32> = images
            .iter()
            .filter(|(_, image)| matches(&filter, image, &[]) == Some(true))
            .map(|(n, _)| *n)
            .collect();
        let differ: Vec<&(u32, Map<String, Json>)> = images
            .iter()
            .filter(|(n, _)| found.contains(n) != said.contains(n))
            .take(2)
            .collect();
        prop_assert!(
            differ.is_empty(),
            "{:?} {found:?}\nmemory {said:?}\n{differ:?}",
            shop.store.dialect()
        );
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
}
