//! An attempt to write picked objects and links: what can be written is, what is refused is told, and what only lacks an object that may
//! come later is left.

use std::collections::{BTreeMap, HashSet};

use klio_entities::klass::draft::{Outcome, Written};
use klio_entities::klass::fault::Code;
use klio_entities::klass::{Actor, Draft, Fault, Faults};
use klio_entities::store::write::WriteOptions;
use klio_entities::store::{Store, StoreError};

use super::ImportError;
use super::late::Part;
use super::make::make;
use super::reader::{self, Pick, Rules};
use super::run::{RENEWALS, Run, bad, path_of};
use super::source::Record;

/// What an attempt left undone for now.
pub(super) type Left = BTreeMap<usize, Vec<Part>>;

/// What became of each draft.
pub(super) type Results = Vec<Result<Outcome, Faults>>;

pub(super) fn outcomes(results: Vec<Result<Written, Faults>>) -> Results {
    results.into_iter().map(|result| result.map(|written| written.outcome)).collect()
}

impl Run<'_> {
    /// Drafts of picks, by the rules of now; a pick that has none any more (a flaw by the new rules) is told and counted.
    pub(super) fn drafts(&mut self, rules: &Rules, records: &[Record], picks: Vec<Pick>) -> (Vec<Pick>, Vec<Draft>) {
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
    pub(super) async fn put(&mut self, records: &[Record], mut picks: Vec<Pick>) -> Result<(Vec<Pick>, Results), ImportError> {
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
    pub(super) async fn anew(&mut self, records: &[Record], picks: Vec<Pick>) -> Result<Left, ImportError> {
        self.renew().await?;
        self.attempt(records, picks).await
    }

    /// Writes picks; what only lacks an object that may come later is left, by record. What is refused is told.
    pub(super) async fn attempt(&mut self, records: &[Record], picks: Vec<Pick>) -> Result<Left, ImportError> {
        let (picks, results) = self.put(records, picks).await?;
        self.after(records, picks, results).await
    }

    pub(super) async fn after(&mut self, records: &[Record], picks: Vec<Pick>, results: Results) -> Result<Left, ImportError> {
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
}

/// Writes drafts as they were made by the rules.
pub(super) async fn write(store: &Store, actor: &Actor, rules: &Rules, drafts: Vec<Draft>) -> Result<Results, StoreError> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    let options = WriteOptions {
        imported: true,
        ..WriteOptions::default()
    };
    store.write(actor, &rules.registry, drafts, options).await.map(outcomes)
}
