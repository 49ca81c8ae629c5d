//! What reads answer, on real databases.

use serde_json::json;

use super::*;
use crate::klass::filter::{ContactKind, Quantifier};
use crate::klass::query::{Aggregate, AggregateFunction, Bucket, GroupBy, GroupKey, GroupOrder, Groups, Having, Key, TimelinePage};

/// Three customers, four products, six orders.
async fn stocked(shop: &Shop) {
    let s = shop;
    for (n, name, price) in [
        (11, "Green Tea", "4.5"),
        (12, "Black TEA", "3.25"),
        (13, "Ämter 100%_a\\b", "10"),
        (14, "Gone", "1"),
    ] {
        s.insert(&s.product, n, &[("name", text(name)), ("price", decimal(price))], &[])
            .await;
    }
    s.insert(&s.company, 500, &[("name", text("Acme"))], &[]).await;
    s.insert(
        &s.customer,
        1,
        &[
            ("name", text("Ann")),
            ("email", text("Ann@Example.com")),
            ("tier", text("gold")),
            ("locations", Value::Json(json!([{"latitude": "52.52", "longitude": "13.405"}]))),
        ],
        &[("company", 500)],
    )
    .await;
    s.insert(
        &s.customer,
        2,
        &[("name", text("Bob")), ("tier", text("silver"))],
        &[("favourite", 11)],
    )
    .await;
    s.insert(&s.customer, 3, &[("name", text("Cleo"))], &[]).await;
    let order = |n: u32, values: Vec<(&'static str, Value)>, links: Vec<(&'static str, u32)>| async move {
        let mut all = vec![
            ("number", text(&format!("A{n}"))),
            ("serial", Value::Integer(i64::from(n) * 3_000_000_000)),
        ];
        all.extend(values);
        s.insert(&s.order, n, &all, &links).await;
    };
    order(
        101,
        vec![
            ("total", money("12.5", "EUR")),
            ("status", text("pending")),
            ("placedAt", at(1_780_000_000)),
            ("due", date("2026-08-01")),
            ("paid", Value::Bool(true)),
            ("weight", decimal("0.000001")),
            ("items", Value::Integer(2)),
            ("remark", text("Please ring")),
            ("meta", Value::Json(json!({"a": {"b": "x", "n": 5, "t": true}, "q\"k": [1, 2]}))),
            ("labels", texts(&["red", "blue"])),
            ("sizes", Value::List(vec![Value::Integer(1), Value::Integer(2)])),
            ("place", text("eu/de/berlin")),
            ("contact", text("Zoe@Example.COM")),
        ],
        vec![("customer", 1), ("about:customer", 2)],
    )
    .await;
    order(
        102,
        vec![
            ("total", money("7.25", "EUR")),
            ("status", text("in progress")),
            ("placedAt", at(1_782_000_000)),
            ("paid", Value::Bool(false)),
            ("weight", decimal("2.5")),
            ("items", Value::Integer(1)),
            ("labels", texts(&[])),
            ("place", text("eu/fr")),
            ("meta", Value::Json(json!({"a": {"b": "y", "n": 7}}))),
        ],
        vec![("customer", 1), ("parent", 101), ("about:product", 12)],
    )
    .await;
    order(
        103,
        vec![
            ("total", money("100", "USD")),
            ("status", text("done")),
            ("placedAt", at(1_785_000_000)),
            ("labels", texts(&["blue"])),
            ("place", text("us/tx")),
        ],
        vec![("customer", 2), ("parent", 101)],
    )
    .await;
    order(
        104,
        vec![("status", text("done")), ("items", Value::Integer(4))],
        vec![("customer", 3)],
    )
    .await;
    order(105, vec![("total", money("1", "EUR")), ("place", text("eu"))], vec![]).await;
    order(
        106,
        vec![
            ("total", money("999", "EUR")),
            ("deletedAt", at(1_785_000_000)),
            ("status", text("done")),
        ],
        vec![("customer", 1)],
    )
    .await;
    for (o, p, q) in [(101, 11, 2), (101, 12, 5), (101, 14, 1), (102, 11, 1), (103, 13, 9)] {
        s.link(o, p, q).await;
    }
    let gone = format!(
        "update {} set deleted_at = updated_at where id = {}",
        table_name(s.store.dialect(), &s.product.table),
        literal(s.store.dialect(), &Value::Id(id(14)), 0)
    );
    s.execute(gone).await;
    let point = format!(
        "insert into contact_point (org_id, customer_id, kind, value) values ({}, {}, 'email', 'ann@example.com')",
        literal(s.store.dialect(), &Value::Id(ObjectId(s.org.0)), 0),
        literal(s.store.dialect(), &Value::Id(id(1)), 0)
    );
    s.execute(point).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_comes_as_the_contract_says() {
    each_shop(|s| async move {
        stocked(&s).await;
        let names = [
            "id", "number", "total", "status", "placedAt", "due", "paid", "weight", "items", "serial", "meta", "labels", "sizes", "place",
            "tags", "version",
        ];
        let read = |n| Read::One {
            klass: s.order.clone(),
            key: Key::Id(Operand::Const(Value::Id(id(n)))),
            deleted: false,
            outputs: names.iter().map(|n| value(&s.order, n)).collect(),
        };
        let mut row = s.read(&read(101), &[]).await;
        let scaled = s.scaled();
        assert_eq!(number_of(&row[0].take()), 101);
        let want = json!([
            null,
            "A101",
            if scaled { json!([125_000, "EUR"]) } else { json!([12.5, "EUR"]) },
            "pending",
            if scaled { json!(1_780_000_000_000_000_i64) } else { json!("2026-05-28T20:26:40+00:00") },
            "2026-08-01",
            if scaled { json!(1) } else { json!(true) },
            if scaled { json!(1) } else { json!(0.000001) },
            2,
            303_000_000_000_i64,
            {"a": {"b": "x", "n": 5, "t": true}, "q\"k": [1, 2]},
            ["red", "blue"],
            [1, 2],
            "eu/de/berlin",
            [],
            1
        ]);
        assert_eq!(row, want);
        let nulls = s.read(&read(105), &[]).await;
        assert_eq!(nulls[3], Json::Null);
        assert_eq!(nulls[11], Json::Null);
        assert_eq!(s.read(&read(106), &[]).await, Json::Null, "a deleted object is hidden");
        assert_eq!(s.read(&read(7), &[]).await, Json::Null);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_find_one() {
    each_shop(|s| async move {
        stocked(&s).await;
        let one = |klass: &Arc<Klass>, key, deleted| Read::One {
            klass: klass.clone(),
            key,
            deleted,
            outputs: vec![value(klass, "id")],
        };
        let unique = Key::Unique(property(&s.order, "number"), Operand::Arg(0));
        assert_eq!(
            number_of(&s.read(&one(&s.order, unique.clone(), false), &[text("A103")]).await[0]),
            103
        );
        assert_eq!(s.read(&one(&s.order, unique.clone(), false), &[text("A106")]).await, Json::Null);
        assert_eq!(number_of(&s.read(&one(&s.order, unique, true), &[text("A106")]).await[0]), 106);
        let contact = one(&s.customer, Key::Contact(ContactKind::Email, Operand::Arg(0)), false);
        assert_eq!(number_of(&s.read(&contact, &[text("ANN@example.com")]).await[0]), 1);
        assert_eq!(s.read(&contact, &[text("bob@example.com")]).await, Json::Null);
        assert_eq!(
            s.read_as(nil(), &contact, &[text("ann@example.com")]).await,
            Json::Null,
            "another org"
        );
        let email = one(&s.customer, Key::Unique(property(&s.customer, "email"), Operand::Arg(0)), false);
        assert_eq!(number_of(&s.read(&email, &[text("ann@EXAMPLE.com")]).await[0]), 1);
        let many = Read::Many {
            klass: s.order.clone(),
            ids: Operand::Arg(0),
            deleted: false,
            outputs: vec![value(&s.order, "id")],
        };
        let mut found = numbers(
            &s.read(&many, &[Value::List([103, 101, 106, 9].map(|n| Value::Id(id(n))).to_vec())])
                .await,
        );
        found.sort_unstable();
        assert_eq!(found, [101, 103]);
        assert_eq!(s.read(&many, &[Value::List(vec![])]).await, json!([]));
    })
    .await;
}

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
            target: Target::Path(property(&s.order, "meta"), path.iter().map(|p| (*p).to_owned()).collect()),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_on_an_object_comes_with_it() {
    each_shop(|s| async move {
        stocked(&s).await;
        let products = end(&s.order, "products");
        let inner = page(&s.product)
            .limit(1)
            .total()
            .order(vec![Order {
                through: vec![],
                by: OrderBy::Link(link_property(&products, "quantity")),
                descending: true,
                nulls_first: false,
            }])
            .outputs(vec![
                value(&s.product, "name"),
                Output::Link(link_property(&products, "quantity")),
                Output::Cursor,
            ])
            .0;
        let children = page(&s.order).outputs(vec![value(&s.order, "number")]).0;
        let name = |klass: &Arc<Klass>| (klass.clone(), vec![value(klass, "name")]);
        let outputs = vec![
            value(&s.order, "number"),
            Output::One {
                end: end(&s.order, "customer"),
                klass: s.customer.clone(),
                outputs: vec![
                    value(&s.customer, "name"),
                    value(&s.customer, "tier"),
                    Output::One {
                        end: end(&s.customer, "company"),
                        klass: s.company.clone(),
                        outputs: vec![value(&s.company, "name")],
                    },
                ],
            },
            Output::Many {
                end: products,
                page: Box::new(inner),
            },
            Output::OneOf {
                end: end(&s.order, "about"),
                arms: vec![name(&s.customer), name(&s.product)],
            },
            Output::Many {
                end: end(&s.order, "children"),
                page: Box::new(children),
            },
            Output::Reference(end(&s.order, "parent")),
        ];
        let read = page(&s.order).limit(3).outputs(outputs).read();
        let mut got = s.read(&read, &[]).await;
        let rows = got[0].as_array_mut().unwrap();
        for row in rows.iter_mut() {
            if !row[5].is_null() {
                row[5] = json!(number_of(&row[5]));
            }
            for product in row[2][0].as_array_mut().unwrap() {
                product[2][1] = json!(number_of(&product[2][1]));
            }
        }
        let want = json!([
            [
                "A101",
                ["Ann", "gold", ["Acme"]],
                [[["Black TEA", 5, [5, 12]], ["Green Tea", 2, [2, 11]]], 2, null, []],
                ["customer", ["Bob"]],
                [[["A102"], ["A103"]], null, null, []],
                null
            ],
            [
                "A102",
                ["Ann", "gold", ["Acme"]],
                [[["Green Tea", 1, [1, 11]]], 1, null, []],
                ["product", ["Black TEA"]],
                [[], null, null, []],
                101
            ],
            [
                "A103",
                ["Bob", "silver", null],
                [[["Ämter 100%_a\\b", 9, [9, 13]]], 1, null, []],
                null,
                [[], null, null, []],
                101
            ],
            ["A104", ["Cleo", null, null], [[], 0, null, []], null, [[], null, null, []], null]
        ]);
        assert_eq!(json!(rows), want);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_both_ways_and_skip_nothing() {
    each_shop(|s| async move {
        stocked(&s).await;
        // Orders whose keys repeat and are null, in every combination of direction and place of nulls.
        for n in 201..=230 {
            let mut values = vec![("number", text(&format!("B{n}"))), ("serial", Value::Integer(i64::from(n % 4)))];
            if n % 3 != 0 {
                values.push(("items", Value::Integer(i64::from(n % 5))));
            }
            if n % 7 != 0 {
                values.push(("total", money(&format!("{}.5", n % 2), "EUR")));
            }
            s.insert(&s.order, n, &values, if n % 4 == 0 { &[("customer", 1)] } else { &[] })
                .await;
        }
        let only = || compare(&s.order, "number", Op::StartsWith { fold: false }, text("B"));
        let orders: Vec<Vec<OrderBy>> = vec![
            vec![],
            vec![OrderBy::Property(property(&s.order, "serial"))],
            vec![OrderBy::Property(property(&s.order, "items"))],
            vec![
                OrderBy::Property(property(&s.order, "items")),
                OrderBy::Property(property(&s.order, "number")),
            ],
            vec![
                OrderBy::Property(property(&s.order, "items")),
                OrderBy::Property(property(&s.order, "total")),
            ],
            vec![
                OrderBy::Property(property(&s.order, "serial")),
                OrderBy::Property(property(&s.order, "items")),
            ],
            vec![
                OrderBy::Count(end(&s.order, "products")),
                OrderBy::Property(property(&s.order, "total")),
            ],
        ];
        for by in orders {
            for bits in 0..(1 << (2 * by.len())) {
                let order: Vec<Order> = by
                    .iter()
                    .enumerate()
                    .map(|(i, by)| Order {
                        through: vec![],
                        by: by.clone(),
                        descending: bits >> (2 * i) & 1 == 1,
                        nulls_first: bits >> (2 * i + 1) & 1 == 1,
                    })
                    .collect();
                let base = || {
                    page(&s.order)
                        .filter(only())
                        .order(order.clone())
                        .outputs(vec![value(&s.order, "id"), Output::Cursor])
                };
                let all = numbers(&s.read(&base().read(), &[]).await[0]);
                assert_eq!(all.len(), 30, "{order:?}");
                for backward in [false, true] {
                    let mut seen = Vec::new();
                    let mut position = None;
                    loop {
                        let mut page = base().limit(7);
                        if backward {
                            page = page.backward();
                        }
                        if let Some(position) = position.take() {
                            page = if backward { page.before(position) } else { page.after(position) };
                        }
                        let rows = s.read(&page.read(), &[]).await[0].clone();
                        let rows = rows.as_array().unwrap();
                        for row in rows.iter().take(7) {
                            seen.push(number_of(&row[0]));
                        }
                        if rows.len() <= 7 {
                            break;
                        }
                        position = Some(position_of(&s, &by, &rows[6][1]));
                    }
                    if backward {
                        seen.reverse();
                    }
                    assert_eq!(seen, all, "{order:?} backward {backward}");
                }
                // Between two positions.
                let rows = s.read(&base().read(), &[]).await[0].clone();
                let (from, to) = (position_of(&s, &by, &rows[4][1]), position_of(&s, &by, &rows[20][1]));
                let between = base().after(from).before(to).read();
                assert_eq!(numbers(&s.read(&between, &[]).await[0]), all[5..20], "{order:?}");
            }
        }
    })
    .await;
}

/// A position from the JSON of a cursor.
fn position_of(s: &Shop, by: &[OrderBy], cursor: &Json) -> Position {
    let keys = by
        .iter()
        .zip(cursor.as_array().unwrap())
        .map(|(by, key)| {
            let money = matches!(by, OrderBy::Property(p) if p.kind == Kind::Money);
            match key {
                Json::Null => None,
                key if money => {
                    let amount: Decimal = key.to_string().parse().unwrap();
                    Some(Operand::Const(Value::Decimal(if s.scaled() {
                        amount / Decimal::from(10_000)
                    } else {
                        amount
                    })))
                }
                Json::String(key) => Some(Operand::Const(text(key))),
                key => Some(Operand::Const(Value::Integer(key.as_i64().unwrap()))),
            }
        })
        .collect();
    Position {
        keys,
        id: Operand::Const(Value::Id(id(number_of(cursor.as_array().unwrap().last().unwrap())))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_within_pages_have_positions_too() {
    each_shop(|s| async move {
        stocked(&s).await;
        let o = &s.order;
        for (n, items) in [(301, Some(3)), (302, None), (303, Some(1)), (304, None), (305, Some(3))] {
            let mut values = vec![("number", text(&format!("C{n}"))), ("serial", Value::Integer(0))];
            values.extend(items.map(|i| ("items", Value::Integer(i))));
            s.insert(o, n, &values, &[("customer", 3)]).await;
        }
        let ask = async |order: Order, after: Option<Position>| {
            let mut inner = page(o)
                .filter(compare(o, "number", Op::StartsWith { fold: false }, text("C")))
                .order(vec![order])
                .total()
                .outputs(vec![value(o, "id")]);
            if let Some(after) = after {
                inner = inner.after(after);
            }
            let many = Output::Many {
                end: end(&s.customer, "orders"),
                page: Box::new(inner.0),
            };
            let read = page(&s.customer)
                .order(vec![desc(&s.customer, "name")])
                .limit(1)
                .outputs(vec![many])
                .read();
            let answer = s.read(&read, &[]).await;
            assert_eq!(answer[0][0][0][1], 5);
            numbers(&answer[0][0][0][0])
        };
        let at = |key: Option<i64>, n| {
            Some(Position {
                keys: vec![key.map(constant)],
                id: Operand::Const(Value::Id(id(n))),
            })
        };
        assert_eq!(ask(desc(o, "items"), None).await, [305, 301, 303, 304, 302]);
        assert_eq!(ask(desc(o, "items"), at(Some(3), 301)).await, [303, 304, 302]);
        assert_eq!(ask(desc(o, "items"), at(None, 304)).await, [302]);
        let mut first = asc(o, "items");
        first.nulls_first = true;
        assert_eq!(ask(first.clone(), at(None, 302)).await, [304, 303, 301, 305]);
        assert_eq!(ask(first, at(Some(1), 303)).await, [301, 305]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_follow_relationships() {
    each_shop(|s| async move {
        stocked(&s).await;
        let through = |ends: Vec<Arc<End>>, by, descending, nulls_first| Order {
            through: ends,
            by: OrderBy::Property(by),
            descending,
            nulls_first,
        };
        let customer = end(&s.order, "customer");
        let sorted = async |order: Vec<Order>| {
            numbers(
                &s.read(&page(&s.order).order(order).outputs(vec![value(&s.order, "id")]).read(), &[])
                    .await[0],
            )
        };
        assert_eq!(
            sorted(vec![through(vec![customer.clone()], property(&s.customer, "name"), true, false)]).await,
            [104, 103, 102, 101, 105]
        );
        assert_eq!(
            sorted(vec![through(vec![customer.clone()], property(&s.customer, "tier"), false, true)]).await,
            [104, 105, 101, 102, 103]
        );
        let company = vec![customer.clone(), end(&s.customer, "company")];
        assert_eq!(
            sorted(vec![through(company, property(&s.company, "name"), false, false)]).await,
            [101, 102, 103, 104, 105]
        );
        let favourite = vec![customer, end(&s.customer, "favourite")];
        assert_eq!(
            sorted(vec![through(favourite, property(&s.product, "price"), false, false)]).await,
            [103, 101, 102, 104, 105]
        );
        let count = Order {
            through: vec![],
            by: OrderBy::Count(end(&s.order, "products")),
            descending: true,
            nulls_first: false,
        };
        assert_eq!(sorted(vec![count, asc(&s.order, "number")]).await, [101, 102, 103, 104, 105]);
        assert_eq!(sorted(vec![desc(&s.order, "total")]).await, [103, 101, 102, 105, 104]);
    })
    .await;
}

fn aggregate(function: AggregateFunction, klass: &Klass, legal: &str) -> Aggregate {
    Aggregate {
        function,
        property: Some(property(klass, legal)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_over_many() {
    use AggregateFunction::*;
    each_shop(|s| async move {
        stocked(&s).await;
        let o = &s.order;
        let mut page = page(o).total().0;
        page.rows = None;
        page.aggregates = vec![
            Aggregate {
                function: Count,
                property: None,
            },
            aggregate(Count, o, "items"),
            aggregate(CountDistinct, o, "status"),
            aggregate(Sum, o, "items"),
            aggregate(Avg, o, "items"),
            aggregate(Min, o, "placedAt"),
            aggregate(Max, o, "number"),
            aggregate(Sum, o, "weight"),
            aggregate(Avg, o, "weight"),
            aggregate(Percentile(0.5), o, "items"),
            aggregate(Percentile(0.25), o, "weight"),
            aggregate(Sum, o, "total"),
            aggregate(Avg, o, "total"),
            aggregate(Min, o, "paid"),
            aggregate(Max, o, "due"),
        ];
        let got = s.read(&Read::Page(page.clone()), &[]).await;
        assert_eq!(got[0], Json::Null);
        assert_eq!(got[1], 5);
        let want = if s.scaled() {
            json!([
                5,
                3,
                3,
                7,
                7.0 / 3.0,
                1_780_000_000_000_000_i64,
                "A105",
                2_500_001,
                1.2500005,
                2.0,
                0.62500075,
                null,
                null,
                0,
                "2026-08-01"
            ])
        } else {
            json!([
                5,
                3,
                3,
                7,
                7.0 / 3.0,
                "2026-05-28T20:26:40+00:00",
                "A105",
                2.500001,
                1.2500005,
                2.0,
                0.62500075,
                null,
                null,
                false,
                "2026-08-01"
            ])
        };
        close(&got[2], &want);
        // One currency.
        page.filter = Some(Filter::Compare {
            target: Target::Currency(property(o, "total")),
            op: Op::Eq,
            operand: Operand::Const(text("EUR")),
        });
        page.aggregates = vec![
            aggregate(Sum, o, "total"),
            aggregate(Avg, o, "total"),
            aggregate(Max, o, "total"),
            aggregate(Percentile(0.5), o, "total"),
            aggregate(CountDistinct, o, "total"),
        ];
        let got = s.read(&Read::Page(page.clone()), &[]).await;
        let want = if s.scaled() {
            json!([[207_500, "EUR"], 20.75 / 3.0, [125_000, "EUR"], 7.25, 3])
        } else {
            json!([[20.75, "EUR"], 20.75 / 3.0, [12.5, "EUR"], 7.25, 3])
        };
        close(&got[2], &want);
        // Nothing.
        page.filter = Some(Filter::Or(vec![]));
        assert_eq!(
            s.read(&Read::Page(page), &[]).await,
            json!([null, 0, [null, null, null, null, 0], []])
        );
    })
    .await;
}

/// Equal, but for the last digits of floats.
fn close(got: &Json, want: &Json) {
    match (got, want) {
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => a.iter().zip(b).for_each(|(a, b)| close(a, b)),
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{got} is not {want}");
        }
        _ => assert_eq!(got, want),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_gather_in_groups() {
    use AggregateFunction::*;
    each_shop(|s| async move {
        stocked(&s).await;
        let o = &s.order;
        let key = |by| GroupBy { through: None, by };
        let count = Aggregate {
            function: Count,
            property: None,
        };
        let groups = |by, aggregates, having, order| Groups {
            by,
            aggregates,
            having,
            order,
            limit: constant(10),
        };
        let mut page = page(o).0;
        page.rows = None;
        page.groups = vec![
            groups(
                vec![key(GroupKey::Property(property(o, "status")))],
                vec![count.clone(), aggregate(Sum, o, "total")],
                vec![],
                vec![(GroupOrder::Aggregate(0), true)],
            ),
            groups(
                vec![key(GroupKey::Bucket {
                    property: property(o, "placedAt"),
                    bucket: Bucket::Month,
                    zone: "America/Chicago".into(),
                })],
                vec![count.clone()],
                vec![],
                vec![],
            ),
            groups(
                vec![GroupBy {
                    through: Some(end(o, "customer")),
                    by: GroupKey::Property(property(&s.customer, "tier")),
                }],
                vec![count.clone(), aggregate(Avg, o, "items")],
                vec![Having {
                    aggregate: count.clone(),
                    op: Op::Gte,
                    operand: constant(2),
                }],
                vec![],
            ),
            groups(
                vec![key(GroupKey::Property(property(o, "total")))],
                vec![aggregate(Max, o, "total")],
                vec![Having {
                    aggregate: aggregate(Max, o, "total"),
                    op: Op::Gt,
                    operand: Operand::Const(decimal("12")),
                }],
                vec![(GroupOrder::Key(0), true)],
            ),
            groups(
                vec![key(GroupKey::Bucket {
                    property: property(o, "due"),
                    bucket: Bucket::Quarter,
                    zone: "UTC".into(),
                })],
                vec![],
                vec![],
                vec![],
            ),
            groups(
                vec![key(GroupKey::Property(property(o, "paid")))],
                vec![aggregate(Percentile(0.5), o, "items")],
                vec![Having {
                    aggregate: aggregate(Avg, o, "items"),
                    op: Op::Lt,
                    operand: Operand::Const(decimal("1.5")),
                }],
                vec![],
            ),
            groups(vec![key(GroupKey::Reference(end(o, "customer")))], vec![count], vec![], vec![]),
        ];
        let got = s.read(&Read::Page(page), &[]).await;
        let money = |amount: f64, scaled: i64, currency: &str| {
            if s.scaled() {
                json!([scaled, currency])
            } else {
                json!([amount, currency])
            }
        };
        close(
            &got[3][0],
            &json!([
                [["done"], [2, money(100.0, 1_000_000, "USD")]],
                [["in progress"], [1, money(7.25, 72_500, "EUR")]],
                [["pending"], [1, money(12.5, 125_000, "EUR")]],
                [[null], [1, money(1.0, 10_000, "EUR")]]
            ]),
        );
        close(
            &got[3][1],
            &json!([[["2026-05-01"], [1]], [["2026-06-01"], [1]], [["2026-07-01"], [1]], [[null], [2]]]),
        );
        close(&got[3][2], &json!([[["gold"], [2, 1.5]], [[null], [2, 4.0]]]));
        close(
            &got[3][3],
            &json!([
                [["USD"], [money(100.0, 1_000_000, "USD")]],
                [["EUR"], [money(12.5, 125_000, "EUR")]]
            ]),
        );
        close(&got[3][4], &json!([[["2026-07-01"], []], [[null], []]]));
        close(&got[3][5], &json!([[[if s.scaled() { json!(0) } else { json!(false) }], [1.0]]]));
        let references: Vec<Option<u32>> = got[3][6]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| (!g[0][0].is_null()).then(|| number_of(&g[0][0])))
            .collect();
        assert_eq!(references, [Some(1), Some(2), Some(3), None]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_is_read_both_ways() {
    each_shop(|s| async move {
        let dialect = s.store.dialect();
        let lit = |v: Value| literal(dialect, &v, 0);
        for n in 1..=9_u32 {
            s.execute(insert(
                "timeline_entry",
                &[
                    ("org_id".into(), lit(Value::Id(ObjectId(s.org.0)))),
                    ("id".into(), lit(Value::Id(id(n)))),
                    ("customer_id".into(), lit(Value::Id(id(1)))),
                    ("at".into(), lit(at(1_780_000_000 + i64::from(n / 2)))),
                    ("kind".into(), lit(text(if n % 3 == 0 { "note" } else { "message" }))),
                    ("klass".into(), lit(text("message"))),
                    ("object_id".into(), lit(Value::Id(id(1000 + n)))),
                    ("channel".into(), if n % 2 == 0 { lit(text("email")) } else { "null".into() }),
                    (
                        "data".into(),
                        if n == 9 {
                            lit(Value::Json(json!({"from": "open"})))
                        } else {
                            "null".into()
                        },
                    ),
                ],
            ))
            .await;
        }
        let window = |limit, backward, after| Window {
            limit: constant(limit),
            backward,
            after,
            before: None,
        };
        let base = TimelinePage {
            customer: Operand::Arg(0),
            kinds: None,
            channels: None,
            since: None,
            until: None,
            window: window(3, false, None),
            total: true,
        };
        let of = |json: &Json| {
            json[0]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| number_of(&row[0][1]))
                .collect::<Vec<u32>>()
        };
        let ask = async |page: TimelinePage, args: &[Value]| {
            let mut all = vec![Value::Id(id(1))];
            all.extend_from_slice(args);
            s.read(&Read::Timeline(page), &all).await
        };
        let first = ask(base.clone(), &[]).await;
        assert_eq!(of(&first), [9, 8, 7, 6]);
        assert_eq!(first[1], 9);
        assert_eq!(first[0][0][1], "message".replace("message", "note"));
        assert_eq!(first[0][0][6], json!({"from": "open"}));
        assert_eq!(number_of(&first[0][0][3]), 1009);
        assert_eq!(first[0][1][4], "email");
        let after = Position {
            keys: vec![Some(Operand::Arg(1))],
            id: Operand::Arg(2),
        };
        let next = ask(
            TimelinePage {
                window: window(3, false, Some(after)),
                ..base.clone()
            },
            &[at(1_780_000_003), Value::Id(id(7))],
        )
        .await;
        assert_eq!(of(&next), [6, 5, 4, 3]);
        let last = ask(
            TimelinePage {
                window: window(2, true, None),
                ..base.clone()
            },
            &[],
        )
        .await;
        assert_eq!(of(&last), [1, 2, 3]);
        let notes = TimelinePage {
            kinds: Some(Operand::Arg(1)),
            channels: Some(Operand::Arg(2)),
            ..base.clone()
        };
        assert_eq!(of(&ask(notes, &[texts(&["note"]), texts(&["email"])]).await), [6]);
        let some = TimelinePage {
            since: Some(Operand::Arg(1)),
            until: Some(Operand::Arg(2)),
            window: window(10, false, None),
            ..base
        };
        assert_eq!(of(&ask(some, &[at(1_780_000_001), at(1_780_000_003)]).await), [5, 4, 3, 2]);
        let foreign = s
            .read_as(
                nil(),
                &Read::Timeline(TimelinePage {
                    customer: Operand::Const(Value::Id(id(1))),
                    kinds: None,
                    channels: None,
                    since: None,
                    until: None,
                    window: window(3, false, None),
                    total: true,
                }),
                &[],
            )
            .await;
        assert_eq!(foreign, json!([[], 0]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_hundreds_of_outputs() {
    each_shop(|s| async move {
        stocked(&s).await;
        let outputs: Vec<Output> = (0..1201)
            .map(|i| value(&s.order, if i % 2 == 0 { "number" } else { "labels" }))
            .collect();
        let read = Read::One {
            klass: s.order.clone(),
            key: Key::Id(Operand::Const(Value::Id(id(101)))),
            deleted: false,
            outputs,
        };
        let row = s.read(&read, &[]).await;
        let row = row.as_array().unwrap();
        assert_eq!(row.len(), 1201);
        assert!(
            row.iter()
                .enumerate()
                .all(|(i, v)| *v == if i % 2 == 0 { json!("A101") } else { json!(["red", "blue"]) })
        );
    })
    .await;
}
