//! `klio import`: files of other systems' records, streamed into objects by a mapping.
//!
//! Reading order: [`mapping`] (what becomes of a record), [`path`] and [`expression`] (how a value is made), [`source`] (files as
//! streams), [`make`] (records into drafts), `reader` (drafts into batches), [`run`] (batches through [`Store::write`]), `late` (what
//! waits for objects that come later in the file), `dry` (the same, and nothing written).
//!
//! | | |
//! |---|---|
//! | reading | a thread of its own reads and maps, at most two batches ahead of what is written |
//! | writing | 1,000 drafts at a time, each an upsert by its key: doing it twice changes nothing. On Postgres two batches at the same time |
//! | a bad record | is told with file, line or record, path and reason; the others go on |
//! | a link that leads nowhere yet | the object comes without it (or waits, if it cannot be without), and it is tried again at the end |
//! | the klasses are changed meanwhile | the batch at hand is made anew, by the new ones |
//! | interrupted | the next run goes on behind the last batch that was committed |
//!
//! What must never be: a whole file in memory; a position that is noted before what lies before it is committed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use klio_entities::klass::Faults;
use klio_entities::store::StoreError;
use tokio_util::sync::CancellationToken;

mod attempt;
mod dry;
mod expression;
mod late;
mod make;
mod mapping;
mod path;
mod progress;
mod reader;
mod run;
mod settle;
pub mod source;

pub use run::import;

/// What is to be imported, and how.
#[derive(Clone, Debug)]
pub struct Import {
    /// The file.
    pub file: PathBuf,
    /// How it is written; by its name when not said.
    pub format: Option<source::Format>,
    /// What its records become.
    pub klass: String,
    /// The text of the mapping.
    pub mapping: String,
    /// Only reads, and says what is wrong with what was read.
    pub dry_run: bool,
    /// How many drafts one write takes, about.
    pub batch: usize,
    /// Ends it behind the batch at hand.
    pub stop: CancellationToken,
}

/// How many drafts one write takes when nothing else is said.
pub const BATCH: usize = 1_000;

/// Who is told as it goes on.
pub trait Watch: Send {
    /// Something was not imported.
    fn bad(&mut self, bad: &Bad);
    /// So far has it come.
    fn at(&mut self, at: &Progress);
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes read of the file.
    pub bytes: u64,
    /// Bytes that it has.
    pub of: u64,
    /// Objects that went through, whatever became of them.
    pub objects: u64,
}

/// Something that was not imported, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The file's name.
    pub file: String,
    /// The record's line, where a record is a line.
    pub line: Option<u64>,
    /// The record's place, from 1.
    pub record: u64,
    /// The record's key, in an object of records.
    pub key: Option<String>,
    /// Where in the record: `items[1]`.
    pub place: String,
    /// The klass, with the property or relationship: `order-item.product`.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match (self.line, &self.key) {
            (Some(line), _) => write!(f, ":{line}")?,
            (None, Some(key)) => write!(f, " [\"{key}\"] (record {})", self.record)?,
            (None, None) => write!(f, " [{}]", self.record.saturating_sub(1))?,
        }
        for part in [&self.place, &self.path].into_iter().filter(|part| !part.is_empty()) {
            write!(f, " {part}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What became of the objects of a klass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// New ones. With `dry_run`: those with nothing wrong.
    pub created: u64,
    /// Changed ones.
    pub updated: u64,
    /// Those that were as the file says.
    pub unchanged: u64,
    /// Those that were refused.
    pub failed: u64,
}

/// What came of an import.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// By klass, in the order in which they came.
    pub klasses: IndexMap<String, Tally>,
    /// Records read.
    pub records: u64,
    /// Records that were imported by an earlier run and not read again.
    pub skipped: u64,
    /// What an earlier run of this import refused.
    pub failed_before: u64,
    /// Records that could not be read.
    pub unreadable: u64,
    /// Links that led to objects that came later.
    pub late_links: u64,
    /// Links that lead nowhere.
    pub lost_links: u64,
    /// How long it took.
    pub took: Duration,
    /// It was stopped before its end.
    pub stopped: bool,
}

impl Summary {
    /// All objects that were written or found as they should be.
    pub fn objects(&self) -> u64 {
        self.klasses
            .values()
            .map(|tally| tally.created + tally.updated + tally.unchanged)
            .sum()
    }

    /// Everything that did not come in.
    pub fn failed(&self) -> u64 {
        self.unreadable + self.lost_links + self.klasses.values().map(|tally| tally.failed).sum::<u64>()
    }
}

/// Why an import cannot go on. What was written stays; run again, it goes on behind that.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The mapping is wrong.
    #[error("the mapping is wrong:\n{0}")]
    Mapping(Faults),
    /// The file.
    #[error("{0}")]
    Source(#[from] source::SourceError),
    /// The file's name does not say how it is written.
    #[error("{} does not end in .json, .ndjson, .jsonl, .csv or .tsv: say how it is written with --format", .0.display())]
    Format(PathBuf),
    /// The klasses were changed again and again while it ran.
    #[error("the klasses were changed again and again meanwhile; run it again, it goes on where it stopped")]
    Stale,
    /// The store.
    #[error("{0}")]
    Store(StoreError),
    /// Where that is kept which waits.
    #[error("{}: {error}", path.display())]
    Late {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stale => ImportError::Stale,
            other => ImportError::Store(other),
        }
    }
}

#[cfg(test)]
mod tests;
