//! `klio demo`: a customer-service shop on an embedded database, with a year behind it and something happening every moment.
//!
//! Reading order: this page (what is made and kept where), [`fill`] (the year), [`ticker`] (what happens now), [`words`].
//! All that is written goes through [`Store::write`], as if anyone else had written it. What is filled in is the same on every
//! machine; its times count back from the moment of the first start. The ticker is left to chance.

use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound, Utc};
use klio_entities::klass::{Actor, OrgId, Role};
use klio_entities::store::{Store, StoreError, token};
use klio_entities::tables::import_progress;
use sea_orm::{ActiveValue, EntityTrait};

use crate::klasses;

pub mod chance;
pub mod fill;
pub mod object;
pub mod ticker;
pub mod words;

/// The demo's org.
pub const ORG: &str = "demo";
/// The file with the token, in the demo's folder.
pub const TOKEN_FILE: &str = "demo-token";

const KLASSES: &[&str] = &[
    include_str!("../../demo/klasses/product.toml"),
    include_str!("../../demo/klasses/order.toml"),
    include_str!("../../demo/klasses/shipment.toml"),
    include_str!("../../demo/klasses/plan_subscription.toml"),
    include_str!("../../demo/klasses/customer.toml"),
];

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Something that it wished to write was refused.
    #[error("the demo's data was refused: {0}")]
    Fault(String),
    /// Its folder.
    #[error("{}: {error}", path.display())]
    File {
        /// What could not be read or written.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl From<sea_orm::DbErr> for DemoError {
    fn from(error: sea_orm::DbErr) -> Self {
        DemoError::Store(error.into())
    }
}

/// A demo that is ready to serve.
#[derive(Debug)]
pub struct Demo {
    /// Who writes in it.
    pub actor: Actor,
    /// A token of the role admin.
    pub token: String,
    /// Where the token is kept.
    pub token_file: PathBuf,
    /// What was filled in, klass by klass; empty when all was there already.
    pub filled: fill::Counts,
}

/// Makes the org, its klasses, its year and a token, or finds what was made before. The store is migrated already.
///
/// # Errors
/// Of the store and of the folder; a refusal, when the org's klasses were changed before all was filled in.
pub async fn prepare(store: &Store, folder: &Path) -> Result<Demo, DemoError> {
    let org = match store.org_by_slug(ORG).await? {
        Some(org) => org,
        None => store.create_org(ORG, "Demo shop").await?,
    };
    let org = OrgId(org.id);
    let actor = Actor::system(org);
    let filled = match progress(store, org).await? {
        import_progress::Model { finished_at: Some(_), .. } => Vec::new(),
        begun => {
            let registry = klasses::define(store, &actor, KLASSES).await?;
            let counts = fill::fill(store, &actor, &registry, begun.created_at).await?;
            let done = import_progress::ActiveModel {
                finished_at: ActiveValue::Set(Some(Utc::now())),
                records: ActiveValue::Set(counts.iter().map(|(_, n)| *n as i64).sum()),
                ..begun.into()
            };
            import_progress::Entity::update(done).exec(&store.connection()).await?;
            counts
        }
    };
    let token_file = folder.join(TOKEN_FILE);
    let token = token_of(store, org, &token_file).await?;
    Ok(Demo {
        actor,
        token,
        token_file,
        filled,
    })
}

/// When the demo was begun, and whether all of it was filled in: kept where imports keep how far they came.
async fn progress(store: &Store, org: OrgId) -> Result<import_progress::Model, DemoError> {
    let key = (org.0, ORG.to_owned(), "*".to_owned());
    if let Some(known) = import_progress::Entity::find_by_id(key).one(&store.connection()).await? {
        return Ok(known);
    }
    let now: DateTime<Utc> = Utc::now().trunc_subsecs(0);
    let begun = import_progress::Model {
        org_id: org.0,
        source: ORG.to_owned(),
        klass: "*".to_owned(),
        fingerprint: env!("CARGO_PKG_VERSION").to_owned(),
        position: 0,
        records: 0,
        failed: 0,
        created_at: now,
        updated_at: now,
        finished_at: None,
    };
    import_progress::Entity::insert(import_progress::ActiveModel::from(begun.clone()))
        .exec_without_returning(&store.connection())
        .await?;
    Ok(begun)
}

/// The token in the file if it still opens the org; else a new one, left there for its owner alone.
async fn token_of(store: &Store, org: OrgId, file: &Path) -> Result<String, DemoError> {
    if let Ok(text) = std::fs::read_to_string(file) {
        let text = text.trim();
        if let Some(known) = store.token_by_hash(&token::hash(text)).await?
            && known.org == org
            && known.is_valid(Utc::now())
        {
            return Ok(text.to_owned());
        }
    }
    let (text, _) = store.create_token(org, "demo", Role::Admin, None).await?;
    keep(file, &text).map_err(|error| DemoError::File {
        path: file.to_owned(),
        error,
    })?;
    Ok(text)
}

/// Writes a secret into a file that no one else may read, not even for the moment in which it is made.
fn keep(file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut open = std::fs::OpenOptions::new();
    let mut made = open.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    // One that was there already keeps its mode.
    made.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    made.write_all(format!("{text}\n").as_bytes())
}

#[cfg(test)]
mod tests;
