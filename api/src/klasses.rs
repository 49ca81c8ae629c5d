//! Klasses from the texts of their files.

use std::sync::Arc;

use klio_entities::klass::change::KlassChange;
use klio_entities::klass::fault::Code;
use klio_entities::klass::{Actor, Fault, OrgId, Registry, read};
use klio_entities::store::klasses::ChangeOptions;
use klio_entities::store::{Store, StoreError};

/// The gateway itself, within the org of this slug.
///
/// # Errors
/// A fault when there is no such org; what the database says.
pub async fn system(store: &Store, org: &str) -> Result<Actor, StoreError> {
    match store.org_by_slug(org).await? {
        Some(org) => Ok(Actor::system(OrgId(org.id))),
        None => Err(Fault::new(Code::NotFound, ["org"], format!("there is no org {org}")).into()),
    }
}

/// Makes an org's klasses what these texts (TOML, a klass each) say, all together or not at all. Klasses without a text stay.
///
/// # Errors
/// All that is wrong with them, and what [`Store::change_klasses`] refuses.
pub async fn define<T: AsRef<str>>(store: &Store, actor: &Actor, texts: &[T]) -> Result<Arc<Registry>, StoreError> {
    let mut changes = Vec::with_capacity(texts.len());
    let mut faults = Vec::new();
    for text in texts {
        match read::from_toml(text.as_ref()) {
            Ok(definition) => changes.push(KlassChange::Define(definition)),
            Err(told) => faults.extend(told.0),
        }
    }
    if !faults.is_empty() {
        return Err(klio_entities::klass::Faults(faults).into());
    }
    let options = ChangeOptions {
        extra_check: Some(&klio_schema::names::check),
        ..ChangeOptions::default()
    };
    Ok(store.change_klasses(actor, changes, options).await?.registry)
}
