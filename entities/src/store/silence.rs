//! When the database says nothing: its server breaks every statement off that takes longer than it may, so an answer that has not come some
//! time later was lost on its way (a network that dropped the connection and told no one). Who waits is told so, and the plain pool,
//! of which more may be lost, is given up for a new one.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};

use super::{Dialect, Store, StoreError, driver};

/// How much longer than a statement may take its answer is waited for.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Waits so long for an answer (`None`: as long as it takes).
///
/// # Errors
/// What the database says; that it says nothing ([`StoreError::is_silence`]).
pub(super) async fn answered<T>(patience: Option<Duration>, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
    match patience {
        None => Ok(answer.await?),
        Some(patience) => match tokio::time::timeout(patience, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::silence()),
        },
    }
}

impl StoreError {
    const SILENCE: &str = "it does not answer";

    /// The database says nothing.
    pub(crate) fn silence() -> Self {
        Self::Unavailable(Self::SILENCE.to_owned())
    }

    /// Whether this is [`StoreError::silence`].
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Unavailable(what) if what == Self::SILENCE)
    }
}

impl Store {
    /// How long an answer to one statement is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.0.config.statement_timeout + GRACE
    }

    /// Does something with the plain pool; if the database says nothing, that pool is given up.
    pub(super) async fn noticed<T, F>(&self, work: impl FnOnce(DatabaseConnection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let used = self.0.connection.load_full();
        let done = work(DatabaseConnection::clone(&used)).await;
        if done.as_ref().is_err_and(StoreError::is_silence) && self.0.dialect == Dialect::Postgres {
            tracing::warn!("the database does not answer: its connections are given up for new ones");
            let fresh = Arc::new(driver::pool::postgres_unopened(&self.0.config)?);
            // Unless someone else has noticed too. What still waits on the old one ends by its own patience.
            self.0.connection.compare_and_swap(&used, fresh);
        }
        done
    }
}
