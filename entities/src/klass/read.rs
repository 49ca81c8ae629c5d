//! From text to a [`Definition`]: TOML as in a file, JSON as `defineKlass` gets it. Every fault of form at once, each with its path;
//! a key that is not known is a fault with the one that was probably meant.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::definition::*;
use super::name::nearest;
use super::relationship::{Cardinality, OnDelete};
use super::{Fault, Faults};

const KLASS_KEYS: &[&str] = &[
    "name",
    "plural",
    "title",
    "displayName",
    "description",
    "icon",
    "color",
    "status",
    "timeline",
    "properties",
    "relationships",
    "views",
];
const PROPERTY_KEYS: &[&str] = &[
    "kind",
    "list",
    "many",
    "big",
    "type",
    "values",
    "paths",
    "parts",
    "required",
    "unique",
    "indexed",
    "searchable",
    "sensitive",
    "default",
    "displayName",
    "description",
    "deprecated",
    "min",
    "max",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "validation",
    "formerly",
    "writable",
];
const VALIDATION_KEYS: &[&str] = &["min", "max", "minLength", "maxLength", "pattern", "format"];
const VALUE_KEYS: &[&str] = &["value", "name", "description", "deprecated"];
const PART_KEYS: &[&str] = &["kind", "list", "many", "big", "values", "required", "description"];
const RELATIONSHIP_KEYS: &[&str] = &[
    "to",
    "kind",
    "inverse",
    "inverseKind",
    "required",
    "onDelete",
    "description",
    "inverseDescription",
    "deprecated",
    "formerly",
    "properties",
];

/// Reads a definition file.
pub fn from_toml(text: &str) -> Result<Definition, Faults> {
    from_json(&toml_to_json(text)?)
}

/// Reads a definition in JSON.
pub fn from_json(json: &Json) -> Result<Definition, Faults> {
    let mut faults = Vec::new();
    let name = json.get("name").and_then(Json::as_str).unwrap_or("?");
    let definition = klass(json, &Path::root().at("klasses").at(name), &mut faults);
    if faults.is_empty() { Ok(definition) } else { Err(Faults(faults)) }
}

/// Reads a property alone (`changeKlass`); `path` is where it stands.
pub fn property_from_json(json: &Json, path: &[String]) -> Result<PropertyDefinition, Faults> {
    let mut faults = Vec::new();
    let it = property(json, &Path(path.to_vec()), &mut faults);
    if faults.is_empty() { Ok(it) } else { Err(Faults(faults)) }
}

/// Reads a relationship alone; `path` is where it stands.
pub fn relationship_from_json(json: &Json, path: &[String]) -> Result<RelationshipDefinition, Faults> {
    let mut faults = Vec::new();
    let it = relationship(json, &Path(path.to_vec()), &mut faults);
    if faults.is_empty() { Ok(it) } else { Err(Faults(faults)) }
}

/// Reads shared types (`klasses/types.toml`): a table of properties without any of a property's flags.
pub(super) fn shared_types(text: &str) -> Result<IndexMap<String, PropertyDefinition>, Faults> {
    let json = toml_to_json(text)?;
    let mut faults = Vec::new();
    let path = Path::root().at("types");
    let mut out = IndexMap::new();
    for (name, it) in json.as_object().into_iter().flatten() {
        out.insert(name.clone(), property(it, &path.at(name), &mut faults));
    }
    if faults.is_empty() { Ok(out) } else { Err(Faults(faults)) }
}

/// TOML as JSON, keys in the order of the text (the parser's own tables are sorted). Dates become strings.
fn toml_to_json(text: &str) -> Result<Json, Faults> {
    let (table, mut errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        errors.sort_by_key(|e| e.span().map_or(0, |s| s.start));
        let faults = errors.iter().map(|e| {
            let line = e.span().map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            Fault::bad(
                [format!("line {line}")],
                format!("Not TOML: {}.", e.message().trim_end_matches('.')),
            )
        });
        return Err(Faults(faults.collect()));
    }
    Ok(table_to_json(table.get_ref()))
}

fn table_to_json(table: &toml::de::DeTable<'_>) -> Json {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let entries = entries
        .into_iter()
        .map(|(k, v)| (k.get_ref().to_string(), value_to_json(v.get_ref())));
    Json::Object(entries.collect())
}

fn value_to_json(value: &toml::de::DeValue<'_>) -> Json {
    use toml::de::DeValue;
    match value {
        DeValue::String(s) => Json::String(s.to_string()),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).map_or_else(|_| Json::String(i.to_string()), Json::from),
        DeValue::Float(f) => {
            let number = f
                .as_str()
                .replace('_', "")
                .parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64);
            number.map_or_else(|| Json::String(f.to_string()), Json::Number)
        }
        DeValue::Boolean(b) => Json::Bool(*b),
        DeValue::Datetime(d) => Json::String(d.to_string()),
        DeValue::Array(items) => Json::Array(items.iter().map(|i| value_to_json(i.get_ref())).collect()),
        DeValue::Table(table) => table_to_json(table),
    }
}

/// Where one stands in a definition.
#[derive(Clone)]
struct Path(Vec<String>);

impl Path {
    fn root() -> Self {
        Self(Vec::new())
    }
    fn at(&self, step: impl Into<String>) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.into());
        Self(steps)
    }
}

/// A table that is being read, key by key.
struct Table<'a> {
    map: &'a Map<String, Json>,
    path: &'a Path,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Table<'a> {
    /// `None`, with a fault, when it is no table; a fault for each key that is not known.
    fn open(json: &'a Json, path: &'a Path, what: &str, known: &[&'static str], faults: &'a mut Vec<Fault>) -> Option<Self> {
        let Some(map) = json.as_object() else {
            faults.push(Fault::bad(
                path.0.clone(),
                format!("{what} must be a table, not {}.", describe(json)),
            ));
            return None;
        };
        for key in map.keys() {
            if !known.contains(&key.as_str()) {
                let fault = Fault::bad(path.at(key).0, format!("{what} has no `{key}`."));
                faults.push(match nearest(key, known.iter().copied()) {
                    Some(meant) => fault.remedy(format!("Did you mean `{meant}`?")),
                    None => fault.remedy(format!("It may have: {}.", known.join(", "))),
                });
            }
        }
        Some(Self { map, path, faults })
    }

    fn get(&self, key: &str) -> Option<&'a Json> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&mut self, key: &str, wanted: &str, got: &Json) {
        self.faults.push(Fault::bad(
            self.path.at(key).0,
            format!("`{key}` must be {wanted}, not {}.", describe(got)),
        ));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Json::String(s) => Some(s.clone()),
            other => {
                self.wrong(key, "text", other);
                None
            }
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(Json::Bool(b)) => *b,
            Some(other) => {
                self.wrong(key, "true or false", other);
                false
            }
        }
    }

    fn number(&mut self, key: &str) -> Option<u32> {
        let json = self.get(key)?;
        let number = json.as_u64().and_then(|n| u32::try_from(n).ok());
        if number.is_none() {
            self.wrong(key, "a whole number from 0 to 4294967295", json);
        }
        number
    }

    /// A text or a list of texts.
    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let json = self.get(key)?;
        let list = match json {
            Json::String(s) => Some(vec![s.clone()]),
            Json::Array(items) => items.iter().map(|i| i.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        if list.is_none() {
            self.wrong(key, "text or a list of texts", json);
        }
        list
    }

    fn choice<T: Copy>(&mut self, key: &str, of: &[(&'static str, T)], default: T) -> T {
        let names = || of.iter().map(|(n, _)| *n);
        match self.get(key) {
            None => default,
            Some(Json::String(s)) => match of.iter().find(|(n, _)| n == s) {
                Some((_, it)) => *it,
                None => {
                    let fault = Fault::bad(self.path.at(key).0, format!("`{key}` cannot be `{s}`."));
                    self.faults
                        .push(fault.remedy(format!("It may be: {}.", names().collect::<Vec<_>>().join(", "))));
                    default
                }
            },
            Some(other) => {
                self.wrong(key, &format!("one of {}", names().collect::<Vec<_>>().join(", ")), other);
                default
            }
        }
    }

    /// A table of things by name, in order; or a list of things that each say their `name`, as GraphQL inputs do.
    fn named<T>(&mut self, key: &str, read: impl Fn(&Json, &Path, &mut Vec<Fault>) -> T) -> IndexMap<String, T> {
        let mut out = IndexMap::new();
        let path = self.path.at(key);
        match self.get(key) {
            None => {}
            Some(Json::Object(map)) => {
                for (name, json) in map {
                    out.insert(name.clone(), read(json, &path.at(name), self.faults));
                }
            }
            Some(Json::Array(items)) => {
                for (i, json) in items.iter().enumerate() {
                    let Some((name, rest)) = without_name(json) else {
                        let fault = Fault::bad(path.at(i.to_string()).0, "It does not say its `name`.");
                        self.faults.push(fault);
                        continue;
                    };
                    let it = read(&rest, &path.at(&name), self.faults);
                    if out.insert(name.clone(), it).is_some() {
                        let fault = Fault::bad(path.at(&name).0, format!("`{name}` is there twice."));
                        self.faults.push(fault);
                    }
                }
            }
            Some(other) => self.wrong(key, "a table by name", other),
        }
        out
    }

    fn values(&mut self, key: &str) -> Vec<EnumValueDefinition> {
        match self.get(key) {
            None => Vec::new(),
            Some(Json::Array(items)) => {
                let path = self.path.at(key);
                items
                    .iter()
                    .enumerate()
                    .map(|(i, json)| enum_value(json, &path.at(i.to_string()), self.faults))
                    .collect()
            }
            Some(other) => {
                self.wrong(key, "a list of values", other);
                Vec::new()
            }
        }
    }

    /// The kind, and whether it is a list of it: `list of string`, `list = true`, `many = true`.
    fn kind(&mut self) -> (String, bool) {
        let written = self.text("kind");
        if written.is_none() && self.get("kind").is_none() {
            let fault = Fault::bad(self.path.0.clone(), "It does not say its `kind`.");
            self.faults.push(fault.remedy("Say, for example, kind = \"string\"."));
        }
        let written = written.unwrap_or_default();
        let flagged = self.flag("list") | self.flag("many");
        match written.strip_prefix("list of ") {
            Some(item) => (item.trim().to_owned(), true),
            None => (written, flagged),
        }
    }
}

/// The `name` of a thing in a list, and the rest of it.
fn without_name(json: &Json) -> Option<(String, Json)> {
    let mut rest = json.as_object()?.clone();
    let name = rest.shift_remove("name")?;
    Some((name.as_str()?.to_owned(), Json::Object(rest)))
}

fn klass(json: &Json, path: &Path, faults: &mut Vec<Fault>) -> Definition {
    let Some(mut t) = Table::open(json, path, "A klass", KLASS_KEYS, faults) else {
        return Definition::default();
    };
    let name = t.text("name");
    if name.is_none() && t.get("name").is_none() {
        t.faults
            .push(Fault::bad(path.0.clone(), "The klass has no `name`.").remedy("Say, for example, name = \"order\"."));
    }
    let timeline = t.get("timeline").and_then(|json| match json {
        // `timeline = true`: by createdAt
        Json::Bool(on) => on.then(TimelineDefinition::default),
        json => {
            let at = t.path.at("timeline");
            let mut t = Table::open(json, &at, "A timeline", &["at"], t.faults)?;
            Some(TimelineDefinition { at: t.text("at") })
        }
    });
    Definition {
        name: name.unwrap_or_default(),
        plural: t.text("plural"),
        title: t.text("title"),
        display_name: t.text("displayName"),
        description: t.text("description"),
        icon: t.text("icon"),
        color: t.text("color"),
        status: t.choice(
            "status",
            &[("enabled", Status::Enabled), ("disabled", Status::Disabled)],
            Status::Enabled,
        ),
        timeline,
        properties: t.named("properties", property),
        relationships: t.named("relationships", relationship),
        views: t.get("views").cloned().unwrap_or(Json::Null),
    }
}

fn property(json: &Json, path: &Path, faults: &mut Vec<Fault>) -> PropertyDefinition {
    // `note = "text"` is short for `note = { kind = "text" }`
    let short = json.as_str().map(|kind| serde_json::json!({ "kind": kind }));
    let json = short.as_ref().unwrap_or(json);
    let Some(mut t) = Table::open(json, path, "A property", PROPERTY_KEYS, faults) else {
        return PropertyDefinition::default();
    };
    let (kind, list) = t.kind();
    // the bounds may stand beside the kind or in a table of their own: `validation = { min = 1 }`
    let nested = t.get("validation").and_then(|json| {
        let path = t.path.at("validation");
        Table::open(json, &path, "A validation", VALIDATION_KEYS, t.faults).map(|mut t| bounds(&mut t))
    });
    let beside = bounds(&mut t);
    let bounds = nested.unwrap_or(beside);
    PropertyDefinition {
        kind,
        list,
        big: t.flag("big"),
        type_name: t.text("type"),
        values: t.values("values"),
        paths: t.texts("paths").unwrap_or_default(),
        parts: t.named("parts", part),
        required: t.flag("required"),
        unique: t.flag("unique"),
        indexed: t.flag("indexed"),
        searchable: t.flag("searchable"),
        sensitive: t.flag("sensitive"),
        default: t.get("default").cloned(),
        display_name: t.text("displayName"),
        description: t.text("description"),
        deprecated: t.text("deprecated"),
        min: bounds.min,
        max: bounds.max,
        min_length: bounds.min_length,
        max_length: bounds.max_length,
        pattern: bounds.pattern,
        format: bounds.format,
        formerly: t.texts("formerly"),
        writable: t.choice(
            "writable",
            &[
                ("always", WritableDefinition::Always),
                ("onCreate", WritableDefinition::OnCreate),
                ("never", WritableDefinition::Never),
            ],
            WritableDefinition::Always,
        ),
    }
}

/// What a value must satisfy.
struct Bounds {
    min: Option<Json>,
    max: Option<Json>,
    min_length: Option<u32>,
    max_length: Option<u32>,
    pattern: Option<String>,
    format: Option<String>,
}

fn bounds(t: &mut Table<'_>) -> Bounds {
    Bounds {
        min: t.get("min").cloned(),
        max: t.get("max").cloned(),
        min_length: t.number("minLength"),
        max_length: t.number("maxLength"),
        pattern: t.text("pattern"),
        format: t.text("format"),
    }
}

fn enum_value(json: &Json, path: &Path, faults: &mut Vec<Fault>) -> EnumValueDefinition {
    if let Json::String(value) = json {
        return EnumValueDefinition {
            value: value.clone(),
            ..Default::default()
        };
    }
    let Some(mut t) = Table::open(json, path, "A value of an enum", VALUE_KEYS, faults) else {
        return EnumValueDefinition::default();
    };
    let value = t.text("value");
    if value.is_none() && t.get("value").is_none() {
        t.faults
            .push(Fault::bad(path.0.clone(), "The value of an enum does not say its `value`."));
    }
    EnumValueDefinition {
        value: value.unwrap_or_default(),
        name: t.text("name"),
        description: t.text("description"),
        deprecated: t.text("deprecated"),
    }
}

fn part(json: &Json, path: &Path, faults: &mut Vec<Fault>) -> PartDefinition {
    let short = json.as_str().map(|kind| serde_json::json!({ "kind": kind }));
    let json = short.as_ref().unwrap_or(json);
    let Some(mut t) = Table::open(json, path, "A part", PART_KEYS, faults) else {
        return PartDefinition::default();
    };
    let (kind, list) = t.kind();
    PartDefinition {
        kind,
        list,
        big: t.flag("big"),
        values: t.values("values"),
        required: t.flag("required"),
        description: t.text("description"),
    }
}

fn relationship(json: &Json, path: &Path, faults: &mut Vec<Fault>) -> RelationshipDefinition {
    let Some(mut t) = Table::open(json, path, "A relationship", RELATIONSHIP_KEYS, faults) else {
        return RelationshipDefinition::default();
    };
    let to = t.texts("to");
    if t.get("to").is_none() {
        t.faults.push(
            Fault::bad(path.0.clone(), "The relationship does not say `to` which klass.").remedy("Say, for example, to = \"customer\"."),
        );
    }
    let many = &[("one", Cardinality::One), ("many", Cardinality::Many)];
    let required = t.flag("required");
    // a link that must be there cannot be taken away: the delete is refused unless the author says otherwise
    let on_delete = if required { OnDelete::Restrict } else { OnDelete::Unlink };
    RelationshipDefinition {
        to: to.unwrap_or_default(),
        kind: t.choice("kind", many, Cardinality::One),
        inverse: t.text("inverse"),
        inverse_kind: t.choice("inverseKind", many, Cardinality::Many),
        required,
        on_delete: t.choice(
            "onDelete",
            &[
                ("restrict", OnDelete::Restrict),
                ("unlink", OnDelete::Unlink),
                ("cascade", OnDelete::Cascade),
            ],
            on_delete,
        ),
        description: t.text("description"),
        inverse_description: t.text("inverseDescription"),
        deprecated: t.text("deprecated"),
        formerly: t.texts("formerly"),
        properties: t.named("properties", property),
    }
}

fn describe(json: &Json) -> String {
    match json {
        Json::Null => "nothing".into(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => format!("the number {n}"),
        Json::String(s) if s.chars().count() <= 40 => format!("the text \"{s}\""),
        Json::String(_) => "a text".into(),
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "a table".into(),
    }
}
