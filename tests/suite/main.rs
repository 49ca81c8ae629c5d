//! The product, driven from outside: a file is a promise.

mod house;
