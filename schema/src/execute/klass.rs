//! Mutations of klasses: from their inputs to changes of definitions, and what they would change or have changed, as a payload.

use std::sync::{Arc, Mutex, PoisonError};

use klio_entities::klass::change::{KlassChange, Patch};
use klio_entities::klass::diff;
use klio_entities::klass::{Fault, Faults, Registry, Role, read};
use klio_entities::store::StoreError;
use klio_entities::store::klasses::ChangeOptions;
use serde_json::{Value as Json, json};

use super::definition;
use super::mutate::{Failure, Mutation, errors};
use super::record::{Cell, Record};
use crate::types::{self, model::Write};

impl Mutation<'_> {
    /// `defineKlass`, `changeKlass`, `disableKlass`, `enableKlass`.
    pub(super) async fn klass(&self, write: &Write) -> Result<Cell, Failure> {
        if let Some(fault) = self.forbidden(Role::can_define, "define klasses") {
            return Ok(refused(vec![fault]));
        }
        let (mut faults, change) = self.change(write);
        let Some((name, change)) = change else { return Ok(refused(faults)) };
        let flag = |name: &str| self.arguments().given(name).and_then(|v| v.as_bool()).unwrap_or(false);
        let made = Mutex::new(None);
        let check = |registry: &Registry| match types::build(&Arc::new(registry.clone())) {
            Ok(types) => {
                *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(types);
                Vec::new()
            }
            Err(Faults(faults)) => faults,
        };
        let options = ChangeOptions {
            // What is at fault already is tried on paper alone, for whatever else is wrong with it.
            dry_run: flag("dryRun") || !faults.is_empty(),
            force: flag("force"),
            extra_check: Some(&check),
        };
        match self.store.change_klasses(self.actor, vec![change], options).await {
            Ok(report) if !faults.is_empty() => {
                faults.extend(report.faults);
                Ok(refused(faults))
            }
            Ok(report) => {
                // (Where there was nothing to do, the version stays, and what was checked is no version of the org's.)
                if report.applied
                    && let Some(types) = made.into_inner().unwrap_or_else(PoisonError::into_inner)
                    && types.registry.version == report.registry.version
                {
                    self.catalog.offer(self.actor.org, types);
                }
                let registry = report.registry.clone();
                let klass = registry
                    .klass(&name)
                    .map_or(Cell::NULL, |klass| Cell::Record(Record::Klass(registry.clone(), klass.clone())));
                let fields = vec![
                    ("klass", klass),
                    ("changes", Cell::List(report.changes.iter().map(note).collect())),
                    ("applied", report.applied.into()),
                    ("version", Cell::Leaf(json!(report.registry.version))),
                    ("cursor", Cell::optional(&report.cursor)),
                    ("errors", errors(report.faults, None)),
                ];
                Ok(Cell::Record(Record::Made("KlassPayload".into(), fields)))
            }
            Err(StoreError::Faults(more)) => {
                faults.extend(more.0);
                Ok(refused(faults))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// What is wrong with the form of the input; and, if it can be read, the klass's name and what is wished for it.
    fn change(&self, write: &Write) -> (Vec<Fault>, Option<(String, KlassChange)>) {
        let arguments = self.arguments();
        let json = |argument: &str| arguments.get(argument).map_or(Json::Null, |input| input.to_json());
        let name = || arguments.given("name").and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        match write {
            Write::DefineKlass => {
                let input = json("input");
                let mut faults = doubles(&input, "input");
                match read::from_json(&definition::from_input(&input)) {
                    Ok(it) => (faults, Some((it.name.clone(), KlassChange::Define(it)))),
                    Err(Faults(more)) => {
                        faults.extend(more);
                        (faults, None)
                    }
                }
            }
            Write::ChangeKlass => {
                let set = json("set");
                (doubles(&set, "set"), Some((name(), KlassChange::Patch(patch(&name(), &set)))))
            }
            Write::DisableKlass => (Vec::new(), Some((name(), KlassChange::Disable(name())))),
            _ => (Vec::new(), Some((name(), KlassChange::Enable(name())))),
        }
    }
}

fn doubles(input: &Json, argument: &str) -> Vec<Fault> {
    definition::doubles(input)
        .into_iter()
        .map(|mut path| {
            let message = format!("`{}` is given twice.", path.last().map_or("", String::as_str));
            path.insert(0, argument.to_owned());
            Fault::bad(path, message).remedy("Give it once.")
        })
        .collect()
}

fn note(change: &diff::Change) -> Cell {
    let class = match change.class {
        diff::Class::Safe => "SAFE",
        diff::Class::Dangerous => "DANGEROUS",
        diff::Class::Breaking => "BREAKING",
    };
    let fields = vec![
        ("path", Cell::List(change.path.iter().map(Cell::text).collect())),
        ("class", Cell::text(class)),
        ("message", Cell::text(&change.message)),
    ];
    Cell::Record(Record::Made("KlassChangeNote".into(), fields))
}

fn refused(faults: Vec<Fault>) -> Cell {
    let fields = vec![
        ("changes", Cell::List(Vec::new())),
        ("applied", false.into()),
        ("errors", errors(faults, None)),
    ];
    Cell::Record(Record::Made("KlassPayload".into(), fields))
}

/// A `KlassPatch` as the store takes it: what is set (null clears), and what is removed.
pub fn patch(klass: &str, input: &Json) -> Patch {
    let mut set = match definition::from_input(input) {
        Json::Object(set) => set,
        _ => serde_json::Map::new(),
    };
    let given = input.as_object();
    for (name, value) in given.into_iter().flatten() {
        if value.is_null() && !name.starts_with("remove") {
            set.insert(name.clone(), Json::Null);
        }
    }
    let mut names = |list: &str| match set.shift_remove(list) {
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let remove_properties = names("removeProperties");
    let remove_relationships = names("removeRelationships");
    Patch {
        klass: klass.to_owned(),
        set,
        remove_properties,
        remove_relationships,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_keeps_nulls_and_takes_out_removals() {
        let it = patch(
            "order",
            &json!({
                "icon": null, "title": "{a}", "removeProperties": ["c"], "removeRelationships": null,
                "properties": [{"name": "d", "kind": "integer", "description": null}],
            }),
        );
        assert_eq!(
            Json::Object(it.set),
            json!({"title": "{a}", "properties": {"d": {"kind": "integer"}}, "icon": null})
        );
        assert_eq!(it.remove_properties, ["c"]);
        assert!(it.remove_relationships.is_empty());
    }
}
