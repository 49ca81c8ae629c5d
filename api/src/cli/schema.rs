//! `klio schema print`.

use clap::Subcommand;
use klio_entities::klass::OrgId;

use super::{Failure, open, org_or_only, print};
use crate::config::Config;

/// The GraphQL schema of an org.
#[derive(Debug, Subcommand)]
pub enum Schema {
    /// Print it as SDL.
    Print {
        /// Slug of the org; may be left out when there is only one.
        #[arg(long)]
        org: Option<String>,
    },
}

impl Schema {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        let Schema::Print { org } = self;
        let store = open(config).await?;
        let org = org_or_only(&store, org.as_deref()).await?;
        let schema = crate::gateway(&store, config.limits.clone())
            .catalog
            .schema(OrgId(org.id))
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?;
        print(schema.sdl())
    }
}
