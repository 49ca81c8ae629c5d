//! Klasses change while others write and read at full speed: not one request fails for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::each;
use crate::klass::change::{KlassChange, Patch};
use crate::klass::draft::Object;
use crate::klass::filter::Operand;
use crate::klass::query::{Output, Page, Read, Rows, Window};
use crate::klass::{Actor, Draft, Kind, OrgId, Value, read};
use crate::store::klasses::ChangeOptions;
use crate::store::{Store, StoreError, WriteOptions, sql};

/// One create, as a request makes it: with the registry that it finds, again when that is stale.
async fn write(store: &Store, actor: &Actor, n: u64) -> Result<(), String> {
    let mut registry = store.registry(actor.org).await.map_err(|e| e.to_string())?;
    for _ in 0..20 {
        let klass = registry.klass("order").expect("it is never removed").clone();
        let property = klass.property("orderNumber").expect("it keeps its name as an alias").clone();
        let value = match property.kind {
            Kind::Integer { .. } => Value::Integer(n as i64),
            _ => Value::String(n.to_string()),
        };
        let mut values = vec![(property, value)];
        if let Some(state) = klass.property("state").filter(|p| p.required) {
            values.push((state.clone(), Value::String("given".into())));
        }
        let draft = Draft::Create(Object {
            klass,
            values,
            links: vec![],
            path: vec!["input".into()],
        });
        match store.write(actor, &registry, vec![draft], WriteOptions::default()).await {
            Ok(results) => {
                return results
                    .into_iter()
                    .next()
                    .expect("one each")
                    .map(|_| ())
                    .map_err(|faults| faults.to_string());
            }
            Err(StoreError::Stale) => registry = store.fresh_registry(actor.org).await.map_err(|e| e.to_string())?,
            Err(other) => return Err(other.to_string()),
        }
    }
    Err("stale twenty times".into())
}

async fn page(store: &Store, actor: &Actor) -> Result<(), String> {
    let registry = store.registry(actor.org).await.map_err(|e| e.to_string())?;
    let klass = registry.klass("order").expect("it is never removed").clone();
    let outputs = klass.properties.iter().cloned().map(Output::Value).collect();
    let read = Read::Page(Page {
        klass,
        filter: None,
        deleted: false,
        rows: Some(Rows {
            order: vec![],
            window: Window {
                limit: Operand::Const(Value::Integer(20)),
                backward: true,
                after: None,
                before: None,
            },
            outputs,
        }),
        total: false,
        aggregates: vec![],
        groups: vec![],
    });
    let statement = sql::compile(store.dialect(), &registry, &read);
    store.read(actor.org, &statement, &[]).await.map(|_| ()).map_err(|e| e.to_string())
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(60), "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_request_fails_while_klasses_change() {
    each(|fresh| async move {
        let mut config = fresh.config.clone();
        config.klass_grace = Duration::from_millis(1500);
        let store = Store::open(&config).await.unwrap();
        let actor = Actor::system(OrgId(store.create_org("a", "A").await.unwrap().id));
        let text = "name = \"order\"\n[properties]\norderNumber = { kind = \"string\" }\nnote = { kind = \"text\" }\n";
        let define = KlassChange::Define(read::from_toml(text).unwrap());
        store.change_klasses(&actor, vec![define], ChangeOptions::default()).await.unwrap();

        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let served = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for i in 0..6 {
            let (store, actor, stop, next, served) = (store.clone(), actor.clone(), stop.clone(), next.clone(), served.clone());
            tasks.push(tokio::spawn(async move {
                let (mut done, mut failed) = (0_u64, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let result = if i % 2 == 0 {
                        write(&store, &actor, next.fetch_add(1, Ordering::Relaxed)).await
                    } else {
                        page(&store, &actor).await
                    };
                    match result {
                        Ok(()) => {
                            done += 1;
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => failed.push(error),
                    }
                }
                (i % 2 == 0, done, failed)
            }));
        }
        let patch = |set: serde_json::Value, remove: &[&str]| {
            KlassChange::Patch(Patch {
                klass: "order".into(),
                set: set.as_object().cloned().unwrap_or_default(),
                remove_properties: remove.iter().map(|s| (*s).to_owned()).collect(),
                remove_relationships: vec![],
            })
        };
        let properties = |json: serde_json::Value| patch(serde_json::json!({ "properties": json }), &[]);
        let changes = [
            properties(serde_json::json!({ "state": { "kind": "string", "required": true, "default": "new", "indexed": true } })),
            properties(serde_json::json!({ "number": { "kind": "string", "formerly": ["orderNumber"], "unique": true } })),
            properties(serde_json::json!({ "number": { "kind": "integer", "formerly": ["orderNumber"], "unique": true } })),
            patch(serde_json::json!({}), &["note"]),
            patch(
                serde_json::json!({ "timeline": {}, "relationships": { "customer": { "to": "customer", "kind": "one" } } }),
                &[],
            ),
            properties(serde_json::json!({ "number": { "kind": "string", "formerly": ["orderNumber"], "indexed": true } })),
        ];
        for change in changes {
            let before = served.load(Ordering::Relaxed);
            until("the load goes on between two changes", async || {
                served.load(Ordering::Relaxed) > before + 60
            })
            .await;
            let options = ChangeOptions {
                force: true,
                ..ChangeOptions::default()
            };
            store.change_klasses(&actor, vec![change], options).await.unwrap();
        }
        // What was given up is dropped while they go on.
        let open = async || {
            let rows = store.select("select state from klass_change where state <> 'done'", vec![]).await;
            rows.unwrap().len()
        };
        until("the changes are cleaned up after", async || open().await == 0).await;
        stop.store(true, Ordering::Relaxed);
        let mut writes = 0;
        for task in tasks {
            let (wrote, done, failed) = task.await.unwrap();
            assert_eq!(failed, Vec::<String>::new(), "{} of them", failed.len());
            assert!(done > 20, "only {done} requests in a task");
            writes += if wrote { done } else { 0 };
        }
        assert_eq!(store.doctor(actor.org, false).await.unwrap(), vec![]);
        let registry = store.fresh_registry(actor.org).await.unwrap();
        let klass = registry.klass("order").unwrap();
        let table = crate::store::ddl::Name::from(&klass.table).sql(store.dialect());
        let (number, state) = (
            &klass.property("orderNumber").unwrap().column,
            &klass.property("state").unwrap().column,
        );
        let rows = store
            .select(
                &format!("select count(*), count({number}), count(distinct {number}), count({state}) from {table}"),
                vec![],
            )
            .await
            .unwrap();
        let n = |i: usize| -> u64 { rows[0].try_get_by_index::<i64>(i).unwrap() as u64 };
        assert_eq!(
            (n(0), n(1), n(2), n(3)),
            (writes, writes, writes, writes),
            "every number that was written is there, in every row"
        );
    })
    .await;
}
