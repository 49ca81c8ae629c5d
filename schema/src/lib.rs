//! The klasses, said in GraphQL: names, types, plans, execution. No SQL text and no HTTP here.

pub mod catalog;
pub mod error;
pub mod execute;
pub mod introspection;
pub(crate) mod lex;
pub mod limits;
pub mod names;
pub mod parse;
pub mod plan;
pub mod scalars;
pub mod sdl;
pub mod types;
pub mod validate;

/// What is measured here is measured with the allocator of the `klio` command.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
