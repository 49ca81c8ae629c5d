//! What the gateway keeps true of conversations and customers: counts, first and last messages, done times, last activity.
//!
//! Most writes add a message or a note, and then what is kept follows from what was kept and what was added. Whatever else
//! happens to a message (deleted, restored, moved, its time or direction changed) has its conversation counted anew, by the
//! database, after the rows are written. Of messages with the same time the first is the one with the smaller channel name, the
//! last the one with the greater, so both ways agree.
//!
//! A change of what is derived raises neither `version` nor `updatedAt`: these guard what people write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sea_orm::Value as Bound;
use serde_json::Value as Json;
use uuid::Uuid;

use super::layout::{self, Image, Layout, parameter};
use super::unit::{Lock, Row, Unit};
use crate::klass::Value;
use crate::store::{StoreError, timeline};

mod recount;

/// Longest preview, in characters.
const PREVIEW: usize = 200;

/// What must be counted anew after the rows are written.
#[derive(Debug, Default)]
pub(crate) struct Recount {
    pub conversations: BTreeSet<Uuid>,
    /// Customers whose last messages must be looked for.
    pub customers: BTreeSet<Uuid>,
    /// Customers whose last activity must be looked for.
    pub activity: BTreeSet<Uuid>,
}

impl Recount {
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty() && self.customers.is_empty() && self.activity.is_empty()
    }
}

/// A time with its channel, in the order in which first and last are chosen.
type Mark = (DateTime<Utc>, String);

fn mark(row: &Row, image: &Image) -> Option<Mark> {
    Some((
        row.layout.time(image, "sent_at")?,
        row.layout.text(image, "channel").unwrap_or_default().to_string(),
    ))
}

fn get_mark(layout: &Layout, image: &Image, name: &str) -> Option<Mark> {
    let at = layout.time(image, &format!("{name}_at"))?;
    Some((at, layout.text(image, &format!("{name}_channel")).unwrap_or_default().to_string()))
}

fn set(layout: &Layout, image: &mut Image, column: &str, value: Value) {
    if let Some(slot) = layout.slot(column) {
        image[slot] = value;
    }
}

fn set_mark(layout: &Layout, image: &mut Image, name: &str, mark: Option<Mark>) {
    let (at, channel) = match mark {
        Some((at, channel)) => (
            Value::DateTime(at),
            if channel.is_empty() { Value::Null } else { Value::String(channel) },
        ),
        None => (Value::Null, Value::Null),
    };
    set(layout, image, &format!("{name}_at"), at);
    set(layout, image, &format!("{name}_channel"), channel);
}

fn add(layout: &Layout, image: &mut Image, column: &str, n: i64) {
    if let Some(slot) = layout.slot(column) {
        let old = if let Value::Integer(old) = image[slot] { old } else { 0 };
        image[slot] = Value::Integer((old + n).max(0));
    }
}

/// The columns of a message that what is derived hangs on.
const MESSAGE: [&str; 8] = [
    "conversation_id",
    "customer_id",
    "direction",
    "channel",
    "sent_at",
    "auto",
    "preview",
    "body",
];

impl Unit<'_> {
    fn standard_rows(&self, name: &str) -> Vec<Uuid> {
        self.rows
            .values()
            .filter(|row| row.klass.standard && row.klass.name == name)
            .map(|row| row.id)
            .collect()
    }

    /// Fills in what follows from other objects: a message's and a note's customer, a message's time.
    pub async fn fill(&mut self) -> Result<(), StoreError> {
        for id in self.standard_rows("message") {
            let now = self.now;
            let row = &self.rows[&id];
            if !row.touched || !row.after[row.layout.slot("sent_at").unwrap_or(row.layout.created_at)].is_null() {
                continue;
            }
            let at = match &row.after[row.layout.created_at] {
                Value::DateTime(at) => *at,
                _ => now,
            };
            let row = self.change(id)?;
            let layout = row.layout.clone();
            set(&layout, &mut row.after, "sent_at", Value::DateTime(at));
        }
        let mut conversations = BTreeSet::new();
        for name in ["message", "note"] {
            for id in self.standard_rows(name) {
                let row = &self.rows[&id];
                if row.touched && row.lock >= Lock::Change {
                    conversations.extend(row.layout.uuid(&row.after, "conversation_id"));
                    if let Some(before) = &row.before {
                        conversations.extend(row.layout.uuid(before, "conversation_id"));
                    }
                }
            }
        }
        let registry = self.registry.clone();
        if let Some(klass) = registry.klass("conversation") {
            let ids: Vec<Uuid> = conversations.into_iter().collect();
            self.load_ids(klass, &ids, Lock::Change).await?;
        }
        for name in ["message", "note"] {
            for id in self.standard_rows(name) {
                let row = &self.rows[&id];
                if !row.touched {
                    continue;
                }
                let Some(conversation) = row.layout.uuid(&row.after, "conversation_id") else {
                    continue;
                };
                let own = row.layout.uuid(&row.after, "customer_id");
                // A message that is moved goes to the other conversation's customer if it was of the first one's.
                let old = row.before.as_ref().and_then(|before| {
                    let conversation = self.rows.get(&row.layout.uuid(before, "conversation_id")?)?;
                    let customer = conversation
                        .before
                        .as_ref()
                        .and_then(|image| conversation.layout.uuid(image, "customer_id"));
                    let moved = row.layout.uuid(before, "conversation_id") != row.layout.uuid(&row.after, "conversation_id");
                    (moved && customer == own && row.layout.uuid(before, "customer_id") == own).then_some(())
                });
                if own.is_some() && old.is_none() {
                    continue;
                }
                let Some(far) = self.rows.get(&conversation) else { continue };
                let customer = far.layout.uuid(&far.after, "customer_id");
                if customer != own {
                    let row = self.change(id)?;
                    let layout = row.layout.clone();
                    set(&layout, &mut row.after, "customer_id", layout::id_value(customer));
                }
            }
        }
        self.fill_from_about().await?;
        self.follow_customer().await
    }

    /// A note that has no customer otherwise has that of the object which it is about.
    async fn fill_from_about(&mut self) -> Result<(), StoreError> {
        let mut about: BTreeMap<String, Vec<(Uuid, Uuid)>> = BTreeMap::new();
        for id in self.standard_rows("note") {
            let row = &self.rows[&id];
            if row.touched
                && row.lock >= Lock::Change
                && row.layout.uuid(&row.after, "customer_id").is_none()
                && let Some(far) = row.layout.uuid(&row.after, "about_id")
                && let Some(Value::String(klass)) = row.layout.slot("about_klass").map(|slot| &row.after[slot])
            {
                about.entry(klass.clone()).or_default().push((id, far));
            }
        }
        let registry = self.registry.clone();
        for (klass, notes) in about {
            let Some(klass) = registry.klass(&klass) else { continue };
            let far: Vec<Uuid> = notes.iter().map(|(_, far)| *far).collect();
            self.load_ids(klass, &far, Lock::Link).await?;
            for (note, far) in notes {
                if let Some(customer) = self.rows.get(&far).and_then(|row| row.customer()) {
                    let row = self.change(note)?;
                    let layout = row.layout.clone();
                    set(&layout, &mut row.after, "customer_id", layout::id_value(Some(customer)));
                }
            }
        }
        Ok(())
    }

    /// When a conversation goes to another customer (or gets its first), its messages and notes that were of the first go with it; so do
    /// notes about an object of an org's own klass.
    async fn follow_customer(&mut self) -> Result<(), StoreError> {
        let moved: Vec<(Uuid, &str, &[&str])> = self
            .rows
            .values()
            .filter(|row| row.touched && row.before.is_some() && row.customer() != row.customer_before())
            .filter_map(|row| match (row.klass.standard, row.klass.name.as_str()) {
                (true, "conversation") => Some((row.id, "conversation_id", ["message", "note"].as_slice())),
                (true, _) => None,
                (false, _) => Some((row.id, "about_id", ["note"].as_slice())),
            })
            .collect();
        for (id, column, followers) in moved {
            let row = &self.rows[&id];
            let (old, new) = (row.customer_before(), row.customer());
            let cause = (row.event, row.cause.map_or(0, |(_, depth)| depth) + 1);
            let draft = row.draft;
            let registry = self.registry.clone();
            for name in followers {
                let Some(klass) = registry.klass(name) else { continue };
                let mut condition = format!("t.{column} = {} and t.customer_id ", parameter(self.dialect, 2));
                let mut values: Vec<Bound> = vec![id.into()];
                match old {
                    Some(old) => {
                        condition.push_str(&format!("= {}", parameter(self.dialect, 3)));
                        values.push(old.into());
                    }
                    None => condition.push_str("is null"),
                }
                let ids = self.load_where(klass, &condition, values, Lock::Change).await?;
                for other in ids {
                    let row = &self.rows[&other];
                    let same = row.layout.uuid(&row.after, column) == Some(id) && row.layout.uuid(&row.after, "customer_id") == old;
                    if !same {
                        continue;
                    }
                    let (was_draft, was) = (self.draft, self.consequence);
                    (self.draft, self.consequence) = (draft, Some(cause));
                    let changed = self.change(other).map(|row| {
                        let layout = row.layout.clone();
                        set(&layout, &mut row.after, "customer_id", layout::id_value(new));
                    });
                    (self.draft, self.consequence) = (was_draft, was);
                    changed?;
                }
            }
        }
        Ok(())
    }

    /// Brings what is derived up to date where that follows from what is here; answers what must be counted anew.
    pub async fn derive(&mut self) -> Result<Recount, StoreError> {
        let mut recount = Recount::default();
        self.load_affected().await?;
        let mut notes: BTreeMap<Uuid, i64> = BTreeMap::new();
        let mut added: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
        let mut added_of_customer: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
        for row in self.rows.values().filter(|row| row.klass.standard && row.touched) {
            let before = row.before.as_ref().filter(|_| row.was_live());
            let after = Some(&row.after).filter(|_| row.is_live());
            let at = |image: Option<&Image>, column: &str| image.and_then(|image| row.layout.uuid(image, column));
            match row.klass.name.as_str() {
                "note" => {
                    if let Some(conversation) = at(before, "conversation_id") {
                        *notes.entry(conversation).or_default() -= 1;
                    }
                    if let Some(conversation) = at(after, "conversation_id") {
                        *notes.entry(conversation).or_default() += 1;
                    }
                }
                "message" => match (before, after) {
                    (None, Some(after)) if row.is_new() => {
                        added
                            .entry(at(Some(after), "conversation_id").unwrap_or_default())
                            .or_default()
                            .push(row.id);
                        if let Some(customer) = at(Some(after), "customer_id") {
                            added_of_customer.entry(customer).or_default().push(row.id);
                        }
                    }
                    (before, after) => {
                        let same = |column: &str| match (before, after) {
                            (Some(before), Some(after)) => {
                                let slot = row.layout.slot(column);
                                slot.is_none_or(|slot| before[slot] == after[slot])
                            }
                            (None, None) => true,
                            _ => false,
                        };
                        if !MESSAGE.iter().all(|column| same(column)) {
                            recount.conversations.extend(at(before, "conversation_id"));
                            recount.conversations.extend(at(after, "conversation_id"));
                            recount.customers.extend(at(before, "customer_id"));
                            recount.customers.extend(at(after, "customer_id"));
                        }
                    }
                },
                _ => {}
            }
        }
        for (conversation, n) in notes {
            if n != 0
                && let Some(row) = self.rows.get_mut(&conversation)
            {
                let layout = row.layout.clone();
                add(&layout, &mut row.after, "note_count", n);
            }
        }
        for (conversation, messages) in added {
            if !recount.conversations.contains(&conversation) && !self.add_messages(conversation, &messages) {
                recount.conversations.insert(conversation);
            }
        }
        for (customer, messages) in added_of_customer {
            if recount.customers.contains(&customer) {
                continue;
            }
            for (direction, name) in [("in", "last_message_in"), ("out", "last_message_out")] {
                let last = messages
                    .iter()
                    .filter_map(|id| self.rows.get(id))
                    .filter(|row| row.layout.text(&row.after, "direction") == Some(direction))
                    .filter_map(|row| mark(row, &row.after))
                    .max();
                if let Some(row) = self.rows.get_mut(&customer) {
                    let layout = row.layout.clone();
                    let last = last.max(get_mark(&layout, &row.after, name));
                    set_mark(&layout, &mut row.after, name, last);
                }
            }
        }
        self.conversations_changed(&mut recount);
        self.activity(&mut recount);
        // Whoever no longer exists needs no counting.
        let gone = |id: &Uuid| self.rows.get(id).is_none_or(|row| !row.is_live());
        recount.conversations.retain(|id| !gone(id));
        recount.customers.retain(|id| !gone(id));
        recount.activity.retain(|id| !gone(id));
        Ok(recount)
    }

    /// Loads the customers (and conversations) whose derived values may change.
    async fn load_affected(&mut self) -> Result<(), StoreError> {
        let mut customers = BTreeSet::new();
        let linked = |row: &Row| !row.linked.is_empty() || !row.unlinked.is_empty();
        for row in self.rows.values().filter(|row| row.touched || linked(row)) {
            let standard = row.klass.standard && matches!(row.klass.name.as_str(), "message" | "conversation");
            if !standard && row.klass.timeline.is_none() {
                continue;
            }
            if row.klass.name == "customer" && row.klass.standard {
                continue;
            }
            customers.extend(row.customer());
            customers.extend(row.customer_before());
        }
        let registry = self.registry.clone();
        if let Some(klass) = registry.klass("customer") {
            let ids: Vec<Uuid> = customers.into_iter().collect();
            self.load_ids(klass, &ids, Lock::Change).await?;
        }
        Ok(())
    }

    /// Adds new messages to what a conversation keeps; `false`: it must be counted anew.
    fn add_messages(&mut self, conversation: Uuid, messages: &[Uuid]) -> bool {
        struct New {
            mark: Mark,
            id: Uuid,
            inbound: bool,
            auto: bool,
            preview: Option<String>,
        }
        let mut new: Vec<New> = Vec::new();
        for id in messages {
            let Some(row) = self.rows.get(id) else { return false };
            let Some(mark) = mark(row, &row.after) else { return false };
            let auto = row.layout.slot("auto").is_some_and(|slot| row.after[slot] == Value::Bool(true));
            new.push(New {
                mark,
                id: *id,
                inbound: row.layout.text(&row.after, "direction") == Some("in"),
                auto,
                preview: preview(row.layout.text(&row.after, "preview"), row.layout.text(&row.after, "body")),
            });
        }
        new.sort_by_key(|message| (message.mark.0, message.id));
        let Some(row) = self.rows.get_mut(&conversation) else {
            return false;
        };
        let layout = row.layout.clone();
        for message in new {
            let first_in = get_mark(&layout, &row.after, "first_message_in").map(|mark| mark.0);
            let (count, first, last) = if message.inbound {
                ("message_count_in", "first_message_in", "last_message_in")
            } else {
                ("message_count_out", "first_message_out", "last_message_out")
            };
            if message.inbound {
                // As the first question it may make an answer of what was none: of a message of ours behind it, and before what was the
                // first question so far.
                let earlier = first_in.is_none_or(|at| message.mark.0 < at);
                let behind = layout
                    .time(&row.after, "last_message_out_at")
                    .is_some_and(|out| out >= message.mark.0);
                let first_out = layout.time(&row.after, "first_message_out_at");
                let between = first_in.is_none_or(|at| first_out.is_none_or(|out| out < at));
                if earlier && behind && between {
                    return false;
                }
            } else if !message.auto
                && first_in.is_some_and(|at| message.mark.0 >= at)
                && layout.time(&row.after, "first_response_at").is_none_or(|at| message.mark.0 < at)
            {
                set(&layout, &mut row.after, "first_response_at", Value::DateTime(message.mark.0));
            }
            add(&layout, &mut row.after, count, 1);
            let known = get_mark(&layout, &row.after, first);
            let earliest = known.map_or_else(|| message.mark.clone(), |known| known.min(message.mark.clone()));
            set_mark(&layout, &mut row.after, first, Some(earliest));
            let latest = get_mark(&layout, &row.after, last).max(Some(message.mark.clone()));
            set_mark(&layout, &mut row.after, last, latest);
            let last_at = layout.time(&row.after, "last_message_at");
            if last_at.is_none_or(|at| message.mark.0 >= at) {
                set(&layout, &mut row.after, "last_message_at", Value::DateTime(message.mark.0));
                set(
                    &layout,
                    &mut row.after,
                    "preview",
                    message.preview.map_or(Value::Null, Value::String),
                );
            }
            if let Some(slot) = layout.slot("channels") {
                let mut channels: BTreeSet<String> = match &row.after[slot] {
                    Value::Json(Json::Array(items)) => items.iter().filter_map(|item| item.as_str().map(str::to_string)).collect(),
                    _ => BTreeSet::new(),
                };
                channels.insert(message.mark.1);
                row.after[slot] = Value::Json(Json::from(channels.into_iter().collect::<Vec<_>>()));
            }
        }
        true
    }

    /// Done times, reopens, and the customer's counts of conversations.
    fn conversations_changed(&mut self, recount: &mut Recount) {
        let mut counts: BTreeMap<Uuid, BTreeMap<&'static str, i64>> = BTreeMap::new();
        let column = |status: Option<&str>| match status {
            Some("snoozed") => "conversation_count_snoozed",
            Some("done") => "conversation_count_done",
            _ => "conversation_count_open",
        };
        for id in self.standard_rows("conversation") {
            let now = self.now;
            let Some(row) = self.rows.get_mut(&id) else { continue };
            if !row.touched {
                continue;
            }
            let layout = row.layout.clone();
            let was = row
                .before
                .as_ref()
                .and_then(|before| layout.text(before, "status"))
                .map(str::to_string);
            let is = layout.text(&row.after, "status").map(str::to_string);
            if is.as_deref() == Some("done") && was.as_deref() != Some("done") {
                // One that is born done (an import) was done when it was made, for all we know.
                let at = match (row.is_new(), &row.after[layout.created_at]) {
                    (true, Value::DateTime(at)) => layout.time(&row.after, "ended_at").unwrap_or(*at),
                    _ => now,
                };
                if layout.time(&row.after, "first_done_at").is_none() {
                    set(&layout, &mut row.after, "first_done_at", Value::DateTime(at));
                }
                set(&layout, &mut row.after, "last_done_at", Value::DateTime(at));
            } else if was.as_deref() == Some("done") && is.as_deref() != Some("done") {
                add(&layout, &mut row.after, "reopen_count", 1);
            }
            if row.before.is_some() && !row.was_live() && row.is_live() {
                recount.conversations.insert(id);
            }
            let mut count = |customer: Option<Uuid>, status: Option<&str>, n: i64| {
                if let Some(customer) = customer {
                    let of = counts.entry(customer).or_default();
                    *of.entry(column(status)).or_default() += n;
                    *of.entry("conversation_count_all").or_default() += n;
                }
            };
            if row.was_live() {
                count(row.customer_before(), was.as_deref(), -1);
            }
            if row.is_live() {
                count(row.customer(), is.as_deref(), 1);
            }
        }
        for (customer, counts) in counts {
            if let Some(row) = self.rows.get_mut(&customer) {
                let layout = row.layout.clone();
                for (column, n) in counts {
                    if n != 0 {
                        add(&layout, &mut row.after, column, n);
                    }
                }
            }
        }
    }

    /// A customer's last activity: the last entry of the timeline.
    fn activity(&mut self, recount: &mut Recount) {
        let mut latest: HashMap<Uuid, DateTime<Utc>> = HashMap::new();
        let mut see = |customer: Uuid, at: DateTime<Utc>| {
            let known = latest.entry(customer).or_insert(at);
            *known = at.max(*known);
        };
        for row in self.rows.values().filter(|row| row.touched) {
            let (old, new) = (timeline::entry_before(row), timeline::entry_after(row));
            if old == new {
                continue;
            }
            if let Some(old) = &old {
                recount.activity.insert(old.customer);
            }
            if let Some(new) = &new {
                see(new.customer, new.at);
            }
        }
        for change in timeline::changes(self) {
            see(change.customer, change.at);
        }
        recount.activity.extend(timeline::customers_of_moved(self));
        for (customer, at) in latest {
            if recount.activity.contains(&customer) {
                continue;
            }
            if let Some(row) = self.rows.get_mut(&customer) {
                let layout = row.layout.clone();
                if layout.time(&row.after, "last_activity_at").is_none_or(|known| at > known) {
                    set(&layout, &mut row.after, "last_activity_at", Value::DateTime(at));
                }
            }
        }
    }
}

/// The beginning of a message: its own preview, else of its body, white space folded.
fn preview(given: Option<&str>, body: Option<&str>) -> Option<String> {
    if let Some(given) = given.filter(|text| !text.trim().is_empty()) {
        return Some(given.to_string());
    }
    // As much as the recount reads of a body, so that both ways agree.
    let head: String = body?.chars().take(PREVIEW * 4).collect();
    let folded = head.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = folded.chars().take(PREVIEW).collect();
    (!short.is_empty()).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::preview;

    #[test]
    fn a_preview_is_one_short_line() {
        assert_eq!(preview(None, Some("  Hello\n\n  there ")).as_deref(), Some("Hello there"));
        assert_eq!(preview(Some("given"), Some("body")).as_deref(), Some("given"));
        assert_eq!(preview(Some(" "), None), None);
        assert_eq!(preview(None, Some(&"é".repeat(500))).map(|p| p.chars().count()), Some(200));
    }
}
