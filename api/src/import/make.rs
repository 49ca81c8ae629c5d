//! Records into drafts, by a mapping.

use std::sync::Arc;

use klio_entities::klass::draft::{LinkChange, Object};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::property::Writable;
use klio_entities::klass::query::Key;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{Draft, End, Kind, Klass, Property, Value, accept};
use serde_json::Value as Json;

use super::expression::{Expression, plain};
use super::mapping::{By, Level, LinkRule, Mapping, Target};
use super::path::{Path, Scope};
use super::source::Record;

/// An object that a record wishes to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its place among those of its record.
    pub ordinal: usize,
    /// Where in the record it stands: `items[1]`; empty for the record itself.
    pub place: String,
    /// The object, with its links.
    pub object: Object,
    /// Its key.
    pub key: Key,
    /// Ends without which it cannot be (its own required ones, and the one to its parent).
    pub required: Vec<String>,
}

/// Something wrong with a value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The object's place among those of its record.
    pub ordinal: usize,
    /// Where in the record: `items[1]`.
    pub place: String,
    /// Of this klass.
    pub klass: String,
    /// Which property or relationship.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// All that a record wishes.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Parents before their children.
    pub wishes: Vec<Wish>,
    /// What is wrong; objects with flaws are not among the wishes, nor is what stands below them.
    pub flaws: Vec<Flaw>,
    /// The klasses of the objects that are lost: of those that have flaws, and of what stands below them.
    pub lost: Vec<String>,
}

/// Makes the wishes of a record.
pub fn make(mapping: &Mapping, record: &Record) -> Wishes {
    let mut wishes = Wishes::default();
    let scope = Scope {
        record: &record.json,
        key: record.key.as_deref(),
        index: record.index,
        line: record.line,
        parent: None,
    };
    level(&mapping.root, &scope, None, String::new(), &mut wishes, &mut 0);
    wishes
}

/// The parent's klass and key.
type Above = (Arc<Klass>, Key);

fn level(level_: &Level, scope: &Scope<'_>, above: Option<&Above>, place: String, out: &mut Wishes, next: &mut usize) {
    let ordinal = *next;
    *next += 1;
    let mut flaws = Vec::new();
    let mut flaw = |path: &str, reason: String| {
        flaws.push(Flaw {
            ordinal,
            place: place.clone(),
            klass: level_.klass.name.clone(),
            path: path.to_owned(),
            reason,
        });
    };
    let mut values = Vec::with_capacity(level_.values.len());
    let mut key = None;
    for (property, expression) in &level_.values {
        let made = expression.make(scope).and_then(|made| match made {
            None => Ok(None),
            Some(json) => {
                let json = fit(&property.kind, json);
                property.accept(&json, &[]).map(Some).map_err(|fault| fault.to_string())
            }
        });
        match made {
            Ok(None) => {}
            Ok(Some(value)) => {
                if Arc::ptr_eq(property, &level_.key) && !value.is_null() {
                    key = Some(Key::Unique(property.clone(), Operand::Const(value.clone())));
                }
                values.push((property.clone(), value));
            }
            Err(reason) => flaw(&property.legal, reason),
        }
    }
    if key.is_none() && flaws.is_empty() {
        let mut flaw = |path: &str, reason: String| {
            flaws.push(Flaw {
                ordinal,
                place: place.clone(),
                klass: level_.klass.name.clone(),
                path: path.to_owned(),
                reason,
            });
        };
        flaw(&level_.key.legal, "the key has no value here".into());
    }
    let mut links: Vec<(Arc<End>, Vec<LinkChange>)> = Vec::with_capacity(level_.links.len());
    let mut required = Vec::new();
    for rule in &level_.links {
        let changes = match &rule.target {
            Target::Parent => {
                required.push(rule.end.legal.clone());
                above.map(|(klass, key)| vec![connect(klass, key.clone())]).ok_or_else(String::new)
            }
            Target::Known { each, from, by, values } => {
                if rule.is_required() {
                    required.push(rule.end.legal.clone());
                }
                match each {
                    None => tied(rule, from, by, values, scope),
                    Some(each) => tied_each(rule, each, from, by, values, scope),
                }
            }
        };
        match changes {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => links.push((rule.end.clone(), changes)),
            Err(reason) => flaws.push(Flaw {
                ordinal,
                place: place.clone(),
                klass: level_.klass.name.clone(),
                path: rule.end.legal.clone(),
                reason,
            }),
        }
    }
    let this = match (key, flaws.is_empty()) {
        (Some(key), true) => {
            out.wishes.push(Wish {
                ordinal,
                place: place.clone(),
                object: Object {
                    klass: level_.klass.clone(),
                    values,
                    links,
                    path: Vec::new(),
                },
                key: key.clone(),
                required,
            });
            Some((level_.klass.clone(), key))
        }
        _ => {
            out.flaws.append(&mut flaws);
            out.lost.push(level_.klass.name.clone());
            None
        }
    };
    for child in &level_.children {
        let Some(path) = &child.records else { continue };
        let found = match path.see(scope) {
            Some(json) => std::borrow::Cow::Borrowed(json),
            None => match path.get(scope) {
                Some(json) => std::borrow::Cow::Owned(json),
                None => continue,
            },
        };
        let step = |name: String| if place.is_empty() { name } else { format!("{place}.{name}") };
        let mut each = |record: &Json, key: Option<&str>, index: usize| {
            let scope = Scope {
                record,
                key,
                index: index as u64,
                line: scope.line,
                parent: Some(scope),
            };
            let place = match key {
                Some(key) => step(format!("{}[\"{key}\"]", path.text)),
                None => step(format!("{}[{index}]", path.text)),
            };
            match &this {
                Some(this) => level(child, &scope, Some(this), place, out, next),
                None => {
                    // Its parent is not to be had. Ordinals count on all the same, so that they never depend on what is wrong.
                    let mut lost = Wishes::default();
                    level(child, &scope, None, place, &mut lost, next);
                    out.lost.extend(lost.wishes.iter().map(|wish| wish.object.klass.name.clone()));
                    out.lost.extend(lost.lost);
                }
            }
        };
        match found.as_ref() {
            Json::Array(records) => records.iter().enumerate().for_each(|(i, record)| each(record, None, i)),
            Json::Object(records) => records.iter().enumerate().for_each(|(i, (key, record))| each(record, Some(key), i)),
            Json::Null => {}
            other => {
                out.lost.push(child.klass.name.clone());
                out.flaws.push(Flaw {
                    ordinal,
                    place: step(path.text.clone()),
                    klass: child.klass.name.clone(),
                    path: String::new(),
                    reason: format!("{other} is neither a list of records nor an object of them"),
                });
            }
        }
    }
}

fn connect(klass: &Arc<Klass>, key: Key) -> LinkChange {
    LinkChange::Connect {
        klass: klass.clone(),
        key,
        link: Vec::new(),
    }
}

/// The links that a record names, all with the same properties.
fn tied(
    rule: &LinkRule,
    from: &Path,
    by: &By,
    values: &[(Arc<Property>, Expression)],
    scope: &Scope<'_>,
) -> Result<Vec<LinkChange>, String> {
    let mut changes = match from.see(scope) {
        Some(json) => known(rule, by, json)?,
        None => match from.get(scope) {
            Some(json) => known(rule, by, &json)?,
            None => return Ok(Vec::new()),
        },
    };
    if values.is_empty() || changes.is_empty() {
        return Ok(changes);
    }
    let mut made = Vec::with_capacity(values.len());
    for (property, expression) in values {
        let Some(json) = expression.make(scope).map_err(|reason| format!("{}: {reason}", property.legal))? else {
            continue;
        };
        let json = fit(&property.kind, json);
        let value = property
            .accept(&json, &[])
            .map_err(|fault| format!("{}: {fault}", property.legal))?;
        made.push((property.clone(), value));
    }
    for change in &mut changes {
        if let LinkChange::Connect { link, .. } = change {
            link.clone_from(&made);
        }
    }
    Ok(changes)
}

/// The links that records within the record name, each with properties of its own. Of two to the same object the later one counts.
fn tied_each(
    rule: &LinkRule,
    each: &Path,
    from: &Path,
    by: &By,
    values: &[(Arc<Property>, Expression)],
    scope: &Scope<'_>,
) -> Result<Vec<LinkChange>, String> {
    let Some(found) = each.get(scope) else { return Ok(Vec::new()) };
    let mut changes: Vec<LinkChange> = Vec::new();
    let mut take = |record: &Json, key: Option<&str>, index: usize| -> Result<(), String> {
        let scope = Scope {
            record,
            key,
            index: index as u64,
            line: scope.line,
            parent: Some(scope),
        };
        for change in tied(rule, from, by, values, &scope).map_err(|reason| {
            format!(
                "{}[{}]: {reason}",
                each.text,
                key.map_or(index.to_string(), |key| format!("\"{key}\""))
            )
        })? {
            let same = |other: &LinkChange| match (other, &change) {
                (LinkChange::Connect { klass: a, key: x, .. }, LinkChange::Connect { klass: b, key: y, .. }) => a.name == b.name && x == y,
                _ => false,
            };
            changes.retain(|other| !same(other));
            changes.push(change);
        }
        Ok(())
    };
    match &found {
        Json::Array(records) => records.iter().enumerate().try_for_each(|(i, record)| take(record, None, i))?,
        Json::Object(records) => records
            .iter()
            .enumerate()
            .try_for_each(|(i, (key, record))| take(record, Some(key), i))?,
        Json::Null => {}
        other => return Err(format!("{other} is neither a list of records nor an object of them")),
    }
    Ok(changes)
}

/// The links to those that a value names.
fn known(rule: &LinkRule, by: &By, json: &Json) -> Result<Vec<LinkChange>, String> {
    let one = std::slice::from_ref(json);
    let names = match json {
        Json::Array(names) if rule.end.cardinality == Cardinality::Many => names.as_slice(),
        // An explicit null unties, where there is one to untie from.
        Json::Null if rule.end.cardinality == Cardinality::One && !rule.is_required() => {
            return Ok(vec![LinkChange::Disconnect { object: None }]);
        }
        _ => one,
    };
    let mut changes: Vec<LinkChange> = Vec::with_capacity(names.len());
    for name in names.iter().filter(|name| !name.is_null()) {
        let key = match by {
            By::Unique(property) => {
                let value = accept::accept(&property.kind, &fit(&property.kind, name.clone()), &[]).map_err(|fault| fault.message)?;
                Key::Unique(property.clone(), Operand::Const(value))
            }
            By::Contact(kind) => Key::Contact(*kind, Operand::Const(Value::String(plain(name)?))),
        };
        let change = connect(&rule.to, key);
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    Ok(changes)
}

/// A file's value as the kind wishes it: files say `78701` for a text, `"yes"` for a truth.
fn fit(kind: &Kind, json: Json) -> Json {
    match (kind, &json) {
        (
            Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone | Kind::Enum(_) | Kind::Tree { .. },
            Json::Number(_) | Json::Bool(_),
        ) => plain(&json).map_or(json, Json::String),
        (Kind::Boolean, Json::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Json::Bool(true),
            "false" | "no" | "0" => Json::Bool(false),
            _ => json,
        },
        (Kind::Boolean, Json::Number(number)) => match number.as_i64() {
            Some(1) => Json::Bool(true),
            Some(0) => Json::Bool(false),
            _ => json,
        },
        (Kind::List(item), Json::Array(_)) => match json {
            Json::Array(items) => items.into_iter().map(|value| fit(item, value)).collect(),
            other => other,
        },
        (Kind::Object(object), Json::Object(_)) => match json {
            Json::Object(parts) => {
                let fitted = parts.into_iter().map(|(name, value)| {
                    let value = match object.parts.iter().find(|part| part.name == name) {
                        Some(part) => fit(&part.kind, value),
                        None => value,
                    };
                    (name, value)
                });
                Json::Object(fitted.collect())
            }
            other => other,
        },
        _ => json,
    }
}

impl Wish {
    /// The draft that makes it so.
    pub fn draft(self) -> Draft {
        let update = Object {
            klass: self.object.klass.clone(),
            // What can be given only when an object is made is not changed later.
            values: self
                .object
                .values
                .iter()
                .filter(|(property, _)| property.writable == Writable::Always)
                .cloned()
                .collect::<Vec<(Arc<Property>, Value)>>(),
            links: self.object.links.clone(),
            path: Vec::new(),
        };
        Draft::Upsert {
            key: self.key,
            create: self.object,
            update,
        }
    }

    /// Drafts of some ends alone, a link each.
    pub fn link_drafts(self, ends: &[String]) -> Vec<(String, Draft)> {
        let mut drafts = Vec::new();
        for (end, changes) in self.object.links {
            if !ends.contains(&end.legal) {
                continue;
            }
            for change in changes {
                let set = Object {
                    klass: self.object.klass.clone(),
                    values: Vec::new(),
                    links: vec![(end.clone(), vec![change])],
                    path: Vec::new(),
                };
                let draft = Draft::Update {
                    key: self.key.clone(),
                    version: None,
                    set,
                };
                drafts.push((end.legal.clone(), draft));
            }
        }
        drafts
    }
}
