//! How far imports have come.

use sea_orm::entity::prelude::*;

/// The progress of one source into one klass.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "import_progress")]
pub struct Model {
    /// The org.
    #[sea_orm(primary_key, auto_increment = false)]
    pub org_id: Uuid,
    /// The file, as named by its user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: String,
    /// Into which klass.
    #[sea_orm(primary_key, auto_increment = false)]
    pub klass: String,
    /// Of file and mapping: another one starts anew.
    pub fingerprint: String,
    /// Where to go on (bytes or records: the format decides).
    pub position: i64,
    /// Records read so far.
    pub records: i64,
    /// Records refused so far.
    pub failed: i64,
    /// When it was begun.
    pub created_at: DateTimeUtc,
    /// When it last came further.
    pub updated_at: DateTimeUtc,
    /// When it ended.
    pub finished_at: Option<DateTimeUtc>,
}

/// No relations: rows are reached by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
