//! The reading thread: records into drafts, drafts into batches, batches into lanes that are written at the same time.
//!
//! What hangs on one customer goes into one lane, so that two lanes do not wait for the same rows; objects of one key go into one lane
//! while any of them is under way, so that the last word in the file is the last one in the database. Where both cannot be had,
//! everything that is under way is finished first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use klio_entities::klass::draft::LinkChange;
use klio_entities::klass::query::Key;
use klio_entities::klass::{Draft, Klass, Property, Registry, Value};
use tokio::sync::mpsc;

use super::Bad;
use super::make::{Wish, Wishes, make};
use super::mapping::{Level, Mapping, Target};
use super::run::{bad, path_of};
use super::source::{self, Format, Item, Record, SourceError};

/// How many batches the reader may be ahead of a lane.
const AHEAD: usize = 2;

/// A mapping, and the klasses against which it was read.
pub(super) struct Rules {
    pub registry: Arc<Registry>,
    pub mapping: Mapping,
}

/// The rules as they are now: they change with the klasses.
pub(super) type Present = Arc<RwLock<Arc<Rules>>>;

/// The rules at this moment.
pub(super) fn now(present: &Present) -> Arc<Rules> {
    present.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What the reading thread hands over.
pub(super) struct Batch {
    /// By which the drafts were made.
    pub rules: Arc<Rules>,
    pub records: Vec<Record>,
    pub picks: Vec<Pick>,
    pub drafts: Vec<Draft>,
    pub bad: Vec<Bad>,
    /// Klasses of the objects lost to flaws.
    pub lost: Vec<String>,
    pub unreadable: u64,
    /// The first record in it.
    pub first: u64,
    /// Behind the last record in it.
    pub end: u64,
    /// All records before this one are in this batch or were handed over before it.
    pub low: u64,
    /// Keys of its objects, when there are several lanes.
    pub keys: Vec<u64>,
}

/// A draft's origin.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    /// Its record's place in the batch.
    pub record: usize,
    pub ordinal: usize,
    pub place: String,
    pub klass: String,
    pub required: Vec<String>,
    /// Ends that the draft leaves out.
    pub without: Vec<String>,
    /// The end and the how manyth of its changes, when the draft is a link alone.
    pub link: Option<(String, usize)>,
}

impl Pick {
    pub fn of(record: usize, wish: &Wish) -> Self {
        Self {
            record,
            ordinal: wish.ordinal,
            place: wish.place.clone(),
            klass: wish.object.klass.name.clone(),
            required: wish.required.clone(),
            without: Vec::new(),
            link: None,
        }
    }

    /// Its draft, of the wish that it picks.
    pub fn draft(&self, mut wish: Wish) -> Option<Draft> {
        match &self.link {
            Some((end, nth)) => wish
                .link_drafts(std::slice::from_ref(end))
                .into_iter()
                .nth(*nth)
                .map(|(_, draft)| draft),
            None => {
                wish.object.links.retain(|(end, _)| !self.without.contains(&end.legal));
                Some(wish.draft())
            }
        }
    }
}

/// Which keys are under way, and in which lane; shared with those who write.
#[derive(Default)]
pub(super) struct UnderWay {
    keys: Mutex<HashMap<u64, (usize, u32)>>,
    less: Condvar,
}

impl UnderWay {
    fn keys(&self) -> MutexGuard<'_, HashMap<u64, (usize, u32)>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are written.
    pub fn done(&self, keys: &[u64]) {
        let mut known = self.keys();
        for key in keys {
            if let Entry::Occupied(mut entry) = known.entry(*key) {
                entry.get_mut().1 -= 1;
                if entry.get().1 == 0 {
                    entry.remove();
                }
            }
        }
        drop(known);
        self.less.notify_all();
    }
}

/// The number under which a key is known while it is under way. Two keys of one number share a lane, which harms no one.
pub(super) fn number(klass: &Klass, key: &Key) -> u64 {
    match key {
        Key::Unique(property, value) => number_of(klass, property, value.value(&[])),
        Key::Id(value) => hashed(&(&klass.name, "id", text(value.value(&[])))),
        Key::Contact(kind, value) => hashed(&(&klass.name, format!("{kind:?}"), text(value.value(&[])))),
    }
}

/// The number of a unique value.
pub(super) fn number_of(klass: &Klass, property: &Property, value: &Value) -> u64 {
    hashed(&(&klass.name, &property.column, text(value)))
}

/// E-mail addresses are the same in any case.
fn text(value: &Value) -> String {
    value.to_json().to_string().to_lowercase()
}

fn hashed(it: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    it.hash(&mut hasher);
    hasher.finish()
}

/// How many lanes an import of this mapping may have: one, if its objects may be tied to each other across records.
pub(super) fn lanes(mapping: &Mapping, many: usize) -> usize {
    fn klasses<'m>(level: &'m Level, out: &mut Vec<&'m str>) {
        out.push(&level.klass.name);
        level.children.iter().for_each(|child| klasses(child, out));
    }
    fn ties(level: &Level, own: &[&str]) -> bool {
        let is_own = |rule: &super::mapping::LinkRule| !matches!(rule.target, Target::Parent) && own.contains(&rule.to.name.as_str());
        level.links.iter().any(is_own) || level.children.iter().any(|child| ties(child, own))
    }
    let mut own = Vec::new();
    klasses(&mapping.root, &mut own);
    if ties(&mapping.root, &own) { 1 } else { many.max(1) }
}

/// What a reading thread needs.
pub(super) struct Reading {
    pub path: PathBuf,
    pub format: Format,
    /// So many records are passed over.
    pub skip: u64,
    /// How many drafts a batch has, about.
    pub size: usize,
    pub lanes: usize,
    pub present: Present,
    /// The file's name, for what is told.
    pub file: String,
    pub bytes: Arc<AtomicU64>,
    pub under_way: Arc<UnderWay>,
}

/// The lanes' batches, and the thread that fills them.
pub(super) type Started = (Vec<mpsc::Receiver<Batch>>, std::thread::JoinHandle<Result<(), SourceError>>);

impl Reading {
    /// Reads and maps on a thread of its own.
    pub fn start(self) -> Started {
        let (send, receive): (Vec<_>, Vec<_>) = (0..self.lanes.max(1)).map(|_| mpsc::channel(AHEAD)).unzip();
        let thread = std::thread::spawn(move || {
            let (path, format, skip, bytes) = (self.path.clone(), self.format, self.skip, self.bytes.clone());
            let mut reader = Reader {
                partial: send.iter().map(|_| None).collect(),
                send,
                position: skip,
                given: self,
            };
            let read = source::read(&path, format, skip, bytes, &mut |item| reader.take(item));
            // What came before a mistake is good.
            reader.hand_over_all();
            read
        });
        (receive, thread)
    }
}

struct Reader {
    given: Reading,
    send: Vec<mpsc::Sender<Batch>>,
    partial: Vec<Option<Batch>>,
    position: u64,
}

impl Reader {
    /// Takes in an item of the file; `false`: whoever was to write is gone, and so is the reason to read.
    fn take(&mut self, item: Item) -> bool {
        let at = self.position;
        self.position += 1;
        let record = match item {
            Item::Record(record) => record,
            Item::Bad { index, line, reason } => {
                let bad = Bad {
                    file: self.given.file.clone(),
                    line: Some(line),
                    record: index + 1,
                    key: None,
                    place: String::new(),
                    path: String::new(),
                    reason,
                };
                let batch = self.partial(0, at);
                batch.unreadable += 1;
                batch.bad.push(bad);
                return self.sent(0);
            }
        };
        let rules = now(&self.given.present);
        let made = make(&rules.mapping, &record);
        let keys: Vec<u64> = match self.send.len() {
            1 => Vec::new(),
            _ => made.wishes.iter().map(|wish| number(&wish.object.klass, &wish.key)).collect(),
        };
        let lane = match self.lane(&made, &keys) {
            Some(lane) => lane,
            None => {
                if !self.drain() {
                    return false;
                }
                self.home(&made)
            }
        };
        // A batch is made by one set of rules.
        if self.partial[lane].as_ref().is_some_and(|batch| !Arc::ptr_eq(&batch.rules, &rules)) && !self.hand_over(lane) {
            return false;
        }
        if !keys.is_empty() {
            let mut under_way = self.given.under_way.keys();
            for key in &keys {
                under_way.entry(*key).or_insert((lane, 0)).1 += 1;
            }
        }
        let file = self.given.file.clone();
        let batch = self.partial(lane, at);
        batch.keys.extend(keys);
        batch.take(record, made, &file);
        self.sent(lane)
    }

    /// The lane of a record if nothing else is under way: that of what its object is tied to, else of the object itself.
    fn home(&self, made: &Wishes) -> usize {
        let Some(root) = made.wishes.first().filter(|_| self.send.len() > 1) else {
            return 0;
        };
        let tie = root
            .object
            .links
            .iter()
            .flat_map(|(_, changes)| changes)
            .find_map(|change| match change {
                LinkChange::Connect { klass, key, .. } => Some(number(klass, key)),
                _ => None,
            });
        let number = tie.unwrap_or_else(|| number(&root.object.klass, &root.key));
        (number % self.send.len() as u64) as usize
    }

    /// The lane of a record; `None`: some of its objects are under way in one lane and others in another.
    fn lane(&self, made: &Wishes, keys: &[u64]) -> Option<usize> {
        if self.send.len() == 1 {
            return Some(0);
        }
        let under_way = self.given.under_way.keys();
        let mut lanes = keys.iter().filter_map(|key| under_way.get(key).map(|(lane, _)| *lane));
        match lanes.next() {
            None => Some(self.home(made)),
            Some(first) if lanes.all(|lane| lane == first) => Some(first),
            Some(_) => None,
        }
    }

    fn partial(&mut self, lane: usize, at: u64) -> &mut Batch {
        let present = &self.given.present;
        self.partial[lane].get_or_insert_with(|| Batch {
            rules: now(present),
            records: Vec::new(),
            picks: Vec::new(),
            drafts: Vec::new(),
            bad: Vec::new(),
            lost: Vec::new(),
            unreadable: 0,
            first: at,
            end: at,
            low: at,
            keys: Vec::new(),
        })
    }

    /// Hands a lane's batch over if it is full, and with it whatever lags far behind.
    fn sent(&mut self, lane: usize) -> bool {
        let position = self.position;
        let size = self.given.size;
        if let Some(batch) = &mut self.partial[lane] {
            batch.end = position;
            if batch.drafts.len() < size && batch.bad.len() < size && batch.records.len() < size {
                return true;
            }
        }
        let far = (size * self.send.len() * 4) as u64;
        for other in 0..self.send.len() {
            let lags = self.partial[other].as_ref().is_some_and(|batch| batch.first + far < position);
            if (other == lane || lags) && !self.hand_over(other) {
                return false;
            }
        }
        true
    }

    fn hand_over(&mut self, lane: usize) -> bool {
        let Some(mut batch) = self.partial[lane].take() else { return true };
        batch.low = self
            .partial
            .iter()
            .flatten()
            .map(|other| other.first)
            .min()
            .unwrap_or(self.position);
        self.send[lane].blocking_send(batch).is_ok()
    }

    fn hand_over_all(&mut self) -> bool {
        (0..self.send.len()).all(|lane| self.hand_over(lane))
    }

    /// Waits until nothing is under way.
    fn drain(&mut self) -> bool {
        if !self.hand_over_all() {
            return false;
        }
        let mut keys = self.given.under_way.keys();
        while !keys.is_empty() {
            if self.send.iter().any(mpsc::Sender::is_closed) {
                return false;
            }
            // Looked at again now and then: whoever writes may be gone without a word.
            let waited = self.given.under_way.less.wait_timeout(keys, Duration::from_millis(100));
            keys = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Batch {
    fn take(&mut self, record: Record, made: Wishes, file: &str) {
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
