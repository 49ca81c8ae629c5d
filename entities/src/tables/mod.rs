//! SeaORM entities of the system tables and of the standard klasses.
//!
//! Those of system tables read and write on both databases (instants are `timestamptz` on Postgres, RFC 3339 text on SQLite).
//! Those of standard klasses only read: the write path alone writes objects (`store/write`), with their events.
//! `event`, `timeline_entry` and `idempotency` have no entity: their instants are stored like those of objects
//! (SQLite: microseconds), and only statements of `store` touch them.

pub mod company;
pub mod conversation;
pub mod customer;
pub mod import_progress;
pub mod instant;
pub mod klass_change;
pub mod klass_definition;
pub mod log_epoch;
pub mod message;
pub mod note;
pub mod org;
pub mod stream_head;
pub mod team;
pub mod token;
pub mod user;
