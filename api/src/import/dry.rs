//! A dry run: all that an import does, and nothing written.
//!
//! The file is read twice. First for the keys of its objects: a link to one of them will lead somewhere. Then each batch is written
//! and undone, so that what the database has to say (links, unique values, rules) is heard as well.

use std::collections::{HashMap, HashSet};

use klio_entities::klass::draft::LinkChange;
use klio_entities::klass::fault::Code;
use klio_entities::klass::{Draft, Fault, Faults};
use klio_entities::store::StoreError;
use klio_entities::store::write::WriteOptions;

use super::ImportError;
use super::make::{Wish, make};
use super::reader::{self, Batch, Pick, Rules, number, number_of};
use super::run::{RENEWALS, Run, bad, joined, path_of};
use super::source::{Format, Record};

/// What is known of the file. Keys and values are kept as numbers of 64 bits: a million objects are some megabytes.
#[derive(Default)]
struct File {
    /// The keys of its objects.
    keys: HashSet<u64>,
    /// Unique values of its objects so far, and whose they are.
    unique: HashMap<u64, u64>,
}

impl Run<'_> {
    pub(super) async fn dry(&mut self, format: Format) -> Result<(), ImportError> {
        self.progress.of *= 2;
        let mut file = File::default();
        let (mut lanes, reading) = self.start(format, 0, 1);
        if let Some(lane) = lanes.first_mut() {
            while let Some(batch) = lane.recv().await {
                let drafts = batch.drafts.iter().filter_map(|draft| match draft {
                    Draft::Upsert { key, create, .. } => Some(number(&create.klass, key)),
                    _ => None,
                });
                file.keys.extend(drafts);
                self.moved(0);
                if self.job.stop.is_cancelled() {
                    self.summary.stopped = true;
                    return Ok(());
                }
            }
        }
        joined(reading)?;
        let (mut lanes, reading) = self.start(format, 0, 1);
        if let Some(lane) = lanes.first_mut() {
            while let Some(batch) = lane.recv().await {
                self.told(&batch);
                let count = batch.picks.len();
                self.try_out(batch, &mut file).await?;
                self.moved(count);
                if self.job.stop.is_cancelled() {
                    self.summary.stopped = true;
                    break;
                }
            }
        }
        drop(lanes);
        joined(reading)?;
        Ok(())
    }

    /// Writes a batch and undoes it; tells and counts what was said.
    async fn try_out(&mut self, mut batch: Batch, file: &mut File) -> Result<(), ImportError> {
        for _ in 0..RENEWALS {
            let rules = reader::now(&self.present);
            let picks = std::mem::take(&mut batch.picks);
            let (picks, wishes) = self.wishes(&rules, &batch.records, picks);
            let (mut drafts, mut cut) = (Vec::with_capacity(wishes.len()), Vec::with_capacity(wishes.len()));
            for wish in &wishes {
                let (wish, ends) = without_links_within(wish.clone(), file);
                drafts.push(wish.draft());
                cut.push(ends);
            }
            if drafts.is_empty() {
                return Ok(());
            }
            let options = WriteOptions {
                imported: true,
                dry_run: true,
                ..WriteOptions::default()
            };
            match self.store.write(self.actor, &rules.registry, drafts, options).await {
                Err(StoreError::Stale) => {
                    batch.picks = picks;
                    self.renew().await?;
                }
                results => {
                    for (((pick, wish), cut), result) in picks.iter().zip(&wishes).zip(&cut).zip(results?) {
                        let faults = result.err().unwrap_or(Faults(Vec::new())).0;
                        self.weigh(&batch.records, pick, wish, cut, faults, file);
                    }
                    return Ok(());
                }
            }
        }
        Err(ImportError::Stale)
    }

    /// The wishes of picks by the rules; those that there are no more are told and counted.
    fn wishes(&mut self, rules: &Rules, records: &[Record], picks: Vec<Pick>) -> (Vec<Pick>, Vec<Wish>) {
        let (mut kept, mut found) = (Vec::with_capacity(picks.len()), Vec::with_capacity(picks.len()));
        let mut made: Option<(usize, Vec<Wish>)> = None;
        for pick in picks {
            if made.as_ref().is_none_or(|(record, _)| *record != pick.record) {
                made = Some((pick.record, make(&rules.mapping, &records[pick.record]).wishes));
            }
            let wish = made.iter().flat_map(|(_, wishes)| wishes).find(|wish| wish.ordinal == pick.ordinal);
            match wish {
                Some(wish) => {
                    found.push(wish.clone());
                    kept.push(pick);
                }
                None => self.summary.klasses.entry(pick.klass.clone()).or_default().failed += 1,
            }
        }
        (kept, found)
    }

    fn weigh(&mut self, records: &[Record], pick: &Pick, wish: &Wish, cut: &[String], faults: Vec<Fault>, file: &mut File) {
        let record = &records[pick.record];
        let told = |path: &str, reason: String| bad(&self.file, record, &pick.place, &path_of(&pick.klass, path), reason);
        let (mut refused, mut lost) = (Vec::new(), Vec::new());
        for fault in faults {
            // A required link that was cut is there in truth.
            let is_cut = fault.code == Code::Required && fault.path.len() == 1 && cut.contains(&fault.path[0]);
            let is_link = fault.path.len() == 2 && fault.path[1] == "connect";
            if is_link && !pick.required.contains(&fault.path[0]) {
                lost.push(told(
                    &fault.path[0],
                    format!("{}; it would be imported without this link", fault.message),
                ));
            } else if is_link {
                refused.push(told(&fault.path[0], format!("{}, and it cannot be without", fault.message)));
            } else if !is_cut {
                let reason = match &fault.remedy {
                    Some(remedy) => format!("{} ({remedy})", fault.message),
                    None => fault.message.clone(),
                };
                refused.push(told(&fault.path.join("."), reason));
            }
        }
        // A required link that leads nowhere is one thing, not two.
        let nowhere: Vec<String> = refused
            .iter()
            .filter(|bad| bad.reason.ends_with("cannot be without"))
            .map(|bad| bad.path.clone())
            .collect();
        refused.retain(|bad| bad.reason.ends_with("cannot be without") || !nowhere.contains(&bad.path));
        let own = number(&wish.object.klass, &wish.key);
        for (property, value) in wish
            .object
            .values
            .iter()
            .filter(|(property, value)| property.unique && !value.is_null())
        {
            let holder = *file.unique.entry(number_of(&wish.object.klass, property, value)).or_insert(own);
            if holder != own {
                let reason = format!("another record of this file has {} {} already", property.legal, value.to_json());
                refused.push(told(&property.legal, reason));
            }
        }
        let tally = self.summary.klasses.entry(pick.klass.clone()).or_default();
        if refused.is_empty() {
            tally.created += 1;
            self.summary.lost_links += lost.len() as u64;
        } else {
            tally.failed += 1;
        }
        for bad in refused.iter().chain(&lost) {
            self.watch.bad(bad);
        }
    }
}

/// A wish without the links to objects of the file; and from which ends some were taken.
fn without_links_within(mut wish: Wish, file: &File) -> (Wish, Vec<String>) {
    let mut cut = Vec::new();
    for (end, changes) in &mut wish.object.links {
        let before = changes.len();
        changes.retain(|change| match change {
            LinkChange::Connect { klass, key, .. } => !file.keys.contains(&number(klass, key)),
            _ => true,
        });
        if changes.len() < before {
            cut.push(end.legal.clone());
        }
    }
    wish.object.links.retain(|(_, changes)| !changes.is_empty());
    (wish, cut)
}
