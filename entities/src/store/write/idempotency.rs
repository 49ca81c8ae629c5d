//! A request that is sent twice is done once: its key is kept with its result, for 24 hours, per org and actor.

use chrono::{Duration, Utc};
use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use super::Results;
use super::unit::broken;
use crate::klass::draft::Written;
use crate::klass::{Actor, Faults};
use crate::store::write::layout::{bind_json, bind_time, read_json};
use crate::store::{Store, StoreError, Tx};

/// For how long a key is kept.
const KEPT: Duration = Duration::hours(24);

/// What makes a request the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key.
    pub key: String,
    /// A hash of all of its input.
    pub input_hash: Vec<u8>,
}

/// What a key says.
pub(super) enum Claim {
    /// No one used it: do the work, then [`keep`] the result.
    Ours,
    /// The work is done.
    Done(Results),
    /// It was used with other input.
    Other,
}

/// Keys of different actors do not meet.
fn scoped(actor: &Actor, key: &str) -> String {
    let text = actor.to_text();
    // Without the name, which may change.
    let who = text.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
    format!("{who}:{key}")
}

/// Claims a key in this transaction. Another transaction that claims it meanwhile waits for this one's end.
pub(super) async fn claim(tx: &Tx, actor: &Actor, idempotency: &Idempotency) -> Result<Claim, StoreError> {
    let dialect = tx.dialect();
    let key = scoped(actor, &idempotency.key);
    let now = Utc::now();
    let claimed = tx
        .execute(
            "insert into idempotency (org_id, key, input_hash, created_at) values ($1, $2, $3, $4) on conflict (org_id, key) do update \
             set input_hash = excluded.input_hash, result = null, created_at = excluded.created_at where idempotency.created_at < $5",
            vec![
                actor.org.0.into(),
                key.clone().into(),
                idempotency.input_hash.clone().into(),
                bind_time(dialect, Some(now)),
                bind_time(dialect, Some(now - KEPT)),
            ],
        )
        .await?;
    if claimed > 0 {
        return Ok(Claim::Ours);
    }
    let row = tx
        .query_one(
            "select input_hash, result from idempotency where org_id = $1 and key = $2",
            vec![actor.org.0.into(), key.into()],
        )
        .await?
        .ok_or_else(|| StoreError::Contended("an idempotency key came and went".into()))?;
    let hash: Vec<u8> = row.try_get_by_index(0).map_err(broken)?;
    if hash != idempotency.input_hash {
        return Ok(Claim::Other);
    }
    let result = read_json(dialect, &row, &mut 1)?.ok_or_else(|| StoreError::Corrupt("an idempotency key without its result".into()))?;
    let results: Vec<Result<Written, Faults>> =
        serde_json::from_value(result).map_err(|e| StoreError::Corrupt(format!("an idempotent result: {e}")))?;
    Ok(Claim::Done(results))
}

/// Keeps the result of a claimed key.
pub(super) async fn keep(tx: &Tx, actor: &Actor, idempotency: &Idempotency, results: &Results) -> Result<(), StoreError> {
    let result: Json = serde_json::to_value(results).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    tx.execute(
        "update idempotency set result = $3 where org_id = $1 and key = $2",
        vec![
            actor.org.0.into(),
            scoped(actor, &idempotency.key).into(),
            bind_json(tx.dialect(), Some(result)),
        ],
    )
    .await?;
    Ok(())
}

impl Store {
    /// Forgets idempotency keys older than 24 hours; answers how many. For a task that runs now and then.
    pub fn forget_idempotency<'a>(&'a self) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            self.transact(|tx| {
                Box::pin(async move {
                    let before = bind_time(tx.dialect(), Some(Utc::now() - KEPT));
                    tx.execute("delete from idempotency where created_at < $1", vec![before]).await
                })
            })
            .await
        })
    }
}
