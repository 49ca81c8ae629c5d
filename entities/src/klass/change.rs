//! A change of klasses, planned: what someone wishes, checked whole, made into what is stored, the registry of it, and what it changes.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::definition::{Definition, Status, Stored};
use super::diff::{self, Change};
use super::{Fault, Faults, OrgId, Registry, check, read, resolve, settle, standard};

/// One wish.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there are a few at a time, and each is read once")]
pub enum KlassChange {
    /// The klass becomes as defined: whatever the definition leaves out goes. For a standard klass: the org's additions become so.
    Define(Definition),
    /// Parts of a klass change; what is not said stays.
    Patch(Patch),
    /// The schema shows the klass again.
    Enable(String),
    /// The schema no longer shows the klass; its objects stay.
    Disable(String),
}

/// Changes to a klass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// Of this klass (a standard one too).
    pub klass: String,
    /// As in a definition. Properties and relationships that are given replace those of the same name, or the one named in `formerly`, or
    /// are added; a null takes a key away.
    pub set: Map<String, Json>,
    /// Properties to remove.
    pub remove_properties: Vec<String>,
    /// Relationships to remove.
    pub remove_relationships: Vec<String>,
}

/// What comes of a change.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The org's definitions from then on, all of them, in order.
    pub stored: Vec<Stored>,
    /// The registry from then on.
    pub registry: Registry,
    /// What differs; empty when nothing does.
    pub changes: Vec<Change>,
}

/// Plans changes for an org: `before` is its registry, `previous` the definitions from which that was made, `slug` the org's.
/// All faults of all changes at once.
pub fn plan(before: &Registry, slug: &str, previous: &[Stored], changes: &[KlassChange]) -> Result<Planned, Faults> {
    let mut faults = Vec::new();
    let mut written: IndexMap<String, Definition> = IndexMap::new();
    for change in changes {
        match change {
            KlassChange::Define(definition) => {
                if written.contains_key(&definition.name) {
                    faults.push(Fault::bad(
                        ["klasses", &definition.name],
                        "This klass is defined twice in one change.",
                    ));
                    continue;
                }
                written.insert(definition.name.clone(), definition.clone());
            }
            KlassChange::Patch(patch) => match patched(&current(&patch.klass, previous, &written, &mut faults), patch) {
                Ok(definition) => {
                    written.insert(patch.klass.clone(), definition);
                }
                Err(them) => faults.extend(them.0),
            },
            KlassChange::Enable(klass) | KlassChange::Disable(klass) => {
                if standard::definition(klass).is_some() {
                    let fault = Fault::bad(["klasses", klass], format!("`{klass}` is a standard klass: it is always enabled."));
                    faults.push(fault);
                    continue;
                }
                if let Some(mut definition) = current(klass, previous, &written, &mut faults) {
                    let on = matches!(change, KlassChange::Enable(_));
                    definition.status = if on { Status::Enabled } else { Status::Disabled };
                    written.insert(klass.clone(), definition);
                }
            }
        }
    }
    let written: Vec<Definition> = written.into_values().collect();
    faults.extend(check::check(previous, &written));
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let stored = settle::settle(standard::standard(), previous, written);
    let registry = resolve::resolve(before.org, slug, before.version + 1, &stored)?;
    let changes = diff::diff(before, &registry);
    Ok(Planned { stored, registry, changes })
}

/// The registry of an org that has no klasses of its own.
pub fn empty(org: OrgId, slug: &str) -> Result<Registry, Faults> {
    resolve::resolve(org, slug, 0, &[])
}

/// The definition as it is now, earlier changes of the same plan included; a fault when there is none.
fn current(klass: &str, previous: &[Stored], written: &IndexMap<String, Definition>, faults: &mut Vec<Fault>) -> Option<Definition> {
    if let Some(definition) = written.get(klass) {
        return Some(definition.clone());
    }
    if let Some(stored) = previous.iter().find(|s| s.written.name == klass) {
        return Some(stored.written.clone());
    }
    if standard::definition(klass).is_some() {
        return Some(Definition {
            name: klass.to_owned(),
            ..Default::default()
        });
    }
    let known = standard::standard().iter().chain(previous).map(|s| s.written.name.as_str());
    let fault = Fault::new(
        super::fault::Code::NotFound,
        ["klasses", klass],
        format!("There is no klass `{klass}`."),
    );
    faults.push(match super::name::nearest(klass, known) {
        Some(meant) => fault.remedy(format!("Did you mean `{meant}`?")),
        None => fault,
    });
    None
}

/// The definition with a patch applied. Without a definition (the fault is known already) there is nothing to do.
fn patched(current: &Option<Definition>, patch: &Patch) -> Result<Definition, Faults> {
    let Some(current) = current else { return Err(Faults(Vec::new())) };
    let mut faults = Vec::new();
    // reading the patch alone first finds the faults of its form, with paths as the author wrote them
    let mut alone = patch.set.clone();
    alone.insert("name".into(), Json::String(patch.klass.clone()));
    let given = read::from_json(&Json::Object(alone))?;
    let mut out = current.clone();
    macro_rules! take {
        ($($key:literal => $field:ident),*) => {
            $(if patch.set.contains_key($key) { out.$field = given.$field; })*
        };
    }
    take!(
        "plural" => plural, "title" => title, "displayName" => display_name, "description" => description, "icon" => icon,
        "color" => color, "timeline" => timeline, "views" => views, "status" => status
    );
    let path = |part: &str, name: &str| vec!["klasses".to_owned(), patch.klass.clone(), part.to_owned(), name.to_owned()];
    for name in &patch.remove_properties {
        if out.properties.shift_remove(name).is_none() {
            faults.push(missing("property", name, path("removeProperties", name), out.properties.keys()));
        }
    }
    for name in &patch.remove_relationships {
        if out.relationships.shift_remove(name).is_none() {
            faults.push(missing(
                "relationship",
                name,
                path("removeRelationships", name),
                out.relationships.keys(),
            ));
        }
    }
    for (name, property) in given.properties {
        let formerly = property.formerly.clone();
        place(&mut out.properties, name, property, formerly.as_deref().unwrap_or_default());
    }
    for (name, relationship) in given.relationships {
        let formerly = relationship.formerly.clone();
        place(&mut out.relationships, name, relationship, formerly.as_deref().unwrap_or_default());
    }
    if faults.is_empty() { Ok(out) } else { Err(Faults(faults)) }
}

fn missing<'a>(what: &str, name: &str, path: Vec<String>, known: impl Iterator<Item = &'a String>) -> Fault {
    let fault = Fault::new(super::fault::Code::NotFound, path, format!("There is no {what} `{name}`."));
    match super::name::nearest(name, known.map(String::as_str)) {
        Some(meant) => fault.remedy(format!("Did you mean `{meant}`?")),
        None => fault,
    }
}

/// Puts a thing where the one of its name, or of a former name, stood; at the end otherwise.
fn place<T>(map: &mut IndexMap<String, T>, name: String, it: T, formerly: &[String]) {
    let at = map
        .get_index_of(&name)
        .or_else(|| formerly.iter().find_map(|old| map.get_index_of(old)));
    match at {
        Some(i) if map.get_index(i).is_some_and(|(key, _)| *key == name) => {
            map.insert(name, it);
        }
        Some(i) => {
            map.shift_remove_index(i);
            map.shift_insert(i, name, it);
        }
        None => {
            map.insert(name, it);
        }
    }
}
