//! The journal of klass changes.

use sea_orm::entity::prelude::*;

/// A change: written before it is made, so that a crash leaves it to be finished or undone.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "klass_change")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The org.
    pub org_id: Uuid,
    /// Version of the registry that it brings.
    pub version: i64,
    /// `planned`, `running`, `switched` (valid; old columns still to be dropped), `done`, `undone`.
    pub state: String,
    /// The steps, and what is to be stored.
    pub plan: Json,
    /// Why it was undone.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: DateTimeUtc,
    /// When it was switched; then, when it was done or undone.
    pub finished_at: Option<DateTimeUtc>,
}

/// No relations: rows are reached by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
