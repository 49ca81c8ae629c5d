//! Every sort of mutation, with its payload.

use klio_entities::klass::Role;
use serde_json::json;

use super::{codes, each};

const CREATE: &str = "mutation($it: CreateOrderInput!, $key: String) { createOrder(input: $it, idempotencyKey: $key) {
    order { id number version status total { amount currency } customer { name } products { edges { quantity node { sku } } } }
    cursor errors { code path message remedy } } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_object_from_its_making_to_its_end() {
    each(async |world| {
        world.shop().await;
        let customer = world.customer("Ann").await;
        let made = world
            .write(
                CREATE,
                json!({"it": {
                    "number": "A-1", "status": "IN_PROGRESS", "total": {"amount": "12.50", "currency": "USD"},
                    "customer": {"connect": {"id": customer}},
                    "products": {"create": [{"object": {"sku": "tea"}, "link": {"quantity": 2}}]},
                }}),
            )
            .await;
        assert_eq!(made["errors"], json!([]));
        assert!(made["cursor"].is_string());
        let id = made["order"]["id"].as_str().expect("an id").to_owned();
        let mut expected = json!({
            "id": id, "number": "A-1", "version": 1, "status": "IN_PROGRESS", "total": {"amount": "12.5", "currency": "USD"},
            "customer": {"name": "Ann"}, "products": {"edges": [{"quantity": 2, "node": {"sku": "tea"}}]},
        });
        assert_eq!(made["order"], expected);

        // Absent stays, null clears.
        let update = "mutation($id: ID!, $set: UpdateOrderInput!, $version: Int) { updateOrder(id: $id, set: $set, version: $version) {
            order { id number version status total { amount currency } customer { name } products { edges { quantity node { sku } } } }
            errors { code path message object { id ... on Order { version } } } } }";
        let changed = world.write(update, json!({"id": id, "set": {"total": null}, "version": 1})).await;
        expected["total"] = json!(null);
        expected["version"] = json!(2);
        assert_eq!(changed, json!({"order": expected, "errors": []}));

        // Stale: refused, with the object as it is now.
        let stale = world.write(update, json!({"id": id, "set": {"number": "A-2"}, "version": 1})).await;
        assert_eq!(codes(&stale), ["CONFLICT"]);
        assert_eq!(stale["errors"][0]["object"], json!({"id": id, "version": 2}));
        assert_eq!(stale["order"], json!(null));

        let deleted = world
            .write(
                "mutation($id: ID!) { deleteOrder(id: $id) { order { id deletedAt } errors { code message } } }",
                json!({"id": id}),
            )
            .await;
        assert_eq!(deleted["errors"], json!([]));
        assert!(deleted["order"]["deletedAt"].is_string(), "{deleted}");
        assert_eq!(
            world.data("query($id: ID!) { order(id: $id) { id } }", json!({"id": id})).await,
            json!({"order": null})
        );
        let restored = world
            .write(
                "mutation($id: ID!) { restoreOrder(id: $id) { order { number deletedAt } errors { code } } }",
                json!({"id": id}),
            )
            .await;
        assert_eq!(restored, json!({"order": {"number": "A-1", "deletedAt": null}, "errors": []}));
        let destroyed = world
            .write(
                "mutation($id: ID!) { destroyOrder(id: $id) { id cursor errors { code } } }",
                json!({"id": id}),
            )
            .await;
        assert_eq!((&destroyed["id"], &destroyed["errors"]), (&json!(id), &json!([])));
        let gone = world.write(update, json!({"id": id, "set": {}})).await;
        assert_eq!(codes(&gone), ["NOT_FOUND"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upsert_by_any_unique_key() {
    each(async |world| {
        world.shop().await;
        let upsert = "mutation($key: OrderKey!, $create: CreateOrderInput!, $update: UpdateOrderInput!) {
            upsertOrder(key: $key, create: $create, update: $update) { outcome order { number status externalId } errors { code path message } } }";
        let by = |key: serde_json::Value| json!({"key": key, "create": {"number": "U-1", "status": "PENDING"}, "update": {"status": "IN_PROGRESS"}});
        let order = |status: &str| json!({"number": "U-1", "status": status, "externalId": null});
        for (outcome, status) in [("CREATED", "PENDING"), ("UPDATED", "IN_PROGRESS"), ("UNCHANGED", "IN_PROGRESS")] {
            let done = world.write(upsert, by(json!({"number": "U-1"}))).await;
            assert_eq!(done, json!({"outcome": outcome, "order": order(status), "errors": []}));
        }
        let by_id = world.write(upsert, by(json!({"id": "order_01h455vb4pex5vsknk084sn02q"}))).await;
        assert_eq!(codes(&by_id), ["BAD_INPUT"]);
        let contact = world
            .write(
                "mutation { upsertCustomer(key: {email: \"Ann@Example.com\"}, create: {name: \"Ann\"}, update: {name: \"Anna\"}) {
                    outcome customer { name emails { email } } errors { code path message } } }",
                json!({}),
            )
            .await;
        assert_eq!((&contact["outcome"], &contact["customer"]["name"]), (&json!("CREATED"), &json!("Ann")), "{contact}");
        let again = world
            .write(
                "mutation { upsertCustomer(key: {email: \"ann@example.com\"}, create: {name: \"Ann\"}, update: {name: \"Anna\"}) {
                    outcome customer { name } errors { code path message } } }",
                json!({}),
            )
            .await;
        assert_eq!(again, json!({"outcome": "UPDATED", "customer": {"name": "Anna"}, "errors": []}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_faults_at_once_and_nothing_written() {
    each(async |world| {
        world.shop().await;
        world.order(json!({"number": "A-1"})).await;
        let faulty = world
            .write(
                CREATE,
                json!({"it": {
                    "number": "A-2", "total": {"amount": "1.23456", "currency": "USD"},
                    "customer": {"connect": {"id": "order_01h455vb4pex5vsknk084sn02q"}},
                    "products": {"connect": [{"key": {"sku": "none"}}]},
                }}),
            )
            .await;
        let paths: Vec<_> = faulty["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| e["path"].to_string())
            .collect();
        assert!(paths.contains(&json!(["input", "total", "amount"]).to_string()), "{faulty}");
        assert!(
            paths.contains(&json!(["input", "customer", "connect", "id"]).to_string()),
            "{faulty}"
        );
        assert_eq!((&faulty["order"], &faulty["cursor"]), (&json!(null), &json!(null)));
        let taken = world.write(CREATE, json!({"it": {"number": "A-1"}})).await;
        assert_eq!(codes(&taken), ["DUPLICATE"]);
        let missing = world
            .write(
                CREATE,
                json!({"it": {"number": "A-3", "products": {"connect": [{"key": {"sku": "none"}}]}}}),
            )
            .await;
        assert_eq!(codes(&missing), ["NOT_FOUND"]);
        assert_eq!(
            world.data("{ orders { totalCount } products { totalCount } }", json!({})).await["orders"]["totalCount"],
            1
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_is_done_once() {
    each(async |world| {
        world.shop().await;
        let first = world
            .write(CREATE, json!({"it": {"number": "I-1", "status": "PENDING"}, "key": "k"}))
            .await;
        assert_eq!(first["errors"], json!([]));
        // The order of names in the input is no difference.
        let again = world
            .write(CREATE, json!({"it": {"status": "PENDING", "number": "I-1"}, "key": "k"}))
            .await;
        assert_eq!(again, first);
        let other = world.write(CREATE, json!({"it": {"number": "I-2"}, "key": "k"})).await;
        assert_eq!(codes(&other), ["IDEMPOTENCY_MISMATCH"]);
        assert_eq!(
            world.data("{ orders { totalCount } }", json!({})).await,
            json!({"orders": {"totalCount": 1}})
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_made_changed_and_removed() {
    each(async |world| {
        world.shop().await;
        let order = world
            .order(json!({"number": "L-1", "products": {"create": [{"object": {"sku": "a"}, "link": {"quantity": 1}}]}}))
            .await;
        world
            .write("mutation { createProduct(input: {sku: \"b\"}) { errors { code } } }", json!({}))
            .await;
        let products = "order { products(orderBy: [{sku: ASC}]) { edges { quantity node { sku } } } } errors { code path message }";
        let edges = |list: &[(&str, i64)]| -> serde_json::Value {
            let edges: Vec<_> = list.iter().map(|(sku, n)| json!({"quantity": n, "node": {"sku": sku}})).collect();
            json!({"order": {"products": {"edges": edges}}, "errors": []})
        };
        let link = format!("mutation($id: ID!, $to: [OrderProductsConnect!]!) {{ linkOrderProducts(id: $id, to: $to) {{ {products} }} }}");
        let to =
            json!({"id": order, "to": [{"key": {"sku": "b"}, "link": {"quantity": 5}}, {"key": {"sku": "a"}, "link": {"quantity": 3}}]});
        assert_eq!(world.write(&link, to).await, edges(&[("a", 3), ("b", 5)]));
        let unlink = format!("mutation($id: ID!, $from: [ProductKey!]!) {{ unlinkOrderProducts(id: $id, from: $from) {{ {products} }} }}");
        assert_eq!(
            world.write(&unlink, json!({"id": order, "from": [{"sku": "a"}]})).await,
            edges(&[("b", 5)])
        );
        let update = format!("mutation($id: ID!, $set: UpdateOrderInput!) {{ updateOrder(id: $id, set: $set) {{ {products} }} }}");
        let set = json!({"products": {
            "disconnect": [{"sku": "b"}],
            "upsert": [{"key": {"sku": "c"}, "create": {}, "update": {}, "link": {"quantity": 7}}],
        }});
        assert_eq!(world.write(&update, json!({"id": order, "set": set})).await, edges(&[("c", 7)]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_has_a_result_for_each_item() {
    each(async |world| {
        world.shop().await;
        let create = "mutation($it: [CreateOrderInput!]!, $atomic: Boolean!) { createOrders(inputs: $it, atomic: $atomic) {
            results { outcome order { number } errors { code path } } cursor errors { code message } } }";
        let items = json!([{"number": "B-1"}, {"number": "B-1"}, {"number": "B-2", "total": {"amount": "x", "currency": "USD"}}, {"number": "B-3"}]);
        let done = world.ask(create, json!({"it": items, "atomic": false})).await;
        // A decimal that is none is refused by coercion, before anything runs.
        assert_eq!(done["errors"][0]["extensions"]["code"], "BAD_INPUT", "{done}");
        let items = json!([
            {"number": "B-1"}, {"number": "B-1"}, {"number": "B-2", "total": {"amount": "1", "currency": "dollars"}}, {"number": "B-3"},
        ]);
        let atomic = world.write(create, json!({"it": items, "atomic": true})).await;
        assert_eq!(codes(&atomic), ["BAD_INPUT"], "{atomic}");
        assert_eq!(world.data("{ orders { totalCount } }", json!({})).await, json!({"orders": {"totalCount": 0}}));
        let done = world.write(create, json!({"it": items, "atomic": false})).await;
        let results: Vec<_> = done["results"].as_array().into_iter().flatten().map(|r| (r["order"]["number"].as_str(), codes(r))).collect();
        assert_eq!(results, [(Some("B-1"), vec![]), (None, vec!["DUPLICATE"]), (None, vec!["BAD_INPUT"]), (Some("B-3"), vec![])], "{done}");
        assert_eq!(done["results"][2]["errors"][0]["path"], json!(["inputs", "2", "total", "currency"]));
        assert_eq!(done["errors"], json!([]));
        assert!(done["cursor"].is_string());
        let upsert = "mutation($it: [UpsertOrderInput!]!) { upsertOrders(inputs: $it) { results { outcome order { number status } errors { code } } } }";
        let item = |number: &str| json!({"key": {"number": number}, "create": {"number": number}, "update": {"status": "PENDING"}});
        let done = world.write(upsert, json!({"it": [item("B-1"), item("B-9")]})).await;
        assert_eq!(
            done["results"],
            json!([
                {"outcome": "UPDATED", "order": {"number": "B-1", "status": "PENDING"}, "errors": []},
                {"outcome": "CREATED", "order": {"number": "B-9", "status": null}, "errors": []},
            ])
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_match_and_no_more_than_was_meant() {
    each(async |world| {
        world.shop().await;
        for n in 1..=3 {
            world.order(json!({"number": format!("M-{n}"), "status": "PENDING"})).await;
        }
        let update =
            "mutation($filter: OrderFilter!, $most: Int!) { updateOrders(filter: $filter, set: {status: IN_PROGRESS}, atMost: $most) {
            count ids orders { status } errors { code path message } } }";
        let pending = json!({"status": {"eq": "PENDING"}});
        let most = world.write(update, json!({"filter": pending, "most": 2})).await;
        assert_eq!((codes(&most), &most["count"]), (vec!["TOO_MANY"], &json!(0)), "{most}");
        for empty in [json!({}), json!({"and": []}), json!({"not": {"or": []}})] {
            let done = world.write(update, json!({"filter": empty, "most": 5})).await;
            assert_eq!(codes(&done), ["BAD_INPUT"], "{done}");
        }
        let done = world.write(update, json!({"filter": pending, "most": 3})).await;
        assert_eq!((&done["count"], &done["errors"]), (&json!(3), &json!([])));
        assert_eq!(
            done["orders"],
            json!([{"status": "IN_PROGRESS"}, {"status": "IN_PROGRESS"}, {"status": "IN_PROGRESS"}])
        );
        let delete = "mutation { deleteOrders(filter: {number: {in: [\"M-1\", \"M-2\"]}}, atMost: 2) { count errors { code message } } }";
        assert_eq!(world.write(delete, json!({})).await, json!({"count": 2, "errors": []}));
        assert_eq!(
            world.data("{ orders { nodes { number } } }", json!({})).await,
            json!({"orders": {"nodes": [{"number": "M-3"}]}})
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_does_what_it_may() {
    each(async |world| {
        world.shop().await;
        let id = world.order(json!({"number": "R-1"})).await;
        let reader = world.by(Role::Reader);
        let refused = reader.write(CREATE, json!({"it": {"number": "R-2"}})).await;
        assert_eq!(codes(&refused), ["FORBIDDEN"]);
        assert!(
            refused["errors"][0]["remedy"].as_str().is_some_and(|it| it.contains("agent")),
            "{refused}"
        );
        let agent = world.by(Role::Agent);
        assert_eq!(
            codes(&agent.write(CREATE, json!({"it": {"number": "R-2"}})).await),
            Vec::<&str>::new()
        );
        let destroy = "mutation($id: ID!) { destroyOrder(id: $id) { id errors { code remedy } } }";
        let refused = agent.write(destroy, json!({"id": id})).await;
        assert_eq!(codes(&refused), ["FORBIDDEN"]);
        let define = "mutation { defineKlass(input: {name: \"thing\"}) { applied errors { code } } }";
        assert_eq!(
            agent.write(define, json!({})).await,
            json!({"applied": false, "errors": [{"code": "FORBIDDEN"}]})
        );
        assert_eq!(
            codes(&world.by(Role::Admin).write(destroy, json!({"id": id})).await),
            Vec::<&str>::new()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_fields_run_in_order_and_see_what_came_before() {
    each(async |world| {
        world.shop().await;
        let done = world
            .data(
                "mutation {
                    one: createProduct(input: {sku: \"p\"}) { product { sku } errors { code } }
                    two: createOrder(input: {number: \"S-1\", products: {connect: [{key: {sku: \"p\"}}]}}) { order { products { totalCount } } errors { code } }
                    three: createProduct(input: {sku: \"p\"}) { product { sku } errors { code } }
                    __typename
                }",
                json!({}),
            )
            .await;
        assert_eq!(
            done,
            json!({
                "one": {"product": {"sku": "p"}, "errors": []},
                "two": {"order": {"products": {"totalCount": 1}}, "errors": []},
                "three": {"product": null, "errors": [{"code": "DUPLICATE"}]},
                "__typename": "Mutation",
            })
        );
    })
    .await;
}

/// The plan is kept by the shape of the variables: the second run must not write what the first one did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_plan_takes_the_arguments_of_each_run() {
    each(async |world| {
        world.shop().await;
        for number in ["P-1", "P-2", "P-3"] {
            let done = world.write(CREATE, json!({"it": {"number": number}})).await;
            assert_eq!(done["order"]["number"], number, "{done}");
        }
    })
    .await;
}
