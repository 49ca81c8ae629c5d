//! Orgs (tenants).

use sea_orm::entity::prelude::*;

/// An org.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "org")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Names it in URLs and storage; never changes.
    #[sea_orm(unique)]
    pub slug: String,
    /// The name people see.
    pub name: String,
    /// Version of its registry; rises by one with each klass change.
    pub klass_version: i64,
    /// When it was made.
    pub created_at: DateTimeUtc,
}

/// No relations: rows are reached by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
