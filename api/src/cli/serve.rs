//! `klio serve`.

use std::net::SocketAddr;

use clap::Args;

use super::Failure;
use crate::config::Config;
use crate::{Running, http, start};

/// Serve GraphQL over HTTP and WebSocket, until SIGTERM or SIGINT.
#[derive(Args, Debug)]
pub struct Serve {
    /// Address and port; short for --set http.listen=…. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

impl Serve {
    /// Until the end.
    pub async fn run(self, mut config: Config) -> Result<(), Failure> {
        if let Some(listen) = self.listen {
            config.http.listen = listen;
        }
        let running = start(config).await?;
        introduce(&running).await?;
        until_signal(running).await;
        Ok(())
    }
}

/// Waits for SIGTERM or SIGINT, then ends in good order; a second signal ends at once.
pub async fn until_signal(running: Running) {
    signal().await;
    running.drain();
    tokio::select! {
        () = running.finished() => {}
        () = signal() => eprintln!("klio: ended at once, what was under way is cut"),
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be heard");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// Says on one screen what is used.
async fn introduce(running: &Running) -> Result<(), Failure> {
    let config = &running.app.config;
    let url = running.url();
    let explorer = match (config.http.explorer, http::explorer::is_built_in()) {
        (false, _) => "off".to_owned(),
        (true, true) => format!("{url}/"),
        (true, false) => format!("{url}/ (its scripts come from esm.sh; see api/graphiql to build them in)"),
    };
    let mut ways = vec!["tokens"];
    let jwt = [
        (config.auth.jwt_secret.is_some(), "JWT HS256"),
        (config.auth.jwt_public_key.is_some(), "JWT by public key"),
        (config.auth.jwt_jwks.is_some(), "JWT by JWKS"),
    ];
    ways.extend(jwt.iter().filter(|(set, _)| *set).map(|(_, name)| *name));
    let orgs = running.app.store.orgs().await?;
    eprintln!(
        "\
Klio {}
  database  {}
  bus       {}
  index     the database
  listen    {}
  graphql   {url}/graphql (POST, GET, WebSocket {})
  explorer  {explorer}
  auth      {}
  orgs      {}",
        env!("CARGO_PKG_VERSION"),
        config.shown_database(),
        config
            .redis
            .url
            .as_ref()
            .map_or_else(|| "in this process (one node)".to_owned(), |place| place.shown()),
        running.addr,
        crate::ws::SUBPROTOCOL,
        ways.join(", "),
        match orgs.len() {
            0 => "none yet: klio org create acme && klio token create --org acme --role admin".to_owned(),
            n if n > 8 => n.to_string(),
            _ => orgs.iter().map(|org| org.slug.as_str()).collect::<Vec<_>>().join(", "),
        },
    );
    Ok(())
}
