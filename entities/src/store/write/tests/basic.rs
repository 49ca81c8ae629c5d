//! Create, update, upsert, bulk, faults, idempotency.

use super::*;
use crate::store::Idempotency;

#[tokio::test]
async fn a_created_object_reads_back_with_every_kind() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let id = world
            .create(
                "order",
                json!({"orderNumber": "A-1", "externalId": "x1", "total": {"amount": "12.3456", "currency": "EUR"}, "weight": "0.000001",
                    "paid": true, "day": "2026-02-28", "placedAt": "2026-11-24T13:05:04.123456Z", "words": ["ä", "b"], "extra": {"a": [1, null]},
                    "tags": ["x"]}),
            )
            .await;
        let row = world.row("order", id).await.expect("a row");
        assert_eq!(row["order_number"], json!("A-1"));
        assert_eq!(row["total"], json!({"amount": "12.3456", "currency": "EUR"}));
        assert_eq!(row["weight"], json!("0.000001"));
        assert_eq!(row["paid"], json!(true));
        assert_eq!(row["day"], json!("2026-02-28"));
        assert_eq!(row["placed_at"], json!("2026-11-24T13:05:04.123456Z"));
        assert_eq!(row["words"], json!(["ä", "b"]));
        assert_eq!(row["extra"], json!({"a": [1, null]}));
        assert_eq!(row["version"], json!(1));
        assert_eq!(row["tags"], json!(["x"]));
        let events = world.events(&Source::Klass("order".into())).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].op, EventOp::Created);
        assert_eq!(events[0].stream, format!("k:order:{id}"));
        assert_eq!(events[0].after.as_ref(), Some(&row), "the event's image is the row");
    })
    .await;
}

#[tokio::test]
async fn absent_stays_null_clears_and_nothing_writes_nothing() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let id = world
            .create("customer", json!({"name": "Ann", "firstName": "A", "loyaltyTier": "gold"}))
            .await;
        let done = world
            .update("customer", id, json!({"firstName": null, "loyaltyTier": "silver"}))
            .await
            .expect("writes");
        assert_eq!(done.outcome, Outcome::Updated);
        let row = world.row("customer", id).await.expect("a row");
        assert_eq!(
            (row.get("name"), row.get("first_name"), row.get("loyalty_tier")),
            (Some(&json!("Ann")), None, Some(&json!("silver")))
        );
        assert_eq!(row["version"], json!(2));
        let again = world
            .update("customer", id, json!({"name": "Ann", "loyaltyTier": "silver"}))
            .await
            .expect("writes");
        assert_eq!((again.outcome, again.cursor), (Outcome::Unchanged, None));
        assert_eq!(world.row("customer", id).await, Some(row.clone()));
        let events = world.events(&Source::Stream(format!("c:{id}"))).await;
        assert_eq!(
            events.iter().map(|e| (e.seq, e.op)).collect::<Vec<_>>(),
            [(1, EventOp::Created), (2, EventOp::Updated)]
        );
        assert_eq!(events[1].changed, ["firstName", "loyaltyTier"]);
        assert_eq!(events[1].after.as_ref(), Some(&row));
        assert_eq!(events[1].before, events[0].after, "the image before is whole");
    })
    .await;
}

#[tokio::test]
async fn all_faults_at_once_and_nothing_is_left() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let mut object = world.object("order", json!({"placedAt": null}));
        let klass = world.klass("order");
        object
            .values
            .push((klass.property("version").expect("a property").clone(), Value::Integer(4)));
        object.links.push((
            klass.end("customer").expect("an end").clone(),
            vec![world.change(klass.end("customer").expect("an end"), &json!({"connect": Uuid::nil().to_string()}))],
        ));
        let result = world.one(Draft::Create(object)).await;
        assert_eq!(
            codes(&result),
            [
                (Code::BadInput, "input.version".into()),
                (Code::NotFound, "input.customer.connect".into()),
                (Code::Required, "input.orderNumber".into()),
            ]
        );
        let nul = world.object("product", json!({"sku": "a"}));
        let mut nul = nul;
        nul.values[0].1 = Value::String("a\0b".into());
        assert_eq!(codes(&world.one(Draft::Create(nul)).await), [(Code::BadInput, "input.sku".into())]);
        assert_eq!(world.count("select count(*) from event").await, 0);
        assert_eq!(world.count("select count(*) from stream_head").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_stale_version_is_refused_with_the_present_one() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let id = world.create("product", json!({"sku": "a"})).await;
        world.update("product", id, json!({"stock": 1})).await.expect("writes");
        let stale = |version| Draft::Update {
            key: by_id(id),
            version: Some(version),
            set: world.object("product", json!({"stock": 2})),
        };
        let result = world.one(stale(1)).await;
        assert_eq!(codes(&result), [(Code::Conflict, "version".into())]);
        assert!(result.expect_err("refused").to_string().contains("has version 2, not 1"));
        assert_eq!(world.one(stale(2)).await.expect("writes").outcome, Outcome::Updated);
    })
    .await;
}

#[tokio::test]
async fn a_taken_value_names_its_holder_deleted_or_not() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let id = world.create("product", json!({"sku": "a", "externalId": "1"})).await;
        let holder = world.klass("product").id_prefix.clone();
        let holder = ObjectId(id).to_text(&holder);
        let result = world
            .one(Draft::Create(world.object("product", json!({"sku": "a", "externalId": "1"}))))
            .await;
        let mut found = codes(&result);
        found.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(
            found,
            [(Code::Duplicate, "input.externalId".into()), (Code::Duplicate, "input.sku".into())]
        );
        assert!(result.expect_err("refused").to_string().contains(&holder));
        world.delete("product", id).await.expect("deletes");
        let result = world.one(Draft::Create(world.object("product", json!({"sku": "a"})))).await;
        let text = result.expect_err("refused").to_string();
        assert!(
            text.contains(&holder) && text.contains("deleted") && text.contains("restore or destroy"),
            "{text}"
        );
        world.destroy("product", id).await.expect("destroys");
        world.create("product", json!({"sku": "a"})).await;
        // In the extension table too.
        world.create("customer", json!({"cardNumber": "7"})).await;
        let result = world.one(Draft::Create(world.object("customer", json!({"cardNumber": "7"})))).await;
        assert_eq!(codes(&result), [(Code::Duplicate, "input.cardNumber".into())]);
        // E-mail addresses are the same whatever their case.
        let user = world.create("user", json!({"name": "U", "email": "Ann@X.com"})).await;
        let result = world
            .one(Draft::Create(world.object("user", json!({"name": "V", "email": "ann@x.COM"}))))
            .await;
        assert_eq!(codes(&result), [(Code::Duplicate, "input.email".into())]);
        let found = world.upsert_draft("user", "email", json!("ANN@x.com"), json!({"name": "W"}), json!({"name": "W"}));
        assert_eq!(world.one(found).await.expect("writes").ids[0].0, user);
        // And within one request.
        let two = vec![
            Draft::Create(world.object("product", json!({"sku": "z"}))),
            Draft::Create(world.object("product", json!({"sku": "z"}))),
        ];
        let results = world.write(two).await;
        assert_eq!(codes(&results[0])[0].0, Code::Conflict);
        assert_eq!(codes(&results[1]), [(Code::Duplicate, "input.sku".into())]);
    })
    .await;
}

#[tokio::test]
async fn contact_points_identify_one_customer() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let ann = world
            .create("customer", json!({"email": "Ann@X.com", "emails": [{"email": "ann@x.com"}, {"email": "a2@x.com"}], "externalIds": [{"externalId": "E1"}]}))
            .await;
        assert_eq!(world.count("select count(*) from contact_point").await, 3);
        let result = world.one(Draft::Create(world.object("customer", json!({"emails": [{"email": "A2@x.com"}]})))).await;
        assert_eq!(codes(&result), [(Code::Duplicate, "input.email".into())]);
        assert!(result.expect_err("refused").to_string().contains(&ObjectId(ann).to_text("customer")));
        // Shared ones do not identify.
        world.create("customer", json!({"sharedEmails": [{"email": "a2@x.com"}]})).await;
        world.update("customer", ann, json!({"emails": []})).await.expect("writes");
        let ben = world.create("customer", json!({"email": "a2@x.com"})).await;
        assert_eq!(world.count("select count(*) from contact_point").await, 3);
        // Found by contact point, whatever the case.
        let draft = |email: &str| Draft::Upsert {
            key: Key::Contact(crate::klass::filter::ContactKind::Email, Operand::Const(Value::String(email.into()))),
            create: world.object("customer", json!({"name": "new"})),
            update: world.object("customer", json!({"name": "Ben"})),
        };
        let done = world.one(draft("A2@X.COM")).await.expect("writes");
        assert_eq!((done.outcome, done.ids[0].0), (Outcome::Updated, ben));
        let done = world.one(draft("c@x.com")).await.expect("writes");
        assert_eq!(done.outcome, Outcome::Created);
        let row = world.row("customer", done.ids[0].0).await.expect("a row");
        assert_eq!((&row["email"], &row["name"]), (&json!("c@x.com"), &json!("new")));
    })
    .await;
}

#[tokio::test]
async fn upsert_creates_updates_and_says_unchanged() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let draft = || world.upsert_draft("product", "sku", json!("a"), json!({"stock": 1}), json!({"stock": 2}));
        let first = world.one(draft()).await.expect("writes");
        assert_eq!(first.outcome, Outcome::Created);
        let second = world.one(draft()).await.expect("writes");
        assert_eq!((second.outcome, &second.ids), (Outcome::Updated, &first.ids));
        let third = world.one(draft()).await.expect("writes");
        assert_eq!((third.outcome, third.cursor), (Outcome::Unchanged, None));
        // Twice in one request: the second finds what the first made.
        let draft = || world.upsert_draft("product", "sku", json!("b"), json!({"stock": 1}), json!({"stock": 2}));
        let results = world.write(vec![draft(), draft()]).await;
        let ids: Vec<_> = results.iter().map(|r| r.as_ref().expect("writes").ids[0]).collect();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(world.row("product", ids[0].0).await.expect("a row")["stock"], json!(2));
        world.delete("product", first.ids[0].0).await.expect("deletes");
        let draft = world.upsert_draft("product", "sku", json!("a"), json!({"stock": 1}), json!({"stock": 2}));
        assert_eq!(codes(&world.one(draft).await), [(Code::Conflict, "sku".into())]);
    })
    .await;
}

#[tokio::test]
async fn a_list_gives_each_item_its_own_result_or_all_one_fate() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        world.create("product", json!({"sku": "s3"})).await;
        let drafts = || {
            (0..50)
                .map(|i| {
                    let json = if i == 7 {
                        json!({"stock": 7})
                    } else {
                        json!({"sku": format!("s{i}"), "stock": i})
                    };
                    Draft::Create(world.object("product", json))
                })
                .collect::<Vec<_>>()
        };
        let results = world.write(drafts()).await;
        assert_eq!(results.len(), 50);
        assert!(results.iter().all(Result::is_err));
        assert_eq!(world.count("select count(*) from event").await, 1);
        let results = world
            .store
            .write(&world.actor, &world.registry, drafts(), WriteOptions::default())
            .await
            .expect("writes");
        let failed: Vec<usize> = (0..50).filter(|&i| results[i].is_err()).collect();
        assert_eq!(failed, [3, 7]);
        assert_eq!(codes(&results[3]), [(Code::Duplicate, "input.sku".into())]);
        assert_eq!(codes(&results[7]), [(Code::Required, "input.sku".into())]);
        assert_eq!(world.count("select count(*) from event").await, 49);
        let row = world
            .row("product", results[49].as_ref().expect("made").ids[0].0)
            .await
            .expect("a row");
        assert_eq!(row["stock"], json!(49));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_key_answers_the_first_result() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let options = |hash: u8| WriteOptions {
            idempotency: Some(Idempotency {
                key: "k".into(),
                input_hash: vec![hash],
            }),
            atomic: true,
            ..WriteOptions::default()
        };
        let draft = || vec![Draft::Create(world.object("sheet", json!({"text": "a"})))];
        let first = world
            .store
            .write(&world.actor, &world.registry, draft(), options(1))
            .await
            .expect("writes");
        let second = world
            .store
            .write(&world.actor, &world.registry, draft(), options(1))
            .await
            .expect("writes");
        assert_eq!(first, second);
        let other = world
            .store
            .write(&world.actor, &world.registry, draft(), options(2))
            .await
            .expect("writes");
        assert_eq!(codes(&other[0]), [(Code::IdempotencyMismatch, "idempotencyKey".into())]);
        // Another actor's key is another key.
        let mut actor = world.actor.clone();
        actor.id = Uuid::from_u128(9);
        world
            .store
            .write(&actor, &world.registry, draft(), options(2))
            .await
            .expect("writes")
            .remove(0)
            .expect("is made");
        // What was refused may be tried again with the key.
        let mut bad = options(3);
        bad.idempotency.as_mut().expect("a key").key = "other".into();
        let none = vec![Draft::Create(world.object("product", json!({})))];
        world
            .store
            .write(&world.actor, &world.registry, none, bad.clone())
            .await
            .expect("writes")
            .remove(0)
            .expect_err("refused");
        let some = vec![Draft::Create(world.object("product", json!({"sku": "a"})))];
        world
            .store
            .write(&world.actor, &world.registry, some, bad)
            .await
            .expect("writes")
            .remove(0)
            .expect("is made");
        assert_eq!(world.store.forget_idempotency().await.expect("forgets"), 0);
    })
    .await;
}

#[tokio::test]
async fn two_orgs_never_meet() {
    each(async |fresh: Fresh| {
        let (a, b) = (World::new(&fresh.store, "a").await, World::new(&fresh.store, "b").await);
        let make = json!({"externalId": "1", "email": "x@x.com", "name": "one"});
        let (ca, cb) = (a.create("customer", make.clone()).await, b.create("customer", make).await);
        let row = b.row("customer", cb).await;
        assert_eq!(
            codes(&a.update("customer", cb, json!({"name": "hacked"})).await),
            [(Code::NotFound, "id".into())]
        );
        assert_eq!(codes(&a.delete("customer", cb).await), [(Code::NotFound, "id".into())]);
        assert_eq!(codes(&a.destroy("customer", cb).await), [(Code::NotFound, "id".into())]);
        let result = a
            .one(Draft::Create(
                a.object("conversation", json!({"customer": {"connect": cb.to_string()}})),
            ))
            .await;
        assert_eq!(codes(&result), [(Code::NotFound, "input.customer.connect".into())]);
        assert_eq!(b.row("customer", cb).await, row);
        assert_eq!(a.events(&Source::Org).await.len(), 1);
        assert!(a.events(&Source::Stream(format!("c:{cb}"))).await.is_empty());
        let _ = ca;
    })
    .await;
}

#[tokio::test]
async fn changes_by_filter_keep_to_at_most() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        for i in 0..6 {
            world.create("product", json!({"sku": format!("s{i}"), "stock": i})).await;
        }
        let klass = world.klass("product");
        let filter = crate::klass::Filter::Compare {
            target: crate::klass::filter::Target::Property(klass.property("stock").expect("a property").clone()),
            op: crate::klass::filter::Op::Gte,
            operand: Operand::Const(Value::Integer(2)),
        };
        let update = |at_most| Draft::UpdateAll {
            klass: klass.clone(),
            filter: filter.clone(),
            set: world.object("product", json!({"stock": 9})),
            at_most,
        };
        assert_eq!(codes(&world.one(update(3)).await), [(Code::TooMany, "atMost".into())]);
        let written = world.one(update(4)).await.expect("writes");
        assert_eq!((written.ids.len(), written.outcome), (4, Outcome::Updated));
        assert_eq!(world.one(update(4)).await.expect("writes").outcome, Outcome::Unchanged);
        let delete = Draft::DeleteAll {
            klass: klass.clone(),
            filter: filter.clone(),
            at_most: 4,
        };
        assert_eq!(world.one(delete.clone()).await.expect("writes").outcome, Outcome::Deleted);
        assert_eq!(world.one(delete).await.expect("writes").ids, []);
        let table = table(world.store.dialect(), &klass.table);
        assert_eq!(
            world.count(&format!("select count(*) from {table} where deleted_at is null")).await,
            2
        );
    })
    .await;
}

/// Not a test but a measurement: `cargo test … rates -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn rates() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let mut customers = Vec::new();
        let began = std::time::Instant::now();
        for part in 0..5 {
            let drafts = (0..1000).map(|i| Draft::Create(world.object("customer", json!({"externalId": format!("c{part}.{i}"), "name": "Ann", "email": format!("a{part}.{i}@x.com")})))).collect();
            let results = world.store.write(&world.actor, &world.registry, drafts, WriteOptions::default()).await.expect("writes");
            customers.extend(results.into_iter().map(|r| r.expect("is made").ids[0].0));
        }
        println!("{:?}: {:.0} customers/s", world.store.dialect(), 5000.0 / began.elapsed().as_secs_f64());
        let began = std::time::Instant::now();
        for part in 0..5 {
            let drafts: Vec<Draft> = (0..1000)
                .map(|i| {
                    let customer = format!("c{part}.{i}");
                    let json = json!({"total": {"amount": "12.50", "currency": "EUR"}, "placedAt": "2026-11-24T13:05:04Z", "customer": {"connect": {"externalId": customer}}});
                    world.upsert_draft("order", "orderNumber", json!(format!("o{part}.{i}")), json.clone(), json)
                })
                .collect();
            let results = world.store.write(&world.actor, &world.registry, drafts, WriteOptions::default()).await.expect("writes");
            assert!(results.iter().all(Result::is_ok));
        }
        println!("{:?}: {:.0} orders/s (upsert, with customer)", world.store.dialect(), 5000.0 / began.elapsed().as_secs_f64());
        let conversation = world.create("conversation", json!({"customer": {"connect": customers[0].to_string()}})).await;
        let began = std::time::Instant::now();
        for i in 0..500 {
            world.create("message", json!({"channel": "chat", "direction": "in", "body": format!("{i}"), "conversation": {"connect": conversation.to_string()}})).await;
        }
        println!("{:?}: {:.2} ms a message, one after another", world.store.dialect(), began.elapsed().as_secs_f64() * 2.0);
    })
    .await;
}
