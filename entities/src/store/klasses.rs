//! An org's registry, and how its klasses change.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement};
use serde_json::Value as Json;

use super::{Dialect, Store, StoreError};

mod cell;
mod convert;
pub(crate) mod data;

use crate::klass::definition::Stored;
use crate::klass::fault::Code;
use crate::klass::{Fault, OrgId, Registry, resolve};

/// For how long a registry is taken as current without asking the database.
const TRUSTED: Duration = Duration::from_millis(250);

/// Registries by org.
#[derive(Default)]
pub(crate) struct Registries(RwLock<HashMap<OrgId, Cached>>);

struct Cached {
    registry: Arc<Registry>,
    checked: Instant,
}

/// What the database holds of an org's klasses.
#[derive(Clone, Debug)]
pub(crate) struct Definitions {
    pub slug: String,
    pub version: i64,
    pub stored: Vec<Stored>,
}

impl Definitions {
    pub(crate) fn resolve(&self, org: OrgId) -> Result<Registry, StoreError> {
        resolve::resolve(org, &self.slug, self.version.unsigned_abs(), &self.stored)
            .map_err(|faults| StoreError::Corrupt(format!("the stored klasses of `{}` do not fit together: {faults}", self.slug)))
    }
}

impl Store {
    /// The org's klasses. From memory when it was current a moment (250 ms) ago; else its version is asked for, and it is read
    /// anew if that rose. A change made through this store shows at once; see also [`Store::fresh_registry`].
    /// Fault `NotFound` when there is no such org.
    pub async fn registry(&self, org: OrgId) -> Result<Arc<Registry>, StoreError> {
        if let Some((registry, checked)) = self.0.registries.get(org)
            && checked.elapsed() < TRUSTED
        {
            return Ok(registry);
        }
        self.fresh_registry(org).await
    }

    /// The org's klasses as the database has them now: for a caller that got [`StoreError::Stale`], or heard of a change.
    pub async fn fresh_registry(&self, org: OrgId) -> Result<Arc<Registry>, StoreError> {
        if let Some((registry, _)) = self.0.registries.get(org) {
            let asked = Instant::now();
            let rows = self
                .select("select klass_version from org where id = $1", vec![org.0.into()])
                .await?;
            let version: i64 = rows.first().ok_or_else(no_org)?.try_get_by_index(0).map_err(damaged)?;
            if version.unsigned_abs() == registry.version {
                self.0.registries.put(registry.clone(), asked);
                return Ok(registry);
            }
        }
        let asked = Instant::now();
        let registry = Arc::new(self.definitions(org).await?.resolve(org)?);
        self.0.registries.put(registry.clone(), asked);
        Ok(registry)
    }

    /// Definitions and version, of one moment.
    pub(crate) async fn definitions(&self, org: OrgId) -> Result<Definitions, StoreError> {
        let rows = self
            .select(
                "select o.slug, o.klass_version, d.body from org o left join klass_definition d on d.org_id = o.id where o.id = $1 order by d.position",
                vec![org.0.into()],
            )
            .await?;
        definitions_of(&rows)
    }

    pub(crate) async fn select(&self, sql: &str, values: Vec<sea_orm::Value>) -> Result<Vec<QueryResult>, StoreError> {
        let backend = match self.0.dialect {
            Dialect::Postgres => DbBackend::Postgres,
            Dialect::Sqlite => DbBackend::Sqlite,
        };
        Ok(self
            .0
            .connection
            .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
            .await?)
    }
}

fn definitions_of(rows: &[QueryResult]) -> Result<Definitions, StoreError> {
    let first = rows.first().ok_or_else(no_org)?;
    let mut out = Definitions {
        slug: first.try_get_by_index(0).map_err(damaged)?,
        version: first.try_get_by_index(1).map_err(damaged)?,
        stored: Vec::with_capacity(rows.len()),
    };
    for row in rows {
        if let Some(body) = row.try_get_by_index::<Option<Json>>(2).map_err(damaged)? {
            out.stored
                .push(serde_json::from_value(body).map_err(|e| StoreError::Corrupt(format!("a klass definition of `{}`: {e}", out.slug)))?);
        }
    }
    Ok(out)
}

fn no_org() -> StoreError {
    Fault::new(Code::NotFound, Vec::<String>::new(), "there is no such org").into()
}

fn damaged(error: sea_orm::DbErr) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

impl Registries {
    fn get(&self, org: OrgId) -> Option<(Arc<Registry>, Instant)> {
        let all = self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.get(&org).map(|c| (c.registry.clone(), c.checked))
    }

    /// Keeps it, unless a newer one is kept already.
    pub(crate) fn put(&self, registry: Arc<Registry>, checked: Instant) {
        let mut all = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if all.get(&registry.org).is_some_and(|c| c.registry.version > registry.version) {
            return;
        }
        all.insert(registry.org, Cached { registry, checked });
    }
}
