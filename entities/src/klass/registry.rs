//! An org's klasses, resolved: names settled, ends of relationships known on both klasses, storage decided.

use std::collections::HashMap;
use std::sync::Arc;

use super::relationship::{End, Relationship};
use super::{OrgId, Property};

/// An org's klasses at one version. Immutable; a change makes a new one.
#[derive(Clone, Debug)]
pub struct Registry {
    /// The org.
    pub org: OrgId,
    /// Rises by one with each change of a klass.
    pub version: u64,
    /// In order of definition, standard klasses first. Disabled ones are here too; see [`Registry::enabled`].
    pub klasses: Vec<Arc<Klass>>,
    /// Each relationship once.
    pub relationships: Vec<Arc<Relationship>>,
    by_name: HashMap<String, usize>,
    by_prefix: HashMap<String, usize>,
}

/// A klass, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Klass {
    /// As its author wrote it: `ecomm-order`.
    pub name: String,
    /// Its plural, as written.
    pub plural: String,
    /// Legal GraphQL names, made once and stored.
    pub legal: LegalNames,
    /// Prefix of its objects' ids: lower-case ASCII letters and inner underscores; unique in the org.
    pub id_prefix: String,
    /// The label people see.
    pub display_name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Name of an icon.
    pub icon: Option<String>,
    /// `#5B6CF9`.
    pub color: Option<String>,
    /// Disabled klasses are not in the schema; their objects stay.
    pub enabled: bool,
    /// Ships with the gateway.
    pub standard: bool,
    /// How one of its objects is named: text with `{property}` by legal names.
    pub title: String,
    /// Whether and where its objects appear on the timeline.
    pub timeline: Option<Timeline>,
    /// Its table.
    pub table: Table,
    /// The extension table with the org's custom properties of a standard klass (exists once there is one).
    pub extension: Option<Table>,
    /// All properties, system ones first.
    pub properties: Vec<Arc<Property>>,
    /// All relationships that touch it, seen from it.
    pub ends: Vec<Arc<End>>,
    /// Which column, if any, says to which customer its objects belong (the klass's stream is then the customer's). `customer` itself belongs to itself.
    pub customer: CustomerLink,
    /// Views, as data that a front end renders.
    pub views: serde_json::Value,
}

/// The legal names of a klass.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LegalNames {
    /// `EcommOrder`.
    pub type_name: String,
    /// `ecommOrder`.
    pub field: String,
    /// `ecommOrders`.
    pub plural: String,
}

/// Where the objects of a klass stand on a customer's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Legal name of the datetime property that gives the place; `createdAt` when null.
    pub at: String,
}

/// How the objects of a klass belong to a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomerLink {
    /// It is the klass `customer`.
    Itself,
    /// By a to-one relationship to `customer` (the end's legal name).
    Through(String),
    /// Not at all: each object is a stream of its own.
    None,
}

/// A table, as storage names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// The Postgres schema (`org_acme`); `None` for shared tables. On SQLite the name becomes `org_acme__order`.
    pub schema: Option<String>,
    /// The table's own name.
    pub name: String,
    /// Shared by all orgs: has an `org_id` column that every statement must name.
    pub shared: bool,
}

impl Registry {
    /// Puts the parts together; names and prefixes must be unique already (resolution sees to it).
    pub fn new(org: OrgId, version: u64, klasses: Vec<Arc<Klass>>, relationships: Vec<Arc<Relationship>>) -> Self {
        let by_name = klasses.iter().enumerate().map(|(i, k)| (k.name.clone(), i)).collect();
        let by_prefix = klasses.iter().enumerate().map(|(i, k)| (k.id_prefix.clone(), i)).collect();
        Self {
            org,
            version,
            klasses,
            relationships,
            by_name,
            by_prefix,
        }
    }

    /// The klass of this name (as its author wrote it).
    pub fn klass(&self, name: &str) -> Option<&Arc<Klass>> {
        self.by_name.get(name).map(|&i| &self.klasses[i])
    }

    /// The klass whose ids have this prefix.
    pub fn klass_by_prefix(&self, prefix: &str) -> Option<&Arc<Klass>> {
        self.by_prefix.get(prefix).map(|&i| &self.klasses[i])
    }

    /// The klasses that the schema shows.
    pub fn enabled(&self) -> impl Iterator<Item = &Arc<Klass>> {
        self.klasses.iter().filter(|k| k.enabled)
    }
}

impl Klass {
    /// The property of this legal name, or one that used to have it.
    pub fn property(&self, legal: &str) -> Option<&Arc<Property>> {
        self.properties
            .iter()
            .find(|p| p.legal == legal)
            .or_else(|| self.properties.iter().find(|p| p.aliases.iter().any(|a| a.legal == legal)))
    }

    /// The end of this legal name, or one that used to have it.
    pub fn end(&self, legal: &str) -> Option<&Arc<End>> {
        self.ends
            .iter()
            .find(|e| e.legal == legal)
            .or_else(|| self.ends.iter().find(|e| e.aliases.iter().any(|a| a.legal == legal)))
    }
}
