//! `klio import`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use klio_entities::klass::{Actor, OrgId};
use tokio_util::sync::CancellationToken;

use super::{Failure, open, org_or_only, print, table};
use crate::config::Config;
use crate::import::source::Format;
use crate::import::{self, Bad, ImportError, Progress, Summary, Watch};

/// Import records of another system: JSON (a list, or an object of records by key), NDJSON or CSV, of any size.
///
/// Prints a table of what became of the records. A mapping says what becomes of a record; docs/import.md describes it. Each record is an upsert by its key, so that running it
/// again changes nothing, and an import that was interrupted goes on where it stopped. Records that are refused are told on stderr
/// and the others go on; then the exit code is 1.
#[derive(Args, Debug)]
pub struct ImportCommand {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The klass that its records become.
    #[arg(long, value_name = "NAME")]
    klass: String,
    /// The mapping, in TOML.
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// Slug of the org; may be left out when there is only one.
    #[arg(long)]
    org: Option<String>,
    /// How the file is written, when its name does not tell.
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Do all of it and write nothing: what would be refused is told, links and unique values too.
    #[arg(long)]
    dry_run: bool,
}

/// Formats, as the command line names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FormatName {
    /// A list of records, or an object of records by key.
    Json,
    /// A record a line.
    Ndjson,
    /// A row a record, with a heading.
    Csv,
    /// The same, separated by tabs.
    Tsv,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Json => Format::Json,
            FormatName::Ndjson => Format::Ndjson,
            FormatName::Csv => Format::Csv,
            FormatName::Tsv => Format::Tsv,
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Mapping(_) | ImportError::Format(_) => Failure::Usage(error.to_string()),
            other => Failure::Failed(other.to_string()),
        }
    }
}

/// A bar on a terminal; bad records above it, a line each.
struct Bar {
    bar: ProgressBar,
    began: Instant,
}

impl Bar {
    fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is ours; were it wrong, the bar would have another look.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {msg}, {eta} to go") {
            bar.set_style(style);
        }
        Self {
            bar,
            began: Instant::now(),
        }
    }
}

impl Watch for Bar {
    fn bad(&mut self, bad: &Bad) {
        self.bar.suspend(|| eprintln!("{bad}"));
    }

    fn at(&mut self, at: &Progress) {
        self.bar.set_length(at.of);
        self.bar.set_position(at.bytes);
        let rate = at.objects as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{} objects, {rate:.0}/s", at.objects));
    }
}

impl ImportCommand {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        let mapping = std::fs::read_to_string(&self.map).map_err(|error| Failure::Usage(format!("{}: {error}", self.map.display())))?;
        let store = open(config).await?;
        let org = org_or_only(&store, self.org.as_deref()).await?;
        let actor = Actor::system(OrgId(org.id));
        let stop = CancellationToken::new();
        let job = import::Import {
            file: self.file.clone(),
            format: self.format.map(Format::from),
            klass: self.klass,
            mapping,
            dry_run: self.dry_run,
            batch: import::BATCH,
            stop: stop.clone(),
        };
        let listening = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                eprintln!("klio: stopping behind the batch at hand; once more ends at once");
                stop.cancel();
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(130);
                }
            }
        });
        let mut bar = Bar::new();
        let summary = import::import(&store, &actor, &job, &mut bar).await;
        bar.bar.finish_and_clear();
        listening.abort();
        let summary = match summary {
            Err(ImportError::Mapping(faults)) => return Err(Failure::Usage(format!("{} is wrong:\n{faults}", self.map.display()))),
            other => other?,
        };
        told(&summary, self.dry_run)?;
        if summary.stopped {
            return Err(Failure::Failed("stopped; run it again, it goes on from there".to_owned()));
        }
        match summary.failed() + summary.failed_before {
            0 => Ok(()),
            1 => Err(Failure::Failed("1 thing was refused".to_owned())),
            n => Err(Failure::Failed(format!("{n} things were refused"))),
        }
    }
}

/// The summary: a table on stdout, the rest on stderr.
fn told(summary: &Summary, dry_run: bool) -> Result<(), Failure> {
    let seconds = summary.took.as_secs_f64();
    let rows: Vec<Vec<String>> = summary
        .klasses
        .iter()
        .map(|(klass, tally)| {
            let mut row = vec![klass.clone()];
            let counts = if dry_run {
                vec![tally.created, tally.failed]
            } else {
                vec![tally.created, tally.updated, tally.unchanged, tally.failed]
            };
            row.extend(counts.iter().map(u64::to_string));
            row
        })
        .collect();
    let heads: &[&str] = if dry_run {
        &["KLASS", "GOOD", "BAD"]
    } else {
        &["KLASS", "CREATED", "UPDATED", "UNCHANGED", "FAILED"]
    };
    print(table(heads, &rows))?;
    eprintln!(
        "{} records, {} objects in {seconds:.1} s ({:.0}/s)",
        summary.records,
        summary.objects(),
        summary.objects() as f64 / seconds.max(0.001)
    );
    for (count, what) in [
        (
            summary.skipped,
            "records were imported by an earlier run, which did not come to its end",
        ),
        (summary.failed_before, "things were refused then"),
        (summary.unreadable, "records could not be read"),
        (summary.late_links, "links led to objects that came later"),
        (summary.lost_links, "links lead nowhere"),
    ] {
        if count > 0 {
            eprintln!("{count} {what}");
        }
    }
    Ok(())
}
