//! Two orgs with equal external ids, emails and klass names never see each other: every root field and every mutation, asked
//! with the other org's ids, answers exactly what it answers for ids that do not exist.

use klio_tests::{Product, on_each_database};
use serde_json::{Value as Json, json};

on_each_database!(foreign_ids_are_like_none_at_all);

const KLASS: &str = "mutation ($k: KlassInput!) { defineKlass(input: $k) { klass { name } errors { message } } }";

/// The schema as introspection tells it: enough to make arguments of any type.
struct Schema(Json);

impl Schema {
    async fn of(product: &Product) -> Self {
        let answer = product
            .data(
                "{ __schema { types { kind name
                    fields { name args { ...A } type { ...T } }
                    inputFields { ...A } enumValues { name } } } }
                 fragment A on __InputValue { name defaultValue type { ...T } }
                 fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }",
                json!({}),
            )
            .await;
        Self(answer["__schema"]["types"].clone())
    }

    fn ty(&self, name: &str) -> &Json {
        self.0
            .as_array()
            .into_iter()
            .flatten()
            .find(|t| t["name"] == name)
            .unwrap_or_else(|| panic!("no type {name}"))
    }

    fn fields(&self, name: &str) -> Vec<Json> {
        self.ty(name)["fields"].as_array().cloned().unwrap_or_default()
    }

    /// A value of an input type; ids (and external ids where `external`) are the given one. Only what is required is given, and every link.
    fn value(&self, ty: &Json, id: &str, depth: usize) -> Option<Json> {
        match ty["kind"].as_str()? {
            "NON_NULL" => self.value(&ty["ofType"], id, depth),
            "LIST" => Some(json!([self.value(&ty["ofType"], id, depth)?])),
            "ENUM" => self.ty(ty["name"].as_str()?)["enumValues"][0]["name"].as_str().map(|s| json!(s)),
            "INPUT_OBJECT" => {
                if depth == 0 {
                    return None;
                }
                let name = ty["name"].as_str()?;
                let fields = self.ty(name)["inputFields"].as_array()?.clone();
                let mut out = serde_json::Map::new();
                for field in fields {
                    let field_name = field["name"].as_str()?.to_owned();
                    let required = field["type"]["kind"] == "NON_NULL" && field["defaultValue"].is_null();
                    let link = ["connect", "id"].contains(&field_name.as_str());
                    let links = field["type"]["name"].as_str().is_some_and(|n| n.contains("Link"));
                    if (required || link || links)
                        && let Some(value) = self.value(&field["type"], id, depth - 1)
                    {
                        // Of the two ways to say which one, one only.
                        if !(field_name == "create" || field_name == "upsert") {
                            out.insert(field_name, value);
                        }
                    }
                }
                Some(Json::Object(out))
            }
            _ => Some(match ty["name"].as_str()? {
                "ID" => json!(id),
                "Int" => json!(1),
                "Float" => json!(1.5),
                "Boolean" => json!(true),
                "DateTime" => json!("2025-01-01T00:00:00Z"),
                "Date" => json!("2025-01-01"),
                "Decimal" | "BigInt" => json!("1"),
                "URL" => json!("https://example.com/"),
                "EmailAddress" => json!("somebody@example.com"),
                "PhoneNumber" => json!("+14155550100"),
                "TimeZone" => json!("UTC"),
                "Duration" => json!("P1D"),
                "Cursor" => return None,
                _ => json!("text"),
            }),
        }
    }

    /// A selection of every leaf, two levels deep.
    fn selection(&self, ty: &Json, depth: usize) -> String {
        let mut named = ty;
        while named["ofType"].is_object() {
            named = &named["ofType"];
        }
        let name = named["name"].as_str().unwrap_or_default();
        match named["kind"].as_str() {
            Some("OBJECT" | "INTERFACE") if depth > 0 => {
                let fields = self
                    .fields(name)
                    .into_iter()
                    .filter(|f| f["args"].as_array().is_none_or(Vec::is_empty))
                    .filter_map(|f| {
                        let field = f["name"].as_str()?.to_owned();
                        // Cursors and moments differ from answer to answer.
                        if field.to_lowercase().ends_with("cursor") || field.ends_with("At") || field == "remedy" {
                            return None;
                        }
                        let inner = self.selection(&f["type"], depth - 1);
                        (inner != "none").then(|| format!("{field} {inner}"))
                    });
                let fields: Vec<_> = fields.collect();
                if fields.is_empty() {
                    "none".into()
                } else {
                    format!("{{ __typename {} }}", fields.join(" "))
                }
            }
            Some("OBJECT" | "INTERFACE") => "none".into(),
            Some("UNION") => "{ __typename }".into(),
            _ => String::new(),
        }
    }
}

/// An id that no object has, of the same klass.
fn nobody(id: &str) -> String {
    let (prefix, _) = id.rsplit_once('_').expect("an id has a prefix");
    format!("{prefix}_01h455vb4pex5vsknk084sn02q")
}

async fn foreign_ids_are_like_none_at_all(product: Product) {
    product.org("rival").await;
    let rival = product.token_of("rival", "admin").await;
    let klass = json!({ "k": {
        "name": "order", "plural": "orders", "title": "{orderNumber}",
        "properties": [{ "name": "orderNumber", "kind": "string", "unique": true }],
        "relationships": [{ "name": "customer", "to": ["customer"], "kind": "one", "inverse": "orders" },
                          { "name": "watchers", "to": ["user"], "kind": "many", "inverse": "watchedOrders" }],
    } });
    let mut foreign = Vec::new();
    for token in [&product.token, &rival] {
        klio_tests::data(product.ask_as(token, KLASS, klass.clone()).await, KLASS);
        let make = "mutation {
            company: createCompany(input: { name: \"Same\", externalId: \"same\" }) { object: company { id } errors { message } }
            customer: createCustomer(input: { name: \"Same\", externalId: \"same\", email: \"same@example.com\", company: { connect: { externalId: \"same\" } } }) { object: customer { id } errors { message } }
            conversation: createConversation(input: { name: \"Same\", externalId: \"same\", customer: { connect: { email: \"same@example.com\" } } }) { object: conversation { id } errors { message } }
            message: createMessage(input: { body: \"Same\", externalId: \"same\", channel: CHAT, direction: IN, conversation: { connect: { externalId: \"same\" } } }) { object: message { id } errors { message } }
            user: createUser(input: { name: \"Same\", externalId: \"same\" }) { object: user { id } errors { message } }
            team: createTeam(input: { name: \"Same\", externalId: \"same\" }) { object: team { id } errors { message } }
            note: createNote(input: { body: \"Same\", externalId: \"same\", conversation: { connect: { externalId: \"same\" } } }) { object: note { id } errors { message } }
            order: createOrder(input: { orderNumber: \"same\", externalId: \"same\", customer: { connect: { externalId: \"same\" } } }) { object: order { id } errors { message } }
        }";
        let made = klio_tests::data(product.ask_as(token, make, json!({})).await, make);
        foreign = made
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v["object"]["id"].as_str()?.to_owned())))
            .collect();
    }
    // `foreign` holds the rival's ids now; the asker is acme's admin.
    let before = counts(&product, &rival).await;
    let schema = Schema::of(&product).await;
    let mut asked = 0;
    let mut faults = Vec::new();
    for root in ["Query", "Mutation"] {
        for field in schema.fields(root) {
            let name = field["name"].as_str().unwrap_or_default();
            let Some(args) = field["args"].as_array() else { continue };
            if args.is_empty() || name.ends_with("Klass") || name.starts_with("klass") {
                continue;
            }
            for (klass, id) in &foreign {
                // Each field is asked with the ids of its own klass, and generic ones with all.
                let generic = ["node", "nodes", "object"].contains(&name);
                if !generic && !name.to_lowercase().contains(klass.as_str()) {
                    continue;
                }
                let mut answers = Vec::new();
                for given in [id.clone(), nobody(id)] {
                    let mut parts = Vec::new();
                    let mut variables = serde_json::Map::new();
                    let mut declared = Vec::new();
                    for arg in args {
                        let arg_name = arg["name"].as_str().unwrap_or_default();
                        let required = arg["type"]["kind"] == "NON_NULL" && arg["defaultValue"].is_null();
                        let value = match arg_name {
                            "id" => Some(json!(given)),
                            "klass" => Some(json!(klass)),
                            "filter" => Some(json!({ "id": { "eq": given } })),
                            "idempotencyKey" => None,
                            _ if required => schema.value(&arg["type"], &given, 5),
                            _ => None,
                        };
                        if let Some(value) = value {
                            declared.push(format!("${arg_name}: {}", type_text(&arg["type"])));
                            parts.push(format!("{arg_name}: ${arg_name}"));
                            variables.insert(arg_name.to_owned(), value);
                        }
                    }
                    let selection = schema.selection(&field["type"], 4);
                    let head = if declared.is_empty() {
                        String::new()
                    } else {
                        format!("({})", declared.join(", "))
                    };
                    let arguments = if parts.is_empty() {
                        String::new()
                    } else {
                        format!("({})", parts.join(", "))
                    };
                    let text = format!("{} Q{head} {{ r: {name}{arguments} {selection} }}", root.to_lowercase());
                    let answer = product.ask(&text, Json::Object(variables)).await;
                    // The id that was asked for may be said back; objects that a create made have ids of their own.
                    let mut named = answer;
                    let shown = named.to_string().replace(&given, "<given>");
                    named = serde_json::from_str(&shown).unwrap_or(named);
                    klio_tests::normal::Names::default().apply(&mut named);
                    answers.push((text, named));
                }
                asked += 1;
                if answers[0].1 != answers[1].1 {
                    faults.push(format!(
                        "{name} with a foreign {klass}:\n{}\nforeign {}\nnobody  {}",
                        answers[0].0, answers[0].1, answers[1].1
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    assert!(asked > 60, "only {asked} fields were asked");
    assert_eq!(counts(&product, &rival).await, before, "the rival's objects are as they were");
}

/// How many objects an org has, and what they are called: nothing of it may change by what another org does.
async fn counts(product: &Product, token: &str) -> Json {
    let query = "{ companies { nodes { name version } totalCount } customers { nodes { name version email company { name } } totalCount }
        conversations { nodes { name version status messages { totalCount } } totalCount } messages { nodes { body version } totalCount }
        users { nodes { name version } totalCount } teams { nodes { name version } totalCount } notes { nodes { body version } totalCount }
        orders { nodes { orderNumber version customer { name } } totalCount } }";
    klio_tests::data(product.ask_as(token, query, json!({})).await, query)
}

fn type_text(ty: &Json) -> String {
    match ty["kind"].as_str() {
        Some("NON_NULL") => format!("{}!", type_text(&ty["ofType"])),
        Some("LIST") => format!("[{}]", type_text(&ty["ofType"])),
        _ => ty["name"].as_str().unwrap_or_default().to_owned(),
    }
}
