//! From a document to what must be read and how the answer looks: compiled once per registry version, document, operation and
//! shape of the variables, then run many times (`execute/`). No SQL here: the store compiles a [`Read`] into a statement.
//!
//! Reading order: [`coerce`] (variables and arguments), [`select`] (which fields), [`shape`] (how the answer looks),
//! [`object`] (an object of a klass), [`page`] (a connection), [`filter`], [`order`], [`aggregate`], [`site`] (objects
//! that are known only at run time), [`timeline`], [`cost`].

pub mod aggregate;
pub mod argument;
pub mod coerce;
pub mod compiler;
pub mod cost;
pub mod cursor;
pub mod filter;
pub mod object;
pub mod order;
pub mod page;
pub mod record;
pub mod root;
pub mod scalar;
pub mod select;
pub mod shape;
pub mod site;
pub mod stored;
pub mod timeline;

#[cfg(test)]
mod coerce_tests;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use async_graphql_parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType};
use async_graphql_parser::{Pos, Positioned};
use klio_entities::klass::query::Read;
use klio_entities::store::sql::Statement;

use crate::error::Error;
use crate::types::model::Meaning;

use argument::{Guard, Source};
use coerce::Arguments;
use cost::Cost;
use shape::Shape;
use site::Site;

/// A document that passed the limits and validation against a schema.
#[derive(Debug)]
pub struct Document {
    /// As parsed.
    pub ast: ExecutableDocument,
}

/// An operation, compiled.
#[derive(Debug)]
pub struct Plan {
    /// What it is.
    pub kind: OperationType,
    /// Its name.
    pub name: Option<String>,
    /// The root type's name.
    pub root_type: String,
    /// Its root fields, in the order of the response.
    pub roots: Vec<Root>,
    /// What beside the shape of the variables must be as it was when the plan was made.
    pub guards: Vec<Guard>,
    /// Klasses (by name) on which the answer depends.
    pub depends_on: Vec<String>,
}

/// A root field, compiled.
#[derive(Debug)]
pub struct Root {
    /// The response key.
    pub key: String,
    /// The field's own name.
    pub name: String,
    /// Where it stands in the document.
    pub pos: Pos,
    /// Null is a value of it.
    pub nullable: bool,
    /// What is done for it; what is wrong with its arguments is an error of this field alone.
    pub work: Result<Work, Error>,
}

/// What is done for a root field.
#[derive(Debug)]
pub enum Work {
    /// One statement, whose answer the shape turns into the field.
    Fetch(Box<Fetch>),
    /// Objects by ids of any klass (`node`, `nodes`, `object`).
    Nodes(Box<Nodes>),
    /// A record from memory (`klass`, `klasses`, `viewer`), a mutation's payload or a subscription's event: the executor makes
    /// a cell by the meaning and the arguments, and the shape turns it into the field.
    Record(Box<Record>),
    /// `__schema`, `__type`: answered by async-graphql.
    Introspect(Introspect),
    /// JSON that is known (`__typename`).
    Known(String),
}

/// Root fields that ask for the schema itself.
#[derive(Debug)]
pub struct Introspect {
    /// A document of one operation that asks for just them.
    pub document: ExecutableDocument,
}

/// A statement and what becomes of its answer.
#[derive(Debug)]
pub struct Fetch {
    /// What is read.
    pub read: Read,
    /// The statement's arguments.
    pub arguments: Vec<Source>,
    /// What becomes of the answer.
    pub shape: Shape,
    /// Something in the shape needs more statements ([`Shape::Load`], [`Shape::Entry`]).
    pub deferred: bool,
    /// The log's position is in the shape.
    pub log_cursor: bool,
    /// What it costs.
    pub cost: Cost,
    /// What beside the shape of the variables must be as it was when this was compiled.
    pub guards: Vec<Guard>,
    /// The statement, compiled for the store's dialect when first run.
    pub statement: OnceLock<Statement>,
}

/// `node`, `nodes`, `object`.
#[derive(Debug)]
pub struct Nodes {
    /// Which ones.
    pub lookup: Lookup,
    /// What is selected of each.
    pub site: Arc<Site>,
    /// The shape of the field: a [`Shape::Load`] or a list of it.
    pub shape: Shape,
    /// How many fields are selected of each, at most.
    pub fields: u64,
}

/// How `node`, `nodes` and `object` find their objects.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// `node(id:)`
    One(coerce::Input),
    /// `nodes(ids:)`
    Many(coerce::Input),
    /// `object(klass:, id:, externalId:)`
    Of(Arguments),
}

/// A root field that is answered from memory.
#[derive(Debug)]
pub struct Record {
    /// What the field means.
    pub means: Meaning,
    /// Its name in the schema.
    pub field: String,
    /// Its arguments.
    pub arguments: Arguments,
    /// What becomes of the cell.
    pub shape: Shape,
    /// What it costs.
    pub cost: Cost,
}

impl Document {
    /// No document: for what is compiled beside one.
    pub fn empty() -> Self {
        let nothing = OperationDefinition {
            ty: OperationType::Query,
            variable_definitions: Vec::new(),
            directives: Vec::new(),
            selection_set: Positioned::default(),
        };
        Self {
            ast: ExecutableDocument {
                operations: DocumentOperations::Single(Positioned::new(nothing, Pos::default())),
                fragments: Default::default(),
            },
        }
    }
}
