//! Reading: a statement and its arguments in, JSON text out.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::sql::{Statement, bind};
use super::{Store, StoreError, driver};
use crate::klass::{OrgId, Value};

/// Who reads.
#[derive(Debug)]
pub(super) enum Readers {
    /// Threads.
    Sqlite(driver::sqlite::Readers),
    /// Connections with statements in a row.
    Postgres(Box<driver::postgres::Readers>),
}

impl Store {
    /// Runs a statement of [`super::sql::compile`] for an org: the JSON text with which it answers (`null` when there is nothing).
    /// The arguments are those to which the read's [`crate::klass::filter::Operand::Arg`] point. A read whose future is dropped is
    /// called off.
    ///
    /// Errors: [`StoreError::Timeout`] after the configured time; [`StoreError::Database`] when an argument is not of the kind that
    /// the statement compares.
    pub fn read<'a>(&'a self, org: OrgId, statement: &'a Statement, args: &'a [Value]) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let unfit = |e: bind::BindError| StoreError::Database(e.to_string());
            match &self.0.readers {
                Readers::Sqlite(readers) => {
                    let values = bind::for_sqlite(&statement.binds, org, args).map_err(unfit)?;
                    readers.read(statement.sql.clone(), values).await
                }
                Readers::Postgres(readers) => {
                    let values = bind::for_postgres(&statement.binds, org, args).map_err(unfit)?;
                    readers.read(&statement.sql, &values).await
                }
            }
        })
    }
}
