//! A customer's timeline: a page of entries of many kinds, then what is selected of each entry, in batches by klass.

use super::Fetch;
use super::compiler::{Asked, Became, Compiler, Outputs};
use crate::error::Error;

/// A selected timeline.
#[derive(Debug)]
pub struct Timeline {
    /// Tells timelines of one process apart.
    pub id: usize,
    /// The statement; its first argument is the customer's id.
    pub fetch: Fetch,
}

impl<'a> Compiler<'a> {
    /// `customer.timeline(…)`.
    pub fn timeline(&mut self, _asked: &Asked<'a>, _outputs: &mut Outputs) -> Result<Became, Error> {
        Err(Error::bad("the timeline cannot be read yet."))
    }
}
