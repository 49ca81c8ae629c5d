//! What a klass change asks of the objects and links that exist: rules that they must keep, defaults that they get, values that follow.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::changes::{columns, define, faults, org, table, texts};
use super::each;
use crate::klass::draft::{LinkChange, Object};
use crate::klass::fault::Code;
use crate::klass::filter::Operand;
use crate::klass::query::Key;
use crate::klass::{Actor, Draft, Klass, ObjectId, Property, Value};
use crate::store::write::WriteOptions;
use crate::store::{Dialect, Event, EventOp, Source, Store};

async fn klass(store: &Store, actor: &Actor, name: &str) -> Arc<Klass> {
    store.fresh_registry(actor.org).await.unwrap().klass(name).unwrap().clone()
}

fn values(of: &[Arc<Property>], json: &Json) -> Vec<(Arc<Property>, Value)> {
    let given = json.as_object().unwrap().iter();
    given
        .map(|(name, value)| {
            let property = of.iter().find(|p| p.legal == *name).unwrap();
            (property.clone(), property.accept(value, &[]).unwrap())
        })
        .collect()
}

fn object(klass: &Arc<Klass>, json: &Json) -> Object {
    Object {
        klass: klass.clone(),
        values: values(&klass.properties, json),
        links: vec![],
        path: vec![],
    }
}

async fn write(store: &Store, actor: &Actor, draft: Draft) -> ObjectId {
    let registry = store.fresh_registry(actor.org).await.unwrap();
    let written = store.write(actor, &registry, vec![draft], WriteOptions::default()).await.unwrap();
    written.into_iter().next().unwrap().unwrap().ids[0]
}

async fn create(store: &Store, actor: &Actor, name: &str, json: Json) -> ObjectId {
    let klass = klass(store, actor, name).await;
    write(store, actor, Draft::Create(object(&klass, &json))).await
}

/// Ties `from` to `to` at the end `end` of the klass `name`, with properties of the link.
async fn tie(store: &Store, actor: &Actor, (name, from): (&str, ObjectId), end: &str, to: ObjectId, link: Json) {
    let registry = store.fresh_registry(actor.org).await.unwrap();
    let klass = registry.klass(name).unwrap();
    let end = klass.end(end).unwrap();
    let by_id = |id: ObjectId| Key::Id(Operand::Const(Value::Id(id)));
    let change = LinkChange::Connect {
        klass: registry.klass(&end.to[0]).unwrap().clone(),
        key: by_id(to),
        link: values(&end.relationship.properties, &link),
    };
    let set = Object {
        links: vec![(end.clone(), vec![change])],
        ..object(klass, &json!({}))
    };
    let draft = Draft::Update {
        key: by_id(from),
        version: None,
        set,
    };
    write(store, actor, draft).await;
}

struct Moment(crate::store::Cursor, chrono::DateTime<chrono::Utc>);

async fn now(store: &Store, actor: &Actor, name: &str) -> Moment {
    let cursor = store.head(actor.org, &Source::Klass(name.into())).await.unwrap();
    Moment(cursor, chrono::Utc::now())
}

/// Every event of objects of a klass since a moment. (A feed's cursor may lie a little before its moment: other transactions hold it back.)
async fn since(store: &Store, actor: &Actor, name: &str, moment: &Moment) -> Vec<Arc<Event>> {
    // On Postgres any transaction of the whole server (another test's) holds the feed back: waits until none does.
    let held = "select count(*) from event where xid >= pg_snapshot_xmin(pg_current_snapshot())";
    while store.dialect() == Dialect::Postgres {
        let rows = store.rows(held, vec![]).await.unwrap();
        if rows[0].try_get_by_index::<i64>(0).unwrap() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let source = Source::Klass(name.into());
    let (mut all, mut after) = (Vec::new(), moment.0);
    loop {
        match store.events(actor.org, &source, &after, 1_000).await.unwrap() {
            crate::store::Events::Page { events, cursor, .. } => {
                if events.is_empty() {
                    return all;
                }
                after = cursor;
                all.extend(events.into_iter().filter(|e| e.object.is_some() && e.at >= moment.1));
            }
            crate::store::Events::Resync(reason) => panic!("{reason:?}"),
        }
    }
}

const PART: &str = r#"
name = "part"
[properties]
code = { kind = "string" }
size = { kind = "integer" }
words = { kind = "list of string" }
levels = { kind = "list of integer" }
hue = { kind = "enum", values = ["red", "green", "blue"] }
"#;

/// Each rule that is made stricter is held against what is there; none is when it is made looser.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stricter_rules_are_held_against_what_is_there() {
    each(|fresh| async move {
        let store = &fresh.store;
        let a = org(store, "a").await;
        define(store, &a, &[PART], false).await.unwrap();
        create(
            store,
            &a,
            "part",
            json!({"code": "AB-1", "size": 5, "words": ["x"], "levels": [1, 2], "hue": "red"}),
        )
        .await;
        let odd = create(
            store,
            &a,
            "part",
            json!({"code": " a ", "size": 50, "words": ["x", "y", "z"], "levels": [1, 9], "hue": "blue"}),
        )
        .await;
        create(store, &a, "part", json!({})).await;
        let odd = odd.to_text("part");
        let cases = [
            (
                "code = { kind = \"string\"",
                "code = { kind = \"string\", pattern = \"^[A-Z]\"",
                "code",
            ),
            ("code = { kind = \"string\"", "code = { kind = \"string\", minLength = 4", "code"),
            ("size = { kind = \"integer\"", "size = { kind = \"integer\", max = 9", "size"),
            (
                "words = { kind = \"list of string\"",
                "words = { kind = \"list of string\", maxLength = 2",
                "words",
            ),
            (
                "levels = { kind = \"list of integer\"",
                "levels = { kind = \"list of integer\", max = 8",
                "levels",
            ),
            (", \"blue\"]", "]", "hue"),
        ];
        for (old, new, property) in cases {
            let text = PART.replace(old, new);
            assert_ne!(text, PART);
            let told = faults(define(store, &a, &[&text], true).await);
            assert_eq!(told.len(), 1, "{new}: {told:?}");
            let (fault, path) = (&told[0], format!("klasses.part.properties.{property}"));
            assert_eq!((fault.code, fault.path.join(".")), (Code::BadInput, path), "{new}");
            assert!(
                fault.message.contains("1 object ") && fault.message.contains(&odd),
                "{new}: {}",
                fault.message
            );
        }
        assert_eq!(store.fresh_registry(a.org).await.unwrap().version, 2);
        // What all of them keep is allowed, at once with other rules; and looser ones always.
        let kept = PART
            .replace("size = { kind = \"integer\"", "size = { kind = \"integer\", min = 5, max = 50")
            .replace("\"green\", ", "");
        define(store, &a, &[&kept], true).await.unwrap();
        define(store, &a, &[PART], true).await.unwrap();
    })
    .await;
}

/// Defaults that a change fills in are writes: a version and an event for each object, deleted ones too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filled_in_defaults_raise_events() {
    each(|fresh| async move {
        let store = &fresh.store;
        let a = org(store, "a").await;
        define(store, &a, &[PART], false).await.unwrap();
        let small = create(store, &a, "part", json!({"size": 1})).await;
        let none = create(store, &a, "part", json!({"code": "n"})).await;
        let gone = create(store, &a, "part", json!({"code": "g"})).await;
        let part = klass(store, &a, "part").await;
        let draft = Draft::Delete {
            klass: part,
            id: gone,
            version: None,
        };
        write(store, &a, draft).await;
        let cursor = now(store, &a, "part").await;

        // A property that is there becomes required, and a new one comes.
        let after = PART
            .replace(
                "size = { kind = \"integer\"",
                "size = { kind = \"integer\", required = true, default = 7",
            )
            .replace(
                "code =",
                "state = { kind = \"string\", required = true, default = \"new\" }\ncode =",
            );
        define(store, &a, &[&after], true).await.unwrap();
        let events = since(store, &a, "part", &cursor).await;
        let told = |id: ObjectId| -> Vec<(EventOp, Vec<String>)> {
            let of = events.iter().filter(|e| e.object == Some(id));
            of.map(|e| (e.op, e.changed.clone())).collect()
        };
        let updated = |names: &[&str]| (EventOp::Updated, names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(told(small), [updated(&["state"])]);
        assert_eq!(told(none), [updated(&["state"]), updated(&["size"])]);
        assert_eq!(told(gone), [updated(&["state"]), updated(&["size"])]);
        let last = events.iter().rfind(|e| e.object == Some(none)).unwrap();
        let image = last.after.as_ref().unwrap();
        assert_eq!(
            (&image["size"], &image["state"], &image["version"]),
            (&json!(7), &json!("new"), &json!(3))
        );
        assert!(last.before.as_ref().unwrap().get("size").is_none_or(Json::is_null));
        let sql = format!(
            "select cast(version as text) from {} order by id",
            table("a", "part").sql(store.dialect())
        );
        assert_eq!(texts(store, &sql).await, ["2", "3", "4"].map(|v| Some(v.to_owned())));

        // The same of an addition to a standard klass, more than a batch of them.
        for i in 0..501 {
            create(store, &a, "company", json!({"name": format!("c{i}")})).await;
        }
        let cursor = now(store, &a, "company").await;
        let tier = "name = \"company\"\n[properties]\ntier = { kind = \"string\", required = true, default = \"basic\" }\n";
        define(store, &a, &[tier], true).await.unwrap();
        let events = since(store, &a, "company", &cursor).await;
        assert_eq!(events.len(), 501);
        assert!(
            events
                .iter()
                .all(|e| e.changed == ["tier"] && e.after.as_ref().unwrap()["tier"] == "basic")
        );
        assert_eq!(store.doctor(a.org, false).await.unwrap(), vec![]);
    })
    .await;
}

const BOX: &str = r#"
name = "box"
[relationships]
parts = { to = "part", kind = "many", inverse = "boxes", properties = { count = { kind = "string" }, note = { kind = "string" } } }
"#;

/// Properties of a link are added, renamed, changed in kind, bounded, filled in and removed like a klass's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_of_links_change_like_those_of_klasses() {
    each(|fresh| async move {
        let store = &fresh.store;
        let a = org(store, "a").await;
        define(store, &a, &[PART, BOX], false).await.unwrap();
        let (one, two) = (create(store, &a, "box", json!({})).await, create(store, &a, "box", json!({})).await);
        let part = create(store, &a, "part", json!({"code": "p"})).await;
        let other = create(store, &a, "part", json!({"code": "q"})).await;
        tie(store, &a, ("box", one), "parts", part, json!({"count": "3", "note": "a"})).await;
        tie(store, &a, ("part", other), "boxes", one, json!({"count": "4", "note": "b"})).await;
        tie(store, &a, ("box", two), "parts", part, json!({"count": "many"})).await;

        // What does not fit is told by the objects that have the links.
        let change = |from: &str, to: &str| BOX.replace(from, to);
        let number = change("count = { kind = \"string\" }", "count = { kind = \"integer\" }");
        let told = faults(define(store, &a, &[&number], true).await);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].path.join("."), "klasses.box.relationships.parts.properties.count");
        assert!(told[0].message.contains("1 link ") && told[0].message.contains(&two.to_text("box")), "{}", told[0].message);
        let must = change("note = { kind = \"string\" }", "note = { kind = \"string\", required = true }");
        let told = faults(define(store, &a, &[&must], true).await);
        assert!(told[0].code == Code::Required && told[0].message.contains("1 link "), "{told:?}");
        assert!(told[0].message.contains(&two.to_text("box")), "{}", told[0].message);
        let bounded = change("note = { kind = \"string\" }", "note = { kind = \"string\", pattern = \"a\" }");
        let told = faults(define(store, &a, &[&bounded], true).await);
        assert!(told[0].message.contains("1 link ") && told[0].message.contains(&one.to_text("box")), "{told:?}");

        tie(store, &a, ("box", two), "parts", part, json!({"count": "5"})).await;
        let cursor = now(store, &a, "box").await;
        let parts = now(store, &a, "part").await;
        let after = change(
            "count = { kind = \"string\" }, note = { kind = \"string\" }",
            "quantity = { formerly = [\"count\"], kind = \"integer\" }, note = { kind = \"string\", required = true, default = \"-\" }, price = { kind = \"decimal\" }",
        );
        let report = define(store, &a, &[&after], true).await.unwrap();
        let messages: Vec<&str> = report.changes.iter().map(|c| c.message.as_str()).collect();
        assert!(messages.iter().any(|m| m.contains("`count` is called `quantity`")), "{messages:?}");
        let relationship = report.registry.klass("box").unwrap().end("parts").unwrap().relationship.clone();
        let quantity = relationship.properties.iter().find(|p| p.legal == "quantity").unwrap();
        assert_eq!(quantity.aliases[0].legal, "count");
        let links = table("a", "box_parts");
        let sql = format!(
            "select cast({} as text) || note from {} order by 1",
            quantity.column,
            links.sql(store.dialect())
        );
        assert_eq!(texts(store, &sql).await, ["3a", "4b", "5-"].map(|v| Some(v.to_owned())));
        let now = columns(store, &links).await;
        assert!(now.contains(&"price".to_owned()) && !now.contains(&"count".to_owned()), "{now:?}");
        // Both ends of the link that got a default hear of it.
        let events = since(store, &a, "box", &cursor).await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].object, events[0].op, &events[0].changed), (Some(two), EventOp::Updated, &vec!["parts".to_owned()]));
        let events = since(store, &a, "part", &parts).await;
        assert_eq!((events.len(), events[0].object, events[0].op), (1, Some(part), EventOp::Linked));
        // And one goes.
        define(store, &a, &[&after.replace(", price = { kind = \"decimal\" }", "")], true).await.unwrap();
        assert!(!columns(store, &links).await.contains(&"price".to_owned()));
        assert_eq!(store.doctor(a.org, false).await.unwrap(), vec![]);
    })
    .await;
}
