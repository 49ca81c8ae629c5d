//! A relationship between klasses, and the two ends from which it is followed.

use std::sync::Arc;

use super::Property;

/// A relationship as it was defined, resolved. One definition, two ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Relationship {
    /// Klass that declares it.
    pub klass: String,
    /// As its author wrote it.
    pub name: String,
    /// Klasses on the far side; more than one: polymorphic.
    pub to: Vec<String>,
    /// Leads to every klass that the org defines, however many there are: polymorphic from the first on (only standard definitions, `to = "*"`).
    pub open: bool,
    /// How many the declaring side has.
    pub cardinality: Cardinality,
    /// How many of the declaring klass one far object may have (`One`: one-to-one or many-to-one seen from there).
    pub inverse_cardinality: Cardinality,
    /// Must be given (only for `One`).
    pub required: bool,
    /// Where the links are kept.
    pub link: Link,
    /// Properties of the link itself (only for `Link::Table`).
    pub properties: Vec<Arc<Property>>,
    /// What the deletion of a far object does to those that point to it.
    pub on_delete: OnDelete,
    /// What it is.
    pub description: Option<String>,
    /// Ships with the gateway.
    pub standard: bool,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cardinality {
    /// At most one.
    One,
    /// Any number.
    Many,
}

/// What a delete does to those that point to the deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    /// The delete is refused while there are any.
    Restrict,
    /// Their link is set to null or removed.
    #[default]
    Unlink,
    /// They are deleted too.
    Cascade,
}

/// Where the links of a relationship are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// A foreign-key column of the declaring klass's table (or its extension table, as `home` says).
    Column {
        /// The column, of type uuid.
        column: String,
        /// For a polymorphic one, the column that names the far klass.
        klass_column: Option<String>,
        /// Which table holds it.
        home: super::property::Home,
    },
    /// A table of links: `from_id` (declaring side), `to_id`, `to_klass` when polymorphic, `linked_at`, and the link's properties.
    Table {
        /// Its storage name, as [`super::Klass::table`].
        table: super::registry::Table,
    },
}

/// A relationship seen from one of its two ends: a field on a klass.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Legal GraphQL name of the field, made once: `orders`.
    pub legal: String,
    /// Old names that still work.
    pub aliases: Vec<super::property::Alias>,
    /// The relationship.
    pub relationship: Arc<Relationship>,
    /// Which side one stands on.
    pub side: Side,
    /// Klass one stands on.
    pub klass: String,
    /// Klasses that one reaches.
    pub to: Vec<String>,
    /// How many one reaches.
    pub cardinality: Cardinality,
    /// What it is.
    pub description: Option<String>,
    /// Why one should no longer use it.
    pub deprecated: Option<String>,
}

/// A side of a relationship.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On the klass that declares it.
    From,
    /// On a klass that it points to.
    To,
}

impl End {
    /// Reaches objects of several klasses.
    pub fn is_polymorphic(&self) -> bool {
        self.to.len() > 1 || (self.relationship.open && self.side == Side::From)
    }

    /// The one klass that it reaches; `None` if it may be one of several.
    pub fn only(&self) -> Option<&str> {
        match self.to.as_slice() {
            [only] if !self.is_polymorphic() => Some(only),
            _ => None,
        }
    }
}
