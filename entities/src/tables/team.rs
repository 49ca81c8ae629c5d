//! The table of the standard klass `team`.

use sea_orm::entity::prelude::*;

use super::instant::Instant;

/// A team, as stored. Its links to many are in tables of their own, an org's additions in its extension table.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "team")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The org.
    pub org_id: Uuid,
    /// The id by which other systems know it.
    pub external_id: Option<String>,
    /// Rises by one with each write.
    pub version: i64,
    /// When it was created.
    pub created_at: Instant,
    /// Who created it: `kind:id:name`.
    pub created_by: String,
    /// When it was last written.
    pub updated_at: Instant,
    /// Who wrote it last.
    pub updated_by: String,
    /// When it was deleted.
    pub deleted_at: Option<Instant>,
    /// When it was brought in from another system.
    pub imported_at: Option<Instant>,
    /// Words by which to find it.
    pub tags: Json,
    /// Its name.
    pub name: String,
    /// The name that customers see.
    pub display_name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Name of an icon.
    pub icon: Option<String>,
}

/// No relations: what relates to what is in the registry.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
