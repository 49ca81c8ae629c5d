//! From coerced arguments to a [`Draft`]'s parts: objects, keys, links. Every fault is found, each with the path of the input that
//! has it; nothing here asks the store.
//!
//! The walk goes by [`InputMeaning`], not by names, so that an old name of a property (an alias) and the new one are the same thing.

use std::sync::Arc;

use async_graphql_value::Name;
use indexmap::IndexMap;
use klio_entities::klass::draft::{LinkChange, Object};
use klio_entities::klass::fault::Code;
use klio_entities::klass::filter::{ContactKind, Operand};
use klio_entities::klass::query::Key;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Fault, Kind, Klass, ObjectId, Property, Registry, Value, contact};
use serde_json::Value as Json;

use crate::plan::coerce::Input;
use crate::types::model::{EnumMeaning, InputMeaning, InputType, TypeRef, Types};

/// The fields of an input object.
pub type Fields = IndexMap<Name, Input>;

/// Reads inputs and gathers what is wrong with them.
pub struct Inputs<'a> {
    types: &'a Types,
    /// All that is wrong so far.
    pub faults: Vec<Fault>,
}

/// What an item of `connect`, `create` or `upsert` holds, before one knows which of these it is.
#[derive(Default)]
struct Item {
    keys: Vec<Key>,
    link: Vec<(Arc<Property>, Value)>,
    object: Option<Object>,
    create: Option<Object>,
    update: Option<Object>,
}

/// A path with one more step.
fn step(path: &[String], next: impl Into<String>) -> Vec<String> {
    let mut out = path.to_vec();
    out.push(next.into());
    out
}

impl<'a> Inputs<'a> {
    /// A reader of inputs of these types.
    pub fn new(types: &'a Types) -> Self {
        Self { types, faults: Vec::new() }
    }

    fn registry(&self) -> &'a Registry {
        &self.types.registry
    }

    /// The values and links of an object, from an input object of this type.
    pub fn object(&mut self, klass: &Arc<Klass>, ty: &TypeRef, value: &Input, path: &[String]) -> Object {
        let mut object = Object {
            klass: klass.clone(),
            values: Vec::new(),
            links: Vec::new(),
            path: path.to_vec(),
        };
        let (Some(input), Input::Object(fields)) = (self.types.input(ty.name()), value) else {
            // An absent or null input object says nothing, which is fine for an update and a fault of required properties for a create.
            return object;
        };
        for (name, value) in fields {
            let Some(argument) = input.fields.get(name.as_str()) else {
                continue;
            };
            let path = step(path, name.as_str());
            match &argument.means {
                InputMeaning::Value(property) => {
                    if object
                        .values
                        .iter()
                        .any(|(p, _)| Arc::ptr_eq(p, property) || p.legal == property.legal)
                    {
                        self.faults.push(twice(&path, &property.legal));
                    } else if let Some(value) = self.accept(property, &argument.ty, value, &path) {
                        object.values.push((property.clone(), value));
                    }
                }
                InputMeaning::Links(end) => {
                    let changes = self.links(end, &argument.ty, value, &path);
                    match object.links.iter_mut().find(|(e, _)| e.legal == end.legal) {
                        Some((_, all)) => all.extend(changes),
                        None => object.links.push((end.clone(), changes)),
                    }
                }
                _ => {}
            }
        }
        object
    }

    /// A property's value; `None` when it is at fault (which is noted).
    fn accept(&mut self, property: &Property, ty: &TypeRef, value: &Input, path: &[String]) -> Option<Value> {
        match property.accept(&self.json(ty, value), path) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    /// A coerced value as JSON, enums as they are stored.
    pub fn json(&self, ty: &TypeRef, value: &Input) -> Json {
        match (ty.nullable(), value) {
            (TypeRef::List(item), Input::List(items)) => Json::Array(items.iter().map(|v| self.json(item, v)).collect()),
            (TypeRef::Named(name), Input::Object(fields)) => {
                let input = self.types.input(name);
                Json::Object(
                    fields
                        .iter()
                        .map(|(name, value)| match input.and_then(|it| it.fields.get(name.as_str())) {
                            Some(field) => {
                                let key = match &field.means {
                                    InputMeaning::ValuePart(part) => part.clone(),
                                    _ => name.to_string(),
                                };
                                (key, self.json(&field.ty, value))
                            }
                            None => (name.to_string(), value.to_json()),
                        })
                        .collect(),
                )
            }
            (TypeRef::Named(ty), Input::Enum(name)) => {
                match self
                    .types
                    .enumeration(ty)
                    .and_then(|it| it.values.get(name.as_str()))
                    .map(|v| &v.means)
                {
                    Some(EnumMeaning::Stored(stored)) => Json::String(stored.clone()),
                    _ => Json::String(name.to_string()),
                }
            }
            (_, value) => value.to_json(),
        }
    }

    /// What changes at an end.
    fn links(&mut self, end: &Arc<End>, ty: &TypeRef, value: &Input, path: &[String]) -> Vec<LinkChange> {
        let klass = end.only().and_then(|only| self.registry().klass(only).cloned());
        let mut out = Vec::new();
        match value {
            // `customer: null` is the plain way to say `customer: {disconnect: true}`.
            Input::Null if end.cardinality == Cardinality::One => out.push(LinkChange::Disconnect { object: None }),
            Input::Null => {}
            value => self.link_changes(klass.as_ref(), ty, value, path, &mut out),
        }
        if end.cardinality == Cardinality::One && out.len() > 1 {
            self.faults.push(
                Fault::bad(
                    path.to_vec(),
                    format!("`{}` holds one object, and this says {} things about it.", end.legal, out.len()),
                )
                .remedy("Give one of connect, create, upsert and disconnect."),
            );
        }
        out
    }

    fn link_changes(&mut self, klass: Option<&Arc<Klass>>, ty: &TypeRef, value: &Input, path: &[String], out: &mut Vec<LinkChange>) {
        let (Some(input), Input::Object(fields)) = (self.types.input(ty.name()), value) else {
            return;
        };
        for (name, value) in fields {
            let Some(argument) = input.fields.get(name.as_str()) else {
                continue;
            };
            let path = step(path, name.as_str());
            if let InputMeaning::LinkKlass(klass) = &argument.means {
                self.link_changes(Some(klass), &argument.ty, value, &path, out);
                continue;
            }
            match (name.as_str(), value) {
                (_, value) if value.is_null() => {}
                // At a to-one end there is no need to say from which.
                ("disconnect", value) if value.as_bool().is_some() => {
                    if value.as_bool() == Some(true) {
                        out.push(LinkChange::Disconnect { object: None });
                    }
                }
                (_, Input::List(items)) => {
                    for (i, value) in items.iter().enumerate() {
                        self.link_change(klass, name, &argument.ty, value, &step(&path, i.to_string()), out);
                    }
                }
                (_, value) => self.link_change(klass, name, &argument.ty, value, &path, out),
            }
        }
    }

    /// One change at an end whose klass is known, or said by the item itself.
    pub fn link(&mut self, end: &Arc<End>, verb: &str, ty: &TypeRef, value: &Input, path: &[String], out: &mut Vec<LinkChange>) {
        let klass = end.only().and_then(|only| self.registry().klass(only).cloned());
        self.link_change(klass.as_ref(), verb, ty, value, path, out);
    }

    #[allow(clippy::too_many_arguments, reason = "one step of a walk; a struct would only rename them")]
    fn link_change(
        &mut self,
        klass: Option<&Arc<Klass>>,
        verb: &str,
        ty: &TypeRef,
        value: &Input,
        path: &[String],
        out: &mut Vec<LinkChange>,
    ) {
        let (Some(input), Input::Object(fields)) = (self.types.input(ty.name()), value) else {
            return;
        };
        // `create: {order: {…}}`: the klass stands inside.
        let inside: Vec<_> = fields
            .iter()
            .filter_map(|(name, value)| {
                let argument = input.fields.get(name.as_str())?;
                match &argument.means {
                    InputMeaning::LinkKlass(klass) => Some((name, klass, &argument.ty, value)),
                    _ => None,
                }
            })
            .collect();
        if !inside.is_empty() {
            for (name, klass, ty, value) in inside {
                if !value.is_null() {
                    self.link_change(Some(klass), verb, ty, value, &step(path, name.as_str()), out);
                }
            }
            return;
        }
        let Some(klass) = klass else {
            self.faults.push(Fault::bad(path.to_vec(), "The klass of the object is not said."));
            return;
        };
        let before = self.faults.len();
        let item = self.item(klass, input, ty, value, fields, path);
        if self.faults.len() > before {
            return;
        }
        let change = match verb {
            "connect" => self.one_key(item.keys, path).map(|key| LinkChange::Connect {
                klass: klass.clone(),
                key,
                link: item.link,
            }),
            "disconnect" => self.one_key(item.keys, path).map(|key| LinkChange::Disconnect {
                object: Some((klass.clone(), key)),
            }),
            "create" => {
                let object = item.object.unwrap_or_else(|| empty(klass, path));
                Some(LinkChange::Create { object, link: item.link })
            }
            "upsert" => self.one_key(item.keys, path).map(|key| LinkChange::Upsert {
                key,
                create: item.create.unwrap_or_else(|| empty(klass, path)),
                update: item.update.unwrap_or_else(|| empty(klass, path)),
                link: item.link,
            }),
            _ => None,
        };
        out.extend(change);
    }

    /// Gathers an item by the meanings of its fields, wherever the schema puts them: keys, the link's properties, the object itself.
    fn item(&mut self, klass: &Arc<Klass>, input: &InputType, ty: &TypeRef, value: &Input, fields: &Fields, path: &[String]) -> Item {
        let mut item = Item::default();
        let mut holds_object = false;
        for (name, value) in fields {
            let Some(argument) = input.fields.get(name.as_str()) else {
                continue;
            };
            let path = step(path, name.as_str());
            match &argument.means {
                InputMeaning::Key(property) => {
                    if let Some(key) = self.key_of(klass, property, &argument.ty, value, &path) {
                        item.keys.push(key);
                    }
                }
                InputMeaning::ContactKey(kind) => {
                    if let Some(key) = self.contact_key(*kind, value, &path) {
                        item.keys.push(key);
                    }
                }
                InputMeaning::LinkValue(property) => {
                    if let Some(value) = self.accept(property, &argument.ty, value, &path) {
                        item.link.push((property.clone(), value));
                    }
                }
                InputMeaning::Value(_) | InputMeaning::Links(_) => holds_object = true,
                _ => match (name.as_str(), value) {
                    ("key", Input::Object(_)) => item.keys.extend(self.key(klass, &argument.ty, value, &path)),
                    ("link", Input::Object(_)) => item.link.extend(self.link_values(&argument.ty, value, &path)),
                    ("create", Input::Object(_)) => item.create = Some(self.object(klass, &argument.ty, value, &path)),
                    ("update", Input::Object(_)) => item.update = Some(self.object(klass, &argument.ty, value, &path)),
                    ("object" | "input" | "node", Input::Object(_)) => {
                        item.object = Some(self.object(klass, &argument.ty, value, &path));
                    }
                    _ => {}
                },
            }
        }
        if holds_object {
            item.object = Some(self.object(klass, ty, value, path));
        }
        item
    }

    /// The properties of a link, from an input object that holds nothing else.
    pub fn link_values(&mut self, ty: &TypeRef, value: &Input, path: &[String]) -> Vec<(Arc<Property>, Value)> {
        let (Some(input), Input::Object(fields)) = (self.types.input(ty.name()), value) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, value) in fields {
            if let Some((argument, property)) = input.fields.get(name.as_str()).and_then(|argument| match &argument.means {
                InputMeaning::LinkValue(property) | InputMeaning::Value(property) => Some((argument, property)),
                _ => None,
            }) && let Some(value) = self.accept(property, &argument.ty, value, &step(path, name.as_str()))
            {
                out.push((property.clone(), value));
            }
        }
        out
    }

    /// The one key of an input object of keys; `None` when it is at fault (which is noted).
    pub fn key(&mut self, klass: &Arc<Klass>, ty: &TypeRef, value: &Input, path: &[String]) -> Option<Key> {
        let (Some(input), Input::Object(fields)) = (self.types.input(ty.name()), value) else {
            return None;
        };
        let before = self.faults.len();
        let item = self.item(klass, input, ty, value, fields, path);
        if self.faults.len() > before {
            return None;
        }
        self.one_key(item.keys, path)
    }

    fn one_key(&mut self, mut keys: Vec<Key>, path: &[String]) -> Option<Key> {
        if keys.len() == 1 {
            return keys.pop();
        }
        let message = if keys.is_empty() {
            "No key is given."
        } else {
            "More than one key is given."
        };
        self.faults
            .push(Fault::bad(path.to_vec(), message).remedy("Give exactly one: the id or a unique property."));
        None
    }

    /// A key by a property; a null one counts as not given.
    fn key_of(&mut self, klass: &Arc<Klass>, property: &Arc<Property>, ty: &TypeRef, value: &Input, path: &[String]) -> Option<Key> {
        match value {
            Input::Null => None,
            _ if property.kind == Kind::Id => {
                let id = self.id(klass, value.as_str().unwrap_or_default(), path)?;
                Some(Key::Id(Operand::Const(Value::Id(id))))
            }
            value => self
                .accept(property, ty, value, path)
                .map(|value| Key::Unique(property.clone(), Operand::Const(value))),
        }
    }

    fn contact_key(&mut self, kind: ContactKind, value: &Input, path: &[String]) -> Option<Key> {
        let text = value.as_str()?;
        let Some(normal) = contact::normalise(kind, text) else {
            let what = match kind {
                ContactKind::Email => "an e-mail address",
                ContactKind::Phone => "a telephone number",
                ContactKind::ExternalId => "an id of another system",
            };
            self.faults
                .push(Fault::bad(path.to_vec(), format!("`{}` is not {what}.", brief(text))));
            return None;
        };
        Some(Key::Contact(kind, Operand::Const(Value::String(normal))))
    }

    /// An id of this klass. One of another klass or form is told as "no such object", since that is what it is.
    pub fn id(&mut self, klass: &Klass, text: &str, path: &[String]) -> Option<ObjectId> {
        match ObjectId::parse(text) {
            Some((prefix, id)) if prefix == klass.id_prefix => Some(id),
            Some(_) | None => {
                self.faults.push(
                    Fault::new(
                        Code::NotFound,
                        path.to_vec(),
                        format!("There is no {} with the id `{}`.", klass.name, brief(text)),
                    )
                    .remedy(format!("An id of this klass looks like `{}_01j…`.", klass.id_prefix)),
                );
                None
            }
        }
    }
}

fn empty(klass: &Arc<Klass>, path: &[String]) -> Object {
    Object {
        klass: klass.clone(),
        values: Vec::new(),
        links: Vec::new(),
        path: path.to_vec(),
    }
}

fn twice(path: &[String], legal: &str) -> Fault {
    Fault::bad(
        path.to_vec(),
        format!("`{legal}` is given twice, under its present and an older name."),
    )
    .remedy("Give it once.")
}

/// What is shown of a text that someone gave: enough to know it again.
fn brief(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(60).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests;
