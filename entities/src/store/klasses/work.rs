//! What a change of klasses asks of the objects that exist: values to convert, defaults to fill in, what must hold (required, unique),
//! and places on the timeline. Pure; `data` does it.

use std::sync::Arc;

use crate::klass::property::Home;
use crate::klass::registry::CustomerLink;
use crate::klass::registry::Table;
use crate::klass::relationship::{Cardinality, Link, Relationship};
use crate::klass::{Kind, Klass, Property, Registry, Value, diff};
use crate::store::Dialect;
use crate::store::ddl::{self, Name, quote};

/// Something that the objects of a klass, or the links of a relationship, must undergo or fulfil.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The klass; of links, the one that declares the relationship.
    pub(super) klass: Arc<Klass>,
    pub(super) rows: Rows,
    /// Where to say that it is not so.
    pub(super) path: Vec<String>,
    pub(super) what: What,
}

/// The rows that hold the values.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    /// Of the klass's own table.
    Table,
    /// Of its extension table: an object may have none.
    Extension(Table),
    /// Links.
    Links(Arc<Relationship>, Table),
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Values of one property become values of another (which may be the same column: then they are only looked at).
    Convert { from: Arc<Property>, to: Arc<Property> },
    /// Objects without a value get the default, each with its event.
    Fill { to: Arc<Property>, value: Value },
    /// Every object has a value. `old`: the column that holds it now, if there is one.
    Required { column: String, old: Option<String> },
    /// No two objects have the same value.
    Unique { keys: Vec<String> },
    /// The klass comes onto the timeline, leaves it, or stands elsewhere on it: the columns with customer and time, if it does.
    Timeline { place: Option<(String, String)> },
}

/// All that a change asks of the objects that exist.
pub(crate) fn work(old: &Registry, new: &Registry, dialect: Dialect) -> Vec<Work> {
    let mut out = Vec::new();
    for klass in &new.klasses {
        let Some(before) = old.klass(&klass.name) else { continue };
        let at = |part: &str, name: &str| ["klasses", &klass.name, part, name].map(str::to_owned).to_vec();
        for to in klass.properties.iter().filter(|p| !p.system) {
            let mut own = before.properties.iter().filter(|p| !p.system && p.standard == to.standard);
            let from = predecessor(&mut own, &klass.properties, to);
            for what in property_work(from, to, dialect) {
                out.push(Work {
                    klass: klass.clone(),
                    rows: Rows::of(klass, to.home),
                    path: at("properties", &to.name),
                    what,
                });
            }
        }
        if timeline(before) != timeline(klass) {
            out.push(Work {
                klass: klass.clone(),
                rows: Rows::Table,
                path: at("timeline", "at"),
                what: What::Timeline { place: timeline(klass) },
            });
        }
        for relationship in new.relationships.iter().filter(|r| r.klass == klass.name) {
            let (column, home) = match &relationship.link {
                Link::Column { column, home, .. } => (column, home),
                Link::Table { table } => {
                    out.extend(link_work(old, klass, relationship, table, dialect));
                    continue;
                }
            };
            let was = old
                .relationships
                .iter()
                .find(|r| matches!(&r.link, Link::Column { column: c, .. } if c == column) && r.klass == klass.name);
            let mut put = |what| {
                out.push(Work {
                    klass: klass.clone(),
                    rows: Rows::of(klass, *home),
                    path: at("relationships", &relationship.name),
                    what,
                });
            };
            if relationship.required && !was.is_some_and(|r| r.required) {
                put(What::Required {
                    column: column.clone(),
                    old: was.map(|_| column.clone()),
                });
            }
            if relationship.inverse_cardinality == Cardinality::One && was.is_some_and(|r| r.inverse_cardinality == Cardinality::Many) {
                put(What::Unique { keys: vec![quote(column)] });
            }
        }
    }
    out
}

/// What becomes of a property's values.
fn property_work(from: Option<&Arc<Property>>, to: &Arc<Property>, dialect: Dialect) -> Vec<What> {
    let mut out = Vec::new();
    if let Some(from) = from.filter(|from| from.column != to.column || !accepts_all(&from.kind, &to.kind) || diff::tightened(from, to)) {
        out.push(What::Convert {
            from: from.clone(),
            to: to.clone(),
        });
    }
    if to.required && !from.is_some_and(|f| f.required) {
        out.push(match &to.default {
            Some(value) => What::Fill {
                to: to.clone(),
                value: value.clone(),
            },
            None => What::Required {
                column: to.column.clone(),
                old: from.map(|f| f.column.clone()),
            },
        });
    }
    // A new column is checked by its index, when that is made.
    if to.unique && from.is_some_and(|f| f.column == to.column && (!f.unique || is_mail(f) != is_mail(to))) {
        let alone = if is_mail(to) {
            ddl::Part::Folded(to.column.clone())
        } else {
            ddl::Part::Column(to.column.clone())
        };
        let mut keys = vec![alone.sql(dialect)];
        if to.kind == Kind::Money {
            keys.push(quote(&format!("{}_currency", to.column)));
        }
        out.push(What::Unique { keys });
    }
    out
}

/// What becomes of the values of links that stay where they are. (Those of a new table have none.)
fn link_work(old: &Registry, klass: &Arc<Klass>, relationship: &Arc<Relationship>, table: &Table, dialect: Dialect) -> Vec<Work> {
    let same = |r: &&Arc<Relationship>| matches!(&r.link, Link::Table { table: t } if t == table);
    let Some(before) = old.relationships.iter().find(same) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for to in &relationship.properties {
        let from = predecessor(&mut before.properties.iter(), &relationship.properties, to);
        for what in property_work(from, to, dialect) {
            let path = ["klasses", &klass.name, "relationships", &relationship.name, "properties", &to.name];
            out.push(Work {
                klass: klass.clone(),
                rows: Rows::Links(relationship.clone(), table.clone()),
                path: path.map(str::to_owned).to_vec(),
                what,
            });
        }
    }
    out
}

impl Rows {
    fn of(klass: &Klass, home: Home) -> Self {
        match (home, &klass.extension) {
            (Home::Extension, Some(table)) => Rows::Extension(table.clone()),
            _ => Rows::Table,
        }
    }
}

impl Work {
    /// The table with the values.
    pub(super) fn table(&self) -> Name {
        match &self.rows {
            Rows::Table => (&self.klass.table).into(),
            Rows::Extension(table) | Rows::Links(_, table) => table.into(),
        }
    }
}

/// The columns that say on whose timeline an object of the klass stands, and where.
fn timeline(klass: &Klass) -> Option<(String, String)> {
    let at = klass.property(&klass.timeline.as_ref()?.at)?.column.clone();
    let customer = match &klass.customer {
        CustomerLink::Itself => "id".to_owned(),
        CustomerLink::Through(end) => match &klass.end(end)?.relationship.link {
            Link::Column { column, .. } => column.clone(),
            Link::Table { .. } => return None,
        },
        CustomerLink::None => return None,
    };
    Some((customer, at))
}

pub(super) fn is_mail(property: &Property) -> bool {
    property.kind == Kind::Email
}

/// The property that this one was before the change, among those of `before`; `after`: those beside it now.
fn predecessor<'a>(
    before: &mut (impl Iterator<Item = &'a Arc<Property>> + Clone),
    after: &[Arc<Property>],
    property: &Property,
) -> Option<&'a Arc<Property>> {
    let same = before.clone().find(|p| p.column == property.column);
    same.or_else(|| before.clone().find(|p| p.name == property.name)).or_else(|| {
        // A rename with another storage: the old name is the alias, and no one has it now.
        before.find(|p| property.aliases.iter().any(|a| a.legal == p.legal) && !after.iter().any(|a| a.name == p.name))
    })
}

/// Every value of the one kind is a value of the other, stored alike.
fn accepts_all(from: &Kind, to: &Kind) -> bool {
    match (from, to) {
        _ if from == to => true,
        (Kind::Integer { .. }, Kind::Integer { big: true }) => true,
        (_, Kind::Text) => from.storage() == to.storage(),
        (_, Kind::Json) => from.storage() == to.storage(),
        (Kind::Email | Kind::Phone | Kind::Enum(_), Kind::String) => true,
        (Kind::Enum(a), Kind::Enum(b)) => a.values.iter().all(|v| b.values.iter().any(|w| w.value == v.value)),
        (Kind::Tree { paths: a }, Kind::Tree { paths: b }) => a.iter().all(|p| b.contains(p)),
        (Kind::List(a), Kind::List(b)) => accepts_all(a, b),
        (Kind::Object(a), Kind::Object(b)) => {
            b.parts.iter().all(|part| match a.parts.iter().find(|p| p.name == part.name) {
                Some(old) => accepts_all(&old.kind, &part.kind) && (old.required || !part.required),
                None => !part.required,
            }) && a.parts.iter().all(|part| b.parts.iter().any(|p| p.name == part.name))
        }
        _ => false,
    }
}
