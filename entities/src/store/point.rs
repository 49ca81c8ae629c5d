//! Places at which a test may end the process. In debug builds `KLIO_TEST_FAILPOINT` names one at which it aborts, as if its machine had
//! lost its power; `name:7` means the seventh time that it comes by. Nothing in a release build.
//!
//! Those of a change of klasses are in `klasses/point.rs`. Of a write: `write.appended` (its events are in the transaction, which is not
//! committed) and `write.committed` (it is, and no one has been told).

/// Comes by a place.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("KLIO_TEST_FAILPOINT") else { return };
    let (place, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if place == name && time.parse() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1) {
        tracing::error!(name, "KLIO_TEST_FAILPOINT: the process ends here");
        std::process::abort();
    }
}

/// Comes by a place.
#[cfg(not(debug_assertions))]
pub(crate) fn pass(_name: &str) {}
