//! The table of the standard klass `customer`.

use sea_orm::entity::prelude::*;

use super::instant::Instant;

/// A customer, as stored. Its links to many are in tables of their own, an org's additions in its extension table.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "customer")]
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
    /// The full name.
    pub name: Option<String>,
    /// The given name.
    pub first_name: Option<String>,
    /// The family name.
    pub last_name: Option<String>,
    /// How agents see the customer named, where that is not the name.
    pub display_name: Option<String>,
    /// The name by which the customer signs in.
    pub username: Option<String>,
    /// A picture.
    pub avatar_url: Option<String>,
    /// The first e-mail address; identifies the customer, as those of `emails` do.
    pub email: Option<String>,
    /// The first telephone number; identifies the customer, as those of `phones` do.
    pub phone: Option<String>,
    /// All e-mail addresses that are the customer's alone.
    pub emails: Option<Json>,
    /// E-mail addresses that others use too; these do not identify.
    pub shared_emails: Option<Json>,
    /// All telephone numbers that are the customer's alone.
    pub phones: Option<Json>,
    /// Telephone numbers that others use too; these do not identify.
    pub shared_phones: Option<Json>,
    /// Ids by which other systems know the customer.
    pub external_ids: Option<Json>,
    /// Ids that others share; these do not identify.
    pub shared_external_ids: Option<Json>,
    /// Profiles on social networks.
    pub socials: Option<Json>,
    /// Web pages.
    pub urls: Option<Json>,
    /// Addresses.
    pub locations: Option<Json>,
    /// Language and region: a BCP 47 tag, such as en-US.
    pub locale: Option<String>,
    /// Language in which to write to the customer: a BCP 47 tag.
    pub default_lang: Option<String>,
    /// IANA name of the time zone, such as America/New_York.
    pub time_zone: Option<String>,
    /// Date of birth.
    pub birthday: Option<Date>,
    /// Gender, where the customer told it.
    pub gender: Option<String>,
    /// When the customer signed up.
    pub signed_up_at: Option<Instant>,
    /// When the customer was last seen on a site or in an app.
    pub last_seen_at: Option<Instant>,
    /// Whether the customer is here now.
    pub presence: Option<String>,
    /// Whether the customer proved to be who it says.
    pub verified: bool,
    /// How the customer feels.
    pub sentiment: Option<Json>,
    /// How content the customer says to be.
    pub satisfaction: Option<Json>,
    /// When something last happened on the timeline.
    pub last_activity_at: Option<Instant>,
    /// When the customer last wrote.
    pub last_message_in_at: Option<Instant>,
    /// How the customer last wrote.
    pub last_message_in_channel: Option<String>,
    /// When we last wrote.
    pub last_message_out_at: Option<Instant>,
    /// How we last wrote.
    pub last_message_out_channel: Option<String>,
    /// How many conversations are open.
    pub conversation_count_open: i64,
    /// How many conversations are snoozed.
    pub conversation_count_snoozed: i64,
    /// How many conversations are done.
    pub conversation_count_done: i64,
    /// How many conversations there are.
    pub conversation_count_all: i64,
    /// The company of the customer.
    pub company_id: Option<Uuid>,
}

/// No relations: what relates to what is in the registry.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
