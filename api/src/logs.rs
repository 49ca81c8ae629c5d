//! Logs: to stderr, for people or as JSON.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging; a second call changes nothing.
pub fn start(config: &Log) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A program may have its own subscriber (tests do); then that one stays.
    let _ = match config.format {
        LogFormat::Human => {
            use std::io::IsTerminal;
            logs.with_target(false)
                .with_ansi(std::io::stderr().is_terminal())
                .compact()
                .try_init()
        }
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}
