//! The table, its file, and what two of them say together.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::drive::Round;
use crate::queries::Query;

/// A row of the table: a question on a database.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Line {
    pub backend: String,
    pub query: String,
    pub what: String,
    pub bar: f64,
    /// Requests per second.
    pub gateway: f64,
    pub floor: f64,
    /// Median of the rounds' ratios.
    pub ratio: f64,
    pub ratios: Vec<f64>,
    /// Microseconds.
    pub gateway_p50: u32,
    pub gateway_p99: u32,
    pub floor_p50: u32,
    pub floor_p99: u32,
    /// Processor time per request in microseconds: the gateway alone, and with the database's.
    pub gateway_micros: f64,
    pub both_micros: f64,
    pub floor_micros: f64,
    /// Bytes of an answer.
    pub bytes: u64,
    pub floor_bytes: u64,
    /// The gateway's memory after the load, in bytes: its own, and all that is resident.
    pub memory: u64,
    #[serde(default)]
    pub resident: u64,
    #[serde(skip)]
    pub gateway_cpu: Duration,
    #[serde(skip)]
    pub both_cpu: Duration,
    #[serde(skip)]
    pub floor_cpu: Duration,
}

impl Line {
    pub fn new(backend: &str, query: &Query) -> Self {
        Self {
            backend: backend.to_owned(),
            query: query.name.to_owned(),
            what: query.what.to_owned(),
            bar: query.bar,
            ..Self::default()
        }
    }

    pub fn finish(&mut self, mut gateway: Round, mut floor: Round) {
        let per = |time: Duration, round: &Round| time.as_secs_f64() * 1e6 / round.micros.len().max(1) as f64;
        self.gateway_micros = per(self.gateway_cpu, &gateway);
        self.both_micros = per(self.both_cpu, &gateway);
        self.floor_micros = per(self.floor_cpu, &floor);
        (self.gateway, self.floor) = (gateway.rate(), floor.rate());
        (self.gateway_p50, self.gateway_p99) = (gateway.within(0.5), gateway.within(0.99));
        (self.floor_p50, self.floor_p99) = (floor.within(0.5), floor.within(0.99));
        self.bytes = gateway.bytes / gateway.micros.len().max(1) as u64;
        self.floor_bytes = floor.bytes / floor.micros.len().max(1) as u64;
        let mut ratios = self.ratios.clone();
        ratios.sort_by(f64::total_cmp);
        self.ratio = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    }

    pub fn heading() {
        println!(
            "{:<3} {:>9} {:>9} {:>6} {:>5}  {:>8} {:>8} {:>8} {:>8}  {:>7} {:>7} {:>7}  {:>7} {:>5} {:>5}  what",
            "",
            "gateway/s",
            "floor/s",
            "ratio",
            "bar",
            "p50 ms",
            "floor",
            "p99 ms",
            "floor",
            "cpu µs",
            "+db",
            "floor",
            "bytes",
            "MB",
            "rss"
        );
    }

    pub fn print(&self) {
        let ms = |micros: u32| f64::from(micros) / 1000.0;
        println!(
            "{:<3} {:>9.0} {:>9.0} {:>5.0}% {:>4.0}%{} {:>8.2} {:>8.2} {:>8.2} {:>8.2}{} {:>7.0} {:>7.0} {:>7.0}  {:>7} {:>5} {:>5}  {}",
            self.query,
            self.gateway,
            self.floor,
            self.ratio * 100.0,
            self.bar * 100.0,
            if self.ratio < self.bar { "!" } else { " " },
            ms(self.gateway_p50),
            ms(self.floor_p50),
            ms(self.gateway_p99),
            ms(self.floor_p99),
            if self.gateway_p99 > 3 * self.floor_p99 { "!" } else { " " },
            self.gateway_micros,
            self.both_micros,
            self.floor_micros,
            self.bytes,
            self.memory / 1_000_000,
            self.resident / 1_000_000,
            self.what
        );
    }
}

/// All lines of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub lines: Vec<Line>,
}

impl Results {
    /// Writes them into a folder, under the time.
    pub fn save(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let path = folder.join(format!("{now}.json"));
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }
}

/// Prints the ratios of two runs beside each other.
pub fn compare(before: &Path, after: &Path) -> anyhow::Result<()> {
    let read = |path: &Path| -> anyhow::Result<Results> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    };
    let (before, after) = (read(before)?, read(after)?);
    println!(
        "{:<11} {:<3} {:>14} {:>14} {:>16} {:>16}",
        "", "", "ratio before", "after", "cpu µs before", "after"
    );
    for new in &after.lines {
        if let Some(old) = before
            .lines
            .iter()
            .find(|old| (&old.backend, &old.query) == (&new.backend, &new.query))
        {
            println!(
                "{:<11} {:<3} {:>13.0}% {:>13.0}% {:>16.0} {:>16.0}",
                new.backend,
                new.query,
                old.ratio * 100.0,
                new.ratio * 100.0,
                old.gateway_micros,
                new.gateway_micros
            );
        }
    }
    Ok(())
}

/// Whether two answers say the same, each in its own writing of ids, enum values, times and numbers; else where they differ.
pub fn same(ours: &Json, theirs: &Json) -> Result<(), String> {
    match (ours, theirs) {
        (Json::Object(a), Json::Object(b)) => {
            for (key, value) in a {
                let other = b.get(key).ok_or_else(|| format!("{key} (missing)"))?;
                same(value, other).map_err(|place| format!("{key}.{place}"))?;
            }
            if a.len() == b.len() {
                Ok(())
            } else {
                Err("(more fields)".to_owned())
            }
        }
        (Json::Array(a), Json::Array(b)) => {
            if a.len() != b.len() {
                return Err(format!("(length {} and {})", a.len(), b.len()));
            }
            a.iter()
                .zip(b)
                .enumerate()
                .try_for_each(|(i, (a, b))| same(a, b).map_err(|place| format!("{i}.{place}")))
        }
        (Json::Null, Json::Null) => Ok(()),
        (Json::Null, _) | (_, Json::Null) => Err(format!("({ours} and {theirs})")),
        (Json::String(a), Json::String(b)) => {
            let is_id = a.split_once('_').is_some_and(|(_, id)| id.len() == 26);
            let time = |text: &str| text.get(..19).map(str::to_owned);
            let number = |text: &str| text.parse::<f64>().ok();
            let alike = is_id
                || a.eq_ignore_ascii_case(b)
                || time(a).is_some_and(|at| Some(at) == time(b))
                || number(a).is_some_and(|n| Some(n) == number(b));
            if alike { Ok(()) } else { Err(format!("({a} and {b})")) }
        }
        // SQLite keeps times and exact numbers as whole numbers, and the floor leaves them so.
        (Json::String(_) | Json::Bool(_), Json::Number(_)) => Ok(()),
        _ if ours == theirs => Ok(()),
        _ => Err(format!("({ours} and {theirs})")),
    }
}
