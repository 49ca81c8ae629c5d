//! Klass changes with objects, on both databases.

use std::sync::atomic::Ordering;

use sea_orm::Value as Bound;
use uuid::Uuid;

use super::each;
use crate::klass::change::{KlassChange, Patch};
use crate::klass::fault::Code;
use crate::klass::{Actor, Fault, ObjectId, OrgId, read};
use crate::store::ddl::Name;
use crate::store::klasses::{ChangeOptions, ChangeReport};
use crate::store::{Store, StoreError};

const ORDER: &str = r#"
name = "order"
[properties]
orderNumber = { kind = "string" }
total = { kind = "money", indexed = true }
placed = { kind = "string" }
[relationships]
customer = { to = "customer", kind = "one" }
lines = { to = "line", kind = "many", properties = { quantity = { kind = "integer" } } }
"#;
const LINE: &str = "name = \"line\"\n[properties]\ntext = { kind = \"string\" }\n";

pub(super) async fn org(store: &Store, slug: &str) -> Actor {
    Actor::system(OrgId(store.create_org(slug, slug).await.unwrap().id))
}

pub(super) async fn define(store: &Store, actor: &Actor, texts: &[&str], force: bool) -> Result<ChangeReport, StoreError> {
    let changes = texts.iter().map(|t| KlassChange::Define(read::from_toml(t).unwrap())).collect();
    let options = ChangeOptions {
        force,
        ..ChangeOptions::default()
    };
    store.change_klasses(actor, changes, options).await
}

pub(super) fn faults(result: Result<ChangeReport, StoreError>) -> Vec<Fault> {
    match result {
        Err(StoreError::Faults(faults)) => faults.0,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was allowed"),
    }
}

pub(super) fn table(slug: &str, name: &str) -> Name {
    Name {
        schema: Some(format!("org_{slug}")),
        name: name.into(),
    }
}

/// Puts a row as the write path would; answers its id.
async fn put(store: &Store, table: &Name, column: &str, value: impl Into<Bound>) -> Uuid {
    let (id, value, table, column) = (Uuid::now_v7(), value.into(), table.clone(), column.to_owned());
    store
        .transact(move |tx| {
            let (value, table, column) = (value.clone(), table.clone(), column.clone());
            Box::pin(async move {
                let now = tx.dialect().instant(chrono::Utc::now());
                let sql = format!(
                    "insert into {} (id, created_at, created_by, updated_at, updated_by, {column}) values ($1, $2, 'x', $2, 'x', $3)",
                    table.sql(tx.dialect())
                );
                tx.execute(sql, vec![id.into(), now, value]).await
            })
        })
        .await
        .unwrap();
    id
}

pub(super) async fn texts(store: &Store, sql: &str) -> Vec<Option<String>> {
    let rows = store.select(sql, vec![]).await.unwrap();
    rows.iter().map(|r| r.try_get_by_index(0).unwrap()).collect()
}

pub(super) async fn columns(store: &Store, table: &Name) -> Vec<String> {
    let sql = match store.dialect() {
        crate::store::Dialect::Sqlite => format!("select name from pragma_table_info('{}') order by 1", table.bare(store.dialect())),
        crate::store::Dialect::Postgres => format!(
            "select column_name::text from information_schema.columns where table_schema = '{}' and table_name = '{}' order by 1",
            table.schema.as_deref().unwrap(),
            table.name
        ),
    };
    texts(store, &sql).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orgs_with_equal_klasses_do_not_meet() {
    each(|fresh| async move {
        let store = &fresh.store;
        let (a, b) = (org(store, "a").await, org(store, "b").await);
        let first = define(store, &a, &[ORDER, LINE], false).await.unwrap();
        assert!(first.applied);
        assert_eq!(first.registry.version, 2);
        define(store, &b, &[ORDER, LINE], false).await.unwrap();
        put(store, &table("a", "order"), "order_number", "1").await;
        // A removal in one leaves the other alone.
        let less = ORDER.replace("placed = { kind = \"string\" }\n", "");
        define(store, &a, &[&less], true).await.unwrap();
        assert!(!columns(store, &table("a", "order")).await.contains(&"placed".to_owned()));
        assert!(columns(store, &table("b", "order")).await.contains(&"placed".to_owned()));
        assert!(
            store
                .registry(a.org)
                .await
                .unwrap()
                .klass("order")
                .unwrap()
                .property("placed")
                .is_none()
        );
        assert!(
            store
                .registry(b.org)
                .await
                .unwrap()
                .klass("order")
                .unwrap()
                .property("placed")
                .is_some()
        );
        assert_eq!(
            texts(
                store,
                &format!("select order_number from {}", table("b", "order").sql(store.dialect()))
            )
            .await,
            vec![]
        );
        // Nothing to do is no new version.
        let again = define(store, &a, &[&less], false).await.unwrap();
        assert_eq!((again.registry.version, again.applied, again.changes.len()), (3, true, 0));
        // Another node (another store on the same database) reads the same.
        let other = Store::open(&fresh.config).await.unwrap();
        let registry = other.registry(a.org).await.unwrap();
        assert_eq!(registry.version, 3);
        let names: Vec<_> = registry
            .klass("order")
            .unwrap()
            .properties
            .iter()
            .filter(|p| !p.system)
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(names, ["orderNumber", "total"], "the order in which they were written stays");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_comply_is_told_and_refused() {
    each(|fresh| async move {
        let store = &fresh.store;
        let a = org(store, "a").await;
        define(store, &a, &[ORDER, LINE], false).await.unwrap();
        let orders = table("a", "order");
        let first = put(store, &orders, "order_number", "7").await;
        let second = put(store, &orders, "order_number", "7").await;
        let third = put(store, &orders, "order_number", "seven").await;
        let text = |id: Uuid| ObjectId(id).to_text("order");

        let unique = ORDER.replace(
            "orderNumber = { kind = \"string\"",
            "orderNumber = { kind = \"string\", unique = true",
        );
        let told = faults(define(store, &a, &[&unique], true).await);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (told[0].code, told[0].path.join(".")),
            (Code::Duplicate, "klasses.order.properties.orderNumber".into())
        );
        assert!(told[0].message.contains("2 objects") && told[0].message.contains(&text(first)) && told[0].message.contains(&text(second)));
        assert!(!told[0].message.contains(&text(third)));

        let required = ORDER.replace("placed = { kind = \"string\"", "placed = { kind = \"string\", required = true");
        let told = faults(define(store, &a, &[&required], true).await);
        assert_eq!((told[0].code, told.len()), (Code::Required, 1));
        assert!(
            told[0].message.contains("3 objects") && told[0].message.contains(&text(third)),
            "{}",
            told[0].message
        );

        let added = ORDER.replace("placed =", "fresh = { kind = \"integer\", required = true }\nplaced =");
        assert_eq!(faults(define(store, &a, &[&added], true).await)[0].code, Code::Required);

        let number = ORDER.replace("orderNumber = { kind = \"string\"", "orderNumber = { kind = \"integer\"");
        let told = faults(define(store, &a, &[&number], true).await);
        assert!(
            told[0].message.contains("1 object ") && told[0].message.contains(&text(third)),
            "{}",
            told[0].message
        );

        // Values that are in use stay allowed.
        let choice = ORDER.replace("placed = { kind = \"string\"", "placed = { kind = \"enum\", values = [\"yes\"]");
        put(store, &orders, "placed", "yes").await;
        let other = put(store, &orders, "placed", "perhaps").await;
        let told = faults(define(store, &a, &[&choice], true).await);
        assert!(
            told.len() == 1 && told[0].message.contains("1 object ") && told[0].message.contains(&text(other)),
            "{told:?}"
        );

        // Nothing of it happened.
        assert_eq!(store.fresh_registry(a.org).await.unwrap().version, 2);
        assert_eq!(
            columns(store, &orders)
                .await
                .iter()
                .filter(|c| c.starts_with("order_number"))
                .count(),
            1
        );

        // A removal needs force; and dry runs say all of it.
        let less = ORDER.replace("placed = { kind = \"string\" }\n", "");
        assert_eq!(faults(define(store, &a, &[&less], false).await)[0].code, Code::Breaking);
        let changes = vec![KlassChange::Define(read::from_toml(&less).unwrap())];
        let options = ChangeOptions {
            dry_run: true,
            ..ChangeOptions::default()
        };
        let report = store.change_klasses(&a, changes, options).await.unwrap();
        assert!(!report.applied && report.faults.len() == 1 && report.changes.len() == 1 && report.registry.version == 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_follow_a_change_of_kind() {
    each(|fresh| async move {
        let store = &fresh.store;
        let a = org(store, "a").await;
        define(store, &a, &[ORDER, LINE], false).await.unwrap();
        let orders = table("a", "order");
        // More than a batch.
        for i in 0..1203 {
            put(store, &orders, "order_number", i.to_string()).await;
        }
        put(store, &orders, "placed", "2026-11-24").await;
        let after = ORDER
            .replace("orderNumber = { kind = \"string\"", "orderNumber = { kind = \"integer\", unique = true")
            .replace("placed = { kind = \"string\"", "placedAt = { formerly = [\"placed\"], kind = \"datetime\"")
            .replace("total =", "state = { kind = \"string\", required = true, default = \"new\" }\ntotal =");
        define(store, &a, &[&after], true).await.unwrap();
        let klass = store.registry(a.org).await.unwrap().klass("order").unwrap().clone();
        let (number, placed) = (&klass.property("orderNumber").unwrap().column, &klass.property("placedAt").unwrap().column);
        assert_eq!(klass.property("placed").unwrap().legal, "placedAt", "the old name still works");
        let sql = orders.sql(store.dialect());
        let sums = store.select(&format!("select cast(sum({number}) as bigint), count(*), count(state), count(distinct state) from {sql}"), vec![]).await.unwrap();
        let n = |i: usize| -> i64 { sums[0].try_get_by_index(i).unwrap() };
        assert_eq!((n(0), n(1), n(2), n(3)), (1202 * 1203 / 2, 1204, 1204, 1));
        let at = match store.dialect() {
            crate::store::Dialect::Sqlite => format!("select strftime('%Y-%m-%d', {placed} / 1000000, 'unixepoch') from {sql} where {placed} is not null"),
            crate::store::Dialect::Postgres => format!("select to_char({placed}, 'YYYY-MM-DD') from {sql} where {placed} is not null"),
        };
        assert_eq!(texts(store, &at).await, [Some("2026-11-24".to_owned())]);
        // The old columns are gone, and the unique index works.
        let now = columns(store, &orders).await;
        assert!(!now.contains(&"order_number".to_owned()) && !now.contains(&"placed".to_owned()), "{now:?}");
        let indexed: i64 = match store.dialect() {
            crate::store::Dialect::Sqlite => store.select(&format!("select count(*) from pragma_index_list('{}') where \"unique\" = 1 and name like '%order_number%'", orders.bare(store.dialect())), vec![]).await,
            crate::store::Dialect::Postgres => store.select("select count(*) from pg_indexes where tablename = 'order' and indexname like '%order_number%' and indexdef like '%UNIQUE%'", vec![]).await,
        }
        .unwrap()[0]
            .try_get_by_index(0)
            .unwrap();
        assert_eq!(indexed, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standard_klass_takes_additions() {
    each(|fresh| async move {
        let store = &fresh.store;
        let (a, b) = (org(store, "a").await, org(store, "b").await);
        for (actor, n) in [(&a, 3), (&b, 2)] {
            let org = actor.org.0;
            for _ in 0..n {
                store
                    .transact(move |tx| {
                        Box::pin(async move {
                            let now = tx.dialect().instant(chrono::Utc::now());
                            tx.execute(
                                "insert into customer (id, org_id, created_at, created_by, updated_at, updated_by) values ($1, $2, $3, 'x', $3, 'x')",
                                vec![Uuid::now_v7().into(), org.into(), now],
                            )
                            .await
                        })
                    })
                    .await
                    .unwrap();
            }
        }
        let tier = "name = \"customer\"\n[properties]\ntier = { kind = \"string\", required = true }\n";
        let told = faults(define(store, &a, &[tier], true).await);
        assert!(told[0].message.contains("3 objects"), "those of another org do not count: {}", told[0].message);
        let tier = tier.replace("required = true", "required = true, default = \"basic\"");
        define(store, &a, &[&tier], true).await.unwrap();
        let extension = table("a", "customer_extension").sql(store.dialect());
        assert_eq!(texts(store, &format!("select tier from {extension}")).await, vec![Some("basic".to_owned()); 3]);
        // A patch takes it away again, and with it the table.
        let patch = Patch {
            klass: "customer".into(),
            remove_properties: vec!["tier".into()],
            ..Patch::default()
        };
        let options = ChangeOptions {
            force: true,
            ..ChangeOptions::default()
        };
        store.change_klasses(&a, vec![KlassChange::Patch(patch)], options).await.unwrap();
        assert!(columns(store, &table("a", "customer_extension")).await.is_empty());
        // And it may come back.
        define(store, &a, &[&tier], true).await.unwrap();
        let column = store.registry(a.org).await.unwrap().klass("customer").unwrap().property("tier").unwrap().column.clone();
        assert_eq!(texts(store, &format!("select {column} from {extension}")).await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_come_one_after_another() {
    each(|fresh| async move {
        let (store, other) = (fresh.store.clone(), Store::open(&fresh.config).await.unwrap());
        let a = org(&store, "a").await;
        let many = (0..6).map(|i| {
            let store = if i % 2 == 0 { store.clone() } else { other.clone() };
            let a = a.clone();
            tokio::spawn(async move {
                define(
                    &store,
                    &a,
                    &[&format!("name = \"thing{i}\"\n[properties]\nx = {{ kind = \"string\" }}\n")],
                    false,
                )
                .await
                .unwrap()
            })
        });
        let mut versions = Vec::new();
        for one in many.collect::<Vec<_>>() {
            versions.push(one.await.unwrap().registry.version);
        }
        versions.sort_unstable();
        assert_eq!(versions, [2, 3, 4, 5, 6, 7]);
        let registry = store.fresh_registry(a.org).await.unwrap();
        assert!((0..6).all(|i| registry.klass(&format!("thing{i}")).is_some()));
        let seqs = store
            .select("select seq from event where stream = 't:klass' order by seq", vec![])
            .await
            .unwrap();
        let seqs: Vec<i64> = seqs.iter().map(|r| r.try_get_by_index(0).unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5, 6], "an event each, without a hole");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relationships_and_klasses_of_links_come_and_go() {
    each(|fresh| async move {
        let store = &fresh.store;
        let a = org(store, "a").await;
        define(store, &a, &[ORDER, LINE], false).await.unwrap();
        let (orders, links) = (table("a", "order"), table("a", "order_lines"));
        assert!(columns(store, &orders).await.contains(&"customer_id".to_owned()));
        assert_eq!(columns(store, &links).await, ["from_id", "linked_at", "quantity", "to_id"]);
        // The link gets another property, the to-one relationship goes, one to a klass of the org comes.
        let after = ORDER
            .replace(
                "customer = { to = \"customer\", kind = \"one\" }",
                "main = { to = \"line\", kind = \"one\", inverse = \"mainOf\", inverseKind = \"one\" }",
            )
            .replace(
                "quantity = { kind = \"integer\" }",
                "quantity = { kind = \"integer\" }, price = { kind = \"money\" }",
            );
        define(store, &a, &[&after], true).await.unwrap();
        assert_eq!(
            columns(store, &links).await,
            ["from_id", "linked_at", "price", "price_currency", "quantity", "to_id"]
        );
        let now = columns(store, &orders).await;
        assert!(
            now.contains(&"main_id".to_owned()) && !now.contains(&"customer_id".to_owned()),
            "{now:?}"
        );
        // A foreign key holds, and one-to-one too.
        let line = put(store, &table("a", "line"), "text", "l").await;
        put(store, &orders, "main_id", line).await;
        let broken = |id: Uuid| {
            let orders = orders.clone();
            store.transact(move |tx| {
                let sql = format!("update {} set main_id = $1 where main_id is not null", orders.sql(tx.dialect()));
                Box::pin(async move { tx.execute(sql, vec![id.into()]).await })
            })
        };
        let error = broken(Uuid::now_v7()).await.unwrap_err();
        assert!(error.constraint(crate::store::ConstraintKind::ForeignKey).is_some(), "{error}");
        // The links go.
        let none = after.replace("lines = {", "#");
        define(store, &a, &[&none], true).await.unwrap();
        assert!(columns(store, &links).await.is_empty());
        assert_eq!(store.doctor(a.org, false).await.unwrap(), vec![]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_come_onto_the_timeline_with_their_klass() {
    each(|fresh| async move {
        let store = &fresh.store;
        let a = org(store, "a").await;
        define(store, &a, &[ORDER, LINE], false).await.unwrap();
        let customer = Uuid::now_v7();
        let org = a.org.0;
        store
            .transact(move |tx| {
                Box::pin(async move {
                    let now = tx.dialect().instant(chrono::Utc::now());
                    let sql = "insert into customer (id, org_id, created_at, created_by, updated_at, updated_by) values ($1, $2, $3, 'x', $3, 'x')";
                    tx.execute(sql, vec![customer.into(), org.into(), now]).await
                })
            })
            .await
            .unwrap();
        put(store, &table("a", "order"), "customer_id", customer).await;
        put(store, &table("a", "order"), "order_number", "of no one").await;
        let count = || async { store.select("select kind from timeline_entry", vec![]).await.unwrap().len() };
        assert_eq!(count().await, 0);
        let on = ORDER.replace("[properties]", "[timeline]\n[properties]");
        define(store, &a, &[&on], true).await.unwrap();
        assert_eq!(count().await, 1);
        define(store, &a, &[ORDER], true).await.unwrap();
        assert_eq!(count().await, 0);
    })
    .await;
}

/// Ends a change at every place at which a process may end, and starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_anywhere_is_mended_at_the_next_start() {
    each(|fresh| async move {
        let after = ORDER
            .replace(
                "orderNumber = { kind = \"string\"",
                "orderNumber = { kind = \"integer\", unique = true",
            )
            .replace("placed = { kind = \"string\" }\n", "")
            .replace(
                "total = { kind = \"money\", indexed = true }",
                "total = { kind = \"money\" }\nstate = { kind = \"string\", indexed = true, required = true, default = \"new\" }",
            );
        let tier = "name = \"customer\"\n[properties]\ntier = { kind = \"string\" }\n";
        let mut stop = 1;
        loop {
            let store = Store::open(&fresh.config).await.unwrap();
            let slug = format!("o{stop}");
            let a = org(&store, &slug).await;
            define(&store, &a, &[ORDER, LINE], false).await.unwrap();
            let orders = table(&slug, "order");
            for i in 0..3 {
                put(&store, &orders, "order_number", i.to_string()).await;
            }
            let done_before = store.0.points.passed.lock().unwrap().len();
            store.0.points.stop_after.store(done_before + stop, Ordering::SeqCst);
            let task = {
                let (store, a, after) = (store.clone(), a.clone(), after.clone());
                tokio::spawn(async move { define(&store, &a, &[&after, tier], true).await })
            };
            let stopped = tokio::select! {
                () = store.0.points.stopped.notified() => true,
                _ = tokio::time::sleep(std::time::Duration::from_secs(60)) => panic!("stuck"),
                () = async { while !task.is_finished() { tokio::time::sleep(std::time::Duration::from_millis(2)).await } } => false,
            };
            let at = store.0.points.passed.lock().unwrap().last().copied().unwrap_or_default();
            if !stopped {
                task.await.unwrap().unwrap();
                break;
            }
            store.0.points.end();
            assert!(task.await.unwrap().is_err());
            drop(store);

            let store = Store::open(&fresh.config).await.unwrap();
            // Postgres takes a moment to see that the session with the lock is gone.
            let mut told = Vec::new();
            for _ in 0..100 {
                told.extend(store.resume_changes().await.unwrap());
                if !told.is_empty() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert_eq!(told.len(), 1, "stopped at {at}: {told:?}");
            let registry = store.registry(a.org).await.unwrap();
            let klass = registry.klass("order").unwrap();
            let now = columns(&store, &orders).await;
            if at == "planned" {
                assert!(told[0].contains("was not begun"), "{told:?}");
                assert_eq!(registry.version, 2);
                assert!(now.contains(&"placed".to_owned()) && !now.contains(&"state".to_owned()));
                // It can be made now.
                define(&store, &a, &[&after, tier], true).await.unwrap();
            } else {
                assert_eq!(registry.version, 3, "stopped at {at}");
                let column = &klass.property("orderNumber").unwrap().column;
                let sql = format!(
                    "select cast({column} as text) || state from {} order by 1",
                    orders.sql(store.dialect())
                );
                assert_eq!(
                    texts(&store, &sql).await,
                    ["0new", "1new", "2new"].map(|s| Some(s.to_owned())),
                    "stopped at {at}"
                );
                assert!(
                    !now.contains(&"placed".to_owned()) && !now.contains(&"order_number".to_owned()),
                    "stopped at {at}: {now:?}"
                );
            }
            let open = texts(&store, "select state from klass_change where state not in ('done', 'undone')").await;
            assert!(open.is_empty(), "stopped at {at}: {open:?}");
            assert!(
                columns(&store, &table(&slug, "customer_extension"))
                    .await
                    .contains(&"tier".to_owned())
            );
            stop += 1;
        }
        assert!(stop > 15, "only {stop} places were passed");
    })
    .await;
}

/// What cannot be made is undone, and leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_fails_in_the_middle_is_undone() {
    each(|fresh| async move {
        let store = fresh.store.clone();
        let a = org(&store, "a").await;
        define(&store, &a, &[ORDER, LINE], false).await.unwrap();
        let orders = table("a", "order");
        // Equal only as integers: seen when the index on the new column is made.
        put(&store, &orders, "order_number", "1").await;
        let twin = put(&store, &orders, "order_number", " 1").await;
        let after = ORDER.replace(
            "orderNumber = { kind = \"string\"",
            "orderNumber = { kind = \"integer\", unique = true",
        );
        let told = faults(
            define(
                &store,
                &a,
                &[&after, "name = \"extra\"\n[properties]\nx = { kind = \"string\" }\n"],
                true,
            )
            .await,
        );
        assert_eq!(told[0].code, Code::Duplicate);
        assert!(told[0].message.contains(&ObjectId(twin).to_text("order")), "{}", told[0].message);
        assert_eq!(store.fresh_registry(a.org).await.unwrap().version, 2);
        assert_eq!(
            columns(&store, &orders)
                .await
                .iter()
                .filter(|c| c.starts_with("order_number"))
                .count(),
            1
        );
        assert!(columns(&store, &table("a", "extra")).await.is_empty());
        assert_eq!(
            texts(&store, "select state from klass_change order by created_at")
                .await
                .last()
                .unwrap()
                .as_deref(),
            Some("undone")
        );
    })
    .await;
}
