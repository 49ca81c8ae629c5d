//! The product, driven from outside: a file is a promise.

mod answers;
mod client;
mod conformance;
mod costly;
mod door;
mod faults;
mod faults_pressure;
mod faults_restored;
mod house;
mod isolation;
mod klass_under_load;
mod nodes;
mod related;
mod retail;
mod sockets;
mod statements;
mod states;
mod streams;
mod under_way;
