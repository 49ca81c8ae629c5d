//! The identity of the log.

use sea_orm::entity::prelude::*;

/// One row: changed when acknowledged events may be gone (restore).
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "log_epoch")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// The identity; a cursor of another one cannot be followed.
    pub epoch: Uuid,
    /// Key with which cursors are authenticated.
    pub secret: Vec<u8>,
}

/// No relations: rows are reached by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
