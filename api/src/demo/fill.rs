//! The demo shop's year: customers and all that befell them, the same on every machine, laid out backwards from the moment when the
//! demo was first started.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use klio_entities::klass::{Actor, Draft, Fault, Registry};
use klio_entities::store::Store;
use klio_entities::store::write::WriteOptions;
use serde_json::{Value as Json, json};

use super::DemoError;
use super::chance::Chance;
use super::object::{Making, object};
use super::words::{self, COMPANY, FIRST, LAST, NOTES, PLACES, PRODUCTS, TEAMS, TOPICS, TRADE, USERS};

/// How many customers there are.
pub const CUSTOMERS: usize = 300;
const COMPANIES: usize = 30;
const SEED: u64 = 0x6b6c_696f;
/// How many drafts one write takes.
const BATCH: usize = 500;

const CHANNELS: &[&str] = &["email", "chat", "sms", "whatsapp", "voice", "facebook", "form"];
const CHANNEL_WEIGHTS: &[usize] = &[44, 24, 10, 10, 4, 4, 4];
const STREETS: &[&str] = &[
    "Cedar Street",
    "Mill Lane",
    "Harbor View",
    "Juniper Avenue",
    "Old Quarry Road",
    "Lantern Court",
];

/// How many objects of each klass were made.
pub type Counts = Vec<(&'static str, usize)>;

/// A purchase, as far as others refer to it.
struct Order {
    id: String,
    number: String,
    placed: DateTime<Utc>,
    product: &'static str,
    status: &'static str,
    /// Conversations in which it was talked about.
    conversations: Vec<String>,
    lines: Vec<(usize, i64)>,
    cents: i64,
}

/// Everything, klass by klass, in the order in which it is written.
struct Year<'r> {
    registry: &'r Registry,
    now: DateTime<Utc>,
    drafts: Vec<(&'static str, Vec<Draft>)>,
    faults: Vec<Fault>,
}

/// Fills an org whose klasses are the demo's. `now` is where the year ends. Run again with the same `now` it changes nothing.
pub async fn fill(store: &Store, actor: &Actor, registry: &Arc<Registry>, now: DateTime<Utc>) -> Result<Counts, DemoError> {
    let (drafts, faults) = year(registry, now);
    if let Some(fault) = faults.into_iter().next() {
        return Err(DemoError::Fault(fault.to_string()));
    }
    let mut counts = Vec::new();
    for (klass, drafts) in drafts {
        counts.push((klass, drafts.len()));
        let mut drafts = drafts.into_iter().peekable();
        while drafts.peek().is_some() {
            let batch: Vec<Draft> = drafts.by_ref().take(BATCH).collect();
            let options = WriteOptions {
                imported: true,
                ..Default::default()
            };
            for result in store.write(actor, registry, batch, options).await? {
                result.map_err(|faults| DemoError::Fault(format!("{klass}: {faults}")))?;
            }
        }
    }
    Ok(counts)
}

pub(super) type Drafts = Vec<(&'static str, Vec<Draft>)>;

pub(super) fn year(registry: &Registry, now: DateTime<Utc>) -> (Drafts, Vec<Fault>) {
    let order = [
        "user",
        "team",
        "product",
        "company",
        "customer",
        "conversation",
        "message",
        "note",
        "order",
        "shipment",
        "plan-subscription",
    ];
    let mut year = Year {
        registry,
        now,
        drafts: order.iter().map(|klass| (*klass, Vec::new())).collect(),
        faults: Vec::new(),
    };
    year.staff();
    year.goods();
    let mut numbers = 10_000;
    for i in 0..CUSTOMERS {
        let mut chance = Chance::new(SEED.wrapping_mul(31).wrapping_add(i as u64));
        year.customer(i, &mut numbers, &mut chance);
    }
    (year.drafts, year.faults)
}

/// Money as an input says it.
pub fn money(cents: i64) -> Json {
    json!({ "amount": format!("{}.{:02}", cents / 100, cents % 100), "currency": "USD" })
}

/// A moment as an input says it.
pub fn moment(at: DateTime<Utc>) -> String {
    klio_entities::klass::value::datetime_text(at)
}

/// The beginning of a text.
pub fn preview(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Who answers, by the place in [`USERS`]: their given name.
pub fn signature(user: usize) -> &'static str {
    USERS[user].0.split(' ').next().unwrap_or_default()
}

impl Year<'_> {
    fn object(&self, klass: &str, id: impl Into<String>) -> Making<'_> {
        object(self.registry, klass, id)
    }

    fn put(&mut self, klass: &'static str, (draft, faults): (Option<Draft>, Vec<Fault>)) {
        self.faults.extend(faults);
        if let (Some(draft), Some((_, drafts))) = (draft, self.drafts.iter_mut().find(|(known, _)| *known == klass)) {
            drafts.push(draft);
        }
    }

    fn staff(&mut self) {
        for (i, (name, _)) in USERS.iter().enumerate() {
            let first = signature(i);
            let draft = self
                .object("user", format!("user-{i}"))
                .with("name", *name)
                .with("displayName", first)
                .with("email", format!("{}@demo.example", first.to_lowercase()))
                .with(
                    "status",
                    *["available", "available", "busy", "offline"].get(i % 4).unwrap_or(&"available"),
                )
                .with("roles", json!(["agent"]))
                .draft();
            self.put("user", draft);
        }
        for (i, (name, description)) in TEAMS.iter().enumerate() {
            let mut team = self
                .object("team", format!("team-{i}"))
                .with("name", *name)
                .with("description", *description);
            for (user, _) in USERS.iter().enumerate().filter(|(_, (_, team))| *team == i) {
                team = team.tied("members", "user", &format!("user-{user}"));
            }
            let draft = team.draft();
            self.put("team", draft);
        }
    }

    fn goods(&mut self) {
        for (i, (sku, name, category, cents)) in PRODUCTS.iter().enumerate() {
            let draft = self
                .object("product", *sku)
                .with("sku", *sku)
                .with("name", *name)
                .with("category", *category)
                .with("price", money(*cents))
                .with("available", i % 9 != 7)
                .draft();
            self.put("product", draft);
        }
        for i in 0..COMPANIES {
            let name = format!("{} {}", COMPANY[i % COMPANY.len()], TRADE[i % TRADE.len()]);
            let domain = format!("{}.example", name.to_lowercase().replace([' ', '&'], "").replace('é', "e"));
            let place = PLACES[(i * 3) % PLACES.len()];
            let draft = self
                .object("company", format!("company-{i}"))
                .with("name", name)
                .with("domains", json!([domain]))
                .with("urls", json!([{ "type": "website", "url": format!("https://www.{domain}") }]))
                .with("locations", json!([location("work", place, i)]))
                .draft();
            self.put("company", draft);
        }
    }

    fn customer(&mut self, i: usize, numbers: &mut u32, chance: &mut Chance) {
        let (first, last) = (FIRST[(i * 7) % FIRST.len()], LAST[(i * 11 + i / FIRST.len()) % LAST.len()]);
        let id = format!("customer-{:04}", i + 1);
        let place = PLACES[i % PLACES.len()];
        let email = format!("{}.{}.{}@mail.example", first.to_lowercase(), last.to_lowercase(), i + 1);
        let joined = self.now - Duration::minutes(chance.between(5 * 1_440, 365 * 1_440));
        let orders = self.orders(numbers, joined, chance);
        let spent: i64 = orders.iter().filter(|o| o.status != "cancelled").map(|o| o.cents).sum();
        let tier = match spent {
            100_000.. => "gold",
            40_000.. => "silver",
            _ => "bronze",
        };
        let works = chance.percent(40);
        let mut customer = self
            .object("customer", &id)
            .with("name", format!("{first} {last}"))
            .with("firstName", first)
            .with("lastName", last)
            .with("email", email.as_str())
            .with("emails", json!([{ "type": "home", "email": email, "verified": true }]))
            // 555-0100 to 555-0199 are kept free for stories such as this one.
            .with("phone", format!("+1{}55501{:02}", place.5, i / PLACES.len()))
            .with("locations", json!([location("home", place, i)]))
            .with("locale", "en-US")
            .with("defaultLang", "en")
            .with("timeZone", place.4)
            .with("signedUpAt", moment(joined))
            .with("createdAt", moment(joined))
            .with("verified", chance.percent(70))
            .with("lastSeenAt", moment(self.now - Duration::minutes(chance.between(5, 40 * 1_440))))
            .with("demoLoyaltyTier", tier)
            .with("lifetimeValue", money(spent));
        if works {
            customer =
                customer
                    .with("tags", json!(["business"]))
                    .tied("company", "company", &format!("company-{}", chance.below(COMPANIES)));
        }
        if chance.percent(5) {
            customer = customer.tied("watchers", "user", &format!("user-{}", chance.below(USERS.len())));
        }
        let draft = customer.draft();
        self.put("customer", draft);

        let mut orders = orders;
        for n in 0..chance.weighted(&[15, 35, 25, 15, 7, 3]) {
            self.conversation(&id, first, &email, n, joined, &mut orders, chance);
        }
        for order in orders {
            self.order(&id, order, chance);
        }
        if chance.percent(25) {
            self.plan(&id, joined, chance);
        }
        if chance.percent(35) {
            let at = between(joined, self.now, chance);
            let mut note = self
                .object("note", format!("{id}/note"))
                .with("body", *chance.pick(NOTES))
                .with("createdAt", moment(at))
                .tied("customer", "customer", &id);
            if chance.percent(30) {
                note = note.tied("mentionedUsers", "user", &format!("user-{}", chance.below(USERS.len())));
            }
            let draft = note.draft();
            self.put("note", draft);
        }
    }

    fn orders(&self, numbers: &mut u32, joined: DateTime<Utc>, chance: &mut Chance) -> Vec<Order> {
        (0..chance.weighted(&[15, 30, 25, 15, 10, 5]))
            .map(|_| {
                *numbers += 1;
                let placed = between(joined, self.now, chance);
                let days = (self.now - placed).num_days();
                let status = match days {
                    0..=2 => *chance.pick(&["pending", "pending", "processed"]),
                    3..=9 => "processed",
                    _ if chance.percent(8) => "cancelled",
                    _ => "delivered",
                };
                let mut lines: Vec<(usize, i64)> = Vec::new();
                for _ in 0..=chance.weighted(&[50, 30, 20]) {
                    let product = chance.below(PRODUCTS.len());
                    if lines.iter().all(|(known, _)| *known != product) {
                        lines.push((product, chance.between(1, 3).min(chance.between(1, 3))));
                    }
                }
                Order {
                    id: format!("order-{numbers}"),
                    number: format!("#{numbers}"),
                    placed,
                    product: PRODUCTS[lines[0].0].1,
                    status,
                    conversations: Vec::new(),
                    cents: lines.iter().map(|(product, quantity)| PRODUCTS[*product].3 * quantity).sum(),
                    lines,
                }
            })
            .collect()
    }

    fn order(&mut self, customer: &str, order: Order, chance: &mut Chance) {
        let mut draft = self
            .object("order", &order.id)
            .with("orderNumber", order.number.as_str())
            .with("status", order.status)
            .with("total", money(order.cents))
            .with("placedAt", moment(order.placed))
            .with("createdAt", moment(order.placed))
            .with("channel", *chance.pick(&["web", "web", "web", "app", "store"]))
            .tied("customer", "customer", customer);
        if chance.percent(8) {
            draft = draft.with("giftNote", "Happy birthday! May it keep you warm.");
        }
        for (product, quantity) in &order.lines {
            let (sku, _, _, cents) = PRODUCTS[*product];
            draft = draft.tied_with(
                "products",
                "product",
                sku,
                &[("quantity", json!(quantity)), ("unitPrice", money(cents))],
            );
        }
        for conversation in &order.conversations {
            draft = draft.tied("conversations", "conversation", conversation);
        }
        let draft = draft.draft();
        self.put("order", draft);
        if !matches!(order.status, "processed" | "delivered") {
            return;
        }
        for n in 0..=usize::from(chance.percent(6)) {
            let shipped = order.placed + Duration::minutes(chance.between(300, 2_000));
            let arrived = shipped + Duration::minutes(chance.between(1_500, 6_000));
            let status = match order.status {
                "delivered" if chance.percent(4) => "returned",
                "delivered" => "delivered",
                _ if shipped > self.now => "label created",
                _ => *chance.pick(&["in transit", "in transit", "out for delivery"]),
            };
            let tracking = format!("KL{:09}", chance.below(1_000_000_000));
            let mut shipment = self
                .object("shipment", format!("{}/parcel-{}", order.id, n + 1))
                .with("carrier", *chance.pick(&["dhl", "ups", "fedex", "post"]))
                .with("status", status)
                .with("trackingUrl", format!("https://tracking.example/{tracking}"))
                .with("trackingNumber", tracking)
                .tied("order", "order", &order.id)
                .tied("customer", "customer", customer);
            if shipped <= self.now {
                shipment = shipment.with("shippedAt", moment(shipped));
            }
            if matches!(status, "delivered" | "returned") {
                shipment = shipment.with("deliveredAt", moment(arrived.min(self.now)));
            }
            let draft = shipment.draft();
            self.put("shipment", draft);
        }
    }

    fn plan(&mut self, customer: &str, joined: DateTime<Utc>, chance: &mut Chance) {
        let (plan, cents) = *chance.pick(&[("coffee box", 2_490), ("care plan", 990), ("club", 590)]);
        let began = between(joined, self.now, chance);
        let status = *chance.pick(&["active", "active", "active", "trial", "paused", "ended"]);
        let mut draft = self
            .object("plan-subscription", format!("{customer}/plan"))
            .with("plan", plan)
            .with("status", status)
            .with("price", money(cents))
            .with("startedAt", moment(began))
            .with("createdAt", moment(began))
            .tied("customer", "customer", customer);
        if status != "ended" {
            let renews = self.now + Duration::days(chance.between(1, 30));
            draft = draft.with("renewsOn", renews.format("%F").to_string());
        }
        let draft = draft.draft();
        self.put("plan-subscription", draft);
    }

    #[allow(clippy::too_many_arguments, reason = "all of it is the customer's, which is a draft already")]
    fn conversation(
        &mut self,
        customer: &str,
        first: &str,
        email: &str,
        n: usize,
        joined: DateTime<Utc>,
        orders: &mut [Order],
        chance: &mut Chance,
    ) {
        let topic = chance.pick(TOPICS);
        let id = format!("{customer}/conversation-{}", n + 1);
        let about = match orders.len() {
            0 => None,
            len => orders.get_mut(chance.below(len)),
        };
        let (product, number, from) = match about {
            Some(order) => {
                order.conversations.push(id.clone());
                (order.product, order.number.clone(), order.placed)
            }
            None => (chance.pick(PRODUCTS).1, "#10000".to_owned(), joined),
        };
        let product = if words::fits(topic, product) {
            product
        } else {
            *chance.pick(&words::products_of(topic))
        };
        let began = between(from, self.now - Duration::minutes(2), chance);
        let channel = CHANNELS[chance.weighted(CHANNEL_WEIGHTS)];
        let members: Vec<usize> = (0..USERS.len()).filter(|u| USERS[*u].1 == topic.team).collect();
        let user = *chance.pick(&members);
        let say = |text: &str| words::fill(text, first, product, &number, signature(user));

        // What is said, as long as it lies in the past.
        let mut said: Vec<(bool, DateTime<Utc>, String)> = vec![(true, began, say(chance.pick::<&str>(topic.opening)))];
        let steps = [
            (false, topic.answer, 3, 900),
            (true, topic.reply, 2, 600),
            (false, topic.answer, 2, 300),
            (true, topic.closing, 30, 2_880),
        ];
        let turns = *chance.pick(&[1, 2, 2, 4, 4, 4]);
        let mut at = began;
        for (incoming, texts, least, most) in steps.into_iter().take(turns) {
            at += Duration::minutes(chance.between(least, most));
            let text = match said.iter().filter(|(known, _, _)| *known == incoming).count() {
                1 if !incoming => say(texts[1 % texts.len()]),
                _ if !incoming => say(texts[0]),
                _ => say(chance.pick::<&str>(texts)),
            };
            if at < self.now {
                said.push((incoming, at, text));
            }
        }
        let over = said.len() == 5 || (self.now - at).num_days() > 14;
        let status = match (over, chance.percent(6)) {
            (true, _) => "done",
            (false, true) => "snoozed",
            (false, false) => "open",
        };
        let mut draft = self
            .object("conversation", &id)
            .with("name", say(topic.subject))
            .with("status", status)
            .with("priority", i64::from(3 - topic.mood).clamp(1, 5))
            .with("direction", "in")
            .with("replyChannel", channel)
            .with("queue", TEAMS[topic.team].0)
            .with("lang", "en")
            .with("createdAt", moment(began))
            .with(
                "sentiment",
                json!({ "polarity": topic.mood, "confidence": format!("0.{}", chance.between(61, 98)) }),
            )
            .tied("customer", "customer", customer)
            .tied("assignedTeams", "team", &format!("team-{}", topic.team));
        if said.iter().any(|(incoming, _, _)| !incoming) {
            draft = draft.tied("assignedUsers", "user", &format!("user-{user}"));
        }
        if status == "snoozed" {
            draft = draft.with("snoozedUntil", moment(self.now + Duration::hours(chance.between(2, 72))));
        }
        if over && chance.percent(40) {
            let rating = (4 + i64::from(topic.mood)).clamp(1, 5);
            draft = draft.with("satisfaction", json!({ "average": rating.to_string(), "count": 1 }));
        }
        let draft = draft.draft();
        self.put("conversation", draft);

        let desk = format!("{}@demo.example", TEAMS[topic.team].0.to_lowercase().replace(' ', "-"));
        let subject = say(topic.subject);
        for (m, (incoming, at, body)) in said.into_iter().enumerate() {
            // Now and then someone goes on by another channel.
            let channel = match m {
                2.. if incoming && chance.percent(15) => "sms",
                _ => channel,
            };
            let failed = !incoming && chance.percent(1);
            let mut message = self
                .object("message", format!("{id}/{}", m + 1))
                .with("channel", channel)
                .with("direction", if incoming { "in" } else { "out" })
                .with("preview", preview(&body))
                .with("body", body)
                .with("lang", "en")
                .with("sentAt", moment(at))
                .with("createdAt", moment(at))
                .with(
                    "status",
                    match (incoming, failed) {
                        (true, _) => "received",
                        (false, true) => "failed",
                        (false, false) => *chance.pick(&["delivered", "read"]),
                    },
                )
                .tied("conversation", "conversation", &id);
            message = match (channel, incoming) {
                ("email", true) => message
                    .with("subject", subject.as_str())
                    .with("from", email)
                    .with("to", json!([desk])),
                ("email", false) => message
                    .with("subject", format!("Re: {subject}"))
                    .with("from", desk.as_str())
                    .with("to", json!([email])),
                ("voice", _) => message.with("meta", json!({ "status": "completed", "seconds": chance.between(40, 900) })),
                (_, true) => message.with("from", first),
                (_, false) => message.with("from", USERS[user].0),
            };
            if incoming {
                let sure = format!("0.{}", chance.between(55, 97));
                message = message.with(
                    "sentiment",
                    json!({ "polarity": if m == 0 { topic.mood } else { topic.mood.max(0) }, "confidence": sure }),
                );
            } else if failed {
                message = message.with("error", json!({ "code": "bounced", "title": "The mailbox is full" }));
            } else {
                message = message.with("deliveredAt", moment(at + Duration::seconds(chance.between(1, 40))));
            }
            let draft = message.draft();
            self.put("message", draft);
        }
    }
}

/// A moment between two.
fn between(from: DateTime<Utc>, to: DateTime<Utc>, chance: &mut Chance) -> DateTime<Utc> {
    let minutes = (to - from).num_minutes().max(1);
    from + Duration::minutes(chance.between(0, minutes - 1))
}

fn location(kind: &str, place: (&str, &str, &str, &str, &str, &str), i: usize) -> Json {
    let (city, region, code, zip, _, _) = place;
    json!({
        "type": kind, "address": format!("{} {}", 10 + (i * 17) % 900, STREETS[i % STREETS.len()]), "city": city, "region": region,
        "regionCode": code, "country": "United States", "countryCode": "US", "zip": zip,
    })
}
