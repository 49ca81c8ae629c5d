//! Tokens are looked up together: when thousands of connections come back at once, a statement finds the tokens of many.

use std::collections::HashMap;
#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dataloader::BatchFn;
use dataloader::non_cached::Loader;
use klio_entities::store::Store;
use klio_entities::store::token::Token;

use super::Refusal;

/// How many one statement looks up, at most.
const TOGETHER: usize = 500;

/// What became of a look-up; nothing is remembered here.
type Found = Result<Option<Token>, Refusal>;
/// A token's hash.
type Hash = [u8; 32];

/// Looks tokens up. Clones share the look-ups.
#[derive(Clone)]
pub struct Tokens(Loader<Hash, Found, Batch>);

struct Batch {
    store: Store,
    #[cfg(test)]
    statements: Arc<AtomicUsize>,
}

impl BatchFn<Hash, Found> for Batch {
    async fn load(&mut self, hashes: &[Hash]) -> HashMap<Hash, Found> {
        #[cfg(test)]
        self.statements.fetch_add(1, Ordering::Relaxed);
        match self.store.tokens_by_hash(hashes).await {
            Ok(mut found) => hashes.iter().map(|hash| (*hash, Ok(found.remove(hash)))).collect(),
            Err(error) => {
                let refusal = super::unavailable(&error);
                hashes.iter().map(|hash| (*hash, Err(refusal.clone()))).collect()
            }
        }
    }
}

impl Tokens {
    /// Those of a store.
    pub fn new(store: Store) -> Self {
        Self::of(Batch {
            store,
            #[cfg(test)]
            statements: Arc::default(),
        })
    }

    fn of(batch: Batch) -> Self {
        Self(Loader::new(batch).with_max_batch_size(TOGETHER))
    }

    /// The token of this hash, whether it is still valid or not, with all that are asked for at the moment.
    pub async fn by_hash(&self, hash: Hash) -> Found {
        let loader = self.0.clone();
        // Who asks may go away, and must not take along the look-up that others wait for.
        let found = tokio::spawn(async move { loader.try_load(hash).await }).await;
        match found {
            Ok(Ok(found)) => found,
            Ok(Err(_)) | Err(_) => Err(Refusal::Unavailable),
        }
    }
}

#[cfg(test)]
mod tests {
    use klio_entities::klass::{OrgId, Role};
    use klio_entities::store::StoreConfig;
    use klio_entities::store::token::hash;

    use super::*;

    #[tokio::test]
    async fn a_statement_finds_many_and_each_gets_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = StoreConfig {
            url: format!("sqlite:{}", folder.path().join("klio.db").display()),
            ..crate::Config::defaults().store()
        };
        let store = Store::open(&config).await.expect("a new database");
        store.migrate().await.expect("it migrates");
        let org = OrgId(store.create_org("acme", "Acme").await.expect("an org").id);
        let mut texts = Vec::new();
        for n in 0..50 {
            let name = n.to_string();
            let (text, _) = store.create_token(org, &name, Role::Reader, None).await.expect("a token");
            texts.push((text, Some(name)));
            texts.push((format!("klio_unknown_{n}"), None));
        }
        let statements = Arc::new(AtomicUsize::new(0));
        let tokens = Tokens::of(Batch {
            store,
            statements: statements.clone(),
        });
        let asked: Vec<_> = texts
            .into_iter()
            .map(|(text, name)| {
                let tokens = tokens.clone();
                (name, tokio::spawn(async move { tokens.by_hash(hash(&text)).await }))
            })
            .collect();
        for (name, found) in asked {
            let found = found.await.expect("a task").expect("a look-up");
            assert_eq!(found.map(|token| token.name), name);
        }
        let statements = statements.load(Ordering::Relaxed);
        assert!(statements < 5, "{statements} statements for 100 tokens");
    }
}
