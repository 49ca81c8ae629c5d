//! Orgs' schemas in memory: those used recently, each made once per version of the org's klasses, and never older than it may be.
//!
//! A change of klasses on this node shows by the version that the source knows: the next request waits for the new schema. Changes
//! on other nodes are found by asking the database for the version, at most once in [`Settings::check_every`] for each org, by one request
//! while the others go on. A request keeps the schema with which it began.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Variables, dynamic};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use klio_entities::klass::{Faults, OrgId, Registry};
use klio_entities::store::{Store, StoreError};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::types::model::Types;
use crate::{introspection, sdl, types};

/// Where registries come from: the store, or a test's own.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The registry of an org as the database has it now; cheap when it is still the one that was told before.
    async fn registry(&self, org: OrgId) -> Result<Arc<Registry>, StoreError>;
    /// The newest version that this node knows of, from memory: a change made here shows by it.
    fn known_version(&self, org: OrgId) -> Option<u64>;
}

#[async_trait]
impl Source for Store {
    async fn registry(&self, org: OrgId) -> Result<Arc<Registry>, StoreError> {
        // Asks for the version alone while it is the one that the store has.
        self.fresh_registry(org).await
    }

    fn known_version(&self, org: OrgId) -> Option<u64> {
        Store::known_version(self, org)
    }
}

/// Why there is no schema.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The registry could not be read.
    #[error("the klasses could not be read: {0}")]
    Store(#[from] StoreError),
    /// The klasses cannot be said in GraphQL.
    #[error("the klasses make no schema: {0}")]
    Klasses(#[from] Faults),
    /// async-graphql refused the types: a fault of ours.
    #[error("the types make no schema: {0}")]
    Types(String),
}

/// How much is kept, and how often other nodes' changes are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Orgs whose schemas are kept.
    pub orgs: usize,
    /// Plans kept for each org.
    pub plans: usize,
    /// Bytes of introspection answers kept for each org.
    pub introspection_bytes: u64,
    /// How long a version is believed.
    pub check_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            orgs: 256,
            plans: 2_000,
            introspection_bytes: 32 << 20,
            check_every: Duration::from_secs(1),
        }
    }
}

/// Orgs' schemas.
pub struct Catalog {
    source: Arc<dyn Source>,
    settings: Settings,
    slots: Cache<OrgId, Arc<Slot>>,
    started: Instant,
}

/// An org's place in the catalog.
#[derive(Default)]
struct Slot {
    schema: ArcSwapOption<OrgSchema>,
    /// When the version is next asked for, in milliseconds of the catalog's life.
    next_check: AtomicU64,
    /// Rises with each [`Catalog::changed`].
    wanted: AtomicU64,
    /// The `wanted` that `schema` satisfies.
    done: AtomicU64,
    /// One build at a time.
    build: tokio::sync::Mutex<()>,
    /// Types made when a change of klasses was checked; see [`Catalog::offer`].
    offered: Mutex<Option<Types>>,
}

/// What names a plan among those of one schema: document, operation, rights and the shape of the variables, hashed.
pub type PlanKey = [u8; 32];

/// Plans of one schema, by use.
pub type Plans = Cache<PlanKey, Arc<dyn std::any::Any + Send + Sync>>;

/// An org's schema at one version.
pub struct OrgSchema {
    /// Its klasses.
    pub registry: Arc<Registry>,
    /// Its types.
    pub types: Types,
    dynamic: OnceLock<Result<dynamic::Schema, String>>,
    sdl: OnceLock<Bytes>,
    /// Plans made for it.
    pub plans: Plans,
    answers: Cache<PlanKey, Bytes, ByBytes>,
}

impl std::fmt::Debug for OrgSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrgSchema")
            .field("org", &self.registry.org)
            .field("version", &self.registry.version)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct ByBytes;

impl quick_cache::Weighter<PlanKey, Bytes> for ByBytes {
    fn weight(&self, _: &PlanKey, answer: &Bytes) -> u64 {
        answer.len() as u64
    }
}

impl OrgSchema {
    /// Makes the schema of a registry. Takes tens of milliseconds for hundreds of klasses: not for an async thread.
    pub fn build(registry: &Arc<Registry>, settings: &Settings) -> Result<Self, CatalogError> {
        Ok(Self::of(types::build(registry)?, settings))
    }

    /// The schema of these types.
    fn of(types: Types, settings: &Settings) -> Self {
        Self {
            registry: Arc::clone(&types.registry),
            types,
            dynamic: OnceLock::new(),
            sdl: OnceLock::new(),
            plans: Cache::new(settings.plans),
            answers: Cache::with_weighter(16, settings.introspection_bytes, ByBytes),
        }
    }

    /// The same, as async-graphql has them: for introspection. Made when first asked for.
    pub fn dynamic(&self) -> Result<&dynamic::Schema, CatalogError> {
        let made = self
            .dynamic
            .get_or_init(|| types::emit::emit(&self.types).map_err(|error| error.to_string()));
        made.as_ref().map_err(|error| CatalogError::Types(error.clone()))
    }

    /// Its text in the schema definition language, printed when first asked for.
    pub fn sdl(&self) -> Bytes {
        self.sdl.get_or_init(|| Bytes::from(sdl::print(&self.types))).clone()
    }

    /// Answers an operation of `__schema`, `__type` and `__typename` alone: the whole response as JSON. `text` is the document's
    /// text, by which the answer is kept.
    pub fn introspect<'a>(
        self: &'a Arc<Self>,
        text: &'a str,
        document: ExecutableDocument,
        variables: Variables,
        operation: Option<&'a str>,
    ) -> BoxFuture<'a, Bytes> {
        Box::pin(async move {
            let mut hash = Sha256::new();
            for part in [text, operation.unwrap_or_default()] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
            hash.update(serde_json::to_vec(&variables).unwrap_or_default());
            let key: PlanKey = hash.finalize().into();
            let (schema, operation) = (Arc::clone(self), operation.map(str::to_owned));
            let made = self.answers.get_or_insert_async(&key, async move {
                let answered = tokio::task::spawn_blocking(move || {
                    let dynamic = schema.dynamic()?;
                    Ok(introspection::answer_bytes(dynamic, document, variables, operation.as_deref()))
                });
                answered.await.unwrap_or_else(|error| Err(CatalogError::Types(error.to_string())))
            });
            match made.await {
                Ok(answer) => answer,
                // Only when the types contradict themselves, or the runtime shuts down.
                Err(error) => {
                    tracing::error!(%error, "introspection was not answered");
                    introspection::UNANSWERED
                }
            }
        })
    }
}

impl Catalog {
    /// An empty catalog.
    pub fn new(source: Arc<dyn Source>, settings: Settings) -> Self {
        Self {
            source,
            settings,
            slots: Cache::new(settings.orgs.max(1)),
            started: Instant::now(),
        }
    }

    /// The org's schema, as new as it must be.
    pub fn schema<'a>(&'a self, org: OrgId) -> BoxFuture<'a, Result<Arc<OrgSchema>, CatalogError>> {
        Box::pin(async move {
            let slot = self.slot(org);
            if slot.wanted.load(Ordering::Acquire) == slot.done.load(Ordering::Acquire)
                && let Some(schema) = slot.schema.load_full()
                && self.source.known_version(org).is_none_or(|known| known <= schema.registry.version)
            {
                let now = self.now();
                let due = slot.next_check.load(Ordering::Relaxed);
                let mine = now >= due
                    && slot
                        .next_check
                        .compare_exchange(due, self.after(now), Ordering::Relaxed, Ordering::Relaxed)
                        .is_ok();
                if !mine {
                    return Ok(schema);
                }
                return match self.renew(org, &slot, true).await {
                    Err(CatalogError::Store(error)) if !matches!(error, StoreError::Faults(_)) => {
                        // Whoever reads next hears of an outage from the read itself; what is known stays good until then.
                        tracing::warn!(%error, "the version of the klasses could not be read");
                        Ok(schema)
                    }
                    other => other,
                };
            }
            self.renew(org, &slot, false).await
        })
    }

    /// Klasses of an org were found to be newer (told by another node, or by a stale write): the next request asks for them.
    pub fn changed(&self, org: OrgId) {
        self.slot(org).wanted.fetch_add(1, Ordering::Release);
    }

    /// A change of klasses was made, for which these types were made to check it: so the next request need not wait for others.
    /// To be told before [`Self::changed`].
    pub fn offer(&self, org: OrgId, types: Types) {
        *self.slot(org).offered.lock().unwrap_or_else(PoisonError::into_inner) = Some(types);
    }

    /// Asks for the registry and builds when it is another one. One at a time; those that waited find the work done, unless it is
    /// their turn to ask (`due`).
    async fn renew(&self, org: OrgId, slot: &Slot, due: bool) -> Result<Arc<OrgSchema>, CatalogError> {
        let _one = slot.build.lock().await;
        // Read before the version: what changes later is another wish.
        let wanted = slot.wanted.load(Ordering::Acquire);
        let present = slot.schema.load_full();
        if let Some(schema) = &present
            && !due
            && slot.done.load(Ordering::Acquire) == wanted
            && self.source.known_version(org).is_none_or(|known| known <= schema.registry.version)
        {
            return Ok(Arc::clone(schema));
        }
        let registry = self.source.registry(org).await?;
        if let Some(schema) = present
            && schema.registry.version == registry.version
        {
            slot.done.store(wanted, Ordering::Release);
            return Ok(schema);
        }
        let settings = self.settings;
        let began = Instant::now();
        let offered = slot.offered.lock().unwrap_or_else(PoisonError::into_inner).take();
        let schema = match offered.filter(|types| types.registry.version == registry.version) {
            Some(types) => Arc::new(OrgSchema::of(types, &settings)),
            None => {
                let made = tokio::task::spawn_blocking(move || OrgSchema::build(&registry, &settings)).await;
                Arc::new(made.map_err(|error| CatalogError::Types(error.to_string()))??)
            }
        };
        tracing::debug!(version = schema.registry.version, took = ?began.elapsed(), "schema built");
        let old = slot.schema.swap(Some(Arc::clone(&schema)));
        // Thousands of types to let go of: not on an async thread. (Requests under way keep it until they end.)
        tokio::task::spawn_blocking(move || drop(old));
        slot.next_check.store(self.after(self.now()), Ordering::Relaxed);
        slot.done.store(wanted, Ordering::Release);
        Ok(schema)
    }

    fn slot(&self, org: OrgId) -> Arc<Slot> {
        let made: Result<_, std::convert::Infallible> = self.slots.get_or_insert_with(&org, || Ok(Arc::default()));
        match made {
            Ok(slot) => slot,
            Err(never) => match never {},
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn after(&self, now: u64) -> u64 {
        now + self.settings.check_every.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::types::testing;

    /// A source whose version the test sets, and which counts how often it is asked.
    #[derive(Default)]
    struct Counted {
        version: AtomicU64,
        known: AtomicU64,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Source for Counted {
        async fn registry(&self, org: OrgId) -> Result<Arc<Registry>, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut registry = (*testing::shop()).clone();
            registry.org = org;
            registry.version = self.version.load(Ordering::SeqCst);
            Ok(Arc::new(registry))
        }
        fn known_version(&self, _: OrgId) -> Option<u64> {
            Some(self.known.load(Ordering::SeqCst))
        }
    }

    fn catalog(check_every: Duration) -> (Arc<Counted>, Arc<Catalog>) {
        let source = Arc::new(Counted::default());
        source.version.store(1, Ordering::SeqCst);
        let settings = Settings {
            check_every,
            ..Settings::default()
        };
        (Arc::clone(&source), Arc::new(Catalog::new(source, settings)))
    }

    #[tokio::test]
    async fn many_at_once_build_once() -> Result<(), CatalogError> {
        let (source, catalog) = catalog(Duration::from_secs(60));
        let org = OrgId(uuid::Uuid::nil());
        let all = futures_util::future::join_all((0..20).map(|_| catalog.schema(org))).await;
        let mut all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
        let one = all.pop();
        assert!(
            all.iter().all(|s| one.as_ref().is_some_and(|one| Arc::ptr_eq(one, s))),
            "one schema for all"
        );
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        Ok(())
    }

    #[tokio::test]
    async fn own_changes_are_seen_at_once_and_foreign_ones_by_asking() -> Result<(), CatalogError> {
        let (source, catalog) = catalog(Duration::from_millis(50));
        let org = OrgId(uuid::Uuid::nil());
        let old = catalog.schema(org).await?;
        source.version.store(2, Ordering::SeqCst);
        assert_eq!(catalog.schema(org).await?.registry.version, 1, "not asked again so soon");
        catalog.changed(org);
        assert_eq!(catalog.schema(org).await?.registry.version, 2, "told of a change");
        assert_eq!(old.registry.version, 1, "a request under way keeps its schema");
        source.version.store(3, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(catalog.schema(org).await?.registry.version, 3, "another node's change");
        source.version.store(4, Ordering::SeqCst);
        source.known.store(4, Ordering::SeqCst);
        assert_eq!(catalog.schema(org).await?.registry.version, 4, "own change");
        let asked = source.asked.load(Ordering::SeqCst);
        for _ in 0..100 {
            catalog.schema(org).await?;
        }
        assert!(
            source.asked.load(Ordering::SeqCst) <= asked + 2,
            "the version is not asked for by each request"
        );
        Ok(())
    }

    #[tokio::test]
    async fn what_was_made_to_check_a_change_is_the_schema_of_its_version_alone() -> Result<(), CatalogError> {
        let (source, catalog) = catalog(Duration::from_secs(60));
        let org = OrgId(uuid::Uuid::nil());
        catalog.schema(org).await?;
        let offer = |version| {
            let mut registry = (*testing::shop()).clone();
            (registry.org, registry.version) = (org, version);
            let registry = Arc::new(registry);
            catalog.offer(org, types::build(&registry)?);
            Ok::<_, CatalogError>(registry)
        };
        let two = offer(2)?;
        source.version.store(2, Ordering::SeqCst);
        catalog.changed(org);
        assert!(Arc::ptr_eq(&catalog.schema(org).await?.registry, &two), "not made again");
        // Another change came in between.
        let three = offer(3)?;
        source.version.store(4, Ordering::SeqCst);
        catalog.changed(org);
        let schema = catalog.schema(org).await?;
        assert_eq!(schema.registry.version, 4);
        assert!(!Arc::ptr_eq(&schema.registry, &three));
        Ok(())
    }

    #[tokio::test]
    async fn introspection_is_answered_and_kept() -> Result<(), CatalogError> {
        let (_, catalog) = catalog(Duration::from_secs(60));
        let schema = catalog.schema(OrgId(uuid::Uuid::nil())).await?;
        let text = "{ __type(name: \"OrderKey\") { isOneOf inputFields { name type { name } } } __schema { queryType { name } } }";
        let parse = || async_graphql::parser::parse_query(text).map_err(|e| CatalogError::Types(e.to_string()));
        let first = schema.introspect(text, parse()?, Variables::default(), None).await;
        let answer: serde_json::Value = serde_json::from_slice(&first).map_err(|e| CatalogError::Types(e.to_string()))?;
        assert_eq!(answer["data"]["__schema"]["queryType"]["name"], "Query");
        assert_eq!(answer["data"]["__type"]["isOneOf"], true);
        assert_eq!(answer["data"]["__type"]["inputFields"][0]["name"], "id");
        let second = schema.introspect(text, parse()?, Variables::default(), None).await;
        assert_eq!(first.as_ptr(), second.as_ptr(), "the same bytes, not made again");
        Ok(())
    }
}
