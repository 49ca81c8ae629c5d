//! Paths out of reads and filters, where they start from an event, and what a filter said before it.

use klio_entities::klass::query::Rows;
use klio_entities::klass::{OrgId, Registry};
use klio_entities::store::cursor::{FeedPosition, Own};
use serde_json::json;

use super::*;
use crate::execute::watch::whole;
use crate::types::testing::shop;

fn klass(registry: &Registry, name: &str) -> Arc<Klass> {
    registry.klass(name).expect("a klass").clone()
}

fn end(klass: &Klass, name: &str) -> Arc<End> {
    klass.end(name).expect("an end").clone()
}

fn value(klass: &Klass, name: &str) -> Output {
    Output::Value(klass.property(name).expect("a property").clone())
}

fn is(klass: &Klass, name: &str, value: &str) -> Filter {
    Filter::Compare {
        target: Target::Property(klass.property(name).expect("a property").clone()),
        op: Op::Eq,
        operand: Operand::Const(Value::String(value.into())),
    }
}

fn some(end: &Arc<End>, klass: &Arc<Klass>, filter: Filter) -> Filter {
    Filter::Related {
        end: end.clone(),
        klass: klass.clone(),
        quantifier: Quantifier::Some,
        filter: Box::new(filter),
    }
}

fn event(klass: &str, op: EventOp, changed: &[&str], before: Option<Json>, after: Option<Json>) -> Event {
    let image = |json: Option<Json>| json.and_then(|it| it.as_object().cloned());
    Event {
        org: OrgId(Default::default()),
        stream: "s".into(),
        seq: 1,
        feed: FeedPosition {
            xid: 0,
            position: 1,
            own: Own::NONE,
        },
        id: Default::default(),
        klass: klass.into(),
        object: Some(id(9)),
        op,
        actor: String::new(),
        at: Default::default(),
        cause: None,
        depth: 0,
        changed: changed.iter().map(|name| (*name).to_owned()).collect(),
        before: image(before),
        after: image(after),
    }
}

fn id(n: u128) -> ObjectId {
    ObjectId(uuid::Uuid::from_u128(n))
}

/// Each path in a line: its ends, and the names that count there.
fn told(paths: &Paths) -> Vec<String> {
    let line = |path: &Path| {
        let steps: Vec<&str> = path.steps.iter().map(|(end, _)| end.legal.as_str()).collect();
        let names = path.names.as_ref().map_or("anything".to_owned(), |names| {
            names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
        });
        format!("{}.{}: {names}", path.of.name, steps.join("."))
    };
    paths.0.iter().map(line).collect()
}

#[test]
fn what_a_selection_reads() {
    let registry = shop();
    let (order, customer, product) = (klass(&registry, "order"), klass(&registry, "customer"), klass(&registry, "product"));
    let page = |filter: Option<Filter>, outputs| Page {
        klass: product.clone(),
        filter,
        deleted: false,
        rows: Some(Rows {
            order: Vec::new(),
            window: whole(10),
            outputs,
        }),
        total: false,
        aggregates: Vec::new(),
        groups: Vec::new(),
    };
    let outputs = [
        value(&order, "orderNumber"),
        Output::One {
            end: end(&order, "customer"),
            klass: customer.clone(),
            outputs: vec![value(&customer, "name")],
        },
        Output::Many {
            end: end(&order, "products"),
            page: Box::new(page(Some(is(&product, "name", "tent")), vec![value(&product, "externalId")])),
        },
    ];
    let mut paths = Paths::default();
    paths.read(&order, &outputs);
    assert_eq!(
        told(&paths),
        [
            "order.: customer orderNumber products",
            "order.customer: name orders",
            "order.products: externalId name orders"
        ]
    );
}

#[test]
fn where_an_event_starts() {
    let registry = shop();
    let (order, customer) = (klass(&registry, "order"), klass(&registry, "customer"));
    let mut paths = Paths::default();
    let outputs = [Output::One {
        end: end(&order, "customer"),
        klass: customer.clone(),
        outputs: vec![value(&customer, "name")],
    }];
    paths.read(&order, &outputs);
    let of_order = paths.0.pop().expect("the far path");
    // The order holds the link: who is renamed is looked for, who is new or gone is told by the orders.
    let row = || Some(json!({"name": "Ann"}));
    let start = |op, changed: &[&str]| of_order.start(&event("customer", op, changed, row(), row()));
    assert_eq!(
        start(EventOp::Updated, &["name"]),
        Some(Start {
            depth: 1,
            ids: vec![id(9)]
        })
    );
    assert_eq!(start(EventOp::Updated, &["locale"]), None);
    assert_eq!(start(EventOp::Created, &[]), None);
    assert_eq!(of_order.start(&event("product", EventOp::Updated, &["name"], row(), row())), None);
    assert_eq!(
        of_order.lead_to(&Start {
            depth: 1,
            ids: vec![id(9)]
        }),
        Some(Filter::Compare {
            target: Target::Reference(end(&order, "customer")),
            op: Op::In,
            operand: Operand::Const(Value::List(vec![Value::Id(id(9))])),
        })
    );

    let mut paths = Paths::default();
    let pending = is(&order, "status", "pending");
    paths.filter(&customer, Some(&some(&end(&customer, "orders"), &order, pending)));
    assert_eq!(told(&paths), ["customer.: orders", "customer.orders: customer status"]);
    let of_customer = paths.0.pop().expect("the far path");
    // The far row says itself whose it was and is.
    let row = |customer: u128| Some(json!({"customer_id": id(customer).0.to_string()}));
    let start = |op, changed: &[&str], before, after| of_customer.start(&event("order", op, changed, before, after));
    let at = |ids: Vec<ObjectId>| Some(Start { depth: 0, ids });
    assert_eq!(start(EventOp::Updated, &["customer"], row(2), row(1)), at(vec![id(1), id(2)]));
    assert_eq!(start(EventOp::Updated, &["total"], row(1), row(1)), None);
    assert_eq!(start(EventOp::Created, &[], None, row(1)), at(vec![id(1)]));
    assert_eq!(start(EventOp::Destroyed, &[], row(1), None), at(vec![id(1)]));
    assert_eq!(start(EventOp::Created, &[], None, Some(json!({}))), None);
    let term = of_customer.term(Some(id(1)));
    assert_eq!(term.equal, [("customer_id".to_owned(), vec![json!(id(1).0.to_string())])]);
}

#[test]
fn what_a_filter_said_before() {
    let registry = shop();
    let (order, customer) = (klass(&registry, "order"), klass(&registry, "customer"));
    let orders = end(&customer, "orders");
    let pending = is(&order, "status", "pending");
    let has_pending = some(&orders, &order, pending.clone());
    let ann = is(&customer, "name", "Ann");
    let filter = Filter::And(vec![ann.clone(), has_pending.clone()]);
    let mut paths = Paths::default();
    paths.filter(&customer, Some(&filter));
    let path = paths.0.iter().find(|path| !path.steps.is_empty()).expect("the far path");
    assert_eq!(condition(&filter, path), Some(pending.clone()));
    let others = Filter::Compare {
        target: Target::Property(order.property("id").expect("an id").clone()),
        op: Op::NotIn,
        operand: Operand::Const(Value::List(vec![Value::Id(id(9))])),
    };
    let without = some(&orders, &order, Filter::And(vec![others, pending.clone()]));
    for (then, constant) in [(true, Filter::And(Vec::new())), (false, Filter::Or(Vec::new()))] {
        assert_eq!(
            before(&filter, path, &[id(9)], then),
            Some(Filter::And(vec![ann.clone(), Filter::Or(vec![without.clone(), constant])]))
        );
    }
    // Two conditions on the same rows, or their number: not told so.
    let twice = Filter::Or(vec![has_pending.clone(), has_pending]);
    assert_eq!(condition(&twice, path), None);
    let count = Filter::Count {
        end: orders,
        klass: order,
        filter: Box::new(pending),
        op: Op::Gt,
        operand: Operand::Const(Value::Integer(3)),
    };
    assert_eq!((condition(&count, path), before(&count, path, &[id(9)], true)), (None, None));
}
