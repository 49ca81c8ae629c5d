//! Klass definitions as JSON: from the registry back to what a person would write, and from the inputs of the schema to that.

use klio_entities::klass::kind::{EnumKind, Part};
use klio_entities::klass::property::Validation;
use klio_entities::klass::relationship::{Cardinality, OnDelete, Side};
use klio_entities::klass::{End, Kind, Klass, Property, Registry};
use serde_json::{Map, Value as Json, json};

type Fields = Map<String, Json>;

/// The definition of a klass, fit for `defineKlass` and for a file. Of a standard klass: what the org adds to it.
pub fn of(registry: &Registry, klass: &Klass) -> Json {
    let mut out = Fields::new();
    put(&mut out, "name", &klass.name);
    if !klass.standard {
        put(&mut out, "plural", &klass.plural);
        put(&mut out, "title", &klass.title);
        put_some(&mut out, "displayName", &klass.display_name);
        put_some(&mut out, "description", &klass.description);
        put_some(&mut out, "icon", &klass.icon);
        put_some(&mut out, "color", &klass.color);
        if !klass.enabled {
            put(&mut out, "status", "disabled");
        }
        if let Some(timeline) = &klass.timeline {
            let at = klass.property(&timeline.at).map_or(timeline.at.as_str(), |p| p.name.as_str());
            out.insert("timeline".into(), json!({ "at": at }));
        }
    }
    let own = klass.properties.iter().filter(|p| !(p.system || klass.standard && p.standard));
    let properties: Fields = own.map(|p| (p.name.clone(), property(p))).collect();
    if !properties.is_empty() {
        out.insert("properties".into(), Json::Object(properties));
    }
    let declared = klass
        .ends
        .iter()
        .filter(|e| e.side == Side::From && e.relationship.klass == klass.name);
    let relationships: Fields = declared
        .filter(|e| !e.relationship.standard)
        .map(|e| (e.relationship.name.clone(), relationship(registry, e)))
        .collect();
    if !relationships.is_empty() {
        out.insert("relationships".into(), Json::Object(relationships));
    }
    if !klass.views.is_null() && !klass.standard {
        out.insert("views".into(), klass.views.clone());
    }
    Json::Object(out)
}

fn put(out: &mut Fields, name: &str, text: &str) {
    out.insert(name.into(), json!(text));
}

fn put_some(out: &mut Fields, name: &str, text: &Option<String>) {
    if let Some(text) = text {
        put(out, name, text);
    }
}

fn put_true(out: &mut Fields, name: &str, flag: bool) {
    if flag {
        out.insert(name.into(), json!(true));
    }
}

fn property(property: &Property) -> Json {
    let mut out = Fields::new();
    kind(&property.kind, &mut out);
    for (name, flag) in [
        ("required", property.required),
        ("unique", property.unique),
        // A unique one has an index anyway.
        ("indexed", property.indexed && !property.unique),
        ("searchable", property.searchable),
        ("sensitive", property.sensitive),
    ] {
        put_true(&mut out, name, flag);
    }
    if let Some(value) = &property.default {
        out.insert("default".into(), value.to_json());
    }
    put_some(&mut out, "displayName", &property.display_name);
    put_some(&mut out, "description", &property.description);
    put_some(&mut out, "deprecated", &property.deprecated);
    validation(&property.validation, &mut out);
    Json::Object(out)
}

fn kind(kind: &Kind, out: &mut Fields) {
    put(out, "kind", kind_name(kind));
    put_true(out, "list", matches!(kind, Kind::List(_)));
    match kind.item() {
        Kind::Integer { big } => put_true(out, "big", *big),
        Kind::Enum(it) => {
            put_some(out, "type", &it.type_name);
            out.insert("values".into(), enum_values(it));
        }
        Kind::Tree { paths } => {
            let inner = |path: &str| {
                paths
                    .iter()
                    .any(|other| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
            };
            out.insert("paths".into(), paths.iter().filter(|p| !inner(p)).map(|p| json!(p)).collect());
        }
        Kind::Object(it) => {
            put_some(out, "type", &it.type_name);
            out.insert(
                "parts".into(),
                Json::Object(it.parts.iter().map(|p| (p.name.clone(), part(p))).collect()),
            );
        }
        _ => {}
    }
}

fn enum_values(kind: &EnumKind) -> Json {
    kind.values
        .iter()
        .map(|value| {
            let mut out = Fields::new();
            put(&mut out, "value", &value.value);
            put(&mut out, "name", &value.legal);
            put_some(&mut out, "description", &value.description);
            put_some(&mut out, "deprecated", &value.deprecated);
            Json::Object(out)
        })
        .collect()
}

fn part(part: &Part) -> Json {
    let mut out = Fields::new();
    kind(&part.kind, &mut out);
    out.remove("type");
    put_true(&mut out, "required", part.required);
    put_some(&mut out, "description", &part.description);
    Json::Object(out)
}

fn relationship(registry: &Registry, end: &End) -> Json {
    let it = &end.relationship;
    let mut out = Fields::new();
    out.insert("to".into(), if it.open { json!(["*"]) } else { json!(it.to) });
    put(&mut out, "kind", cardinality(it.cardinality));
    let inverse = it.to.first().and_then(|to| registry.klass(to)).and_then(|far| {
        far.ends
            .iter()
            .find(|e| e.side == Side::To && e.relationship.klass == it.klass && e.relationship.name == it.name)
    });
    if let Some(inverse) = inverse {
        put(&mut out, "inverse", &inverse.legal);
        put_some(&mut out, "inverseDescription", &inverse.description);
    }
    put(&mut out, "inverseKind", cardinality(it.inverse_cardinality));
    put_true(&mut out, "required", it.required);
    put(&mut out, "onDelete", on_delete(it.on_delete));
    put_some(&mut out, "description", &it.description);
    put_some(&mut out, "deprecated", &end.deprecated);
    let properties: Fields = it.properties.iter().map(|p| (p.name.clone(), property(p))).collect();
    if !properties.is_empty() {
        out.insert("properties".into(), Json::Object(properties));
    }
    Json::Object(out)
}

fn cardinality(it: Cardinality) -> &'static str {
    match it {
        Cardinality::One => "one",
        Cardinality::Many => "many",
    }
}

/// As a definition writes it.
pub fn on_delete(it: OnDelete) -> &'static str {
    match it {
        OnDelete::Restrict => "restrict",
        OnDelete::Unlink => "unlink",
        OnDelete::Cascade => "cascade",
    }
}

/// The name of a kind (of a list: of its items) as a definition writes it.
pub fn kind_name(kind: &Kind) -> &'static str {
    match kind.item() {
        Kind::Id => "id",
        Kind::Actor => "actor",
        Kind::String => "string",
        Kind::Text => "text",
        Kind::Integer { .. } => "integer",
        Kind::Decimal => "decimal",
        Kind::Boolean => "boolean",
        Kind::Date => "date",
        Kind::DateTime => "datetime",
        Kind::Url => "url",
        Kind::Email => "email",
        Kind::Phone => "phone",
        Kind::Enum(_) => "enum",
        Kind::Tree { .. } => "tree",
        Kind::Money => "money",
        Kind::Json => "json",
        Kind::Object(_) => "object",
        Kind::List(_) => "list",
    }
}

/// Appends what a value must also satisfy, as a definition writes it.
pub fn validation(rules: &Validation, out: &mut Fields) {
    for (name, value) in [("min", &rules.min), ("max", &rules.max)] {
        if let Some(value) = value {
            out.insert(name.into(), value.to_json());
        }
    }
    for (name, number) in [("minLength", rules.min_length), ("maxLength", rules.max_length)] {
        if let Some(number) = number {
            out.insert(name.into(), json!(number));
        }
    }
    put_some(out, "pattern", &rules.pattern);
    put_some(out, "format", &rules.format.map(|format| format.name().to_owned()));
}

/// A `KlassInput` (or what is given of a `KlassPatch`), as a definition file says it: lists of named things become tables by name,
/// and what is null is left out.
pub fn from_input(input: &Json) -> Json {
    let mut out = Fields::new();
    let Json::Object(given) = input else { return Json::Object(out) };
    for (name, value) in given {
        match (name.as_str(), value) {
            (_, Json::Null) => {}
            ("properties" | "relationships" | "parts", Json::Array(items)) => {
                out.insert(name.clone(), Json::Object(items.iter().filter_map(named).collect()));
            }
            ("timeline", Json::Object(_)) => {
                out.insert(name.clone(), from_input(value));
            }
            ("values", Json::Array(items)) => {
                out.insert(name.clone(), items.iter().map(from_input).collect());
            }
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    Json::Object(out)
}

fn named(item: &Json) -> Option<(String, Json)> {
    let name = item.get("name")?.as_str()?.to_owned();
    let Json::Object(mut rest) = from_input(item) else { return None };
    rest.remove("name");
    Some((name, Json::Object(rest)))
}

/// Names that stand twice in a list of named things, which a table by name would hide: `["properties", "total"]`.
pub fn doubles(input: &Json) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    for list in ["properties", "relationships", "parts"] {
        let Some(items) = input.get(list).and_then(Json::as_array) else {
            continue;
        };
        let mut seen = std::collections::HashSet::new();
        for item in items {
            let Some(name) = item.get("name").and_then(Json::as_str) else {
                continue;
            };
            let path = || vec![list.to_owned(), name.to_owned()];
            if !seen.insert(name) {
                out.push(path());
            }
            out.extend(doubles(item).into_iter().map(|rest| [path(), rest].concat()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_tables_and_nulls_go() {
        let input = json!({
            "name": "order", "plural": null,
            "properties": [
                {"name": "total", "kind": "money", "required": null},
                {"name": "status", "kind": "enum", "values": [{"value": "open", "name": null}]},
                {"name": "box", "kind": "object", "parts": [{"name": "width", "kind": "integer"}]},
            ],
        });
        let expected = json!({
            "name": "order",
            "properties": {
                "total": {"kind": "money"},
                "status": {"kind": "enum", "values": [{"value": "open"}]},
                "box": {"kind": "object", "parts": {"width": {"kind": "integer"}}},
            },
        });
        assert_eq!(from_input(&input), expected);
    }

    #[test]
    fn doubles_are_found_at_any_depth() {
        let input = json!({"properties": [{"name": "a"}, {"name": "b", "parts": [{"name": "x"}, {"name": "x"}]}, {"name": "a"}]});
        assert_eq!(doubles(&input), [vec!["properties", "b", "parts", "x"], vec!["properties", "a"]]);
    }
}
