//! `klio settings`.

use clap::Args;

use super::{Failure, print};
use crate::config::DEFAULTS;

/// Print the commented settings file with every key and its default.
#[derive(Args, Debug)]
pub struct Settings {}

impl Settings {
    /// Runs it.
    pub fn run(self) -> Result<(), Failure> {
        print(DEFAULTS)
    }
}
