//! From definitions to the registry: the standard klasses, what an org adds to them, and its own; both ends of each relationship; where
//! each thing is stored; to which customer an object belongs.

use std::sync::Arc;

use indexmap::IndexMap;

use super::definition::*;
use super::kind::{EnumKind, EnumValue, ObjectKind, Part};
use super::property::{Format, Home, Validation, Writable};
use super::registry::{CustomerLink, Table, Timeline};
use super::relationship::{Cardinality, Link, Side};
use super::{End, Fault, Faults, Kind, Klass, OrgId, Property, Registry, Relationship, accept, settle, standard, system};

/// The registry of an org: `slug` names its Postgres schema (`org_<slug>`), `stored` are its own definitions in order.
/// Faults only when the definitions do not fit together, which [`super::check`] would have said before they were stored.
pub fn resolve(org: OrgId, slug: &str, version: u64, stored: &[Stored]) -> Result<Registry, Faults> {
    let mut faults = Vec::new();
    let schema = schema_of(slug);
    let additions = |name: &str| stored.iter().find(|s| s.written.name == name);
    let mut klasses: Vec<Klass> = Vec::new();
    let mut sources: Vec<Source<'_>> = Vec::new();
    for it in standard::standard() {
        let mut klass = bare_klass(it, true, &schema);
        properties(&it.written.name, it, Home::Table, true, &mut klass.properties, &mut faults);
        if let Some(added) = additions(&it.written.name) {
            properties(&it.written.name, added, Home::Extension, false, &mut klass.properties, &mut faults);
            sources.push(Source {
                stored: added,
                standard: false,
            });
        }
        sources.push(Source {
            stored: it,
            standard: true,
        });
        finish(&mut klass, &it.written);
        klasses.push(klass);
    }
    // the standard relationships before what an org adds to them
    sources.sort_by_key(|s| !s.standard);
    for it in stored.iter().filter(|s| standard::definition(&s.written.name).is_none()) {
        let mut klass = bare_klass(it, false, &schema);
        properties(&it.written.name, it, Home::Table, false, &mut klass.properties, &mut faults);
        sources.push(Source {
            stored: it,
            standard: false,
        });
        finish(&mut klass, &it.written);
        klasses.push(klass);
    }
    let mut relationships = Vec::new();
    // those that lead to every klass come last: their other ends give way to what a klass has itself
    for (source, open) in sources.iter().map(|s| (s, false)).chain(sources.iter().map(|s| (s, true))) {
        for (name, written) in source
            .stored
            .written
            .relationships
            .iter()
            .filter(|(_, r)| settle::is_open(r) == open)
        {
            let Some(settled) = source.stored.settled.relationships.get(name) else {
                continue; // cannot be: both are written together
            };
            let (made, ends) = relationship(source, name, written, settled, &schema, &klasses, &mut faults);
            for end in ends {
                match klasses.iter_mut().find(|k| k.name == end.klass) {
                    Some(klass) => klass.ends.push(Arc::new(end)),
                    None => {
                        let path = ["klasses", &source.stored.written.name, "relationships", name, "to"];
                        faults.push(Fault::bad(path, format!("There is no klass `{}`.", end.klass)));
                    }
                }
            }
            relationships.push(made);
        }
    }
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let extended = |klass: &Klass| {
        klass.properties.iter().any(|p| p.home == Home::Extension)
            || klass
                .ends
                .iter()
                .any(|e| e.side == Side::From && matches!(e.relationship.link, Link::Column { home: Home::Extension, .. }))
    };
    for klass in &mut klasses {
        klass.customer = customer_link(klass);
        if klass.standard && extended(klass) {
            klass.extension = Some(Table {
                schema: Some(schema.clone()),
                name: settle::extension(&klass.table.name),
                shared: false,
            });
        }
    }
    Ok(Registry::new(
        org,
        version,
        klasses.into_iter().map(Arc::new).collect(),
        relationships,
    ))
}

/// The Postgres schema with the tables of an org.
pub fn schema_of(slug: &str) -> String {
    format!("org_{}", slug.replace('-', "_"))
}

/// A definition and where it comes from.
struct Source<'a> {
    stored: &'a Stored,
    standard: bool,
}

fn bare_klass(stored: &Stored, standard: bool, schema: &str) -> Klass {
    let Stored { written, settled } = stored;
    Klass {
        name: written.name.clone(),
        plural: written.plural.clone().unwrap_or_else(|| super::name::plural(&written.name)),
        legal: settled.legal.clone(),
        id_prefix: settled.id_prefix.clone(),
        display_name: written.display_name.clone(),
        description: written.description.clone(),
        icon: written.icon.clone(),
        color: written.color.clone(),
        enabled: written.status.is_enabled(),
        standard,
        title: String::new(),
        timeline: None,
        table: Table {
            schema: (!standard).then(|| schema.to_owned()),
            name: settled.table.clone(),
            shared: standard,
        },
        extension: None,
        properties: system::properties().into_iter().map(Arc::new).collect(),
        ends: Vec::new(),
        customer: CustomerLink::None,
        views: written.views.clone(),
    }
}

/// What needs the klass's properties: its title and its place on the timeline.
fn finish(klass: &mut Klass, written: &Definition) {
    klass.title = match &written.title {
        Some(title) => legal_title(title, &klass.properties),
        None => default_title(&klass.properties),
    };
    klass.timeline = written.timeline.as_ref().map(|t| Timeline {
        at: t
            .at
            .as_ref()
            .and_then(|at| klass.properties.iter().find(|p| p.name == *at || p.legal == *at))
            .map_or_else(|| "createdAt".to_owned(), |p| p.legal.clone()),
    });
}

/// The template with properties by their legal names.
fn legal_title(title: &str, properties: &[Arc<Property>]) -> String {
    let mut out = title.to_owned();
    for name in title_names(title) {
        if let Some(p) = properties.iter().find(|p| p.name == name) {
            out = out.replace(&format!("{{{name}}}"), &format!("{{{}}}", p.legal));
        }
    }
    out
}

/// The names in braces.
pub fn title_names(title: &str) -> Vec<&str> {
    title
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
        .collect()
}

fn default_title(properties: &[Arc<Property>]) -> String {
    let text = |p: &&Arc<Property>| !p.system && !p.sensitive && matches!(p.kind, Kind::String);
    let named = |p: &&Arc<Property>| matches!(p.legal.as_str(), "name" | "title");
    let best = properties.iter().filter(text).find(named);
    let best = best.or_else(|| properties.iter().filter(text).find(|p| p.required));
    let best = best.or_else(|| properties.iter().filter(text).find(|p| p.unique || p.searchable));
    best.map_or_else(|| "{externalId}".into(), |p| format!("{{{}}}", p.legal))
}

fn properties(klass: &str, stored: &Stored, home: Home, standard: bool, out: &mut Vec<Arc<Property>>, faults: &mut Vec<Fault>) {
    for (name, written) in &stored.written.properties {
        let Some(settled) = stored.settled.properties.get(name) else {
            continue; // cannot be: both are written together
        };
        let path = ["klasses", klass, "properties", name].map(str::to_owned);
        match property(name, written, settled, home, standard, &path) {
            Ok(it) => out.push(Arc::new(it)),
            Err(fault) => faults.push(fault),
        }
    }
}

/// A property, resolved. The first fault of its kind, default, minimum or maximum, if any.
pub fn property(
    name: &str,
    written: &PropertyDefinition,
    settled: &SettledProperty,
    home: Home,
    standard: bool,
    path: &[String],
) -> Result<Property, Fault> {
    let shared = |name: &str| standard::shared(name).cloned();
    let at = |step: &str| path.iter().cloned().chain([step.to_owned()]).collect::<Vec<_>>();
    let Some(kind) = kind(written, None, &settled.values, &shared) else {
        return Err(Fault::bad(at("kind"), format!("There is no kind `{}`.", written.kind)));
    };
    let value = |json: &Option<serde_json::Value>, kind: &Kind, step: &str| match json {
        Some(json) => accept::accept(kind, json, &at(step)).map(Some),
        None => Ok(None),
    };
    // bounds of money are bounds of its amount
    let bound = if kind.item() == &Kind::Money {
        Kind::Decimal
    } else {
        kind.item().clone()
    };
    let validation = Validation {
        min: value(&written.min, &bound, "min")?,
        max: value(&written.max, &bound, "max")?,
        min_length: written.min_length,
        max_length: written.max_length,
        pattern: written.pattern.clone(),
        // a name that is none was refused when the klass was defined
        format: written.format.as_deref().and_then(Format::named),
    };
    let mut it = Property {
        name: name.to_owned(),
        legal: settled.legal.clone(),
        aliases: settled.aliases.clone(),
        column: settled.column.clone(),
        home,
        kind,
        required: written.required,
        unique: written.unique,
        indexed: written.indexed || written.unique,
        searchable: written.searchable,
        sensitive: written.sensitive,
        default: None,
        display_name: written.display_name.clone(),
        description: written.description.clone(),
        deprecated: written.deprecated.clone(),
        validation,
        writable: match written.writable {
            WritableDefinition::Always => Writable::Always,
            WritableDefinition::OnCreate => Writable::OnCreate,
            WritableDefinition::Never => Writable::Never,
        },
        system: false,
        standard,
    };
    if let Some(json) = &written.default {
        it.default = Some(it.accept(json, &at("default"))?);
    }
    Ok(it)
}

/// The kind that a property says; `None` when there is none of that name. `type_name`: the name of a shared type that is being made.
/// `values`: legal names of an enum's values that were made before.
pub fn kind(
    written: &PropertyDefinition,
    type_name: Option<&str>,
    values: &IndexMap<String, String>,
    shared: &dyn Fn(&str) -> Option<Kind>,
) -> Option<Kind> {
    let type_name = type_name.map(str::to_owned).or_else(|| written.type_name.clone());
    let item = match written.kind.as_str() {
        "enum" => enum_kind(type_name, &written.values, values),
        "tree" => Kind::Tree {
            paths: tree_paths(&written.paths),
        },
        "object" => {
            let parts = written.parts.iter().map(|(name, part)| {
                let item = match part.kind.as_str() {
                    "enum" => enum_kind(None, &part.values, &IndexMap::new()),
                    other => scalar(other, part.big).or_else(|| shared(other))?,
                };
                Some(Part {
                    name: name.clone(),
                    kind: if part.list { Kind::List(Box::new(item)) } else { item },
                    required: part.required,
                    description: part.description.clone(),
                })
            });
            Kind::Object(ObjectKind {
                type_name,
                parts: parts.collect::<Option<_>>()?,
            })
        }
        other => scalar(other, written.big).or_else(|| shared(other))?,
    };
    Some(if written.list { Kind::List(Box::new(item)) } else { item })
}

/// The kinds that need no more than a name.
pub const SCALARS: &[&str] = &[
    "string", "text", "integer", "decimal", "boolean", "date", "datetime", "url", "email", "phone", "money", "json",
];

fn scalar(name: &str, big: bool) -> Option<Kind> {
    Some(match name {
        "string" => Kind::String,
        "text" => Kind::Text,
        "integer" => Kind::Integer { big },
        "decimal" => Kind::Decimal,
        "boolean" => Kind::Boolean,
        "date" => Kind::Date,
        "datetime" => Kind::DateTime,
        "url" => Kind::Url,
        "email" => Kind::Email,
        "phone" => Kind::Phone,
        "money" => Kind::Money,
        "json" => Kind::Json,
        _ => return None,
    })
}

fn enum_kind(type_name: Option<String>, values: &[EnumValueDefinition], legal: &IndexMap<String, String>) -> Kind {
    let value = |v: &EnumValueDefinition| EnumValue {
        value: v.value.clone(),
        legal: v
            .name
            .clone()
            .or_else(|| legal.get(&v.value).cloned())
            .or_else(|| super::name::fold_enum(&v.value))
            .unwrap_or_default(),
        description: v.description.clone(),
        deprecated: v.deprecated.clone(),
    };
    Kind::Enum(EnumKind {
        type_name,
        values: values.iter().map(value).collect(),
    })
}

/// The paths with every inner one, each parent before its children, in the order in which they were written.
pub fn tree_paths(leaves: &[String]) -> Vec<String> {
    let mut out: indexmap::IndexSet<String> = indexmap::IndexSet::new();
    for leaf in leaves {
        let steps: Vec<&str> = leaf.split('/').map(str::trim).collect();
        for n in 1..=steps.len() {
            out.insert(steps[..n].join("/"));
        }
    }
    out.into_iter().collect()
}

fn relationship(
    source: &Source<'_>,
    name: &str,
    written: &RelationshipDefinition,
    settled: &SettledRelationship,
    schema: &str,
    klasses: &[Klass],
    faults: &mut Vec<Fault>,
) -> (Arc<Relationship>, Vec<End>) {
    let declaring = &source.stored.written.name;
    let flipped = settle::is_flipped(written);
    let path = ["klasses", declaring, "relationships", name].map(str::to_owned);
    let mut link_properties = Vec::new();
    for (name, it) in &written.properties {
        let path: Vec<String> = path.iter().cloned().chain(["properties".to_owned(), name.clone()]).collect();
        if let Some(settled) = settled.properties.get(name) {
            match property(name, it, settled, Home::Table, source.standard, &path) {
                Ok(it) => link_properties.push(Arc::new(it)),
                Err(fault) => faults.push(fault),
            }
        }
    }
    // the klass whose table holds the column, what it points to, and how one and the other end are called
    let holder = if flipped { written.to[0].clone() } else { declaring.clone() };
    let open = settle::is_open(written);
    let to = if open {
        klasses.iter().filter(|k| !k.standard).map(|k| k.name.clone()).collect()
    } else if flipped {
        vec![declaring.clone()]
    } else {
        written.to.clone()
    };
    let holder_is_standard = klasses.iter().any(|k| k.name == holder && k.standard);
    let home = if holder_is_standard && !source.standard {
        Home::Extension
    } else {
        Home::Table
    };
    let link = if settle::needs_table(written) {
        Link::Table {
            table: Table {
                schema: (!source.standard).then(|| schema.to_owned()),
                name: settled.table.clone(),
                shared: source.standard,
            },
        }
    } else {
        Link::Column {
            klass_column: (open || to.len() > 1).then(|| format!("{}_klass", settled.column.trim_end_matches("_id"))),
            column: settled.column.clone(),
            home,
        }
    };
    let (cardinality, inverse_cardinality) = if flipped {
        (Cardinality::One, Cardinality::Many)
    } else {
        (written.kind, written.inverse_kind)
    };
    let made = Arc::new(Relationship {
        klass: holder.clone(),
        name: if flipped { settled.inverse.clone() } else { name.to_owned() },
        to: to.clone(),
        open,
        cardinality,
        inverse_cardinality,
        required: written.required,
        link,
        properties: link_properties,
        on_delete: written.on_delete,
        description: if flipped {
            written.inverse_description.clone()
        } else {
            written.description.clone()
        },
        standard: source.standard,
    });
    // what the author's own end and the other are called, whichever holds the column
    let mine = (&settled.legal, &settled.aliases, &written.description);
    let other = (&settled.inverse, &settled.inverse_aliases, &written.inverse_description);
    let (from, back) = if flipped { (other, mine) } else { (mine, other) };
    let end =
        |(legal, aliases, description): (&String, &Vec<super::property::Alias>, &Option<String>), side, klass: &String, to, cardinality| {
            End {
                legal: legal.clone(),
                aliases: aliases.clone(),
                relationship: made.clone(),
                side,
                klass: klass.clone(),
                to,
                cardinality,
                description: description.clone(),
                deprecated: written.deprecated.clone(),
            }
        };
    let mut ends = vec![end(from, Side::From, &holder, to.clone(), cardinality)];
    for far in &to {
        let mut end = end(back, Side::To, far, vec![holder.clone()], inverse_cardinality);
        if open && let Some(klass) = klasses.iter().find(|k| k.name == *far) {
            end.legal = free_end(klass, &end.legal, &settled.legal);
        }
        ends.push(end);
    }
    (made, ends)
}

/// What the other end of a relationship that leads to every klass is called on one of them: `notes`, or `notesAbout` where the klass
/// has something called `notes` itself.
fn free_end(klass: &Klass, inverse: &str, relationship: &str) -> String {
    let taken = |name: &str| klass.property(name).is_some() || klass.end(name).is_some();
    if !taken(inverse) {
        return inverse.to_owned();
    }
    let mut tail = relationship.to_owned();
    if let Some(head) = tail.get_mut(..1) {
        head.make_ascii_uppercase();
    }
    super::name::free_name(&format!("{inverse}{tail}"), taken)
}

/// Through which column an object belongs to a customer: the to-one relationship to the klass `customer` that is called so, or the only one.
/// Columns of extension tables do not count: they would move an object to another stream for an org's addition.
fn customer_link(klass: &Klass) -> CustomerLink {
    if klass.standard && klass.name == "customer" {
        return CustomerLink::Itself;
    }
    let candidates: Vec<_> = klass
        .ends
        .iter()
        .filter(|e| {
            e.side == Side::From
                && e.to == ["customer"]
                && matches!(
                    e.relationship.link,
                    Link::Column {
                        home: Home::Table,
                        klass_column: None,
                        ..
                    }
                )
        })
        .collect();
    match candidates
        .iter()
        .find(|e| e.legal == "customer")
        .or(if candidates.len() == 1 { candidates.first() } else { None })
    {
        Some(end) => CustomerLink::Through(end.legal.clone()),
        None => CustomerLink::None,
    }
}
