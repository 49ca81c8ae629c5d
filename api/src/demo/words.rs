//! What the demo's people, things and letters are called. None of the people exists; their addresses end in `example`.

/// Given names.
pub const FIRST: &[&str] = &[
    "Ada", "Amir", "Anouk", "Beatriz", "Bram", "Caleb", "Chidi", "Clara", "Dana", "Diego", "Edith", "Elias", "Emre", "Farah", "Felix",
    "Greta", "Hana", "Hugo", "Ines", "Ivo", "Jada", "Jonas", "Kenji", "Kira", "Lars", "Leila", "Liam", "Lucia", "Malik", "Mara", "Mateo",
    "Mina", "Nadia", "Nils", "Noor", "Olga", "Omar", "Paula", "Priya", "Quinn", "Rafael", "Rosa", "Samir", "Selma", "Tariq", "Tessa",
    "Uma", "Victor", "Wanda", "Yusuf", "Zoe",
];

/// Family names.
pub const LAST: &[&str] = &[
    "Abara",
    "Almeida",
    "Bergstrom",
    "Bianchi",
    "Castillo",
    "Corvin",
    "Dahlin",
    "Duarte",
    "Eklund",
    "Faber",
    "Fontaine",
    "Galloway",
    "Haddad",
    "Hollis",
    "Ibarra",
    "Ishikawa",
    "Jansen",
    "Kowal",
    "Lindqvist",
    "Lockwood",
    "Marlowe",
    "Mbeki",
    "Navarro",
    "Nyberg",
    "Okafor",
    "Osborne",
    "Pereira",
    "Quimby",
    "Rahman",
    "Rosario",
    "Sandoval",
    "Sato",
    "Tanaka",
    "Thorne",
    "Ulrich",
    "Varga",
    "Verma",
    "Whitlock",
    "Yilmaz",
    "Zeller",
];

/// The first half of companies' names.
pub const COMPANY: &[&str] = &[
    "Northwind",
    "Bluebird",
    "Cedar & Co",
    "Driftwood",
    "Evergreen",
    "Foxglove",
    "Granite",
    "Harbour",
    "Ironwood",
    "Juniper",
    "Kestrel",
    "Lantern",
    "Meadow",
    "Nimbus",
    "Orchard",
    "Pinecrest",
    "Quarry",
    "Riverbend",
    "Saltmarsh",
    "Thistle",
];

/// The second half.
pub const TRADE: &[&str] = &["Outfitters", "Kitchens", "Studios", "Hotels", "Logistics", "Cafés"];

/// City, state, its code, zip, time zone, telephone area.
pub const PLACES: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("Austin", "Texas", "TX", "78701", "America/Chicago", "512"),
    ("Houston", "Texas", "TX", "77002", "America/Chicago", "713"),
    ("Dallas", "Texas", "TX", "75201", "America/Chicago", "214"),
    ("Portland", "Oregon", "OR", "97205", "America/Los_Angeles", "503"),
    ("Seattle", "Washington", "WA", "98101", "America/Los_Angeles", "206"),
    ("Denver", "Colorado", "CO", "80202", "America/Denver", "303"),
    ("Boston", "Massachusetts", "MA", "02108", "America/New_York", "617"),
    ("New York", "New York", "NY", "10003", "America/New_York", "212"),
    ("Chicago", "Illinois", "IL", "60605", "America/Chicago", "312"),
    ("San Diego", "California", "CA", "92101", "America/Los_Angeles", "619"),
];

/// SKU, name, place in the tree of categories, price in cents.
pub const PRODUCTS: &[(&str, &str, &str, i64)] = &[
    ("TENT-2", "Ridgeline two-person tent", "Outdoor/Tents", 24_900),
    ("TENT-4", "Ridgeline family tent", "Outdoor/Tents", 39_900),
    ("TENT-U", "Featherweight solo tent", "Outdoor/Tents", 31_500),
    ("TARP-1", "Storm tarp", "Outdoor/Tents", 5_900),
    ("BAG-30", "Switchback 30 l backpack", "Outdoor/Bags", 9_900),
    ("BAG-55", "Switchback 55 l backpack", "Outdoor/Bags", 17_900),
    ("BAG-D", "Harbour duffel", "Outdoor/Bags", 8_450),
    ("BAG-S", "Down sleeping bag", "Outdoor/Bags", 21_900),
    ("COF-H", "House blend, 1 kg", "Kitchen/Coffee", 2_490),
    ("COF-E", "Espresso beans, 1 kg", "Kitchen/Coffee", 2_690),
    ("COF-D", "Decaf, 500 g", "Kitchen/Coffee", 1_590),
    ("COF-G", "Hand grinder", "Kitchen/Coffee", 7_900),
    ("COF-K", "Gooseneck kettle", "Kitchen/Coffee", 6_450),
    ("COF-P", "Pour-over set", "Kitchen/Coffee", 4_290),
    ("KNF-C", "Chef's knife, 20 cm", "Kitchen/Knives", 12_900),
    ("KNF-P", "Paring knife", "Kitchen/Knives", 3_490),
    ("KNF-B", "Bread knife", "Kitchen/Knives", 5_990),
    ("KNF-S", "Whetstone", "Kitchen/Knives", 3_990),
    ("LMP-D", "Dune desk lamp", "Home/Lamps", 8_900),
    ("LMP-F", "Dune floor lamp", "Home/Lamps", 18_900),
    ("LMP-C", "Camp lantern", "Home/Lamps", 4_900),
    ("LMP-B", "Warm white bulb, pair", "Home/Lamps", 1_290),
];

/// Users: name, team.
pub const USERS: &[(&str, usize)] = &[
    ("Robin Ashby", 0),
    ("Jun Morita", 0),
    ("Salma Reyes", 0),
    ("Owen Tully", 1),
    ("Petra Novak", 1),
    ("Dario Conti", 2),
    ("Imani Cole", 2),
    ("Freya Lund", 2),
];

/// Teams, with what they do.
pub const TEAMS: &[(&str, &str)] = &[
    ("Orders", "Everything between the basket and the doorstep."),
    ("Returns", "What comes back, and the money for it."),
    ("Product advice", "Which tent, which roast, which blade."),
];

/// What a conversation is about, and what is said in it. In the texts, `{first}` is the customer, `{product}` and `{order}` what it
/// is about, `{agent}` who answers.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub subject: &'static str,
    /// The team that takes it.
    pub team: usize,
    /// Where in the tree of categories the products stand that it is about; empty: any.
    pub about: &'static str,
    /// How customers feel about it: polarity.
    pub mood: i8,
    /// How customers begin.
    pub opening: &'static [&'static str],
    /// What is answered.
    pub answer: &'static [&'static str],
    /// How customers go on.
    pub reply: &'static [&'static str],
    /// How it ends.
    pub closing: &'static [&'static str],
}

/// All topics.
pub const TOPICS: &[Topic] = &[
    Topic {
        subject: "Where is my order {order}?",
        team: 0,
        about: "",
        mood: -1,
        opening: &[
            "Hello, order {order} was to be here on Tuesday and nothing has come. Can you see where it is?",
            "The tracking page for {order} has not moved for four days. Is the parcel lost?",
            "Hi, any news of my {product}? We leave for the coast on Friday and I would like to take it along.",
        ],
        answer: &[
            "Hi {first}, I looked it up: the parcel sat in the depot over the weekend and is on the van today. You will have it before evening. {agent}",
            "Sorry for the wait, {first}. The carrier scanned it this morning, so it is moving again. I keep an eye on it. {agent}",
        ],
        reply: &[
            "Thanks, I will be at home after four.",
            "Good. Could they leave it with the neighbour at number 12 if I am out?",
        ],
        closing: &["It has arrived, thank you!", "Got it this morning, all in one piece."],
    },
    Topic {
        subject: "A pole is missing from my tent",
        team: 1,
        about: "Outdoor/Tents",
        mood: -1,
        opening: &[
            "I pitched the {product} in the garden before our trip and one of the poles is not in the bag. Can you send one?",
            "One pole of the {product} came with a crack near the ferrule. It is brand new, order {order}.",
        ],
        answer: &[
            "That should not have left our warehouse, {first}. A new pole goes out today by express, no need to return the other one. {agent}",
            "Thank you for trying it before the trip! Could you send a photo of the label inside the bag? Then I pick the right length. {agent}",
        ],
        reply: &[
            "The label says R2-B. Photo attached.",
            "We leave on the 14th, will it be here by then?",
        ],
        closing: &["The pole fits. That was quick!", "Pitched and dry. Thanks for the help."],
    },
    Topic {
        subject: "Grind size for the pour-over",
        team: 2,
        about: "Kitchen/Coffee",
        mood: 1,
        opening: &[
            "I love the {product}, but my coffee comes out bitter. What grind do you suggest?",
            "Which of your beans would you take for a pour-over? I find the espresso roast too dark for it.",
        ],
        answer: &[
            "Good question, {first}. Go two steps coarser and pour at about 93 °C; it should take three minutes in all. {agent}",
            "I would take the house blend, {first}: it is roasted lighter and keeps its fruit. {agent}",
        ],
        reply: &[
            "Two steps coarser was it. What a difference.",
            "And how long do the beans keep once opened?",
        ],
        closing: &["Perfect, thank you.", "You have a customer for life."],
    },
    Topic {
        subject: "Change the address of {order}",
        team: 0,
        about: "",
        mood: 0,
        opening: &[
            "I have moved and forgot to change my address. Can {order} still go to the new one?",
            "Please send {order} to my office instead, someone is always there to take it.",
        ],
        answer: &[
            "Done, {first}: it has not left yet, so the new address is on the label. {agent}",
            "It is on its way already, but I asked the carrier to redirect it. That costs a day. {agent}",
        ],
        reply: &["A day is fine.", "Great, thanks for the quick answer."],
        closing: &["All good now.", "It came to the right door, thanks."],
    },
    Topic {
        subject: "Return of {product}",
        team: 1,
        about: "",
        mood: 0,
        opening: &[
            "The {product} is lovely but larger than I thought. How do I send it back?",
            "I ordered two by mistake. Can I return one of them? Order {order}.",
        ],
        answer: &[
            "Of course, {first}. I have sent you a label; drop the parcel at any shop of the carrier within 30 days. {agent}",
            "No trouble. As soon as it is scanned at the counter we give the money back, you need not wait for us to open it. {agent}",
        ],
        reply: &["Must it be in the original box?", "Dropped it off an hour ago."],
        closing: &["The money is back on my card. Thanks.", "That was painless, thank you."],
    },
    Topic {
        subject: "The lamp flickers",
        team: 2,
        about: "Home/Lamps",
        mood: -1,
        opening: &[
            "My {product} flickers when I dim it below half. Is it broken or is it the bulb?",
            "The switch of the {product} became hot yesterday evening. Is that safe?",
        ],
        answer: &[
            "Please unplug it for now, {first}. I would rather send you a new one than guess; it is in the post tomorrow. {agent}",
            "That is nearly always the bulb, {first}: some do not like the dimmer. I put a pair of ours in the post for you. {agent}",
        ],
        reply: &[
            "Thank you. What do I do with the old one?",
            "With the new bulb it no longer flickers.",
        ],
        closing: &["Works like a charm.", "The new one is here and stays cool."],
    },
    Topic {
        subject: "Sharpening my knife",
        team: 2,
        about: "Kitchen/Knives",
        mood: 1,
        opening: &[
            "At what angle should I sharpen the {product}? The leaflet does not say.",
            "I dropped the {product} and the tip is gone by a millimetre. Can you mend that?",
        ],
        answer: &[
            "15 degrees a side, {first}. A coin under the spine is about right on our whetstone. {agent}",
            "We can: send it in and we grind a new tip, it takes a week. The first time is free. {agent}",
        ],
        reply: &["How often would you do it at home?", "Wonderful, I pack it tonight."],
        closing: &["It cuts like new.", "Back and sharper than ever, thanks."],
    },
    Topic {
        subject: "Pause my coffee box",
        team: 0,
        about: "Kitchen/Coffee",
        mood: 0,
        opening: &[
            "We are away all of next month. Could you pause the coffee box?",
            "The box comes faster than we drink. Can I have it every six weeks instead?",
        ],
        answer: &[
            "Paused, {first}. It starts again by itself on the first of the month after; you can also do it under Plans. {agent}",
            "Every six weeks it is. The next one leaves on Monday. {agent}",
        ],
        reply: &["Perfect, thank you.", "Can I also switch it to decaf?"],
        closing: &["Great service.", "All set."],
    },
    Topic {
        subject: "Invoice with our VAT number",
        team: 0,
        about: "",
        mood: 0,
        opening: &[
            "We bought ten of the {product} for the office. Could the invoice for {order} carry our VAT number?",
            "Our bookkeeping needs the invoice for {order} in the company's name.",
        ],
        answer: &[
            "Here it is, {first}, corrected and with today's date. From now on your orders carry it by themselves. {agent}",
            "Gladly. Which name exactly should stand on it? {agent}",
        ],
        reply: &["As in the signature below, please.", "Thank you, that is what we need."],
        closing: &["Received, thanks.", "Bookkeeping is happy."],
    },
    Topic {
        subject: "Is the {product} back in stock soon?",
        team: 2,
        about: "",
        mood: 1,
        opening: &[
            "I have been waiting for the {product} for weeks. When will you have it again?",
            "Can I reserve a {product}? It is to be a birthday present.",
        ],
        answer: &[
            "The next delivery comes in ten days, {first}, and I have put one aside for you. {agent}",
            "Reserved until Sunday, {first}. The link in this mail takes you to the till. {agent}",
        ],
        reply: &["You are the best!", "Could it be gift-wrapped?"],
        closing: &["Ordered. Thank you!", "It arrived in time for the party."],
    },
    Topic {
        subject: "Charged twice",
        team: 1,
        about: "",
        mood: -1,
        opening: &[
            "My card shows two payments for {order}. I bought it once!",
            "There is a second charge from you on my account that I cannot place.",
        ],
        answer: &[
            "I see it, {first}: the first attempt timed out and was taken all the same. The money is on its way back, two or three days. {agent}",
            "The second is only a hold, {first}; it vanishes by itself on Thursday. I am sorry for the fright. {agent}",
        ],
        reply: &["I will look again on Friday.", "This should not happen."],
        closing: &["It is back. Thank you.", "Settled, thanks for explaining."],
    },
    Topic {
        subject: "Thank you!",
        team: 2,
        about: "Outdoor/Tents",
        mood: 1,
        opening: &[
            "Just wanted to say that the {product} held through three days of rain. Not a drop inside.",
            "I have not slept so well outdoors in years as in the {product}. Please tell those who made it.",
        ],
        answer: &[
            "You made our morning, {first}. I pinned it to the wall in the workshop. {agent}",
            "Thank you, {first}! May we quote you? {agent}",
        ],
        reply: &["Please do.", "With pleasure."],
        closing: &["See you next season.", "All the best to the team."],
    },
];

/// What users tell each other.
pub const NOTES: &[&str] = &[
    "Prefers to be called in the afternoon.",
    "Is planning a long trip in autumn: offer the care plan.",
    "Had two late parcels this year. Be generous.",
    "Buys for the whole office; the invoice goes to bookkeeping.",
    "Knows more about knives than we do.",
    "Asked for decaf only from now on.",
    "Sent a lovely photo of the tent in the snow; may be used with the name.",
    "Address has a gate code, ask before shipping.",
];

/// Whether a product of this name is what a topic is about.
pub fn fits(topic: &Topic, product: &str) -> bool {
    PRODUCTS
        .iter()
        .any(|(_, name, category, _)| *name == product && category.starts_with(topic.about))
}

/// The names of the products that a topic is about.
pub fn products_of(topic: &Topic) -> Vec<&'static str> {
    let those = PRODUCTS.iter().filter(|(_, _, category, _)| category.starts_with(topic.about));
    those.map(|(_, name, _, _)| *name).collect()
}

/// Puts what a text is about into it.
pub fn fill(text: &str, first: &str, product: &str, order: &str, agent: &str) -> String {
    text.replace("{first}", first)
        .replace("{product}", product)
        .replace("{order}", order)
        .replace("{agent}", agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled_whole() {
        let texts = TOPICS
            .iter()
            .flat_map(|t| [&[t.subject][..], t.opening, t.answer, t.reply, t.closing].concat());
        for text in texts {
            let filled = fill(text, "Ada", "tent", "#1", "Robin");
            assert!(!filled.contains(['{', '}']), "{filled}");
        }
        assert!(TOPICS.iter().all(|t| t.team < TEAMS.len() && !products_of(t).is_empty()));
        assert!(USERS.iter().all(|(_, team)| *team < TEAMS.len()));
    }
}
