//! `klio klass apply|diff|list`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use klio_entities::klass::change::KlassChange;
use klio_entities::klass::diff::{Change, Class};
use klio_entities::klass::fault::Code;
use klio_entities::klass::{Actor, Definition, OrgId, read};
use klio_entities::store::klasses::ChangeOptions;
use klio_entities::store::{Store, StoreError};

use super::{Failure, count, open, org_or_only, print, table};
use crate::config::Config;

const HELP: &str = "\
A definition:
  name = \"order\"            # in GraphQL: Order, order, orders
  plural = \"orders\"
  title = \"{orderNumber}\"   # how one is named on the timeline
  [timeline]
  at = \"placedAt\"           # and its place there
  [properties]
  orderNumber = { kind = \"string\", required = true, unique = true }
  total       = { kind = \"money\", indexed = true }
  placedAt    = { kind = \"datetime\", indexed = true }
  [relationships]
  customer = { to = \"customer\", kind = \"one\", inverse = \"orders\" }

  klio klass diff klasses/*.toml && klio klass apply klasses/*.toml

A gateway that runs shows the change with its next request.";

/// Klasses: the types of objects that an org has.
#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub enum Klass {
    /// Make an org's klasses what the files say, all together or not at all. Prints each change with its class.
    ///
    /// Each file defines one klass, or what an org adds to a standard one. Klasses without a file stay as they are. Changes that
    /// break clients or lose data are refused (exit code 3) unless forced.
    Apply {
        #[command(flatten)]
        files: Files,
        /// Only say what would change; exit code 3 if it would be refused.
        #[arg(long)]
        dry_run: bool,
        /// Make breaking changes too.
        #[arg(long)]
        force: bool,
    },
    /// Print what `apply` would change, each change classed safe, dangerous or breaking. Changes nothing; exit code 3 if `apply`
    /// would be refused without --force.
    Diff {
        #[command(flatten)]
        files: Files,
    },
    /// List klasses.
    List {
        /// Slug of the org; may be left out when there is only one.
        #[arg(long)]
        org: Option<String>,
    },
}

/// Which files, and for whom.
#[derive(Args, Debug)]
pub struct Files {
    /// Definition files, in TOML or JSON.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Slug of the org; may be left out when there is only one.
    #[arg(long)]
    org: Option<String>,
}

impl Klass {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        match self {
            Klass::Apply { files, dry_run, force } => {
                let definitions = definitions(&files.files)?;
                change(&open(config).await?, files.org, definitions, dry_run, force).await
            }
            Klass::Diff { files } => {
                let definitions = definitions(&files.files)?;
                change(&open(config).await?, files.org, definitions, true, false).await
            }
            Klass::List { org } => {
                let store = open(config).await?;
                let org = org_or_only(&store, org.as_deref()).await?;
                let registry = store.fresh_registry(OrgId(org.id)).await?;
                let rows: Vec<Vec<String>> = registry
                    .klasses
                    .iter()
                    .map(|klass| {
                        let origin = if klass.standard { "standard" } else { "own" };
                        let status = if klass.enabled { "enabled" } else { "disabled" };
                        let properties = klass.properties.len().to_string();
                        let row = [klass.name.as_str(), &klass.legal.type_name, origin, status, &properties];
                        row.map(str::to_owned).to_vec()
                    })
                    .collect();
                print(table(&["NAME", "TYPE", "ORIGIN", "STATUS", "PROPERTIES"], &rows))
            }
        }
    }
}

/// Reads all files; tells everything that is wrong in any of them.
fn definitions(files: &[PathBuf]) -> Result<Vec<Definition>, Failure> {
    let mut read_all = Vec::new();
    let mut faults = Vec::new();
    for file in files {
        let name = file.display();
        let read = std::fs::read_to_string(file)
            .map_err(|error| vec![error.to_string()])
            .and_then(|text| {
                let read = match file.extension() {
                    Some(extension) if extension == "json" => {
                        let json = serde_json::from_str(&text).map_err(|error| vec![error.to_string()])?;
                        read::from_json(&json)
                    }
                    _ => read::from_toml(&text),
                };
                read.map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
            });
        match read {
            Ok(definition) => read_all.push(definition),
            Err(told) => faults.extend(told.iter().map(|fault| format!("{name}: {fault}"))),
        }
    }
    if faults.is_empty() {
        Ok(read_all)
    } else {
        Err(Failure::Failed(faults.join("\n")))
    }
}

async fn change(store: &Store, org: Option<String>, definitions: Vec<Definition>, dry_run: bool, force: bool) -> Result<(), Failure> {
    let org = org_or_only(store, org.as_deref()).await?;
    let actor = Actor::system(OrgId(org.id));
    let changes = definitions.into_iter().map(KlassChange::Define).collect();
    let check = klio_schema::names::check;
    let options = ChangeOptions {
        dry_run,
        force,
        extra_check: Some(&check),
    };
    let report = store.change_klasses(&actor, changes, options).await.map_err(refused)?;
    print(report.changes.iter().map(line).collect::<String>())?;
    if !report.faults.is_empty() {
        return Err(refused(StoreError::Faults(klio_entities::klass::Faults(report.faults))));
    }
    match (report.changes.len(), dry_run) {
        (0, _) => eprintln!("{}: nothing changes", org.slug),
        (n, true) => eprintln!("{}: {} would be made", org.slug, count(n, "change", "changes")),
        (n, false) => eprintln!(
            "{}: {} made; its klasses are at version {}",
            org.slug,
            count(n, "change was", "changes were"),
            report.registry.version
        ),
    }
    Ok(())
}

fn line(change: &Change) -> String {
    format!("{:<10}{}  {}\n", class_name(change.class), change.path.join("."), change.message)
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Safe => "safe",
        Class::Dangerous => "dangerous",
        Class::Breaking => "breaking",
    }
}

/// Faults that `--force` would overcome are a refusal; any other is a failure.
fn refused(error: StoreError) -> Failure {
    match error {
        StoreError::Faults(faults) if faults.0.iter().all(|fault| fault.code == Code::Breaking) => {
            Failure::Refused(format!("refused; --force makes breaking changes:\n{faults}"))
        }
        StoreError::Faults(faults) => Failure::Failed(format!("nothing was changed:\n{faults}")),
        other => other.into(),
    }
}
