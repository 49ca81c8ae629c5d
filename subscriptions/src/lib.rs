//! Everyone who listens to what changed: hubs for live subscribers ([`live`]), one execution's messages for all who share it
//! ([`cast`]), those who work on every event ([`listen`]), who is there ([`presence`]), and what carries news between nodes ([`bus`]).
//!
//! The cores do no I/O: [`place`] (places in the log), [`ring`] (what was lately told), [`route`] (whom an event concerns).
//!
//! What must never be: a hint that is trusted (hubs read the log; a hint only says when), a buffer without bound, a silent hole.

pub mod bus;
pub mod cast;
pub mod listen;
pub mod live;
pub mod place;
pub mod presence;
pub mod ring;
pub mod route;
