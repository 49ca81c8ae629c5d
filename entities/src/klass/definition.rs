//! A klass as a person writes it ([`Definition`]), and as the gateway keeps it ([`Stored`]): what was written, and beside it
//! whatever is made once and must outlive a rename (legal names, columns, tables, the id prefix).
//!
//! [`super::read`] makes a `Definition` from TOML or JSON and reports every fault of form; [`super::check`] reports every fault
//! of meaning; [`super::settle`] makes a `Stored` of it; [`super::resolve`] makes the registry of all of them.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::property::Alias;
use super::registry::LegalNames;
use super::relationship::{Cardinality, OnDelete};

/// A klass as a person writes it. For a standard klass an org writes only what it adds: properties and relationships.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Definition {
    /// `order`; may hold what other systems use: `ecomm-order`.
    pub name: String,
    /// `orders`; made from the name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plural: Option<String>,
    /// How an object is named: text with `{property}`. When absent: the first required or searchable text, else the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The label people see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of an icon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// `#5B6CF9`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Whether the schema shows it.
    #[serde(skip_serializing_if = "Status::is_enabled")]
    pub status: Status,
    /// Present: its objects stand on their customer's timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineDefinition>,
    /// By name, in order.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub properties: IndexMap<String, PropertyDefinition>,
    /// By name, in order. Each is said once, on one of its klasses.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub relationships: IndexMap<String, RelationshipDefinition>,
    /// How an object is shown, as data for front ends.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub views: Json,
}

/// Whether the schema shows a klass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    #[default]
    Enabled,
    /// It does not; the objects stay.
    Disabled,
}

impl Status {
    /// Whether the schema shows it.
    pub fn is_enabled(&self) -> bool {
        *self == Status::Enabled
    }
}

/// Where a klass's objects stand on the timeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimelineDefinition {
    /// A datetime property, by name; `createdAt` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A property as a person writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PropertyDefinition {
    /// `string text integer decimal boolean date datetime url email phone enum tree money json object`, or a shared type (`Channel`, `Location`).
    pub kind: String,
    /// A list of that (also written `kind = "list of string"`, and `many = true` for an enum).
    #[serde(skip_serializing_if = "is_false")]
    pub list: bool,
    /// Integers: 64 bits rather than 32.
    #[serde(skip_serializing_if = "is_false")]
    pub big: bool,
    /// Enums and objects: the name of the GraphQL type; made from klass and property when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// Enums: the values, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<EnumValueDefinition>,
    /// Trees: the leaves (inner paths follow from them).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Objects: the parts, in order.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub parts: IndexMap<String, PartDefinition>,
    /// Must be given and not null.
    #[serde(skip_serializing_if = "is_false")]
    pub required: bool,
    /// No two objects share it.
    #[serde(skip_serializing_if = "is_false")]
    pub unique: bool,
    /// Filters and sorts at speed.
    #[serde(skip_serializing_if = "is_false")]
    pub indexed: bool,
    /// Is found by full-text search.
    #[serde(skip_serializing_if = "is_false")]
    pub searchable: bool,
    /// Masked for roles that may not see it.
    #[serde(skip_serializing_if = "is_false")]
    pub sensitive: bool,
    /// Value of an object that gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// The label people see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Why one should no longer use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// Smallest value, for ordered kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Json>,
    /// Largest value, for ordered kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Json>,
    /// Fewest characters or items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// Most characters or items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// A regular expression that the text must match somewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What sort of name or code the text must be: `timeZone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Names that it used to have: says that this is a rename, not a new property. An empty list lets go of the old names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Vec<String>>,
    /// Who may set it; other than `always` only in standard definitions.
    #[serde(skip_serializing_if = "WritableDefinition::is_always")]
    pub writable: WritableDefinition,
}

/// A value of an enum, as a person writes it: a string, or a table where more is to be said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnumValueDefinition {
    /// As stored.
    pub value: String,
    /// Its GraphQL name; made from the value when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Why one should no longer use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
}

/// A part of an object kind, as a person writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartDefinition {
    /// A scalar kind, `enum`, or a shared enum.
    pub kind: String,
    /// A list of that.
    #[serde(skip_serializing_if = "is_false")]
    pub list: bool,
    /// Integers: 64 bits.
    #[serde(skip_serializing_if = "is_false")]
    pub big: bool,
    /// Enums: the values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<EnumValueDefinition>,
    /// Must be given.
    #[serde(skip_serializing_if = "is_false")]
    pub required: bool,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Who may set a property, as standard definitions say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WritableDefinition {
    /// Whoever may write the object.
    #[default]
    Always,
    /// Only when the object is created.
    OnCreate,
    /// Kept by the gateway.
    Never,
}

impl WritableDefinition {
    fn is_always(&self) -> bool {
        *self == WritableDefinition::Always
    }
}

/// A relationship as a person writes it, on the klass that has it; its inverse appears on the far klasses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RelationshipDefinition {
    /// The far klass, or several (polymorphic), by name. In a standard definition `*`: every klass that the org defines.
    pub to: Vec<String>,
    /// How many far objects one has.
    pub kind: Cardinality,
    /// The name of its other end; made from the klass's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse: Option<String>,
    /// How many of this klass a far object may have.
    pub inverse_kind: Cardinality,
    /// Must be given (only `kind = "one"`).
    #[serde(skip_serializing_if = "is_false")]
    pub required: bool,
    /// What the deletion of a far object does to those that point to it.
    pub on_delete: OnDelete,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the other end is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse_description: Option<String>,
    /// Why one should no longer use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// Names that it used to have; see [`PropertyDefinition::formerly`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Vec<String>>,
    /// Properties of the link itself (only `kind = "many"`).
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub properties: IndexMap<String, PropertyDefinition>,
}

impl Default for RelationshipDefinition {
    fn default() -> Self {
        Self {
            to: Vec::new(),
            kind: Cardinality::One,
            inverse: None,
            inverse_kind: Cardinality::Many,
            required: false,
            on_delete: OnDelete::default(),
            description: None,
            inverse_description: None,
            deprecated: None,
            formerly: None,
            properties: IndexMap::new(),
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A definition as the gateway keeps it (`klass_definition.body`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// As it was written.
    pub written: Definition,
    /// What was made of it, once.
    pub settled: Settled,
}

/// What is made once and stays, whatever is renamed later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Legal GraphQL names of the klass.
    pub legal: LegalNames,
    /// Prefix of ids.
    pub id_prefix: String,
    /// The table's own name (for an org's additions to a standard klass: of the extension table).
    pub table: String,
    /// By the property's name as written.
    pub properties: IndexMap<String, SettledProperty>,
    /// By the relationship's name as written.
    pub relationships: IndexMap<String, SettledRelationship>,
    /// Columns and link tables that were in use once: not given out again, since they may still hold data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
}

/// What is made once of a property.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SettledProperty {
    /// Legal GraphQL name.
    pub legal: String,
    /// Column.
    pub column: String,
    /// Old legal names that still work, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
    /// Enums: legal name by stored value.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub values: IndexMap<String, String>,
}

/// What is made once of a relationship.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SettledRelationship {
    /// Legal GraphQL name.
    pub legal: String,
    /// Old legal names that still work, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
    /// Legal GraphQL name of the other end.
    pub inverse: String,
    /// Old legal names of the other end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inverse_aliases: Vec<Alias>,
    /// To-one: the column with the far id. To-many: empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub column: String,
    /// To-many: the link table's own name. To-one: empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub table: String,
    /// Of the link, by name as written.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub properties: IndexMap<String, SettledProperty>,
}

impl Definition {
    /// As JSON, for clients and for `klass_definition`.
    pub fn to_json(&self) -> Json {
        // A definition holds nothing that JSON cannot say, so this never fails.
        serde_json::to_value(self).unwrap_or(Json::Null)
    }
}
