//! Logs: to stderr, for people or as JSON.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging; a second call changes nothing.
pub fn start(config: &Log) {
    // A filter that names modules is taken as it is; a bare level is not meant for what the migrations' library says of each step.
    let bare = config.level == "info";
    let level = if bare { "info,sea_orm_migration=warn" } else { &config.level };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
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
