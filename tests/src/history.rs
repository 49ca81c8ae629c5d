//! What was done and what was heard, and whether the two agree: one checker for all tests of faults.
//!
//! Writers note each write with its outcome, subscribers each message. The rules:
//! 1. what was acknowledged is there, and every subscriber of its stream heard it exactly once;
//! 2. what was refused is neither there nor heard; of what is not known (the connection broke), all hear what is there, and nothing else;
//! 3. all subscribers of a stream heard the same order, and of two writes of which one was over before the other began, that one first;
//! 4. nobody heard of another stream;
//! 5. `RESYNC` came only where the test allows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How a write ended, as far as its writer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was refused: nothing of it may be there.
    Refused,
    /// The connection broke, or the answer does not say: it may be there.
    Unknown,
}

#[derive(Clone, Debug)]
struct Write {
    stream: String,
    outcome: Outcome,
    began: Instant,
    ended: Instant,
}

#[derive(Clone, Debug, Default)]
struct Heard {
    /// `None`: all streams.
    stream: Option<String>,
    got: Vec<(String, String)>,
    resyncs: Vec<String>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct History {
    writes: Mutex<BTreeMap<String, Write>>,
    heard: Mutex<BTreeMap<String, Heard>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Writes that were acknowledged, of which it is not known, and that were refused.
    pub writes: (usize, usize, usize),
    /// Messages heard.
    pub heard: usize,
    /// Rule 1 and 2: not heard, or not there.
    pub lost: Vec<String>,
    /// Rule 1: heard more than once.
    pub doubled: Vec<String>,
    /// Rule 3.
    pub misordered: Vec<String>,
    /// Rule 2 and 4: heard, and not there or not theirs.
    pub strange: Vec<String>,
    /// Reasons of `RESYNC`.
    pub resyncs: Vec<String>,
}

impl Verdict {
    /// All rules hold; `RESYNC` counts as a fault unless it is allowed.
    pub fn holds(&self, resync_allowed: bool) -> bool {
        [&self.lost, &self.doubled, &self.misordered, &self.strange]
            .iter()
            .all(|it| it.is_empty())
            && (resync_allowed || self.resyncs.is_empty())
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (done, unknown, refused) = self.writes;
        write!(
            f,
            "{done} writes acknowledged, {unknown} unknown, {refused} refused; {} messages heard; {} lost, {} doubled, {} misordered, {} strange; {} resyncs",
            self.heard,
            self.lost.len(),
            self.doubled.len(),
            self.misordered.len(),
            self.strange.len(),
            self.resyncs.len()
        )?;
        for (what, list) in [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("misordered", &self.misordered),
            ("strange", &self.strange),
            ("resync", &self.resyncs),
        ] {
            for it in list.iter().take(5) {
                write!(f, "\n  {what}: {it}")?;
            }
        }
        Ok(())
    }
}

impl History {
    /// A write, by a name that no other has.
    pub fn wrote(&self, name: &str, stream: &str, outcome: Outcome, began: Instant) {
        let write = Write {
            stream: stream.to_owned(),
            outcome,
            began,
            ended: Instant::now(),
        };
        assert!(lock(&self.writes).insert(name.to_owned(), write).is_none(), "{name} twice");
    }

    /// A subscriber of a stream, or of all.
    pub fn subscriber(&self, name: &str, stream: Option<&str>) {
        lock(&self.heard).entry(name.to_owned()).or_default().stream = stream.map(str::to_owned);
    }

    /// A message of a write, in a stream.
    pub fn heard(&self, subscriber: &str, stream: &str, name: &str) {
        let mut heard = lock(&self.heard);
        heard
            .entry(subscriber.to_owned())
            .or_default()
            .got
            .push((stream.to_owned(), name.to_owned()));
    }

    /// A `RESYNC`.
    pub fn resync(&self, subscriber: &str, why: &str) {
        lock(&self.heard)
            .entry(subscriber.to_owned())
            .or_default()
            .resyncs
            .push(why.to_owned());
    }

    /// How many writes were acknowledged so far.
    pub fn done(&self) -> usize {
        lock(&self.writes).values().filter(|write| write.outcome == Outcome::Done).count()
    }

    /// Whether each subscriber has heard all that is there.
    pub fn complete(&self, there: &BTreeMap<String, BTreeSet<String>>) -> bool {
        lock(&self.heard).values().all(|it| {
            let got: BTreeSet<&str> = it.got.iter().map(|(_, name)| name.as_str()).collect();
            let streams = there
                .iter()
                .filter(|(stream, _)| it.stream.as_ref().is_none_or(|mine| mine == *stream));
            streams.flat_map(|(_, names)| names).all(|name| got.contains(name.as_str()))
        })
    }

    /// Compares with what is there: the names of each stream's writes, in the database.
    pub fn check(&self, there: &BTreeMap<String, BTreeSet<String>>) -> Verdict {
        let (writes, heard) = (lock(&self.writes), lock(&self.heard));
        let count = |outcome| writes.values().filter(|write| write.outcome == outcome).count();
        let mut verdict = Verdict {
            writes: (count(Outcome::Done), count(Outcome::Unknown), count(Outcome::Refused)),
            ..Verdict::default()
        };
        let is_there = |stream: &str, name: &str| there.get(stream).is_some_and(|names| names.contains(name));
        for (name, write) in writes.iter() {
            match write.outcome {
                Outcome::Done if !is_there(&write.stream, name) => verdict.lost.push(format!("{name} was acknowledged and is not there")),
                Outcome::Refused if is_there(&write.stream, name) => verdict.strange.push(format!("{name} was refused and is there")),
                _ => {}
            }
        }
        // By stream: the order of the first subscriber, with which all others' is compared.
        let mut orders: HashMap<&str, (&str, Vec<&str>)> = HashMap::new();
        for (subscriber, it) in heard.iter() {
            verdict.heard += it.got.len();
            verdict.resyncs.extend(it.resyncs.iter().map(|why| format!("{subscriber}: {why}")));
            let mut streams: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            for (stream, name) in &it.got {
                if it.stream.as_ref().is_some_and(|mine| mine != stream) || !is_there(stream, name) {
                    verdict.strange.push(format!("{subscriber} heard {name} of {stream}"));
                }
                if seen.insert(name) {
                    streams.entry(stream).or_default().push(name);
                } else {
                    verdict.doubled.push(format!("{subscriber} heard {name} again"));
                }
            }
            for (stream, names) in there
                .iter()
                .filter(|(stream, _)| it.stream.as_ref().is_none_or(|mine| mine == *stream))
            {
                let missing = names.iter().filter(|name| !seen.contains(name.as_str()));
                verdict
                    .lost
                    .extend(missing.map(|name| format!("{subscriber} did not hear {name} of {stream}")));
            }
            for (stream, order) in streams {
                // Real time: no write stands before one that was over before it began.
                let mut latest: Option<(Instant, &str)> = None;
                for name in &order {
                    let Some(write) = writes.get(*name) else { continue };
                    if let Some((began, before)) = latest
                        && write.outcome == Outcome::Done
                        && write.ended < began
                    {
                        verdict
                            .misordered
                            .push(format!("{subscriber} heard {name} behind {before}, which began later"));
                    }
                    if latest.is_none_or(|(began, _)| write.began > began) {
                        latest = Some((write.began, name));
                    }
                }
                match orders.get(stream) {
                    None => {
                        orders.insert(stream, (subscriber, order));
                    }
                    Some((other, first)) => {
                        let common: BTreeSet<&str> = first.iter().copied().filter(|name| order.contains(name)).collect();
                        let of = |order: &[&str]| {
                            order
                                .iter()
                                .filter(|name| common.contains(**name))
                                .map(|it| (*it).to_owned())
                                .collect::<Vec<_>>()
                        };
                        if of(first) != of(&order) {
                            verdict
                                .misordered
                                .push(format!("{subscriber} and {other} heard {stream} in different orders"));
                        }
                    }
                }
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two writes, one after the other, and what two subscribers heard of them.
    fn told(outcomes: [Outcome; 2], there: &[&str], heard: [&[&str]; 2]) -> Verdict {
        let history = History::default();
        for (name, outcome) in ["a", "b"].into_iter().zip(outcomes) {
            let began = Instant::now();
            std::thread::sleep(std::time::Duration::from_millis(1));
            history.wrote(name, "s", outcome, began);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        history.subscriber("1", Some("s"));
        history.subscriber("2", None);
        for (subscriber, names) in ["1", "2"].into_iter().zip(heard) {
            names.iter().for_each(|name| history.heard(subscriber, "s", name));
        }
        let names = there.iter().map(|name| (*name).to_owned()).collect();
        history.check(&BTreeMap::from([("s".to_owned(), names)]))
    }

    #[test]
    fn each_rule_is_kept_or_told_of() {
        use Outcome::{Done, Refused, Unknown};
        assert!(told([Done, Done], &["a", "b"], [&["a", "b"], &["a", "b"]]).holds(false));
        assert!(told([Done, Unknown], &["a"], [&["a"], &["a"]]).holds(false));
        assert!(told([Done, Unknown], &["a", "b"], [&["a", "b"], &["a", "b"]]).holds(false));
        assert!(told([Done, Refused], &["a"], [&["a"], &["a"]]).holds(false));
        let lost = told([Done, Done], &["a", "b"], [&["a"], &["a", "b"]]);
        assert_eq!((lost.lost.len(), lost.holds(true)), (1, false));
        let gone = told([Done, Done], &["a"], [&["a"], &["a"]]);
        assert_eq!(gone.lost.len(), 1, "acknowledged and not there: {gone}");
        let unheard = told([Done, Unknown], &["a", "b"], [&["a", "b"], &["a"]]);
        assert_eq!(unheard.lost.len(), 1, "{unheard}");
        let doubled = told([Done, Done], &["a", "b"], [&["a", "b", "a"], &["a", "b"]]);
        assert_eq!(doubled.doubled.len(), 1, "{doubled}");
        let misordered = told([Done, Done], &["a", "b"], [&["b", "a"], &["a", "b"]]);
        assert_eq!(misordered.misordered.len(), 2, "real time, and each other: {misordered}");
        let strange = told([Done, Refused], &["a"], [&["a", "b"], &["a"]]);
        assert_eq!(strange.strange.len(), 1, "{strange}");
        let history = History::default();
        history.subscriber("1", Some("s"));
        history.heard("1", "t", "x");
        history.resync("1", "restored");
        let there = BTreeMap::from([("t".to_owned(), BTreeSet::from(["x".to_owned()]))]);
        let told = history.check(&there);
        assert_eq!((told.strange.len(), told.resyncs.len()), (1, 1), "another stream's: {told}");
    }
}
