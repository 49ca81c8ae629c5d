//! The product, driven from outside: a file is a promise.

mod answers;
mod balanced;
mod client;
mod conformance;
mod costly;
mod door;
mod every_change;
mod faults;
mod forgotten;
mod held;
mod house;
mod isolation;
mod klass_under_load;
mod nodes;
mod partition;
mod pressure;
mod readme;
mod related;
mod restored;
mod retail;
mod slow;
mod sockets;
mod statements;
mod states;
mod streams;
mod under_way;
