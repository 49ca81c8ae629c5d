//! What the gateway answers from memory: definitions of klasses, faults, payloads. A record is asked for its fields one by one,
//! by the names of `types` (`Meaning::Record(name)`), so that only what a selection wants is made.

use std::sync::Arc;

use klio_entities::klass::fault::Code;
use klio_entities::klass::kind::{EnumValue, Part};
use klio_entities::klass::property::Writable;
use klio_entities::klass::relationship::{Cardinality, Side};
use klio_entities::klass::{Actor, End, Fault, Kind, Klass, ObjectId, Property, Registry};
use serde_json::{Map, Value as Json};

use super::definition;
use crate::names;
use crate::types::kinds;

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
    /// A property's definition: type `KlassProperty`; with the name from which its type's name is made if it has none of its own.
    Property(Arc<Property>, Arc<str>),
    /// A part of an object kind: type `KlassPart`.
    Part(Part),
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

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Cell::Leaf(Json::String(text.into()))
    }

    /// A text or null.
    pub fn optional(text: &Option<String>) -> Self {
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
            Record::Part(..) => "KlassPart",
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
            Record::Property(property, owner) => property_field(property, owner, name),
            Record::Part(part) => match name {
                "name" => Cell::text(&part.name),
                "kind" => Cell::text(definition::kind_name(&part.kind)),
                "list" => matches!(part.kind, Kind::List(_)).into(),
                "required" => part.required.into(),
                "description" => Cell::optional(&part.description),
                _ => Cell::NULL,
            },
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
        "typeName" => Cell::text(&klass.legal.type_name),
        "fieldName" => Cell::text(&klass.legal.field),
        "pluralFieldName" => Cell::text(&klass.legal.plural),
        "idPrefix" => Cell::text(&klass.id_prefix),
        "displayName" => Cell::optional(&klass.display_name),
        "description" => Cell::optional(&klass.description),
        "icon" => Cell::optional(&klass.icon),
        "color" => Cell::optional(&klass.color),
        "enabled" => klass.enabled.into(),
        "standard" => klass.standard.into(),
        "title" => Cell::text(&klass.title),
        "onTimeline" => klass.timeline.is_some().into(),
        "timelineAt" => klass.timeline.as_ref().map_or(Cell::NULL, |timeline| Cell::text(&timeline.at)),
        "properties" => properties(&klass.properties, &klass.legal.type_name),
        "relationships" => {
            let record = |end: &Arc<End>| Cell::Record(Record::Relationship(registry.clone(), end.clone()));
            // Klasses that are disabled are not in the schema, so what leads to them alone is not told either.
            let shown = |end: &&Arc<End>| end.to.iter().any(|to| registry.klass(to).is_some_and(|k| k.enabled));
            Cell::List(klass.ends.iter().filter(shown).map(record).collect())
        }
        "views" => Cell::Leaf(klass.views.clone()),
        "definition" => Cell::Leaf(definition::of(registry, klass)),
        _ => Cell::NULL,
    }
}

/// Records of properties; `owner` is the name from which those of their types that have none of their own are made.
fn properties(all: &[Arc<Property>], owner: &str) -> Cell {
    let owner: Arc<str> = owner.into();
    Cell::List(
        all.iter()
            .map(|p| Cell::Record(Record::Property(p.clone(), owner.clone())))
            .collect(),
    )
}

fn property_field(property: &Property, owner: &str, name: &str) -> Cell {
    match name {
        "name" => Cell::text(&property.name),
        "fieldName" => Cell::text(&property.legal),
        "typeName" => Cell::text(kinds::output(property.kind.item(), owner, &property.legal).name()),
        "aliases" => Cell::List(property.aliases.iter().map(|a| Cell::text(&a.legal)).collect()),
        "kind" => Cell::text(definition::kind_name(&property.kind)),
        "list" => matches!(property.kind, Kind::List(_)).into(),
        "displayName" => Cell::optional(&property.display_name),
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
        "default" => property.default.as_ref().map_or(Cell::NULL, |v| Cell::Leaf(v.to_json())),
        "values" => match property.kind.item() {
            Kind::Enum(kind) => Cell::List(kind.values.iter().map(|v| Cell::Record(Record::EnumValue(v.clone()))).collect()),
            _ => Cell::NULL,
        },
        "paths" => match property.kind.item() {
            Kind::Tree { paths } => Cell::List(paths.iter().map(Cell::text).collect()),
            _ => Cell::NULL,
        },
        "parts" => match property.kind.item() {
            Kind::Object(kind) => Cell::List(kind.parts.iter().map(|p| Cell::Record(Record::Part(p.clone()))).collect()),
            _ => Cell::NULL,
        },
        "validation" => {
            let mut rules = Map::new();
            definition::validation(&property.validation, &mut rules);
            if rules.is_empty() {
                Cell::NULL
            } else {
                Cell::Leaf(Json::Object(rules))
            }
        }
        _ => Cell::NULL,
    }
}

fn end_field(registry: &Arc<Registry>, end: &End, name: &str) -> Cell {
    let relationship = &end.relationship;
    match name {
        "name" => Cell::text(&relationship.name),
        "fieldName" => Cell::text(&end.legal),
        "many" => (end.cardinality == Cardinality::Many).into(),
        "to" => {
            let shown = end.to.iter().filter(|to| registry.klass(to).is_some_and(|k| k.enabled));
            Cell::List(shown.map(Cell::text).collect())
        }
        "inverse" => (end.side == Side::To).into(),
        "required" => (relationship.required && end.side == Side::From).into(),
        "onDelete" => Cell::text(definition::on_delete(relationship.on_delete)),
        "properties" => {
            let from = registry
                .klass(&relationship.klass)
                .map_or(relationship.klass.as_str(), |k| k.legal.type_name.as_str());
            properties(&relationship.properties, &names::of_property(from, &relationship.name))
        }
        "description" => Cell::optional(&end.description),
        "deprecated" => Cell::optional(&end.deprecated),
        "aliases" => Cell::List(end.aliases.iter().map(|a| Cell::text(&a.legal)).collect()),
        _ => Cell::NULL,
    }
}

/// The name of a fault's code in the schema (`ErrorCode`).
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

/// Who asks: type `Viewer`.
pub fn viewer(actor: &Actor) -> Record {
    use klio_entities::klass::actor::{ActorKind, Role};
    let kind = match actor.kind {
        ActorKind::User => "USER",
        ActorKind::Token => "TOKEN",
        ActorKind::System => "SYSTEM",
    };
    let role = match actor.role {
        Role::Reader => "READER",
        Role::Agent => "AGENT",
        Role::Admin => "ADMIN",
        Role::Owner => "OWNER",
    };
    Record::Made(
        "Viewer".into(),
        vec![
            ("kind", Cell::text(kind)),
            (
                "id",
                if actor.id.is_nil() {
                    Cell::NULL
                } else {
                    Cell::text(actor.id.to_string())
                },
            ),
            ("name", Cell::text(&actor.name)),
            ("role", Cell::text(role)),
            ("org", Cell::text(actor.org.0.to_string())),
            ("canWrite", actor.role.can_write().into()),
            ("canDestroy", actor.role.can_destroy().into()),
            ("canDefine", actor.role.can_define().into()),
            ("seesSensitive", actor.role.sees_sensitive().into()),
        ],
    )
}
