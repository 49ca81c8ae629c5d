//! Registries made by hand, so that tests of types depend on nothing else.

use std::sync::Arc;

use klio_entities::klass::kind::{EnumKind, EnumValue};
use klio_entities::klass::property::{Home, Validation, Writable};
use klio_entities::klass::registry::{CustomerLink, LegalNames, Table, Timeline};
use klio_entities::klass::relationship::{Cardinality, End, Link, OnDelete, Relationship, Side};
use klio_entities::klass::{Kind, Klass, OrgId, Property, Registry};

use crate::names;

/// A property of an org's klass, optional.
pub(crate) fn property(legal: &str, kind: Kind) -> Property {
    Property {
        name: legal.into(),
        legal: legal.into(),
        aliases: Vec::new(),
        column: legal.into(),
        home: Home::Table,
        kind,
        required: false,
        unique: false,
        indexed: false,
        searchable: false,
        sensitive: false,
        default: None,
        display_name: None,
        description: None,
        deprecated: None,
        validation: Validation::default(),
        writable: Writable::Always,
        system: false,
        standard: false,
    }
}

/// An enum kind whose legal names are the values in capitals.
pub(crate) fn choice(type_name: Option<&str>, values: &[&str]) -> Kind {
    Kind::Enum(EnumKind {
        type_name: type_name.map(str::to_owned),
        values: values
            .iter()
            .map(|v| EnumValue {
                value: (*v).to_owned(),
                legal: v.to_uppercase(),
                description: None,
                deprecated: None,
            })
            .collect(),
    })
}

fn system() -> Vec<Property> {
    let make = |legal: &str, kind: Kind, required: bool, writable: Writable| Property {
        required,
        writable,
        system: true,
        standard: true,
        unique: matches!(legal, "id" | "externalId"),
        ..property(legal, kind)
    };
    use Writable::{Always, Never, OnCreate};
    vec![
        make("id", Kind::Id, true, Never),
        make("externalId", Kind::String, false, Always),
        make("version", Kind::Integer { big: false }, true, Never),
        make("createdAt", Kind::DateTime, true, OnCreate),
        make("createdBy", Kind::Actor, false, Never),
        make("updatedAt", Kind::DateTime, true, Never),
        make("updatedBy", Kind::Actor, false, Never),
        make("deletedAt", Kind::DateTime, false, Never),
        make("importedAt", Kind::DateTime, false, OnCreate),
        make("tags", Kind::List(Box::new(Kind::String)), true, Always),
    ]
}

/// A klass in the making.
pub(crate) struct Draft {
    pub(crate) klass: Klass,
}

/// A klass with system properties and these of its own.
pub(crate) fn klass(name: &str, plural: &str, properties: Vec<Property>) -> Draft {
    Draft {
        klass: Klass {
            name: name.into(),
            plural: plural.into(),
            legal: LegalNames {
                type_name: names::upper_first(name),
                field: name.into(),
                plural: plural.into(),
            },
            id_prefix: name.to_lowercase(),
            display_name: None,
            description: None,
            icon: None,
            color: None,
            enabled: true,
            standard: false,
            title: "{id}".into(),
            timeline: None,
            table: Table {
                schema: None,
                name: name.into(),
                shared: false,
            },
            extension: None,
            properties: system().into_iter().chain(properties).map(Arc::new).collect(),
            ends: Vec::new(),
            customer: CustomerLink::None,
            views: serde_json::Value::Null,
        },
    }
}

/// Ties klasses together: `(klass, field, far klasses, cardinality, inverse, inverse cardinality, properties of the link)`.
pub(crate) fn relate(
    klasses: &mut [Draft],
    (from, field): (&str, &str),
    to: &[&str],
    cardinality: Cardinality,
    (inverse, inverse_cardinality): (&str, Cardinality),
    properties: Vec<Property>,
) -> Arc<Relationship> {
    let relationship = Arc::new(Relationship {
        klass: from.into(),
        name: field.into(),
        open: false,
        to: to.iter().map(|k| (*k).to_owned()).collect(),
        cardinality,
        inverse_cardinality,
        required: false,
        link: match cardinality {
            Cardinality::One => Link::Column {
                column: format!("{field}_id"),
                klass_column: (to.len() > 1).then(|| format!("{field}_klass")),
                home: Home::Table,
            },
            Cardinality::Many => Link::Table {
                table: Table {
                    schema: None,
                    name: format!("{from}_{field}"),
                    shared: false,
                },
            },
        },
        properties: properties.into_iter().map(Arc::new).collect(),
        on_delete: OnDelete::Unlink,
        description: None,
        standard: false,
    });
    let end = |klass: &str, legal: &str, to: Vec<String>, cardinality, side| {
        Arc::new(End {
            legal: legal.into(),
            aliases: Vec::new(),
            relationship: Arc::clone(&relationship),
            side,
            klass: klass.into(),
            to,
            cardinality,
            description: None,
            deprecated: None,
        })
    };
    for draft in klasses.iter_mut() {
        let name = draft.klass.name.clone();
        if name == from {
            draft
                .klass
                .ends
                .push(end(&name, field, relationship.to.clone(), cardinality, Side::From));
        }
        if to.contains(&name.as_str()) {
            draft
                .klass
                .ends
                .push(end(&name, inverse, vec![from.to_owned()], inverse_cardinality, Side::To));
        }
    }
    relationship
}

/// A registry of these.
pub(crate) fn registry(klasses: Vec<Draft>, relationships: Vec<Arc<Relationship>>) -> Arc<Registry> {
    let klasses = klasses.into_iter().map(|d| Arc::new(d.klass)).collect();
    Arc::new(Registry::new(OrgId(uuid::Uuid::nil()), 1, klasses, relationships))
}

/// Customers, products and the orders of design/schema.md.
pub(crate) fn shop() -> Arc<Registry> {
    let mut customer = klass("customer", "customers", vec![property("name", Kind::String)]);
    customer.klass.standard = true;
    customer.klass.customer = CustomerLink::Itself;
    let product = klass("product", "products", vec![property("name", Kind::String)]);
    let mut number = property("orderNumber", Kind::String);
    number.required = true;
    number.unique = true;
    let mut total = property("total", Kind::Money);
    total.indexed = true;
    total.description = Some("What the customer pays.".into());
    let mut status = property("status", choice(None, &["pending", "delivered"]));
    status.indexed = true;
    let mut order = klass("order", "orders", vec![number, total, status, property("placedAt", Kind::DateTime)]);
    order.klass.timeline = Some(Timeline { at: "placedAt".into() });
    let mut all = vec![customer, product, order];
    let relationships = vec![
        relate(
            &mut all,
            ("order", "customer"),
            &["customer"],
            Cardinality::One,
            ("orders", Cardinality::Many),
            Vec::new(),
        ),
        relate(
            &mut all,
            ("order", "products"),
            &["product"],
            Cardinality::Many,
            ("orders", Cardinality::Many),
            vec![property("quantity", Kind::Integer { big: false })],
        ),
    ];
    registry(all, relationships)
}
