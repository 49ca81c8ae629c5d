//! Runs the conformance scripts, which are real clients and reference implementations from npm.

use std::process::{Command, Stdio};

use crate::folder;

/// Runs a script of `tests/conformance` with arguments; `None` (said loudly) when npm's packages are not installed.
///
/// # Errors
/// All that the script printed, when it failed.
pub async fn run(script: &str, args: &[&str]) -> Option<Result<String, String>> {
    let conformance = folder().join("conformance");
    if !conformance.join("node_modules").exists() {
        assert!(
            std::env::var_os("KLIO_TEST_NODE").is_none(),
            "tests/run installs npm's packages before the tests"
        );
        eprintln!("SKIPPED {script}: tests/conformance/node_modules is missing (tests/run installs it)");
        return None;
    }
    let mut command = Command::new("node");
    command
        .arg(conformance.join(script))
        .args(args)
        .current_dir(&conformance)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("the waiting thread ends")
        .expect("node runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(if output.status.success() { Ok(text) } else { Err(text) })
}
