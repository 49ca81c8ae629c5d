//! The klasses, said in GraphQL: names, types, plans, execution. No SQL text and no HTTP here.

pub mod types;
