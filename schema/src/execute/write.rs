//! From answers of the store and cells of records to the bytes of a response: one walk along the compiled shape. Null rises to
//! the nearest nullable field, errors know their path.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql_parser::Pos;
use klio_entities::klass::{Klass, Value};
use uuid::Uuid;

use super::leaf;
use super::record::{Cell, Record};
use super::scalar::{scalar, title};
use super::tape::{Tag, Tape};
use crate::error::{Code, Error, MAX_ERRORS, Segment, write_string};
use crate::plan::shape::{Count, Fields, From, Items, Leaf, PageFact, Shape, Window};
use crate::plan::site::Site;
use crate::plan::timeline::Entry;
use crate::plan::{Root, cursor};

/// An answer of the store, with the arguments of its statement.
#[derive(Debug)]
pub struct Answer {
    /// The positional JSON.
    pub tape: Tape,
    /// The arguments of the run.
    pub arguments: Vec<Value>,
}

/// What was read beside the statement of a root field.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Objects that were known only at run time, by place and id.
    pub objects: HashMap<(usize, Uuid), Row>,
    /// Shapes of records that turned up where objects may stand, by place and type.
    pub records: HashMap<(usize, String), Arc<Fields>>,
    /// Where the log stood before anything was read.
    pub log_cursor: Option<String>,
}

/// A row of an answer.
#[derive(Clone, Debug)]
pub struct Row {
    /// The answer.
    pub answer: Arc<Answer>,
    /// The row's node.
    pub node: usize,
    /// What becomes of it.
    pub fields: Arc<Fields>,
}

/// That to which a shape is applied.
#[derive(Clone, Copy)]
pub enum Node<'n> {
    /// A value of an answer.
    Json(&'n Answer, usize),
    /// A cell of a record.
    Cell(&'n Cell),
    /// Nothing is there.
    Missing,
}

/// A value could not be written and null may not stand in its place.
pub struct Rise;

/// A value was written, or it is null.
enum Wrote {
    Value,
    Null,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Writes the `data` of a response.
pub struct Writer<'a> {
    /// The bytes so far.
    pub out: Vec<u8>,
    /// What went wrong so far.
    pub errors: Vec<Error>,
    /// Rows that were written.
    pub rows: usize,
    loaded: &'a Loaded,
    path: Vec<Step<'a>>,
    /// The fields that lead to the present place: parent type, name, place in the document.
    at: Vec<(&'a str, &'a str, Pos)>,
}

type Done = Result<Wrote, Rise>;

impl<'a> Writer<'a> {
    /// A writer of one root field.
    pub fn new(loaded: &'a Loaded) -> Self {
        Self {
            out: Vec::with_capacity(1024),
            errors: Vec::new(),
            rows: 0,
            loaded,
            path: Vec::with_capacity(16),
            at: Vec::with_capacity(8),
        }
    }

    /// Writes a root field's value (without its key). `Err`: it must be null and may not.
    pub fn root(&mut self, on: &'a str, root: &'a Root, shape: &'a Shape, node: Node<'_>) -> Result<(), Rise> {
        self.path.push(Step::Key(&root.key));
        self.at.push((on, &root.name, root.pos));
        let start = self.out.len();
        let done = self.settle(shape, node, root.nullable, start);
        self.at.pop();
        self.path.pop();
        done
    }

    fn settle(&mut self, shape: &'a Shape, node: Node<'_>, nullable: bool, start: usize) -> Result<(), Rise> {
        match self.apply(shape, node) {
            Ok(Wrote::Value) => return Ok(()),
            Ok(Wrote::Null) if nullable => {}
            Ok(Wrote::Null) => {
                self.raise_null();
                return Err(Rise);
            }
            Err(Rise) if nullable => {}
            Err(Rise) => return Err(Rise),
        }
        self.out.truncate(start);
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    /// Notes that null stands at the present place and may not.
    fn raise_null(&mut self) {
        let (on, name, _) = self.at.last().copied().unwrap_or(("", "", Pos::default()));
        tracing::error!(field = %format!("{on}.{name}"), "null for a non-nullable field");
        self.raise(Error::new(
            Code::Internal,
            format!("Cannot return null for non-nullable field {on}.{name}."),
        ));
    }

    /// Notes an error at the present place.
    fn raise(&mut self, mut error: Error) {
        // More are not told, so they are not kept.
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        error.path = self
            .path
            .iter()
            .map(|step| match step {
                Step::Key(key) => Segment::Key((*key).to_owned()),
                Step::Index(index) => Segment::Index(*index),
            })
            .collect();
        if error.locations.is_empty()
            && let Some((.., pos)) = self.at.last()
        {
            error.locations.push(*pos);
        }
        self.errors.push(error);
    }

    /// An error at the present place whose value is null.
    fn fail(&mut self, error: Error) -> Done {
        self.raise(error);
        Err(Rise)
    }

    fn apply(&mut self, shape: &'a Shape, node: Node<'_>) -> Done {
        match (shape, node) {
            (Shape::LogCursor, _) => match &self.loaded.log_cursor {
                Some(cursor) => {
                    write_string(&mut self.out, cursor);
                    Ok(Wrote::Value)
                }
                None => Ok(Wrote::Null),
            },
            (_, Node::Missing) => Ok(Wrote::Null),
            (_, Node::Json(answer, at)) if answer.tape.tag(at) == Tag::Null => Ok(Wrote::Null),
            (_, Node::Cell(Cell::Leaf(serde_json::Value::Null))) => Ok(Wrote::Null),
            (Shape::Leaf(it), Node::Json(answer, at)) => self.leaf(it, answer, at),
            (Shape::Leaf(_), Node::Cell(cell)) => self.leaf_cell(cell),
            (Shape::List(items), Node::Json(answer, at)) => {
                if answer.tape.tag(at) != Tag::Array {
                    return self.fail(Error::internal("a list is not an array"));
                }
                let elements = answer.tape.elements(at).map(|element| Node::Json(answer, element));
                self.list(items, elements)
            }
            (Shape::List(items), Node::Cell(Cell::List(cells))) => self.list(items, cells.iter().map(Node::Cell)),
            (Shape::Object(fields), node) => self.object(fields, node),
            (Shape::Arms(arms), Node::Json(answer, at)) => self.arms(arms, answer, at),
            (Shape::Entry(entry), Node::Json(answer, at)) => self.entry(entry, answer, at),
            (Shape::Rows(window, items), Node::Json(answer, at)) => {
                let mut rows = window_rows(window, answer, at);
                rows.retain(|&row| self.is_there(&items.shape, answer, row));
                self.list(items, rows.into_iter().map(|row| Node::Json(answer, row)))
            }
            (Shape::PageInfo(window, fields), Node::Json(answer, at)) => self.page_info(window, fields, answer, at),
            (Shape::Load(site), node) => self.load(site, node),
            (shape, _) => {
                let what = format!("{shape:?}");
                self.fail(Error::internal(format!(
                    "a cell does not fit its shape {}",
                    what.split('(').next().unwrap_or_default()
                )))
            }
        }
    }

    fn list<'n>(&mut self, items: &'a Items, nodes: impl Iterator<Item = Node<'n>>) -> Done {
        self.out.push(b'[');
        for (index, node) in nodes.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let start = self.out.len();
            self.path.push(Step::Index(index));
            let done = self.settle(&items.shape, node, items.nullable, start);
            self.path.pop();
            done?;
        }
        self.out.push(b']');
        Ok(Wrote::Value)
    }

    fn object(&mut self, fields: &'a Fields, node: Node<'_>) -> Done {
        // The elements of a row are looked up once, not once for each field.
        let elements: smallvec::SmallVec<[usize; 32]> = match node {
            Node::Json(answer, at) => {
                self.rows += 1;
                answer.tape.elements(at).collect()
            }
            _ => smallvec::SmallVec::new(),
        };
        self.out.push(b'{');
        for (index, field) in fields.fields.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(&mut self.out, &field.key);
            self.out.push(b':');
            if let From::Known(json) = &field.from {
                if json == "null" && !field.nullable {
                    self.at.push((&fields.type_name, &field.name, field.pos));
                    self.path.push(Step::Key(&field.key));
                    self.raise_null();
                    self.path.pop();
                    self.at.pop();
                    return Err(Rise);
                }
                self.out.extend_from_slice(json.as_bytes());
                continue;
            }
            self.path.push(Step::Key(&field.key));
            self.at.push((&fields.type_name, &field.name, field.pos));
            let start = self.out.len();
            let done = match (&field.from, node) {
                (From::Record(name), Node::Cell(Cell::Record(record))) => {
                    let cell = record.field(name);
                    self.settle(&field.shape, Node::Cell(&cell), field.nullable, start)
                }
                (From::Part(name), Node::Cell(Cell::Record(record))) => {
                    let cell = record.field(name);
                    self.settle(&field.shape, Node::Cell(&cell), field.nullable, start)
                }
                (from, node) => {
                    let child = child(from, node, &elements);
                    self.settle(&field.shape, child, field.nullable, start)
                }
            };
            self.at.pop();
            self.path.pop();
            done?;
        }
        self.out.push(b'}');
        Ok(Wrote::Value)
    }

    fn arms(&mut self, arms: &'a [(Arc<Klass>, Arc<Fields>)], answer: &Answer, at: usize) -> Done {
        let mut elements = answer.tape.elements(at);
        let (Some(name), Some(row)) = (elements.next(), elements.next()) else {
            return self.fail(Error::internal("an object of one of several klasses does not say which"));
        };
        let name = answer.tape.string(name).unwrap_or_default();
        match arms.iter().find(|(klass, _)| klass.name == name) {
            Some((_, fields)) => self.object(fields, Node::Json(answer, row)),
            // Of a klass that the schema does not show (disabled since): as if it were not there.
            None => Ok(Wrote::Null),
        }
    }

    fn page_info(&mut self, window: &'a Window, fields: &'a Fields, answer: &Answer, at: usize) -> Done {
        let rows = window_rows(window, answer, at);
        let more = answer.tape.elements(at).count() > limit(window, answer);
        self.out.push(b'{');
        for (index, field) in fields.fields.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(&mut self.out, &field.key);
            self.out.push(b':');
            match (&field.shape, &field.from) {
                (_, From::Known(json)) => self.out.extend_from_slice(json.as_bytes()),
                (Shape::PageFact(fact), _) => {
                    let truth = |it: bool| if it { &b"true"[..] } else { &b"false"[..] };
                    match fact {
                        PageFact::HasNextPage => {
                            let it = if window.backward { window.before } else { more };
                            self.out.extend_from_slice(truth(it));
                        }
                        PageFact::HasPreviousPage => {
                            let it = if window.backward { more } else { window.after };
                            self.out.extend_from_slice(truth(it));
                        }
                        PageFact::StartCursor => self.row_cursor(window, answer, rows.first()),
                        PageFact::EndCursor => self.row_cursor(window, answer, rows.last()),
                    }
                }
                _ => self.out.extend_from_slice(b"null"),
            }
        }
        self.out.push(b'}');
        Ok(Wrote::Value)
    }

    fn row_cursor(&mut self, window: &Window, answer: &Answer, row: Option<&usize>) {
        let keys = row.zip(window.cursor).and_then(|(&row, index)| answer.tape.element(row, index));
        match keys {
            Some(keys) => {
                self.out.push(b'"');
                cursor::encode(window.order, answer.tape.raw(keys), &mut self.out);
                self.out.push(b'"');
            }
            None => self.out.extend_from_slice(b"null"),
        }
    }

    fn load(&mut self, site: &Site, node: Node<'_>) -> Done {
        let loaded = self.loaded;
        let id = match node {
            Node::Json(answer, at) => leaf::uuid(answer.tape.raw(at)),
            Node::Cell(Cell::Object(_, id)) => Some(id.0),
            Node::Cell(Cell::Record(record)) => return self.loaded_record(site.id, record),
            _ => None,
        };
        match id.and_then(|id| loaded.objects.get(&(site.id, id))) {
            Some(row) => self.object(&row.fields, Node::Json(&row.answer, row.node)),
            None => Ok(Wrote::Null),
        }
    }

    /// An entry of a timeline: the object for which it stands, or what it tells itself.
    fn entry(&mut self, entry: &'a Entry, answer: &Answer, at: usize) -> Done {
        match entry_of(entry, answer, at) {
            EntryKind::Event(fields) => self.object(fields, Node::Json(answer, at)),
            EntryKind::Row(fields, row) => self.object(fields, Node::Json(answer, row)),
            EntryKind::Object(site, id) => {
                let loaded = self.loaded;
                match loaded.objects.get(&(site.id, id)) {
                    Some(row) => self.object(&row.fields, Node::Json(&row.answer, row.node)),
                    None => Ok(Wrote::Null),
                }
            }
            EntryKind::Unknown => Ok(Wrote::Null),
        }
    }

    /// An entry whose object is gone (it may go between two statements), or whose klass the schema does not show, is left out.
    fn is_there(&self, shape: &Shape, answer: &Answer, row: usize) -> bool {
        match shape {
            Shape::Entry(entry) => match entry_of(entry, answer, row) {
                EntryKind::Event(_) | EntryKind::Row(..) => true,
                EntryKind::Object(site, id) => self.loaded.objects.contains_key(&(site.id, id)),
                EntryKind::Unknown => false,
            },
            Shape::Object(fields) => fields
                .fields
                .iter()
                .all(|field| !matches!(field.shape, Shape::Entry(_)) || self.is_there(&field.shape, answer, row)),
            _ => true,
        }
    }

    fn loaded_record(&mut self, site: usize, record: &Record) -> Done {
        let loaded = self.loaded;
        match loaded.records.get(&(site, record.type_name().to_owned())) {
            Some(fields) => {
                let cell = Cell::Record(record.clone());
                self.object(fields, Node::Cell(&cell))
            }
            None => self.fail(Error::internal(format!("no shape for a record of type {}", record.type_name()))),
        }
    }

    fn leaf_cell(&mut self, cell: &Cell) -> Done {
        match cell {
            Cell::Leaf(serde_json::Value::String(text)) => write_string(&mut self.out, text),
            Cell::Leaf(json) => self.out.extend_from_slice(json.to_string().as_bytes()),
            _ => return self.fail(Error::internal("a leaf's cell is not a leaf")),
        }
        Ok(Wrote::Value)
    }

    fn leaf(&mut self, leaf: &'a Leaf, answer: &Answer, at: usize) -> Done {
        if let Leaf::Title(pieces) = leaf {
            let title = title(pieces, answer, at);
            write_string(&mut self.out, &title);
            return Ok(Wrote::Value);
        }
        match scalar(leaf, &answer.tape, at, &mut self.out) {
            Some(()) => Ok(Wrote::Value),
            None => {
                let (what, text) = (format!("{leaf:?}"), answer.tape.text(at).into_owned());
                let what = what.split(['(', ' ']).next().unwrap_or_default().to_owned();
                self.fail(
                    Error::internal(format!("stored value does not fit {what}: {} bytes", text.len()))
                        .retold(format!("{what} cannot represent the stored value.")),
                )
            }
        }
    }
}

/// What an entry of a timeline is.
pub enum EntryKind<'a> {
    /// It tells of a change, itself.
    Event(&'a Arc<Fields>),
    /// It stands for an object, whose row came with it.
    Row(&'a Arc<Fields>, usize),
    /// It stands for an object, which is read by a statement of its own.
    Object(&'a Arc<Site>, Uuid),
    /// None of these.
    Unknown,
}

/// What the entry in this row is.
pub fn entry_of<'a>(entry: &'a Entry, answer: &Answer, row: usize) -> EntryKind<'a> {
    let tape = &answer.tape;
    let kind = tape.element(row, 1).and_then(|at| tape.string(at));
    if let Some((_, fields)) = entry.events.iter().find(|(it, _)| kind.as_deref() == Some(it)) {
        return EntryKind::Event(fields);
    }
    if let Some((_, fields)) = entry.objects.iter().find(|(it, _)| kind.as_deref() == Some(it.name.as_str())) {
        return match tape.element(row, 5) {
            Some(at) if tape.tag(at) == Tag::Array => EntryKind::Row(fields, at),
            _ => EntryKind::Unknown,
        };
    }
    let id = tape.element(row, 3).and_then(|at| leaf::uuid(tape.raw(at)));
    match entry.site.as_ref().zip(id) {
        Some((site, id)) => EntryKind::Object(site, id),
        None => EntryKind::Unknown,
    }
}

/// Where a field's node is in its parent's.
pub fn child<'n>(from: &From, node: Node<'n>, elements: &[usize]) -> Node<'n> {
    match (from, node) {
        (From::Whole, node) => node,
        (From::At(index), Node::Json(answer, _)) => elements.get(*index).map_or(Node::Missing, |&at| Node::Json(answer, at)),
        (From::In(index, inner), Node::Json(answer, _)) => elements
            .get(*index)
            .and_then(|&at| answer.tape.element(at, *inner))
            .map_or(Node::Missing, |at| Node::Json(answer, at)),
        (From::InPart(index, name), Node::Json(answer, _)) => elements
            .get(*index)
            .and_then(|&at| answer.tape.member(at, name))
            .map_or(Node::Missing, |at| Node::Json(answer, at)),
        (From::Part(name), Node::Json(answer, at)) => answer.tape.member(at, name).map_or(Node::Missing, |at| Node::Json(answer, at)),
        _ => Node::Missing,
    }
}

fn limit(window: &Window, answer: &Answer) -> usize {
    match window.limit {
        Count::Known(number) => number as usize,
        Count::Arg(index) => match answer.arguments.get(index) {
            Some(Value::Integer(number)) => usize::try_from(*number).unwrap_or(0),
            _ => 0,
        },
    }
}

/// The rows that are the page, in the order of the list.
pub fn window_rows(window: &Window, answer: &Answer, at: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = answer.tape.elements(at).take(limit(window, answer)).collect();
    if window.backward {
        rows.reverse();
    }
    rows
}

/// A record that is known when the plan is made, as JSON.
pub fn known(shape: &Shape, cell: Cell) -> Result<String, Error> {
    let loaded = Loaded::default();
    let mut writer = Writer::new(&loaded);
    let done = writer.settle(shape, Node::Cell(&cell), true, 0);
    if let Some(error) = writer.errors.pop() {
        return Err(error);
    }
    match done {
        Ok(()) => String::from_utf8(writer.out).map_err(Error::internal),
        Err(Rise) => Err(Error::internal("a known record may not be null")),
    }
}
