//! The table of the standard klass `message`.

use sea_orm::entity::prelude::*;

use super::instant::Instant;

/// A message, as stored. Its links to many are in tables of their own, an org's additions in its extension table.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "message")]
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
    /// How it travelled.
    pub channel: String,
    /// From the customer (in) or to the customer (out).
    pub direction: String,
    /// How far it has come.
    pub status: Option<String>,
    /// Its subject line.
    pub subject: Option<String>,
    /// Its beginning, in plain text.
    pub preview: Option<String>,
    /// What it says.
    pub body: Option<String>,
    /// Address or name of the sender.
    pub from: Option<String>,
    /// Addresses of the recipients.
    pub to: Option<Json>,
    /// Addresses of those who got a copy.
    pub cc: Option<Json>,
    /// Addresses of those who got a copy unseen.
    pub bcc: Option<Json>,
    /// Files that came with it.
    pub attachments: Option<Json>,
    /// Sent by a program; not counted as an answer.
    pub auto: bool,
    /// Its language: a BCP 47 tag.
    pub lang: Option<String>,
    /// How the writer feels.
    pub sentiment: Option<Json>,
    /// What it seems to want.
    pub intents: Option<Json>,
    /// When it was sent; the time of creation when not given.
    pub sent_at: Option<Instant>,
    /// When it arrived.
    pub delivered_at: Option<Instant>,
    /// When it was read.
    pub read_at: Option<Instant>,
    /// Why it did not arrive.
    pub error: Option<Json>,
    /// When its content was removed.
    pub redacted_at: Option<Instant>,
    /// What only its channel knows: message ids, call status, recording.
    pub meta: Option<Json>,
    /// To which it belongs.
    pub conversation_id: Uuid,
    /// From or to whom; the conversation's customer when not given.
    pub customer_id: Option<Uuid>,
}

/// No relations: what relates to what is in the registry.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
