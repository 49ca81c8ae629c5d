//! What reads answer, on real databases: values, keys, what hangs on an object, timelines.

use serde_json::json;

use super::stock::stocked;
use super::*;
use crate::klass::filter::ContactKind;
use crate::klass::query::{Entries, EntryArm, EntryOf, Key, TimelinePage};

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
            kinds: None,
            channels: None,
            since: None,
            until: None,
            window: window(3, false, None),
            entries: Some(whole()),
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
            let read = Read::Timeline {
                customer: Operand::Arg(0),
                page,
            };
            s.read(&read, &all).await
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
            ..base.clone()
        };
        assert_eq!(of(&ask(some, &[at(1_780_000_001), at(1_780_000_003)]).await), [5, 4, 3, 2]);
        let foreign = s
            .read_as(
                nil(),
                &Read::Timeline {
                    customer: Operand::Const(Value::Id(id(1))),
                    page: base,
                },
                &[],
            )
            .await;
        assert_eq!(foreign, json!([[], 0]));
    })
    .await;
}

fn whole() -> Entries {
    Entries {
        place: true,
        object: true,
        channel: true,
        data: true,
        arms: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_brings_the_objects_behind_its_entries() {
    each_shop(|s| async move {
        stocked(&s).await;
        let dialect = s.store.dialect();
        let lit = |v: Value| literal(dialect, &v, 0);
        // An order, what befell it, a product, one that is gone, and what no arm reads.
        for (n, kind, object) in [
            (1, "order", 101),
            (2, "order.told", 102),
            (3, "product", 11),
            (4, "order", 999),
            (5, "other", 101),
        ] {
            s.execute(insert(
                "timeline_entry",
                &[
                    ("org_id".into(), lit(Value::Id(ObjectId(s.org.0)))),
                    ("id".into(), lit(Value::Id(id(n)))),
                    ("customer_id".into(), lit(Value::Id(id(1)))),
                    ("at".into(), lit(at(1_780_000_000 + i64::from(n)))),
                    ("kind".into(), lit(text(kind))),
                    ("klass".into(), lit(text(kind))),
                    ("object_id".into(), lit(Value::Id(id(object)))),
                    ("conversation_id".into(), lit(Value::Id(id(101)))),
                ],
            ))
            .await;
        }
        let arm = |kind: &str, klass: &Arc<Klass>, of, outputs| EntryArm {
            kind: kind.into(),
            klass: klass.clone(),
            of,
            outputs,
        };
        let customer = Output::One {
            end: end(&s.order, "customer"),
            klass: s.customer.clone(),
            outputs: vec![value(&s.customer, "name")],
        };
        let number = || value(&s.order, "number");
        let page = TimelinePage {
            kinds: None,
            channels: None,
            since: None,
            until: None,
            window: Window {
                limit: constant(10),
                backward: false,
                after: None,
                before: None,
            },
            entries: Some(Entries {
                arms: vec![
                    arm("order", &s.order, EntryOf::Object, vec![number(), customer]),
                    arm("order.told", &s.order, EntryOf::Conversation, vec![number()]),
                    arm("product", &s.product, EntryOf::Object, vec![value(&s.product, "name")]),
                ],
                ..Entries::default()
            }),
            total: false,
        };
        let without = TimelinePage {
            entries: None,
            total: true,
            ..page.clone()
        };
        let read = |key, page: TimelinePage| Read::One {
            klass: s.customer.clone(),
            key: Key::Id(Operand::Const(Value::Id(id(key)))),
            deleted: false,
            outputs: vec![Output::Timeline(Box::new(page))],
        };
        let entry = |kind: &str, row: Json| json!([null, kind, null, null, null, row, null]);
        assert_eq!(
            s.read(&read(1, page.clone()), &[]).await,
            json!([[
                [
                    entry("other", Json::Null),
                    entry("order", Json::Null),
                    entry("product", json!(["Green Tea"])),
                    entry("order.told", json!(["A101"])),
                    entry("order", json!(["A101", ["Ann"]])),
                ],
                null
            ]])
        );
        assert_eq!(s.read(&read(2, page), &[]).await, json!([[[], null]]));
        assert_eq!(s.read(&read(1, without), &[]).await, json!([[null, 5]]));
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
