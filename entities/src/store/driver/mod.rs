//! Connections: what is special to each driver.

pub mod pool;
pub mod sqlite_functions;
