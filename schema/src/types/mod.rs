//! From a registry to the types of a schema.
//!
//! Reading order: [`model`] (what a type is and means), this page (the order of making, and who owns a name), `base` (what every
//! schema has), `kinds` (from a property's kind to types), `object`, `aggregate`, `filter`, `order`, `input`, `roots` (what a klass adds),
//! `timeline`, `state` (who is there, counts), `record` (klass definitions and other records), [`emit`] (into async-graphql, whole), `excerpt` (what a document needs).

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::map::Entry;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Fault, Faults, Klass, Property, Registry};

use crate::names;

mod aggregate;
mod base;
pub mod emit;
pub(crate) mod excerpt;
mod filter;
mod input;
pub(crate) mod kinds;
pub mod model;
mod name;
mod object;
mod operators;
mod order;
mod record;
mod roots;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;

use model::{Argument, ByName, EnumType, Field, InputType, Name, ObjectType, Text, Type, TypeRef, Types};

/// Makes the types of an org's schema. Fails with every collision of names (see [`names::check`]).
pub fn build(registry: &Arc<Registry>) -> Result<Types, Faults> {
    let mut builder = Builder::new(registry);
    builder.base();
    let klasses: Vec<Arc<Klass>> = registry.enabled().cloned().collect();
    for klass in &klasses {
        builder.klass(klass);
    }
    builder.timeline(&klasses);
    builder.customer_state(&klasses);
    builder.finish()
}

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// Every schema has it.
    BuiltIn,
    /// Made for a klass.
    Klass(Arc<str>),
    /// An enum or object kind, by the property that brought it.
    Kind(Arc<str>),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::BuiltIn => f.write_str("the schema itself"),
            Owner::Klass(name) => write!(f, "klass `{name}`"),
            Owner::Kind(place) => write!(f, "property `{place}`"),
        }
    }
}

/// Types in the making.
struct Builder<'r> {
    registry: &'r Arc<Registry>,
    types: ByName<Type>,
    owners: HashMap<Name, Owner, foldhash::fast::RandomState>,
    root_owners: HashMap<String, Owner>,
    faults: Vec<Fault>,
    query: ObjectType,
    mutation: ObjectType,
    subscription: ObjectType,
    /// Whose types are being made.
    owner: Owner,
}

/// A root type.
#[derive(Clone, Copy)]
enum Root {
    Query,
    Mutation,
    Subscription,
}

impl<'r> Builder<'r> {
    fn new(registry: &'r Arc<Registry>) -> Self {
        let klasses = registry.klasses.len();
        let mut made = Self {
            registry,
            types: ByName::with_capacity_and_hasher(128 + 40 * klasses, Default::default()),
            owners: HashMap::with_capacity_and_hasher(128 + 40 * klasses, Default::default()),
            root_owners: HashMap::with_capacity(20 * klasses),
            faults: Vec::new(),
            query: object("Query", "What can be read. Each field is answered by one statement."),
            mutation: object(
                "Mutation",
                "What can be written. Each field is one transaction; what a caller did wrong comes back as `errors` in the payload.",
            ),
            subscription: object(
                "Subscription",
                "What can be listened to. Every stream goes on from a `Cursor` and says `RESYNC` where it cannot.",
            ),
            owner: Owner::BuiltIn,
        };
        made.query.fields.reserve(8 + 2 * klasses);
        made.mutation.fields.reserve(8 + 14 * klasses);
        made.subscription.fields.reserve(8 + klasses);
        made
    }

    /// Everything that a klass brings.
    fn klass(&mut self, klass: &Arc<Klass>) {
        self.owner = Owner::Klass(klass.name.as_str().into());
        for (what, name) in [
            ("type", &klass.legal.type_name),
            ("field", &klass.legal.field),
            ("plural", &klass.legal.plural),
        ] {
            self.legal(name, || format!("The {what} name of klass `{}`", klass.name));
        }
        self.object_type(klass);
        self.connection(klass);
        self.aggregates(klass);
        self.filters(klass);
        self.orders(klass);
        self.inputs(klass);
        self.payloads(klass);
        self.query_fields(klass);
        self.mutation_fields(klass);
        self.subscription_fields(klass);
        self.count_field(klass);
    }

    fn finish(mut self) -> Result<Types, Faults> {
        for root in [self.query, self.mutation, self.subscription] {
            self.types.insert(root.name.clone(), Type::Object(root));
        }
        if self.faults.is_empty() {
            prune(&mut self.types);
            Ok(Types {
                registry: Arc::clone(self.registry),
                types: self.types,
            })
        } else {
            Err(Faults(self.faults))
        }
    }

    /// Adds a type under the present owner; another owner's type of that name is a fault.
    fn add(&mut self, name: Name, ty: Type) {
        if let Some(other) = self.owners.get(&name).cloned() {
            self.quarrel(&other, &format!("the GraphQL type name `{name}`"));
            return;
        }
        self.owners.insert(name.clone(), self.owner.clone());
        self.types.insert(name, ty);
    }

    fn add_object(&mut self, ty: ObjectType) {
        let name = ty.name.clone();
        self.add(name, Type::Object(ty));
    }

    fn add_input(&mut self, ty: InputType) {
        let name = ty.name.clone();
        self.add(name, Type::Input(ty));
    }

    fn add_enum(&mut self, ty: EnumType) {
        let name = ty.name.clone();
        self.add(name, Type::Enum(ty));
    }

    /// Adds a field to a root type; another owner's field of that name is a fault.
    fn add_root(&mut self, root: Root, field: Field) {
        let (label, at) = match root {
            Root::Query => ("Query", &mut self.query),
            Root::Mutation => ("Mutation", &mut self.mutation),
            Root::Subscription => ("Subscription", &mut self.subscription),
        };
        let key = format!("{label}.{}", field.name);
        if let Some(other) = self.root_owners.get(&key).cloned() {
            self.quarrel(&other, &format!("the GraphQL field `{key}`"));
            return;
        }
        at.fields.insert(field.name.clone(), field);
        self.root_owners.insert(key, self.owner.clone());
    }

    /// The present owner needs what another has. Many names come from one; the same quarrel is told once.
    fn quarrel(&mut self, other: &Owner, what: &str) {
        let fault = if *other == self.owner {
            Fault::bad(
                self.path(),
                format!("{} needs {what} twice, for one object and for many", capital(&self.owner)),
            )
            .remedy("Give it a plural that differs from its name.")
        } else {
            Fault::bad(self.path(), format!("{} needs {what}, which {other} has", capital(&self.owner)))
                .remedy("Give one of the two another name.")
        };
        let told = |f: &Fault| f.path == fault.path && (*other == self.owner || f.message.ends_with(&format!("{other} has")));
        if !self.faults.iter().any(told) {
            self.faults.push(fault);
        }
    }

    /// Where the present owner is defined.
    fn path(&self) -> Vec<String> {
        match &self.owner {
            Owner::BuiltIn => Vec::new(),
            Owner::Klass(name) => vec!["klasses".into(), name.to_string()],
            Owner::Kind(place) => std::iter::once("klasses".to_owned())
                .chain(place.split('.').map(str::to_owned))
                .collect(),
        }
    }

    fn legal(&mut self, name: &str, what: impl FnOnce() -> String) {
        if !names::is_legal(name) {
            let fault = Fault::bad(self.path(), format!("{} is `{name}`, which is no legal GraphQL name", what()))
                .remedy("Use letters, digits and `_`, no digit first, and no `__` at the beginning.");
            self.faults.push(fault);
        }
    }

    /// The far klasses of an end that the schema shows.
    fn far(&self, end: &End) -> Vec<Arc<Klass>> {
        end.to
            .iter()
            .filter_map(|name| self.registry.klass(name))
            .filter(|k| k.enabled)
            .cloned()
            .collect()
    }

    /// Puts a field into an object type; a name taken already is a fault that names both.
    fn put(&mut self, into: &mut ObjectType, field: Field) {
        match into.fields.entry(field.name.clone()) {
            Entry::Vacant(place) => {
                place.insert(field);
            }
            Entry::Occupied(_) => self.taken(&into.name, &field.name),
        }
    }

    /// As [`Self::put`], for inputs.
    fn put_input(&mut self, into: &mut InputType, field: Argument) {
        match into.fields.entry(field.name.clone()) {
            Entry::Vacant(place) => {
                place.insert(field);
            }
            Entry::Occupied(_) => self.taken(&into.name, &field.name),
        }
    }

    fn taken(&mut self, ty: &str, field: &str) {
        let fault = Fault::bad(
            self.path(),
            format!(
                "{} would have two fields `{field}` in the GraphQL type `{ty}`",
                capital(&self.owner)
            ),
        )
        .remedy("Rename the property or the end of a relationship that has this name.");
        // Many types come from one klass; the same quarrel is told once.
        if !self
            .faults
            .iter()
            .any(|f| f.path == fault.path && f.message.contains(&format!("`{field}`")))
        {
            self.faults.push(fault);
        }
    }
}

/// Takes out what nothing refers to: operator inputs of kinds that no klass uses, links to klasses at no one's end. `KObject`
/// stays, so that a client's fragment on it is valid in an org that has no klass of its own yet.
fn prune(types: &mut ByName<Type>) {
    let mut reached = vec![false; types.len()];
    let mut todo = Vec::with_capacity(types.len());
    let reach = |name: &str, reached: &mut Vec<bool>, todo: &mut Vec<usize>| {
        if let Some(i) = types.get_index_of(name)
            && !std::mem::replace(&mut reached[i], true)
        {
            todo.push(i);
        }
    };
    for name in ["Query", "Mutation", "Subscription", "KObject"]
        .into_iter()
        .chain(crate::scalars::BUILT_IN.iter().map(|row| row.0))
    {
        reach(name, &mut reached, &mut todo);
    }
    while let Some(i) = todo.pop() {
        let mut see = |name: &str| reach(name, &mut reached, &mut todo);
        match &types[i] {
            Type::Object(it) => {
                it.implements.iter().for_each(|name| see(name));
                for field in it.fields.values() {
                    see(field.ty.name());
                    field.args.iter().for_each(|arg| see(arg.ty.name()));
                }
            }
            Type::Union(it) => it.members.iter().for_each(|name| see(name)),
            Type::Input(it) => it.fields.values().for_each(|field| see(field.ty.name())),
            Type::Enum(_) | Type::Scalar(_) => {}
        }
    }
    let mut reached = reached.into_iter();
    types.retain(|_, _| reached.next().unwrap_or(true));
}

fn capital(owner: &Owner) -> String {
    names::upper_first(&owner.to_string())
}

/// An object type without fields.
fn object(name: impl Into<Name>, description: impl Into<Text>) -> ObjectType {
    ObjectType {
        name: name.into(),
        description: Some(description.into()),
        interface: false,
        implements: Vec::new(),
        klass: None,
        fields: ByName::default(),
    }
}

/// An input object without fields.
fn input(name: impl Into<Name>, klass: Option<&Arc<Klass>>, description: impl Into<Text>) -> InputType {
    InputType {
        name: name.into(),
        description: Some(description.into()),
        one_of: false,
        klass: klass.cloned(),
        fields: ByName::default(),
    }
}

/// `name`.
fn t(name: impl Into<Name>) -> TypeRef {
    TypeRef::named(name)
}

/// `name!`.
fn req(name: impl Into<Name>) -> TypeRef {
    TypeRef::named(name).required()
}

/// `[name!]`.
fn list(name: impl Into<Name>) -> TypeRef {
    TypeRef::named(name).required().list()
}

/// `[name!]!`.
fn list_req(name: impl Into<Name>) -> TypeRef {
    list(name).required()
}

/// Whether a klass is the standard customer, conversation, …
fn is_standard(klass: &Klass, name: &str) -> bool {
    klass.standard && klass.name == name
}

/// Whether the links of an end carry properties.
fn has_link_properties(end: &End) -> bool {
    !end.relationship.properties.is_empty() && end.cardinality == Cardinality::Many
}

/// What a property is, for people.
fn describe(property: &Property, otherwise: impl Into<Text>) -> Text {
    match (&property.description, &property.display_name) {
        (Some(text), _) => Text::Owned(text.clone()),
        (None, Some(label)) => Text::Owned(format!("{label}.")),
        (None, None) => otherwise.into(),
    }
}
