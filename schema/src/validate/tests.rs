//! Documents that fit, and those that do not, with the sentence that says why.

use crate::limits::Limits;
use crate::types::model::Types;
use crate::types::{self, testing};

fn types() -> Types {
    types::build(&testing::shop()).unwrap_or_else(|e| panic!("{e}"))
}

fn told(types: &Types, text: &str) -> Vec<String> {
    let document = crate::parse::parse(text, &Limits::default()).unwrap_or_else(|e| panic!("{text}: {}", e.message));
    match super::validate(types, &document) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.message).collect(),
    }
}

#[test]
fn what_fits() {
    let types = types();
    for text in [
        "{ orders { nodes { id id a: id } nodes { a: id } } }",
        "{ node(id: 1) { ... on Order { x: orderNumber } ... on Customer { x: title } } }",
        "{ node(id: \"a\") { ... on Order { x: products { totalCount } } ... on Product { x: orders { totalCount } } } }",
        "query($x: Int) { orders(first: $x) { totalCount } ... { orders(first: $x) { nodes { id } } } }",
        "mutation($n: Int) { deleteOrders(filter: {}, atMost: $n) { count } }",
        "query($x: ID = \"a\") { node(id: $x) { id } }",
        "query($x: Boolean!) { __typename @skip(if: $x) }",
        "{ orders(filter: {and: {orderNumber: {in: \"a\"}}}) { totalCount } }",
        "subscription { orderChanged { id } ...F } fragment F on Subscription { orderChanged { change } }",
        "query A { __typename } query B($x: Int) { orders(first: $x) { totalCount } }",
    ] {
        assert_eq!(told(&types, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_does_not() {
    let types = types();
    let mut wrong = Vec::new();
    for (text, why) in [
        (
            "{ orders { nodes { a: id a: version } } }",
            "\"id\" and \"version\" are different fields",
        ),
        (
            "{ orders { totalCount } orders(first: 1) { totalCount } }",
            "Fields \"orders\" conflict because they have differing arguments.",
        ),
        (
            "{ x: orders { totalCount } ... { x: customers { totalCount } } }",
            "\"orders\" and \"customers\" are different fields",
        ),
        (
            "{ order(id: 1) { customer { x: id } customer { ...F } } } fragment F on Customer { x: name }",
            "subfields \"x\" conflict",
        ),
        (
            "{ node(id: 1) { ... on Order { x: version } ... on Customer { x: name } } }",
            "they return conflicting types \"Int!\" and \"String\"",
        ),
        (
            "{ node(id: 1) { ... on Order { x: customer { y: id } } ... on Product { x: orders { y: totalCount } } } }",
            "they return conflicting types \"ID!\" and \"Int!\"",
        ),
        (
            "{ orders(first: 99999999999) { totalCount } }",
            "Int cannot represent non 32-bit signed integer value: 99999999999",
        ),
        ("{ orders(first: 1.0) { totalCount } }", "expected type \"Int\""),
        (
            "{ orders(filter: {status: {eq: \"PENDING\"}}) { totalCount } }",
            "Enum \"OrderStatus\" cannot represent non-enum value: \"PENDING\".",
        ),
        ("{ orders(filter: {status: {eq: LOST}}) { totalCount } }", ""),
        (
            "{ orders(filter: {total: 5}) { totalCount } }",
            "Expected value of type \"MoneyFilter\", found 5.",
        ),
        (
            "query($x: Int) { node(id: $x) { id } }",
            "Variable \"$x\" of type \"Int\" used in position expecting type \"ID!\".",
        ),
        ("query($x: ID = null) { node(id: $x) { id } }", "used in position expecting type"),
        (
            "query($x: [Int]) { orders(first: $x) { totalCount } }",
            "used in position expecting type \"Int\"",
        ),
        (
            "query($x: ID) { ...F } fragment F on Query { node(id: $x) { id } }",
            "used in position expecting type",
        ),
        ("query($x: Int = \"a\") { orders(first: $x) { totalCount } }", ""),
        (
            "query Q($x: Int) { __typename }",
            "Variable \"$x\" is never used in operation \"Q\".",
        ),
        (
            "mutation { upsertOrder(key: {id: 1, orderNumber: 2}, create: {}, update: {}) { cursor } }",
            "",
        ),
        ("{ __typename @nope }", "Unknown directive \"@nope\"."),
        (
            "{ __typename @skip(if: true) @skip(if: true) }",
            "The directive \"@skip\" can only be used once at this location.",
        ),
        ("{ __typename @skip }", "is required, but it was not provided"),
        (
            "subscription { orderChanged { id } customerChanged { id } }",
            "Anonymous Subscription must select only one top level field.",
        ),
        (
            "subscription S { ...F } fragment F on Subscription { orderChanged { id } x: orderChanged { id } }",
            "Subscription \"S\" must select only one top level field.",
        ),
        (
            "subscription($x: Boolean!) { orderChanged @include(if: $x) { id } }",
            "must not use `@skip` or `@include` with a variable at its root",
        ),
    ] {
        let told = told(&types, text);
        if !told.iter().any(|message| message.contains(why)) {
            wrong.push(format!("{text}: {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn overlapping_in_many_ways_takes_no_time() {
    let types = types();
    // The same key at every level, beneath every type: compared pair by pair, and arm by arm, this would be 3 to the power of 15.
    let mut text = String::from("id");
    for _ in 0..15 {
        text = format!(
            "... on Order {{ x: customer {{ n: orders {{ nodes {{ id }} }} }} }} ... on Product {{ x: title }} node: klass {{ name }} ... on Node {{ {text} }}"
        );
        text = format!("id {}", text.replace("x: title", "y: title"));
    }
    let fields = (0..1500).map(|_| "orders { nodes { id customer { name } } } ").collect::<String>();
    let document = format!("{{ {fields} n: node(id: 1) {{ {text} }} }}");
    let limits = Limits {
        fields: usize::MAX,
        root_fields: usize::MAX,
        tokens: usize::MAX,
        text: usize::MAX,
        ..Limits::default()
    };
    let document = crate::parse::parse(&document, &limits).unwrap_or_else(|e| panic!("{}", e.message));
    let began = std::time::Instant::now();
    assert!(super::merge::check(&types, &document).is_empty());
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}
