//! What waited for objects that come later in the file: tried again as long as that helps, then told.

use std::collections::BTreeMap;

use super::ImportError;
use super::late::{Late, Part, Waiting};
use super::make::{Wish, make};
use super::reader::{self, Pick};
use super::run::{Run, bad, path_of};

impl Run<'_> {
    /// Tries what waits, as long as that helps; then tells what is left.
    pub(super) async fn settle(&mut self, mut late: Late, size: usize) -> Result<Late, ImportError> {
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
