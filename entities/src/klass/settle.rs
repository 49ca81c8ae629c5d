//! What is made once: legal names, columns, tables, id prefixes. A property that is renamed keeps its column, and its old name
//! as an alias; one whose kind needs another storage gets a new column; nothing that was in use once is given out again.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::definition::*;
use super::property::Alias;
use super::registry::LegalNames;
use super::relationship::Cardinality;
use super::{name, resolve, standard, system};

/// The org's stored definitions after some were written: those in `written` replace those of the same name, others stay; new ones come last.
/// `standard` are the klasses that ship with the gateway (empty only when these themselves are settled). What was written must have
/// passed [`super::check`]; names that do not fold come out empty.
pub fn settle(standard: &[Stored], previous: &[Stored], written: Vec<Definition>) -> Vec<Stored> {
    let mut out = previous.to_vec();
    let mut fresh = Vec::new();
    // klasses and their properties first: a relationship may need a column on a klass that comes later
    for definition in written {
        let before = out.iter().position(|s| s.written.name == definition.name);
        let settled = klass(standard, &out, before.map(|i| &out[i]), &definition);
        let stored = Stored {
            written: definition,
            settled,
        };
        let at = match before {
            Some(i) => {
                let old = std::mem::replace(&mut out[i], stored);
                fresh.push((i, Some(old)));
                continue;
            }
            None => out.len(),
        };
        out.push(stored);
        fresh.push((at, None));
    }
    for (i, before) in fresh {
        relationships(standard, &mut out, i, before.as_ref());
    }
    out
}

fn klass(standard: &[Stored], org: &[Stored], before: Option<&Stored>, written: &Definition) -> Settled {
    let base = standard.iter().find(|s| s.written.name == written.name);
    let plural = written.plural.clone().unwrap_or_else(|| name::plural(&written.name));
    let legal = match (base, before) {
        (Some(base), _) => base.settled.legal.clone(),
        (None, before) => {
            let folded = name::fold_klass(&written.name, &plural).unwrap_or_else(|| LegalNames {
                type_name: String::new(),
                field: String::new(),
                plural: String::new(),
            });
            match before {
                // the name stays for good; the plural follows what is written
                Some(before) if before.written.plural == written.plural => before.settled.legal.clone(),
                Some(before) => LegalNames {
                    plural: folded.plural,
                    ..before.settled.legal.clone()
                },
                None => folded,
            }
        }
    };
    let all = || standard.iter().chain(org);
    let id_prefix = match (base, before) {
        (Some(base), _) => base.settled.id_prefix.clone(),
        (None, Some(before)) => before.settled.id_prefix.clone(),
        (None, None) => name::free_prefix(&name::id_prefix(&legal.field), |p| all().any(|s| s.settled.id_prefix == p)),
    };
    let table = match (base, before) {
        (Some(base), _) => extension(&base.settled.table),
        (None, Some(before)) => before.settled.table.clone(),
        (None, None) => {
            let taken = tables(standard, org);
            name::free_name(&name::snake(&legal.field, 48), |t| taken.contains(t))
        }
    };
    let mut retired = before.map(|b| b.settled.retired.clone()).unwrap_or_default();
    let mut taken = columns(base, before);
    let none = IndexMap::new();
    let (old_written, old_settled) = before.map_or((&none, None), |b| (&b.written.properties, Some(&b.settled.properties)));
    let properties = properties(&written.properties, old_written, old_settled, &mut taken, &mut retired);
    Settled {
        legal,
        id_prefix,
        table,
        properties,
        relationships: before.map(|b| b.settled.relationships.clone()).unwrap_or_default(),
        retired,
    }
}

/// The table of an org's additions to a standard klass.
pub fn extension(table: &str) -> String {
    format!("{table}_extension")
}

/// Every table name of the org that is in use or was.
fn tables(standard: &[Stored], org: &[Stored]) -> HashSet<String> {
    let mut taken: HashSet<String> = standard.iter().map(|s| extension(&s.settled.table)).collect();
    for stored in standard.iter().chain(org) {
        taken.insert(stored.settled.table.clone());
        taken.extend(stored.settled.retired.iter().cloned());
        taken.extend(
            stored
                .settled
                .relationships
                .values()
                .map(|r| r.table.clone())
                .filter(|t| !t.is_empty()),
        );
    }
    taken
}

/// The columns of a klass that are in use or were, system ones among them.
fn columns(base: Option<&Stored>, before: Option<&Stored>) -> HashSet<String> {
    let mut taken: HashSet<String> = system::COLUMNS.iter().map(|c| (*c).to_owned()).collect();
    for stored in base.into_iter().chain(before) {
        taken.extend(stored.settled.retired.iter().cloned());
        taken.extend(
            stored
                .settled
                .relationships
                .values()
                .map(|r| r.column.clone())
                .filter(|c| !c.is_empty()),
        );
        for property in stored.settled.properties.values() {
            taken.insert(property.column.clone());
        }
    }
    taken
}

/// A column that is free together with those that may stand beside it (`_currency`, `_klass`).
fn free_column(base: &str, taken: &mut HashSet<String>) -> String {
    let beside = ["_currency", "_klass"];
    let column = name::free_name(base, |c| {
        taken.contains(c)
            || beside
                .iter()
                .any(|b| taken.contains(&format!("{c}{b}")) || c.strip_suffix(b).is_some_and(|owner| taken.contains(owner)))
    });
    taken.insert(column.clone());
    column
}

fn properties(
    written: &IndexMap<String, PropertyDefinition>,
    old_written: &IndexMap<String, PropertyDefinition>,
    old_settled: Option<&IndexMap<String, SettledProperty>>,
    taken: &mut HashSet<String>,
    retired: &mut Vec<String>,
) -> IndexMap<String, SettledProperty> {
    let old = |name: &str| Some((old_written.get(name)?, old_settled?.get(name)?));
    let mut out = IndexMap::new();
    let mut kept: HashSet<String> = HashSet::new();
    for (name, property) in written {
        let legal = name::fold(name).unwrap_or_default();
        let formerly = property.formerly.as_deref().unwrap_or_default();
        let same = old(name).map(|o| (o, false));
        let renamed = || {
            formerly
                .iter()
                .filter(|n| !written.contains_key(*n))
                .find_map(|n| old(n))
                .map(|o| (o, true))
                .or_else(|| {
                    // another spelling of the same legal name is the same property
                    let spelled = old_settled?.iter().find(|(n, s)| s.legal == legal && !written.contains_key(*n))?;
                    old(spelled.0).map(|o| (o, true))
                })
        };
        let settled = match same.or_else(renamed) {
            Some(((was, before), renamed)) => {
                let legal = if renamed { legal } else { before.legal.clone() };
                let mut aliases = aliases(&legal, &before.legal, &before.aliases);
                if property.formerly.as_ref().is_some_and(Vec::is_empty) {
                    aliases.clear();
                }
                let column = if storage(was) == storage(property) {
                    before.column.clone()
                } else {
                    free_column(&name::column(&legal), taken)
                };
                kept.insert(before.column.clone());
                if column != before.column {
                    retire(&before.column, retired);
                }
                SettledProperty {
                    values: values(property, &before.values),
                    legal,
                    column,
                    aliases,
                }
            }
            None => SettledProperty {
                values: values(property, &IndexMap::new()),
                column: free_column(&name::column(&legal), taken),
                legal,
                aliases: Vec::new(),
            },
        };
        out.insert(name.clone(), settled);
    }
    for before in old_settled
        .into_iter()
        .flatten()
        .map(|(_, s)| s)
        .filter(|s| !kept.contains(&s.column))
    {
        retire(&before.column, retired);
    }
    out
}

fn retire(name: &str, retired: &mut Vec<String>) {
    if !retired.iter().any(|r| r == name) {
        retired.push(name.to_owned());
    }
}

/// The aliases after a rename from `old` to `new` (none when they are equal).
fn aliases(new: &str, old: &str, before: &[Alias]) -> Vec<Alias> {
    let mut out = Vec::new();
    if old != new {
        out.push(Alias {
            legal: old.to_owned(),
            reason: format!("Renamed to `{new}`."),
        });
    }
    out.extend(before.iter().filter(|a| a.legal != new && a.legal != old).cloned());
    out
}

fn values(property: &PropertyDefinition, before: &IndexMap<String, String>) -> IndexMap<String, String> {
    let legal = |v: &EnumValueDefinition| {
        // what the author names wins; then what was made once; then the folded value
        v.name
            .clone()
            .or_else(|| before.get(&v.value).cloned())
            .or_else(|| name::fold_enum(&v.value))
            .unwrap_or_default()
    };
    property.values.iter().map(|v| (v.value.clone(), legal(v))).collect()
}

fn storage(property: &PropertyDefinition) -> Option<super::kind::Storage> {
    let shared = |name: &str| standard::shared(name).cloned();
    resolve::kind(property, None, &IndexMap::new(), &shared).map(|k| k.storage())
}

/// Whether the column of a relationship is on the far klass: "one order has many shipments, a shipment has one order" said on the order.
pub fn is_flipped(relationship: &RelationshipDefinition) -> bool {
    relationship.kind == Cardinality::Many
        && relationship.inverse_kind == Cardinality::One
        && relationship.to.len() == 1
        && relationship.properties.is_empty()
}

/// Leads to every klass that the org defines.
pub fn is_open(relationship: &RelationshipDefinition) -> bool {
    relationship.to == ["*"]
}

/// Whether the links need a table.
pub fn needs_table(relationship: &RelationshipDefinition) -> bool {
    relationship.kind == Cardinality::Many && !is_flipped(relationship)
}

fn relationships(standard: &[Stored], org: &mut [Stored], at: usize, before: Option<&Stored>) {
    let written = org[at].written.relationships.clone();
    let name_of_klass = org[at].written.name.clone();
    let legal_of_klass = org[at].settled.legal.clone();
    let old = |n: &str| before.and_then(|b| Some((b.written.relationships.get(n)?, b.settled.relationships.get(n)?)));
    let mut out: IndexMap<String, SettledRelationship> = IndexMap::new();
    let mut retired = org[at].settled.retired.clone();
    let mut kept = HashSet::new();
    let mut taken_tables = tables(standard, org);
    for (name, relationship) in &written {
        let legal = name::fold(name).unwrap_or_default();
        let formerly = relationship.formerly.as_deref().unwrap_or_default();
        let renamed = || {
            formerly
                .iter()
                .filter(|n| !written.contains_key(*n))
                .find_map(|n| old(n))
                .map(|o| (o, true))
        };
        let found = old(name).map(|o| (o, false)).or_else(renamed);
        let inverse = relationship
            .inverse
            .as_deref()
            .and_then(name::fold)
            .unwrap_or_else(|| match relationship.inverse_kind {
                Cardinality::Many => legal_of_klass.plural.clone(),
                Cardinality::One => legal_of_klass.field.clone(),
            });
        let mut it = SettledRelationship {
            legal,
            inverse,
            ..Default::default()
        };
        let mut same_storage = false;
        if let Some(((was, before), renamed)) = found {
            if !renamed {
                it.legal = before.legal.clone();
            }
            it.aliases = aliases(&it.legal, &before.legal, &before.aliases);
            it.inverse_aliases = aliases(&it.inverse, &before.inverse, &before.inverse_aliases);
            if relationship.formerly.as_ref().is_some_and(Vec::is_empty) {
                it.aliases.clear();
                it.inverse_aliases.clear();
            }
            same_storage = is_flipped(was) == is_flipped(relationship)
                && needs_table(was) == needs_table(relationship)
                && (was.to == relationship.to || (was.to.len() > 1 && relationship.to.len() > 1));
            if same_storage {
                it.column = before.column.clone();
                it.table = before.table.clone();
                kept.extend([before.column.clone(), before.table.clone()]);
            }
            if needs_table(relationship) {
                let mut taken: HashSet<String> = system::LINK_COLUMNS.iter().map(|c| (*c).to_owned()).collect();
                let mut link_retired = Vec::new();
                let old = same_storage.then_some(&before.properties);
                it.properties = properties(&relationship.properties, &was.properties, old, &mut taken, &mut link_retired);
            }
        } else if needs_table(relationship) {
            let mut taken: HashSet<String> = system::LINK_COLUMNS.iter().map(|c| (*c).to_owned()).collect();
            it.properties = properties(&relationship.properties, &IndexMap::new(), None, &mut taken, &mut Vec::new());
        }
        if !same_storage {
            if needs_table(relationship) {
                let base = name::snake(
                    &format!("{}_{}", org[at].settled.table.trim_end_matches("_extension"), it.legal),
                    54,
                );
                it.table = name::free_name(&base, |t| taken_tables.contains(t));
                taken_tables.insert(it.table.clone());
            } else {
                let (holder, base) = if is_flipped(relationship) {
                    (relationship.to[0].as_str(), &it.inverse)
                } else {
                    (name_of_klass.as_str(), &it.legal)
                };
                let mut taken = columns_of(standard, org, holder);
                // the ones of this very change are not stored yet
                let here = |n: &String| {
                    written
                        .get(n)
                        .is_some_and(|r| (if is_flipped(r) { r.to[0].as_str() } else { &name_of_klass }) == holder)
                };
                taken.extend(
                    out.iter()
                        .filter(|(n, _)| here(n))
                        .map(|(_, r): (_, &SettledRelationship)| r.column.clone()),
                );
                it.column = free_column(&format!("{}_id", name::snake(base, name::LONGEST_COLUMN - 3)), &mut taken);
            }
        }
        out.insert(name.clone(), it);
    }
    for before in before.into_iter().flat_map(|b| b.settled.relationships.values()) {
        for used in [&before.column, &before.table] {
            if !used.is_empty() && !kept.contains(used) {
                retire(used, &mut retired);
            }
        }
    }
    org[at].settled.relationships = out;
    org[at].settled.retired = retired;
}

/// The columns of a klass by name that are in use or were, those of relationships which others declare among them.
fn columns_of(standard: &[Stored], org: &[Stored], klass: &str) -> HashSet<String> {
    let base = standard.iter().find(|s| s.written.name == klass);
    let own = org.iter().find(|s| s.written.name == klass);
    let mut taken = columns(base, own);
    for stored in standard.iter().chain(org) {
        for (name, relationship) in &stored.written.relationships {
            if is_flipped(relationship)
                && relationship.to[0] == klass
                && let Some(settled) = stored.settled.relationships.get(name)
            {
                taken.insert(settled.column.clone());
            }
        }
        // columns that a relationship of another klass once had here are retired there
        if stored.written.relationships.values().any(|r| r.to.iter().any(|t| t == klass)) {
            taken.extend(stored.settled.retired.iter().cloned());
        }
    }
    taken
}
