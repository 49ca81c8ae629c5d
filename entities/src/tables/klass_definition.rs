//! What an org says its klasses are.

use sea_orm::entity::prelude::*;

/// A definition, as resolved and stored (legal names and columns in it are made once).
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "klass_definition")]
pub struct Model {
    /// The org.
    #[sea_orm(primary_key, auto_increment = false)]
    pub org_id: Uuid,
    /// As its author wrote it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The definition.
    pub body: Json,
    /// Place in the order of definition.
    pub position: i64,
    /// Version of the registry that brought this body.
    pub version: i64,
}

/// No relations: rows are reached by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
