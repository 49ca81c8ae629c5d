//! The part of a schema that a document could touch, as async-graphql's schema: enough to validate it. A few types and fields
//! instead of tens of thousands, so a change of klasses costs nothing that no one asks for.
//!
//! It holds every field, argument and input field whose name stands anywhere in the document, whatever must be given, and every
//! type so reached or named. What the document says that is not there is not in the whole schema either.

use std::collections::{BTreeSet, HashSet};

use async_graphql::dynamic as dy;
use async_graphql::parser::types::{BaseType, Directive, ExecutableDocument, OperationType, Selection, SelectionSet, Type as Written};
use async_graphql::{Name, Positioned};
use async_graphql_value::{ConstValue, Value};

use super::emit;
use super::model::{self, Argument, Field, Type, Types};

/// Every name in a document that could be one of the schema's.
#[derive(Default)]
struct Names<'a>(HashSet<&'a str>);

/// The excerpt for a document.
pub(crate) fn excerpt(types: &Types, document: &ExecutableDocument) -> Result<dy::Schema, dy::SchemaError> {
    let mut names = Names::default();
    names.document(document);
    let asks_for_schema = names.0.contains("__schema") || names.0.contains("__type");
    // An object type needs a field: one that the document cannot mean.
    let mut filler = "none".to_owned();
    while names.0.contains(filler.as_str()) {
        filler.push('_');
    }

    let mut roots = vec!["Query"];
    for (_, operation) in document.operations.iter() {
        match operation.node.ty {
            OperationType::Query => {}
            OperationType::Mutation => roots.push("Mutation"),
            OperationType::Subscription => roots.push("Subscription"),
        }
    }
    let root = |name: &'static str| roots.contains(&name).then_some(name);
    let mut builder = emit::start(root("Mutation"), root("Subscription"));
    if !asks_for_schema {
        builder = builder.disable_introspection();
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut todo: Vec<&str> = roots.clone();
    todo.extend(names.0.iter().filter(|name| types.types.contains_key(**name)));
    while let Some(name) = todo.pop() {
        let Some(ty) = types.types.get(name) else { continue };
        if !seen.insert(ty.name()) {
            continue;
        }
        match ty {
            Type::Object(it) => {
                let keep = |field: &Field| names.0.contains(field.name.as_str());
                let keep_argument = |arg: &Argument| names.wants(arg);
                for field in it.fields.values().filter(|f| keep(f)) {
                    todo.push(field.ty.name());
                    todo.extend(field.args.iter().filter(|a| keep_argument(a)).map(|a| a.ty.name()));
                }
                todo.extend(it.implements.iter().map(model::Name::as_str));
                if it.interface {
                    todo.extend(types.possible(&it.name).into_iter().map(|o| o.name.as_str()));
                }
                builder = emit::some_fields(builder, it, keep, keep_argument, &filler);
            }
            Type::Union(it) => {
                todo.extend(it.members.iter().map(model::Name::as_str));
                builder = emit::one(builder, ty);
            }
            Type::Input(it) => {
                todo.extend(it.fields.values().filter(|f| names.wants(f)).map(|f| f.ty.name()));
                builder = emit::some_inputs(builder, it, |field| names.wants(field));
            }
            Type::Enum(_) | Type::Scalar(_) => builder = emit::one(builder, ty),
        }
    }
    builder.finish()
}

impl<'a> Names<'a> {
    /// Named by the document, or missed if it is not.
    fn wants(&self, argument: &Argument) -> bool {
        self.0.contains(argument.name.as_str()) || (argument.ty.is_required() && argument.default.is_none())
    }

    fn document(&mut self, document: &'a ExecutableDocument) {
        for (_, operation) in document.operations.iter() {
            self.directives(&operation.node.directives);
            for variable in &operation.node.variable_definitions {
                self.written(&variable.node.var_type.node);
                if let Some(default) = &variable.node.default_value {
                    self.constant(&default.node);
                }
                self.directives(&variable.node.directives);
            }
            self.set(&operation.node.selection_set.node);
        }
        for fragment in document.fragments.values() {
            self.0.insert(&fragment.node.type_condition.node.on.node);
            self.directives(&fragment.node.directives);
            self.set(&fragment.node.selection_set.node);
        }
    }

    fn set(&mut self, set: &'a SelectionSet) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    self.0.insert(&field.node.name.node);
                    self.arguments(&field.node.arguments);
                    self.directives(&field.node.directives);
                    self.set(&field.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => self.directives(&spread.node.directives),
                Selection::InlineFragment(fragment) => {
                    if let Some(condition) = &fragment.node.type_condition {
                        self.0.insert(&condition.node.on.node);
                    }
                    self.directives(&fragment.node.directives);
                    self.set(&fragment.node.selection_set.node);
                }
            }
        }
    }

    fn directives(&mut self, directives: &'a [Positioned<Directive>]) {
        for directive in directives {
            self.arguments(&directive.node.arguments);
        }
    }

    fn arguments(&mut self, arguments: &'a [(Positioned<Name>, Positioned<Value>)]) {
        for (name, value) in arguments {
            self.0.insert(&name.node);
            self.value(&value.node);
        }
    }

    fn value(&mut self, value: &'a Value) {
        match value {
            Value::List(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.0.insert(name);
                    self.value(value);
                }
            }
            _ => {}
        }
    }

    fn constant(&mut self, value: &'a ConstValue) {
        match value {
            ConstValue::List(items) => items.iter().for_each(|item| self.constant(item)),
            ConstValue::Object(fields) => {
                for (name, value) in fields {
                    self.0.insert(name);
                    self.constant(value);
                }
            }
            _ => {}
        }
    }

    fn written(&mut self, ty: &'a Written) {
        match &ty.base {
            BaseType::Named(name) => {
                self.0.insert(name);
            }
            BaseType::List(inner) => self.written(inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use crate::introspection::{validate, validate_whole};
    use crate::types::{build, emit, testing};

    /// Each document, valid or not, is told the same by the excerpt as by the whole schema.
    #[test]
    fn an_excerpt_says_what_the_whole_says() {
        let types = build(&testing::shop()).unwrap_or_else(|faults| panic!("{faults}"));
        let whole = emit::emit(&types).unwrap_or_else(|error| panic!("{error}"));
        let documents = [
            "{ orders { nodes { id total { amount } } } }",
            "{ orders { nodes { id wrong } } }",
            "{ wrong }",
            "{ _ }",
            "{ order }",
            "{ order { id } }",
            "{ node { id } }",
            "{ node(id: 1, more: 2) { id } }",
            "{ node(id: \"a\") { ... on Order { orderNumber } ... on Product { name } ... on Money { amount } } }",
            "{ node(id: \"a\") { ...f } } fragment f on KObject { title tags }",
            "{ node(id: \"a\") { ...f } } fragment f on Nothing { title }",
            "query q($f: OrderFilter, $n: Int!) { orders(filter: $f, first: $n) { totalCount } }",
            "query q($f: OrderFilters) { orders(filter: $f) { totalCount } }",
            "query q($f: Order) { orders(filter: $f) { totalCount } }",
            "query q($f: CustomerFilter) { orders(filter: $f) { totalCount } }",
            "{ orders(filter: {status: {eq: PENDING}, customer: {name: {contains: \"a\"}}}) { totalCount } }",
            "{ orders(filter: {status: {eq: LOST}, customers: {name: {contains: 1}}}) { totalCount } }",
            "{ orders(orderBy: [{total: DESC}, {customer: {name: ASC}}]) { nodes { customer { name } } } }",
            "mutation { createOrder { order { id } } }",
            "mutation { createOrder(input: {orderNumber: \"1\", wrong: 1}) { order { id } errors { code object { id } } } }",
            "mutation { upsertOrder(key: {id: 1, externalId: 2}, create: {}, update: {}) { outcome } }",
            "mutation { upsertOrder(key: {externalId: \"2\"}) { outcome } }",
            "subscription { orderChanged(id: \"a\") { change order { id } } }",
            "subscription { orderChanged { change order } }",
            "{ orders { nodes { id { x } } } }",
            "{ __typename __schema { types { name } } __type(name: \"Order\") { wrong } }",
            "{ orders @include(if: 1) { totalCount } orders @nothing { totalCount } }",
            "{ customer(email: \"a\") { timeline(kinds: [ORDER]) { nodes { ... on Order { id } ... on Product { id } __typename } } } }",
            "query a { orders { totalCount } } mutation b { deleteOrder(id: \"1\") { cursor } }",
            "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        ];
        for text in documents {
            let document = parse_query(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let told = |result: Result<(), Vec<async_graphql::ServerError>>| {
                let mut all: Vec<_> = result
                    .err()
                    .into_iter()
                    .flatten()
                    .map(|e| format!("{} {:?}", e.message, e.locations))
                    .collect();
                all.sort();
                all
            };
            assert_eq!(told(validate(&types, &document)), told(validate_whole(&whole, document)), "{text}");
        }
    }
}
