//! Many at once: streams stay contiguous, upserts and idempotency keys have one winner, deletes and links exclude each other.

use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::store::Idempotency;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_of_one_stream_leave_no_hole_and_a_reader_loses_nothing() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let customer = world.create("customer", json!({"name": "Ann"})).await;
        let conversation = world.create("conversation", json!({"customer": {"connect": customer.to_string()}})).await;
        let source = Source::Stream(format!("c:{customer}"));
        let reader = {
            let (world, source) = (world.clone(), source.clone());
            tokio::spawn(async move {
                let mut cursor = start(&world.store, &source).await;
                let mut messages = BTreeSet::new();
                let mut next = 1;
                while messages.len() < 80 {
                    match world.store.events(world.actor.org, &source, &cursor, 100).await.expect("reads") {
                        Events::Page { events, cursor: after, .. } => {
                            for event in &events {
                                assert_eq!(event.seq, next);
                                next += 1;
                                if event.klass == "message" {
                                    messages.insert(event.object);
                                }
                            }
                            cursor = after;
                        }
                        Events::Resync(why) => panic!("{why}"),
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                }
                messages
            })
        };
        let mut writers = Vec::new();
        for w in 0..8 {
            let world = world.clone();
            writers.push(tokio::spawn(async move {
                let mut made = Vec::new();
                for i in 0..10 {
                    let json = json!({"channel": "chat", "direction": "in", "body": format!("{w}.{i}"), "conversation": {"connect": conversation.to_string()}});
                    made.push(world.create("message", json).await);
                }
                made
            }));
        }
        let mut made = BTreeSet::new();
        for writer in writers {
            made.extend(writer.await.expect("ends").into_iter().map(|id| Some(ObjectId(id))));
        }
        assert_eq!(reader.await.expect("ends"), made);
        assert_eq!(world.row("conversation", conversation).await.expect("a row")["message_count_in"], json!(80));
        let seqs: Vec<i64> = world.events(&source).await.iter().map(|e| e.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
        // The feed has them too, each stream in its order.
        let mut last: HashMap<String, i64> = HashMap::new();
        let feed = world.events(&Source::Org).await;
        assert_eq!(feed.len(), seqs.len());
        for event in feed {
            let seen = last.insert(event.stream.clone(), event.seq).unwrap_or(0);
            assert_eq!(event.seq, seen + 1, "{}", event.stream);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_upsert_wins_and_the_others_find_its_object() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        for round in 0..5 {
            let mut tasks = Vec::new();
            for i in 0..8 {
                let world = world.clone();
                tasks.push(tokio::spawn(async move {
                    world
                        .one(world.upsert_draft(
                            "product",
                            "sku",
                            json!(format!("r{round}")),
                            json!({"stock": i}),
                            json!({"stock": i}),
                        ))
                        .await
                }));
            }
            let mut ids = BTreeSet::new();
            let mut created = 0;
            for task in tasks {
                let written = task.await.expect("ends").expect("is written");
                ids.insert(written.ids[0]);
                created += usize::from(written.outcome == Outcome::Created);
            }
            assert_eq!((ids.len(), created), (1, 1));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_create_wins_a_unique_value() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let mut tasks = Vec::new();
        for _ in 0..8 {
            let world = world.clone();
            tasks.push(tokio::spawn(async move {
                world
                    .one(Draft::Create(
                        world.object("customer", json!({"email": "a@b.co", "externalId": "7"})),
                    ))
                    .await
            }));
        }
        let mut won = 0;
        for task in tasks {
            match task.await.expect("ends") {
                Ok(_) => won += 1,
                result @ Err(_) => assert!(codes(&result).iter().all(|(code, _)| *code == Code::Duplicate)),
            }
        }
        assert_eq!(won, 1);
        assert_eq!(world.count("select count(*) from event").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_of_a_key_does_the_work() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let mut tasks = Vec::new();
        for _ in 0..8 {
            let world = world.clone();
            tasks.push(tokio::spawn(async move {
                let options = WriteOptions {
                    idempotency: Some(Idempotency {
                        key: "k".into(),
                        input_hash: vec![1],
                    }),
                    ..WriteOptions::default()
                };
                let drafts = vec![Draft::Create(world.object("sheet", json!({"text": "a"})))];
                world
                    .store
                    .write(&world.actor, &world.registry, drafts, options)
                    .await
                    .expect("writes")
            }));
        }
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.expect("ends"));
        }
        assert!(answers.windows(2).all(|w| w[0] == w[1]));
        assert_eq!(world.count("select count(*) from event").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_one_ends_up_linked_to_a_deleted_object() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        for round in 0..10 {
            let customer = world.create("customer", json!({"name": "A"})).await;
            let linking = {
                let world = world.clone();
                tokio::spawn(async move {
                    let json = json!({"orderNumber": format!("n{round}"), "customer": {"connect": customer.to_string()}});
                    world.one(Draft::Create(world.object("order", json))).await
                })
            };
            let deleting = {
                let world = world.clone();
                tokio::spawn(async move { world.delete("customer", customer).await })
            };
            let (linked, deleted) = (linking.await.expect("ends"), deleting.await.expect("ends"));
            // The order restricts the delete, or the delete refuses the order.
            assert!(linked.is_ok() != deleted.is_ok(), "round {round}: {linked:?} {deleted:?}");
        }
    })
    .await;
}
