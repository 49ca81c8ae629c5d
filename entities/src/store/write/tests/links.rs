//! Links of every sort, nested writes, and what a delete does.

use super::*;

async fn links(world: &World) -> i64 {
    let name = match world.store.dialect() {
        Dialect::Postgres => "org_acme.order_products",
        Dialect::Sqlite => "org_acme__order_products",
    };
    world.count(&format!("select count(*) from {name}")).await
}

#[tokio::test]
async fn nested_writes_at_any_depth_in_one_transaction() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let product = world.create("product", json!({"sku": "p0"})).await;
        let id = world
            .create(
                "order",
                json!({"orderNumber": "1",
                    "customer": {"create": {"name": "Ann", "company": {"create": {"name": "X"}},
                        "conversations": [{"create": {"name": "c", "messages": [{"create": {"channel": "email", "direction": "in", "body": "hi"}}]}}]}},
                    "products": [{"connect": product.to_string(), "link": {"quantity": 3}},
                        {"create": {"sku": "p1", "maker": {"create": {"name": "M"}}}},
                        {"upsert": {"key": {"sku": "p2"}, "create": {"stock": 1}, "update": {"stock": 2}}}],
                    "children": [{"create": {"orderNumber": "1.1", "children": [{"create": {"orderNumber": "1.1.1"}}]}}],
                    "subject": {"connect": product.to_string(), "klass": "product"}}),
            )
            .await;
        assert_eq!(links(&world).await, 3);
        let row = world.row("order", id).await.expect("a row");
        let customer: Uuid = row["customer_id"].as_str().expect("an id").parse().expect("an id");
        assert_eq!((&row["subject_klass"], &row["subject_id"]), (&json!("product"), &json!(product.to_string())));
        let person = world.row("customer", customer).await.expect("a row");
        assert_eq!((&person["conversation_count_all"], &person["conversation_count_open"]), (&json!(1), &json!(1)));
        assert!(person.get("last_message_in_at").is_some() && person.get("company_id").is_some());
        assert_eq!(world.count("select count(*) from message where customer_id is not null").await, 1);
        // All that is the customer's is one stream, contiguous.
        let events = world.events(&Source::Stream(format!("c:{customer}"))).await;
        let mut klasses: Vec<&str> = events.iter().map(|e| e.klass.as_str()).collect();
        klasses.sort_unstable();
        assert_eq!(klasses, ["conversation", "customer", "message", "order"]);
        // The product that was there hears that it was linked.
        let events = world.events(&Source::Stream(format!("k:product:{product}"))).await;
        assert_eq!(events.iter().map(|e| (e.op, e.changed.clone())).collect::<Vec<_>>(), [
            (EventOp::Created, vec![]),
            (EventOp::Linked, vec!["orders".into()])
        ]);
        assert_eq!(world.count("select count(*) from timeline_entry where kind = 'order'").await, 1);
    })
    .await;
}

#[tokio::test]
async fn link_rows_are_made_once_changed_and_removed() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let product = world.create("product", json!({"sku": "p"})).await.to_string();
        let id = world
            .create("order", json!({"orderNumber": "1", "products": [{"connect": product}]}))
            .await;
        let same = world
            .update("order", id, json!({"products": [{"connect": product}]}))
            .await
            .expect("writes");
        assert_eq!(same.outcome, Outcome::Unchanged);
        let more = world
            .update("order", id, json!({"products": [{"connect": product, "link": {"quantity": 5}}]}))
            .await
            .expect("writes");
        assert_eq!(more.outcome, Outcome::Updated);
        assert_eq!(links(&world).await, 1);
        // From the other end, by key.
        let gone = world
            .update(
                "product",
                product.parse().expect("an id"),
                json!({"orders": [{"disconnect": {"orderNumber": "1"}}]}),
            )
            .await
            .expect("writes");
        assert_eq!(gone.outcome, Outcome::Updated);
        assert_eq!(links(&world).await, 0);
        let again = world
            .update("order", id, json!({"products": [{"disconnect": product}]}))
            .await
            .expect("writes");
        assert_eq!(again.outcome, Outcome::Unchanged);
        let events = world.events(&Source::Stream(format!("k:order:{id}"))).await;
        assert_eq!(
            events.iter().map(|e| e.op).collect::<Vec<_>>(),
            [EventOp::Created, EventOp::Updated, EventOp::Unlinked]
        );
        assert_eq!(events[1].changed, ["products"]);
    })
    .await;
}

#[tokio::test]
async fn one_to_one_replaces_from_either_end() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let (a, b) = (
            world.create("product", json!({"sku": "a"})).await,
            world.create("product", json!({"sku": "b"})).await,
        );
        let (s, t) = (
            world.create("sheet", json!({"text": "s"})).await,
            world.create("sheet", json!({"text": "t"})).await,
        );
        let sheet = async |id| world.row("product", id).await.expect("a row").get("sheet_id").cloned();
        world
            .update("product", a, json!({"sheet": {"connect": s.to_string()}}))
            .await
            .expect("writes");
        world
            .update("product", b, json!({"sheet": {"connect": s.to_string()}}))
            .await
            .expect("writes");
        assert_eq!((sheet(a).await, sheet(b).await), (None, Some(json!(s.to_string()))));
        world
            .update("sheet", t, json!({"product": {"connect": b.to_string()}}))
            .await
            .expect("writes");
        assert_eq!(sheet(b).await, Some(json!(t.to_string())));
        world
            .update("sheet", t, json!({"product": {"connect": a.to_string()}}))
            .await
            .expect("writes");
        assert_eq!((sheet(a).await, sheet(b).await), (Some(json!(t.to_string())), None));
        world
            .update("sheet", t, json!({"product": {"disconnect": null}}))
            .await
            .expect("writes");
        assert_eq!(sheet(a).await, None);
    })
    .await;
}

#[tokio::test]
async fn restrict_unlink_and_cascade() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let company = world.create("company", json!({"name": "X"})).await;
        let customer = world
            .create("customer", json!({"name": "Ann", "company": {"connect": company.to_string()}}))
            .await;
        let order = world
            .create("order", json!({"orderNumber": "1", "customer": {"connect": customer.to_string()}}))
            .await;
        // restrict: by the order
        let result = world.delete("customer", customer).await;
        assert_eq!(codes(&result), [(Code::Restricted, "id".into())]);
        assert!(
            result
                .expect_err("refused")
                .to_string()
                .contains(&ObjectId(order).to_text(&world.klass("order").id_prefix))
        );
        // unlink: the customer stays, without company
        assert_eq!(world.delete("company", company).await.expect("deletes").outcome, Outcome::Deleted);
        assert_eq!(world.row("customer", customer).await.expect("a row").get("company_id"), None);
        // restrict counts only what lives
        world.delete("order", order).await.expect("deletes");
        // cascade: conversations and messages go too, and come back together
        let conversation = world
            .create("conversation", json!({"customer": {"connect": customer.to_string()}}))
            .await;
        let message = world
            .create(
                "message",
                json!({"channel": "sms", "direction": "in", "conversation": {"connect": conversation.to_string()}}),
            )
            .await;
        let gone = world
            .create(
                "message",
                json!({"channel": "sms", "direction": "in", "conversation": {"connect": conversation.to_string()}}),
            )
            .await;
        world.delete("message", gone).await.expect("deletes");
        world.delete("customer", customer).await.expect("deletes");
        let deleted = async |klass, id| world.row(klass, id).await.expect("a row").contains_key("deleted_at");
        assert!(deleted("conversation", conversation).await && deleted("message", message).await);
        assert_eq!(world.count("select count(*) from timeline_entry where kind = 'message'").await, 0);
        let events = world.events(&Source::Stream(format!("c:{customer}"))).await;
        let of = |id: Uuid| events.iter().rfind(|e| e.object == Some(ObjectId(id))).expect("an event").clone();
        let (of_customer, of_conversation, of_message) = (of(customer), of(conversation), of(message));
        assert_eq!((of_conversation.cause, of_conversation.depth), (Some(of_customer.id), 1));
        assert_eq!(
            (of_message.op, of_message.depth),
            (EventOp::Deleted, if of_message.cause == Some(of_customer.id) { 1 } else { 2 })
        );
        // alone it cannot come back
        assert_eq!(
            codes(&world.restore("message", message).await),
            vec![(Code::Conflict, "id".to_string()); 2],
            "its conversation, its customer"
        );
        assert_eq!(
            world.restore("customer", customer).await.expect("restores").outcome,
            Outcome::Restored
        );
        assert!(!deleted("conversation", conversation).await && !deleted("message", message).await && deleted("message", gone).await);
        assert_eq!(world.count("select count(*) from timeline_entry where kind = 'message'").await, 1);
        // destroy meets deleted ones too
        let result = world.destroy("customer", customer).await;
        assert_eq!(codes(&result), [(Code::Restricted, "id".into())], "by the deleted order");
        world.destroy("order", order).await.expect("destroys");
        assert_eq!(
            world.destroy("customer", customer).await.expect("destroys").outcome,
            Outcome::Destroyed
        );
        for table in ["customer", "conversation", "message", "contact_point", "timeline_entry"] {
            assert_eq!(world.count(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
        let last = world
            .events(&Source::Stream(format!("c:{customer}")))
            .await
            .pop()
            .expect("an event");
        assert_eq!((last.op, last.after.clone()), (EventOp::Destroyed, None));
        assert!(last.before.is_some());
    })
    .await;
}

#[tokio::test]
async fn rules_over_link_tables() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let product = world.create("product", json!({"sku": "p"})).await;
        let order = world
            .create(
                "order",
                json!({"orderNumber": "1", "products": [{"connect": product.to_string()}], "children": [{"create": {"orderNumber": "2"}}]}),
            )
            .await;
        assert_eq!(codes(&world.delete("product", product).await), [(Code::Restricted, "id".into())]);
        world.delete("order", order).await.expect("deletes");
        world.delete("product", product).await.expect("deletes");
        assert_eq!(
            world
                .count(&format!(
                    "select count(*) from {} where deleted_at is not null",
                    table(world.store.dialect(), &world.klass("order").table)
                ))
                .await,
            2
        );
        world.destroy("order", order).await.expect("destroys");
        assert_eq!(links(&world).await, 0);
        let user = world.create("user", json!({"name": "U"})).await;
        let customer = world.create("customer", json!({"watchers": [{"connect": user.to_string()}]})).await;
        world.delete("user", user).await.expect("deletes");
        assert_eq!(world.count("select count(*) from customer_watchers").await, 0);
        let events = world.events(&Source::Stream(format!("c:{customer}"))).await;
        assert_eq!(
            events.last().map(|e| (e.op, e.changed.clone())),
            Some((EventOp::Unlinked, vec!["watchers".into()]))
        );
    })
    .await;
}

#[tokio::test]
async fn a_required_link_cannot_be_cut() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let conversation = world.create("conversation", json!({"name": "c"})).await;
        let said = json!({"channel": "sms", "direction": "in", "conversation": {"connect": conversation.to_string()}});
        let message = world.create("message", said).await;
        let result = world
            .update("message", message, json!({"conversation": {"disconnect": null}}))
            .await;
        assert_eq!(codes(&result), [(Code::Required, "input.conversation".into())]);
        let result = world
            .update(
                "conversation",
                conversation,
                json!({"messages": [{"disconnect": message.to_string()}]}),
            )
            .await;
        assert_eq!(codes(&result), [(Code::Restricted, "input.messages".into())]);
    })
    .await;
}

#[tokio::test]
async fn a_conversation_may_get_its_customer_later() {
    each(async |fresh: Fresh| {
        let world = World::new(&fresh.store, "acme").await;
        let said = |body: &str| json!({"create": {"channel": "sms", "direction": "in", "body": body}});
        let conversation = world
            .create(
                "conversation",
                json!({"messages": [said("a"), said("b")], "notes": [{"create": {"body": "n"}}]}),
            )
            .await;
        assert_eq!(world.count("select count(*) from timeline_entry").await, 0);
        assert_eq!(
            world.row("conversation", conversation).await.expect("a row")["message_count_in"],
            json!(2)
        );
        let (ann, ben) = (
            world.create("customer", json!({"name": "Ann"})).await,
            world.create("customer", json!({"name": "Ben"})).await,
        );
        let own = async |id| world.row("customer", id).await.expect("a row")["conversation_count_open"].clone();
        let entries = async |id: Uuid| {
            let rows = world
                .store
                .rows(
                    "select kind from timeline_entry where customer_id = $1 order by kind",
                    vec![id.into()],
                )
                .await
                .expect("reads");
            rows.iter()
                .map(|row| row.try_get_by_index::<String>(0).expect("a kind"))
                .collect::<Vec<_>>()
        };
        let all = ["conversation.created", "message", "message", "note"];
        world
            .update("conversation", conversation, json!({"customer": {"connect": ann.to_string()}}))
            .await
            .expect("writes");
        assert_eq!((entries(ann).await, own(ann).await), (all.map(String::from).to_vec(), json!(1)));
        world
            .update("conversation", conversation, json!({"customer": {"connect": ben.to_string()}}))
            .await
            .expect("writes");
        assert_eq!((entries(ann).await, own(ann).await), (vec![], json!(0)));
        assert_eq!((entries(ben).await, own(ben).await), (all.map(String::from).to_vec(), json!(1)));
        assert!(!world.row("customer", ann).await.expect("a row").contains_key("last_activity_at"));
        // Whoever follows the first customer hears that it left.
        let last = world.events(&Source::Stream(format!("c:{ann}"))).await;
        assert!(
            last.iter()
                .any(|e| e.klass == "conversation" && e.after.as_ref().is_some_and(|row| row["customer_id"] == json!(ben.to_string())))
        );
        world
            .update("conversation", conversation, json!({"customer": {"disconnect": null}}))
            .await
            .expect("writes");
        assert_eq!((entries(ben).await, own(ben).await), (vec![], json!(0)));
        // Assigned from the other end, it is told on the timeline too.
        world
            .update("conversation", conversation, json!({"customer": {"connect": ann.to_string()}}))
            .await
            .expect("writes");
        let user = world.create("user", json!({"name": "U"})).await;
        world
            .update(
                "user",
                user,
                json!({"assignedConversations": [{"connect": conversation.to_string()}]}),
            )
            .await
            .expect("writes");
        assert!(entries(ann).await.contains(&"conversation.assignment".to_string()));
    })
    .await;
}
