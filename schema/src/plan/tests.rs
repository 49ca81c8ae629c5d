//! Text in, text out: a document and the positional JSON that a store would answer, to the data and errors of a response.

use std::sync::Arc;

use klio_entities::klass::kind::Kind;
use klio_entities::klass::query::Read;
use serde_json::{Value as Json, json};

use crate::error::{Error, write_errors};
use crate::execute::gateway::select;
use crate::execute::tape::Tape;
use crate::execute::write::{Answer, Loaded, Node, Writer};
use crate::plan::coerce::{Variables, coerce_variables};
use crate::plan::compiler::Ground;
use crate::plan::{Document, Plan, Work, root};
use crate::types::model::Types;
use crate::types::{self, testing};

fn types() -> Types {
    let registry = testing::shop();
    types::build(&registry).unwrap_or_else(|e| panic!("{e}"))
}

/// Compiles an operation; `Err` as JSON of the errors.
fn plan(types: &Types, text: &str, variables: &Json) -> Result<(Plan, Variables), Vec<Error>> {
    let ast = crate::parse::parse(text, &crate::limits::Limits::default()).unwrap_or_else(|e| panic!("{}", e.message));
    crate::validate::validate(types, &ast)?;
    let document = Arc::new(Document { ast });
    let (name, operation) = select(&document, None).map_err(|e| vec![e])?;
    let variables = coerce_variables(types, operation, variables.as_object().unwrap_or(&serde_json::Map::new()))?;
    let ground = ground(types, &variables, true);
    let plan = root::compile(&ground, &document, name, operation).map_err(|e| vec![e])?;
    Ok((plan, variables))
}

fn ground<'a>(types: &'a Types, variables: &'a Variables, sees_sensitive: bool) -> Ground<'a> {
    Ground {
        types,
        variables,
        sees_sensitive,
        scaled: true,
        page_most: 200,
        page_default: 20,
        now: chrono::Utc::now(),
    }
}

/// The response to a query of one root field, given what the store answers.
fn respond(text: &str, variables: &Json, answer: &str) -> String {
    let types = types();
    let (plan, variables) = match plan(&types, text, variables) {
        Ok(it) => it,
        Err(errors) => return errors_json(&errors),
    };
    let root = &plan.roots[0];
    let fetch = match &root.work {
        Ok(Work::Fetch(fetch)) => fetch,
        Ok(other) => panic!("no statement but {other:?}"),
        Err(error) => return errors_json(std::slice::from_ref(error)),
    };
    let now = chrono::Utc::now();
    let arguments = fetch
        .arguments
        .iter()
        .map(|source| source.value(&variables, now))
        .collect::<Result<Vec<_>, _>>();
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(error) => return errors_json(&[error]),
    };
    let tape = Tape::read(answer.to_owned().into()).unwrap_or_else(|e| panic!("{e}"));
    let answer = Answer { tape, arguments };
    let loaded = Loaded::default();
    let mut writer = Writer::new(&loaded);
    let done = writer.root("Query", root, &fetch.shape, Node::Json(&answer, 0));
    let mut out = match done {
        Ok(()) => String::from_utf8(writer.out).unwrap_or_else(|e| panic!("{e}")),
        Err(_) => "data: null".to_owned(),
    };
    if !writer.errors.is_empty() {
        out.push(' ');
        out.push_str(&errors_json(&writer.errors));
    }
    out
}

/// Errors as a response tells them, without the messages' prose.
fn errors_json(errors: &[Error]) -> String {
    let mut out = Vec::new();
    write_errors(&mut out, errors);
    let mut json: Json = serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}"));
    for error in json.as_array_mut().into_iter().flatten() {
        if let Some(error) = error.as_object_mut() {
            error.remove("locations");
        }
    }
    json.to_string()
}

const ID: &str = "01890a5dac96774bbcceb302099a8057";
const TEXT_ID: &str = "order_01h455vb4pex5vsknk084sn02q";

#[test]
fn an_object_in_the_order_of_the_selection() {
    let text =
        "query($id: ID!) { order(id: $id) { b: orderNumber id status total { currency amount } ...F placedAt __typename a: orderNumber } }
        fragment F on Object { version tags title }";
    // orderNumber, id, status, total, version, tags, placedAt: the alias shares its column.
    let answer = format!("[\"A-1\",\"{ID}\",\"pending\",[1250000,\"EUR\"],3,[\"x\",\"y\\n\"],1795525504120000]");
    assert_eq!(
        respond(text, &json!({"id": TEXT_ID}), &answer),
        format!(
            "{{\"b\":\"A-1\",\"id\":\"{TEXT_ID}\",\"status\":\"PENDING\",\"total\":{{\"currency\":\"EUR\",\"amount\":\"125\"}},\"version\":3,\"tags\":[\"x\",\"y\\n\"],\"title\":\"{TEXT_ID}\",\"placedAt\":\"2026-11-24T13:05:04.120Z\",\"__typename\":\"Order\",\"a\":\"A-1\"}}"
        )
    );
    assert_eq!(respond(text, &json!({"id": TEXT_ID}), "null"), "null");
}

#[test]
fn fields_of_one_key_merge_at_every_depth() {
    let text = "{ order(externalId: \"x\") { customer { name } ...F ... on Order { customer { c: id } } } } fragment F on Order { customer { name externalId } }";
    let answer = format!("[[\"Ada\",null,\"{ID}\"]]");
    assert_eq!(
        respond(text, &json!({}), &answer),
        "{\"customer\":{\"name\":\"Ada\",\"externalId\":null,\"c\":\"customer_01h455vb4pex5vsknk084sn02q\"}}"
    );
}

#[test]
fn skip_and_include() {
    let text = "query($yes: Boolean!, $no: Boolean! = false) { order(externalId: \"x\") {
        a: version @include(if: $yes) b: version @skip(if: $yes) c: version @skip(if: $no) d: version @include(if: $no)
        ... @include(if: false) { e: version } ...F @skip(if: true) g: version @include(if: true) @skip(if: true) } } fragment F on Order { f: version }";
    assert_eq!(respond(text, &json!({"yes": true}), "[1]"), "{\"a\":1,\"c\":1}");
}

#[test]
fn null_rises_to_the_nearest_nullable_field() {
    // `version` is Int!, `order` is nullable.
    assert_eq!(
        respond("{ order(externalId: \"x\") { externalId version } }", &json!({}), "[\"x\",null]"),
        "null [{\"message\":\"Cannot return null for non-nullable field Order.version.\",\"extensions\":{\"code\":\"INTERNAL\"},\"path\":[\"order\",\"version\"]}]"
    );
    // The customer is nullable: it alone becomes null.
    assert_eq!(
        respond(
            "{ order(externalId: \"x\") { customer { v: version } externalId } }",
            &json!({}),
            "[[null],\"x\"]"
        ),
        "{\"customer\":null,\"externalId\":\"x\"} [{\"message\":\"Cannot return null for non-nullable field Customer.version.\",\"extensions\":{\"code\":\"INTERNAL\"},\"path\":[\"order\",\"customer\",\"v\"]}]"
    );
    // Nodes are [Order!]!, so is the connection: nothing is left.
    assert_eq!(
        respond("{ orders { nodes { version } } }", &json!({}), "[[[1],[null]],null,null,[]]"),
        "data: null [{\"message\":\"Cannot return null for non-nullable field Order.version.\",\"extensions\":{\"code\":\"INTERNAL\"},\"path\":[\"orders\",\"nodes\",1,\"version\"]}]"
    );
    // A tag is String!, the list [String!]!.
    assert!(respond("{ order(externalId: \"x\") { tags } }", &json!({}), "[[\"a\",null]]").starts_with("null "));
}

#[test]
fn what_a_scalar_cannot_be_is_an_error() {
    assert!(respond("{ order(externalId: \"x\") { version } }", &json!({}), "[3000000000]").contains("Int cannot represent"));
    assert!(
        respond("{ order(externalId: \"x\") { status version } }", &json!({}), "[\"lost\",1]")
            .starts_with("{\"status\":null,\"version\":1} ")
    );
}

#[test]
fn a_page() {
    let text = "query($first: Int) { orders(first: $first, orderBy: [{total: DESC}]) { totalCount edges { cursor node { orderNumber } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } nodes { id orderNumber } } }";
    let answer = "[[[[5,\"aa\"],\"A\",\"01890a5dac96774bbcceb302099a8057\"],[[null,\"bb\"],\"B\",\"01890a5dac96774bbcceb302099a8058\"],[[3,\"cc\"],\"C\",\"01890a5dac96774bbcceb302099a8059\"]],7,null,[]]";
    let out = respond(text, &json!({"first": 2}), answer);
    let out: Json = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    assert_eq!(out["totalCount"], 7);
    assert_eq!(out["nodes"].as_array().map(Vec::len), Some(2));
    assert_eq!(out["edges"][1]["node"], json!({"orderNumber": "B"}));
    assert_eq!(out["pageInfo"]["hasNextPage"], true);
    assert_eq!(out["pageInfo"]["hasPreviousPage"], false);
    assert_eq!(out["pageInfo"]["startCursor"], out["edges"][0]["cursor"]);
    assert_eq!(out["pageInfo"]["endCursor"], out["edges"][1]["cursor"]);
}

#[test]
fn a_page_from_the_end() {
    let text = "{ orders(last: 2) { nodes { orderNumber } pageInfo { hasNextPage hasPreviousPage } } }";
    // The store answers from the end, one more than asked for.
    let answer = "[[[[\"c\"],\"C\"],[[\"b\"],\"B\"],[[\"a\"],\"A\"]],null,null,[]]";
    assert_eq!(
        respond(text, &json!({}), answer),
        "{\"nodes\":[{\"orderNumber\":\"B\"},{\"orderNumber\":\"C\"}],\"pageInfo\":{\"hasNextPage\":false,\"hasPreviousPage\":true}}"
    );
}

#[test]
fn what_is_wrong_with_a_page() {
    for (arguments, message) in [
        ("first: -1", "cannot have -1"),
        ("first: 201", "at most 200"),
        ("first: 1, last: 1", "not both"),
        ("after: \"x\"", "not a cursor"),
    ] {
        let out = respond(&format!("{{ orders({arguments}) {{ totalCount }} }}"), &json!({}), "null");
        assert!(out.contains(message) && out.contains("BAD_INPUT"), "{arguments}: {out}");
    }
}

#[test]
fn a_cursor_is_good_for_its_order_only() {
    let page = respond(
        "{ orders(first: 1, orderBy: [{total: ASC}]) { pageInfo { endCursor } } }",
        &json!({}),
        &format!("[[[[5,\"{ID}\"]]],null,null,[]]"),
    );
    let page: Json = serde_json::from_str(&page).unwrap_or_else(|e| panic!("{e}"));
    let cursor = page["pageInfo"]["endCursor"].as_str().unwrap_or_else(|| panic!("{page}"));
    let next = |order: &str| {
        respond(
            &format!("query($after: String) {{ orders(after: $after, orderBy: [{{total: {order}}}]) {{ nodes {{ id }} }} }}"),
            &json!({"after": cursor}),
            "[[],null,null,[]]",
        )
    };
    assert_eq!(next("ASC"), "{\"nodes\":[]}");
    assert!(next("DESC").contains("made for another order"));
}

#[test]
fn aggregates_and_groups() {
    let text = "{ orders { aggregate { count sum { total { amount currency } } avg { total { amount } } max { placedAt } }
        groups(by: [status, customer]) { key { status customer { name } placedAt } count aggregate { sum { total { amount } } } } } }";
    let types = types();
    let (plan, _) = plan(&types, text, &json!({})).unwrap_or_else(|e| panic!("{e:?}"));
    let Ok(Work::Fetch(fetch)) = &plan.roots[0].work else {
        panic!("a statement")
    };
    let Read::Page(page) = &fetch.read else { panic!("a page") };
    assert!(page.rows.is_none() && !page.total);
    assert_eq!(page.aggregates.len(), 4);
    assert_eq!(page.groups[0].by.len(), 2);
    assert_eq!(page.groups[0].aggregates.len(), 2);
    assert!(fetch.deferred);
    let out = respond(
        text,
        &json!({}),
        "[null,null,[3,[30000,\"EUR\"],[1.5,\"EUR\"],1795525504000000],[[[[\"pending\",null],[2,[20000,\"EUR\"]]]]]]",
    );
    assert_eq!(
        out,
        "{\"aggregate\":{\"count\":3,\"sum\":{\"total\":{\"amount\":\"3\",\"currency\":\"EUR\"}},\"avg\":{\"total\":{\"amount\":\"1.5\"}},\"max\":{\"placedAt\":\"2026-11-24T13:05:04Z\"}},\"groups\":[{\"key\":{\"status\":\"PENDING\",\"customer\":null,\"placedAt\":null},\"count\":2,\"aggregate\":{\"sum\":{\"total\":{\"amount\":\"2\"}}}}]}"
    );
}

#[test]
fn filters_become_what_they_mean() {
    let read = |text: &str, variables: Json| {
        let types = types();
        let (plan, _) = plan(&types, text, &variables).unwrap_or_else(|e| panic!("{}", errors_json(&e)));
        match plan.roots.into_iter().next().map(|root| root.work) {
            Some(Ok(Work::Fetch(fetch))) => match fetch.read {
                Read::Page(page) => format!("{:?}", page.filter.map(|f| terse(&f))),
                other => panic!("{other:?}"),
            },
            Some(Err(error)) => error.message,
            other => panic!("{other:?}"),
        }
    };
    let filter = |text: &str| read(&format!("{{ orders(filter: {text}) {{ totalCount }} }}"), json!({}));
    assert_eq!(
        filter("{status: {eq: PENDING}}"),
        "Some(\"status Eq Const(String(\\\"pending\\\"))\")"
    );
    assert_eq!(
        filter("{or: [{orderNumber: {startsWith: \"A\"}}, {not: {total: {amount: {gt: 5}}}}]}"),
        "Some(\"or(orderNumber StartsWith { fold: false } Const(String(\\\"A\\\")), not(total.amount Gt Const(Decimal(5))))\")"
    );
    assert!(
        filter("{products: {some: {name: {in: [\"a\", \"b\"]}}}}").contains("Some products(name In Const(List"),
        "{}",
        filter("{products: {some: {name: {in: [\"a\", \"b\"]}}}}")
    );
    assert!(filter("{orderNumber: {eq: null}}").contains("is null in a filter"));
    assert!(filter("{orderNumber: null}").contains("is null in a filter"));
    assert_eq!(filter("null"), "None");
    assert_eq!(filter("{}"), "Some(\"and()\")");
    assert_eq!(
        filter("{orderNumber: {isNull: true}}"),
        "Some(\"orderNumber IsNull Const(Bool(true))\")"
    );
    // Variables are arguments; a whole list is one.
    assert_eq!(
        read(
            "query($f: OrderFilter) { orders(filter: $f) { totalCount } }",
            json!({"f": {"orderNumber": {"in": ["x", "y"]}, "status": {"ne": "DELIVERED"}}})
        ),
        "Some(\"and(orderNumber In Arg(0), status Ne Const(String(\\\"delivered\\\")))\")"
    );
}

fn terse(filter: &klio_entities::klass::Filter) -> String {
    use klio_entities::klass::Filter as F;
    use klio_entities::klass::filter::Target;
    let list = |all: &[F]| all.iter().map(terse).collect::<Vec<_>>().join(", ");
    match filter {
        F::And(all) => format!("and({})", list(all)),
        F::Or(all) => format!("or({})", list(all)),
        F::Not(it) => format!("not({})", terse(it)),
        F::Compare { target, op, operand } => {
            let target = match target {
                Target::Property(p) => p.legal.clone(),
                Target::Amount(p) => format!("{}.amount", p.legal),
                other => format!("{other:?}"),
            };
            format!("{target} {op:?} {operand:?}")
        }
        F::Items { of, quantifier, filter } => format!("{quantifier:?} {of:?}({})", terse(filter)),
        F::Related {
            end, quantifier, filter, ..
        } => format!("{quantifier:?} {}({})", end.legal, terse(filter)),
        F::Count { end, op, operand, .. } => format!("count {} {op:?} {operand:?}", end.legal),
    }
}

#[test]
fn exactly_one_key() {
    for (arguments, told) in [
        ("", "none was given"),
        ("id: \"a\", externalId: \"b\"", "2 were given"),
        ("id: null", "none was given"),
    ] {
        let arguments = if arguments.is_empty() {
            String::new()
        } else {
            format!("({arguments})")
        };
        let out = respond(&format!("{{ order{arguments} {{ id }} }}"), &json!({}), "null");
        assert!(out.contains(told), "{arguments}: {out}");
    }
    assert!(respond("{ order(id: \"customer_01h455vb4pex5vsknk084sn02q\") { id } }", &json!({}), "null").contains("not the id of Order"));
}

#[test]
fn sensitive_properties_are_masked_and_may_not_be_used() {
    let mut secret = testing::property("secret", Kind::String);
    secret.sensitive = true;
    secret.indexed = true;
    let thing = testing::klass("thing", "things", vec![secret]);
    let registry = testing::registry(vec![thing], Vec::new());
    let types = types::build(&registry).unwrap_or_else(|e| panic!("{e}"));
    let run = |text: &str, sees: bool| {
        let ast = crate::parse::parse(text, &crate::limits::Limits::default()).unwrap_or_else(|e| panic!("{}", e.message));
        let document = Arc::new(Document { ast });
        let variables = Variables::default();
        let ground = ground(&types, &variables, sees);
        let (_, operation) = select(&document, None).unwrap_or_else(|e| panic!("{e:?}"));
        let mut plan = root::compile(&ground, &document, None, operation).unwrap_or_else(|e| panic!("{e:?}"));
        plan.roots.remove(0).work
    };
    for text in [
        "{ things(filter: {secret: {eq: \"x\"}}) { totalCount } }",
        "{ things(orderBy: [{secret: ASC}]) { nodes { id } } }",
        "{ things { groups(by: [secret]) { count } } }",
        "{ things { aggregate { countDistinct { secret } } } }",
    ] {
        assert!(run(text, true).is_ok(), "{text}");
        match run(text, false) {
            Err(error) => assert_eq!(error.code, crate::error::Code::Forbidden, "{text}"),
            Ok(work) => panic!("{text}: {work:?}"),
        }
    }
    let Ok(Work::Fetch(fetch)) = run("{ things { nodes { secret } } }", false) else {
        panic!("a statement")
    };
    let shown = format!("{:?}", fetch.read);
    assert!(!shown.contains("Value(Property { name: \"secret\""), "the value is not even read");
}
