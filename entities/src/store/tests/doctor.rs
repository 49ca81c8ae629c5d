//! The doctor: finds nothing where all is well, and finds and mends what was broken by hand.

use uuid::Uuid;

use super::each;
use crate::klass::change::KlassChange;
use crate::klass::{Actor, OrgId, read};
use crate::store::klasses::ChangeOptions;
use crate::store::{Dialect, Store};

const ORDER: &str = r#"
name = "order"
[timeline]
[properties]
number = { kind = "string", unique = true }
total = { kind = "money", indexed = true }
labels = { kind = "list of string", indexed = true }
mail = { kind = "email", indexed = true }
[relationships]
customer = { to = "customer", kind = "one" }
about = { to = ["customer", "company"], kind = "one", inverse = "ordersAbout" }
siblings = { to = "order", kind = "many", inverse = "siblingOf" }
"#;
const CUSTOMER: &str = "name = \"customer\"\n[properties]\ntier = { kind = \"string\", indexed = true }\n";

async fn run(store: &Store, sql: String) {
    store
        .transact(move |tx| {
            let sql = sql.clone();
            Box::pin(async move { tx.batch(&sql).await })
        })
        .await
        .unwrap();
}

async fn found(store: &Store, org: OrgId, mend: bool) -> Vec<String> {
    let mut out: Vec<String> = store
        .doctor(org, mend)
        .await
        .unwrap()
        .iter()
        .map(|f| format!("{} {}{}", f.what, f.at, if f.mended { " (mended)" } else { "" }))
        .collect();
    out.sort();
    out
}

/// The migrations and the standard definitions say the same: every column and index that the registry wants is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_migrated_tables_are_those_of_the_standard_klasses() {
    each(|fresh| async move {
        let store = &fresh.store;
        let org = OrgId(store.create_org("a", "A").await.unwrap().id);
        assert_eq!(found(store, org, false).await, Vec::<String>::new());
        // And no table has a column that no definition knows.
        let registry = store.registry(org).await.unwrap();
        for table in crate::store::ddl::tables(&registry).iter().filter(|t| t.shared) {
            let sql = match store.dialect() {
                Dialect::Sqlite => format!("select name from pragma_table_info('{}')", table.name.name),
                Dialect::Postgres => format!(
                    "select column_name::text from information_schema.columns where table_schema = 'public' and table_name = '{}'",
                    table.name.name
                ),
            };
            for row in store.select(&sql, vec![]).await.unwrap() {
                let column: String = row.try_get_by_index(0).unwrap();
                assert!(table.columns.iter().any(|c| c.name == column), "{}.{column}", table.name.name);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_is_found_and_mended() {
    each(|fresh| async move {
        let store = &fresh.store;
        let org = OrgId(store.create_org("a", "A").await.unwrap().id);
        let changes = [ORDER, CUSTOMER].map(|t| KlassChange::Define(read::from_toml(t).unwrap())).to_vec();
        store.change_klasses(&Actor::system(org), changes, ChangeOptions::default()).await.unwrap();
        assert_eq!(found(store, org, false).await, Vec::<String>::new());

        let (order, extension, index) = match store.dialect() {
            Dialect::Sqlite => ("\"org_a__order\"", "\"org_a__customer_extension\"", "\"org_a__order_total_idx\""),
            Dialect::Postgres => ("org_a.\"order\"", "org_a.customer_extension", "org_a.order_total_idx"),
        };
        run(store, format!("drop index {index}; drop table {extension}; alter table {order} add column mine text")).await;
        let customer = Uuid::now_v7();
        store
            .transact(move |tx| {
                Box::pin(async move {
                    let now = tx.dialect().instant(chrono::Utc::now());
                    tx.execute(
                        "insert into customer (id, org_id, created_at, created_by, updated_at, updated_by, email, emails) values ($1, $2, $3, 'x', $3, 'x', 'Ann@X.org', $4)",
                        vec![customer.into(), org.0.into(), now, serde_json::json!([{"email": "b@x.org"}]).into()],
                    )
                    .await?;
                    tx.execute("insert into contact_point (org_id, customer_id, kind, value) values ($1, $2, 'phone', '+491')", vec![org.0.into(), customer.into()]).await?;
                    tx.execute("update stream_head set seq = 0 where org_id = $1", vec![org.0.into()]).await
                })
            })
            .await
            .unwrap();
        let index = index.trim_start_matches("org_a.").trim_matches('"');
        let told = |mended: &str| {
            let mut told = vec![
                format!("contact customer {customer}{mended}"),
                format!("contact customer {customer}{mended}"),
                format!("contact customer {customer}{mended}"),
                "extra org_a.order.mine".to_owned(),
                format!("missing {index}{mended}"),
                format!("missing org_a.customer_extension{mended}"),
                format!("stream t:klass{mended}"),
            ];
            told.sort();
            told
        };
        assert_eq!(found(store, org, false).await, told(""));
        assert_eq!(found(store, org, true).await, told(" (mended)"));
        assert_eq!(found(store, org, false).await, ["extra org_a.order.mine"]);
        let rows = store.select("select value from contact_point order by 1", vec![]).await.unwrap();
        let values: Vec<String> = rows.iter().map(|r| r.try_get_by_index(0).unwrap()).collect();
        assert_eq!(values, ["ann@x.org", "b@x.org"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_interrupted_change_left_is_found_and_finished() {
    each(|fresh| async move {
        let org = {
            let store = Store::open(&fresh.config).await.unwrap();
            let org = OrgId(store.create_org("a", "A").await.unwrap().id);
            store.0.points.stop_after.store(3, std::sync::atomic::Ordering::SeqCst);
            let task = {
                let store = store.clone();
                let change = vec![KlassChange::Define(read::from_toml(ORDER).unwrap())];
                tokio::spawn(async move {
                    store
                        .change_klasses(&Actor::system(org), change, ChangeOptions::default())
                        .await
                        .map(|_| ())
                })
            };
            store.0.points.stopped.notified().await;
            store.0.points.end();
            assert!(task.await.unwrap().is_err());
            org
        };
        let store = &fresh.store;
        let told = found(store, org, false).await;
        assert!(told.len() == 1 && told[0].starts_with("change "), "{told:?}");
        let mut told = vec![];
        for _ in 0..100 {
            told = found(store, org, true).await;
            if told.is_empty() || told[0].ends_with("(mended)") {
                break;
            }
            // Postgres takes a moment to see that the session with the lock is gone.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(told.len() == 1 && told[0].ends_with("(mended)"), "{told:?}");
        assert_eq!(found(store, org, false).await, Vec::<String>::new());
        assert!(store.registry(org).await.unwrap().klass("order").is_some());
        if store.dialect() == Dialect::Postgres {
            // As an interrupted build of an index leaves it.
            run(
                store,
                "update pg_index set indisvalid = false where indexrelid = 'org_a.order_total_idx'::regclass".into(),
            )
            .await;
            assert_eq!(found(store, org, false).await, ["invalid order_total_idx"]);
            assert_eq!(found(store, org, true).await, ["invalid order_total_idx (mended)"]);
            assert_eq!(found(store, org, false).await, Vec::<String>::new());
        }
    })
    .await;
}
