//! A list of drafts, each with a result of its own: all in one savepoint, then without those that have faults, then one by one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use super::{Hint, Job, Outcomes, apply, duplicate, one_unit, refused};
use crate::klass::draft::Written;
use crate::klass::fault::Code;
use crate::klass::{Fault, Faults};
use crate::store::{ConstraintKind, StoreError, Tx};

/// How often a list is tried without its faulty items before each item goes by itself.
const ROUNDS: u32 = 3;

/// Each draft by itself: all together in a savepoint first, then without those that have faults, then one by one.
pub(super) async fn item_by_item(tx: &Tx, job: &Arc<Job>, mut left: Vec<usize>) -> Result<Outcomes, StoreError> {
    let mut results: BTreeMap<usize, Result<Written, Faults>> = BTreeMap::new();
    let mut hint: Option<Hint> = None;
    let mut rounds = 0;
    let mut queue: Vec<Vec<usize>> = vec![std::mem::take(&mut left)];
    while let Some(items) = queue.pop() {
        if items.is_empty() {
            continue;
        }
        rounds += 1;
        let run = job.clone();
        let these = items.clone();
        let outcome = tx
            .savepoint(move |tx| {
                Box::pin(async move {
                    let (faults, done) = one_unit(tx, &run, &these).await?;
                    if !faults.is_empty() {
                        let mut undone = run.undone.lock().unwrap_or_else(PoisonError::into_inner);
                        undone.results = refused(&run.drafts, faults);
                        return Err(StoreError::Faults(Faults(vec![])));
                    }
                    Ok(done)
                })
            })
            .await;
        let faults: HashMap<usize, Vec<Fault>> = match outcome {
            Ok(done) => {
                for (item, result) in items.iter().zip(done.results) {
                    results.insert(*item, result);
                }
                merge(&mut hint, done.hint);
                continue;
            }
            Err(StoreError::Faults(faults)) if faults.0.is_empty() => {
                let undone = job.undone.lock().unwrap_or_else(PoisonError::into_inner).results.clone();
                let own = |item: &usize| own_faults(undone.get(*item)?).map(|faults| (*item, faults));
                items.iter().filter_map(own).collect()
            }
            Err(error) if error.constraint(ConstraintKind::Unique).is_some() => {
                let tried = job.undone.lock().unwrap_or_else(PoisonError::into_inner).tried.clone();
                let upserts = items.iter().any(|item| apply::has_upsert(&job.drafts[*item]));
                if upserts && rounds <= 1 {
                    queue.push(items);
                    continue;
                }
                duplicate::explain(duplicate::Place::Tx(tx), job.org, &tried).await?
            }
            Err(error) if error.constraint(ConstraintKind::ForeignKey).is_some() && items.len() == 1 => {
                let fault = Fault::new(
                    Code::Restricted,
                    Vec::<String>::new(),
                    "another object still points to this one, or the one linked to has just gone",
                );
                items.iter().map(|item| (*item, vec![fault.clone()])).collect()
            }
            Err(error) if error.constraint(ConstraintKind::ForeignKey).is_some() => HashMap::new(),
            Err(error) => return Err(error),
        };
        for (item, faults) in &faults {
            results.insert(*item, Err(Faults(faults.clone())));
        }
        let rest: Vec<usize> = items.iter().copied().filter(|item| !faults.contains_key(item)).collect();
        if faults.is_empty() && items.len() == 1 {
            return Err(StoreError::Contended(
                "a unique value was taken and given up again and again".into(),
            ));
        }
        if faults.is_empty() || rounds >= ROUNDS {
            // Whatever is wrong, it is wrong with one of them.
            queue.extend(rest.into_iter().rev().map(|item| vec![item]));
        } else {
            queue.push(rest);
        }
    }
    Ok(Outcomes {
        results: results.into_values().collect(),
        hint,
        tried: vec![],
    })
}

fn merge(hint: &mut Option<Hint>, more: Option<Hint>) {
    match (hint.as_mut(), more) {
        (Some(hint), Some(more)) => {
            for (stream, seq) in more.streams {
                match hint.streams.iter_mut().find(|(known, _)| *known == stream) {
                    Some(known) => known.1 = known.1.max(seq),
                    None => hint.streams.push((stream, seq)),
                }
            }
            hint.xid = hint.xid.max(more.xid);
            for klass in more.klasses {
                if !hint.klasses.contains(&klass) {
                    hint.klasses.push(klass);
                }
            }
        }
        (None, Some(more)) => *hint = Some(more),
        (_, None) => {}
    }
}

/// A draft's own faults; `None`: it has none, and was refused for others' sake at most.
pub(super) fn own_faults(result: &Result<Written, Faults>) -> Option<Vec<Fault>> {
    let faults = &result.as_ref().err()?.0;
    let own = faults.iter().any(|fault| !(fault.code == Code::Conflict && fault.path.is_empty()));
    own.then(|| faults.clone())
}
