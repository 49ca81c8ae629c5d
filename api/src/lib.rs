//! The door: HTTP, WebSocket, configuration and the `klio` command.
//!
//! Reading order: [`router`] (all that can be asked for), [`http`], [`ws`], [`auth`], [`config`], [`cli`]. What must never be:
//! a token in a log, a URL or an error; a request that reaches the gateway without an actor; an answer that waits for a slow
//! neighbour.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use klio_entities::store::{Store, StoreError};
use klio_schema::catalog::Catalog;
use klio_schema::execute::Gateway;
use klio_schema::limits::Limits;
use klio_subscriptions::bus::redis::Redis;
use klio_subscriptions::bus::{Bus, InProcess};
use klio_subscriptions::listen::{Listeners, Times};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub mod auth;
pub mod cli;
pub mod config;
pub mod demo;
pub mod http;
pub mod import;
pub mod klasses;
pub mod listeners;
pub mod logs;
pub mod metrics;
pub mod params;
pub mod router;
mod server;
pub mod stream;
pub mod ws;

pub use config::Config;

/// How often what klass changes left is looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// How often it is written down how far the log has come.
const WITNESS_EVERY: Duration = Duration::from_secs(1);

/// All that a running gateway holds.
pub struct App {
    /// Its settings.
    pub config: Config,
    /// What there is.
    pub store: Store,
    /// Runs operations.
    pub gateway: Gateway,
    /// Knows who comes in.
    pub auth: Arc<auth::Auth>,
    /// Those who work on every event.
    pub listeners: Listeners,
    /// Its numbers.
    pub metrics: metrics::Metrics,
    /// Its connections that stay open: sockets and streams.
    pub places: Arc<stream::places::Places>,
    /// Event streams that were reserved (single connection mode).
    pub reservations: Arc<http::reserved::Reservations>,
    /// Told when it is to end.
    drain: CancellationToken,
    /// Connections of both kinds.
    tasks: TaskTracker,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("store", &self.store).finish_non_exhaustive()
    }
}

impl App {
    /// It is about to end.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The database is behind and may not be migrated.
    #[error("the database is {} steps behind ({}) and database.migrate is false: run `klio migrate`", .0.len(), .0.join(", "))]
    Behind(Vec<String>),
    /// A setting that turned out not to be usable.
    #[error("{0}")]
    Setting(String),
    /// The address.
    #[error("{addr} cannot be listened on: {error}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    /// Where; the port is a real one also when the settings said 0.
    pub addr: SocketAddr,
    /// All that it holds.
    pub app: Arc<App>,
    serving: JoinHandle<()>,
}

impl Running {
    /// `http://127.0.0.1:4000`, as a client on this machine says it.
    pub fn url(&self) -> String {
        let ip = self.addr.ip();
        let host = if ip.is_unspecified() {
            "127.0.0.1".to_owned()
        } else {
            ip.to_string()
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("http://{host}:{}", self.addr.port())
    }

    /// Begins the end: no new connections, open sockets are closed with 1012. [`Running::finished`] tells when it is over.
    pub fn drain(&self) {
        self.app.drain.cancel();
    }

    /// Waits for the end.
    pub async fn finished(self) {
        // A panic in the accepting task was logged as it happened; there is nothing left to end.
        let _ = self.serving.await;
    }

    /// Ends in good order.
    pub async fn shutdown(self) {
        self.drain();
        self.finished().await;
    }
}

/// Opens the store and brings its tables up to date, or refuses to.
///
/// # Errors
/// The database's, or that it is behind.
pub async fn open_store(config: &Config) -> Result<Store, StartError> {
    let store = Store::open(&config.store()).await?;
    if config.database.migrate {
        let steps = store.migrate().await?;
        if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
            tracing::info!(steps = steps.len(), %first, %last, "migrated");
        }
    } else {
        let pending = store.pending_migrations().await?;
        if !pending.is_empty() {
            return Err(StartError::Behind(pending));
        }
    }
    Ok(store)
}

/// Starts a gateway.
///
/// # Errors
/// Why it cannot.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let store = open_store(&config).await?;
    for line in store.resume_changes().await? {
        tracing::info!("{line}");
    }
    start_with(config, store).await
}

/// Starts a gateway on a store that is open and up to date already.
///
/// # Errors
/// Why it cannot.
pub async fn start_with(config: Config, store: Store) -> Result<Running, StartError> {
    if store.hear_witness().await? {
        tracing::warn!("the database was put back from a backup: cursors of what is gone get RESYNC");
    }
    let auth = Arc::new(auth::Auth::new(store.clone(), &config.auth).map_err(StartError::Setting)?);
    let metrics = metrics::Metrics::new().map_err(|error| StartError::Setting(error.to_string()))?;
    let bus: Arc<dyn Bus> = match &config.redis.url {
        Some(place) => Arc::new(Redis::new(store.clone(), place.clone(), &config.redis.prefix)),
        None => Arc::new(InProcess::new(store.clone())),
    };
    let gateway = gateway_with(&store, config.limits.clone(), bus.clone());
    let listen = config.http.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| StartError::Listen { addr: listen, error })?;
    let addr = listener.local_addr().map_err(|error| StartError::Listen { addr: listen, error })?;
    let listeners = Listeners::start(&store, &bus, listeners::all(&store), Times::default());
    let app = Arc::new(App {
        config,
        listeners,
        store,
        gateway,
        auth,
        metrics,
        places: Arc::default(),
        reservations: Arc::default(),
        drain: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
    // Not among the tasks: they end with the drain.
    let checking = tokio::spawn(app.auth.clone().run(bus.heard(), app.drain.clone()));
    let cleaning = tokio::spawn(clean(app.clone()));
    let witnessing = tokio::spawn(witness(app.clone()));
    let serving = tokio::spawn({
        let (door, app) = (Arc::new(router::Door::new(app.clone())), app.clone());
        async move {
            server::serve(listener, door, app.clone()).await;
            app.listeners.stop().await;
            let _ = tokio::join!(checking, cleaning, witnessing);
            if let Err(error) = app.store.tell_witness().await {
                tracing::warn!(%error, "a backup that is put back may not be found out");
            }
            if let Err(error) = app.store.fold().await {
                tracing::warn!(%error, "the database's log was not folded into its file");
            }
        }
    });
    Ok(Running { addr, app, serving })
}

/// SQLite: writes down beside the file how far the log has come, so that a backup that is put back is found out.
async fn witness(app: Arc<App>) {
    let mut tick = tokio::time::interval(WITNESS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = true;
    loop {
        tokio::select! {
            () = app.drain.cancelled() => return,
            _ = tick.tick() => {}
        }
        match app.store.tell_witness().await {
            Ok(()) => told = true,
            // Once is enough of a file that cannot be written.
            Err(error) if told => {
                told = false;
                tracing::warn!(%error, "a backup that is put back may not be found out");
            }
            Err(_) => {}
        }
    }
}

/// Now and then finishes what klass changes left, by this node or by one that is gone.
async fn clean(app: Arc<App>) {
    let mut tick = tokio::time::interval(CLEAN_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first comes at once; the start has just done it.
    tick.tick().await;
    loop {
        tokio::select! {
            () = app.drain.cancelled() => return,
            _ = tick.tick() => {}
        }
        match app.store.resume_changes().await {
            Ok(done) => done.iter().for_each(|line| tracing::info!("{line}")),
            Err(error) => tracing::warn!(%error, "what klass changes left could not be finished"),
        }
        if let Err(error) = app.store.forget_old().await {
            tracing::warn!(%error, "old events could not be forgotten");
        }
    }
}

/// The gateway over a store.
pub(crate) fn gateway(store: &Store, limits: Limits) -> Gateway {
    gateway_with(store, limits, Arc::new(InProcess::new(store.clone())))
}

/// The gateway over a store, one of several nodes.
fn gateway_with(store: &Store, limits: Limits, bus: Arc<dyn Bus>) -> Gateway {
    let catalog = Catalog::new(Arc::new(store.clone()), Default::default());
    Gateway::with_bus(store.clone(), Arc::new(catalog), limits, bus)
}
