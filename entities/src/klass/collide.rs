//! Names that meet: two things of a klass, or two klasses, that would have one name in the schema. Both are named.

use std::collections::HashMap;

use super::definition::*;
use super::{Fault, settle, standard, system};

/// Names of the root fields and types that every schema has.
const RESERVED_FIELDS: &[&str] = &["node", "nodes", "object", "objects", "klass", "klasses", "viewer", "timeline"];
const RESERVED_TYPES: &[&str] = &[
    "Query",
    "Mutation",
    "Subscription",
    "Node",
    "Object",
    "KObject",
    "Klass",
    "Actor",
    "Viewer",
    "Money",
    "Cursor",
    "PageInfo",
    "DateTime",
    "Date",
    "Decimal",
    "BigInt",
    "URL",
    "EmailAddress",
    "PhoneNumber",
    "JSON",
    "String",
    "Int",
    "Float",
    "Boolean",
    "ID",
    "UserError",
    "Timeline",
    "TimelineEntry",
    "TimelineConnection",
    "TimelineEdge",
    "TimelineChange",
    "KlassProperty",
    "KlassRelationship",
    "KlassPayload",
    "KlassChange",
];

/// Where a name comes from.
struct Owner {
    /// `the property "x"`.
    what: String,
    path: Vec<String>,
    /// Written or stored by the org, so that it can be renamed.
    own: bool,
}

/// All names that would meet if `written` took its place among `previous`.
pub fn collisions(previous: &[Stored], written: &[Definition]) -> Vec<Fault> {
    // names as they would be settled; those that fold to nothing come out empty and are passed over
    let org = settle::settle(standard::standard(), previous, written.to_vec());
    let mut faults = Vec::new();
    klass_names(&org, &mut faults);
    type_names(&org, &mut faults);
    for klass in standard::standard().iter().chain(&org) {
        let is_standard = standard::definition(&klass.written.name).is_some();
        let is_addition = is_standard && org.iter().any(|s| std::ptr::eq(s, klass));
        if !is_addition {
            field_names(&klass.written.name, &org, &mut faults);
        }
    }
    faults
}

fn klass_names(org: &[Stored], faults: &mut Vec<Fault>) {
    let mut fields: HashMap<&str, &str> = HashMap::new();
    let mut types: HashMap<&str, &str> = HashMap::new();
    let own = org.iter().filter(|s| standard::definition(&s.written.name).is_none());
    for stored in standard::standard().iter().chain(own) {
        let name = stored.written.name.as_str();
        let legal = &stored.settled.legal;
        for field in [&legal.field, &legal.plural] {
            let path = ["klasses", name];
            if field.is_empty() {
                continue;
            }
            if RESERVED_FIELDS.contains(&field.as_str()) {
                faults.push(
                    Fault::bad(path, format!("`{field}` is a field that every schema has.")).remedy("Choose another name or plural."),
                );
            } else if let Some(other) = fields.insert(field, name)
                && other != name
            {
                let message = format!("The klasses `{other}` and `{name}` would both have the field `{field}`.");
                faults.push(Fault::bad(path, message).remedy("Choose another name or plural for one of them."));
            }
        }
        if legal.type_name.is_empty() {
            continue;
        }
        let path = ["klasses", name];
        let shared = standard::shared(&legal.type_name).is_some();
        if shared || RESERVED_TYPES.contains(&legal.type_name.as_str()) {
            let message = format!("`{}` is a type that every schema has.", legal.type_name);
            faults.push(Fault::bad(path, message).remedy("Choose another name."));
        } else if let Some(other) = types.insert(&legal.type_name, name) {
            let message = format!("The klasses `{other}` and `{name}` would both be the type `{}`.", legal.type_name);
            faults.push(Fault::bad(path, message).remedy("Rename one of them."));
        }
    }
}

/// Types that properties name: equal names must mean equal types, and none may be a klass's.
fn type_names(org: &[Stored], faults: &mut Vec<Fault>) {
    let klasses: HashMap<&str, &str> = standard::standard()
        .iter()
        .chain(org)
        .map(|s| (s.settled.legal.type_name.as_str(), s.written.name.as_str()))
        .collect();
    let mut named: HashMap<&str, (&PropertyDefinition, String)> = HashMap::new();
    for stored in org {
        let links = stored
            .written
            .relationships
            .iter()
            .flat_map(|(r, it)| it.properties.iter().map(move |(n, p)| (Some(r), n, p)));
        for (link, name, property) in stored.written.properties.iter().map(|(n, p)| (None, n, p)).chain(links) {
            let Some(type_name) = &property.type_name else { continue };
            let mut path = vec!["klasses".to_owned(), stored.written.name.clone()];
            if let Some(link) = link {
                path.extend(["relationships".to_owned(), link.clone()]);
            }
            path.extend(["properties".to_owned(), name.clone(), "type".to_owned()]);
            if let Some(klass) = klasses.get(type_name.as_str()) {
                let message = format!("`{type_name}` is the type of the klass `{klass}`.");
                faults.push(Fault::bad(path, message).remedy("Choose another name."));
                continue;
            }
            if RESERVED_TYPES.contains(&type_name.as_str()) {
                faults.push(Fault::bad(path, format!("`{type_name}` is a type that every schema has.")).remedy("Choose another name."));
                continue;
            }
            let here = format!("`{}.{name}`", stored.written.name);
            match named.get(type_name.as_str()) {
                Some((other, there)) if other.kind != property.kind || other.values != property.values || other.parts != property.parts => {
                    let message = format!("{there} and {here} are both of the type `{type_name}`, but not alike.");
                    faults.push(Fault::bad(path, message).remedy("Give both the same values or parts, or one of them another type."));
                }
                Some(_) => {}
                None => {
                    named.insert(type_name, (property, here));
                }
            }
        }
    }
}

/// The fields of one klass: system properties, properties, relationships, the other ends of relationships, old names.
fn field_names(klass: &str, org: &[Stored], faults: &mut Vec<Fault>) {
    let mut taken: HashMap<String, Owner> = HashMap::new();
    let mut claim = |legal: &str, owner: Owner| {
        if legal.is_empty() {
            return;
        }
        let Some(first) = taken.get(legal) else {
            taken.insert(legal.to_owned(), owner);
            return;
        };
        // of two, the one that can be renamed is told
        let (told, other) = if owner.own { (&owner, first) } else { (first, &owner) };
        if told.own {
            let message = format!(
                "{} and {} would both be the field `{legal}` of `{klass}`.",
                capital(&other.what),
                told.what
            );
            faults.push(Fault::bad(told.path.clone(), message).remedy("Choose another name."));
        }
    };
    let fixed = |what: String| Owner {
        what,
        path: Vec::new(),
        own: false,
    };
    for name in system::NAMES {
        claim(name, fixed(format!("the system property `{name}`")));
    }
    for name in system::GENERATED {
        claim(name, fixed(format!("the generated field `{name}`")));
    }
    let sources = || standard::standard().iter().map(|s| (s, false)).chain(org.iter().map(|s| (s, true)));
    for (stored, own) in sources().filter(|(s, _)| s.written.name == klass) {
        for (name, settled) in &stored.settled.properties {
            let path = ["klasses", klass, "properties", name].map(str::to_owned).to_vec();
            let standard = if own { "" } else { "standard " };
            claim(
                &settled.legal,
                Owner {
                    what: format!("the {standard}property `{name}`"),
                    path,
                    own,
                },
            );
        }
    }
    for (stored, own) in sources() {
        let declaring = stored.written.name.as_str();
        for (name, relationship) in &stored.written.relationships {
            let Some(settled) = stored.settled.relationships.get(name) else {
                continue;
            };
            let path = ["klasses", declaring, "relationships", name].map(str::to_owned).to_vec();
            if declaring == klass {
                let owner = Owner {
                    what: format!("the {}relationship `{name}`", if own { "" } else { "standard " }),
                    path: path.clone(),
                    own,
                };
                claim(&settled.legal, owner);
            }
            if relationship.to.iter().any(|t| t == klass) {
                let owner = Owner {
                    what: format!("the other end of `{declaring}.{name}`"),
                    path: path.iter().cloned().chain(["inverse".to_owned()]).collect(),
                    own,
                };
                claim(&settled.inverse, owner);
            }
        }
    }
    // old names come last: they give way to nothing, but are told after what is in use
    for (stored, own) in sources() {
        let declaring = stored.written.name.as_str();
        let mut old = |name: &str, part: &str, aliases: &[super::property::Alias]| {
            for alias in aliases {
                let path = ["klasses", declaring, part, name, "formerly"].map(str::to_owned).to_vec();
                let what = format!("the old name of `{declaring}.{name}`");
                claim(&alias.legal, Owner { what, path, own });
            }
        };
        if declaring == klass {
            for (name, settled) in &stored.settled.properties {
                old(name, "properties", &settled.aliases);
            }
            for (name, settled) in &stored.settled.relationships {
                old(name, "relationships", &settled.aliases);
            }
        }
        for (name, relationship) in &stored.written.relationships {
            if let Some(settled) = stored.settled.relationships.get(name)
                && relationship.to.iter().any(|t| t == klass)
            {
                old(name, "relationships", &settled.inverse_aliases);
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
