//! From definitions to tables: which tables, columns and indexes a registry needs. Pure; `ddl_steps` makes steps of the difference
//! of two, `doctor` compares them with what is there.
//!
//! Decisions:
//! - **Required is not `not null`.** The write path is the only way to write and refuses a null; SQLite cannot add the constraint
//!   to a table that exists, and on Postgres it would refuse the writes of nodes that have not heard of the change yet.
//!   What is `not null` is what the gateway itself fills (`version`, `created_at`, …). The doctor counts nulls in required columns.
//! - **Foreign keys do nothing on delete.** What a delete does is the write path's, with an event for every object it touches;
//!   the database only refuses what would leave a link to nothing. (An extension row goes with its object.)
//! - **Unique is an index**, so that a change of it is one, too. Soft-deleted objects hold their unique values.
//! - An index ends with `id`, so that it also serves pages in its order. Text of many lines gets none: it may be longer than an
//!   index of Postgres can hold. A list gets a GIN index on Postgres, none on SQLite, which has no such thing.

use serde::{Deserialize, Serialize};

use super::Dialect;
use crate::klass::property::Home;
use crate::klass::registry::Table;
use crate::klass::relationship::{Cardinality, Link};
use crate::klass::{Kind, Klass, Property, Registry, Relationship};

/// A table's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// The Postgres schema; a prefix on SQLite. `None`: a shared table.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

/// A table as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// Its name.
    pub name: Name,
    /// In the order in which they are made.
    pub columns: Vec<Column>,
    /// The primary key's columns.
    pub primary: Vec<String>,
    /// All but the primary key's.
    pub indexes: Vec<Index>,
    /// Shared by all orgs: made by a migration, never changed here.
    pub shared: bool,
}

/// A column as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub ty: Type,
    /// Filled by the gateway in every row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_null: bool,
    /// SQL literal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Points to the `id` of this table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<Reference>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// To the `id` of this table.
    pub table: Name,
    /// The row goes with what it points to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cascade: bool,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named as in the table of `Type::sql`")]
pub enum Type {
    Uuid,
    Text,
    Integer,
    Decimal,
    Boolean,
    Date,
    Instant,
    Json,
}

/// An index as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its name, without the prefix that SQLite needs.
    pub name: String,
    /// What it orders by.
    pub parts: Vec<Part>,
    /// Holds no two equal rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
    /// Postgres: GIN over JSON; none on SQLite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gin: bool,
}

/// A part of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// A column as it is.
    Column(String),
    /// In lower case: e-mail addresses.
    Folded(String),
}

impl Type {
    /// The type of the database.
    pub fn sql(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Type::Uuid, Dialect::Postgres) => "uuid",
            (Type::Uuid, Dialect::Sqlite) => "blob",
            (Type::Text, _) | (Type::Date | Type::Json, Dialect::Sqlite) => "text",
            (Type::Integer, Dialect::Postgres) => "bigint",
            (Type::Decimal, Dialect::Postgres) => "numeric",
            (Type::Boolean, Dialect::Postgres) => "boolean",
            (Type::Instant, Dialect::Postgres) => "timestamptz",
            (Type::Integer | Type::Decimal | Type::Boolean | Type::Instant, Dialect::Sqlite) => "integer",
            (Type::Date, Dialect::Postgres) => "date",
            (Type::Json, Dialect::Postgres) => "jsonb",
        }
    }
}

impl Name {
    /// Quoted, as statements say it.
    pub fn sql(&self, dialect: Dialect) -> String {
        match (&self.schema, dialect) {
            (Some(schema), Dialect::Postgres) => format!("{}.{}", quote(schema), quote(&self.name)),
            _ => quote(&self.bare(dialect)),
        }
    }

    /// Unquoted, without the schema on Postgres.
    pub fn bare(&self, dialect: Dialect) -> String {
        match (&self.schema, dialect) {
            (Some(schema), Dialect::Sqlite) => format!("{schema}__{}", self.name),
            _ => self.name.clone(),
        }
    }

    /// The name of one of its indexes: on SQLite indexes share one name space.
    pub fn index(&self, index: &str, dialect: Dialect) -> String {
        match (&self.schema, dialect) {
            (Some(schema), Dialect::Sqlite) => format!("{schema}__{index}"),
            _ => index.to_string(),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl From<&Table> for Name {
    fn from(table: &Table) -> Self {
        Self {
            schema: table.schema.clone(),
            name: table.name.clone(),
        }
    }
}

impl Part {
    /// As an index says it.
    pub fn sql(&self, dialect: Dialect) -> String {
        match (self, dialect) {
            (Part::Column(c), _) => quote(c),
            (Part::Folded(c), Dialect::Postgres) => format!("lower({})", quote(c)),
            (Part::Folded(c), Dialect::Sqlite) => format!("fold({})", quote(c)),
        }
    }

    fn column(&self) -> &str {
        match self {
            Part::Column(c) | Part::Folded(c) => c,
        }
    }
}

impl Index {
    /// Needs this column.
    pub fn uses(&self, column: &str) -> bool {
        self.parts.iter().any(|p| p.column() == column)
    }
}

/// An identifier, quoted.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Every table that a registry needs, shared ones too: those of klasses, then of extensions, then of links.
pub fn tables(registry: &Registry) -> Vec<TableSpec> {
    let mut out: Vec<TableSpec> = registry.klasses.iter().map(|k| klass_table(k, registry)).collect();
    out.extend(registry.klasses.iter().filter_map(|k| extension_table(k, registry)));
    out.extend(registry.relationships.iter().filter_map(|r| link_table(r, registry)));
    out
}

fn klass_table(klass: &Klass, registry: &Registry) -> TableSpec {
    let shared = klass.table.shared;
    let mut table = TableSpec {
        name: (&klass.table).into(),
        columns: vec![],
        primary: vec!["id".into()],
        indexes: vec![],
        shared,
    };
    for property in klass.properties.iter().filter(|p| p.home == Home::Table) {
        table.put_property(property, shared);
        if property.column == "id" && shared {
            table.put("org_id", Type::Uuid, true);
            table
                .indexes
                .push(table.index(vec![Part::Column("org_id".into()), Part::Column("id".into())], "id", true));
        }
    }
    put_references(&mut table, klass, registry, Home::Table);
    table
}

fn extension_table(klass: &Klass, registry: &Registry) -> Option<TableSpec> {
    let mut table = TableSpec {
        name: klass.extension.as_ref()?.into(),
        columns: vec![],
        primary: vec!["id".into()],
        indexes: vec![],
        shared: false,
    };
    table.put("id", Type::Uuid, true);
    table.columns[0].references = Some(Reference {
        table: (&klass.table).into(),
        cascade: true,
    });
    for property in klass.properties.iter().filter(|p| p.home == Home::Extension) {
        table.put_property(property, false);
    }
    put_references(&mut table, klass, registry, Home::Extension);
    Some(table)
}

fn put_references(table: &mut TableSpec, klass: &Klass, registry: &Registry, at: Home) {
    for relationship in registry.relationships.iter().filter(|r| r.klass == klass.name) {
        let Link::Column {
            column,
            klass_column,
            home,
        } = &relationship.link
        else {
            continue;
        };
        if *home != at {
            continue;
        }
        table.put(column, Type::Uuid, false);
        let far = relationship.to.first().and_then(|to| registry.klass(to));
        let last = table.columns.len() - 1;
        match (klass_column, far) {
            (None, Some(far)) => {
                table.columns[last].references = Some(Reference {
                    table: (&far.table).into(),
                    cascade: false,
                });
            }
            (Some(klass_column), _) => table.put(klass_column, Type::Text, false),
            // A registry's relationships reach klasses that exist.
            (None, None) => {}
        }
        let one = relationship.inverse_cardinality == Cardinality::One;
        let mut parts = vec![Part::Column(column.clone())];
        if !one {
            parts.push(Part::Column("id".into()));
        }
        table.indexes.push(table.index(parts, column, one));
    }
}

fn link_table(relationship: &Relationship, registry: &Registry) -> Option<TableSpec> {
    let Link::Table { table: name } = &relationship.link else {
        return None;
    };
    let mut table = TableSpec {
        name: name.into(),
        columns: vec![],
        primary: vec!["from_id".into(), "to_id".into()],
        indexes: vec![],
        shared: name.shared,
    };
    let reference = |klass: &str| {
        registry.klass(klass).map(|k| Reference {
            table: (&k.table).into(),
            cascade: false,
        })
    };
    if name.shared {
        table.put("org_id", Type::Uuid, true);
    }
    table.put("from_id", Type::Uuid, true);
    table.put("to_id", Type::Uuid, true);
    let at = table.columns.len();
    table.columns[at - 2].references = reference(&relationship.klass);
    if relationship.to.len() > 1 {
        table.put("to_klass", Type::Text, true);
    } else {
        table.columns[at - 1].references = relationship.to.first().and_then(|to| reference(to));
    }
    table.put("linked_at", Type::Instant, true);
    let one = relationship.inverse_cardinality == Cardinality::One;
    let mut parts = vec![Part::Column("to_id".into())];
    if !one {
        parts.push(Part::Column("from_id".into()));
    }
    table.indexes.push(table.index(parts, "to_id", one));
    for property in &relationship.properties {
        table.put_columns(property);
    }
    Some(table)
}

/// Columns that the gateway fills in every row.
const FILLED: &[&str] = &["id", "version", "created_at", "created_by", "updated_at", "updated_by", "tags"];

impl TableSpec {
    fn put(&mut self, name: &str, ty: Type, not_null: bool) {
        self.columns.push(Column {
            name: name.into(),
            ty,
            not_null,
            default: None,
            references: None,
        });
    }

    fn put_columns(&mut self, property: &Property) {
        use crate::klass::kind::Storage;
        let column = property.column.as_str();
        let filled = property.system && FILLED.contains(&column);
        let ty = match property.kind.storage() {
            Storage::Uuid => Type::Uuid,
            Storage::Text => Type::Text,
            Storage::Integer => Type::Integer,
            Storage::Decimal | Storage::Money => Type::Decimal,
            Storage::Boolean => Type::Boolean,
            Storage::Date => Type::Date,
            Storage::DateTime => Type::Instant,
            Storage::Json => Type::Json,
        };
        self.put(column, ty, filled);
        if filled {
            let last = self.columns.len() - 1;
            self.columns[last].default = match column {
                "version" => Some("1".into()),
                "tags" => Some("'[]'".into()),
                _ => None,
            };
        }
        if property.kind == Kind::Money {
            self.put(&format!("{column}_currency"), Type::Text, false);
        }
    }

    fn put_property(&mut self, property: &Property, shared: bool) {
        self.put_columns(property);
        if property.system && property.column == "id" {
            return;
        }
        let column = property.column.clone();
        let mut parts = if shared { vec![Part::Column("org_id".into())] } else { vec![] };
        let own = match property.kind {
            Kind::Email => Part::Folded(column.clone()),
            _ => Part::Column(column.clone()),
        };
        if property.unique {
            parts.push(own);
            if property.kind == Kind::Money {
                parts.push(Part::Column(format!("{column}_currency")));
            }
            self.indexes.push(self.index(parts, &column, true));
        } else if property.indexed {
            match property.kind {
                Kind::Text | Kind::Json | Kind::Object(_) => {}
                Kind::List(_) => self.indexes.push(Index {
                    gin: true,
                    ..self.index(vec![own], &column, false)
                }),
                _ => {
                    parts.push(own);
                    parts.push(Part::Column("id".into()));
                    self.indexes.push(self.index(parts, &column, false));
                }
            }
        }
    }

    fn index(&self, parts: Vec<Part>, column: &str, unique: bool) -> Index {
        // The name says all that the index is, so that another index is another name.
        let folded = if parts.iter().any(|p| matches!(p, Part::Folded(_))) {
            "_lower"
        } else {
            ""
        };
        let suffix = if unique { "key" } else { "idx" };
        Index {
            name: fit(&format!("{}_{column}{folded}_{suffix}", self.name.name)),
            parts,
            unique,
            gin: false,
        }
    }
}

/// A name within Postgres' 63 bytes: what is longer is cut and marked with a hash of the whole.
pub fn fit(name: &str) -> String {
    if name.len() <= 63 {
        return name.to_string();
    }
    // FNV-1a: stable between versions and machines.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut cut = 50;
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}_{:08x}{}", &name[..cut], hash as u32, &name[name.len() - 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = (format!("{}_a_idx", "x".repeat(70)), format!("{}_b_idx", "x".repeat(70)));
        assert!(fit(&a).len() <= 63 && fit(&b).len() <= 63);
        assert_ne!(fit(&a), fit(&b));
        assert!(fit(&a).ends_with("_idx"));
        assert_eq!(fit("short"), "short");
    }

    #[test]
    fn names_per_dialect() {
        let name = Name {
            schema: Some("org_acme".into()),
            name: "order".into(),
        };
        assert_eq!(name.sql(Dialect::Postgres), r#""org_acme"."order""#);
        assert_eq!(name.sql(Dialect::Sqlite), r#""org_acme__order""#);
    }
}
