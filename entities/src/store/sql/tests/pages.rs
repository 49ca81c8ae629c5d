//! Pages in every order and both ways, on real databases.

use serde_json::json;

use super::numbers::aggregate;
use super::stock::stocked;
use super::*;
use crate::klass::query::AggregateFunction;

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
            let mut inner = inner.0;
            inner.aggregates = vec![aggregate(AggregateFunction::Sum, o, "items")];
            let many = Output::Many {
                end: end(&s.customer, "orders"),
                page: Box::new(inner),
            };
            let read = page(&s.customer)
                .order(vec![desc(&s.customer, "name")])
                .limit(1)
                .outputs(vec![many])
                .read();
            let answer = s.read(&read, &[]).await;
            assert_eq!(answer[0][0][0][1], 5);
            assert_eq!(answer[0][0][0][2], json!([7]));
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
