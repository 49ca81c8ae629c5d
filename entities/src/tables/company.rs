//! The table of the standard klass `company`.

use sea_orm::entity::prelude::*;

use super::instant::Instant;

/// A company, as stored. Its links to many are in tables of their own, an org's additions in its extension table.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "company")]
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
    /// Internet domains of its people's e-mail addresses.
    pub domains: Option<Json>,
    /// Its e-mail addresses.
    pub emails: Option<Json>,
    /// Its telephone numbers.
    pub phones: Option<Json>,
    /// Its profiles on social networks.
    pub socials: Option<Json>,
    /// Its web pages.
    pub urls: Option<Json>,
    /// Where it is.
    pub locations: Option<Json>,
    /// Language in which to write to it: a BCP 47 tag.
    pub default_lang: Option<String>,
    /// The company that owns it.
    pub parent_id: Option<Uuid>,
}

/// No relations: what relates to what is in the registry.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
