//! The data set: files that `klio import` loads, the same in every run.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::chance::Chance;

/// How many there are of each klass at scale 1.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub companies: usize,
    pub customers: usize,
    pub conversations: usize,
    pub orders: usize,
}

impl Size {
    /// At a scale.
    pub fn of(scale: f64) -> Self {
        let scaled = |n: f64| ((n * scale) as usize).max(10);
        Self {
            companies: scaled(2_000.0),
            customers: scaled(50_000.0),
            conversations: scaled(150_000.0),
            orders: scaled(200_000.0),
        }
    }
}

const COUNTRIES: [&str; 40] = [
    "US", "DE", "FR", "GB", "IT", "ES", "PL", "NL", "SE", "NO", "DK", "FI", "CH", "AT", "BE", "PT", "IE", "CZ", "HU", "RO", "GR", "BG",
    "HR", "SK", "SI", "LT", "LV", "EE", "CA", "MX", "BR", "AR", "CL", "JP", "KR", "AU", "NZ", "ZA", "IN", "SG",
];
const WORDS: [&str; 48] = [
    "order",
    "parcel",
    "arrived",
    "late",
    "please",
    "help",
    "refund",
    "the",
    "my",
    "a",
    "when",
    "will",
    "it",
    "ship",
    "thank",
    "you",
    "invoice",
    "address",
    "change",
    "broken",
    "screen",
    "shoes",
    "size",
    "wrong",
    "colour",
    "exchange",
    "return",
    "label",
    "courier",
    "today",
    "yesterday",
    "tomorrow",
    "payment",
    "card",
    "declined",
    "account",
    "password",
    "email",
    "and",
    "but",
    "with",
    "for",
    "is",
    "was",
    "not",
    "still",
    "waiting",
    "again",
];
const FIRST: [&str; 20] = [
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo", "Ida", "Jan", "Kim", "Leo", "Mia", "Nils", "Ola", "Pia", "Rui", "Sara",
    "Tom", "Uma",
];
const LAST: [&str; 20] = [
    "Abbot", "Baker", "Carver", "Dyer", "Ember", "Fisher", "Glover", "Hunter", "Ives", "Joiner", "Keeler", "Lister", "Mason", "Naylor",
    "Ostler", "Porter", "Quarry", "Rider", "Sawyer", "Tanner",
];

/// The time of minute `n` after the start of 2024.
fn at(minute: usize) -> String {
    const MONTHS: [usize; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let (mut day, rest) = (minute / 1440 % 366, minute % 1440);
    let mut month = 0;
    while day >= MONTHS[month] {
        day -= MONTHS[month];
        month += 1;
    }
    format!("2024-{:02}-{:02}T{:02}:{:02}:00Z", month + 1, day + 1, rest / 60, rest % 60)
}

fn text(chance: &mut Chance, words: usize) -> String {
    let mut out = String::new();
    for i in 0..words {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(chance.pick(&WORDS[..]));
    }
    out
}

fn money(chance: &mut Chance, most: f64) -> String {
    format!("{:.2}", (chance.unit() * chance.unit() * most).max(1.0))
}

/// Writes the files into a folder: `companies`, `customers`, `conversations` and `orders`, each `.ndjson`.
pub fn write(folder: &Path, scale: f64) -> anyhow::Result<()> {
    let size = Size::of(scale);
    let minutes = 366 * 1440;
    std::fs::create_dir_all(folder)?;

    let mut chance = Chance::new(1);
    lines(
        &folder.join("companies.ndjson"),
        size.companies,
        |i| json!({"id": format!("co-{i}"), "name": format!("{} & {} {i}", chance.pick(&LAST), chance.pick(&LAST)), "domains": [format!("company{i}.example")]}),
    )?;

    let mut chance = Chance::new(2);
    lines(&folder.join("customers.ndjson"), size.customers, |i| {
        let (first, last) = (chance.pick(&FIRST), chance.pick(&LAST));
        let mut customer = json!({
            "id": format!("cu-{i}"), "first": first, "last": last, "name": format!("{first} {last} {i}"),
            "email": format!("{}.{}.{i}@mail.example", first.to_lowercase(), last.to_lowercase()),
            "phone": format!("+1555{:07}", i), "at": at(chance.below(minutes)),
            "country": COUNTRIES[chance.skewed(COUNTRIES.len())], "value": money(&mut chance, 20_000.0),
            "tier": chance.pick(&["basic", "basic", "plus", "premium"]),
        });
        if chance.below(3) > 0 {
            customer["company"] = format!("co-{}", chance.skewed(size.companies)).into();
        }
        customer
    })?;

    let mut chance = Chance::new(3);
    lines(&folder.join("conversations.ndjson"), size.conversations, |i| {
        let begin = chance.below(minutes - 1440);
        let channel = chance.pick(&["email", "chat", "sms", "whatsapp", "form"]);
        let count = 1 + chance.below(7);
        let messages: Vec<Json> = (0..count)
            .map(|n| {
                let words = 12 + chance.below(40);
                let body = text(&mut chance, words);
                json!({
                    "channel": channel, "direction": if n % 2 == 0 { "in" } else { "out" }, "subject": text(&mut chance, 4),
                    "preview": body.chars().take(80).collect::<String>(), "body": body, "at": at(begin + n * (5 + chance.below(120))),
                })
            })
            .collect();
        let customer = chance.skewed(size.customers);
        json!({
            "id": format!("cv-{i}"), "name": text(&mut chance, 5), "status": chance.pick(&["open", "snoozed", "done", "done", "done", "done"]),
            "priority": 1 + chance.below(5), "at": at(begin), "customer": format!("cu-{customer}"), "messages": messages,
        })
    })?;

    let mut chance = Chance::new(4);
    lines(&folder.join("orders.ndjson"), size.orders, |i| {
        let placed = chance.below(minutes - 10 * 1440);
        let status = chance.pick(&["pending", "processed", "delivered", "delivered", "delivered", "cancelled"]);
        let mut order = json!({
            "id": format!("or-{i}"), "number": format!("#{:07}", i), "status": status, "total": money(&mut chance, 2_000.0), "at": at(placed),
            "warehouse": format!("W{:03}", chance.below(100)), "channel": chance.pick(&["web", "app", "store"]), "items": 1 + chance.below(9),
            "city": format!("{}ville", chance.pick(&LAST)), "carrier": chance.pick(&["Swift", "Parcelo", "Northway"]),
            "weight": format!("{:.3}", chance.unit() * 20.0), "expedited": chance.below(4) == 0, "discount": money(&mut chance, 50.0),
            "customer": format!("cu-{}", chance.skewed(size.customers)),
        });
        if status == "delivered" {
            order["delivered"] = at(placed + 5 * 1440)[..10].into();
        }
        order
    })?;
    Ok(())
}

fn lines(path: &Path, count: usize, mut make: impl FnMut(usize) -> Json) -> anyhow::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for i in 0..count {
        serde_json::to_writer(&mut out, &make(i))?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}
