//! The log: cursors, RESYNC, retention, hints.

use chrono::{Duration, Utc};

use super::*;

#[tokio::test]
async fn a_cursor_of_a_write_starts_right_behind_it_everywhere() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let identity = world.store.identity().await.expect("an identity");
        let written = world
            .one(Draft::Create(world.object("product", json!({"sku": "a"}))))
            .await
            .expect("is made");
        let cursor = identity
            .decode(world.actor.org, written.cursor.as_deref().expect("a cursor"))
            .expect("a cursor");
        let id = written.ids[0].0;
        let stream = Source::Stream(format!("k:product:{id}"));
        let other = world.create("product", json!({"sku": "b"})).await;
        world.update("product", id, json!({"stock": 1})).await.expect("writes");
        world.settled().await;
        let after =
            async |source: &Source, cursor: &Cursor| match world.store.events(world.actor.org, source, cursor, 10).await.expect("reads") {
                Events::Page { events, cursor, .. } => (
                    events.iter().map(|e| (e.op, e.object.expect("an object").0)).collect::<Vec<_>>(),
                    cursor,
                ),
                Events::Resync(why) => panic!("{why}"),
            };
        assert_eq!(after(&stream, &cursor).await.0, [(EventOp::Updated, id)]);
        let (events, next) = after(&Source::Klass("product".into()), &cursor).await;
        assert_eq!(events, [(EventOp::Created, other), (EventOp::Updated, id)]);
        assert!(after(&Source::Klass("product".into()), &next).await.0.is_empty());
        // Of another object's stream it knows the place by the feed.
        assert_eq!(
            after(&Source::Stream(format!("k:product:{other}")), &cursor).await.0,
            [(EventOp::Created, other)]
        );
        // And the head is behind all of it.
        let head = world.store.head(world.actor.org, &stream).await.expect("a head");
        assert!(after(&stream, &head).await.0.is_empty());
        assert!(after(&Source::Org, &head).await.0.is_empty());
        assert!(after(&Source::Klass("sheet".into()), &cursor).await.0.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_continued_says_so() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let id = world.create("sheet", json!({"text": "0"})).await;
        let source = Source::Stream(format!("k:sheet:{id}"));
        let first = world.store.head(world.actor.org, &source).await.expect("a head");
        for i in 1..5 {
            world.update("sheet", id, json!({"text": i.to_string()})).await.expect("writes");
        }
        world.settled().await;
        let events = async |source: &Source, cursor: &Cursor| world.store.events(world.actor.org, source, cursor, 10).await.expect("reads");
        let mut ahead = first;
        ahead.stream.as_mut().expect("a place").seq = 99;
        assert_eq!(events(&source, &ahead).await, Events::Resync(Resync::Ahead));
        let mut elsewhere = first;
        elsewhere.feed = None;
        assert_eq!(
            events(&Source::Stream("k:sheet:x".into()), &elsewhere).await,
            Events::Resync(Resync::Elsewhere)
        );
        assert_eq!(events(&Source::Org, &elsewhere).await, Events::Resync(Resync::Elsewhere));
        // Retention: what follows `first` goes, so it cannot be continued.
        assert_eq!(
            world.store.forget_events(Utc::now() - Duration::days(1), 2).await.expect("forgets"),
            0
        );
        assert_eq!(
            world.store.forget_events(Utc::now() + Duration::days(1), 2).await.expect("forgets"),
            5
        );
        assert_eq!(events(&source, &first).await, Events::Resync(Resync::Expired));
        assert_eq!(
            events(&Source::Org, &start(&world.store, &Source::Org).await).await,
            Events::Resync(Resync::Expired)
        );
        world.update("sheet", id, json!({"text": "9"})).await.expect("writes");
        world.settled().await;
        let head = world.store.head(world.actor.org, &source).await.expect("a head");
        assert_eq!(head.stream.map(|s| s.seq), Some(6), "numbers go on after what was forgotten");
        // Another log.
        world.store.renew_epoch().await.expect("renews");
        assert_eq!(events(&source, &head).await, Events::Resync(Resync::Epoch));
    })
    .await;
}

#[tokio::test]
async fn hints_follow_the_commit() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let mut hints = world.store.hints();
        let id = world.create("customer", json!({"name": "A"})).await;
        let hint = hints.recv().await.expect("a hint");
        assert_eq!(
            (hint.streams, hint.klasses),
            (vec![(format!("c:{id}"), 1)], vec!["customer".into()])
        );
        world.update("customer", id, json!({"name": "A"})).await.expect("writes");
        world
            .one(Draft::Create(world.object("product", json!({}))))
            .await
            .expect_err("refused");
        assert!(hints.try_recv().is_err(), "no hint of what was not written");
    })
    .await;
}

#[tokio::test]
async fn a_registry_of_yesterday_is_told_so_only_where_it_matters() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let org = world.actor.org.0;
        world
            .store
            .transact(move |tx| {
                Box::pin(async move {
                    let body = super::super::layout::bind_json(tx.dialect(), Some(json!({})));
                    tx.execute(
                        "insert into klass_definition (org_id, name, body, position, version) values ($1, $2, $3, 0, 2)",
                        vec![org.into(), "sheet".into(), body],
                    )
                    .await?;
                    tx.execute("update org set klass_version = 2 where id = $1", vec![org.into()]).await
                })
            })
            .await
            .expect("changes");
        world.create("product", json!({"sku": "a"})).await;
        let drafts = vec![Draft::Create(world.object("sheet", json!({"text": "a"})))];
        let result = world
            .store
            .write(&world.actor, &world.registry, drafts, WriteOptions::default())
            .await;
        assert!(matches!(result, Err(StoreError::Stale)), "{result:?}");
        assert_eq!(world.count("select count(*) from event").await, 1);
    })
    .await;
}
