//! What a thing may be: klasses, properties, relationships, and the questions one can ask of them. Pure: no I/O (a test says so).
//!
//! Reading order: [`kind`] (what a value may be), [`property`], [`relationship`], [`definition`] (as a person writes it),
//! [`read`] (text to definition), [`settle`] (what is made once), [`resolve`] (definitions to registry), [`standard`],
//! [`registry`] (an org's klasses, resolved), [`value`], [`filter`], [`query`] (what to read), [`draft`] (what to write),
//! [`fault`] (what is wrong with any of these).

pub mod accept;
pub mod actor;
pub mod change;
pub mod check;
mod collide;
pub mod contact;
pub mod definition;
pub mod diff;
pub mod draft;
pub mod duration;
pub mod fault;
pub mod filter;
pub mod filter_memory;
pub mod id;
pub mod kind;
pub mod name;
pub mod property;
pub mod query;
pub mod read;
pub mod registry;
pub mod relationship;
pub mod resolve;
pub mod settle;
pub mod standard;
pub mod system;
pub mod value;

pub use actor::{Actor, Role};
pub use definition::{Definition, Stored};
pub use draft::Draft;
pub use fault::{Fault, Faults};
pub use filter::Filter;
pub use id::{ObjectId, OrgId};
pub use kind::Kind;
pub use property::Property;
pub use registry::{Klass, Registry};
pub use relationship::{End, Relationship};
pub use value::Value;
