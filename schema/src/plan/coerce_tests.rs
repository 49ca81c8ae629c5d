//! Coercion of variables and arguments, case by case.

use async_graphql_parser::types::DocumentOperations;
use serde_json::{Value as Json, json};

use super::coerce::{Input, Variables, coerce_arguments, coerce_variables};
use crate::limits::Limits;
use crate::types::model::{Argument, InputType, Type, TypeRef, Types};
use crate::types::{self, testing};

/// The shop's types, and an input object that has one of everything.
fn types() -> Types {
    let mut types = types::build(&testing::shop()).unwrap_or_else(|e| panic!("{e}"));
    // Whatever the shop does not use.
    for scalar in crate::scalars::all() {
        types.types.entry(scalar.name.clone()).or_insert(Type::Scalar(scalar));
    }
    let named = |name: &'static str| TypeRef::named(name);
    let field = |name: &'static str, ty: TypeRef| (name.into(), Argument::plain(name, ty, ""));
    let default = Argument::plain("withDefault", named("Int").required(), "").or(7);
    let thing = InputType {
        name: "Thing".into(),
        description: None,
        one_of: false,
        klass: None,
        fields: [
            field("need", named("Int").required()),
            field("list", named("Int").list()),
            field("lists", named("Int").list().list()),
            field("strict", named("Int").required().list()),
            field("inner", named("Thing")),
            ("withDefault".into(), default),
        ]
        .into_iter()
        .collect(),
    };
    types.types.insert("Thing".into(), Type::Input(thing));
    types
}

/// A query's variables: `Ok` the values as JSON with their shape, `Err` the first message.
fn variables(declared: &str, given: Json) -> Result<(Json, Variables), String> {
    let text = format!("query({declared}) {{ __typename }}");
    let document = crate::parse::parse(&text, &Limits::default()).map_err(|e| e.message)?;
    let DocumentOperations::Single(operation) = &document.operations else {
        panic!("one operation")
    };
    let given = given.as_object().cloned().unwrap_or_default();
    let out = coerce_variables(&types(), &operation.node, &given).map_err(|errors| errors[0].message.clone())?;
    let values: serde_json::Map<String, Json> = out.values.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect();
    Ok((Json::Object(values), out))
}

fn value(declared: &str, given: Json) -> Json {
    variables(declared, given).unwrap_or_else(|e| panic!("{declared}: {e}")).0
}

fn refused(declared: &str, given: Json, why: &str) {
    match variables(declared, given.clone()) {
        Err(message) => assert!(message.contains(why), "{declared} {given}: {message}"),
        Ok((value, _)) => panic!("{declared} {given} became {value}"),
    }
}

#[test]
fn an_omitted_variable_stays_absent_and_null_stays_null() {
    assert_eq!(
        value("$a: Int, $b: Int = 5, $c: Int = 5, $d: Int", json!({"c": null, "d": null})),
        json!({"b": 5, "c": null, "d": null})
    );
    refused("$a: Int!", json!({}), "Variable \"$a\" of required type \"Int!\" was not provided.");
    refused("$a: Int!", json!({"a": null}), "expected non-nullable type \"Int!\" not to be null");
    assert_eq!(value("$a: Int! = 3", json!({})), json!({"a": 3}));
}

#[test]
fn scalars_take_what_they_may() {
    for (ty, given, expected) in [
        ("Int", json!(2_147_483_647), json!(2_147_483_647)),
        ("Int", json!(3.0), json!(3)),
        ("Float", json!(3), json!(3.0)),
        ("ID", json!(5), json!("5")),
        ("ID", json!("x"), json!("x")),
        ("Boolean", json!(true), json!(true)),
        ("BigInt", json!("9007199254740993"), json!(9_007_199_254_740_993i64)),
        ("Decimal", json!("12.50"), json!("12.5")),
        ("Decimal", json!(0.1), json!("0.1")),
        (
            "DateTime",
            json!("2026-11-24T14:05:04.1234567+01:00"),
            json!("2026-11-24T13:05:04.123456Z"),
        ),
        ("Date", json!("2026-02-28"), json!("2026-02-28")),
        ("JSON", json!({"a": [1, null]}), json!({"a": [1, null]})),
        ("SortDirection", json!("DESC"), json!("DESC")),
    ] {
        assert_eq!(value(&format!("$a: {ty}"), json!({"a": given})), json!({"a": expected}), "{ty}");
    }
    for (ty, given) in [
        ("Int", json!(2_147_483_648i64)),
        ("Int", json!(1.5)),
        ("Int", json!("1")),
        ("Int", json!(true)),
        ("Float", json!("1")),
        ("String", json!(1)),
        ("String", json!("a\u{0}b")),
        ("ID", json!(1.5)),
        ("Boolean", json!(1)),
        ("BigInt", json!(1.5)),
        ("Decimal", json!("1,5")),
        ("DateTime", json!("2026-11-24")),
        ("DateTime", json!("2026-11-24T13:05:04")),
        ("Date", json!("2026-02-30")),
        ("Date", json!("2026-2-3")),
        ("SortDirection", json!("UP")),
        ("SortDirection", json!(1)),
    ] {
        refused(&format!("$a: {ty}"), json!({"a": given}), "Variable \"$a\" got invalid value");
    }
}

#[test]
fn lists_and_single_values() {
    assert_eq!(value("$a: [Int]", json!({"a": 1})), json!({"a": [1]}));
    assert_eq!(value("$a: [Int]", json!({"a": [1, null]})), json!({"a": [1, null]}));
    assert_eq!(value("$a: [[Int]]", json!({"a": 1})), json!({"a": [[1]]}));
    assert_eq!(value("$a: [[Int]]", json!({"a": [1, [2]]})), json!({"a": [[1], [2]]}));
    assert_eq!(value("$a: [Int!]", json!({"a": null})), json!({"a": null}));
    refused("$a: [Int!]", json!({"a": [1, null]}), "at \"a[1]\"");
    refused("$a: [Int]", json!({"a": [1, "x"]}), "at \"a[1]\"");
}

#[test]
fn input_objects() {
    assert_eq!(
        value("$a: Thing", json!({"a": {"need": 1}})),
        json!({"a": {"need": 1, "withDefault": 7}})
    );
    assert_eq!(
        value("$a: Thing", json!({"a": {"need": 1, "list": 2, "lists": 3}})),
        json!({"a": {"need": 1, "list": [2], "lists": [[3]], "withDefault": 7}})
    );
    refused(
        "$a: Thing",
        json!({"a": {}}),
        "field \"Thing.need\" of required type \"Int!\" was not provided",
    );
    refused(
        "$a: Thing",
        json!({"a": {"need": 1, "nope": 1}}),
        "field \"nope\" is not defined by type \"Thing\"",
    );
    refused("$a: Thing", json!({"a": {"need": 1, "withDefault": null}}), "at \"a.withDefault\"");
    refused(
        "$a: Thing",
        json!({"a": {"need": 1, "inner": {"need": "x"}}}),
        "at \"a.inner.need\"",
    );
    refused("$a: Thing", json!({"a": [1]}), "to be an object");
    refused("$a: OrderKey", json!({"a": {"id": "x", "orderNumber": "y"}}), "exactly one key");
    refused("$a: OrderKey", json!({"a": {"id": null}}), "exactly one key");
    assert_eq!(value("$a: OrderKey", json!({"a": {"id": "x"}})), json!({"a": {"id": "x"}}));
}

#[test]
fn the_shape_says_what_changes_a_statement() {
    let shape = |given: Json| {
        variables("$i: Int, $l: [ID!], $o: SortDirection, $b: Boolean, $t: [Thing!]", given)
            .unwrap_or_else(|e| panic!("{e}"))
            .1
            .shape
    };
    let base = shape(json!({"i": 1, "l": ["a"], "o": "ASC", "b": true, "t": [{"need": 1}]}));
    // Leaves and lists of scalars are arguments.
    assert_eq!(
        base,
        shape(json!({"i": 2, "l": ["b", "c"], "o": "ASC", "b": true, "t": [{"need": 9}]}))
    );
    for other in [
        json!({"l": ["a"], "o": "ASC", "b": true, "t": [{"need": 1}]}),
        json!({"i": null, "l": ["a"], "o": "ASC", "b": true, "t": [{"need": 1}]}),
        json!({"i": 1, "l": ["a"], "o": "DESC", "b": true, "t": [{"need": 1}]}),
        json!({"i": 1, "l": ["a"], "o": "ASC", "b": false, "t": [{"need": 1}]}),
        json!({"i": 1, "l": ["a"], "o": "ASC", "b": true, "t": [{"need": 1}, {"need": 1}]}),
        json!({"i": 1, "l": ["a"], "o": "ASC", "b": true, "t": [{"need": 1, "list": []}]}),
    ] {
        assert_ne!(base, shape(other.clone()), "{other}");
    }
}

/// The argument `thing: Thing` of a field, as a literal with variables in it.
fn argument(literal: &str, given: Json) -> Result<Option<Json>, String> {
    let text = format!("query($i: Int, $l: [Int], $t: Thing) {{ f(thing: {literal}) g(a: $i, b: $l, c: $t) }}");
    let document = crate::parse::parse(&text, &Limits::default()).map_err(|e| e.message)?;
    let DocumentOperations::Single(operation) = &document.operations else {
        panic!("one operation")
    };
    let types = types();
    let variables = coerce_variables(&types, &operation.node, given.as_object().unwrap_or(&serde_json::Map::new()))
        .map_err(|e| e[0].message.clone())?;
    let async_graphql_parser::types::Selection::Field(field) = &operation.node.selection_set.node.items[0].node else {
        panic!("a field")
    };
    let declared = [Argument::plain("thing", TypeRef::named("Thing"), "")];
    coerce_arguments(&types, &declared, &field.node, field.pos, &variables)
        .map(|arguments| arguments.get("thing").map(Input::to_json))
        .map_err(|e| e.message)
}

#[test]
fn literals_with_variables_in_them() {
    let ok = |literal: &str, given: Json| argument(literal, given).unwrap_or_else(|e| panic!("{literal}: {e}"));
    assert_eq!(
        ok("{need: $i, list: [1, $i]}", json!({"i": 4})),
        Some(json!({"need": 4, "list": [1, 4], "withDefault": 7}))
    );
    // An absent variable: the field is absent, a list's item is null.
    assert_eq!(ok("{need: 1, list: $l}", json!({})), Some(json!({"need": 1, "withDefault": 7})));
    assert_eq!(
        ok("{need: 1, list: [$i]}", json!({})),
        Some(json!({"need": 1, "list": [null], "withDefault": 7}))
    );
    assert_eq!(
        ok("{need: 1, withDefault: $i}", json!({})),
        Some(json!({"need": 1, "withDefault": 7}))
    );
    assert_eq!(ok("$t", json!({})), None);
    assert_eq!(ok("$t", json!({"t": null})), Some(Json::Null));
    assert_eq!(ok("null", json!({})), Some(Json::Null));
    assert!(argument("{need: $i}", json!({})).is_err_and(|e| e.contains("was not provided")));
    assert!(argument("{need: $i}", json!({"i": null})).is_err_and(|e| e.contains("not to be null")));
    assert!(argument("{need: 1, withDefault: $i}", json!({"i": null})).is_err_and(|e| e.contains("not to be null")));
    assert!(argument("{need: 1, strict: [$i]}", json!({})).is_err_and(|e| e.contains("not to be null")));
}

#[test]
fn a_kept_plan_takes_the_leaves_of_each_run() {
    let (_, first) = variables("$t: Thing", json!({"t": {"need": 1, "list": [1]}})).unwrap_or_else(|e| panic!("{e}"));
    let (_, second) = variables("$t: Thing", json!({"t": {"need": 2, "list": [3, 4]}})).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(first.shape, second.shape);
    let again = first.values["t"].with_leaves(&second.leaves);
    assert_eq!(again.to_json(), json!({"need": 2, "list": [3, 4], "withDefault": 7}));
}
