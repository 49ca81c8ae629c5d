//! Documents, whatever a client sends: neither the parser nor the check of its limits panics or runs away.
#![no_main]

use klio_schema::limits::{Limits, check_document};
use klio_schema::parse::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let limits = Limits::default();
    if let Ok(document) = parse(text, &limits) {
        // A refusal is an answer.
        let _ = check_document(&document, &limits);
    }
});
