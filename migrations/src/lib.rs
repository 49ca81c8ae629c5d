//! The steps from an empty database to today's tables: one step a file, on Postgres and SQLite alike.
//!
//! A step is SQL text in which the types that differ are written `{uuid}`, `{time}`, … (see [`sql`]); it is never changed once
//! released: a later step changes what an earlier one made. Each step runs in a transaction. Tables of an org's own klasses
//! are not made here but by `entities/src/store/ddl.rs`, at run time.

mod sql;

mod m0001_org;
mod m0002_klass;
mod m0003_log;
mod m0004_timeline;
mod m0005_idempotency;
mod m0006_import;
mod m0007_user;
mod m0008_team;
mod m0009_company;
mod m0010_customer;
mod m0011_conversation;
mod m0012_message;
mod m0013_note;
mod m0014_note_about;
mod m0015_listener;
mod m0016_conversation_status;

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::{MigrationTrait, async_trait, sea_orm};

/// All steps, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_org::Step),
            Box::new(m0002_klass::Step),
            Box::new(m0003_log::Step),
            Box::new(m0004_timeline::Step),
            Box::new(m0005_idempotency::Step),
            Box::new(m0006_import::Step),
            Box::new(m0007_user::Step),
            Box::new(m0008_team::Step),
            Box::new(m0009_company::Step),
            Box::new(m0010_customer::Step),
            Box::new(m0011_conversation::Step),
            Box::new(m0012_message::Step),
            Box::new(m0013_note::Step),
            Box::new(m0014_note_about::Step),
            Box::new(m0015_listener::Step),
            Box::new(m0016_conversation_status::Step),
        ]
    }
}

pub use sea_orm::DbErr;
