//! Caption.
