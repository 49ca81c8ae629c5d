//! What a change of klasses asks of the objects that exist: values to convert, defaults to fill in, what must hold (required, unique),
//! and places on the timeline. Pure; `data` does it.

use std::sync::Arc;

use crate::klass::property::Home;
use crate::klass::registry::CustomerLink;
use crate::klass::relationship::{Cardinality, Link};
use crate::klass::{Kind, Klass, Property, Registry, Value};
use crate::store::Dialect;
use crate::store::ddl::{self, quote};

/// Something that the objects of a klass must undergo or fulfil.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(super) klass: Arc<Klass>,
    pub(super) home: Home,
    /// Where to say that it is not so.
    pub(super) path: Vec<String>,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Values of one property become values of another (which may be the same column).
    Convert { from: Arc<Property>, to: Arc<Property> },
    /// Objects without a value get the default.
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
            let from = predecessor(before, klass, to);
            let mut put = |what| {
                out.push(Work {
                    klass: klass.clone(),
                    home: to.home,
                    path: at("properties", &to.name),
                    what,
                });
            };
            if let Some(from) = from.filter(|from| from.column != to.column || !accepts_all(&from.kind, &to.kind)) {
                put(What::Convert {
                    from: from.clone(),
                    to: to.clone(),
                });
            }
            if to.required && !from.is_some_and(|f| f.required) {
                match &to.default {
                    Some(value) => put(What::Fill {
                        to: to.clone(),
                        value: value.clone(),
                    }),
                    None => put(What::Required {
                        column: to.column.clone(),
                        old: from.map(|f| f.column.clone()),
                    }),
                }
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
                put(What::Unique { keys });
            }
        }
        if timeline(before) != timeline(klass) {
            out.push(Work {
                klass: klass.clone(),
                home: Home::Table,
                path: at("timeline", "at"),
                what: What::Timeline { place: timeline(klass) },
            });
        }
        for relationship in new.relationships.iter().filter(|r| r.klass == klass.name) {
            let Link::Column { column, home, .. } = &relationship.link else {
                continue;
            };
            let was = old
                .relationships
                .iter()
                .find(|r| matches!(&r.link, Link::Column { column: c, .. } if c == column) && r.klass == klass.name);
            let mut put = |what| {
                out.push(Work {
                    klass: klass.clone(),
                    home: *home,
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

/// The property that this one was before the change.
fn predecessor<'a>(before: &'a Klass, after: &Klass, property: &Property) -> Option<&'a Arc<Property>> {
    let mut own = before.properties.iter().filter(|p| !p.system && p.standard == property.standard);
    let same = own.clone().find(|p| p.column == property.column);
    same.or_else(|| own.clone().find(|p| p.name == property.name)).or_else(|| {
        // A rename with another storage: the old name is the alias, and no one has it now.
        own.find(|p| property.aliases.iter().any(|a| a.legal == p.legal) && !after.properties.iter().any(|a| a.name == p.name))
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
