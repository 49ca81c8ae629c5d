//! `klio migrate`.

use clap::Args;
use klio_entities::store::Store;

use super::{Failure, count, print};
use crate::config::Config;

/// Bring the database's tables up to date. Prints the steps that were run, one a line.
#[derive(Args, Debug)]
pub struct Migrate {
    /// Only print the steps that would be run; exit code 3 if there are any.
    #[arg(long)]
    dry_run: bool,
}

impl Migrate {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        let store = Store::open(&config.store()).await?;
        let steps = if self.dry_run {
            store.pending_migrations().await?
        } else {
            store.migrate().await?
        };
        print(steps.iter().map(|step| format!("{step}\n")).collect::<String>())?;
        match (self.dry_run, steps.len()) {
            (_, 0) => eprintln!("{} is up to date", config.shown_database()),
            (true, n) => {
                return Err(Failure::Refused(format!(
                    "{} is {} behind",
                    config.shown_database(),
                    count(n, "step", "steps")
                )));
            }
            (false, n) => eprintln!("{}: {} run", config.shown_database(), count(n, "step was", "steps were")),
        }
        Ok(())
    }
}
