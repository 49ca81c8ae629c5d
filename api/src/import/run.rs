//! The import itself: batches from the reading thread, each lane's one after another; then what waited for later objects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use klio_entities::klass::Actor;
use klio_entities::store::{Dialect, Store, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::attempt::{Results, write};
use super::late::{Late, Waiting};
use super::mapping::Mapping;
use super::progress::{Noted, fingerprint};
use super::reader::{self, Batch, Present, Reading, Rules, UnderWay};
use super::source::{Format, Record, SourceError};
use super::{Bad, Import, ImportError, Progress, Summary, Watch};

/// How often the position is noted, at most: what lies behind it is done again after an interruption.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How many batches are written at the same time, on Postgres. (SQLite has one writer.)
const LANES: usize = 2;
/// How often a batch is made anew because the klasses were changed, before one gives up.
pub(super) const RENEWALS: u32 = 20;

/// Imports a file.
///
/// # Errors
/// A mapping that is wrong (all that is wrong with it); a file that cannot be read on; the database. Records that are refused are no
/// error: they are told to `watch` and counted.
pub async fn import(store: &Store, actor: &Actor, job: &Import, watch: &mut dyn Watch) -> Result<Summary, ImportError> {
    let began = Instant::now();
    let registry = store.registry(actor.org).await?;
    let mapping = Mapping::read(&job.mapping, &registry, &job.klass).map_err(ImportError::Mapping)?;
    let format = job
        .format
        .or_else(|| Format::of(&job.file))
        .ok_or_else(|| ImportError::Format(job.file.clone()))?;
    let io = |error| SourceError::Io {
        path: job.file.clone(),
        error,
    };
    let size = std::fs::metadata(&job.file).map_err(io)?.len();
    let rules = Arc::new(Rules { registry, mapping });
    let mut run = Run {
        store,
        actor,
        job,
        present: Arc::new(RwLock::new(rules)),
        file: job
            .file
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        summary: Summary::default(),
        watch,
        progress: Progress {
            of: size,
            ..Progress::default()
        },
        bytes: Arc::default(),
        under_way: Arc::default(),
        helped: 0,
    };
    if job.dry_run {
        run.dry(format).await?;
    } else {
        run.wet(format).await?;
    }
    let mut summary = run.summary;
    summary.took = began.elapsed();
    Ok(summary)
}

pub(super) struct Run<'a> {
    pub store: &'a Store,
    pub actor: &'a Actor,
    pub job: &'a Import,
    pub present: Present,
    pub file: String,
    pub summary: Summary,
    pub watch: &'a mut dyn Watch,
    pub progress: Progress,
    bytes: Arc<AtomicU64>,
    under_way: Arc<UnderWay>,
    /// How often a draft was written that brought something: what waits is tried as long as this rises.
    pub helped: u64,
}

/// A lane, as they see it who write.
struct Lane {
    receive: mpsc::Receiver<Batch>,
    busy: bool,
    ended: bool,
}

/// The next batch of a lane that has nothing to do; `None` in it: the lane has come to its end. `None`: there is no such lane.
async fn next(lanes: &mut [Lane]) -> Option<(usize, Option<Batch>)> {
    std::future::poll_fn(|context| {
        let mut waits = false;
        for (i, lane) in lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.busy && !lane.ended) {
            match lane.receive.poll_recv(context) {
                std::task::Poll::Ready(batch) => return std::task::Poll::Ready(Some((i, batch))),
                std::task::Poll::Pending => waits = true,
            }
        }
        if waits {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(None)
        }
    })
    .await
}

/// Up to where an import has come, when batches end in any order.
#[derive(Default)]
struct Reached {
    /// All records before this one were handed over.
    low: u64,
    /// The first records of the batches that are being written.
    flying: Vec<u64>,
    /// What failed in batches that are written: behind which record they end, and how much.
    failed: Vec<(u64, u64)>,
}

impl Reached {
    /// All records before this one are written.
    fn position(&self) -> u64 {
        self.flying.iter().copied().min().map_or(self.low, |first| first.min(self.low))
    }

    /// What failed of them.
    fn failed(&self) -> u64 {
        let position = self.position();
        self.failed.iter().filter(|(end, _)| *end <= position).map(|(_, count)| count).sum()
    }
}

impl Run<'_> {
    /// Reads and maps on a thread of its own, into so many lanes.
    pub fn start(&self, format: Format, skip: u64, lanes: usize) -> reader::Started {
        let reading = Reading {
            path: self.job.file.clone(),
            format,
            skip,
            size: self.job.batch.max(1),
            lanes,
            present: self.present.clone(),
            file: self.file.clone(),
            bytes: self.bytes.clone(),
            under_way: self.under_way.clone(),
        };
        reading.start()
    }

    async fn wet(&mut self, format: Format) -> Result<(), ImportError> {
        let job = self.job;
        let (path, text) = (job.file.clone(), job.mapping.clone());
        let made = tokio::task::spawn_blocking(move || fingerprint(&path, &text)).await;
        let fingerprint = made
            .map_err(|error| std::io::Error::other(error.to_string()))
            .flatten()
            .map_err(|error| SourceError::Io {
                path: job.file.clone(),
                error,
            })?;
        let named = job.file.display().to_string();
        let mut noted = Noted::find(self.store, self.actor.org, &named, &job.klass, &fingerprint).await?;
        // What waits is a matter of this org alone.
        let name = format!("{}-{}", self.actor.org.0.simple(), &fingerprint[..24]);
        let mut late = match Late::open(&name, noted.position() > 0)? {
            Some(late) => late,
            None => {
                // What waited is lost (another machine, another user): all is done again, which changes nothing that is done.
                noted.rewind();
                Late::open(&name, false)?.ok_or(ImportError::Stale)?
            }
        };
        let skip = noted.position();
        self.summary.skipped = skip;
        let before = noted.failed();
        self.summary.failed_before = before;
        let many = match self.store.dialect() {
            Dialect::Postgres => LANES,
            Dialect::Sqlite => 1,
        };
        let many = reader::lanes(&reader::now(&self.present).mapping, many);
        let (receivers, reading) = self.start(format, skip, many);
        let mut lanes: Vec<Lane> = receivers
            .into_iter()
            .map(|receive| Lane {
                receive,
                busy: false,
                ended: false,
            })
            .collect();
        let mut reached = Reached {
            low: skip,
            ..Reached::default()
        };
        let mut flying: JoinSet<(usize, Batch, Result<Results, StoreError>)> = JoinSet::new();
        let mut last = Instant::now();
        loop {
            let open = !self.summary.stopped && lanes.iter().any(|lane| !lane.busy && !lane.ended);
            if !open && flying.is_empty() {
                break;
            }
            let (lane, mut batch, results) = tokio::select! {
                biased;
                Some(done) = flying.join_next(), if !flying.is_empty() => {
                    done.map_err(|error| StoreError::Database(format!("the writing of a batch was broken off: {error}")))?
                }
                Some((lane, batch)) = next(&mut lanes), if open => {
                    let Some(mut batch) = batch else {
                        lanes[lane].ended = true;
                        continue;
                    };
                    lanes[lane].busy = true;
                    reached.low = reached.low.max(batch.low);
                    reached.flying.push(batch.first);
                    let (store, actor) = (self.store.clone(), self.actor.clone());
                    flying.spawn(async move {
                        let drafts = std::mem::take(&mut batch.drafts);
                        let results = write(&store, &actor, &batch.rules, drafts).await;
                        (lane, batch, results)
                    });
                    continue;
                }
            };
            let (failed, count) = (self.summary.failed(), batch.picks.len());
            self.told(&batch);
            let picks = std::mem::take(&mut batch.picks);
            let left = match results {
                Ok(results) => self.after(&batch.records, picks, results).await?,
                Err(StoreError::Stale) => self.anew(&batch.records, picks).await?,
                Err(error) => return Err(error.into()),
            };
            for (record, parts) in left {
                let mut waiting = Waiting::new(&batch.records[record]);
                waiting.parts = parts;
                late.put(&waiting)?;
            }
            lanes[lane].busy = false;
            if let Some(place) = reached.flying.iter().position(|first| *first == batch.first) {
                reached.flying.swap_remove(place);
            }
            reached.failed.push((batch.end, self.summary.failed() - failed));
            self.under_way.done(&batch.keys);
            self.moved(count);
            if job.stop.is_cancelled() {
                self.summary.stopped = true;
            }
            if last.elapsed() >= NOTE_EVERY {
                late.flush()?;
                noted.note(self.store, reached.position(), before + reached.failed(), false).await?;
                last = Instant::now();
            }
        }
        drop(lanes);
        let read = joined(reading);
        late.flush()?;
        noted.note(self.store, reached.position(), before + reached.failed(), false).await?;
        if self.summary.stopped {
            return Ok(());
        }
        read?;
        let late = self.settle(late, job.batch.max(1)).await?;
        noted
            .note(self.store, reached.position(), before + self.summary.failed(), true)
            .await?;
        late.remove()
    }

    /// Tells and counts what the reading thread found wrong.
    pub fn told(&mut self, batch: &Batch) {
        for bad in &batch.bad {
            self.watch.bad(bad);
        }
        for klass in &batch.lost {
            self.summary.klasses.entry(klass.clone()).or_default().failed += 1;
        }
        self.summary.unreadable += batch.unreadable;
        self.summary.records += batch.records.len() as u64 + batch.unreadable;
    }

    pub fn moved(&mut self, objects: usize) {
        self.progress.bytes = self.bytes.load(Ordering::Relaxed).min(self.progress.of);
        self.progress.objects += objects as u64;
        self.watch.at(&self.progress);
    }

    /// The klasses were changed: reads them and the mapping anew.
    pub async fn renew(&self) -> Result<(), ImportError> {
        let registry = self.store.fresh_registry(self.actor.org).await?;
        let mapping = Mapping::read(&self.job.mapping, &registry, &self.job.klass).map_err(ImportError::Mapping)?;
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Rules { registry, mapping });
        Ok(())
    }
}

pub(super) fn path_of(klass: &str, path: &str) -> String {
    match path {
        "" => klass.to_owned(),
        path => format!("{klass}.{path}"),
    }
}

pub(super) fn bad(file: &str, record: &Record, place: &str, path: &str, reason: String) -> Bad {
    Bad {
        file: file.to_owned(),
        line: record.line,
        record: record.index + 1,
        key: record.key.clone(),
        place: place.to_owned(),
        path: path.to_owned(),
        reason,
    }
}

/// The end of the reading thread.
pub(super) fn joined(reading: std::thread::JoinHandle<Result<(), SourceError>>) -> Result<(), SourceError> {
    reading.join().unwrap_or_else(|_| {
        Err(SourceError::Syntax {
            path: Default::default(),
            error: "the reading thread panicked".into(),
        })
    })
}
