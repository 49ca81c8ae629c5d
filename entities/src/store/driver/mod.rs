//! Connections: what is special to each driver.

pub mod pool;
pub mod postgres;
mod postgres_tls;
pub mod sqlite;
pub mod sqlite_functions;
mod sqlite_near;
pub(crate) mod sqlite_settings;
