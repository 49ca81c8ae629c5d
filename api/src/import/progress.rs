//! How far an import has come, kept in the database: noted only when all that lies before it is committed.

use std::io::Read;
use std::path::Path;

use chrono::Utc;
use klio_entities::klass::OrgId;
use klio_entities::store::{Store, StoreError};
use klio_entities::tables::import_progress as table;
use sea_orm::{ActiveValue, EntityTrait};
use sha2::{Digest, Sha256};

/// The progress of one file into one klass.
#[derive(Debug)]
pub(super) struct Noted {
    row: table::Model,
}

/// What a file and a mapping are, in 64 letters: another file or mapping, another import.
pub(super) fn fingerprint(file: &Path, mapping: &str) -> std::io::Result<String> {
    let mut file = std::fs::File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    hash.update([0]);
    hash.update(mapping.as_bytes());
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Noted {
    /// What is noted of this import; anew when it is another file or mapping, or when it was ended before.
    pub async fn find(store: &Store, org: OrgId, source: &str, klass: &str, fingerprint: &str) -> Result<Self, StoreError> {
        let key = (org.0, source.to_owned(), klass.to_owned());
        let known = table::Entity::find_by_id(key).one(&store.connection()).await?;
        if let Some(row) = &known
            && row.fingerprint == fingerprint
            && row.finished_at.is_none()
        {
            return Ok(Self { row: row.clone() });
        }
        let now = Utc::now();
        let row = table::Model {
            org_id: org.0,
            source: source.to_owned(),
            klass: klass.to_owned(),
            fingerprint: fingerprint.to_owned(),
            position: 0,
            records: 0,
            failed: 0,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        if known.is_some() {
            table::Entity::delete_by_id((org.0, row.source.clone(), row.klass.clone()))
                .exec(&store.connection())
                .await?;
        }
        table::Entity::insert(table::ActiveModel::from(row.clone()))
            .exec_without_returning(&store.connection())
            .await?;
        Ok(Self { row })
    }

    /// How many records are done.
    pub fn position(&self) -> u64 {
        self.row.position.unsigned_abs()
    }

    /// How many were refused among them.
    pub fn failed(&self) -> u64 {
        self.row.failed.unsigned_abs()
    }

    /// Begins at the first record after all.
    pub fn rewind(&mut self) {
        self.row.position = 0;
        self.row.failed = 0;
    }

    /// Notes how far it has come.
    pub async fn note(&mut self, store: &Store, position: u64, failed: u64, finished: bool) -> Result<(), StoreError> {
        let now = Utc::now();
        self.row.position = i64::try_from(position).unwrap_or(i64::MAX);
        self.row.records = self.row.position;
        self.row.failed = i64::try_from(failed).unwrap_or(i64::MAX);
        let change = table::ActiveModel {
            org_id: ActiveValue::Unchanged(self.row.org_id),
            source: ActiveValue::Unchanged(self.row.source.clone()),
            klass: ActiveValue::Unchanged(self.row.klass.clone()),
            position: ActiveValue::Set(self.row.position),
            records: ActiveValue::Set(self.row.records),
            failed: ActiveValue::Set(self.row.failed),
            updated_at: ActiveValue::Set(now),
            finished_at: ActiveValue::Set(finished.then_some(now)),
            ..Default::default()
        };
        table::Entity::update(change).exec(&store.connection()).await?;
        Ok(())
    }
}
