//! A place in an answer where the object's klass, or which object it is, shows only at run time: `node(id:)`, an entry of a
//! timeline, the object of a mutation's payload, the key of a group. What is selected there is compiled for a klass when an
//! object of it first turns up, and read in batches: one statement for each klass present, whatever the number of objects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql_parser::types::SelectionSet;
use klio_entities::klass::Klass;

use super::compiler::{Compiler, Ground};
use super::shape::Fields;
use super::{Document, Fetch};
use crate::error::Error;

/// See the head of this file.
#[derive(Debug)]
pub struct Site {
    /// Tells sites of one process apart.
    pub id: usize,
    /// The type of the field: an object type, an interface or a union.
    pub on: String,
    /// The klass, where the type is that of one: a node that is only an id is then of it.
    pub klass: Option<Arc<Klass>>,
    /// Soft-deleted objects too (the object that a delete's payload shows).
    pub deleted: bool,
    document: Arc<Document>,
    selections: Vec<SelectionSet>,
    arms: Mutex<HashMap<String, Vec<Arc<Fetch>>>>,
    records: Mutex<HashMap<String, Arc<Fields>>>,
}

/// How many variants of an arm are kept (they differ in what became a part of the statement, such as the nulls of a cursor).
const VARIANTS: usize = 8;

impl Site {
    /// A place where these selections stand.
    pub fn new(on: &str, klass: Option<Arc<Klass>>, deleted: bool, document: Arc<Document>, selections: Vec<SelectionSet>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            on: on.to_owned(),
            klass,
            deleted,
            document,
            selections,
            arms: Mutex::default(),
            records: Mutex::default(),
        }
    }

    /// The statement that reads objects of a klass for this place: a `Read::Many` whose first argument is the list of ids and
    /// whose rows begin with the id. The shape is that of one row.
    pub fn arm(&self, ground: &Ground<'_>, klass: &Arc<Klass>) -> Result<Arc<Fetch>, Error> {
        if let Some(variants) = lock(&self.arms).get(&klass.name)
            && let Some(arm) = variants
                .iter()
                .find(|arm| arm.guards.iter().all(|guard| guard.holds(ground.variables)))
        {
            return Ok(arm.clone());
        }
        let sets: Vec<&SelectionSet> = self.selections.iter().collect();
        let arm = Arc::new(Compiler::new(ground, &self.document).many(klass, &sets, self.deleted)?);
        let mut arms = lock(&self.arms);
        let variants = arms.entry(klass.name.clone()).or_default();
        if variants.len() >= VARIANTS {
            variants.remove(0);
        }
        variants.push(arm.clone());
        Ok(arm)
    }

    /// The shape of a record (not an object of a klass) that turns up here: an entry of a timeline that tells of a change.
    pub fn record(&self, ground: &Ground<'_>, type_name: &str) -> Result<Arc<Fields>, Error> {
        if let Some(fields) = lock(&self.records).get(type_name) {
            return Ok(fields.clone());
        }
        let sets: Vec<&SelectionSet> = self.selections.iter().collect();
        let mut compiler = Compiler::new(ground, &self.document);
        let on = compiler.named_object(type_name)?;
        let (fields, _) = compiler.record(on, &sets)?;
        let fields = Arc::new(fields);
        lock(&self.records).insert(type_name.to_owned(), fields.clone());
        Ok(fields)
    }
}

/// These are maps of finished values only: what another thread left behind when it panicked is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
