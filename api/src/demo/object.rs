//! Objects by the names of their parts, made into drafts: what the demo writes it writes as anyone else would.

use std::sync::Arc;

use klio_entities::klass::draft::{LinkChange, Object};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::Key;
use klio_entities::klass::{Draft, Fault, Klass, Registry, Value};
use serde_json::Value as Json;

/// An object under way. What its klass does not have becomes a fault, told when it is finished.
pub struct Making<'r> {
    registry: &'r Registry,
    klass: Option<Arc<Klass>>,
    external_id: String,
    values: Vec<(Arc<klio_entities::klass::Property>, Value)>,
    links: Vec<(Arc<klio_entities::klass::End>, Vec<LinkChange>)>,
    faults: Vec<Fault>,
}

/// Begins an object of a klass, by its external id.
pub fn object<'r>(registry: &'r Registry, klass: &str, external_id: impl Into<String>) -> Making<'r> {
    let found = registry.klass(klass).cloned();
    let faults = match &found {
        Some(_) => Vec::new(),
        None => vec![Fault::bad([klass], "there is no such klass")],
    };
    Making {
        registry,
        klass: found,
        external_id: external_id.into(),
        values: Vec::new(),
        links: Vec::new(),
        faults,
    }
}

impl Making<'_> {
    /// Gives a property its value.
    pub fn with(mut self, property: &str, value: impl Into<Json>) -> Self {
        let Some(klass) = &self.klass else { return self };
        match klass.property(property) {
            None => self
                .faults
                .push(Fault::bad([klass.name.as_str(), property], "there is no such property")),
            Some(found) => match found.accept(&value.into(), &[klass.name.clone(), property.to_owned()]) {
                Ok(value) => self.values.push((found.clone(), value)),
                Err(fault) => self.faults.push(fault),
            },
        }
        self
    }

    /// Ties it to an object of a klass, by external id.
    pub fn tied(self, end: &str, klass: &str, external_id: &str) -> Self {
        self.tied_with(end, klass, external_id, &[])
    }

    /// Ties it, with values of the link itself.
    pub fn tied_with(mut self, end: &str, to: &str, external_id: &str, link: &[(&str, Json)]) -> Self {
        let Some(klass) = &self.klass else { return self };
        let place = || vec![klass.name.clone(), end.to_owned()];
        let (Some(found), Some(far)) = (klass.end(end).cloned(), self.registry.klass(to).cloned()) else {
            self.faults.push(Fault::bad(place(), "there is no such relationship"));
            return self;
        };
        let Some(key) = external_key(&far, external_id) else { return self };
        let mut values = Vec::new();
        for (name, json) in link {
            let Some(property) = found.relationship.properties.iter().find(|p| p.legal == *name) else {
                self.faults.push(Fault::bad(place(), format!("the link has no property `{name}`")));
                continue;
            };
            match property.accept(json, &place()) {
                Ok(value) => values.push((property.clone(), value)),
                Err(fault) => self.faults.push(fault),
            }
        }
        let change = LinkChange::Connect {
            klass: far,
            key,
            link: values,
        };
        match self.links.iter_mut().find(|(known, _)| known.legal == found.legal) {
            Some((_, changes)) => changes.push(change),
            None => self.links.push((found, vec![change])),
        }
        self
    }

    /// The draft that makes it so, and what could not be said. Without the klass there is no draft.
    pub fn draft(self) -> (Option<Draft>, Vec<Fault>) {
        let draft = self.klass.and_then(|klass| {
            let key = external_key(&klass, &self.external_id)?;
            let object = Object {
                klass,
                values: self.values,
                links: self.links,
                path: Vec::new(),
            };
            Some(Draft::Upsert {
                key,
                create: object.clone(),
                update: Object {
                    // What can be given only when an object is made.
                    values: object
                        .values
                        .iter()
                        .filter(|(p, _)| p.writable == klio_entities::klass::property::Writable::Always)
                        .cloned()
                        .collect(),
                    ..object
                },
            })
        });
        (draft, self.faults)
    }
}

fn external_key(klass: &Klass, external_id: &str) -> Option<Key> {
    let property = klass.property("externalId")?.clone();
    Some(Key::Unique(property, Operand::Const(Value::String(external_id.to_owned()))))
}
