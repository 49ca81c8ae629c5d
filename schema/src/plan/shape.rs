//! How an answer of the store becomes a part of the response: compiled with the plan, walked once by `execute/write.rs`.
//!
//! A shape is applied to a *node*: a value of a statement's positional JSON, or a cell of a record in memory. Each field says
//! from where in its parent's node its own comes ([`From`]) and what becomes of it ([`Shape`]).

use std::sync::Arc;

use async_graphql_parser::Pos;
use klio_entities::klass::Klass;

use super::site::Site;

/// What becomes of a node.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A scalar or enum.
    Leaf(Leaf),
    /// A list.
    List(Items),
    /// An object: its fields look into the node.
    Object(Arc<Fields>),
    /// `null` or `["klass name", row]`: an object of one of several klasses. A klass without fields here: `{}`.
    Arms(Vec<(Arc<Klass>, Arc<Fields>)>),
    /// The rows of a page: those of its window, in order.
    Rows(Window, Items),
    /// The rows of a page again, but only what is to be told about them.
    PageInfo(Window, Arc<Fields>),
    /// `hasNextPage`, …: one of the facts of a page; only beneath [`Shape::PageInfo`].
    PageFact(PageFact),
    /// Where the log stood when the page was read.
    LogCursor,
    /// A node that is only an id (or, in a record, an object's klass and id): what is selected of it is read by a statement of its own.
    Load(Arc<Site>),
    /// An entry of a timeline; the node is its row.
    Entry(Arc<super::timeline::Entry>),
}

/// The items of a list.
#[derive(Clone, Debug)]
pub struct Items {
    /// What becomes of each.
    pub shape: Box<Shape>,
    /// Whether null may stand among them.
    pub nullable: bool,
}

/// The fields of an object, in the order of the response.
#[derive(Debug)]
pub struct Fields {
    /// The object type's name.
    pub type_name: String,
    /// One for each response key.
    pub fields: Vec<FieldShape>,
}

/// One response key.
#[derive(Debug)]
pub struct FieldShape {
    /// The response key.
    pub key: String,
    /// The field's own name.
    pub name: String,
    /// Where it stands in the document.
    pub pos: Pos,
    /// Null is a value of it.
    pub nullable: bool,
    /// Where its node is.
    pub from: From,
    /// What becomes of it.
    pub shape: Shape,
}

/// Where, in its parent's node, the node of a field is.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// It is the parent's node.
    Whole,
    /// The element at this index of the array.
    At(usize),
    /// The element of an element.
    In(usize, usize),
    /// The member of this name of the JSON object (parts of object kinds).
    Part(String),
    /// The member of this name of the JSON object that is the element at this index.
    InPart(usize, &'static str),
    /// The field of this name of a record.
    Record(&'static str),
    /// It is known: this JSON text.
    Known(String),
}

/// Which of the rows that a statement answers are the page. (It answers one more than asked for when there are more.)
#[derive(Clone, Debug)]
pub struct Window {
    /// How many were asked for.
    pub limit: Count,
    /// They were read from the end, so they come in reverse.
    pub backward: bool,
    /// `after` was given.
    pub after: bool,
    /// `before` was given.
    pub before: bool,
    /// Where in a row its cursor is, if asked for.
    pub cursor: Option<usize>,
    /// What a cursor of this order begins with.
    pub order: u32,
}

/// A number that is known, or comes with each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Known.
    Known(u32),
    /// The argument at this index of the run's arguments.
    Arg(usize),
}

/// A fact about a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum PageFact {
    HasNextPage,
    HasPreviousPage,
    StartCursor,
    EndCursor,
}

/// How a scalar is written.
#[derive(Clone, Debug)]
pub enum Leaf {
    /// A string, a date or any JSON: as it stands.
    Raw,
    /// A 32-bit integer; more is an error of the field.
    Int,
    /// A whole number, as a string.
    BigInt,
    /// A number, as it stands.
    Float,
    /// `true`, `false`, `1`, `0`.
    Boolean,
    /// An exact decimal, as a string without needless zeros; digits behind the point by which it is scaled.
    Decimal(u32),
    /// An instant: Postgres's or RFC 3339 text, or microseconds since 1970.
    DateTime,
    /// An object's id, with its klass's prefix.
    Id(String),
    /// The id of an object of one of several klasses (never written without knowing which).
    Enum(Arc<Vec<(String, String)>>),
    /// `kind`, `id` or `name` out of `kind:id:name`.
    Actor(ActorPart),
    /// The position in the order with this hash.
    Cursor(u32),
    /// How an object is named.
    Title(Arc<Vec<TitlePiece>>),
}

/// A piece of an actor's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum ActorPart {
    Kind,
    Id,
    Name,
}

/// A piece of a title.
#[derive(Debug)]
pub enum TitlePiece {
    /// Text.
    Text(String),
    /// The property at this index of the row.
    Value(usize, Leaf),
    /// The amount and currency at this index of the row.
    Money(usize, u32),
    /// What the title is when nothing else has a value: the id.
    Fallback(usize, Leaf),
}

impl Fields {
    /// No field at all: for a type of which nothing is selected.
    pub fn none(type_name: &str) -> Self {
        Self {
            type_name: type_name.to_owned(),
            fields: Vec::new(),
        }
    }
}
