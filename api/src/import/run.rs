//! The import itself: batches from the reading thread, written one after another; then what waited for later objects.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use klio_entities::klass::draft::Outcome;
use klio_entities::klass::fault::Code;
use klio_entities::klass::{Actor, Draft, Fault, Faults, Registry};
use klio_entities::store::Store;
use klio_entities::store::write::WriteOptions;
use tokio::sync::mpsc;

use super::late::{Late, Part, Waiting};
use super::make::{Wish, make};
use super::mapping::Mapping;
use super::progress::{Noted, fingerprint};
use super::source::{self, Format, Item, Record, SourceError};
use super::{Bad, Import, ImportError, Progress, Summary, Watch};

/// How often the position is noted, at most: what lies behind it is done again after an interruption.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How many batches the reader may be ahead.
const AHEAD: usize = 2;

/// What the reading thread hands over.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    picks: Vec<Pick>,
    drafts: Vec<Draft>,
    bad: Vec<Bad>,
    /// Klasses of the objects lost to flaws.
    lost: Vec<String>,
    unreadable: u64,
    /// How many records of the file are in this batch or before it.
    position: u64,
}

/// A draft's origin.
#[derive(Clone, Debug)]
struct Pick {
    /// Its record's place in the batch.
    record: usize,
    ordinal: usize,
    place: String,
    klass: String,
    required: Vec<String>,
    /// The end, when the draft is a link alone.
    link: Option<String>,
}

impl Pick {
    fn of(record: usize, wish: &Wish) -> Self {
        Self {
            record,
            ordinal: wish.ordinal,
            place: wish.place.clone(),
            klass: wish.object.klass.name.clone(),
            required: wish.required.clone(),
            link: None,
        }
    }
}

/// What an attempt left undone for now.
type Left = BTreeMap<usize, Vec<Part>>;

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
    let mut run = Run {
        store,
        actor,
        registry,
        mapping: Arc::new(mapping),
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
        helped: 0,
    };
    if job.dry_run {
        run.dry(job, format).await?;
    } else {
        run.wet(job, format).await?;
    }
    let mut summary = run.summary;
    summary.took = began.elapsed();
    Ok(summary)
}

struct Run<'a> {
    store: &'a Store,
    actor: &'a Actor,
    registry: Arc<Registry>,
    mapping: Arc<Mapping>,
    file: String,
    summary: Summary,
    watch: &'a mut dyn Watch,
    progress: Progress,
    bytes: Arc<AtomicU64>,
    /// How often a draft was written that brought something: what waits is tried as long as this rises.
    helped: u64,
}

impl Run<'_> {
    /// Reads and maps on a thread of its own.
    fn start(&self, job: &Import, format: Format, skip: u64) -> (mpsc::Receiver<Batch>, std::thread::JoinHandle<Result<(), SourceError>>) {
        let (send, receive) = mpsc::channel(AHEAD);
        let (path, size, file) = (job.file.clone(), job.batch.max(1), self.file.clone());
        let (mapping, bytes) = (self.mapping.clone(), self.bytes.clone());
        let reading = std::thread::spawn(move || {
            let mut batch = Batch {
                position: skip,
                ..Batch::default()
            };
            let read = source::read(&path, format, skip, bytes, &mut |item| {
                batch.take(item, &mapping, &file);
                if batch.drafts.len() < size && batch.bad.len() < size && batch.records.len() < size {
                    return true;
                }
                let next = Batch {
                    position: batch.position,
                    ..Batch::default()
                };
                // Whoever was to write is gone: so is the reason to read.
                send.blocking_send(std::mem::replace(&mut batch, next)).is_ok()
            });
            // What came before a mistake is good.
            let _ = send.blocking_send(batch);
            read
        });
        (receive, reading)
    }

    async fn dry(&mut self, job: &Import, format: Format) -> Result<(), ImportError> {
        let (mut batches, reading) = self.start(job, format, 0);
        while let Some(batch) = batches.recv().await {
            self.told(&batch);
            for pick in &batch.picks {
                self.summary.klasses.entry(pick.klass.clone()).or_default().created += 1;
            }
            self.moved(batch.picks.len());
            if job.stop.is_cancelled() {
                self.summary.stopped = true;
                break;
            }
        }
        drop(batches);
        joined(reading)?;
        Ok(())
    }

    async fn wet(&mut self, job: &Import, format: Format) -> Result<(), ImportError> {
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
        let (mut batches, reading) = self.start(job, format, skip);
        let mut position = skip;
        let mut last = Instant::now();
        while let Some(batch) = batches.recv().await {
            self.told(&batch);
            position = batch.position;
            let Batch {
                records, picks, drafts, ..
            } = batch;
            let count = picks.len();
            let left = self.attempt(&records, picks, drafts).await?;
            for (record, parts) in left {
                let mut waiting = Waiting::new(&records[record]);
                waiting.parts = parts;
                late.put(&waiting)?;
            }
            self.moved(count);
            if job.stop.is_cancelled() {
                self.summary.stopped = true;
            }
            if last.elapsed() >= NOTE_EVERY || self.summary.stopped {
                late.flush()?;
                noted.note(self.store, position, before + self.summary.failed(), false).await?;
                last = Instant::now();
            }
            if self.summary.stopped {
                break;
            }
        }
        drop(batches);
        let read = joined(reading);
        if self.summary.stopped {
            return Ok(());
        }
        late.flush()?;
        noted.note(self.store, position, before + self.summary.failed(), false).await?;
        read?;
        let late = self.settle(late, job.batch.max(1)).await?;
        noted.note(self.store, position, before + self.summary.failed(), true).await?;
        late.remove()
    }

    /// Tells and counts what the reading thread found wrong.
    fn told(&mut self, batch: &Batch) {
        for bad in &batch.bad {
            self.watch.bad(bad);
        }
        for klass in &batch.lost {
            self.summary.klasses.entry(klass.clone()).or_default().failed += 1;
        }
        self.summary.unreadable += batch.unreadable;
        self.summary.records += batch.records.len() as u64 + batch.unreadable;
    }

    fn moved(&mut self, objects: usize) {
        self.progress.bytes = self.bytes.load(Ordering::Relaxed).min(self.progress.of);
        self.progress.objects += objects as u64;
        self.watch.at(&self.progress);
    }

    async fn write(&self, drafts: Vec<Draft>) -> Result<Vec<Result<Outcome, Faults>>, ImportError> {
        let options = WriteOptions {
            imported: true,
            ..WriteOptions::default()
        };
        let results = self.store.write(self.actor, &self.registry, drafts, options).await?;
        Ok(results.into_iter().map(|result| result.map(|written| written.outcome)).collect())
    }

    /// Writes drafts; what only lacks an object that may come later is left, by record. What is refused is told.
    async fn attempt(&mut self, records: &[Record], picks: Vec<Pick>, drafts: Vec<Draft>) -> Result<Left, ImportError> {
        let mut left = Left::new();
        if drafts.is_empty() {
            return Ok(left);
        }
        let results = self.write(drafts).await?;
        // Objects that can come without the links that lead nowhere yet, and those that lack only such an object above them.
        let mut lacking: Vec<(Pick, Part)> = Vec::new();
        let mut lonely: HashSet<usize> = HashSet::new();
        for (pick, result) in picks.into_iter().zip(results) {
            match self.judge(records, &pick, result) {
                None => {}
                Some(part) if pick.link.is_some() => left.entry(pick.record).or_default().push(part),
                Some(part) => {
                    if !part.ends.is_empty() {
                        lonely.insert(pick.record);
                    }
                    lacking.push((pick, part));
                }
            }
        }
        let (again, wait): (Vec<_>, Vec<_>) = lacking.into_iter().partition(|(pick, _)| lonely.contains(&pick.record));
        for (pick, part) in wait {
            left.entry(pick.record).or_default().push(part);
        }
        if again.is_empty() {
            return Ok(left);
        }
        let mut drafts = Vec::with_capacity(again.len());
        let mut kept = Vec::with_capacity(again.len());
        let mut again = again.into_iter().peekable();
        while let Some(record) = again.peek().map(|(pick, _)| pick.record) {
            let mut wishes: BTreeMap<usize, Wish> = make(&self.mapping, &records[record])
                .wishes
                .into_iter()
                .map(|wish| (wish.ordinal, wish))
                .collect();
            while let Some((pick, part)) = again.next_if(|(pick, _)| pick.record == record) {
                let Some(mut wish) = wishes.remove(&pick.ordinal) else { continue };
                wish.object.links.retain(|(end, _)| !part.ends.contains(&end.legal));
                drafts.push(wish.draft());
                kept.push((pick, part));
            }
        }
        let results = self.write(drafts).await?;
        for ((pick, part), result) in kept.into_iter().zip(results) {
            let came = result.is_ok();
            match self.judge(records, &pick, result) {
                // It came, and the links that it lacks still wait.
                None if came && !part.ends.is_empty() => left.entry(pick.record).or_default().push(part),
                None => {}
                Some(other) => left.entry(pick.record).or_default().push(Part { ends: Vec::new(), ..other }),
            }
        }
        Ok(left)
    }

    /// Counts what became of a draft. What only lacks a far object is answered; other faults are told.
    fn judge(&mut self, records: &[Record], pick: &Pick, result: Result<Outcome, Faults>) -> Option<Part> {
        let tally = self.summary.klasses.entry(pick.klass.clone()).or_default();
        let faults = match result {
            // A link that was there already (it is tried with the others of its end) brought nothing.
            Ok(Outcome::Unchanged) if pick.link.is_some() => return None,
            Ok(_) if pick.link.is_some() => {
                self.summary.late_links += 1;
                self.helped += 1;
                return None;
            }
            Ok(outcome) => {
                self.helped += 1;
                match outcome {
                    Outcome::Created => tally.created += 1,
                    Outcome::Unchanged => tally.unchanged += 1,
                    _ => tally.updated += 1,
                }
                return None;
            }
            Err(faults) => faults.0,
        };
        let leads_nowhere = |path: &[String]| path.len() == 2 && path[1] == "connect";
        // A required link that leads nowhere is a link that leads nowhere.
        let follows = |fault: &Fault| {
            let is_end = fault.code == Code::Required && fault.path.len() == 1;
            is_end
                && faults
                    .iter()
                    .any(|other| leads_nowhere(&other.path) && other.path[0] == fault.path[0])
        };
        let (nowhere, others): (Vec<&Fault>, Vec<&Fault>) = faults.iter().partition(|fault| leads_nowhere(&fault.path));
        let real: Vec<&Fault> = others.into_iter().filter(|fault| !follows(fault)).collect();
        if real.is_empty() {
            let told: Vec<(String, String)> = nowhere.iter().map(|fault| (fault.path[0].clone(), fault.message.clone())).collect();
            let mut ends: Vec<String> = told.iter().map(|(end, _)| end.clone()).collect();
            ends.dedup();
            if pick.link.is_none() && ends.iter().any(|end| pick.required.contains(end)) {
                // It cannot be without.
                ends.clear();
            }
            return Some(Part {
                ordinal: pick.ordinal,
                ends,
                told,
            });
        }
        match pick.link {
            Some(_) => self.summary.lost_links += 1,
            None => tally.failed += 1,
        }
        for fault in real {
            let reason = match &fault.remedy {
                Some(remedy) => format!("{} ({remedy})", fault.message),
                None => fault.message.clone(),
            };
            let bad = bad(
                &self.file,
                &records[pick.record],
                &pick.place,
                &path_of(&pick.klass, &fault.path.join(".")),
                reason,
            );
            self.watch.bad(&bad);
        }
        None
    }

    /// Tries what waits, as long as that helps; then tells what is left.
    async fn settle(&mut self, mut late: Late, size: usize) -> Result<Late, ImportError> {
        while late.count > 0 {
            let mut next = late.next()?;
            let helped = self.helped;
            let mut waiting = late.read()?.peekable();
            while waiting.peek().is_some() {
                let (mut records, mut picks, mut drafts) = (Vec::new(), Vec::new(), Vec::new());
                while drafts.len() < size
                    && let Some(waiting) = waiting.next().transpose()?
                {
                    let record = waiting.record();
                    let mut wishes: BTreeMap<usize, Wish> = make(&self.mapping, &record)
                        .wishes
                        .into_iter()
                        .map(|wish| (wish.ordinal, wish))
                        .collect();
                    for part in waiting.parts {
                        let Some(wish) = wishes.remove(&part.ordinal) else { continue };
                        let pick = Pick::of(records.len(), &wish);
                        if part.ends.is_empty() {
                            picks.push(pick);
                            drafts.push(wish.draft());
                            continue;
                        }
                        for (end, draft) in wish.link_drafts(&part.ends) {
                            let link = Some(end);
                            picks.push(Pick { link, ..pick.clone() });
                            drafts.push(draft);
                        }
                    }
                    records.push(record);
                }
                let left = self.attempt(&records, picks, drafts).await?;
                for (record, parts) in left {
                    let mut waiting = Waiting::new(&records[record]);
                    waiting.parts = merged(parts);
                    next.put(&waiting)?;
                }
            }
            late = next.replace(late)?;
            if self.helped == helped {
                break;
            }
        }
        for waiting in late.read()? {
            let waiting = waiting?;
            let record = waiting.record();
            let wishes = make(&self.mapping, &record).wishes;
            for part in &waiting.parts {
                let Some(wish) = wishes.iter().find(|wish| wish.ordinal == part.ordinal) else {
                    continue;
                };
                let klass = &wish.object.klass.name;
                let whole = part.ends.is_empty();
                if whole {
                    self.summary.klasses.entry(klass.clone()).or_default().failed += 1;
                } else {
                    self.summary.lost_links += part.told.len() as u64;
                }
                for (end, reason) in &part.told {
                    let reason = if whole {
                        format!("{reason}, and it cannot be without")
                    } else {
                        format!("{reason}; it was imported without this link")
                    };
                    let bad = bad(&self.file, &record, &wish.place, &path_of(klass, end), reason);
                    self.watch.bad(&bad);
                }
            }
        }
        Ok(late)
    }
}

/// The links of one object, put together again.
fn merged(parts: Vec<Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match out
            .iter_mut()
            .find(|known| known.ordinal == part.ordinal && known.ends.is_empty() == part.ends.is_empty())
        {
            Some(known) => {
                known.told.extend(part.told);
                for end in part.ends {
                    if !known.ends.contains(&end) {
                        known.ends.push(end);
                    }
                }
            }
            None => out.push(part),
        }
    }
    out
}

fn path_of(klass: &str, path: &str) -> String {
    match path {
        "" => klass.to_owned(),
        path => format!("{klass}.{path}"),
    }
}

fn bad(file: &str, record: &Record, place: &str, path: &str, reason: String) -> Bad {
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
fn joined(reading: std::thread::JoinHandle<Result<(), SourceError>>) -> Result<(), SourceError> {
    reading.join().unwrap_or_else(|_| {
        Err(SourceError::Syntax {
            path: Default::default(),
            error: "the reading thread panicked".into(),
        })
    })
}

impl Batch {
    fn take(&mut self, item: Item, mapping: &Mapping, file: &str) {
        self.position += 1;
        let record = match item {
            Item::Record(record) => record,
            Item::Bad { index, line, reason } => {
                self.unreadable += 1;
                self.bad.push(Bad {
                    file: file.to_owned(),
                    line: Some(line),
                    record: index + 1,
                    key: None,
                    place: String::new(),
                    path: String::new(),
                    reason,
                });
                return;
            }
        };
        let made = make(mapping, &record);
        for flaw in made.flaws {
            let path = path_of(&flaw.klass, &flaw.path);
            self.bad.push(bad(file, &record, &flaw.place, &path, flaw.reason));
        }
        self.lost.extend(made.lost);
        let at = self.records.len();
        for wish in made.wishes {
            self.picks.push(Pick::of(at, &wish));
            self.drafts.push(wish.draft());
        }
        self.records.push(record);
    }
}
