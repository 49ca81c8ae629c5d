//! The table of the standard klass `note`.

use sea_orm::entity::prelude::*;

use super::instant::Instant;

/// A note, as stored. Its links to many are in tables of their own, an org's additions in its extension table.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "note")]
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
    /// What it says.
    pub body: String,
    /// Files that came with it.
    pub attachments: Option<Json>,
    /// Its language: a BCP 47 tag.
    pub lang: Option<String>,
    /// On whom; the conversation's customer when not given.
    pub customer_id: Option<Uuid>,
    /// On which conversation.
    pub conversation_id: Option<Uuid>,
    /// About which object of the org's own klasses.
    pub about_id: Option<Uuid>,
    /// The klass of that object.
    pub about_klass: Option<String>,
}

/// No relations: what relates to what is in the registry.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
