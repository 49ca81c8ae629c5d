//! Files as streams of records: JSON (a list, or an object of records by key), NDJSON (a record a line), CSV and TSV (a record a row).
//! Never more of a file is in memory than the records at hand.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A list of records, or an object of records by key.
    Json,
    /// A record a line.
    Ndjson,
    /// A record a row, with a heading; cells separated by commas.
    Csv,
    /// The same, separated by tabs.
    Tsv,
}

impl Format {
    /// What a file's name says.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "json" => Format::Json,
            "ndjson" | "jsonl" => Format::Ndjson,
            "csv" => Format::Csv,
            "tsv" => Format::Tsv,
            _ => return None,
        })
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it says.
    pub json: Json,
    /// Its key, in an object of records.
    pub key: Option<String>,
    /// Its place in the file, from 0.
    pub index: u64,
    /// Its line, where a record is a line or a row; from 1.
    pub line: Option<u64>,
}

/// What comes of a file.
#[derive(Debug)]
pub enum Item {
    /// A record.
    Record(Record),
    /// One that could not be read; the next one can.
    Bad {
        /// Its place, from 0.
        index: u64,
        /// Its line.
        line: u64,
        /// Why.
        reason: String,
    },
}

/// Why a file cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system says so.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not JSON (any more) from somewhere on.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        error: String,
    },
}

/// Counts what is read of a file.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Reads a file, leaving out the first `skip` records, and gives each record to `take` until that answers `false`.
/// `bytes` tells how far it has come.
///
/// # Errors
/// What keeps it from being read to its end; what came before was given.
pub fn read(path: &Path, format: Format, skip: u64, bytes: Arc<AtomicU64>, take: &mut dyn FnMut(Item) -> bool) -> Result<(), SourceError> {
    let io = |error| SourceError::Io {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(io)?;
    let mut reader = BufReader::with_capacity(1 << 17, Counted { inner: file, bytes });
    // A mark of the byte order is no part of what is said.
    if reader.fill_buf().map_err(io)?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    match format {
        Format::Json => {
            let mut json = serde_json::Deserializer::from_reader(reader);
            let mut stopped = false;
            let seed = Records {
                skip,
                take,
                stopped: &mut stopped,
            };
            let read = seed.deserialize(&mut json).and_then(|()| json.end());
            match read {
                Err(error) if !stopped && error.is_io() => Err(io(error.into())),
                Err(error) if !stopped => Err(SourceError::Syntax {
                    path: path.to_owned(),
                    error: error.to_string(),
                }),
                _ => Ok(()),
            }
        }
        Format::Ndjson => lines(reader, skip, take).map_err(io),
        Format::Csv => rows(reader, b',', skip, take).map_err(io),
        Format::Tsv => rows(reader, b'\t', skip, take).map_err(io),
    }
}

fn lines(mut reader: impl BufRead, skip: u64, take: &mut dyn FnMut(Item) -> bool) -> io::Result<()> {
    let (mut line, mut index) = (0, 0);
    let mut text = Vec::new();
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text)? == 0 {
            return Ok(());
        }
        line += 1;
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let item = match serde_json::from_slice(&text) {
            _ if index < skip => None,
            Ok(json) => Some(Item::Record(Record {
                json,
                key: None,
                index,
                line: Some(line),
            })),
            Err(error) => Some(Item::Bad {
                index,
                line,
                reason: format!("this line is not JSON: {error}"),
            }),
        };
        index += 1;
        if item.is_some_and(|item| !take(item)) {
            return Ok(());
        }
    }
}

fn rows(reader: impl Read, delimiter: u8, skip: u64, take: &mut dyn FnMut(Item) -> bool) -> io::Result<()> {
    let mut csv = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader);
    let heads: Vec<String> = csv.headers()?.iter().map(|head| head.trim().to_owned()).collect();
    let mut row = csv::StringRecord::new();
    let mut index = 0;
    loop {
        let before = csv.position().line();
        let item = match csv.read_record(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                // An empty cell says that there is no value.
                let cell = |text: &str| if text.is_empty() { Json::Null } else { Json::from(text) };
                let cells: Map<String, Json> = heads.iter().cloned().zip(row.iter().map(cell)).collect();
                Item::Record(Record {
                    json: Json::Object(cells),
                    key: None,
                    index,
                    line: Some(row.position().map_or(before, csv::Position::line)),
                })
            }
            Err(error) => match error.kind() {
                csv::ErrorKind::Io(_) => return Err(error.into()),
                csv::ErrorKind::UnequalLengths { expected_len, len, pos } => Item::Bad {
                    index,
                    line: pos.as_ref().map_or(before, csv::Position::line),
                    reason: format!("this row has {len} cells, and the heading has {expected_len}"),
                },
                _ => Item::Bad {
                    index,
                    line: before,
                    reason: error.to_string(),
                },
            },
        };
        index += 1;
        if index > skip && !take(item) {
            return Ok(());
        }
    }
}

/// Gives the records of a JSON list or object one by one.
struct Records<'t> {
    skip: u64,
    take: &'t mut dyn FnMut(Item) -> bool,
    /// Set when the one who takes has had enough: the error that ends the reading is then none.
    stopped: &'t mut bool,
}

impl Records<'_> {
    fn give<E: serde::de::Error>(&mut self, json: Json, key: Option<String>, index: u64) -> Result<(), E> {
        let record = Record {
            json,
            key,
            index,
            line: None,
        };
        if (self.take)(Item::Record(record)) {
            return Ok(());
        }
        *self.stopped = true;
        Err(E::custom("that was enough"))
    }
}

impl<'de> DeserializeSeed<'de> for Records<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of records, or an object of records by key")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while index < self.skip && items.next_element::<IgnoredAny>()?.is_some() {
            index += 1;
        }
        while let Some(json) = items.next_element::<Json>()? {
            self.give(json, None, index)?;
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while index < self.skip && items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            index += 1;
        }
        while let Some((key, json)) = items.next_entry::<String, Json>()? {
            self.give(json, Some(key), index)?;
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(name: &str, text: &str, skip: u64) -> (Vec<Item>, Result<(), SourceError>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let mut items = Vec::new();
        let format = Format::of(&path).expect("a format");
        let done = read(&path, format, skip, Arc::default(), &mut |item| {
            items.push(item);
            true
        });
        (items, done)
    }

    fn told(items: &[Item]) -> Vec<Json> {
        let told = |item: &Item| match item {
            Item::Record(r) => json!([r.index, r.line, r.key, r.json]),
            Item::Bad { index, line, .. } => json!([index, line, "bad"]),
        };
        items.iter().map(told).collect()
    }

    #[test]
    fn json_comes_record_by_record() {
        let (items, done) = all("a.json", r#"[1, {"a": 2}]"#, 0);
        assert!(done.is_ok());
        assert_eq!(told(&items), [json!([0, null, null, 1]), json!([1, null, null, {"a": 2}])]);
        let (items, done) = all("a.json", "\u{feff}{\"x\": 1, \"y\": [2]}", 1);
        assert!(done.is_ok());
        assert_eq!(told(&items), [json!([1, null, "y", [2]])]);
        // What comes before a mistake is given.
        let (items, done) = all("a.json", "[1,\n2,\n x]", 0);
        assert_eq!(items.len(), 2);
        assert!(done.expect_err("a mistake").to_string().contains("line 3"));
        let (_, done) = all("a.json", "17", 0);
        assert!(done.expect_err("no records").to_string().contains("a list of records"));
    }

    #[test]
    fn lines_and_rows_go_on_after_a_bad_one() {
        let (items, done) = all("a.jsonl", "{\"a\":1}\n\n{oops\n{\"a\":3}", 0);
        assert!(done.is_ok());
        assert_eq!(
            told(&items),
            [json!([0, 1, null, {"a": 1}]), json!([1, 3, "bad"]), json!([2, 4, null, {"a": 3}])]
        );
        let (items, done) = all("a.csv", "a,b\n1,\"x\ny\"\n2\n,z\n", 0);
        assert!(done.is_ok());
        assert_eq!(
            told(&items),
            [
                json!([0, 2, null, {"a": "1", "b": "x\ny"}]),
                json!([1, 4, "bad"]),
                json!([2, 5, null, {"a": null, "b": "z"}])
            ]
        );
        let (items, _) = all("a.tsv", "a\tb\n1\t2\n3\t4\n", 1);
        assert_eq!(told(&items), [json!([1, 3, null, {"a": "3", "b": "4"}])]);
    }
}
