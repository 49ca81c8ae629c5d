//! The `klio` command: what can be said to it. Each command is a file.
//!
//! Data goes to stdout and nothing else does; what is said about it goes to stderr.

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use klio_entities::store::{Store, StoreError};
use klio_entities::tables::org;

use crate::config::{Config, ConfigError};
use crate::{StartError, logs};

mod demo;
mod doctor;
mod explain;
mod import;
mod klass;
mod migrate;
mod org_command;
mod schema;
mod serve;
mod settings;
mod token;

const HELP: &str = "\
First steps:
  klio demo                                   a shop to try things on, with nothing to set up
  klio org create acme                        an org, the home of klasses and objects
  klio token create --org acme --role admin   prints a token, once
  klio serve                                  then open http://127.0.0.1:4000

Settings: ./klio.toml (or --config FILE), then KLIO_<SECTION>_<KEY>, then --set KEY=VALUE.
  `klio settings` prints the commented file with every key and its default.

Exit codes: 0 done; 1 failed; 2 the command line or a setting is wrong; 3 refused: the change would break clients or lose
data and was not forced, or something was found that is not as it should be.";

/// Klio: a GraphQL gateway for customer experience. An org's klasses become one live schema.
#[derive(Debug, Parser)]
#[command(name = "klio", version, after_help = HELP, max_term_width = 120)]
struct Cli {
    /// Settings file, instead of ./klio.toml.
    #[arg(long, global = true, value_name = "FILE", env = "KLIO_CONFIG", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// A setting, over file and environment: --set http.listen=0.0.0.0:4000. May be given several times.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help_heading = "Settings")]
    sets: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
// What each does is said in its own file.
enum Command {
    Serve(serve::Serve),
    Demo(demo::DemoCommand),
    Migrate(migrate::Migrate),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Import(import::ImportCommand),
    #[command(subcommand)]
    Org(org_command::Org),
    #[command(subcommand)]
    Klass(klass::Klass),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Schema(schema::Schema),
    Settings(settings::Settings),
}

/// Why a command did not succeed; each with its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 1.
    #[error("{0}")]
    Failed(String),
    /// 2.
    #[error("{0}")]
    Usage(String),
    /// 3.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Refused(_) => 3,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(format!("settings are wrong:\n{error}"))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Failed(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Setting(why) => Failure::Usage(why),
            other => Failure::Failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // Wrong usage ends here, with 2 and an explanation.
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has closed it (`klio … | head`): that is no failure worth a word.
        Err(Failure::Failed(why)) if why.contains("Broken pipe") => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("klio: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Command::Settings(command) = cli.command {
        return command.run();
    }
    let config = Config::load(cli.config.as_deref(), &cli.sets)?;
    match cli.command {
        Command::Serve(command) => block_on(&config, true, command.run(config.clone())),
        Command::Demo(command) => block_on(&config, true, command.run(config.clone())),
        Command::Migrate(command) => block_on(&config, false, command.run(&config)),
        Command::Doctor(command) => block_on(&config, false, command.run(&config)),
        Command::Explain(command) => block_on(&config, false, command.run(&config)),
        Command::Klass(command) => block_on(&config, false, command.run(&config)),
        Command::Import(command) => block_on(&config, false, command.run(&config)),
        Command::Org(command) => block_on(&config, false, command.run(&config)),
        Command::Token(command) => block_on(&config, false, command.run(&config)),
        Command::Schema(command) => block_on(&config, false, command.run(&config)),
        Command::Settings(command) => command.run(),
    }
}

/// Runs to the end. A command that is not a server says only warnings, unless the settings ask for another level.
fn block_on(config: &Config, server: bool, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut log = config.log.clone();
    if !server && log.level == "info" {
        log.level = "warn".into();
    }
    let _logs = logs::start(&log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // What is left are threads that wait for nothing.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// The store of the settings, up to date.
async fn open(config: &Config) -> Result<Store, Failure> {
    Ok(crate::open_store(config).await?)
}

/// The org of this slug.
async fn org_of(store: &Store, slug: &str) -> Result<org::Model, Failure> {
    if let Some(org) = store.org_by_slug(slug).await? {
        return Ok(org);
    }
    let there: Vec<String> = store.orgs().await?.into_iter().map(|org| org.slug).collect();
    let hint = if there.is_empty() {
        format!("there is none yet: klio org create {slug}")
    } else {
        format!("there are {}", there.join(", "))
    };
    Err(Failure::Failed(format!("there is no org {slug}; {hint}")))
}

/// The org of this slug, or the only one when none is named.
async fn org_or_only(store: &Store, slug: Option<&str>) -> Result<org::Model, Failure> {
    if let Some(slug) = slug {
        return org_of(store, slug).await;
    }
    let mut orgs = store.orgs().await?;
    match (orgs.pop(), orgs.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Failure::Failed("there is no org yet: klio org create acme".into())),
        (Some(last), _) => {
            let slugs: Vec<&str> = orgs.iter().chain([&last]).map(|org| org.slug.as_str()).collect();
            Err(Failure::Usage(format!(
                "there are several orgs; say which with --org: {}",
                slugs.join(", ")
            )))
        }
    }
}

/// Writes data.
fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_ref())?;
    out.flush()?;
    Ok(())
}

/// `1 change`, `2 changes`.
fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Rows as columns that line up; for people and `awk` alike.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["é".to_owned(), "x".to_owned()], vec!["long name".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "B"], &rows), "NAME       B\né          x\nlong name\n");
    }
}
