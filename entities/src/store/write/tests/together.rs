//! Writes of many callers that go in one transaction: each is as if it had gone alone.

use futures_util::future::join_all;

use super::*;
use crate::klass::Role;
use crate::klass::actor::ActorKind;

/// An agent of the world's org.
fn agent(world: &World, n: u128) -> Actor {
    Actor {
        org: world.actor.org,
        kind: ActorKind::Token,
        id: Uuid::from_u128(n),
        name: format!("Agent {n}"),
        role: Role::Agent,
    }
}

/// All at once, each by an agent of its own.
async fn all_at_once(world: &World, drafts: Vec<Draft>) -> Vec<Result<Written, Faults>> {
    let writes = drafts.into_iter().enumerate().map(|(n, draft)| {
        let (world, actor) = (world.clone(), agent(world, n as u128));
        async move {
            let options = WriteOptions {
                atomic: true,
                ..WriteOptions::default()
            };
            let mut results = world
                .store
                .write(&actor, &world.registry, vec![draft], options)
                .await
                .expect("writes");
            results.remove(0)
        }
    });
    join_all(writes).await
}

/// A customer and a conversation with it.
async fn talk(world: &World) -> (Uuid, Uuid) {
    let customer = world.create("customer", json!({"name": "Ann"})).await;
    let conversation = json!({"customer": {"connect": customer}, "name": "c"});
    (customer, world.create("conversation", conversation).await)
}

fn message(world: &World, conversation: Uuid, body: &str) -> Draft {
    Draft::Create(world.object(
        "message",
        json!({"conversation": {"connect": conversation}, "direction": "in", "channel": "chat", "body": body}),
    ))
}

/// Every event behind a cursor.
async fn behind(world: &World, source: &Source, cursor: Cursor) -> Vec<Arc<Event>> {
    world.settled().await;
    match world.store.events(world.actor.org, source, &cursor, 1_000).await.expect("reads") {
        Events::Page { events, .. } => events,
        Events::Resync(why) => panic!("resync: {why}"),
    }
}

#[tokio::test]
async fn each_has_its_author_its_event_and_a_cursor_right_behind_it() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let (customer, conversation) = talk(&world).await;
        let drafts = (0..40).map(|n| message(&world, conversation, &n.to_string())).collect();
        let results = all_at_once(&world, drafts).await;
        let row = world.row("conversation", conversation).await.expect("a row");
        assert_eq!(row["message_count_in"], json!(40));
        if world.store.dialect() == Dialect::Postgres {
            let transactions = world.count("select count(distinct xid) from event where klass = 'message'").await;
            assert!(transactions < 20, "{transactions} transactions for 40 writes");
        }

        let stream = Source::Stream(format!("c:{customer}"));
        let klass = Source::Klass("message".into());
        let (in_stream, in_feed) = (world.events(&stream).await, world.events(&klass).await);
        let messages: Vec<_> = in_stream.iter().filter(|event| event.klass == "message").collect();
        assert_eq!((messages.len(), in_feed.len()), (40, 40), "an event each");
        let identity = world.store.identity().await.expect("an identity");
        for (n, result) in results.iter().enumerate() {
            let written = result.as_ref().expect("is written");
            let id = written.ids[0];
            let row = world.row("message", id.0).await.expect("a row");
            assert_eq!(row["body"], json!(n.to_string()));
            assert_eq!(row["created_by"], json!(agent(&world, n as u128).to_text()));
            let own = messages.iter().find(|event| event.object == Some(id)).expect("an event");
            assert_eq!(own.actor, agent(&world, n as u128).to_text());
            let cursor = identity
                .decode(world.actor.org, written.cursor.as_deref().expect("a cursor"))
                .expect("a cursor");
            // Everything behind it in the stream is news, and so is all that the feed holds behind it.
            let news = behind(&world, &stream, cursor).await;
            // (Who went alone has seen what followed from the write as well.)
            let first = in_stream.len() - news.len();
            let seen = &in_stream[own.seq as usize..first];
            assert!(
                seen.iter().all(|event| event.klass != "message"),
                "right behind the write: {seen:?}"
            );
            assert!(first >= own.seq as usize, "no echo of the write");
            let news = behind(&world, &klass, cursor).await;
            let place = |event: &Event| (event.feed.xid, event.feed.position);
            let mine = in_feed.iter().find(|event| event.object == Some(id)).expect("an event");
            assert!(news.iter().all(|event| event.object != Some(id)), "no echo of the write");
            for event in in_feed.iter().filter(|event| place(event) > place(mine)) {
                assert!(news.iter().any(|told| told.id == event.id), "what came behind it is told");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_faulty_one_harms_no_other_and_hears_what_it_would_hear_alone() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let (customer, conversation) = talk(&world).await;
        let gone = Uuid::from_u128(77);
        let order = |number: &str| Draft::Create(world.object("order", json!({"orderNumber": number, "customer": {"connect": customer}})));
        world.one(order("taken")).await.expect("is made");
        let mut drafts = Vec::new();
        for n in 0..10 {
            drafts.push(message(&world, conversation, "good"));
            drafts.push(message(&world, gone, "bad"));
            drafts.push(order("taken"));
            drafts.push(order(&format!("own {n}")));
            drafts.push(order("raced for"));
            drafts.push(Draft::Update {
                key: by_id(customer),
                version: Some(99),
                set: world.object("customer", json!({"name": "late"})),
            });
        }
        let results = all_at_once(&world, drafts).await;
        let mut won = 0;
        for six in results.chunks(6) {
            assert!(six[0].is_ok() && six[3].is_ok(), "{six:?}");
            assert_eq!(codes(&six[1])[0], (Code::NotFound, "input.conversation.connect".to_string()));
            assert_eq!(codes(&six[2]), [(Code::Duplicate, "input.orderNumber".to_string())]);
            match &six[4] {
                Ok(_) => won += 1,
                Err(faults) => assert!(!faults.to_string().contains("of the same request"), "{faults}"),
            }
            assert_eq!(codes(&six[5]), [(Code::Conflict, "version".to_string())]);
        }
        assert_eq!(won, 1, "one of those who raced for a value");
        let row = world.row("conversation", conversation).await.expect("a row");
        assert_eq!(row["message_count_in"], json!(10));
        assert_eq!(world.events(&Source::Klass("order".into())).await.len(), 12);
    })
    .await;
}

#[tokio::test]
async fn each_change_of_one_object_is_a_version_and_an_event() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let id = world.create("product", json!({"sku": "s"})).await;
        let drafts = (0..20).map(|n| world.update_draft("product", id, json!({"stock": n}))).collect();
        let results = all_at_once(&world, drafts).await;
        assert!(results.iter().all(Result::is_ok));
        let row = world.row("product", id).await.expect("a row");
        assert_eq!(row["version"], json!(21));
        assert_eq!(world.events(&Source::Stream(format!("k:product:{id}"))).await.len(), 21);
    })
    .await;
}

#[tokio::test]
async fn who_goes_away_holds_no_one_up() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let options = WriteOptions::default;
        let write = |n: usize| {
            let world = world.clone();
            async move {
                let draft = Draft::Create(world.object("product", json!({"sku": n.to_string()})));
                world.store.write(&world.actor, &world.registry, vec![draft], options()).await
            }
        };
        let mut all: Vec<_> = (0..60).map(|n| tokio::spawn(write(n))).collect();
        for gone in all.iter().skip(1).step_by(3) {
            gone.abort();
        }
        let mut left = 0;
        for one in all.drain(..) {
            match one.await {
                Ok(done) => {
                    assert!(done.expect("writes")[0].is_ok());
                    left += 1;
                }
                Err(error) => assert!(error.is_cancelled()),
            }
        }
        assert!(left >= 40, "{left}");
        // The lanes are free again.
        write(100).await.expect("writes").remove(0).expect("is made");
    })
    .await;
}
