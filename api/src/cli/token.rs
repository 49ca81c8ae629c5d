//! `klio token create|list|role|revoke`.

use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use klio_entities::klass::id::{decode_base32, encode_base32};
use klio_entities::klass::{OrgId, Role};
use klio_entities::store::Store;
use klio_entities::store::token::role_name;
use klio_entities::tables::org;
use uuid::Uuid;

use super::{Failure, open, org_of, org_or_only, print, table};
use crate::config::{Config, duration};

const HELP: &str = "\
  TOKEN=$(klio token create --org acme --role agent --expires 30d --name shop)
  curl -H \"Authorization: Bearer $TOKEN\" …";

/// Tokens with which programs come in.
#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub enum Token {
    /// Make a token and print it, alone. It is told this once; only a hash is kept.
    Create {
        /// Slug of the org in which it is valid; may be left out when there is only one.
        #[arg(long)]
        org: Option<String>,
        /// What its bearer may do.
        #[arg(long, value_enum)]
        role: RoleName,
        /// After what time it is void: 30d, 12h. Never when not given.
        #[arg(long, value_name = "DURATION", value_parser = expiry)]
        expires: Option<std::time::Duration>,
        /// What it is for; shown in createdBy.
        #[arg(long, default_value = "token")]
        name: String,
    },
    /// List tokens (without their secrets).
    List {
        /// Only those of this org.
        #[arg(long)]
        org: Option<String>,
    },
    /// Give a token another role: within a second, connections that it opened are closed; they come back with the new one.
    Role {
        /// Slug of its org; may be left out when there is only one.
        #[arg(long)]
        org: Option<String>,
        /// Its id or its name, as in the list. A name that several tokens have changes none.
        token: String,
        /// What its bearer may do from now on.
        #[arg(value_enum)]
        role: RoleName,
    },
    /// Withdraw a token: within a second it opens nothing more, and sockets that it opened are closed.
    Revoke {
        /// Slug of its org; may be left out when there is only one.
        #[arg(long)]
        org: Option<String>,
        /// Its id or its name, as in the list. A name that several tokens have withdraws none.
        token: String,
    },
}

/// Roles, as the command line names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleName {
    /// Reads objects.
    Reader,
    /// Reads and writes objects.
    Agent,
    /// Also defines klasses, destroys objects and makes tokens.
    Admin,
    /// Also changes the org itself.
    Owner,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Reader => Role::Reader,
            RoleName::Agent => Role::Agent,
            RoleName::Admin => Role::Admin,
            RoleName::Owner => Role::Owner,
        }
    }
}

fn expiry(text: &str) -> Result<std::time::Duration, String> {
    duration(text)
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "a duration such as 30d, 12h or 15m".to_owned())
}

fn id_text(id: Uuid) -> String {
    let mut text = "token_".to_owned();
    encode_base32(id, &mut text);
    text
}

impl Token {
    /// Runs it.
    pub async fn run(self, config: &Config) -> Result<(), Failure> {
        let store = open(config).await?;
        match self {
            Token::Create { org, role, expires, name } => {
                let org = org_or_only(&store, org.as_deref()).await?;
                let expires_at = expires.map(|after| Utc::now() + after);
                let (text, made) = store.create_token(OrgId(org.id), &name, role.into(), expires_at).await?;
                eprintln!(
                    "{} for org {}, role {}, expires {}",
                    id_text(made.id),
                    org.slug,
                    role_name(made.role),
                    time(made.expires_at, "never")
                );
                print(format!("{text}\n"))
            }
            Token::List { org } => {
                let only = match &org {
                    Some(slug) => Some(OrgId(org_of(&store, slug).await?.id)),
                    None => None,
                };
                let orgs = store.orgs().await?;
                let now = Utc::now();
                let rows: Vec<Vec<String>> = store
                    .tokens(only)
                    .await?
                    .into_iter()
                    .map(|token| {
                        let slug = orgs.iter().find(|org| org.id == token.org.0).map_or("?", |org| org.slug.as_str());
                        let state = match (token.revoked_at, token.is_valid(now)) {
                            (Some(_), _) => "revoked",
                            (None, true) => "valid",
                            (None, false) => "expired",
                        };
                        vec![
                            id_text(token.id),
                            slug.to_owned(),
                            role_name(token.role).to_owned(),
                            state.to_owned(),
                            time(token.expires_at, "never"),
                            time(token.last_used_at, "never"),
                            token.name,
                        ]
                    })
                    .collect();
                print(table(&["ID", "ORG", "ROLE", "STATE", "EXPIRES", "LAST USED", "NAME"], &rows))
            }
            Token::Role { org, token, role } => {
                let org = org_or_only(&store, org.as_deref()).await?;
                let id = token_of(&store, &org, &token).await?;
                if !store.set_token_role(OrgId(org.id), id, role.into()).await? {
                    return Err(none_such(&org.slug));
                }
                tell(config, id).await;
                print(format!("{}\n", id_text(id)))
            }
            Token::Revoke { org, token } => {
                let org = org_or_only(&store, org.as_deref()).await?;
                let id = token_of(&store, &org, &token).await?;
                if !store.revoke_token(OrgId(org.id), id).await? {
                    return Err(none_such(&org.slug));
                }
                tell(config, id).await;
                print(format!("{}\n", id_text(id)))
            }
        }
    }
}

/// The id of the token that is meant by an id or a name.
async fn token_of(store: &Store, org: &org::Model, token: &str) -> Result<Uuid, Failure> {
    if let Some(id) = token.strip_prefix("token_").and_then(decode_base32) {
        return Ok(id);
    }
    let tokens = store.tokens(Some(OrgId(org.id))).await?;
    let named: Vec<Uuid> = tokens
        .iter()
        .filter(|t| t.name == token && t.revoked_at.is_none())
        .map(|t| t.id)
        .collect();
    match named.as_slice() {
        [id] => Ok(*id),
        [] => Err(Failure::Failed(format!("org {} has no token {token}", org.slug))),
        several => {
            let ids: Vec<String> = several.iter().copied().map(id_text).collect();
            Err(Failure::Failed(format!(
                "several tokens are named {token}; say which: {}",
                ids.join(", ")
            )))
        }
    }
}

fn none_such(org: &str) -> Failure {
    Failure::Failed(format!("org {org} has no such token, or it was revoked before"))
}

/// Tells running gateways at once, where Redis carries news; without, they find out by themselves within `auth.recheck`.
async fn tell(config: &Config, token: Uuid) {
    if let Err(why) = crate::auth::tell(&config.redis, token).await {
        eprintln!("klio: Redis could not be told ({why}); gateways find out by themselves within a second");
    }
}

fn time(at: Option<DateTime<Utc>>, none: &str) -> String {
    at.map_or_else(|| none.to_owned(), |at| at.format("%FT%TZ").to_string())
}
