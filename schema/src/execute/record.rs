//! What the gateway answers from memory: definitions of klasses, faults, payloads. A record is asked for its fields one by one,
//! by the names of `types` (`Meaning::Record(name)`), so that only what a selection wants is made.

use std::sync::Arc;

use klio_entities::klass::fault::Code;
use klio_entities::klass::kind::EnumValue;
use klio_entities::klass::property::Writable;
use klio_entities::klass::relationship::{Cardinality, OnDelete};
use klio_entities::klass::{End, Fault, Kind, Klass, ObjectId, Property, Registry, Value};
use serde_json::{Value as Json, json};

/// What a field of a record holds.
#[derive(Clone, Debug)]
pub enum Cell {
    /// A leaf as it goes to the client (an enum by its legal name, a whole JSON value).
    Leaf(Json),
    /// A list.
    List(Vec<Cell>),
    /// A record.
    Record(Record),
    /// An object that is read from the store before the answer is written.
    Object(Arc<Klass>, ObjectId),
}

/// A thing with fields, made in memory.
#[derive(Clone, Debug)]
pub enum Record {
    /// A klass's definition: type `Klass`.
    Klass(Arc<Registry>, Arc<Klass>),
    /// A property's definition: type `KlassProperty`.
    Property(Arc<Property>),
    /// A value of an enum property: type `KlassEnumValue`.
    EnumValue(EnumValue),
    /// A relationship seen from a klass: type `KlassRelationship`.
    Relationship(Arc<Registry>, Arc<End>),
    /// What is wrong, as data: type `UserError`. With a conflict, the object as it is now.
    Fault(Fault, Option<(Arc<Klass>, ObjectId)>),
    /// A record of few fields that is made whole: type name and fields.
    Made(String, Vec<(&'static str, Cell)>),
}

impl Cell {
    /// `null`.
    pub const NULL: Cell = Cell::Leaf(Json::Null);

    fn text(text: impl Into<String>) -> Self {
        Cell::Leaf(Json::String(text.into()))
    }

    fn optional(text: &Option<String>) -> Self {
        text.as_ref().map_or(Cell::NULL, |t| Cell::text(t.as_str()))
    }
}

impl From<bool> for Cell {
    fn from(it: bool) -> Self {
        Cell::Leaf(Json::Bool(it))
    }
}

impl Record {
    /// The name of its GraphQL type.
    pub fn type_name(&self) -> &str {
        match self {
            Record::Klass(..) => "Klass",
            Record::Property(..) => "KlassProperty",
            Record::EnumValue(..) => "KlassEnumValue",
            Record::Relationship(..) => "KlassRelationship",
            Record::Fault(..) => "UserError",
            Record::Made(name, _) => name,
        }
    }

    /// The field of this name; null when there is none (validation lets no such selection through).
    pub fn field(&self, name: &str) -> Cell {
        match self {
            Record::Klass(registry, klass) => klass_field(registry, klass, name),
            Record::Property(property) => property_field(property, name),
            Record::EnumValue(value) => match name {
                "value" => Cell::text(&value.value),
                "name" => Cell::text(&value.legal),
                "description" => Cell::optional(&value.description),
                "deprecated" => Cell::optional(&value.deprecated),
                _ => Cell::NULL,
            },
            Record::Relationship(registry, end) => end_field(registry, end, name),
            Record::Fault(fault, present) => match name {
                "code" => Cell::text(code_name(fault.code)),
                "path" => Cell::List(fault.path.iter().map(Cell::text).collect()),
                "message" => Cell::text(&fault.message),
                "remedy" => Cell::optional(&fault.remedy),
                "object" => present.as_ref().map_or(Cell::NULL, |(klass, id)| Cell::Object(klass.clone(), *id)),
                _ => Cell::NULL,
            },
            Record::Made(_, fields) => fields.iter().find(|(n, _)| *n == name).map_or(Cell::NULL, |(_, cell)| cell.clone()),
        }
    }
}

fn klass_field(registry: &Arc<Registry>, klass: &Arc<Klass>, name: &str) -> Cell {
    match name {
        "name" => Cell::text(&klass.name),
        "plural" => Cell::text(&klass.plural),
        "type" | "typeName" => Cell::text(&klass.legal.type_name),
        "field" => Cell::text(&klass.legal.field),
        "pluralField" => Cell::text(&klass.legal.plural),
        "idPrefix" => Cell::text(&klass.id_prefix),
        "displayName" => Cell::text(klass.display_name.as_deref().unwrap_or(&klass.name)),
        "description" => Cell::optional(&klass.description),
        "icon" => Cell::optional(&klass.icon),
        "color" => Cell::optional(&klass.color),
        "status" => Cell::text(if klass.enabled { "ENABLED" } else { "DISABLED" }),
        "standard" => klass.standard.into(),
        "title" => Cell::text(&klass.title),
        "timeline" => klass.timeline.as_ref().map_or(Cell::NULL, |timeline| {
            Cell::Record(Record::Made("KlassTimeline".into(), vec![("at", Cell::text(&timeline.at))]))
        }),
        "properties" => Cell::List(klass.properties.iter().map(|p| Cell::Record(Record::Property(p.clone()))).collect()),
        "relationships" => Cell::List(
            klass
                .ends
                .iter()
                .map(|e| Cell::Record(Record::Relationship(registry.clone(), e.clone())))
                .collect(),
        ),
        "views" => Cell::Leaf(klass.views.clone()),
        _ => Cell::NULL,
    }
}

fn property_field(property: &Property, name: &str) -> Cell {
    let validation = &property.validation;
    match name {
        "name" => Cell::text(&property.name),
        "field" => Cell::text(&property.legal),
        "aliases" => Cell::List(property.aliases.iter().map(|a| Cell::text(&a.legal)).collect()),
        "kind" => Cell::text(kind_name(property.kind.item())),
        "list" => matches!(property.kind, Kind::List(_)).into(),
        "displayName" => Cell::text(property.display_name.as_deref().unwrap_or(&property.name)),
        "description" => Cell::optional(&property.description),
        "deprecated" => Cell::optional(&property.deprecated),
        "required" => property.required.into(),
        "unique" => property.unique.into(),
        "indexed" => property.indexed.into(),
        "searchable" => property.searchable.into(),
        "sensitive" => property.sensitive.into(),
        "writable" => (property.writable != Writable::Never).into(),
        "system" => property.system.into(),
        "standard" => property.standard.into(),
        "default" => property.default.as_ref().map_or(Cell::NULL, |v| Cell::Leaf(value_json(v))),
        "values" => match property.kind.item() {
            Kind::Enum(kind) => Cell::List(kind.values.iter().map(|v| Cell::Record(Record::EnumValue(v.clone()))).collect()),
            _ => Cell::NULL,
        },
        "paths" => match property.kind.item() {
            Kind::Tree { paths } => Cell::List(paths.iter().map(Cell::text).collect()),
            _ => Cell::NULL,
        },
        "min" => validation.min.as_ref().map_or(Cell::NULL, |v| Cell::Leaf(value_json(v))),
        "max" => validation.max.as_ref().map_or(Cell::NULL, |v| Cell::Leaf(value_json(v))),
        "minLength" => validation.min_length.map_or(Cell::NULL, |n| Cell::Leaf(json!(n))),
        "maxLength" => validation.max_length.map_or(Cell::NULL, |n| Cell::Leaf(json!(n))),
        "pattern" => Cell::optional(&validation.pattern),
        _ => Cell::NULL,
    }
}

fn end_field(registry: &Arc<Registry>, end: &End, name: &str) -> Cell {
    let relationship = &end.relationship;
    match name {
        "name" => Cell::text(&relationship.name),
        "field" => Cell::text(&end.legal),
        "cardinality" => Cell::text(match end.cardinality {
            Cardinality::One => "ONE",
            Cardinality::Many => "MANY",
        }),
        // Klasses that are disabled are not in the schema, so they are not told here either.
        "to" => Cell::List(
            end.to
                .iter()
                .filter_map(|name| registry.klass(name))
                .filter(|k| k.enabled)
                .map(|k| Cell::Record(Record::Klass(registry.clone(), k.clone())))
                .collect(),
        ),
        "inverse" => inverse(registry, end).map_or(Cell::NULL, |it| Cell::text(&it.legal)),
        "declaredHere" => (end.side == klio_entities::klass::relationship::Side::From).into(),
        "required" => (relationship.required && end.side == klio_entities::klass::relationship::Side::From).into(),
        "onDelete" => Cell::text(match relationship.on_delete {
            OnDelete::Restrict => "RESTRICT",
            OnDelete::Unlink => "UNLINK",
            OnDelete::Cascade => "CASCADE",
        }),
        "properties" => Cell::List(
            relationship
                .properties
                .iter()
                .map(|p| Cell::Record(Record::Property(p.clone())))
                .collect(),
        ),
        "description" => Cell::optional(&end.description),
        "deprecated" => Cell::optional(&end.deprecated),
        "standard" => relationship.standard.into(),
        _ => Cell::NULL,
    }
}

/// The same relationship as it is followed from the other side.
fn inverse<'a>(registry: &'a Registry, end: &End) -> Option<&'a Arc<End>> {
    let far = registry.klass(end.to.first()?)?;
    far.ends
        .iter()
        .find(|e| e.side != end.side && e.relationship.klass == end.relationship.klass && e.relationship.name == end.relationship.name)
}

/// The name of a fault's code in the schema (`UserErrorCode`).
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::BadInput => "BAD_INPUT",
        Code::Required => "REQUIRED",
        Code::Duplicate => "DUPLICATE",
        Code::NotFound => "NOT_FOUND",
        Code::Conflict => "CONFLICT",
        Code::Restricted => "RESTRICTED",
        Code::Forbidden => "FORBIDDEN",
        Code::Breaking => "BREAKING",
        Code::IdempotencyMismatch => "IDEMPOTENCY_MISMATCH",
        Code::TooMany => "TOO_MANY",
    }
}

/// The name of a kind in the schema (`KlassPropertyKind`).
pub fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Id => "ID",
        Kind::Actor => "ACTOR",
        Kind::String => "STRING",
        Kind::Text => "TEXT",
        Kind::Integer { big: false } => "INTEGER",
        Kind::Integer { big: true } => "BIG_INTEGER",
        Kind::Decimal => "DECIMAL",
        Kind::Boolean => "BOOLEAN",
        Kind::Date => "DATE",
        Kind::DateTime => "DATETIME",
        Kind::Url => "URL",
        Kind::Email => "EMAIL",
        Kind::Phone => "PHONE",
        Kind::Enum(_) => "ENUM",
        Kind::Tree { .. } => "TREE",
        Kind::Money => "MONEY",
        Kind::Json => "JSON",
        Kind::Object(_) => "OBJECT",
        // `item()` was taken before; a list of lists does not exist.
        Kind::List(item) => kind_name(item),
    }
}

/// A value as JSON for people: decimals as strings, instants by RFC 3339.
pub fn value_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(it) => json!(it),
        Value::Integer(it) => json!(it),
        Value::Decimal(it) => json!(it.normalize().to_string()),
        Value::String(it) => json!(it),
        Value::Date(it) => json!(it.to_string()),
        Value::DateTime(it) => json!(it.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
        Value::Id(it) => json!(it.to_string()),
        Value::Money { amount, currency } => json!({"amount": amount.normalize().to_string(), "currency": currency}),
        Value::Json(it) => it.clone(),
        Value::List(items) => Json::Array(items.iter().map(value_json).collect()),
    }
}
