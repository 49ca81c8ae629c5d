//! What a thing may be ([`klass`], pure), and what there is ([`store`], [`tables`]).

pub mod klass;
pub mod store;
pub mod tables;
