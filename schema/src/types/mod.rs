//! From a registry to the types of a schema.

pub mod model;
