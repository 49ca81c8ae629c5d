//! The `klio` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    klio_api::cli::main()
}
