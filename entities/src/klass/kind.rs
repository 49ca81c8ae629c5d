//! What a property's value may be.

use serde::{Deserialize, Serialize};

/// The kind of a property. An exhaustive `match` on it is how a new kind finds every place that must know it.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The object's own id. System only. [`super::Value::Id`]
    Id,
    /// Who did it. System only; stored as text `kind:id:name`. [`super::Value::String`]
    Actor,
    /// One line of text, at most 1,024 characters unless validation says otherwise.
    String,
    /// Text of many lines, at most 1 MiB unless validation says otherwise.
    Text,
    /// A whole number: 32 bits (GraphQL `Int`), or 64 when `big` (GraphQL `BigInt`, a string on the wire).
    Integer {
        /// 64 bits.
        big: bool,
    },
    /// An exact decimal with [`DECIMAL_SCALE`] digits behind the point, at most 18 digits in all.
    Decimal,
    /// True or false.
    Boolean,
    /// A day, `2026-11-24`.
    Date,
    /// An instant, to the microsecond, UTC.
    DateTime,
    /// An absolute URL with a host.
    Url,
    /// An e-mail address, kept as given; compared in lower case.
    Email,
    /// A telephone number, kept as `+` and digits.
    Phone,
    /// One of a list of values. A choice of many is `List(Enum)`.
    Enum(EnumKind),
    /// A path in a fixed tree, written `a/b/c`.
    Tree {
        /// Every path that exists, inner ones too.
        paths: Vec<String>,
    },
    /// An amount with [`MONEY_SCALE`] digits behind the point, and an ISO 4217 currency.
    Money,
    /// Anything that JSON can say.
    Json,
    /// A fixed set of named parts, stored as JSON (emails, locations, counts).
    Object(ObjectKind),
    /// A list of any of the above but lists; stored as a JSON array.
    List(Box<Kind>),
}

/// Digits behind the point of a decimal. On SQLite a decimal is an integer scaled by 10^6.
pub const DECIMAL_SCALE: u32 = 6;
/// Digits behind the point of an amount of money. On SQLite an amount is an integer scaled by 10^4.
pub const MONEY_SCALE: u32 = 4;

/// The values of an enum kind.
#[derive(Clone, Debug, PartialEq)]
pub struct EnumKind {
    /// The GraphQL type's name when several properties share one (`Channel`); `None`: made from klass and property.
    pub type_name: Option<String>,
    /// In the order in which they were defined; it is also the order in which they sort on clients.
    pub values: Vec<EnumValue>,
}

/// One value of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnumValue {
    /// As stored and as other systems write it: `in progress`.
    pub value: String,
    /// Its legal GraphQL name, made once: `IN_PROGRESS`.
    pub legal: String,
    /// What it means.
    pub description: Option<String>,
    /// Why one should no longer use it.
    pub deprecated: Option<String>,
}

/// The parts of an object kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectKind {
    /// The GraphQL type's name when shared (`EmailContact`); `None`: made from klass and property.
    pub type_name: Option<String>,
    /// Name, kind and description of each part.
    pub parts: Vec<Part>,
}

/// One named part of an object kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its key in the stored JSON and its GraphQL field.
    pub name: String,
    /// A scalar or enum kind, or a list of one.
    pub kind: Kind,
    /// Whether it must be given.
    pub required: bool,
    /// What it is.
    pub description: Option<String>,
}

/// How a kind is stored: which columns it needs. Kinds of one storage change into each other without a new column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// PG `uuid`, SQLite 16 bytes.
    Uuid,
    /// Text.
    Text,
    /// 64 bits.
    Integer,
    /// PG `numeric`, SQLite an integer scaled by 10^6.
    Decimal,
    /// PG `boolean`, SQLite 0 or 1.
    Boolean,
    /// PG `date`, SQLite text.
    Date,
    /// PG `timestamptz`, SQLite microseconds since 1970.
    DateTime,
    /// Two columns: PG `numeric` and text, SQLite an integer scaled by 10^4 and text.
    Money,
    /// PG `jsonb`, SQLite JSON text.
    Json,
}

impl Kind {
    /// How it is stored.
    pub fn storage(&self) -> Storage {
        match self {
            Kind::Id => Storage::Uuid,
            Kind::Actor | Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone | Kind::Enum(_) | Kind::Tree { .. } => {
                Storage::Text
            }
            Kind::Integer { .. } => Storage::Integer,
            Kind::Decimal => Storage::Decimal,
            Kind::Boolean => Storage::Boolean,
            Kind::Date => Storage::Date,
            Kind::DateTime => Storage::DateTime,
            Kind::Money => Storage::Money,
            Kind::Json | Kind::Object(_) | Kind::List(_) => Storage::Json,
        }
    }

    /// Its name, as a person writes it: `list of string`.
    pub fn name(&self) -> String {
        match self {
            Kind::Id => "id",
            Kind::Actor => "actor",
            Kind::String => "string",
            Kind::Text => "text",
            Kind::Integer { big: false } => "integer",
            Kind::Integer { big: true } => "big integer",
            Kind::Decimal => "decimal",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::DateTime => "datetime",
            Kind::Url => "url",
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::Enum(EnumKind { type_name, .. }) => return type_name.clone().unwrap_or_else(|| "enum".into()),
            Kind::Tree { .. } => "tree",
            Kind::Money => "money",
            Kind::Json => "json",
            Kind::Object(ObjectKind { type_name, .. }) => return type_name.clone().unwrap_or_else(|| "object".into()),
            Kind::List(item) => return format!("list of {}", item.name()),
        }
        .into()
    }

    /// Has an order that `gt`, `between` and `orderBy` can use.
    pub fn is_ordered(&self) -> bool {
        use Kind::*;
        match self {
            Id
            | String
            | Text
            | Integer { .. }
            | Decimal
            | Boolean
            | Date
            | DateTime
            | Url
            | Email
            | Phone
            | Enum(_)
            | Tree { .. }
            | Money => true,
            Actor | Json | Object(_) | List(_) => false,
        }
    }

    /// Is text that `contains` and `startsWith` can look into.
    pub fn is_text(&self) -> bool {
        matches!(
            self,
            Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone | Kind::Tree { .. }
        )
    }

    /// Can be summed and averaged.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Kind::Integer { .. } | Kind::Decimal | Kind::Money)
    }

    /// The kind of a list's items, or the kind itself.
    pub fn item(&self) -> &Kind {
        match self {
            Kind::List(item) => item,
            other => other,
        }
    }
}
