//! Reading: a statement and its arguments in, JSON text out.

use bytes::Bytes;

use super::sql::{Statement, bind};
use super::{Dialect, Store, StoreError, driver};
use crate::klass::{OrgId, Value};

impl Store {
    /// Runs a statement of [`super::sql::compile`] for an org: the JSON text with which it answers (`null` when there is nothing).
    /// The arguments are those to which the read's [`crate::klass::filter::Operand::Arg`] point. A read whose future is dropped is
    /// called off.
    ///
    /// Errors: [`StoreError::Timeout`] after the configured time; [`StoreError::Database`] when an argument is not of the kind that
    /// the statement compares.
    pub async fn read(&self, org: OrgId, statement: &Statement, args: &[Value]) -> Result<Bytes, StoreError> {
        let unfit = |e: bind::BindError| StoreError::Database(e.to_string());
        match (self.dialect(), &self.0.readers) {
            (Dialect::Sqlite, Some(readers)) => {
                let values = bind::for_sqlite(&statement.binds, org, args).map_err(unfit)?;
                readers.read(statement.sql.clone(), values).await
            }
            (Dialect::Sqlite, None) => Err(StoreError::Unavailable("the store has no readers".into())),
            (Dialect::Postgres, _) => {
                let arguments = bind::for_postgres(&statement.binds, org, args).map_err(unfit)?;
                driver::postgres::read(self.0.connection.get_postgres_connection_pool(), statement.sql.clone(), arguments).await
            }
        }
    }
}
