//! What is told as it is now: the latest counts, nothing is queued, and who may not see is not told.

use klio_entities::klass::{OrgId, Role};
use serde_json::{Value as Json, json};

use super::{Messages, World, codes, each, request};
use crate::execute::Request;

const COUNT: &str = "subscription($filter: OrderFilter, $search: String) { ordersCount(filter: $filter, search: $search) { count } }";
const STATE: &str = "subscription($id: ID!) { customerState(id: $id) { id conversations { open snoozed done all } lastActivityAt sentiment { polarity confidence } viewers { actor { kind name } typing } } }";
const PRESENCE: &str = "subscription($of: ID!) { presence(of: $of) { id present { actor { kind id name } typing since } } }";
const BEAT: &str = "mutation($of: ID!, $activity: PresenceActivity! = VIEWING) { beat(of: $of, activity: $activity) { until errors { code path message } } }";

impl Messages {
    /// What comes once the state is as wished; what came before on the way there is passed over.
    async fn until(&mut self, wished: impl Fn(&Json) -> bool) -> Json {
        loop {
            let state = self.next().await;
            if wished(&state) {
                return state;
            }
        }
    }
}

async fn set(world: &World, mutation: &str, variables: Json) {
    let done = world.write(mutation, variables).await;
    assert_eq!(done["errors"], json!([]), "{mutation}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_is_that_of_the_page_at_all_times() {
    each(async |world| {
        world.shop().await;
        let ann = world.customer("Ann").await;
        let mut all = world.listen(COUNT, json!({})).await;
        let mut pending = world.listen(COUNT, json!({"filter": {"status": {"eq": "PENDING"}}})).await;
        let mut anns = world.listen(COUNT, json!({"filter": {"customer": {"name": {"eq": "Ann"}}}})).await;
        let mut found = world
            .listen(
                COUNT,
                json!({"filter": {"createdAt": {"withinLast": "P1D"}, "number": {"startsWith": "A-"}}}),
            )
            .await;
        for states in [&mut all, &mut pending, &mut anns, &mut found] {
            assert_eq!(states.next().await, json!({"count": 0}));
        }
        let id = world.order(json!({"number": "A-1", "status": "PENDING"})).await;
        for states in [&mut all, &mut pending, &mut found] {
            assert_eq!(states.next().await, json!({"count": 1}));
        }
        // What it is tied to, and what that says, count as well.
        let update = "mutation($id: ID!, $set: UpdateOrderInput!) { updateOrder(id: $id, set: $set) { errors { code message } } }";
        set(&world, update, json!({"id": id, "set": {"customer": {"connect": {"id": ann}}}})).await;
        assert_eq!(anns.next().await, json!({"count": 1}));
        let rename = "mutation($id: ID!, $name: String!) { updateCustomer(id: $id, set: {name: $name}) { errors { code message } } }";
        set(&world, rename, json!({"id": ann, "name": "Bob"})).await;
        assert_eq!(anns.next().await, json!({"count": 0}));
        set(&world, rename, json!({"id": ann, "name": "Ann"})).await;
        assert_eq!(anns.next().await, json!({"count": 1}));
        set(&world, update, json!({"id": id, "set": {"status": "IN_PROGRESS"}})).await;
        assert_eq!(pending.next().await, json!({"count": 0}));
        set(
            &world,
            "mutation($id: ID!) { deleteOrder(id: $id) { errors { code message } } }",
            json!({"id": id}),
        )
        .await;
        for states in [&mut all, &mut anns, &mut found] {
            assert_eq!(states.next().await, json!({"count": 0}));
        }
        pending.quiet().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_gets_the_latest_and_who_comes_back_what_is_new() {
    each(async |world| {
        world.shop().await;
        let mut slow = world.listen(COUNT, json!({})).await;
        let mut quick = world.listen(COUNT, json!({})).await;
        let first = slow.raw().await;
        assert_eq!(quick.next().await, json!({"count": 0}));
        assert_eq!(world.gateway.shares.count(), 1, "one execution for both");
        for n in 0..20 {
            world.order(json!({"number": format!("A-{n}")})).await;
        }
        quick.until(|state| *state == json!({"count": 20})).await;
        assert_eq!(slow.next().await, json!({"count": 20}), "and nothing of what was in between");
        slow.quiet().await;
        // With the state that one has, only another is told.
        let resume = async |cursor: &str| {
            let mut extensions = serde_json::Map::new();
            extensions.insert("resume".into(), json!(cursor));
            let request = Request {
                extensions,
                ..request(COUNT, json!({}))
            };
            Messages(world.gateway.subscribe(&world.actor, request).await.expect("a subscription"))
        };
        let mut stale = resume(first.cursor.as_deref().expect("a cursor")).await;
        let now = stale.raw().await;
        assert!(String::from_utf8_lossy(&now.body).contains("\"count\":20"));
        let mut knows = resume(now.cursor.as_deref().expect("a cursor")).await;
        knows.quiet().await;
        world.order(json!({"number": "B-1"})).await;
        assert_eq!(knows.next().await, json!({"count": 21}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_at_a_glance() {
    each(async |world| {
        let ann = world.customer("Ann").await;
        let mut states = world.listen(STATE, json!({"id": ann})).await;
        let nothing = json!({"open": 0, "snoozed": 0, "done": 0, "all": 0});
        let state = states.next().await;
        assert_eq!(
            (&state["id"], &state["conversations"], &state["sentiment"], &state["viewers"]),
            (&json!(ann), &nothing, &Json::Null, &json!([]))
        );
        let begin = "mutation($c: ID!) { createConversation(input: {name: \"Hello\", customer: {connect: {id: $c}}}) { conversation { id } errors { code message } } }";
        let conversation = world.write(begin, json!({"c": ann})).await["conversation"]["id"].clone();
        let state = states.until(|it| it["conversations"]["open"] == 1).await;
        assert_eq!(state["conversations"]["all"], 1);
        let update = "mutation($id: ID!) { updateConversation(id: $id, set: {status: DONE}) { errors { code message } } }";
        set(&world, update, json!({"id": conversation})).await;
        let state = states.until(|it| it["conversations"]["done"] == 1).await;
        assert_eq!(state["conversations"], json!({"open": 0, "snoozed": 0, "done": 1, "all": 1}));
        let feels = "mutation($id: ID!) { updateCustomer(id: $id, set: {sentiment: {polarity: -1, confidence: \"0.75\"}}) { errors { code message } } }";
        set(&world, feels, json!({"id": ann})).await;
        let state = states.until(|it| it["sentiment"] != Json::Null).await;
        assert_eq!(state["sentiment"], json!({"polarity": -1, "confidence": "0.75"}));
        set(&world, BEAT, json!({"of": ann, "activity": "TYPING"})).await;
        let state = states.next().await;
        assert_eq!(state["viewers"], json!([{"actor": {"kind": "TOKEN", "name": "Owner"}, "typing": true}]));
        // A change of what is not told is no news.
        set(&world, "mutation($id: ID!) { updateCustomer(id: $id, set: {locale: \"de-CH\"}) { errors { code message } } }", json!({"id": ann})).await;
        states.quiet().await;
        let unknown = world.gateway.subscribe(&world.actor, request(STATE, json!({"id": conversation}))).await;
        let body = unknown.err().map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        assert!(body.as_ref().is_some_and(|body| body.contains("NOT_FOUND")), "{body:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_there_is_told_within_the_org_alone() {
    each(async |world| {
        world.shop().await;
        let order = world.order(json!({"number": "A-1"})).await;
        let mut states = world.listen(PRESENCE, json!({"of": order})).await;
        assert_eq!(states.next().await, json!({"id": order, "present": []}));
        let reader = world.by(Role::Reader);
        let beat = reader.write(BEAT, json!({"of": order})).await;
        assert!(beat["until"].is_string(), "{beat}");
        let there = states.next().await["present"][0].take();
        assert_eq!((&there["actor"]["name"], &there["typing"]), (&json!("Reader"), &json!(false)));
        assert!(there["actor"]["id"].is_string() && there["since"].is_string(), "{there}");
        set(&reader, BEAT, json!({"of": order})).await;
        states.quiet().await;
        set(&world, BEAT, json!({"of": order, "activity": "TYPING"})).await;
        let present = states.next().await["present"].take();
        let told: Vec<_> = present
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| (it["actor"]["name"].as_str().unwrap_or_default(), it["typing"] == true))
            .collect();
        assert_eq!(told, [("Reader", false), ("Owner", true)]);
        set(&reader, BEAT, json!({"of": order, "activity": "GONE"})).await;
        assert_eq!(states.next().await["present"][0]["actor"]["name"], "Owner");
        // The same object, said by somebody of another org: there is no such thing.
        let other = world.gateway.store.create_org("other", "Other").await.expect("an org").id;
        let other = World {
            actor: super::actor(OrgId(other), Role::Owner),
            org: OrgId(other),
            ..world.clone()
        };
        other.shop().await;
        let refused = other.write(BEAT, json!({"of": order})).await;
        assert_eq!((codes(&refused), &refused["until"]), (vec!["NOT_FOUND"], &Json::Null));
        let refused = other.gateway.subscribe(&other.actor, request(PRESENCE, json!({"of": order}))).await;
        assert!(refused.is_err(), "nor can it be looked for");
        let refused = world.write(BEAT, json!({"of": "order_nonsense"})).await;
        assert_eq!(codes(&refused), ["NOT_FOUND"]);
        states.quiet().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_keeps_to_rights_and_to_the_klasses() {
    each(async |world| {
        let cards = json!({"name": "card", "properties": [
            {"name": "label", "kind": "string"},
            {"name": "secret", "kind": "string", "sensitive": true},
        ]});
        let define = "mutation($it: KlassInput!) { defineKlass(input: $it, force: true) { applied errors { path message } } }";
        set(&world, define, json!({"it": cards})).await;
        let secret = "subscription { cardsCount(filter: {secret: {eq: \"x\"}}) { count } }";
        let reader = world.by(Role::Reader);
        let refused = reader.gateway.subscribe(&reader.actor, request(secret, json!({}))).await;
        let body = refused.err().map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        assert!(body.as_ref().is_some_and(|body| body.contains("FORBIDDEN")), "{body:?}");
        let mut all = world.listen("subscription { cardsCount { count } }", json!({})).await;
        let mut secrets = world.listen(secret, json!({})).await;
        assert_eq!((all.next().await, secrets.next().await), (json!({"count": 0}), json!({"count": 0})));
        // A property less: one goes on, the other says why it cannot.
        let change =
            "mutation { changeKlass(name: \"card\", set: {removeProperties: [\"secret\"]}, force: true) { applied errors { message } } }";
        set(&world, change, json!({})).await;
        let ended = secrets.response().await.expect("an answer");
        assert_eq!(ended["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{ended}");
        assert!(secrets.response().await.is_none());
        set(
            &world,
            "mutation { createCard(input: {label: \"x\"}) { errors { code message } } }",
            json!({}),
        )
        .await;
        assert_eq!(all.next().await, json!({"count": 1}));
    })
    .await;
}
