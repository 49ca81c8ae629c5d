//! Transactions, on both databases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::each;
use crate::klass::fault::Code;
use crate::store::{ConstraintKind, Dialect, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrates_once() {
    each(|fresh| async move {
        assert!(fresh.store.pending_migrations().await.unwrap().is_empty());
        assert!(fresh.store.migrate().await.unwrap().is_empty());
        fresh.store.ping().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_org_is_made_once() {
    each(|fresh| async move {
        let store = &fresh.store;
        let org = store.create_org("acme-eu", " Acme ").await.unwrap();
        assert_eq!(
            store.org_by_slug("acme-eu").await.unwrap().unwrap(),
            store.org(crate::klass::OrgId(org.id)).await.unwrap().unwrap()
        );
        assert_eq!(store.orgs().await.unwrap()[0].name, "Acme");
        let Err(StoreError::Faults(faults)) = store.create_org("acme-eu", "Other").await else {
            panic!("made twice")
        };
        assert_eq!(faults.0[0].code, Code::Duplicate);
        let Err(StoreError::Faults(faults)) = store.create_org("No", "").await else {
            panic!("a bad slug")
        };
        assert_eq!(faults.0.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_all_or_nothing() {
    each(|fresh| async move {
        let store = &fresh.store;
        let mut waits = Vec::new();
        for i in 0..200i64 {
            let store = store.clone();
            waits.push(tokio::spawn(async move {
                store
                    .transact(move |tx| {
                        Box::pin(async move {
                            let key = format!("k{i}");
                            tx.execute(
                                "insert into stream_head (org_id, stream, seq) values ($1, $2, $3)",
                                vec![uuid::Uuid::nil().into(), key.into(), i.into()],
                            )
                            .await?;
                            match i % 4 {
                                0 => Err(StoreError::Stale),
                                1 => {
                                    // An error within a savepoint leaves the rest.
                                    let inner = tx
                                        .savepoint(|tx| {
                                            Box::pin(async move {
                                                tx.execute(
                                                    "insert into stream_head (org_id, stream, seq) values ($1, 'k1', 0)",
                                                    vec![uuid::Uuid::nil().into()],
                                                )
                                                .await?;
                                                Err::<(), _>(StoreError::Timeout)
                                            })
                                        })
                                        .await;
                                    assert!(inner.is_err());
                                    Ok(i)
                                }
                                2 if i == 102 => panic!("a job that panics"),
                                _ => Ok(i),
                            }
                        })
                    })
                    .await
            }));
        }
        let mut kept = 0;
        for (i, wait) in waits.into_iter().enumerate() {
            match wait.await {
                Ok(Ok(value)) => {
                    assert_eq!(value, i as i64);
                    kept += 1;
                }
                Ok(Err(StoreError::Stale)) => assert_eq!(i % 4, 0),
                Ok(Err(other)) => assert!(i == 102, "{i}: {other}"),
                Err(_) => assert_eq!(i, 102),
            }
        }
        let row = store
            .transact(|tx| {
                Box::pin(async move {
                    tx.query_one("select count(*) as n, sum(seq % 4 = 0) as zero from stream_head", vec![])
                        .await
                })
            })
            .await;
        let n: i64 = match row {
            Ok(row) => row.unwrap().try_get_by_index(0).unwrap(),
            // Postgres has no sum of booleans; and an error must leave the connection fit for the next.
            Err(StoreError::Database(_)) => store
                .transact(|tx| Box::pin(async move { tx.query_one("select count(*) as n from stream_head", vec![]).await }))
                .await
                .unwrap()
                .unwrap()
                .try_get_by_index(0)
                .unwrap(),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(kept, 149);
        assert_eq!(n, 149);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_constraints_are_named() {
    each(|fresh| async move {
        let store = &fresh.store;
        let org = store.create_org("a", "A").await.unwrap().id;
        let user = move |email: &'static str| {
            store.transact(move |tx| {
                Box::pin(async move {
                    let now = tx.dialect().instant(chrono::Utc::now());
                    tx.execute(
                        r#"insert into "user" (id, org_id, created_at, created_by, updated_at, updated_by, name, email) values ($1, $2, $3, 'x', $3, 'x', 'n', $4)"#,
                        vec![uuid::Uuid::now_v7().into(), org.into(), now, email.into()],
                    )
                    .await
                })
            })
        };
        user("A@x.org").await.unwrap();
        let error = user("a@X.org").await.unwrap_err();
        assert_eq!(error.constraint(ConstraintKind::Unique).unwrap().name, "user_email_lower_key");
        let error = store
            .transact(move |tx| {
                Box::pin(async move {
                    let id = || uuid::Uuid::now_v7().into();
                    tx.execute("insert into contact_point (org_id, customer_id, kind, value) values ($1, $2, 'email', 'x')", vec![id(), id()]).await
                })
            })
            .await
            .unwrap_err();
        assert!(error.constraint(ConstraintKind::ForeignKey).is_some(), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_tried_again() {
    each(|fresh| async move {
        if fresh.store.dialect() == Dialect::Sqlite {
            // One writer: there is none.
            return;
        }
        let store = fresh.store.clone();
        store
            .transact(|tx| {
                Box::pin(async move {
                    tx.execute(
                        "insert into stream_head (org_id, stream, seq) values ($1, 'a', 0), ($1, 'b', 0)",
                        vec![uuid::Uuid::nil().into()],
                    )
                    .await
                })
            })
            .await
            .unwrap();
        let runs = Arc::new(AtomicU32::new(0));
        let raise = |first: &'static str, second: &'static str| {
            let (store, runs) = (store.clone(), runs.clone());
            async move {
                store
                    .transact(move |tx| {
                        let runs = runs.clone();
                        Box::pin(async move {
                            runs.fetch_add(1, Ordering::Relaxed);
                            tx.execute("update stream_head set seq = seq + 1 where stream = $1", vec![first.into()])
                                .await?;
                            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                            tx.execute("update stream_head set seq = seq + 1 where stream = $1", vec![second.into()])
                                .await
                        })
                    })
                    .await
            }
        };
        let (a, b) = tokio::join!(raise("a", "b"), raise("b", "a"));
        a.unwrap();
        b.unwrap();
        assert!(runs.load(Ordering::Relaxed) >= 3, "no deadlock came about");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_too_long_is_stopped_and_no_one_else() {
    each(|fresh| async move {
        let mut config = fresh.config.clone();
        config.statement_timeout = std::time::Duration::from_millis(400);
        let store = crate::store::Store::open(&config).await.unwrap();
        let endless = match store.dialect() {
            Dialect::Sqlite => "insert into stream_head (org_id, stream, seq) with recursive n(i) as (select 1 union all select i + 1 from n) select $1, 's' || i, 1 from n",
            Dialect::Postgres => "insert into stream_head (org_id, stream, seq) select $1, 's' || i, 1 from generate_series(1, 1000000000) i",
        };
        let slow = {
            let store = store.clone();
            tokio::spawn(async move {
                store.transact(move |tx| Box::pin(async move { tx.execute(endless, vec![uuid::Uuid::nil().into()]).await })).await
            })
        };
        let mut others = Vec::new();
        for i in 0..20i64 {
            let store = store.clone();
            others.push(tokio::spawn(async move {
                store
                    .transact(move |tx| {
                        Box::pin(async move {
                            tx.execute(
                                "insert into stream_head (org_id, stream, seq) values ($1, $2, $3)",
                                vec![uuid::Uuid::nil().into(), format!("other{i}").into(), i.into()],
                            )
                            .await
                        })
                    })
                    .await
            }));
        }
        assert!(matches!(slow.await.unwrap(), Err(StoreError::Timeout)));
        for other in others {
            assert_eq!(other.await.unwrap().unwrap(), 1);
        }
        let rows = store.select("select count(*) from stream_head", vec![]).await.unwrap();
        assert_eq!(rows[0].try_get_by_index::<i64>(0).unwrap(), 20);
        // Work that waits for something else than the database is stopped as well (Postgres: the caller's own affair).
        if store.dialect() == Dialect::Sqlite {
            let stuck = store.transact::<(), _>(|_| Box::pin(std::future::pending())).await;
            assert!(matches!(stuck, Err(StoreError::Timeout)));
        }
    })
    .await;
}
