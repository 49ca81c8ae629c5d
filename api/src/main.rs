//! The `klio` command.

use std::process::ExitCode;

/// Small pieces that live as long as a request, by the thousand: docs/performance.md says what it brings.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    klio_api::cli::main()
}
