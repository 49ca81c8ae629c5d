//! The import itself: batches from the reading thread, each lane's one after another; then what waited for later objects.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use klio_entities::klass::draft::Outcome;
use klio_entities::klass::fault::Code;
use klio_entities::klass::{Actor, Draft, Fault, Faults};
use klio_entities::store::write::WriteOptions;
use klio_entities::store::{Dialect, Store, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::late::{Late, Part, Waiting};
use super::make::{Wish, make};
use super::mapping::Mapping;
use super::progress::{Noted, fingerprint};
use super::reader::{self, Batch, Pick, Present, Reading, Rules, UnderWay};
use super::source::{Format, Record, SourceError};
use super::{Bad, Import, ImportError, Progress, Summary, Watch};

/// How often the position is noted, at most: what lies behind it is done again after an interruption.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How many batches are written at the same time, on Postgres. (SQLite has one writer.)
const LANES: usize = 2;
/// How often a batch is made anew because the klasses were changed, before one gives up.
pub(super) const RENEWALS: u32 = 20;

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
    helped: u64,
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

type Results = Vec<Result<Outcome, Faults>>;

fn outcomes(results: Vec<Result<klio_entities::klass::draft::Written, Faults>>) -> Results {
    results.into_iter().map(|result| result.map(|written| written.outcome)).collect()
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

    /// Drafts of picks, by the rules of now; a pick that has none any more (a flaw by the new rules) is told and counted.
    fn drafts(&mut self, rules: &Rules, records: &[Record], picks: Vec<Pick>) -> (Vec<Pick>, Vec<Draft>) {
        let (mut kept, mut drafts) = (Vec::with_capacity(picks.len()), Vec::with_capacity(picks.len()));
        let mut made: Option<(usize, super::make::Wishes)> = None;
        for pick in picks {
            if made.as_ref().is_none_or(|(record, _)| *record != pick.record) {
                made = Some((pick.record, make(&rules.mapping, &records[pick.record])));
            }
            let Some((_, wishes)) = &made else { continue };
            let wish = wishes.wishes.iter().find(|wish| wish.ordinal == pick.ordinal);
            if let Some(draft) = wish.and_then(|wish| pick.draft(wish.clone())) {
                drafts.push(draft);
                kept.push(pick);
                continue;
            }
            match pick.link {
                Some(_) => self.summary.lost_links += 1,
                None => self.summary.klasses.entry(pick.klass.clone()).or_default().failed += 1,
            }
            for flaw in wishes.flaws.iter().filter(|flaw| flaw.ordinal == pick.ordinal) {
                let path = path_of(&flaw.klass, &flaw.path);
                let bad = bad(&self.file, &records[pick.record], &flaw.place, &path, flaw.reason.clone());
                self.watch.bad(&bad);
            }
        }
        (kept, drafts)
    }

    /// Writes picks, however often the klasses are changed meanwhile.
    async fn put(&mut self, records: &[Record], mut picks: Vec<Pick>) -> Result<(Vec<Pick>, Results), ImportError> {
        let mut renewals = 0;
        loop {
            let rules = reader::now(&self.present);
            let (kept, drafts) = self.drafts(&rules, records, picks);
            if drafts.is_empty() {
                return Ok((kept, Vec::new()));
            }
            match write(self.store, self.actor, &rules, drafts).await {
                Err(StoreError::Stale) if renewals < RENEWALS => {
                    renewals += 1;
                    self.renew().await?;
                    picks = kept;
                }
                other => return Ok((kept, other?)),
            }
        }
    }

    /// A batch that met klasses that were changed meanwhile.
    async fn anew(&mut self, records: &[Record], picks: Vec<Pick>) -> Result<Left, ImportError> {
        self.renew().await?;
        self.attempt(records, picks).await
    }

    /// Writes picks; what only lacks an object that may come later is left, by record. What is refused is told.
    async fn attempt(&mut self, records: &[Record], picks: Vec<Pick>) -> Result<Left, ImportError> {
        let (picks, results) = self.put(records, picks).await?;
        self.after(records, picks, results).await
    }

    async fn after(&mut self, records: &[Record], picks: Vec<Pick>, results: Results) -> Result<Left, ImportError> {
        let mut left = Left::new();
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
        let mut parts: BTreeMap<(usize, usize), Part> = BTreeMap::new();
        let mut picks = Vec::with_capacity(again.len());
        for (mut pick, part) in again {
            pick.without = part.ends.clone();
            parts.insert((pick.record, pick.ordinal), part);
            picks.push(pick);
        }
        let (picks, results) = self.put(records, picks).await?;
        for (pick, result) in picks.into_iter().zip(results) {
            let Some(part) = parts.remove(&(pick.record, pick.ordinal)) else {
                continue;
            };
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
                let (mut records, mut picks) = (Vec::new(), Vec::new());
                let rules = reader::now(&self.present);
                while picks.len() < size
                    && let Some(waiting) = waiting.next().transpose()?
                {
                    let record = waiting.record();
                    let mut wishes: BTreeMap<usize, Wish> = make(&rules.mapping, &record)
                        .wishes
                        .into_iter()
                        .map(|wish| (wish.ordinal, wish))
                        .collect();
                    for part in waiting.parts {
                        let Some(wish) = wishes.remove(&part.ordinal) else { continue };
                        let pick = Pick::of(records.len(), &wish);
                        if part.ends.is_empty() {
                            picks.push(pick);
                            continue;
                        }
                        for end in &part.ends {
                            for nth in 0..wish.clone().link_drafts(std::slice::from_ref(end)).len() {
                                let link = Some((end.clone(), nth));
                                picks.push(Pick { link, ..pick.clone() });
                            }
                        }
                    }
                    records.push(record);
                }
                let left = self.attempt(&records, picks).await?;
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
            let wishes = make(&reader::now(&self.present).mapping, &record).wishes;
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

/// Writes drafts as they were made by the rules.
async fn write(store: &Store, actor: &Actor, rules: &Rules, drafts: Vec<Draft>) -> Result<Results, StoreError> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    let options = WriteOptions {
        imported: true,
        ..WriteOptions::default()
    };
    store.write(actor, &rules.registry, drafts, options).await.map(outcomes)
}
