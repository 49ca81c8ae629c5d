//! `klio doctor`.

use clap::Args;
use klio_entities::klass::OrgId;

use super::{Failure, count, open, org_of, print};
use crate::config::Config;

/// Compare the database with the klasses and the log with itself; tell what differs, and mend it.
///
/// Prints one line for each finding. Exit code 3 if something was found that is not mended.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Only this org; all when not given.
    #[arg(long)]
    org: Option<String>,
    /// Mend what can be mended without losing anything.
    #[arg(long)]
    mend: bool,
    /// A backup was put back: from now on it is another log, so that every cursor of before is told `RESYNC`. A PostgreSQL
    /// server that was restored shows this by itself; a file of SQLite does not, nor does a dump that was read into the same server. To be
    /// said before the gateway is started again.
    #[arg(long)]
    restored: bool,
    /// Print findings as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        let store = open(config).await?;
        if self.restored {
            store.renew_epoch().await?;
            eprintln!("the log is another one: cursors of before the restore get RESYNC");
        }
        let orgs = match &self.org {
            Some(slug) => vec![org_of(&store, slug).await?],
            None => store.orgs().await?,
        };
        let (mut found, mut left) = (0, 0);
        for org in &orgs {
            for finding in store.doctor(OrgId(org.id), self.mend).await? {
                found += 1;
                left += usize::from(!finding.mended);
                let line = if self.json {
                    let mut line = serde_json::to_value(&finding).map_err(|error| Failure::Failed(error.to_string()))?;
                    line["org"] = org.slug.as_str().into();
                    line.to_string()
                } else {
                    let state = if finding.mended { "mended" } else { "found" };
                    format!("{state:<6}  {}  {:<8}  {}  {}", org.slug, finding.what, finding.at, finding.message)
                };
                print(format!("{line}\n"))?;
            }
        }
        match (found, left) {
            (0, _) => eprintln!("{}: all is as it should be", count(orgs.len(), "org", "orgs")),
            (n, 0) => eprintln!("{}, all mended", count(n, "finding", "findings")),
            (n, left) => {
                let hint = if self.mend { "" } else { "; --mend mends what can be mended" };
                return Err(Failure::Refused(format!(
                    "{}, {left} not mended{hint}",
                    count(n, "finding", "findings")
                )));
            }
        }
        Ok(())
    }
}
