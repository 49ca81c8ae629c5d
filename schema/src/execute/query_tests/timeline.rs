//! A customer's timeline, from text to response over a real store.

use super::*;

#[tokio::test]
async fn the_timeline() {
    each(|world| async move {
        let shop = world.shop().await;
        let ada = shop.ada.to_string();
        let conversation = world.create("conversation", json!({"name": "Where is it?", "customer": {"customer": ada}})).await;
        for i in 0..3 {
            world.create("message", json!({"channel": "email", "direction": if i % 2 == 0 { "in" } else { "out" }, "subject": format!("m{i}"), "customer": {"customer": ada}, "conversation": {"conversation": conversation.to_string()}})).await;
        }
        let query = "query($id: ID!, $first: Int, $after: String) { customer(id: $id) { name timeline(first: $first, after: $after) { totalCount cursor pageInfo { hasNextPage endCursor }
            edges { at kind channel cursor node { __typename ... on Message { subject conversation { name } } ... on Order { orderNumber } ... on ConversationCreated { id at conversation { name } } } } } } }";
        let (answer, stats) = world.ask_as(&world.actor, query, json!({"id": shop.ada.to_text("customer"), "first": 50})).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        let timeline = &answer["data"]["customer"]["timeline"];
        let entries = timeline["edges"].as_array().expect("a list");
        assert_eq!(timeline["totalCount"], entries.len(), "{answer}");
        let count = |kind: &str| entries.iter().filter(|edge| edge["kind"] == kind).count();
        assert_eq!((count("ORDER"), count("MESSAGE")), (7, 3), "{answer}");
        assert_eq!(stats.statements, 1);
        let message = entries.iter().find(|edge| edge["node"]["subject"] == "m2").expect("a message");
        assert_eq!(message["node"]["conversation"]["name"], "Where is it?");
        assert_eq!(message["channel"], "EMAIL");
        assert!(timeline["cursor"].is_string());
        // Page by page the same.
        let (mut seen, mut cursor) = (Vec::new(), Json::Null);
        loop {
            let page = world.data(query, json!({"id": shop.ada.to_text("customer"), "first": 4, "after": cursor})).await;
            let page = &page["customer"]["timeline"];
            seen.extend(page["edges"].as_array().cloned().expect("a list"));
            cursor = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(&seen, entries);
        // The timelines of many customers are a part of the customers' statement too.
        let (many, stats) = world
            .ask_as(
                &world.actor,
                "{ customers(orderBy: [{name: ASC}]) { nodes { name timeline(last: 1) { totalCount nodes { ... on Order { orderNumber } } } } } }",
                json!({}),
            )
            .await;
        assert_eq!(
            many["data"]["customers"]["nodes"],
            json!([{"name": "Ada Lovelace", "timeline": {"totalCount": entries.len(), "nodes": [{"orderNumber": "A-0"}]}},
                   {"name": "Bob", "timeline": {"totalCount": 0, "nodes": []}}]),
            "{many}"
        );
        assert_eq!(stats.statements, 1);
        let only = world.data(
            "query($id: ID!) { customer(id: $id) { timeline(kinds: [MESSAGE], channels: [EMAIL]) { nodes { __typename ... on Message { subject } } } } }",
            json!({"id": shop.ada.to_text("customer")}),
        )
        .await;
        assert_eq!(only["customer"]["timeline"]["nodes"].as_array().map(Vec::len), Some(3));
    })
    .await;
}

/// An interface covers all klasses, of which there are more than are read at once.
#[tokio::test]
async fn a_timeline_of_many_klasses() {
    each(|mut world| async move {
        let ada = world.create("customer", json!({"name": "Ada"})).await.to_string();
        let klass = |n: usize| {
            let text = format!(
                "name = \"step{n}\"\n[timeline]\nat = \"doneAt\"\n[properties]\nsize = {{ kind = \"integer\" }}\nsecret = {{ kind = \"string\", sensitive = true }}\n\
                 doneAt = {{ kind = \"datetime\" }}\n[relationships]\ncustomer = {{ to = \"customer\", kind = \"one\", inverse = \"step{n}s\" }}\n"
            );
            KlassChange::Define(read::from_toml(&text).expect("a definition"))
        };
        let changes = (0..12).map(klass).collect();
        let report = world.gateway.store.change_klasses(&world.actor, changes, Default::default());
        world.registry = report.await.expect("klasses").registry;
        for n in 0..12 {
            let done_at = format!("2026-11-{:02}T00:00:00Z", n + 1);
            let step = json!({"size": n, "secret": "s", "doneAt": done_at, "customer": {"customer": ada}});
            world.create(&format!("step{n}"), step).await;
        }
        let ask = async |selection: &str, filter: &str, role: Role| {
            let actor = Actor {
                role,
                ..world.actor.clone()
            };
            let query = format!("{{ customers {{ nodes {{ timeline(last: 50{filter}) {{ nodes {{ __typename {selection} }} }} }} }} }}");
            let (answer, stats) = world.ask_as(&actor, &query, json!({})).await;
            assert_eq!(answer.get("errors"), None, "{answer}");
            let nodes = answer["data"]["customers"]["nodes"][0]["timeline"]["nodes"].clone();
            (nodes.as_array().cloned().expect("a list"), stats.statements)
        };
        // Newest first; all are there, whether they came with the page or by a statement for their klass.
        let (nodes, statements) = ask("... on Object { version klass { name } }", "", Role::Owner).await;
        let want: Vec<Json> = (0..12)
            .rev()
            .map(|n| json!({"__typename": format!("Step{n}"), "version": 1, "klass": {"name": format!("step{n}")}}))
            .collect();
        assert_eq!(nodes, want);
        assert!((2..=1 + 12).contains(&statements), "{statements}");
        // What is named comes with the page.
        let (nodes, statements) = ask("... on Step3 { size secret } ... on Step11 { size }", ", kinds: [STEP3, STEP11]", Role::Owner).await;
        let step = |n: usize| json!({"__typename": format!("Step{n}"), "size": n});
        let mut third = step(3);
        third["secret"] = json!("s");
        assert_eq!((nodes, statements), (vec![step(11), third.clone()], 1));
        // Nobody sees what was read for another.
        let (nodes, _) = ask("... on Step3 { size secret } ... on Step11 { size }", ", kinds: [STEP3, STEP11]", Role::Reader).await;
        third["secret"] = Json::Null;
        assert_eq!(nodes, [step(11), third]);
        let (nodes, _) = ask("... on Step3 { size }", ", kinds: [STEP3, STEP11]", Role::Owner).await;
        assert_eq!(nodes, [json!({"__typename": "Step11"}), step(3)]);
    })
    .await;
}
