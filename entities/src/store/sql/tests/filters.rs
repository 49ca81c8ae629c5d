//! What filters find, on real databases.

use serde_json::json;

use super::stock::stocked;
use super::*;
use crate::klass::filter::{Base, ContactKind, Quantifier};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operator_finds_what_it_says() {
    each_shop(|s| async move {
        stocked(&s).await;
        let list = |items: &[i64]| Value::List(items.iter().map(|i| Value::Integer(*i)).collect());
        let cases: Vec<(&str, Op, Value, Vec<u32>)> = vec![
            ("id", Op::In, Value::List(vec![Value::Id(id(101)), Value::Id(id(106))]), vec![101]),
            ("number", Op::Eq, text("A102"), vec![102]),
            ("number", Op::Gte, text("A104"), vec![104, 105]),
            ("status", Op::Ne, text("done"), vec![101, 102, 105]),
            ("status", Op::NotIn, texts(&["done", "pending"]), vec![102, 105]),
            ("status", Op::In, texts(&[]), vec![]),
            ("status", Op::NotIn, texts(&[]), vec![101, 102, 103, 104, 105]),
            ("status", Op::IsNull, Value::Bool(true), vec![105]),
            ("status", Op::IsNull, Value::Bool(false), vec![101, 102, 103, 104]),
            ("total", Op::Gt, decimal("7.25"), vec![101, 103]),
            ("total", Op::Eq, money("7.25", "EUR"), vec![102]),
            ("total", Op::Gt, decimal("7.24999"), vec![101, 102, 103]),
            ("total", Op::In, Value::List(vec![decimal("1"), decimal("100.00")]), vec![103, 105]),
            ("weight", Op::Lt, decimal("0.0000015"), vec![101]),
            ("weight", Op::Eq, decimal("0.0000015"), vec![]),
            ("weight", Op::Lte, decimal("2.500"), vec![101, 102]),
            ("placedAt", Op::Lt, at(1_782_000_000), vec![101]),
            ("placedAt", Op::In, Value::List(vec![at(1_785_000_000)]), vec![103]),
            ("due", Op::Eq, date("2026-08-01"), vec![101]),
            ("due", Op::Ne, date("2026-08-01"), vec![102, 103, 104, 105]),
            ("paid", Op::Eq, Value::Bool(false), vec![102]),
            ("items", Op::In, list(&[4, 2]), vec![101, 104]),
            ("serial", Op::Gt, Value::Integer(309_000_000_000), vec![104, 105]),
            ("remark", Op::Contains { fold: false }, text("ring"), vec![101]),
            ("remark", Op::Contains { fold: false }, text("RING"), vec![]),
            ("remark", Op::Contains { fold: true }, text("RING"), vec![101]),
            ("remark", Op::Contains { fold: false }, text(""), vec![101]),
            ("remark", Op::StartsWith { fold: false }, text("Please"), vec![101]),
            ("remark", Op::StartsWith { fold: false }, text("please"), vec![]),
            ("remark", Op::StartsWith { fold: true }, text("pLEASE"), vec![101]),
            ("remark", Op::StartsWith { fold: false }, text(""), vec![101]),
            ("remark", Op::EndsWith { fold: false }, text("ring"), vec![101]),
            ("remark", Op::EndsWith { fold: true }, text("Ring"), vec![101]),
            ("remark", Op::EndsWith { fold: false }, text(""), vec![101]),
            ("remark", Op::EqFold, text("please RING"), vec![101]),
            ("remark", Op::Matches { fold: false }, text("^Pl.*g$"), vec![101]),
            ("remark", Op::Matches { fold: false }, text("^pl"), vec![]),
            ("remark", Op::Matches { fold: true }, text("^pl"), vec![101]),
            ("contact", Op::Eq, text("zoe@example.com"), vec![101]),
            ("contact", Op::In, texts(&["ZOE@example.com"]), vec![101]),
            ("contact", Op::NotIn, texts(&["ZOE@example.com"]), vec![102, 103, 104, 105]),
            ("labels", Op::HasAny, texts(&["blue", "green"]), vec![101, 103]),
            ("labels", Op::HasAny, texts(&[]), vec![]),
            ("labels", Op::HasAll, texts(&["blue", "red"]), vec![101]),
            ("labels", Op::HasAll, texts(&[]), vec![101, 102, 103]),
            ("labels", Op::HasNone, texts(&["red"]), vec![102, 103, 104, 105]),
            ("sizes", Op::HasAny, list(&[2, 3]), vec![101]),
            ("sizes", Op::HasAll, list(&[2, 3]), vec![]),
            ("place", Op::Under, text("eu"), vec![101, 102, 105]),
            ("place", Op::Under, text("eu/de"), vec![101]),
            ("meta", Op::Eq, Value::Json(json!({"a": {"n": 7, "b": "y"}})), vec![102]),
        ];
        for (legal, op, operand, want) in cases {
            assert_eq!(s.orders(legal, op, operand.clone()).await, want, "{legal} {op:?} {operand:?}");
            // The same as an argument.
            let filter = Filter::Compare {
                target: Target::Property(property(&s.order, legal)),
                op,
                operand: Operand::Arg(0),
            };
            assert_eq!(
                s.find(&s.order, filter.clone(), std::slice::from_ref(&operand)).await,
                want,
                "{legal} {op:?} {operand:?} as an argument"
            );
            // And its opposite.
            let rest: Vec<u32> = (101..=105).filter(|n| !want.contains(n)).collect();
            assert_eq!(
                s.find(&s.order, Filter::Not(Box::new(filter)), std::slice::from_ref(&operand))
                    .await,
                rest,
                "not {legal} {op:?} {operand:?}"
            );
        }
        let name = |op, operand: &str| compare(&s.product, "name", op, text(operand));
        assert_eq!(s.find(&s.product, name(Op::Contains { fold: false }, "100%_a\\b"), &[]).await, [13]);
        assert_eq!(s.find(&s.product, name(Op::Contains { fold: false }, "0_"), &[]).await, [0; 0]);
        assert_eq!(s.find(&s.product, name(Op::StartsWith { fold: true }, "ämt"), &[]).await, [13]);
        assert_eq!(s.find(&s.product, name(Op::Contains { fold: true }, "tea"), &[]).await, [11, 12]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_parts_and_places_are_compared() {
    each_shop(|s| async move {
        stocked(&s).await;
        let path = |path: &[&str], op, operand| Filter::Compare {
            target: Target::Path(
                Base::Property(property(&s.order, "meta")),
                path.iter().map(|p| (*p).to_owned()).collect(),
            ),
            op,
            operand,
        };
        let arg = Operand::Arg(0);
        let cases: Vec<(&[&str], Op, Value, Vec<u32>)> = vec![
            (&["a", "b"], Op::Eq, text("x"), vec![101]),
            (&["a", "b"], Op::Ne, text("x"), vec![102, 103, 104, 105]),
            (&["a", "n"], Op::Gt, Value::Integer(5), vec![102]),
            (&["a", "n"], Op::Gte, decimal("5.0"), vec![101, 102]),
            (&["a", "n"], Op::Ne, Value::Integer(5), vec![102, 103, 104, 105]),
            (&["a", "n"], Op::In, Value::List(vec![Value::Integer(7), text("x")]), vec![102]),
            (&["a", "b"], Op::NotIn, texts(&["y"]), vec![101, 103, 104, 105]),
            (&["a", "t"], Op::Eq, Value::Bool(true), vec![101]),
            (&["a", "b"], Op::IsNull, Value::Bool(false), vec![101, 102]),
            (&["a", "zz"], Op::IsNull, Value::Bool(true), vec![101, 102, 103, 104, 105]),
            (&["a", "b"], Op::Contains { fold: true }, text("X"), vec![101]),
            (&["q\"k"], Op::HasAny, Value::List(vec![Value::Integer(2)]), vec![101]),
            (&["q\"k", "1"], Op::Eq, Value::Integer(2), vec![101]),
            (&["q\"k", "7"], Op::IsNull, Value::Bool(false), vec![]),
            (&["it's", "$.x"], Op::Eq, text("1"), vec![]),
        ];
        for (steps, op, operand, want) in cases {
            assert_eq!(
                s.find(&s.order, path(steps, op, arg.clone()), std::slice::from_ref(&operand)).await,
                want,
                "{steps:?} {op:?} {operand:?}"
            );
            assert_eq!(
                s.find(&s.order, path(steps, op, Operand::Const(operand.clone())), &[]).await,
                want,
                "{steps:?} {op:?} {operand:?}"
            );
        }
        let currency = Filter::Compare {
            target: Target::Currency(property(&s.order, "total")),
            op: Op::Eq,
            operand: Operand::Const(text("USD")),
        };
        assert_eq!(s.find(&s.order, currency, &[]).await, [103]);
        let reference = Filter::Compare {
            target: Target::Reference(end(&s.order, "customer")),
            op: Op::Eq,
            operand: Operand::Const(Value::Id(id(1))),
        };
        assert_eq!(s.find(&s.order, reference, &[]).await, [101, 102]);
        let near = |km: &str| Filter::Compare {
            target: Target::Property(property(&s.customer, "locations")),
            op: Op::Near,
            operand: Operand::Const(Value::List(vec![decimal("52.39"), decimal("13.06"), decimal(km)])),
        };
        assert_eq!(s.find(&s.customer, near("30"), &[]).await, [1]);
        assert_eq!(s.find(&s.customer, near("20"), &[]).await, [0; 0]);
        let contact = |op, operand| Filter::Compare {
            target: Target::Contact(ContactKind::Email),
            op,
            operand: Operand::Const(operand),
        };
        assert_eq!(s.find(&s.customer, contact(Op::Eq, text("ANN@example.com")), &[]).await, [1]);
        assert_eq!(
            s.find(
                &s.customer,
                Filter::Not(Box::new(contact(Op::In, texts(&["ann@example.com", "x@y.z"])))),
                &[]
            )
            .await,
            [2, 3]
        );
    })
    .await;
}

fn related(end_: Arc<End>, klass: &Arc<Klass>, quantifier: Quantifier, filter: Filter) -> Filter {
    Filter::Related {
        end: end_,
        klass: klass.clone(),
        quantifier,
        filter: Box::new(filter),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relationships_filter_at_any_depth() {
    each_shop(|s| async move {
        stocked(&s).await;
        let orders = end(&s.customer, "orders");
        let products = end(&s.order, "products");
        let all = || Filter::And(vec![]);
        let tea = || compare(&s.product, "name", Op::Contains { fold: true }, text("TEA"));
        let some_tea = || related(products.clone(), &s.product, Quantifier::Some, tea());
        assert_eq!(s.find(&s.order, some_tea(), &[]).await, [101, 102]);
        assert_eq!(
            s.find(&s.customer, related(orders.clone(), &s.order, Quantifier::Some, some_tea()), &[])
                .await,
            [1]
        );
        assert_eq!(
            s.find(&s.customer, related(orders.clone(), &s.order, Quantifier::None, all()), &[])
                .await,
            [0; 0]
        );
        assert_eq!(
            s.find(&s.customer, related(orders.clone(), &s.order, Quantifier::Every, some_tea()), &[])
                .await,
            [1]
        );
        assert_eq!(
            s.find(&s.order, related(products.clone(), &s.product, Quantifier::Every, tea()), &[])
                .await,
            [101, 102, 104, 105]
        );
        assert_eq!(
            s.find(&s.order, related(products.clone(), &s.product, Quantifier::None, all()), &[])
                .await,
            [104, 105]
        );
        let quantity = |op, n: i64| Filter::Compare {
            target: Target::Link(link_property(&products, "quantity")),
            op,
            operand: Operand::Const(Value::Integer(n)),
        };
        assert_eq!(
            s.find(
                &s.order,
                related(
                    products.clone(),
                    &s.product,
                    Quantifier::Some,
                    Filter::And(vec![tea(), quantity(Op::Gt, 1)])
                ),
                &[]
            )
            .await,
            [101]
        );
        // Seen from the other side.
        let back = end(&s.product, "orders");
        assert_eq!(
            s.find(
                &s.product,
                related(back, &s.order, Quantifier::Some, compare(&s.order, "status", Op::Eq, text("done"))),
                &[]
            )
            .await,
            [13]
        );
        // To itself, both ways.
        assert_eq!(
            s.find(&s.order, related(end(&s.order, "parent"), &s.order, Quantifier::Some, all()), &[])
                .await,
            [102, 103]
        );
        assert_eq!(
            s.find(&s.order, related(end(&s.order, "children"), &s.order, Quantifier::Some, all()), &[])
                .await,
            [101]
        );
        // Polymorphic, both ways.
        let about = end(&s.order, "about");
        assert_eq!(
            s.find(&s.order, related(about.clone(), &s.product, Quantifier::Some, tea()), &[])
                .await,
            [102]
        );
        assert_eq!(
            s.find(&s.order, related(about, &s.customer, Quantifier::Some, all()), &[]).await,
            [101]
        );
        assert_eq!(
            s.find(
                &s.product,
                related(end(&s.product, "mentions"), &s.order, Quantifier::Some, all()),
                &[]
            )
            .await,
            [12]
        );
        // Kept in an extension table, both ways.
        assert_eq!(
            s.find(
                &s.customer,
                related(end(&s.customer, "favourite"), &s.product, Quantifier::Some, tea()),
                &[]
            )
            .await,
            [2]
        );
        let fans = end(&s.product, "fans");
        assert_eq!(
            s.find(
                &s.product,
                related(
                    fans,
                    &s.customer,
                    Quantifier::Some,
                    compare(&s.customer, "tier", Op::Eq, text("silver"))
                ),
                &[]
            )
            .await,
            [11]
        );
        // An extension's property, and its absence.
        assert_eq!(
            s.find(&s.customer, compare(&s.customer, "tier", Op::Ne, text("gold")), &[]).await,
            [2, 3]
        );
        assert_eq!(
            s.find(
                &s.order,
                related(
                    end(&s.order, "customer"),
                    &s.customer,
                    Quantifier::Some,
                    compare(&s.customer, "tier", Op::Eq, text("gold"))
                ),
                &[]
            )
            .await,
            [101, 102]
        );
        let count = |op, n: i64| Filter::Count {
            end: orders.clone(),
            klass: s.order.clone(),
            filter: Box::new(all()),
            op,
            operand: Operand::Const(Value::Integer(n)),
        };
        assert_eq!(s.find(&s.customer, count(Op::Eq, 2), &[]).await, [1]);
        assert_eq!(s.find(&s.customer, count(Op::Lt, 2), &[]).await, [2, 3]);
        assert_eq!(
            s.find(
                &s.customer,
                Filter::Or(vec![count(Op::Gte, 2), compare(&s.customer, "name", Op::Eq, text("Cleo"))]),
                &[]
            )
            .await,
            [1, 3]
        );
        assert_eq!(s.find(&s.customer, Filter::Or(vec![]), &[]).await, [0; 0]);
        // Another org sees nothing of a shared table.
        let read = page(&s.customer).outputs(vec![value(&s.customer, "id")]).total().read();
        assert_eq!(s.read_as(nil(), &read, &[]).await, json!([[], 0, null, []]));
    })
    .await;
}
