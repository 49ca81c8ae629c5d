//! What is derived equals what a recount of the rows gives, after any writes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A small generator of numbers: a seed gives the same writes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() {
            None
        } else {
            Some(of[self.roll(of.len() as u64) as usize])
        }
    }
}

type Row = serde_json::Map<String, Json>;

async fn all(world: &World, klass: &str) -> Vec<Row> {
    let klass = world.klass(klass);
    let layout = Layout::of(&klass).expect("a layout");
    let mut sql = format!("select {} from {} t", layout.select(), table(world.store.dialect(), &klass.table));
    if let Some(extension) = klass.extension.as_ref().filter(|_| layout.extended) {
        sql.push_str(&format!(" left join {} x on x.id = t.id", table(world.store.dialect(), extension)));
    }
    let rows = world.store.rows(sql, vec![]).await.expect("reads");
    rows.iter()
        .map(|row| layout.to_json(&layout.read(world.store.dialect(), row, 0).expect("a row")))
        .collect()
}

/// Compares what is stored with a plain recount.
async fn check(world: &World, seed: u64, done: &BTreeMap<Uuid, (Option<String>, Option<String>, i64)>) {
    let live = |rows: Vec<Row>| rows.into_iter().filter(|row| !row.contains_key("deleted_at")).collect::<Vec<_>>();
    let (customers, conversations) = (live(all(world, "customer").await), live(all(world, "conversation").await));
    let (messages, notes) = (live(all(world, "message").await), live(all(world, "note").await));
    let text = |row: &Row, name: &str| row.get(name).and_then(Json::as_str).map(str::to_string);
    for row in &conversations {
        let id = row["id"].clone();
        let mut expected: Row = Row::new();
        let mine: Vec<&Row> = messages.iter().filter(|m| m["conversation_id"] == id).collect();
        for direction in ["in", "out"] {
            let mut marks: Vec<(String, String)> = mine
                .iter()
                .filter(|m| m["direction"] == direction)
                .map(|m| (text(m, "sent_at").expect("a time"), text(m, "channel").expect("a channel")))
                .collect();
            marks.sort();
            expected.insert(format!("message_count_{direction}"), marks.len().into());
            if let (Some(first), Some(last)) = (marks.first(), marks.last()) {
                expected.insert(format!("first_message_{direction}_at"), first.0.clone().into());
                expected.insert(format!("first_message_{direction}_channel"), first.1.clone().into());
                expected.insert(format!("last_message_{direction}_at"), last.0.clone().into());
                expected.insert(format!("last_message_{direction}_channel"), last.1.clone().into());
            }
        }
        if let Some(first_in) = text(&expected, "first_message_in_at") {
            let answers = mine
                .iter()
                .filter(|m| m["direction"] == "out" && m["auto"] == false)
                .filter_map(|m| text(m, "sent_at"));
            if let Some(at) = answers.filter(|at| *at >= first_in).min() {
                expected.insert("first_response_at".into(), at.into());
            }
        }
        let last = mine.iter().max_by_key(|m| (text(m, "sent_at"), text(m, "id")));
        if let Some(last) = last {
            expected.insert("last_message_at".into(), last["sent_at"].clone());
            expected.insert("preview".into(), last["body"].clone());
        }
        let channels: BTreeSet<String> = mine.iter().filter_map(|m| text(m, "channel")).collect();
        let noted = notes.iter().filter(|n| n.get("conversation_id") == Some(&id)).count();
        expected.insert("note_count".into(), noted.into());
        let names = [
            "message_count_in",
            "message_count_out",
            "note_count",
            "first_message_in_at",
            "first_message_in_channel",
            "first_message_out_at",
            "first_message_out_channel",
            "last_message_in_at",
            "last_message_in_channel",
            "last_message_out_at",
            "last_message_out_channel",
            "last_message_at",
            "first_response_at",
            "preview",
        ];
        for name in names {
            assert_eq!(row.get(name), expected.get(name), "{name} of conversation {id}, seed {seed}");
        }
        let told: BTreeSet<String> = row
            .get("channels")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(|c| c.as_str().map(str::to_string))
            .collect();
        assert_eq!(told, channels, "channels, seed {seed}");
        let key: Uuid = text(row, "id").expect("an id").parse().expect("an id");
        let (first, last, reopened) = done.get(&key).cloned().unwrap_or_default();
        assert_eq!(
            (row.contains_key("first_done_at"), row.contains_key("last_done_at")),
            (first.is_some(), last.is_some()),
            "done, seed {seed}"
        );
        assert_eq!(row["reopen_count"], json!(reopened), "reopens, seed {seed}");
    }
    let entries = world
        .store
        .rows("select customer_id, object_id, kind from timeline_entry", vec![])
        .await
        .expect("reads");
    let mut standing: BTreeSet<(String, String)> = BTreeSet::new();
    for entry in &entries {
        let (customer, object): (Uuid, Uuid) = (entry.try_get_by_index(0).expect("an id"), entry.try_get_by_index(1).expect("an id"));
        let kind: String = entry.try_get_by_index(2).expect("a kind");
        if kind == "message" || kind == "note" {
            assert!(
                standing.insert((customer.to_string(), object.to_string())),
                "twice on a timeline, seed {seed}"
            );
        }
    }
    let expected: BTreeSet<(String, String)> = messages
        .iter()
        .chain(&notes)
        .filter_map(|row| Some((text(row, "customer_id")?, text(row, "id")?)))
        .collect();
    assert_eq!(standing, expected, "timeline, seed {seed}");
    for row in &customers {
        let id = row["id"].clone();
        let mine: Vec<&Row> = conversations.iter().filter(|c| c["customer_id"] == id).collect();
        let of = |status: &str| mine.iter().filter(|c| c["status"] == status).count();
        for (name, n) in [
            ("conversation_count_open", of("open")),
            ("conversation_count_snoozed", of("snoozed")),
            ("conversation_count_done", of("done")),
            ("conversation_count_all", mine.len()),
        ] {
            assert_eq!(row[name], json!(n), "{name}, seed {seed}");
        }
        for direction in ["in", "out"] {
            let last = messages
                .iter()
                .filter(|m| m.get("customer_id") == Some(&id) && m["direction"] == direction)
                .map(|m| (text(m, "sent_at"), text(m, "channel")))
                .max();
            let told = (
                text(row, &format!("last_message_{direction}_at")),
                text(row, &format!("last_message_{direction}_channel")),
            );
            assert_eq!(told, last.unwrap_or_default(), "last message {direction}, seed {seed}");
        }
        let key: Uuid = text(row, "id").expect("an id").parse().expect("an id");
        let rows = world
            .store
            .rows("select max(at) from timeline_entry where customer_id = $1", vec![key.into()])
            .await
            .expect("reads");
        let last = super::super::layout::read_time(world.store.dialect(), &rows[0], &mut 0)
            .expect("a time")
            .map(super::super::layout::rfc3339);
        assert_eq!(text(row, "last_activity_at"), last, "last activity, seed {seed}");
    }
}

#[tokio::test]
async fn derived_values_equal_a_recount_after_any_writes() {
    each(async |fresh: Fresh| {
        for seed in 1..=4u64 {
            let slug = format!("org{seed}");
            let world = World::new(&fresh.store, &slug).await;
            run(&world, seed).await;
            // `check` reads whole tables, so each seed has them to itself.
            for table in [
                "message",
                "note",
                "conversation_assigned_users",
                "conversation",
                "contact_point",
                "timeline_entry",
            ] {
                let sql = format!("delete from {table}");
                world
                    .store
                    .transact(move |tx| {
                        let sql = sql.clone();
                        Box::pin(async move { tx.batch(&sql).await })
                    })
                    .await
                    .expect("clears");
            }
            let sql = "delete from customer";
            world
                .store
                .transact(move |tx| {
                    Box::pin(async move {
                        let _ = tx.batch("savepoint s").await;
                        tx.batch(sql).await
                    })
                })
                .await
                .expect("clears");
        }
    })
    .await;
}

async fn run(world: &World, seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut customers = Vec::new();
    for i in 0..3 {
        customers.push(world.create("customer", json!({"name": format!("c{i}")})).await);
    }
    let (mut conversations, mut messages, mut notes): (Vec<Uuid>, Vec<Uuid>, Vec<Uuid>) = (vec![], vec![], vec![]);
    let mut done: BTreeMap<Uuid, (Option<String>, Option<String>, i64)> = BTreeMap::new();
    let mut statuses: BTreeMap<Uuid, &str> = BTreeMap::new();
    let said = |dice: &mut Dice| {
        let at = format!("2026-01-{:02}T10:00:0{}Z", dice.roll(20) + 1, dice.roll(10));
        let channel = ["email", "sms", "chat"][dice.roll(3) as usize];
        let direction = ["in", "out"][dice.roll(2) as usize];
        json!({"channel": channel, "direction": direction, "auto": dice.roll(4) == 0, "sentAt": at, "body": format!("b{}", dice.roll(1000))})
    };
    for _ in 0..90 {
        let conversation = dice.pick(&conversations);
        match dice.roll(14) {
            0 => {
                let customer = customers[dice.roll(3) as usize];
                let status = ["open", "snoozed", "done"][dice.roll(3) as usize];
                let inner: Vec<Json> = (0..dice.roll(3)).map(|_| json!({"create": said(&mut dice)})).collect();
                let id = world
                    .create(
                        "conversation",
                        json!({"customer": {"connect": customer.to_string()}, "status": status, "messages": inner}),
                    )
                    .await;
                conversations.push(id);
                statuses.insert(id, status);
                let was_done = (status == "done").then(String::new);
                done.insert(id, (was_done.clone(), was_done, 0));
                for row in all(world, "message").await {
                    if row["conversation_id"] == json!(id.to_string()) {
                        messages.push(row["id"].as_str().expect("an id").parse().expect("an id"));
                    }
                }
            }
            1..=4 => {
                if let Some(conversation) = conversation {
                    let mut json = said(&mut dice);
                    json["conversation"] = json!({"connect": conversation.to_string()});
                    if let Ok(written) = world.one(Draft::Create(world.object("message", json))).await {
                        messages.push(written.ids[0].0);
                    }
                }
            }
            5 => {
                // several at once, to several conversations
                let mut drafts = Vec::new();
                for _ in 0..dice.roll(5) + 1 {
                    if let Some(conversation) = dice.pick(&conversations) {
                        let mut json = said(&mut dice);
                        json["conversation"] = json!({"connect": conversation.to_string()});
                        drafts.push(Draft::Create(world.object("message", json)));
                    }
                }
                let results = world
                    .store
                    .write(&world.actor, &world.registry, drafts, WriteOptions::default())
                    .await
                    .expect("writes");
                messages.extend(results.iter().flatten().map(|w| w.ids[0].0));
            }
            6 => {
                if let Some(conversation) = conversation {
                    let draft = world.object("note", json!({"body": "n", "conversation": {"connect": conversation.to_string()}}));
                    if let Ok(written) = world.one(Draft::Create(draft)).await {
                        notes.push(written.ids[0].0);
                    }
                }
            }
            7 => {
                if let Some(message) = dice.pick(&messages) {
                    let _ = world.delete("message", message).await;
                }
            }
            8 => {
                if let Some(message) = dice.pick(&messages) {
                    let _ = world.restore("message", message).await;
                }
                if let Some(note) = dice.pick(&notes) {
                    let _ = if dice.roll(2) == 0 {
                        world.delete("note", note).await
                    } else {
                        world.restore("note", note).await
                    };
                }
            }
            9 => {
                if let (Some(message), Some(conversation)) = (dice.pick(&messages), conversation) {
                    let _ = world
                        .update("message", message, json!({"conversation": {"connect": conversation.to_string()}}))
                        .await;
                }
            }
            10 => {
                if let Some(message) = dice.pick(&messages) {
                    let mut json = said(&mut dice);
                    if dice.roll(3) == 0 {
                        json["sentAt"] = Json::Null;
                    }
                    let _ = world.update("message", message, json).await;
                }
            }
            11 => {
                if let Some(conversation) = conversation {
                    let status = ["open", "snoozed", "done"][dice.roll(3) as usize];
                    if world.update("conversation", conversation, json!({"status": status})).await.is_ok() {
                        let old = statuses.insert(conversation, status).expect("a status");
                        let entry = done.entry(conversation).or_default();
                        if status == "done" && old != "done" {
                            entry.0 = entry.0.clone().or(Some(String::new()));
                            entry.1 = Some(String::new());
                        } else if old == "done" && status != "done" {
                            entry.2 += 1;
                        }
                    }
                }
            }
            12 => {
                if let Some(conversation) = conversation {
                    let customer = customers[dice.roll(3) as usize];
                    let _ = world
                        .update("conversation", conversation, json!({"customer": {"connect": customer.to_string()}}))
                        .await;
                }
            }
            _ => {
                if let Some(conversation) = conversation {
                    let _ = match dice.roll(3) {
                        0 => world.delete("conversation", conversation).await,
                        _ => world.restore("conversation", conversation).await,
                    };
                }
                if dice.roll(3) == 0
                    && let Some(message) = dice.pick(&messages)
                {
                    let _ = world.destroy("message", message).await;
                }
            }
        }
    }
    check(world, seed, &done).await;
    let events = world.events(&Source::Org).await;
    assert!(events.iter().all(|e| e.after.is_some() || e.op == EventOp::Destroyed));
    // Folding the events gives the rows.
    let mut folded: BTreeMap<Uuid, Row> = BTreeMap::new();
    for event in &events {
        let id = event.object.expect("an object").0;
        match &event.after {
            Some(after) => folded.insert(id, after.clone()),
            None => folded.remove(&id),
        };
    }
    for klass in ["customer", "conversation", "message", "note"] {
        for row in all(world, klass).await {
            let id: Uuid = row["id"].as_str().expect("an id").parse().expect("an id");
            assert_eq!(folded.get(&id), Some(&row), "{klass} {id}, seed {seed}");
        }
    }
}
