//! Aggregates and groups, on real databases.

use serde_json::json;

use super::stock::stocked;
use super::*;
use crate::klass::query::{Aggregate, AggregateFunction, Bucket, GroupBy, GroupKey, GroupOrder, Groups, Having};

pub(super) fn aggregate(function: AggregateFunction, klass: &Klass, legal: &str) -> Aggregate {
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
            json!([[207_500, "EUR"], [6.9167, "EUR"], [125_000, "EUR"], [7.25, "EUR"], 3])
        } else {
            json!([[20.75, "EUR"], [6.9167, "EUR"], [12.5, "EUR"], [7.25, "EUR"], 3])
        };
        close(&got[2], &want);
        // Without the total.
        page.total = false;
        let alone = s.read(&Read::Page(page.clone()), &[]).await;
        assert_eq!(alone[1], Json::Null);
        close(&alone[2], &want);
        page.total = true;
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
