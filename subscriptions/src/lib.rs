//! Everyone who listens to what changed: hubs for live sockets ([`live`]), and what carries hints to them ([`bus`]).
//!
//! What must never be: a hint that is trusted (hubs read the log; a hint only says when), a buffer without bound, a silent hole.

pub mod bus;
pub mod live;
