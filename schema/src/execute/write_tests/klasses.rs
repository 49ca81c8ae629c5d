//! Klasses that change: the mutation tells what, and the next request uses it.

use serde_json::json;

use super::{codes, each};

const DEFINE: &str = "mutation($it: KlassInput!, $dry: Boolean! = false, $force: Boolean! = false) {
    defineKlass(input: $it, dryRun: $dry, force: $force) {
        klass { name fieldName properties { name kind } definition }
        changes { path class message } applied version cursor errors { code path message remedy } } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_klass_is_there_for_the_next_request() {
    each(async |world| {
        let it = json!({
            "name": "ecomm-order", "plural": "ecomm-orders",
            "properties": [{"name": "number", "kind": "string", "required": true, "unique": true}],
        });
        let query = "{ ecommOrders { nodes { number } } }";
        assert_eq!(
            world.ask(query, json!({})).await["errors"][0]["extensions"]["code"],
            "GRAPHQL_VALIDATION_FAILED"
        );
        let dry = world.write(DEFINE, json!({"it": it, "dry": true})).await;
        assert_eq!((&dry["applied"], &dry["errors"]), (&json!(false), &json!([])), "{dry}");
        assert_eq!(dry["changes"][0]["class"], "SAFE", "{dry}");
        assert_eq!(
            world.ask(query, json!({})).await["errors"][0]["extensions"]["code"],
            "GRAPHQL_VALIDATION_FAILED"
        );

        let done = world.write(DEFINE, json!({"it": it})).await;
        assert_eq!((&done["applied"], &done["errors"]), (&json!(true), &json!([])), "{done}");
        assert_eq!(done["klass"]["fieldName"], "ecommOrder");
        assert!(done["cursor"].is_string());
        assert_eq!(world.data(query, json!({})).await, json!({"ecommOrders": {"nodes": []}}));
        let made = world
            .write(
                "mutation { createEcommOrder(input: {number: \"1\"}) { ecommOrder { number klass { name } } errors { code } } }",
                json!({}),
            )
            .await;
        assert_eq!(
            made,
            json!({"ecommOrder": {"number": "1", "klass": {"name": "ecomm-order"}}, "errors": []})
        );

        // What the gateway tells as the definition is one that it takes, and that changes nothing.
        let definition = done["klass"]["definition"].clone();
        assert_eq!(
            definition["properties"]["number"],
            json!({"kind": "string", "required": true, "unique": true})
        );
        let again = world.write(DEFINE, json!({"it": it})).await;
        assert_eq!(
            (&again["changes"], &again["applied"], &again["version"]),
            (&json!([]), &json!(true), &done["version"])
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_faults_of_a_definition_at_once() {
    each(async |world| {
        let it = json!({
            "name": "thing",
            "properties": [
                {"name": "a", "kind": "sting"}, {"name": "b", "kind": "enum"}, {"name": "c", "kind": "string"}, {"name": "c", "kind": "text"},
            ],
            "relationships": [{"name": "owner", "to": ["nobody"]}],
        });
        let done = world.write(DEFINE, json!({"it": it})).await;
        assert_eq!(done["applied"], false);
        let errors = done["errors"].as_array().cloned().unwrap_or_default();
        let told = |part: &str| errors.iter().any(|e| e["path"].as_array().is_some_and(|path| path.iter().any(|step| step == part)));
        for part in ["a", "c"] {
            assert!(told(part), "{part}: {done}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaking_change_takes_force() {
    each(async |world| {
        world.shop().await;
        world.order(json!({"number": "A-1"})).await;
        let change = "mutation($set: KlassPatch!, $force: Boolean!) { changeKlass(name: \"order\", set: $set, force: $force) {
            changes { class } applied errors { code path message } } }";
        let set = json!({"removeProperties": ["status"]});
        let refused = world.write(change, json!({"set": set, "force": false})).await;
        assert_eq!((&refused["applied"], codes(&refused)), (&json!(false), vec!["BREAKING"]), "{refused}");
        world.data("{ orders { nodes { status } } }", json!({})).await;
        let done = world.write(change, json!({"set": set, "force": true})).await;
        assert_eq!((&done["applied"], &done["errors"]), (&json!(true), &json!([])), "{done}");
        let gone = world.ask("{ orders { nodes { status } } }", json!({})).await;
        assert_eq!(gone["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");

        let add = json!({"set": {"properties": [{"name": "note text", "kind": "text"}]}, "force": false});
        assert_eq!(world.write(change, add).await["applied"], true);
        let set = "mutation { updateOrders(filter: {number: {eq: \"A-1\"}}, set: {noteText: \"hi\"}) { orders { noteText total { amount } } errors { code } } }";
        assert_eq!(world.write(set, json!({})).await, json!({"orders": [{"noteText": "hi", "total": null}], "errors": []}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_klass_disabled_is_gone_and_comes_back_with_its_objects() {
    each(async |world| {
        world.shop().await;
        world.order(json!({"number": "A-1"})).await;
        let off =
            "mutation($force: Boolean!) { disableKlass(name: \"order\", force: $force) { klass { enabled } applied errors { code } } }";
        assert_eq!(codes(&world.write(off, json!({"force": false})).await), ["BREAKING"]);
        assert_eq!(
            world.write(off, json!({"force": true})).await,
            json!({"klass": {"enabled": false}, "applied": true, "errors": []})
        );
        assert!(world.ask("{ orders { totalCount } }", json!({})).await.get("errors").is_some());
        let on = world
            .write("mutation { enableKlass(name: \"order\") { applied errors { code } } }", json!({}))
            .await;
        assert_eq!(on, json!({"applied": true, "errors": []}));
        assert_eq!(
            world.data("{ orders { totalCount } }", json!({})).await,
            json!({"orders": {"totalCount": 1}})
        );
        let nobody = world
            .write(
                "mutation { enableKlass(name: \"oder\") { applied errors { code remedy } } }",
                json!({}),
            )
            .await;
        assert_eq!(
            nobody,
            json!({"applied": false, "errors": [{"code": "NOT_FOUND", "remedy": "Did you mean `order`?"}]})
        );
    })
    .await;
}

/// A gateway that does not know of a change yet (another node made it) plans again instead of failing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_plan_is_made_anew() {
    each(async |world| {
        world.shop().await;
        let create = "mutation($n: String!) { createOrder(input: {number: $n}) { order { number } errors { code } } }";
        world.write(create, json!({"n": "S-1"})).await;
        // Behind the catalog's back.
        let mut patch = klio_entities::klass::change::Patch {
            klass: "order".into(),
            ..Default::default()
        };
        patch.set = json!({"properties": {"more": {"kind": "string", "default": "x"}}})
            .as_object()
            .cloned()
            .unwrap_or_default();
        let changes = vec![klio_entities::klass::change::KlassChange::Patch(patch)];
        let options = klio_entities::store::klasses::ChangeOptions {
            dry_run: false,
            force: false,
            extra_check: None,
        };
        world
            .gateway
            .store
            .change_klasses(&world.actor, changes, options)
            .await
            .expect("changes");
        let done = world.write(create, json!({"n": "S-2"})).await;
        assert_eq!(done, json!({"order": {"number": "S-2"}, "errors": []}));
        let read = world.data("{ order(number: \"S-2\") { more } }", json!({})).await;
        assert_eq!(read, json!({"order": {"more": "x"}}));
    })
    .await;
}
