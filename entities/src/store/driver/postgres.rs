//! Reads on Postgres, over the pool that SeaORM uses: one text column, no model between.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::{AssertSqlSafe, Row, ValueRef as _};

use crate::store::StoreError;

/// Runs a statement that answers with at most one row of one text; no row and null are `null`. The statement stays prepared on
/// its connection; how long it may take is a setting of the connection.
pub async fn read(pool: &PgPool, sql: Arc<str>, arguments: PgArguments) -> Result<Bytes, StoreError> {
    // Safe: the text is our compiler's, with every value bound.
    let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(true);
    let Some(row) = query.fetch_optional(pool).await? else {
        return Ok(Bytes::from_static(b"null"));
    };
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(Bytes::from_static(b"null"));
    }
    Ok(Bytes::copy_from_slice(
        value.as_bytes().map_err(|e| StoreError::Corrupt(e.to_string()))?,
    ))
}
