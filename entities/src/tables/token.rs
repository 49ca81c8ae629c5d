//! Tokens with which programs come in.

use sea_orm::entity::prelude::*;

/// A bearer token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "token")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Where it is valid.
    pub org_id: Uuid,
    /// What it is for.
    pub name: String,
    /// Hash of its secret.
    #[sea_orm(unique)]
    pub hash: Vec<u8>,
    /// What its bearer may do: `reader`, `agent`, `admin`, `owner`.
    pub role: String,
    /// The actor that its bearer is.
    pub actor_id: Uuid,
    /// From when on it is void.
    pub expires_at: Option<DateTimeUtc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTimeUtc>,
    /// When it was made.
    pub created_at: DateTimeUtc,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<DateTimeUtc>,
}

/// No relations: rows are reached by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
