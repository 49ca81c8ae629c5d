//! What happens in the demo shop now: someone writes, someone is answered, an order moves on. Every one to three seconds.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use klio_entities::klass::{Actor, Draft, Registry};
use klio_entities::store::Store;
use klio_entities::store::write::WriteOptions;
use klio_schema::execute::{Allow, Gateway, Request};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::chance::Chance;
use super::fill::{moment, money, preview, signature};
use super::object::{Making, object};
use super::words::{self, FIRST, LAST, PLACES, PRODUCTS, TEAMS, TOPICS, Topic, USERS};

/// How many things of each sort it knows at most.
const KNOWN: usize = 200;

/// What it reads when it starts, as any client could.
const READ: &str = "query ticker {
  customers(orderBy: [{ lastActivityAt: DESC }], first: 150) { nodes { externalId firstName email } }
  conversations(filter: { status: { eq: OPEN } }, orderBy: [{ lastMessageAt: DESC }], first: 100) {
    nodes { externalId name replyChannel customer { externalId firstName email } messages(last: 1) { nodes { direction } } }
  }
  orders(filter: { status: { in: [PENDING, PROCESSED] } }, orderBy: [{ placedAt: DESC }], first: 100) {
    nodes { externalId status customer { externalId } shipments(first: 1) { nodes { externalId status } } }
  }
}";

#[derive(Clone, Debug, Default)]
struct Person {
    id: String,
    first: String,
    email: String,
}

#[derive(Clone, Debug)]
struct Talk {
    id: String,
    name: String,
    channel: String,
    person: Person,
    topic: usize,
    product: &'static str,
    /// The customer spoke last.
    waits: bool,
    turns: usize,
}

#[derive(Clone, Debug)]
struct Purchase {
    id: String,
    status: String,
    customer: String,
    parcel: Option<(String, String)>,
}

/// The shop as the ticker knows it.
struct Shop {
    people: Vec<Person>,
    talks: Vec<Talk>,
    purchases: Vec<Purchase>,
    chance: Chance,
}

/// Makes things happen until it is told to end. What the org's klasses no longer allow is left out, quietly.
pub async fn run(store: Store, gateway: Arc<crate::App>, actor: Actor, end: CancellationToken) {
    let mut shop = Shop::read(&gateway.gateway, &actor).await;
    loop {
        let pause = Duration::from_millis(1_000 + shop.chance.below(2_000) as u64);
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let registry = match store.registry(actor.org).await {
            Ok(registry) => registry,
            Err(error) => {
                tracing::warn!(%error, "the ticker waits");
                continue;
            }
        };
        let drafts = shop.happen(&registry);
        let options = WriteOptions {
            atomic: true,
            ..Default::default()
        };
        match store.write(&actor, &registry, drafts, options).await {
            Ok(results) => {
                for faults in results.into_iter().filter_map(Result::err) {
                    tracing::debug!(%faults, "the ticker was refused");
                }
            }
            Err(error) => tracing::debug!(%error, "the ticker could not write"),
        }
    }
}

fn text(node: &Json, field: &str) -> String {
    node[field].as_str().unwrap_or_default().to_owned()
}

fn nodes<'a>(data: &'a Json, field: &str) -> impl Iterator<Item = &'a Json> {
    data[field]["nodes"].as_array().into_iter().flatten()
}

impl Person {
    fn read(node: &Json) -> Self {
        Self {
            id: text(node, "externalId"),
            first: text(node, "firstName"),
            email: text(node, "email"),
        }
    }
}

impl Shop {
    async fn read(gateway: &Gateway, actor: &Actor) -> Self {
        let request = Request {
            query: READ.to_owned(),
            operation: None,
            variables: Default::default(),
            extensions: Default::default(),
        };
        let answer = gateway.execute(actor, request, Allow { mutations: false }).await;
        let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        if let Some(errors) = body.get("errors") {
            // The klasses may have been changed by whoever tries the demo.
            tracing::warn!(%errors, "the ticker could not read the shop; it makes new customers only");
        }
        let data = &body["data"];
        let mut chance = Chance::new(Utc::now().timestamp_micros().unsigned_abs());
        let people = nodes(data, "customers").map(Person::read).filter(|p| !p.id.is_empty()).collect();
        let talks = nodes(data, "conversations")
            .filter(|node| node["externalId"].is_string())
            .map(|node| Talk {
                id: text(node, "externalId"),
                name: text(node, "name"),
                channel: text(node, "replyChannel").to_lowercase(),
                person: Person::read(&node["customer"]),
                topic: topic_of(node["name"].as_str().unwrap_or_default()),
                product: chance.pick::<&str>(&words::products_of(&TOPICS[topic_of(node["name"].as_str().unwrap_or_default())])),
                waits: node["messages"]["nodes"][0]["direction"] == "IN",
                turns: 2,
            })
            .collect();
        let purchases = nodes(data, "orders")
            .filter(|node| node["externalId"].is_string())
            .map(|node| {
                let parcel = &node["shipments"]["nodes"][0];
                Purchase {
                    id: text(node, "externalId"),
                    status: text(node, "status").to_lowercase(),
                    customer: text(&node["customer"], "externalId"),
                    parcel: parcel["externalId"]
                        .as_str()
                        .map(|id| (id.to_owned(), text(parcel, "status").to_lowercase().replace('_', " "))),
                }
            })
            .collect();
        Self {
            people,
            talks,
            purchases,
            chance,
        }
    }

    /// The next thing that happens.
    fn happen(&mut self, registry: &Registry) -> Vec<Draft> {
        let made = match self.chance.weighted(&[30, 26, 14, 16, 10, 4]) {
            0 => self.reply(registry),
            1 => self.answer(registry),
            2 => self.begin(registry),
            3 => self.move_on(registry),
            4 => self.buy(registry),
            _ => None,
        };
        let made = made.or_else(|| self.begin(registry)).unwrap_or_else(|| self.join(registry));
        self.talks.truncate(KNOWN);
        self.people.truncate(KNOWN);
        self.purchases.truncate(KNOWN);
        // What the klasses do not have (any more) is left out of the draft, and that is all.
        made.into_iter().filter_map(|making| making.draft().0).collect()
    }

    /// A customer writes again, or is content and it is done.
    fn reply<'r>(&mut self, registry: &'r Registry) -> Option<Vec<Making<'r>>> {
        let waiting: Vec<usize> = (0..self.talks.len()).filter(|i| !self.talks[*i].waits).collect();
        if waiting.is_empty() {
            return None;
        }
        let at = *self.chance.pick(&waiting);
        let over = self.talks[at].turns >= 3;
        let talk = &mut self.talks[at];
        let topic = &TOPICS[talk.topic];
        let said = self.chance.pick(if over { topic.closing } else { topic.reply });
        let message = message(registry, talk, true, said, "").with("sentiment", json!({ "polarity": topic.mood.max(0) }));
        talk.waits = true;
        talk.turns += 1;
        let mut made = vec![message];
        if over {
            made.push(object(registry, "conversation", &talk.id).with("status", "done"));
            self.talks.swap_remove(at);
        }
        Some(made)
    }

    /// A user answers.
    fn answer<'r>(&mut self, registry: &'r Registry) -> Option<Vec<Making<'r>>> {
        let waiting: Vec<usize> = (0..self.talks.len()).filter(|i| self.talks[*i].waits).collect();
        if waiting.is_empty() {
            return None;
        }
        let at = *self.chance.pick(&waiting);
        let talk = &mut self.talks[at];
        let topic = &TOPICS[talk.topic];
        let members: Vec<usize> = (0..USERS.len()).filter(|u| USERS[*u].1 == topic.team).collect();
        let user = *self.chance.pick(&members);
        let said = self.chance.pick(topic.answer);
        let message = message(registry, talk, false, said, signature(user));
        talk.waits = false;
        talk.turns += 1;
        let taken = object(registry, "conversation", &talk.id).tied("assignedUsers", "user", &format!("user-{user}"));
        Some(vec![message, taken])
    }

    /// A customer writes about something new.
    fn begin<'r>(&mut self, registry: &'r Registry) -> Option<Vec<Making<'r>>> {
        if self.people.is_empty() {
            return None;
        }
        let person = self.chance.pick(&self.people).clone();
        let topic = self.chance.below(TOPICS.len());
        let product = *self.chance.pick(&words::products_of(&TOPICS[topic]));
        let Topic {
            subject,
            team,
            mood,
            opening,
            ..
        } = TOPICS[topic];
        let talk = Talk {
            id: new_id("conversation"),
            name: words::fill(subject, &person.first, product, "#10000", ""),
            channel: (*self.chance.pick(&["email", "chat", "chat", "sms", "whatsapp"])).to_owned(),
            topic,
            product,
            waits: true,
            turns: 1,
            person,
        };
        let conversation = object(registry, "conversation", &talk.id)
            .with("name", talk.name.as_str())
            .with("status", "open")
            .with("direction", "in")
            .with("replyChannel", talk.channel.as_str())
            .with("queue", TEAMS[team].0)
            .with("lang", "en")
            .tied("customer", "customer", &talk.person.id)
            .tied("assignedTeams", "team", &format!("team-{team}"));
        let said = self.chance.pick(opening);
        let first = message(registry, &talk, true, said, "").with("sentiment", json!({ "polarity": mood }));
        self.talks.insert(0, talk);
        Some(vec![conversation, first])
    }

    /// An order or its parcel comes one step further.
    fn move_on<'r>(&mut self, registry: &'r Registry) -> Option<Vec<Making<'r>>> {
        if self.purchases.is_empty() {
            return None;
        }
        let at = self.chance.below(self.purchases.len());
        let purchase = &mut self.purchases[at];
        let now = moment(Utc::now());
        let order = |status: &str| object(registry, "order", &purchase.id).with("status", status);
        let Some((parcel, status)) = &mut purchase.parcel else {
            let made = order("processed");
            let parcel = format!("{}/parcel-1", purchase.id);
            let tracking = format!("KL{}", Utc::now().timestamp_micros());
            let label = object(registry, "shipment", &parcel)
                .with("carrier", *self.chance.pick(&["dhl", "ups", "fedex", "post"]))
                .with("status", "label created")
                .with("trackingUrl", format!("https://tracking.example/{tracking}"))
                .with("trackingNumber", tracking)
                .tied("order", "order", &purchase.id)
                .tied("customer", "customer", &purchase.customer);
            purchase.status = "processed".into();
            purchase.parcel = Some((parcel, "label created".into()));
            return Some(vec![made, label]);
        };
        let shipment = object(registry, "shipment", parcel.as_str());
        let (next, shipment) = match status.as_str() {
            "label created" => ("in transit", shipment.with("shippedAt", now.as_str())),
            "in transit" => ("out for delivery", shipment),
            _ => ("delivered", shipment.with("deliveredAt", now.as_str())),
        };
        *status = next.to_owned();
        let mut made = vec![shipment.with("status", next)];
        if next == "delivered" {
            made.push(order("delivered"));
            self.purchases.swap_remove(at);
        }
        Some(made)
    }

    /// A customer buys something.
    fn buy<'r>(&mut self, registry: &'r Registry) -> Option<Vec<Making<'r>>> {
        if self.people.is_empty() {
            return None;
        }
        let person = self.chance.pick(&self.people).clone();
        let (sku, _, _, cents) = *self.chance.pick(PRODUCTS);
        let quantity = self.chance.between(1, 2);
        let id = new_id("order");
        let now = Utc::now();
        let order = object(registry, "order", &id)
            .with("orderNumber", format!("#L{}", now.timestamp_millis() / 100 % 100_000_000))
            .with("status", "pending")
            .with("total", money(cents * quantity))
            .with("placedAt", moment(now))
            .with("channel", *self.chance.pick(&["web", "app"]))
            .tied("customer", "customer", &person.id)
            .tied_with(
                "products",
                "product",
                sku,
                &[("quantity", json!(quantity)), ("unitPrice", money(cents))],
            );
        self.purchases.insert(
            0,
            Purchase {
                id,
                status: "pending".into(),
                customer: person.id,
                parcel: None,
            },
        );
        Some(vec![order])
    }

    /// Someone new.
    fn join<'r>(&mut self, registry: &'r Registry) -> Vec<Making<'r>> {
        let (first, last) = (*self.chance.pick(FIRST), *self.chance.pick(LAST));
        let (city, region, code, zip, zone, _) = *self.chance.pick(PLACES);
        let id = new_id("customer");
        let mark = id.chars().rev().take(6).collect::<String>();
        let email = format!("{}.{}.{mark}@mail.example", first.to_lowercase(), last.to_lowercase());
        let made = object(registry, "customer", &id)
            .with("name", format!("{first} {last}"))
            .with("firstName", first)
            .with("lastName", last)
            .with("email", email.as_str())
            .with("timeZone", zone)
            .with(
                "locations",
                json!([{ "type": "home", "city": city, "region": region, "regionCode": code, "zip": zip }]),
            )
            .with("signedUpAt", moment(Utc::now()))
            .with("demoLoyaltyTier", "bronze");
        self.people.insert(
            0,
            Person {
                id,
                first: first.to_owned(),
                email,
            },
        );
        vec![made]
    }
}

fn new_id(klass: &str) -> String {
    format!("live-{klass}-{}", Uuid::now_v7().simple())
}

/// The topic of a conversation with this name.
fn topic_of(name: &str) -> usize {
    let begins = |topic: &Topic| name.starts_with(topic.subject.split('{').next().unwrap_or_default());
    TOPICS.iter().position(begins).unwrap_or(0)
}

fn message<'r>(registry: &'r Registry, talk: &Talk, incoming: bool, said: &str, agent: &str) -> Making<'r> {
    let body = words::fill(said, &talk.person.first, talk.product, "your order", agent);
    let channel = if talk.channel.is_empty() { "chat" } else { &talk.channel };
    let message = object(registry, "message", new_id("message"))
        .with("channel", channel)
        .with("direction", if incoming { "in" } else { "out" })
        .with("status", if incoming { "received" } else { "sent" })
        .with("preview", preview(&body))
        .with("body", body)
        .with("lang", "en")
        .with("sentAt", moment(Utc::now()))
        .tied("conversation", "conversation", &talk.id);
    match (channel, incoming) {
        ("email", true) => message.with("subject", talk.name.as_str()).with("from", talk.person.email.as_str()),
        ("email", false) => message
            .with("subject", format!("Re: {}", talk.name))
            .with("to", json!([talk.person.email])),
        _ => message,
    }
}
