//! What every way of listening has in common, whatever carries it: sockets, event streams, multipart responses, long polls.
//!
//! A connection takes a place ([`places`]); someone comes in on it and stays until their token ends or the gateway does ([`stay`]);
//! operations run on it ([`operation`] one, [`operations`] several at once). What each transport adds is how it says things:
//! `crate::ws` for sockets, [`flow`] for whatever is written into the body of a response.

pub mod flow;
pub mod operation;
pub mod operations;
pub mod places;
pub mod stay;
