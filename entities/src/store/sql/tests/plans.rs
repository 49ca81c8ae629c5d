//! That indexes serve the obvious shapes, and that a page is one statement whatever its size.

use tokio_postgres::NoTls;
use tokio_postgres::types::{ToSql, Type};

use super::*;
use crate::klass::filter::{ContactKind, Quantifier};
use crate::klass::query::{Entries, EntryArm, EntryOf, Key, TimelinePage};
use crate::store::driver::sqlite_functions;
use crate::store::sql::bind;

impl Shop {
    /// How the database would go about it.
    async fn plan(&self, read: &Read, args: &[Value]) -> String {
        let statement = self.compile(read);
        match self.store.dialect() {
            Dialect::Sqlite => {
                let connection = rusqlite::Connection::open(self.config.sqlite_path().unwrap()).unwrap();
                sqlite_functions::register(&connection).unwrap();
                let mut explain = connection.prepare(&format!("explain query plan {}", statement.sql)).unwrap();
                let mut rows = explain.raw_query();
                let mut out = String::new();
                while let Some(row) = rows.next().unwrap() {
                    out.push_str(&row.get::<_, String>(3).unwrap());
                    out.push('\n');
                }
                out
            }
            Dialect::Postgres => {
                let arguments = bind::for_postgres(&statement.binds, self.org, args).unwrap();
                let (client, connection) = tokio_postgres::connect(&self.config.url, NoTls).await.unwrap();
                tokio::spawn(connection);
                // The tables of a test are small enough to be read whole: that an index could serve is what is asked.
                client
                    .batch_execute("set enable_seqscan = off; set enable_bitmapscan = off")
                    .await
                    .unwrap();
                let sql = format!("explain {}", statement.sql);
                let statement = client.prepare_typed(&sql, &[Type::UUID]).await.unwrap();
                let parameters: Vec<&(dyn ToSql + Sync)> = arguments.iter().map(|it| it as &(dyn ToSql + Sync)).collect();
                let rows = client.query(&statement, &parameters).await.unwrap();
                rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
            }
        }
    }

    /// Neither a whole table is read nor anything sorted, and each of these indexes is used.
    async fn by_index(&self, what: &str, read: Read, args: &[Value], indexes: &[&str]) {
        let plan = self.plan(&read, args).await;
        for line in plan.lines() {
            let scan = line.contains("Seq Scan")
                || line.contains("SCAN t") && !line.contains("USING")
                || line.contains("SCAN org_shop") && !line.contains("USING");
            assert!(!scan, "{what}: reads a whole table\n{plan}\n{}", self.compile(&read).sql);
            let sort = line.contains("Sort Key") || line.contains("TEMP B-TREE");
            assert!(!sort, "{what}: sorts\n{plan}\n{}", self.compile(&read).sql);
        }
        for index in indexes {
            assert!(plan.contains(index), "{what}: no {index}\n{plan}\n{}", self.compile(&read).sql);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_serve_the_obvious_shapes() {
    each_shop(|s| async move {
        let mut lines = Vec::new();
        for n in 1..=1000 {
            lines.extend(s.insert_sql(&s.customer, n, &[("name", text(&format!("C{n}")))], &[]));
        }
        for n in 1..=1000 {
            let placed = if n % 5 == 0 { Value::Null } else { at(i64::from(n)) };
            let values = [
                ("number", text(&format!("N{n}"))),
                ("serial", Value::Integer(i64::from(n))),
                ("placedAt", placed),
                ("total", money(&format!("{n}.5"), "EUR")),
            ];
            lines.extend(s.insert_sql(&s.order, 100_000 + n, &values, &[("customer", n)]));
        }
        s.batch(lines).await;
        if s.store.dialect() == Dialect::Postgres {
            s.execute("analyze".into()).await;
        }
        let (o, c) = (&s.order, &s.customer);
        let one = |klass: &Arc<Klass>, key| Read::One {
            klass: klass.clone(),
            key,
            deleted: false,
            outputs: vec![value(klass, "version")],
        };
        s.by_index("by id", one(o, Key::Id(Operand::Arg(0))), &[Value::Id(id(100_001))], &[])
            .await;
        s.by_index(
            "by unique key",
            one(o, Key::Unique(property(o, "number"), Operand::Arg(0))),
            &[text("N1")],
            &["number"],
        )
        .await;
        s.by_index(
            "by external id",
            one(c, Key::Unique(property(c, "externalId"), Operand::Arg(0))),
            &[text("N1")],
            &["customer_external_id_key"],
        )
        .await;
        s.by_index(
            "by e-mail",
            one(c, Key::Unique(property(c, "email"), Operand::Arg(0))),
            &[text("N1")],
            &["customer_email_lower_idx"],
        )
        .await;
        s.by_index(
            "by contact point",
            one(c, Key::Contact(ContactKind::Email, Operand::Arg(0))),
            &[text("a@b.c")],
            &["contact_point"],
        )
        .await;
        let by_id = |klass: &Arc<Klass>| page(klass).outputs(vec![value(klass, "id")]).limit(20);
        let position = || Position {
            keys: vec![Some(Operand::Arg(0))],
            id: Operand::Arg(1),
        };
        let (n, t, i) = (Value::Integer(7), at(7), Value::Id(id(100_007)));
        s.by_index("a page by id", by_id(o).read(), &[], &[]).await;
        for order in [asc(o, "serial"), desc(o, "serial")] {
            let page = || by_id(o).order(vec![order.clone()]);
            s.by_index("in order", page().read(), &[], &["serial"]).await;
            s.by_index(
                "from a position on",
                page().after(position()).read(),
                &[n.clone(), i.clone()],
                &["serial"],
            )
            .await;
            s.by_index(
                "backward",
                page().before(position()).backward().read(),
                &[n.clone(), i.clone()],
                &["serial"],
            )
            .await;
        }
        let by_number = || by_id(o).order(vec![desc(o, "number")]);
        s.by_index("by a unique key", by_number().read(), &[], &["number"]).await;
        s.by_index(
            "by a unique key, from a position on",
            by_number().after(position()).read(),
            &[text("N7"), i.clone()],
            &["number"],
        )
        .await;
        for mut order in [asc(o, "placedAt"), desc(o, "placedAt")] {
            for nulls_first in [false, true] {
                order.nulls_first = nulls_first;
                let page = || by_id(o).order(vec![order.clone()]);
                s.by_index("nulls, in order", page().read(), &[], &["placed_at"]).await;
                s.by_index(
                    "nulls, from a position on",
                    page().after(position()).read(),
                    &[t.clone(), i.clone()],
                    &["placed_at"],
                )
                .await;
                s.by_index(
                    "nulls, backward",
                    page().before(position()).backward().read(),
                    &[t.clone(), i.clone()],
                    &["placed_at"],
                )
                .await;
                let null = Position {
                    keys: vec![None],
                    id: Operand::Arg(0),
                };
                s.by_index(
                    "nulls, from null on",
                    page().after(null).read(),
                    std::slice::from_ref(&i),
                    &["placed_at"],
                )
                .await;
            }
        }
        let newest = |page: PageOf| page.order(vec![desc(c, "createdAt")]);
        s.by_index("an org's newest", newest(by_id(c)).read(), &[], &["customer_created_at_idx"])
            .await;
        s.by_index(
            "an org's, from a position on",
            newest(by_id(c)).after(position()).read(),
            &[t.clone(), i.clone()],
            &["customer_created_at_idx"],
        )
        .await;
        let range = Filter::Compare {
            target: Target::Property(property(o, "total")),
            op: Op::Gt,
            operand: Operand::Arg(0),
        };
        s.by_index(
            "a range",
            by_id(o).order(vec![asc(o, "total")]).filter(range).read(),
            &[decimal("5")],
            &["total"],
        )
        .await;
        let of_customer = Filter::Compare {
            target: Target::Reference(end(o, "customer")),
            op: Op::Eq,
            operand: Operand::Arg(0),
        };
        s.by_index(
            "by reference",
            by_id(o).filter(of_customer).read(),
            std::slice::from_ref(&i),
            &["customer_id"],
        )
        .await;
        if s.store.dialect() == Dialect::Sqlite {
            let start = Filter::Compare {
                target: Target::Property(property(o, "number")),
                op: Op::StartsWith { fold: false },
                operand: Operand::Arg(0),
            };
            s.by_index(
                "a prefix",
                by_id(o).order(vec![asc(o, "number")]).filter(start).read(),
                &[text("N")],
                &["number"],
            )
            .await;
        }
        let orders = page(o).limit(3).order(vec![]).outputs(vec![value(o, "number")]).0;
        let nested = page(c).order(vec![desc(c, "createdAt")]).limit(20).outputs(vec![
            Output::One {
                end: end(c, "company"),
                klass: s.company.clone(),
                outputs: vec![value(&s.company, "name")],
            },
            Output::Many {
                end: end(c, "orders"),
                page: Box::new(orders),
            },
        ]);
        s.by_index(
            "what hangs on a page",
            nested.read(),
            &[],
            &["customer_created_at_idx", "customer_id"],
        )
        .await;
        // Shared tables hold all of an org's objects under one prefix: those of one object are found by the link, not among all.
        let newest = page(c).limit(3).order(vec![desc(c, "createdAt")]).outputs(vec![value(c, "name")]).0;
        let watched = page(c).limit(3).outputs(vec![value(c, "name")]).0;
        let user = s.registry.klass("user").unwrap().clone();
        for (from, legal, inner, index) in [
            (&s.company, "customers", newest, "customer_company_id_idx"),
            (&user, "watchedCustomers", watched, "customer_watchers_to_id_idx"),
        ] {
            let many = Output::Many {
                end: end(from, legal),
                page: Box::new(inner),
            };
            let plan = s.plan(&page(from).limit(20).outputs(vec![many]).read(), &[]).await;
            assert!(plan.contains(index), "{legal}: no {index}\n{plan}");
        }
        let of_company = Filter::Compare {
            target: Target::Reference(end(c, "company")),
            op: Op::Eq,
            operand: Operand::Arg(0),
        };
        let plan = s
            .plan(
                &by_id(c).order(vec![desc(c, "createdAt")]).filter(of_company).read(),
                std::slice::from_ref(&i),
            )
            .await;
        assert!(plan.contains("customer_company_id_idx"), "by reference, newest first\n{plan}");
        let related = Filter::Related {
            end: end(o, "products"),
            klass: s.product.clone(),
            quantifier: Quantifier::Some,
            filter: Box::new(Filter::Compare {
                target: Target::Property(property(&s.product, "id")),
                op: Op::Eq,
                operand: Operand::Arg(0),
            }),
        };
        let plan = s.plan(&by_id(o).filter(related).read(), std::slice::from_ref(&i)).await;
        assert!(!plan.contains("Seq Scan"), "{plan}");
        let timeline = TimelinePage {
            kinds: None,
            channels: None,
            since: None,
            until: None,
            window: Window {
                limit: constant(20),
                backward: false,
                after: Some(Position {
                    keys: vec![Some(Operand::Arg(1))],
                    id: Operand::Arg(0),
                }),
                before: None,
            },
            entries: Some(Entries {
                place: true,
                arms: vec![EntryArm {
                    kind: "order".into(),
                    klass: s.order.clone(),
                    of: EntryOf::Object,
                    outputs: vec![value(&s.order, "number")],
                }],
                ..Entries::default()
            }),
            total: false,
        };
        let alone = Read::Timeline {
            customer: Operand::Arg(0),
            page: timeline.clone(),
        };
        let indexes = ["timeline_entry_customer_idx"];
        s.by_index("a timeline", alone, &[i.clone(), t.clone()], &indexes).await;
        let of_customer = Read::One {
            klass: s.customer.clone(),
            key: Key::Id(Operand::Arg(0)),
            deleted: false,
            outputs: vec![Output::Timeline(Box::new(timeline))],
        };
        s.by_index("a customer's timeline", of_customer, &[i, t], &indexes).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rows_are_one_statement() {
    each_shop(|s| async move {
        let mut lines = Vec::new();
        for n in 1..=100 {
            lines.extend(s.insert_sql(&s.product, n, &[("name", text(&format!("P{n}")))], &[]));
        }
        for n in 1..=10_000_u32 {
            let values = [("number", text(&format!("N{n}"))), ("serial", Value::Integer(i64::from(n)))];
            lines.extend(s.insert_sql(&s.order, 100_000 + n, &values, &[]));
            lines.push(s.link_sql(100_000 + n, n % 100 + 1, 1));
        }
        s.batch(lines).await;
        let products = page(&s.product).limit(5).outputs(vec![value(&s.product, "name")]).0;
        let read = page(&s.order)
            .order(vec![desc(&s.order, "serial")])
            .limit(10_000)
            .total()
            .outputs(vec![
                value(&s.order, "number"),
                Output::Many {
                    end: end(&s.order, "products"),
                    page: Box::new(products),
                },
            ])
            .read();
        let answer = s.read(&read, &[]).await;
        let rows = answer[0].as_array().unwrap();
        assert_eq!((rows.len(), &answer[1]), (10_000, &serde_json::json!(10_000)));
        for (i, row) in rows.iter().enumerate() {
            let n = 10_000 - i;
            assert_eq!(
                *row,
                serde_json::json!([format!("N{n}"), [[[format!("P{}", n % 100 + 1)]], null, null, []]])
            );
        }
    })
    .await;
}
