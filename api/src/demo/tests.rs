//! The demo on a database of its own.

use klio_entities::store::StoreConfig;

use super::*;

async fn store(folder: &Path) -> Store {
    let config = StoreConfig {
        url: format!("sqlite:{}", folder.join("klio.db").display()),
        ..crate::Config::defaults().store()
    };
    let store = Store::open(&config).await.expect("a new database");
    store.migrate().await.expect("it migrates");
    store
}

#[tokio::test]
async fn is_filled_once_and_reused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let first = prepare(&store, folder.path()).await.expect("a demo");
    let count = |klass: &str| first.filled.iter().find(|(known, _)| *known == klass).map_or(0, |(_, n)| *n);
    assert_eq!(count("customer"), fill::CUSTOMERS);
    for (klass, least) in [
        ("conversation", 300),
        ("message", 1_000),
        ("order", 400),
        ("shipment", 300),
        ("plan-subscription", 50),
        ("note", 50),
    ] {
        assert!(count(klass) >= least, "{klass}: {}", count(klass));
    }
    let mode = std::fs::metadata(&first.token_file).expect("the token's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = prepare(&store, folder.path()).await.expect("the same demo");
    assert!(again.filled.is_empty(), "nothing was filled in again");
    assert_eq!(again.token, first.token);

    // A demo that was interrupted goes on: what is there already stays as it is.
    let registry = store.registry(first.actor.org).await.expect("its klasses");
    let begun = progress(&store, first.actor.org).await.expect("its beginning").created_at;
    let (drafts, faults) = fill::year(&registry, begun);
    assert_eq!(faults, []);
    let messages: Vec<_> = drafts.into_iter().flat_map(|(_, drafts)| drafts).take(700).collect();
    for result in store
        .write(&first.actor, &registry, messages, Default::default())
        .await
        .expect("a write")
    {
        assert_eq!(result.expect("no fault").outcome, klio_entities::klass::draft::Outcome::Unchanged);
    }
}
