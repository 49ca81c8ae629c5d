//! `klio org create|list`.

use clap::Subcommand;

use super::{Failure, open, print, table};
use crate::config::Config;

/// Orgs: who shares the gateway without ever meeting.
#[derive(Debug, Subcommand)]
pub enum Org {
    /// Make an org. Prints its slug.
    Create {
        /// Its slug: 1 to 40 characters of a-z, 0-9 and inner -, beginning with a letter.
        slug: String,
        /// Its name; the slug when not given.
        #[arg(long)]
        name: Option<String>,
        /// Be content when it is there already.
        #[arg(long)]
        if_missing: bool,
    },
    /// List orgs.
    List,
}

impl Org {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        let store = open(config).await?;
        match self {
            Org::Create { slug, name, if_missing } => {
                if !(if_missing && store.org_by_slug(&slug).await?.is_some()) {
                    store.create_org(&slug, name.as_deref().unwrap_or(&slug)).await?;
                }
                print(format!("{slug}\n"))
            }
            Org::List => {
                let orgs = store.orgs().await?;
                let rows: Vec<Vec<String>> = orgs
                    .into_iter()
                    .map(|org| {
                        vec![
                            org.slug,
                            org.klass_version.to_string(),
                            org.created_at.format("%F").to_string(),
                            org.name,
                        ]
                    })
                    .collect();
                print(table(&["SLUG", "KLASSES", "CREATED", "NAME"], &rows))
            }
        }
    }
}
