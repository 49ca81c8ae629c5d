//! The properties that every klass has.

use super::property::{Home, Validation, Writable};
use super::{Kind, Property, Value};

/// Legal names of the system properties.
pub const NAMES: &[&str] = &[
    "id",
    "externalId",
    "version",
    "createdAt",
    "createdBy",
    "updatedAt",
    "updatedBy",
    "deletedAt",
    "importedAt",
    "tags",
];

/// Fields of an object's type that are no properties: no property or relationship may have these names.
pub const GENERATED: &[&str] = &["klass", "title", "timeline"];

/// Columns of a klass table that no property may have.
pub const COLUMNS: &[&str] = &[
    "org_id",
    "id",
    "external_id",
    "version",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "deleted_at",
    "imported_at",
    "tags",
];

/// Columns of a link table that no property of a link may have.
pub const LINK_COLUMNS: &[&str] = &["org_id", "from_id", "to_id", "to_klass", "linked_at"];

/// The system properties, in order.
pub fn properties() -> Vec<Property> {
    let instant = |legal, description| {
        let mut it = property(legal, Kind::DateTime, description);
        it.writable = Writable::Never;
        it
    };
    let mut id = property("id", Kind::Id, "Names the object everywhere; sorts by time of creation.");
    id.required = true;
    id.unique = true;
    id.indexed = true;
    id.writable = Writable::Never;
    let mut external_id = property(
        "externalId",
        Kind::String,
        "The id by which other systems know the object; unique within its klass.",
    );
    external_id.unique = true;
    external_id.indexed = true;
    let mut version = property("version", Kind::Integer { big: false }, "Rises by one with each write.");
    version.required = true;
    version.writable = Writable::Never;
    let mut created_at = instant("createdAt", "When it was created.");
    created_at.required = true;
    created_at.indexed = true;
    created_at.writable = Writable::OnCreate;
    let mut created_by = property("createdBy", Kind::Actor, "Who created it.");
    created_by.writable = Writable::Never;
    let mut updated_at = instant("updatedAt", "When it was last written.");
    updated_at.required = true;
    updated_at.indexed = true;
    let mut updated_by = property("updatedBy", Kind::Actor, "Who wrote it last.");
    updated_by.writable = Writable::Never;
    let deleted_at = instant("deletedAt", "When it was deleted; it can be restored until it is destroyed.");
    let mut imported_at = instant(
        "importedAt",
        "When it was brought in from another system; null when it came to be here.",
    );
    imported_at.writable = Writable::OnCreate;
    let mut tags = property("tags", Kind::List(Box::new(Kind::String)), "Words by which to find it.");
    tags.required = true;
    tags.default = Some(Value::List(Vec::new()));
    vec![
        id,
        external_id,
        version,
        created_at,
        created_by,
        updated_at,
        updated_by,
        deleted_at,
        imported_at,
        tags,
    ]
}

fn property(legal: &str, kind: Kind, description: &str) -> Property {
    Property {
        name: legal.into(),
        legal: legal.into(),
        aliases: Vec::new(),
        column: super::name::column(legal),
        home: Home::Table,
        kind,
        required: false,
        unique: false,
        indexed: false,
        searchable: false,
        sensitive: false,
        default: None,
        display_name: None,
        description: Some(description.into()),
        deprecated: None,
        validation: Validation::default(),
        writable: Writable::Always,
        system: true,
        standard: true,
    }
}
