//! What database tests of the store share: a fresh, migrated database per test, on SQLite and (when it is there) Postgres.

use super::{Store, StoreConfig};

/// A store of its own for one test; dropping it leaves no file behind (Postgres: a database `klio_test_…`, dropped by [`each`]).
pub(crate) struct Fresh {
    pub(crate) store: Store,
    pub(crate) config: StoreConfig,
    /// Where a SQLite file is; it goes with this.
    pub(crate) dir: Option<tempfile::TempDir>,
}

/// A migrated SQLite store in a directory of its own.
pub(crate) async fn sqlite() -> Fresh {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = StoreConfig::new(format!("sqlite:{}", dir.path().join("klio.db").display()));
    // Klass changes clean up at once.
    config.klass_grace = std::time::Duration::ZERO;
    let store = Store::open(&config).await.expect("opens");
    store.migrate().await.expect("migrates");
    Fresh {
        store,
        config,
        dir: Some(dir),
    }
}

/// A migrated Postgres store in a database of its own, when `KLIO_TEST_POSTGRES_URL` says where a server is.
pub(crate) async fn postgres() -> Option<Fresh> {
    let server = std::env::var("KLIO_TEST_POSTGRES_URL").ok()?;
    let name = format!("klio_test_{}", uuid::Uuid::now_v7().simple());
    on_server(&server, &format!("create database {name}")).await;
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let mut config = StoreConfig::new(format!("{base}/{name}"));
    config.max_connections = 8;
    config.klass_grace = std::time::Duration::ZERO;
    let store = Store::open(&config).await.expect("opens");
    store.migrate().await.expect("migrates");
    Some(Fresh { store, config, dir: None })
}

async fn on_server(server: &str, sql: &str) {
    use sea_orm::ConnectionTrait;
    let connection = sea_orm::Database::connect(server).await.expect("the test server");
    connection.execute_unprepared(sql).await.expect("runs");
    connection.close().await.expect("closes");
}

/// Runs a test on each database that is there.
pub(crate) async fn each<F, Fut>(test: F)
where
    F: Fn(Fresh) -> Fut,
    Fut: Future<Output = ()>,
{
    let mut fresh = sqlite().await;
    // Kept here: a test's future may take the store out of `Fresh` and drop the rest at once.
    let _dir = fresh.dir.take();
    test(fresh).await;
    if let Some(fresh) = postgres().await {
        let url = fresh.config.url.clone();
        test(fresh).await;
        let (base, name) = url.rsplit_once('/').expect("a URL with a database");
        on_server(&format!("{base}/postgres"), &format!("drop database if exists {name} with (force)")).await;
    }
}

mod changes;
mod doctor;
mod entities;
mod load;
mod rows;
mod transactions;
