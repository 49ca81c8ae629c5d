//! `klio explain`.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use klio_entities::klass::{Actor, OrgId, Role};
use klio_entities::store::token;
use klio_schema::execute::Request;
use klio_schema::execute::explain::Explanation;

use super::{Failure, count, open, org_or_only, print};
use crate::config::Config;

/// Tell how an operation is answered: cost, statements, the indexes that they use, and which would help.
#[derive(Debug, Args)]
pub struct Explain {
    /// The document; `-` reads it from standard input.
    file: PathBuf,
    /// Slug of the org; may be left out when there is only one.
    #[arg(long)]
    org: Option<String>,
    /// Values of the variables: JSON, or @FILE.
    #[arg(long, value_name = "JSON")]
    variables: Option<String>,
    /// Which operation, when the document has several.
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// For whom: reader, agent, admin or owner.
    #[arg(long, default_value = "owner", value_parser = role)]
    role: Role,
    /// Run the statements, and tell how long they took. Mutations are never run.
    #[arg(long)]
    analyze: bool,
    /// Print the statements, too.
    #[arg(long)]
    sql: bool,
}

fn role(text: &str) -> Result<Role, String> {
    token::role_of(text).ok_or_else(|| "it is one of reader, agent, admin, owner".to_owned())
}

impl Explain {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        let query = read(&self.file)?;
        let variables = match self.variables.as_deref() {
            None => String::from("{}"),
            Some(text) => match text.strip_prefix('@') {
                Some(file) => read(Path::new(file))?,
                None => text.to_owned(),
            },
        };
        let variables =
            serde_json::from_str(&variables).map_err(|error| Failure::Usage(format!("--variables is not a JSON object: {error}")))?;
        let store = open(config).await?;
        let org = OrgId(org_or_only(&store, self.org.as_deref()).await?.id);
        let actor = Actor {
            role: self.role,
            ..Actor::system(org)
        };
        let request = Request {
            query,
            operation: self.operation.clone(),
            variables,
            ..Request::default()
        };
        let gateway = crate::gateway(&store, config.limits.clone());
        let explained = gateway.explain(&actor, &request, self.analyze).await.map_err(|errors| {
            let lines = errors.iter().map(|error| {
                let place = error.locations.first();
                place.map_or(error.message.clone(), |at| format!("{}:{}: {}", at.line, at.column, error.message))
            });
            Failure::Failed(lines.collect::<Vec<_>>().join("\n"))
        })?;
        print(text(&explained, self.sql))
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
}

fn text(explained: &[Explanation], sql: bool) -> String {
    let mut out = String::new();
    for it in explained {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{}: {}, at most {}",
            it.key,
            count(it.reads.len(), "statement", "statements"),
            count(usize::try_from(it.cost).unwrap_or(usize::MAX), "point", "points")
        );
        for reading in &it.reads {
            for find in &reading.finds {
                let _ = writeln!(out, "  {find}");
            }
            for help in &reading.helps {
                let _ = writeln!(out, "  ! {help}");
            }
            let took = reading
                .took
                .map_or(String::new(), |took| format!(", run in {:.2} ms", took.as_secs_f64() * 1_000.0));
            let _ = writeln!(out, "  the database's plan{took}:");
            for (depth, step) in &reading.plan {
                let _ = writeln!(out, "    {:depth$}{step}", "", depth = 2 * depth);
            }
            if sql {
                let _ = writeln!(out, "  statement: {}", reading.sql);
            }
        }
        for note in &it.notes {
            let _ = writeln!(out, "  {note}");
        }
    }
    out
}
