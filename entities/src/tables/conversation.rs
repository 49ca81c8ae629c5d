//! The table of the standard klass `conversation`.

use sea_orm::entity::prelude::*;

use super::instant::Instant;

/// A conversation, as stored. Its links to many are in tables of their own, an org's additions in its extension table.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "conversation")]
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
    /// What it is about.
    pub name: Option<String>,
    /// The beginning of the last message.
    pub preview: Option<String>,
    /// Whether it asks for work now, later, or no more.
    pub status: String,
    /// The org's own finer status.
    pub sub_status: Option<String>,
    /// From 1, lowest, to 5, highest.
    pub priority: i64,
    /// Who began it.
    pub direction: Option<String>,
    /// Every channel that its messages used.
    pub channels: Option<Json>,
    /// The channel for the next answer.
    pub reply_channel: Option<String>,
    /// Where it waits for an agent.
    pub queue: Option<String>,
    /// Its language: a BCP 47 tag.
    pub lang: Option<String>,
    /// When a snoozed conversation opens again.
    pub snoozed_until: Option<Instant>,
    /// How many messages the customer sent.
    pub message_count_in: i64,
    /// How many messages we sent.
    pub message_count_out: i64,
    /// How many notes there are.
    pub note_count: i64,
    /// How often it went from done back to open.
    pub reopen_count: i64,
    /// When the customer first wrote.
    pub first_message_in_at: Option<Instant>,
    /// How the customer first wrote.
    pub first_message_in_channel: Option<String>,
    /// When we first wrote.
    pub first_message_out_at: Option<Instant>,
    /// How we first wrote.
    pub first_message_out_channel: Option<String>,
    /// When the customer last wrote.
    pub last_message_in_at: Option<Instant>,
    /// How the customer last wrote.
    pub last_message_in_channel: Option<String>,
    /// When we last wrote.
    pub last_message_out_at: Option<Instant>,
    /// How we last wrote.
    pub last_message_out_channel: Option<String>,
    /// When anyone last wrote.
    pub last_message_at: Option<Instant>,
    /// When we first answered the customer.
    pub first_response_at: Option<Instant>,
    /// When it was first done.
    pub first_done_at: Option<Instant>,
    /// When it was last done.
    pub last_done_at: Option<Instant>,
    /// How the customer feels in it.
    pub sentiment: Option<Json>,
    /// How content the customer says to be with it.
    pub satisfaction: Option<Json>,
    /// When one side left the chat or hung up.
    pub ended_at: Option<Instant>,
    /// Why it ended.
    pub ended_reason: Option<String>,
    /// Whether it takes no more messages.
    pub locked: bool,
    /// Whether it is spam.
    pub spam: bool,
    /// With whom.
    pub customer_id: Option<Uuid>,
    /// The conversation that took its place.
    pub merged_into_id: Option<Uuid>,
}

/// No relations: what relates to what is in the registry.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
