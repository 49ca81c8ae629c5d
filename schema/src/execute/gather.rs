//! Finds what an answer leaves to further statements: objects known only by id. The same walk as `write`, without writing.

use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use klio_entities::klass::{Klass, Registry};
use uuid::Uuid;

use super::leaf;
use super::record::{Cell, Record};
use super::tape::Tag;
use super::write::{Answer, EntryKind, Node, child, entry_of, window_rows};
use crate::plan::shape::{Fields, From, Shape};
use crate::plan::site::Site;

/// Objects of a klass that are wanted at a place.
pub type Objects = (Arc<Site>, Arc<Klass>, IndexSet<Uuid>);

/// What is still to be read.
pub struct Wanted<'r> {
    registry: &'r Registry,
    /// By place and klass: the ids.
    pub objects: IndexMap<(usize, String), Objects>,
    /// Records at places where objects may stand.
    pub records: Vec<(Arc<Site>, Record)>,
}

impl<'r> Wanted<'r> {
    /// Nothing so far. The registry tells the klasses that answers name.
    pub fn new(registry: &'r Registry) -> Self {
        Self {
            registry,
            objects: IndexMap::new(),
            records: Vec::new(),
        }
    }

    /// Nothing is.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.records.is_empty()
    }

    /// An object at a place.
    pub fn object(&mut self, site: &Arc<Site>, klass: &Arc<Klass>, id: Uuid) {
        self.objects
            .entry((site.id, klass.name.clone()))
            .or_insert_with(|| (site.clone(), klass.clone(), IndexSet::new()))
            .2
            .insert(id);
    }

    /// What a node leaves open.
    pub fn node(&mut self, shape: &Shape, node: Node<'_>) {
        match (shape, node) {
            (_, Node::Missing) => {}
            (_, Node::Json(answer, at)) if answer.tape.tag(at) == Tag::Null => {}
            (Shape::List(items), Node::Json(answer, at)) => {
                for element in answer.tape.elements(at) {
                    self.node(&items.shape, Node::Json(answer, element));
                }
            }
            (Shape::List(items), Node::Cell(Cell::List(cells))) => {
                for cell in cells {
                    self.node(&items.shape, Node::Cell(cell));
                }
            }
            (Shape::Rows(window, items), Node::Json(answer, at)) => {
                for row in window_rows(window, answer, at) {
                    self.node(&items.shape, Node::Json(answer, row));
                }
            }
            (Shape::Object(fields), node) => self.fields(fields, node),
            (Shape::Arms(arms), Node::Json(answer, at)) => {
                let mut elements = answer.tape.elements(at);
                if let (Some(name), Some(row)) = (elements.next(), elements.next()) {
                    let name = answer.tape.string(name).unwrap_or_default();
                    if let Some((_, fields)) = arms.iter().find(|(klass, _)| klass.name == name) {
                        self.fields(fields, Node::Json(answer, row));
                    }
                }
            }
            (Shape::Entry(entry), Node::Json(answer, row)) => match entry_of(entry, answer, row) {
                EntryKind::Event(fields) => self.fields(fields, Node::Json(answer, row)),
                EntryKind::Row(fields, at) => self.fields(fields, Node::Json(answer, at)),
                EntryKind::Object(site, id) => {
                    let klass = answer.tape.element(row, 2).and_then(|at| answer.tape.string(at));
                    if let Some(klass) = klass.and_then(|name| self.registry.klass(&name)).filter(|klass| klass.enabled) {
                        let klass = klass.clone();
                        self.object(site, &klass, id);
                    }
                }
                EntryKind::Unknown => {}
            },
            (Shape::Load(site), Node::Json(answer, at)) => {
                if let (Some(id), Some(klass)) = (leaf::uuid(answer.tape.raw(at)), &site.klass) {
                    self.object(site, klass, id);
                }
            }
            (Shape::Load(site), Node::Cell(cell)) => match cell {
                Cell::Object(klass, id) => self.object(site, klass, id.0),
                Cell::Record(record) => self.records.push((site.clone(), record.clone())),
                _ => {}
            },
            _ => {}
        }
    }

    /// What the fields of a node leave open.
    pub fn fields(&mut self, fields: &Fields, node: Node<'_>) {
        let elements: smallvec::SmallVec<[usize; 32]> = match node {
            Node::Json(answer, at) => answer.tape.elements(at).collect(),
            _ => smallvec::SmallVec::new(),
        };
        for field in &fields.fields {
            match (&field.shape, &field.from, node) {
                (Shape::Leaf(_) | Shape::LogCursor | Shape::PageFact(_) | Shape::PageInfo(..), ..) => {}
                (shape, From::Record(name), Node::Cell(Cell::Record(record))) => {
                    let cell = record.field(name);
                    self.node(shape, Node::Cell(&cell));
                }
                (shape, from, node) => self.node(shape, child(from, node, &elements)),
            }
        }
    }

    /// What a whole answer leaves open.
    pub fn answer(&mut self, shape: &Shape, answer: &Answer) {
        self.node(shape, Node::Json(answer, 0));
    }
}
