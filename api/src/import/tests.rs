//! Imports into a database of their own.

use std::path::Path;
use std::sync::Arc;

use klio_entities::klass::change::KlassChange;
use klio_entities::klass::{Actor, OrgId, read};
use klio_entities::store::{Store, StoreConfig};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::*;

#[derive(Default)]
struct Heard {
    bad: Vec<String>,
    stop_after: Option<(u64, CancellationToken)>,
}

impl Watch for Heard {
    fn bad(&mut self, bad: &Bad) {
        // Ids are new each time.
        let told = bad.to_string();
        let words = told
            .split(' ')
            .map(|word| if word.starts_with("person_01") { "<id>" } else { word });
        self.bad.push(words.collect::<Vec<_>>().join(" "));
    }
    fn at(&mut self, at: &Progress) {
        if let Some((objects, stop)) = &self.stop_after
            && at.objects >= *objects
        {
            stop.cancel();
        }
    }
}

struct World {
    folder: TempDir,
    store: Store,
    actor: Actor,
}

const PERSON: &str = r#"
name = "person"
plural = "people"
[properties]
name = { kind = "string", required = true }
age = { kind = "integer", min = 0 }
email = { kind = "email", unique = true }
joinedOn = { kind = "date" }
active = { kind = "boolean" }
tags2 = { kind = "list of string" }
[relationships]
boss = { to = "person", kind = "one", inverse = "reports" }
friends = { to = "person", kind = "many", inverse = "befriended" }
"#;

const BADGE: &str = r#"
name = "badge"
plural = "badges"
[properties]
number = { kind = "integer", required = true, indexed = true }
[relationships]
holder = { to = "person", kind = "one", inverse = "badges", required = true, onDelete = "cascade" }
"#;

const PEOPLE: &str = r#"
klass = "person"
[properties]
externalId = "id"
name = "name"
age = "age"
email = "email"
[links]
boss = { from = "boss", by = "email" }
friends = { from = "friends[]" }
[[children]]
klass = "badge"
records = "badges"
[children.properties]
externalId = { join = ["^.id", "@index"], with = "/" }
number = "@value"
[children.links]
holder = { parent = true }
"#;

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = StoreConfig {
            url: format!("sqlite:{}", folder.path().join("klio.db").display()),
            ..crate::Config::defaults().store()
        };
        let store = Store::open(&config).await.expect("a new database");
        store.migrate().await.expect("it migrates");
        let org = store.create_org("acme", "Acme").await.expect("an org");
        let actor = Actor::system(OrgId(org.id));
        let changes = [PERSON, BADGE].map(|text| KlassChange::Define(read::from_toml(text).expect("a definition")));
        store
            .change_klasses(&actor, changes.to_vec(), Default::default())
            .await
            .expect("klasses");
        Self { folder, store, actor }
    }

    fn job(&self, name: &str, text: &str, klass: &str, mapping: &str) -> Import {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        Import {
            file,
            format: None,
            klass: klass.into(),
            mapping: mapping.into(),
            dry_run: false,
            batch: 3,
            stop: CancellationToken::new(),
        }
    }

    async fn run(&self, job: &Import) -> (Summary, Vec<String>) {
        let mut heard = Heard::default();
        let summary = import(&self.store, &self.actor, job, &mut heard)
            .await
            .expect("it comes to its end");
        (summary, heard.bad)
    }

    async fn ask(&self, query: &str) -> Json {
        use klio_schema::execute::{Allow, Request};
        let gateway = crate::gateway(&self.store, crate::Config::defaults().limits);
        let request = Request {
            query: query.into(),
            operation: None,
            variables: Default::default(),
            extensions: Default::default(),
        };
        let answer = gateway.execute(&self.actor, request, Allow { mutations: false }).await;
        let body: Json = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(body.get("errors").is_none(), "{body}");
        body["data"].clone()
    }
}

fn tally(summary: &Summary, klass: &str) -> Tally {
    summary.klasses.get(klass).copied().unwrap_or_default()
}

const STAFF: &str = r#"[
  {"id": 1, "name": "Ann", "age": 30, "email": "ann@x.example", "boss": "eve@x.example", "friends": [5, 2, 99], "badges": [7, "8"]},
  {"id": 2, "name": "Ben", "age": -4, "email": "ben@x.example", "badges": [9]},
  {"id": 3, "name": "Cid", "age": "old", "email": "cid@x.example"},
  {"id": 4, "name": "Dee", "email": "dee@x.example", "boss": "nobody@x.example"},
  {"id": 5, "name": "Eve", "email": "eve@x.example", "boss": null, "badges": [10, "none", 11]},
  {"id": 6, "name": "Fay", "email": "ann@x.example"},
  {"name": "Gus"}
]"#;

#[tokio::test]
async fn what_is_good_comes_in_and_what_is_bad_is_told() {
    let world = World::new().await;
    let job = world.job("staff.json", STAFF, "person", PEOPLE);
    let (summary, bad) = world.run(&job).await;
    expect_test::expect![[r#"
        staff.json [1] person.age: `age` must not be less than 0.
        staff.json [2] person.age: "old" is not a whole number.
        staff.json [4] badges[1] badge.number: "none" is not a whole number.
        staff.json [6] person.externalId: the key has no value here
        staff.json [5] person.email: <id> has email "ann@x.example" already (change that object instead, or give another value)
        staff.json [0] person.friends: there is no person with externalId "2"; it was imported without this link
        staff.json [0] person.friends: there is no person with externalId "99"; it was imported without this link
        staff.json [3] person.boss: there is no person with email "nobody@x.example"; it was imported without this link"#]]
    .assert_eq(&bad.join("\n"));
    assert_eq!(
        tally(&summary, "person"),
        Tally {
            created: 3,
            failed: 4,
            ..Tally::default()
        }
    );
    assert_eq!(
        tally(&summary, "badge"),
        Tally {
            created: 4,
            failed: 2,
            ..Tally::default()
        }
    );
    assert_eq!((summary.late_links, summary.lost_links), (2, 3));

    let people = world
        .ask("{ people(orderBy: [{ externalId: ASC }]) { nodes { name age boss { name } friends { nodes { name } } badges(orderBy: [{ number: ASC }]) { nodes { number } } importedAt version } } }")
        .await;
    let nodes = people["people"]["nodes"].as_array().expect("people").clone();
    assert_eq!(nodes[0]["boss"], json!({ "name": "Eve" }));
    assert_eq!(nodes[0]["friends"]["nodes"], json!([{ "name": "Eve" }]));
    assert_eq!(nodes[0]["badges"]["nodes"], json!([{ "number": 7 }, { "number": 8 }]));
    assert!(nodes[0]["importedAt"].is_string());
    assert_eq!(nodes[1]["name"], "Dee");
    assert_eq!(nodes[1]["boss"], Json::Null);

    // Again: nothing changes, and the same is told.
    let (again, told) = world.run(&job).await;
    assert_eq!(
        tally(&again, "person"),
        Tally {
            unchanged: 3,
            failed: 4,
            ..Tally::default()
        }
    );
    assert_eq!(
        tally(&again, "badge"),
        Tally {
            unchanged: 4,
            failed: 2,
            ..Tally::default()
        }
    );
    assert_eq!(told, bad);
    let after = world.ask("{ people(orderBy: [{ externalId: ASC }]) { nodes { version } } }").await;
    let versions: Vec<&Json> = nodes.iter().map(|node| &node["version"]).collect();
    let now: Vec<&Json> = after["people"]["nodes"]
        .as_array()
        .expect("people")
        .iter()
        .map(|n| &n["version"])
        .collect();
    assert_eq!(versions, now);
}

#[tokio::test]
async fn objects_wait_for_what_they_cannot_be_without() {
    let world = World::new().await;
    let badges = "klass = \"badge\"\n[properties]\nexternalId = \"id\"\nnumber = \"n\"\n[links]\nholder = { from = \"holder\" }";
    let lines = "{\"id\":\"a\",\"n\":1,\"holder\":1}\n{\"id\":\"b\",\"n\":2,\"holder\":77}\n{\"id\":\"c\",\"n\":3}\n";
    let job = world.job("badges.ndjson", lines, "badge", badges);
    let (summary, bad) = world.run(&job).await;
    assert_eq!(
        tally(&summary, "badge"),
        Tally {
            failed: 3,
            ..Tally::default()
        }
    );
    expect_test::expect![[r#"
        badges.ndjson:3 badge.holder: holder is required
        badges.ndjson:1 badge.holder: there is no person with externalId "1", and it cannot be without
        badges.ndjson:2 badge.holder: there is no person with externalId "77", and it cannot be without"#]]
    .assert_eq(&bad.join("\n"));
}

#[tokio::test]
async fn an_interrupted_import_goes_on() {
    let world = World::new().await;
    // The first one's boss is the last one: the link waits over the interruption.
    let lines: String = (0..40)
        .map(|i| {
            format!(
                "{}\n",
                json!({ "id": i, "name": format!("P{i}"), "email": format!("p{i}@x.example"), "boss": (i == 0).then_some("p39@x.example") })
            )
        })
        .collect();
    let mut job = world.job("people.jsonl", &lines, "person", PEOPLE);
    job.stop = CancellationToken::new();
    let mut heard = Heard {
        stop_after: Some((10, job.stop.clone())),
        ..Heard::default()
    };
    let summary = import(&world.store, &world.actor, &job, &mut heard).await.expect("it stops");
    assert!(summary.stopped);
    let done = tally(&summary, "person").created;
    assert!((10..40).contains(&done), "{done}");
    job.stop = CancellationToken::new();
    let (rest, bad) = world.run(&job).await;
    assert_eq!(bad, Vec::<String>::new());
    assert_eq!(rest.skipped, done);
    assert_eq!(tally(&rest, "person").created, 40 - done);
    assert_eq!(rest.late_links, 1);
    let boss = world.ask("{ person(externalId: \"0\") { boss { name } } }").await;
    assert_eq!(boss["person"]["boss"]["name"], "P39");
}

#[tokio::test]
async fn a_table_is_imported_and_a_dry_run_writes_nothing() {
    let world = World::new().await;
    let map = "klass = \"person\"\n[properties]\nexternalId = \"No\"\nname = { template = \"{Last Name}, {First}\" }\nage = \"Age\"\nactive = \"Active\"\njoinedOn = \"Joined\"\ntags2 = { split = \"Tags\", by = \";\" }";
    let rows = "No,First,Last Name,Age,Active,Joined,Tags\n1,Ann,Ax,30,yes,2024-02-29,a; b\n2,Ben,Bo,,no,2023-02-29,\n3,Cid\n4,\"D\nee\",Do,4,0,,c\n";
    let mut job = world.job("people.csv", rows, "person", map);
    job.dry_run = true;
    let (dry, told) = world.run(&job).await;
    assert_eq!(
        tally(&dry, "person"),
        Tally {
            created: 2,
            failed: 1,
            ..Tally::default()
        }
    );
    let none = world.ask("{ people { totalCount } }").await;
    assert_eq!(none["people"]["totalCount"], 0);
    job.dry_run = false;
    let (summary, bad) = world.run(&job).await;
    assert_eq!(told, bad);
    expect_test::expect![[r#"
        people.csv:3 person.joinedOn: "2023-02-29" is not a date such as 2026-11-24.
        people.csv:4: this row has 2 cells, and the heading has 7"#]]
    .assert_eq(&bad.join("\n"));
    assert_eq!((summary.unreadable, summary.failed()), (1, 2));
    let people = world
        .ask("{ people(orderBy: [{ externalId: ASC }]) { nodes { name age active joinedOn tags2 } } }")
        .await;
    assert_eq!(
        people["people"]["nodes"],
        json!([
            { "name": "Ax, Ann", "age": 30, "active": true, "joinedOn": "2024-02-29", "tags2": ["a", "b"] },
            { "name": "Do, D\nee", "age": 4, "active": false, "joinedOn": null, "tags2": ["c"] },
        ])
    );
}

#[tokio::test]
async fn a_file_that_breaks_off_is_imported_up_to_there() {
    let world = World::new().await;
    let text = "[{\"id\": 1, \"name\": \"Ann\"},\n{\"id\": 2, \"name\": \"Ben\"},\n{\"id\": 3,";
    let job = world.job("people.json", text, "person", PEOPLE);
    let error = import(&world.store, &world.actor, &job, &mut Heard::default())
        .await
        .expect_err("it breaks off");
    assert!(error.to_string().contains("line 3"), "{error}");
    let people = world.ask("{ people { totalCount } }").await;
    assert_eq!(people["people"]["totalCount"], 2);
    let missing = Import {
        file: Path::new("/nowhere.json").into(),
        ..job
    };
    assert!(import(&world.store, &world.actor, &missing, &mut Heard::default()).await.is_err());
}

#[tokio::test]
async fn a_dry_run_hears_what_the_database_says() {
    let world = World::new().await;
    let there = world.job(
        "there.json",
        r#"[{"id": "old", "name": "Old", "email": "old@x.example"}]"#,
        "person",
        PEOPLE,
    );
    world.run(&there).await;
    let text = r#"[
      {"id": 1, "name": "Ann", "email": "ann@x.example", "boss": "eve@x.example", "friends": [5, "old", 99]},
      {"id": 2, "name": "Ben", "email": "old@x.example"},
      {"id": 3, "name": "Cid", "email": "cid@x.example"},
      {"id": 4, "name": "Dee", "email": "dee@x.example", "boss": "nobody@x.example"},
      {"id": 5, "name": "Eve", "email": "eve@x.example", "badges": [1]},
      {"id": 6, "name": "Fay", "email": "ann@x.example"},
      {"id": 7, "email": "gus@x.example"}
    ]"#;
    let mut job = world.job("staff.json", text, "person", PEOPLE);
    job.dry_run = true;
    let (dry, told) = world.run(&job).await;
    expect_test::expect![[r#"
        staff.json [0] person.boss: there is no person with email "eve@x.example"; it would be imported without this link
        staff.json [0] person.friends: there is no person with externalId "99"; it would be imported without this link
        staff.json [1] person.email: <id> has email "old@x.example" already (change that object instead, or give another value)
        staff.json [3] person.boss: there is no person with email "nobody@x.example"; it would be imported without this link
        staff.json [5] person.email: another record of this file has email "ann@x.example" already
        staff.json [6] person.name: name is required"#]]
    .assert_eq(&told.join("\n"));
    assert_eq!(
        (tally(&dry, "person").created, tally(&dry, "person").failed, dry.lost_links),
        (4, 3, 3)
    );
    assert_eq!(tally(&dry, "badge").created, 1);
    let none = world.ask("{ people { totalCount } badges { totalCount } }").await;
    assert_eq!(
        (&none["people"]["totalCount"], &none["badges"]["totalCount"]),
        (&json!(1), &json!(0))
    );
    let badges = "klass = \"badge\"\n[properties]\nexternalId = \"id\"\nnumber = \"n\"\n[links]\nholder = { from = \"holder\" }";
    let mut job = world.job(
        "badges.ndjson",
        "{\"id\":\"a\",\"n\":1,\"holder\":\"old\"}\n{\"id\":\"b\",\"n\":2,\"holder\":77}\n{\"id\":\"c\",\"n\":3}\n",
        "badge",
        badges,
    );
    job.dry_run = true;
    let (dry, told) = world.run(&job).await;
    expect_test::expect![[r#"
        badges.ndjson:2 badge.holder: there is no person with externalId "77", and it cannot be without
        badges.ndjson:3 badge.holder: holder is required"#]]
    .assert_eq(&told.join("\n"));
    assert_eq!((tally(&dry, "badge").created, tally(&dry, "badge").failed), (1, 2));
}

#[tokio::test]
async fn links_may_bear_properties() {
    let world = World::new().await;
    let basket = r#"
name = "basket"
plural = "baskets"
[properties]
note = { kind = "string" }
[relationships]
owners = { to = "person", kind = "many", inverse = "baskets", properties = { share = { kind = "decimal" }, since = { kind = "date" }, how = { kind = "string" } } }
"#;
    let change = KlassChange::Define(read::from_toml(basket).expect("a definition"));
    world
        .store
        .change_klasses(&world.actor, vec![change], Default::default())
        .await
        .expect("a klass");
    let people = world.job(
        "people.json",
        r#"[{"id": 1, "name": "Ann"}, {"id": 2, "name": "Ben"}]"#,
        "person",
        PEOPLE,
    );
    world.run(&people).await;
    let map = r#"
klass = "basket"
[properties]
externalId = "id"
[links]
owners = { each = "held", from = "who", properties = { share = "part", since = "^.made", how = { value = "bought" } } }
"#;
    let text = |share: &str| {
        format!(
            r#"[{{"id": "b", "made": "2026-01-02", "held": [{{"who": 1, "part": "0.25"}}, {{"who": 2, "part": "{share}"}}]}}, {{"id": "c", "held": [{{"who": 1, "part": "much"}}]}}]"#
        )
    };
    let job = world.job("baskets.json", &text("0.75"), "basket", map);
    let (summary, bad) = world.run(&job).await;
    assert_eq!(
        bad,
        ["baskets.json [1] basket.owners: held[0]: share: \"much\" is not a decimal number."]
    );
    assert_eq!((tally(&summary, "basket").created, tally(&summary, "basket").failed), (1, 1));
    let edges = async || {
        let asked = world
            .ask("{ basket(externalId: \"b\") { version owners(orderBy: [{ externalId: ASC }]) { edges { share since how node { name } } } } }")
            .await;
        asked["basket"].clone()
    };
    let first = edges().await;
    assert_eq!(
        first["owners"]["edges"],
        json!([
            { "share": "0.25", "since": "2026-01-02", "how": "bought", "node": { "name": "Ann" } },
            { "share": "0.75", "since": "2026-01-02", "how": "bought", "node": { "name": "Ben" } },
        ])
    );
    let (again, _) = world.run(&job).await;
    assert_eq!(tally(&again, "basket").unchanged, 1, "running it again changes nothing");
    assert_eq!(edges().await, first);
    let other = world.job("baskets.json", &text("0.5"), "basket", map);
    world.run(&other).await;
    assert_eq!(edges().await["owners"]["edges"][1]["share"], "0.5");

    // What is wrong with a mapping of links is told.
    let wrong = map.replace("share = \"part\"", "shar = \"part\"") + "notes = { each = \"x\", from = \"y\" }\n";
    let registry = world.store.registry(world.actor.org).await.expect("klasses");
    let faults = mapping::Mapping::read(&wrong, &registry, "basket")
        .expect_err("it is wrong")
        .to_string();
    assert!(
        faults.contains("links of `owners` have no property `shar`") && faults.contains("Did you mean `share`?"),
        "{faults}"
    );
}

/// Changes the klass once some objects are in.
struct Changer {
    world: Arc<World>,
    at: u64,
    changes: Vec<KlassChange>,
}

impl Watch for Changer {
    fn bad(&mut self, bad: &Bad) {
        panic!("{bad}");
    }
    fn at(&mut self, at: &Progress) {
        if at.objects >= self.at && !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            let world = self.world.clone();
            // The import waits for it, so that it is in the middle for certain.
            tokio::task::block_in_place(|| {
                let change = world.store.change_klasses(&world.actor, changes, Default::default());
                tokio::runtime::Handle::current().block_on(change).expect("the klasses change");
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn klasses_may_change_meanwhile() {
    let world = Arc::new(World::new().await);
    let lines: String = (0..40).map(|i| format!("{}\n", json!({ "id": i, "name": format!("P{i}"), "boss": (i == 0).then_some("p39@x.example"), "email": format!("p{i}@x.example"), "badges": [i] }))).collect();
    let job = world.job("people.jsonl", &lines, "person", PEOPLE);
    let richer = PERSON.replace("[relationships]", "size = { kind = \"integer\", default = 7 }\n[relationships]");
    let mut changer = Changer {
        world: world.clone(),
        at: 10,
        changes: vec![KlassChange::Define(read::from_toml(&richer).expect("a definition"))],
    };
    let summary = import(&world.store, &world.actor, &job, &mut changer)
        .await
        .expect("it comes to its end");
    assert!(changer.changes.is_empty(), "the change was made");
    assert_eq!(
        (
            tally(&summary, "person").created,
            tally(&summary, "badge").created,
            summary.failed()
        ),
        (40, 40, 0)
    );
    let asked = world.ask("{ all: people { totalCount } new: people(filter: { size: { eq: 7 } }) { totalCount } person(externalId: \"0\") { boss { name } } }").await;
    assert_eq!(asked["all"]["totalCount"], 40);
    let new = asked["new"]["totalCount"].as_i64().expect("a number");
    assert!(new > 0, "those behind the change are written by the new klass: {new}");
    assert_eq!(asked["person"]["boss"]["name"], "P39");
}
