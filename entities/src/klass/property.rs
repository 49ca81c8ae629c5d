//! A property of a klass, resolved.

use super::{Kind, Value};

/// A property, as the registry holds it. Built from [`super::definition`] or, for system properties, by the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// As its author wrote it: `@acmeLoyaltyTier`.
    pub name: String,
    /// Its legal GraphQL name, made once and stored: `acmeLoyaltyTier`. Unique among the fields of its klass.
    pub legal: String,
    /// Old legal names that still work, marked deprecated, newest first.
    pub aliases: Vec<Alias>,
    /// Its column, made once; never changes when the property is renamed. For [`Kind::Money`] a second column `<column>_currency` holds the currency.
    pub column: String,
    /// Which table holds the column.
    pub home: Home,
    /// What its value may be.
    pub kind: Kind,
    /// Must be given and not null.
    pub required: bool,
    /// No two objects of the klass in an org share it (nulls excepted).
    pub unique: bool,
    /// Has an index, so it filters and sorts at speed.
    pub indexed: bool,
    /// Is found by full-text search.
    pub searchable: bool,
    /// Is masked (null) for roles that may not see it; see [`super::Role::sees_sensitive`].
    pub sensitive: bool,
    /// Value of an object that does not give one.
    pub default: Option<Value>,
    /// The label people see.
    pub display_name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Why one should no longer use it.
    pub deprecated: Option<String>,
    /// What a value must also satisfy.
    pub validation: Validation,
    /// Who may set it.
    pub writable: Writable,
    /// Part of every klass (`id`, `version`, …) rather than of this one.
    pub system: bool,
    /// Ships with the gateway (true for system properties and those of the standard definitions).
    pub standard: bool,
}

/// A name that a property used to have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Alias {
    /// The old legal name.
    pub legal: String,
    /// What is told to those who still use it.
    pub reason: String,
}

/// Which table holds a property's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The klass's own table.
    Table,
    /// The org's extension table of a standard klass (custom properties), one to one by id.
    Extension,
}

/// Who may set a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    /// Anyone who may write the object.
    Always,
    /// Only when the object is created (`externalId` may change too; `importedAt` and `createdAt` may not).
    OnCreate,
    /// Kept by the gateway (`version`, a conversation's counts).
    Never,
}

/// What a value must satisfy beside its kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// Smallest value, for ordered kinds.
    pub min: Option<Value>,
    /// Largest value, for ordered kinds.
    pub max: Option<Value>,
    /// Fewest characters or items.
    pub min_length: Option<u32>,
    /// Most characters or items.
    pub max_length: Option<u32>,
    /// A regular expression (crate `regex` syntax) that the text must match somewhere; anchor it to match all.
    pub pattern: Option<String>,
    /// What sort of name or code the text must be.
    pub format: Option<Format>,
}

/// What sort of name or code a text must be, where the kind alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The name of a time zone in the IANA database, `Europe/Berlin`.
    TimeZone,
}

impl Format {
    /// All of them, for messages.
    pub const ALL: [Format; 1] = [Format::TimeZone];

    /// As definitions name it.
    pub fn name(self) -> &'static str {
        match self {
            Format::TimeZone => "timeZone",
        }
    }

    /// By its name in a definition.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether a text is one; what it must be, if not.
    ///
    /// # Errors
    /// The end of the sentence "`x` is not …".
    pub fn check(self, text: &str) -> Result<(), &'static str> {
        match self {
            Format::TimeZone if text.parse::<chrono_tz::Tz>().is_ok() => Ok(()),
            Format::TimeZone => Err("the name of a time zone in the IANA database, such as Europe/Berlin or America/New_York"),
        }
    }
}
