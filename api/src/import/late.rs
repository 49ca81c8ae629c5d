//! What waits for objects that come later in the file: kept in a file, so that there may be any number of them.
//!
//! The file outlives the process: an import that goes on finds in it what its earlier run left waiting.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::ImportError;
use super::source::Record;

/// A record of which something waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    key: Option<String>,
    index: u64,
    line: Option<u64>,
    json: Json,
    /// What of it.
    pub parts: Vec<Part>,
}

/// An object, or some links of it, that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    /// The object's place among those of its record.
    pub ordinal: usize,
    /// The ends that are missing; empty: the object as a whole waits.
    pub ends: Vec<String>,
    /// What was said of it last: which path, and why.
    pub told: Vec<(String, String)>,
}

impl Waiting {
    pub fn new(record: &Record) -> Self {
        Self {
            key: record.key.clone(),
            index: record.index,
            line: record.line,
            json: record.json.clone(),
            parts: Vec::new(),
        }
    }

    pub fn record(&self) -> Record {
        Record {
            json: self.json.clone(),
            key: self.key.clone(),
            index: self.index,
            line: self.line,
        }
    }
}

/// The file of what waits.
pub(super) struct Late {
    path: PathBuf,
    out: BufWriter<File>,
    /// How many records are in it.
    pub count: u64,
}

/// Where such files are kept: with other things that programs keep of a user.
fn folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or(home).unwrap_or_else(std::env::temp_dir).join("klio/imports")
}

fn owned(path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |error| ImportError::Late { path, error }
}

impl Late {
    /// The file of an import; what is in it already stays when `keep`. `None`: it was to be kept and is not there.
    pub fn open(name: &str, keep: bool) -> Result<Option<Self>, ImportError> {
        let folder = folder();
        // Records may hold what is no one else's business.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(owned(&folder))?;
        let path = folder.join(format!("{name}.ndjson"));
        let count = match (keep, File::open(&path)) {
            (true, Ok(file)) => BufReader::new(file).lines().count() as u64,
            (true, Err(_)) => return Ok(None),
            (false, _) => 0,
        };
        Ok(Some(Self::make(path, keep, count)?))
    }

    fn make(path: PathBuf, keep: bool, count: u64) -> Result<Self, ImportError> {
        let mut options = OpenOptions::new();
        options.create(true).mode(0o600);
        if keep {
            options.append(true);
        } else {
            options.write(true).truncate(true);
        }
        let file = options.open(&path).map_err(owned(&path))?;
        Ok(Self {
            path,
            out: BufWriter::new(file),
            count,
        })
    }

    /// Puts a record in.
    pub fn put(&mut self, waiting: &Waiting) -> Result<(), ImportError> {
        let line = serde_json::to_string(waiting).map_err(|error| owned(&self.path)(error.into()))?;
        self.count += 1;
        writeln!(self.out, "{line}").map_err(owned(&self.path))
    }

    /// Puts down what was put in; before the position is noted that lies behind it.
    pub fn flush(&mut self) -> Result<(), ImportError> {
        self.out.flush().map_err(owned(&self.path))
    }

    /// All that is in it, one by one, in order.
    pub fn read(&mut self) -> Result<impl Iterator<Item = Result<Waiting, ImportError>> + use<>, ImportError> {
        self.flush()?;
        let file = File::open(&self.path).map_err(owned(&self.path))?;
        let path = self.path.clone();
        Ok(BufReader::new(file).lines().filter_map(move |line| match line {
            Err(error) => Some(Err(owned(&path)(error))),
            // A line that was cut by the end of an earlier run lies behind its last position: its record comes again.
            Ok(line) => serde_json::from_str(&line).ok().map(Ok),
        }))
    }

    /// An empty one, to take this one's place by [`Late::replace`].
    pub fn next(&self) -> Result<Self, ImportError> {
        Self::make(self.path.with_extension("next"), false, 0)
    }

    /// Takes the place of another.
    pub fn replace(mut self, other: Late) -> Result<Self, ImportError> {
        self.flush()?;
        let path = other.path.clone();
        drop(other);
        std::fs::rename(&self.path, &path).map_err(owned(&path))?;
        Self::make(path, true, self.count)
    }

    /// Takes the file away.
    pub fn remove(self) -> Result<(), ImportError> {
        std::fs::remove_file(&self.path).map_err(owned(&self.path))
    }
}
