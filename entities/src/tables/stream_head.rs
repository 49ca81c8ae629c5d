//! How far each stream of the log has come.

use sea_orm::entity::prelude::*;

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stream_head")]
pub struct Model {
    /// The org.
    #[sea_orm(primary_key, auto_increment = false)]
    pub org_id: Uuid,
    /// `c:<customer>`, `k:<klass>:<object>` or `t:klass`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub stream: String,
    /// Number of its last event.
    pub seq: i64,
    /// Number of the last event that is no longer kept.
    pub floor: i64,
}

/// No relations: rows are reached by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
