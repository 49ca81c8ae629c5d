//! What a subscriber is told, and that nothing is left out.

use serde_json::{Value as Json, json};

use super::{World, each};

const ORDERS: &str = "subscription($id: ID, $filter: OrderFilter, $after: Cursor) {
    orderChanged(id: $id, filter: $filter, after: $after) { change id cursor reason order { number status customer { name } } } }";
const UPDATE: &str = "mutation($id: ID!, $set: UpdateOrderInput!) { updateOrder(id: $id, set: $set) { cursor errors { code message } } }";

async fn set(world: &World, id: &str, set: Json) -> String {
    let done = world.write(UPDATE, json!({"id": id, "set": set})).await;
    assert_eq!(done["errors"], json!([]));
    done["cursor"].as_str().unwrap_or_default().to_owned()
}

fn told(message: &Json) -> (&str, Option<&str>) {
    (message["change"].as_str().unwrap_or_default(), message["order"]["number"].as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn membership_of_a_klass_feed() {
    each(async |world| {
        world.shop().await;
        let ann = world.customer("Ann").await;
        let mut all = world.listen(ORDERS, json!({})).await;
        let mut pending = world.listen(ORDERS, json!({"filter": {"status": {"eq": "PENDING"}}})).await;
        // A filter that an order's image alone does not decide.
        let mut anns = world.listen(ORDERS, json!({"filter": {"customer": {"name": {"eq": "Ann"}}}})).await;
        for messages in [&mut all, &mut pending, &mut anns] {
            assert_eq!(messages.next().await["change"], "CAUGHT_UP");
        }
        let id = world.order(json!({"number": "A-1", "status": "PENDING"})).await;
        let message = all.change().await;
        assert_eq!((told(&message), &message["id"]), (("ADDED", Some("A-1")), &json!(id)));
        assert_eq!(told(&pending.change().await), ("ADDED", Some("A-1")));
        anns.quiet().await;

        set(&world, &id, json!({"status": "IN_PROGRESS", "customer": {"connect": {"id": ann}}})).await;
        let message = all.change().await;
        assert_eq!(
            (told(&message), &message["order"]["customer"]["name"]),
            (("UPDATED", Some("A-1")), &json!("Ann"))
        );
        let message = pending.change().await;
        assert_eq!((told(&message), &message["id"]), (("REMOVED", None), &json!(id)));
        let message = anns.change().await;
        assert!(["ADDED", "UPDATED"].contains(&told(&message).0), "{message}");

        world
            .write("mutation($id: ID!) { deleteOrder(id: $id) { errors { code } } }", json!({"id": id}))
            .await;
        assert_eq!(told(&all.change().await), ("REMOVED", None));
        assert_eq!(told(&anns.change().await), ("REMOVED", None));
        pending.quiet().await;
        world
            .write(
                "mutation($id: ID!) { restoreOrder(id: $id) { errors { code } } }",
                json!({"id": id}),
            )
            .await;
        assert_eq!(told(&all.change().await), ("ADDED", Some("A-1")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_object_is_followed_to_another_customer() {
    each(async |world| {
        world.shop().await;
        let (ann, bob) = (world.customer("Ann").await, world.customer("Bob").await);
        let id = world.order(json!({"number": "A-1", "customer": {"connect": {"id": ann}}})).await;
        let other = world.order(json!({"number": "A-2", "customer": {"connect": {"id": ann}}})).await;
        let mut one = world.listen(ORDERS, json!({"id": id})).await;
        let begun = one.next().await;
        assert_eq!(begun["change"], "CAUGHT_UP");
        set(&world, &other, json!({"status": "PENDING"})).await;
        set(&world, &id, json!({"customer": {"connect": {"id": bob}}})).await;
        let message = one.change().await;
        assert_eq!(
            (told(&message), &message["order"]["customer"]["name"]),
            (("UPDATED", Some("A-1")), &json!("Bob"))
        );
        set(&world, &id, json!({"status": "PENDING"})).await;
        let message = one.change().await;
        assert_eq!(
            (told(&message), &message["order"]["status"]),
            (("UPDATED", Some("A-1")), &json!("PENDING"))
        );
        // And by one who was away when it moved.
        drop(one);
        let mut again = world.listen(ORDERS, json!({"id": id, "after": begun["cursor"]})).await;
        let mut last = json!(null);
        loop {
            let message = again.next().await;
            if message["change"] == "CAUGHT_UP" {
                break;
            }
            assert_eq!(told(&message), ("UPDATED", Some("A-1")));
            last = message["order"].clone();
        }
        assert_eq!((&last["status"], &last["customer"]["name"]), (&json!("PENDING"), &json!("Bob")));
        set(&world, &id, json!({"number": "A-3"})).await;
        assert_eq!(told(&again.change().await), ("UPDATED", Some("A-3")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_a_subscriber_comes_and_goes() {
    each(async |world| {
        world.shop().await;
        let mut messages = world.listen(ORDERS, json!({})).await;
        let mut cursor = messages.next().await["cursor"].as_str().expect("a cursor").to_owned();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let world = world.clone();
                tokio::spawn(async move {
                    for n in 0..15 {
                        world.order(json!({"number": format!("W-{writer}-{n}")})).await;
                    }
                })
            })
            .collect();
        let mut seen: Vec<String> = Vec::new();
        let mut since = 0;
        while seen.len() < 60 {
            let message = messages.next().await;
            if let Some(next) = message["cursor"].as_str() {
                cursor = next.to_owned();
            }
            if message["change"] == "ADDED" {
                let number = message["order"]["number"].as_str().expect("a number").to_owned();
                // At least once: what came before the cut may come again, in its place.
                if !seen.contains(&number) {
                    seen.push(number);
                }
                since += 1;
            }
            if since >= 7 {
                since = 0;
                drop(messages);
                messages = world.listen(ORDERS, json!({"after": cursor})).await;
            }
        }
        for writer in writers {
            writer.await.expect("writes");
        }
        for writer in 0..4 {
            let mine: Vec<_> = seen.iter().filter(|it| it.starts_with(&format!("W-{writer}-"))).cloned().collect();
            assert_eq!(mine, (0..15).map(|n| format!("W-{writer}-{n}")).collect::<Vec<_>>());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutations_cursor_starts_right_behind_it() {
    each(async |world| {
        world.shop().await;
        let id = world.order(json!({"number": "A-1"})).await;
        let cursor = set(&world, &id, json!({"status": "PENDING"})).await;
        set(&world, &id, json!({"status": "IN_PROGRESS"})).await;
        for variables in [json!({"after": cursor}), json!({"id": id, "after": cursor})] {
            let mut messages = world.listen(ORDERS, variables).await;
            let mut message = messages.change().await;
            // In the feed of Postgres what came before may come again while older transactions of the server are open.
            while message["change"] == "ADDED" {
                message = messages.change().await;
            }
            assert_eq!(
                (told(&message), &message["order"]["status"]),
                (("UPDATED", Some("A-1")), &json!("IN_PROGRESS"))
            );
        }
        let page = world.data("{ orders { cursor nodes { number } } }", json!({})).await;
        let mut messages = world.listen(ORDERS, json!({"after": page["orders"]["cursor"]})).await;
        while messages.next().await["change"] != "CAUGHT_UP" {}
        messages.quiet().await;
        let refused = world
            .gateway
            .subscribe(&world.actor, super::request(ORDERS, json!({"after": "x"})))
            .await;
        let body = refused
            .err()
            .map(|answer| (answer.executed, String::from_utf8_lossy(&answer.body).into_owned()));
        assert!(
            body.as_ref().is_some_and(|(ran, body)| !ran && body.contains("BAD_INPUT")),
            "{body:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_as_it_grows() {
    each(async |world| {
        world.shop().await;
        let ann = world.customer("Ann").await;
        let timeline = "subscription($customer: ID!, $kinds: [TimelineKind!]) { timeline(customer: $customer, kinds: $kinds) {
            change id kind channel at reason entry { __typename
                ... on Order { number } ... on Message { preview } ... on ConversationStatusChange { id from to conversation { status } } } } }";
        let mut all = world.listen(timeline, json!({"customer": ann})).await;
        let mut orders = world.listen(timeline, json!({"customer": ann, "kinds": ["ORDER"]})).await;
        assert_eq!((all.next().await["change"].clone(), orders.next().await["change"].clone()), (json!("CAUGHT_UP"), json!("CAUGHT_UP")));
        let order = world
            .order(json!({"number": "A-1", "placedAt": "2026-11-24T13:00:00Z", "customer": {"connect": {"id": ann}}}))
            .await;
        let message = all.next().await;
        assert_eq!(
            message,
            json!({"change": "ADDED", "id": order, "kind": "ORDER", "channel": null, "at": "2026-11-24T13:00:00Z", "reason": null,
                   "entry": {"__typename": "Order", "number": "A-1"}})
        );
        assert_eq!(orders.next().await, message);
        let conversation = world
            .write(
                "mutation($c: ID!) { createConversation(input: {name: \"Where is it?\", customer: {connect: {id: $c}}}) {
                    conversation { id status } errors { code path message } } }",
                json!({"c": ann}),
            )
            .await;
        let conversation = conversation["conversation"]["id"].as_str().unwrap_or_else(|| panic!("{conversation}")).to_owned();
        let message = all.next().await;
        assert_eq!((&message["change"], &message["kind"]), (&json!("ADDED"), &json!("CONVERSATION_CREATED")), "{message}");
        world
            .write(
                "mutation($id: ID!) { updateConversation(id: $id, set: {status: DONE}) { errors { code path message } } }",
                json!({"id": conversation}),
            )
            .await;
        let message = all.next().await;
        assert_eq!(message["entry"]["__typename"], "ConversationStatusChange", "{message}");
        assert_eq!((&message["entry"]["to"], &message["entry"]["conversation"]["status"]), (&json!("DONE"), &json!("DONE")));
        // The message says what a query says.
        let query = "query($id: ID!) { customer(id: $id) { timeline(kinds: [CONVERSATION_STATUS]) { nodes {
            __typename ... on ConversationStatusChange { id from to conversation { status } } } } } }";
        let page = world.data(query, json!({"id": ann})).await;
        assert_eq!(page["customer"]["timeline"]["nodes"], json!([message["entry"]]));
        world.write("mutation($id: ID!) { deleteOrder(id: $id) { errors { code } } }", json!({"id": order})).await;
        let message = orders.next().await;
        assert_eq!((&message["change"], &message["id"], &message["entry"]), (&json!("REMOVED"), &json!(order), &json!(null)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_with_its_messages_and_notes() {
    each(async |world| {
        let ann = world.customer("Ann").await;
        let create = "mutation($c: ID!, $n: String!) { createConversation(input: {name: $n, customer: {connect: {id: $c}}}) {
            conversation { id } errors { code path message } } }";
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let done = world.write(create, json!({"c": ann, "n": name})).await;
            ids.push(done["conversation"]["id"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned());
        }
        let mut messages = world
            .listen(
                "subscription($id: ID!) { conversation(id: $id) { change id klass object { __typename
                    ... on Message { body } ... on Note { text: body } ... on Conversation { messages { totalCount } } } } }",
                json!({"id": ids[0]}),
            )
            .await;
        assert_eq!(messages.next().await["change"], "CAUGHT_UP");
        let say = "mutation($c: ID!, $b: String!) { createMessage(input: {body: $b, channel: CHAT, direction: IN, conversation: {connect: {id: $c}}}) {
            message { id } errors { code path message } } }";
        let done = world.write(say, json!({"c": ids[1], "b": "elsewhere"})).await;
        assert_eq!(done["errors"], json!([]));
        world.write(say, json!({"c": ids[0], "b": "hello"})).await;
        // The message, and the conversation whose counts it changed.
        let mut told: Vec<Json> = vec![messages.next().await, messages.next().await];
        told.sort_by_key(|it| it["klass"].to_string());
        assert_eq!((&told[0]["change"], &told[0]["object"]["messages"]["totalCount"]), (&json!("UPDATED"), &json!(1)), "{told:?}");
        assert_eq!((&told[1]["change"], &told[1]["object"]), (&json!("ADDED"), &json!({"__typename": "Message", "body": "hello"})));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn klasses_change_under_open_subscriptions() {
    each(async |world| {
        world.shop().await;
        let mut klasses = world
            .listen(
                "subscription { klassChanged { change name klass { properties { name } } } }",
                json!({}),
            )
            .await;
        assert_eq!(klasses.next().await["change"], "CAUGHT_UP");
        let mut orders = world.listen(ORDERS, json!({})).await;
        assert_eq!(orders.next().await["change"], "CAUGHT_UP");
        let mut totals = world
            .listen("subscription { orderChanged { change order { total { amount } } } }", json!({}))
            .await;
        assert_eq!(totals.next().await["change"], "CAUGHT_UP");
        let change =
            "mutation($set: KlassPatch!) { changeKlass(name: \"order\", set: $set, force: true) { applied errors { code message } } }";
        let set = json!({"set": {"properties": [{"name": "weight", "kind": "decimal"}], "removeProperties": ["total"]}});
        assert_eq!(world.write(change, set).await["applied"], true);
        let message = klasses.next().await;
        assert_eq!((&message["change"], &message["name"]), (&json!("UPDATED"), &json!("order")));
        let names: Vec<_> = message["klass"]["properties"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|p| p["name"].as_str())
            .collect();
        assert!(names.contains(&"weight") && !names.contains(&"total"), "{names:?}");
        world.order(json!({"number": "K-1"})).await;
        assert_eq!(told(&orders.change().await), ("ADDED", Some("K-1")));
        // What no longer fits ends, with the reason.
        let last = totals.response().await.expect("an error");
        assert_eq!(last["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{last}");
        assert_eq!(totals.response().await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_followed_is_refused_before_it_starts() {
    each(async |world| {
        world.shop().await;
        let unknown = klio_entities::klass::ObjectId::new().to_text("order");
        for (query, variables, code) in [
            (ORDERS, json!({"id": unknown}), "NOT_FOUND"),
            (ORDERS, json!({"id": "customer_01h455vb4pex5vsknk084sn02q"}), "NOT_FOUND"),
            (
                "subscription { a: klassChanged { change } b: klassChanged { change } }",
                json!({}),
                "GRAPHQL_VALIDATION_FAILED",
            ),
            ("{ orders { totalCount } }", json!({}), "OPERATION_NOT_ALLOWED"),
        ] {
            let refused = world.gateway.subscribe(&world.actor, super::request(query, variables)).await;
            let answer = refused.err().unwrap_or_else(|| panic!("{query} was taken"));
            let body: Json = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(
                (answer.executed, &body["errors"][0]["extensions"]["code"]),
                (false, &json!(code)),
                "{body}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_takes_its_entries_to_another_customer() {
    each(async |world| {
        let (ann, bob) = (world.customer("Ann").await, world.customer("Bob").await);
        let done = async |query: &str, variables: Json| {
            let done = world.write(query, variables).await;
            assert_eq!(done["errors"], json!([]), "{query}");
            done
        };
        let begin = "mutation($c: ID!) { createConversation(input: {name: \"Hello\", customer: {connect: {id: $c}}}) { conversation { id } errors { code message } } }";
        let id = done(begin, json!({"c": ann})).await["conversation"]["id"].clone();
        done("mutation($id: ID!) { updateConversation(id: $id, set: {status: SNOOZED}) { errors { code message } } }", json!({"id": id})).await;
        let say = "mutation($c: ID!) { createMessage(input: {body: \"Hi\", channel: EMAIL, direction: IN, conversation: {connect: {id: $c}}}) { errors { code message } } }";
        done(say, json!({"c": id})).await;
        let timeline = "subscription($c: ID!) { timeline(customer: $c) { change id kind reason entry { __typename ... on ConversationStatusChange { id to conversation { id } } } } }";
        let page = "query($c: ID!) { customer(id: $c) { timeline { nodes { __typename ... on ConversationStatusChange { id } ... on ConversationCreated { id } ... on Message { id } } } } }";
        let ids = async |customer: &str| {
            let page = world.data(page, json!({"c": customer})).await;
            let nodes = page["customer"]["timeline"]["nodes"].as_array().cloned().unwrap_or_default();
            let mut ids: Vec<String> = nodes.iter().filter_map(|it| it["id"].as_str().map(str::to_owned)).collect();
            ids.sort();
            ids
        };
        let before = ids(&ann).await;
        assert_eq!(before.len(), 3);
        let (mut at_ann, mut at_bob) = (world.listen(timeline, json!({"c": ann})).await, world.listen(timeline, json!({"c": bob})).await);
        for messages in [&mut at_ann, &mut at_bob] {
            assert_eq!(messages.next().await["change"], "CAUGHT_UP");
        }
        let hand_over = "mutation($id: ID!, $c: ID!) { updateConversation(id: $id, set: {customer: {connect: {id: $c}}}) { errors { code message } } }";
        done(hand_over, json!({"id": id, "c": bob})).await;
        for (messages, change) in [(&mut at_ann, "REMOVED"), (&mut at_bob, "ADDED")] {
            let mut told = Vec::new();
            while told.len() < before.len() {
                let message = messages.next().await;
                assert_eq!(message["change"], change, "{message}");
                if message["kind"] == "CONVERSATION_STATUS" {
                    assert_eq!((&message["entry"]["to"], &message["entry"]["conversation"]["id"]), (&json!("SNOOZED"), &id));
                }
                told.push(message["id"].as_str().unwrap_or_default().to_owned());
            }
            told.sort();
            assert_eq!(told, before, "{change}");
            messages.quiet().await;
        }
        assert_eq!((ids(&ann).await, ids(&bob).await), (vec![], before));
        // To nobody: what it had is gone, and that is said.
        done("mutation($id: ID!) { updateConversation(id: $id, set: {customer: {disconnect: true}}) { errors { code message } } }", json!({"id": id})).await;
        let mut told = Vec::new();
        while let Some(message) = at_bob.soon().await {
            told.push(message["change"].as_str().unwrap_or_default().to_owned());
        }
        told.sort();
        assert_eq!(told, ["REMOVED", "RESYNC"]);
    })
    .await;
}
