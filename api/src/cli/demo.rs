//! `klio demo`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::serve::until_signal;
use super::{Failure, print};
use crate::config::Config;
use crate::demo::{self, Demo, DemoError};
use crate::{Running, StartError, open_store, start_with};

/// Serve a shop to try things on: an org `demo` with customers, conversations, orders and more, on an embedded database.
#[derive(Args, Debug)]
pub struct DemoCommand {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 4000)]
    port: u16,
    /// Folder with its database and token; made when it is not there, reused when it is.
    #[arg(long, value_name = "DIR", default_value = "klio-demo")]
    data: PathBuf,
    /// Let nothing happen by itself. Otherwise someone writes, is answered or buys every one to three seconds.
    #[arg(long)]
    quiet: bool,
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        Failure::Failed(error.to_string())
    }
}

impl DemoCommand {
    /// Until the end.
    pub async fn run(self, mut config: Config) -> Result<(), Failure> {
        let path = |error| DemoError::File {
            path: self.data.clone(),
            error,
        };
        std::fs::create_dir_all(&self.data).map_err(path)?;
        config.database.url = format!("sqlite:{}", self.data.join("klio.db").display());
        config.database.migrate = true;
        config.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        config.http.explorer = true;
        let store = open_store(&config).await?;
        let began = std::time::Instant::now();
        let demo = demo::prepare(&store, &self.data).await?;
        if demo.filled.is_empty() {
            eprintln!("The shop in {} is as it was left.", self.data.display());
        } else {
            let told: Vec<String> = demo
                .filled
                .iter()
                .map(|(klass, n)| format!("{n} {}", klio_entities::klass::name::plural(klass)))
                .collect();
            eprintln!(
                "Filled {} in {:.1} s: {}.",
                self.data.display(),
                began.elapsed().as_secs_f32(),
                told.join(", ")
            );
        }
        let running = match start_with(config, store.clone()).await {
            Err(error @ StartError::Listen { .. }) => {
                return Err(Failure::Failed(format!("{error} (give another --port, or 0 for a free one)")));
            }
            other => other?,
        };
        let end = tokio_util::sync::CancellationToken::new();
        let ticker = (!self.quiet).then(|| {
            let (app, actor, end) = (running.app.clone(), demo.actor.clone(), end.clone());
            tokio::spawn(demo::ticker::run(store, app, actor, end))
        });
        print(introduction(&running, &demo, self.quiet))?;
        until_signal_with(running, &end).await;
        if let Some(ticker) = ticker {
            // A panic in it was logged as it happened.
            let _ = ticker.await;
        }
        Ok(())
    }
}

/// Ends the ticker as soon as the gateway is told to end.
async fn until_signal_with(running: Running, end: &tokio_util::sync::CancellationToken) {
    let drained = running.app.drain.clone();
    let end = end.clone();
    let watching = tokio::spawn(async move {
        drained.cancelled().await;
        end.cancel();
    });
    until_signal(running).await;
    let _ = watching.await;
}

fn introduction(running: &Running, demo: &Demo, quiet: bool) -> String {
    let url = running.url();
    let socket = url.replacen("http", "ws", 1);
    let (token, file) = (&demo.token, demo.token_file.display());
    let happens = if quiet {
        "Nothing happens by itself (--quiet)."
    } else {
        "Something happens every one to three seconds."
    };
    format!(
        r#"
Klio demo
  address  {url}
  token    {token}
           (also in {file}; it may do everything in the org "{org}")

Three things to try:

1. Ask. Customers on Chicago's time whose order has not left yet, with their orders and the last message:

   curl -s {url}/graphql -H "Authorization: Bearer $(cat {file})" -H 'Content-Type: application/json' -d '{{"query":
     "{{ customers(filter: {{ timeZone: {{ eq: \"America/Chicago\" }}, orders: {{ some: {{ status: {{ eq: PENDING }} }} }} }}, first: 3) {{ totalCount nodes {{ name email orders(first: 2) {{ nodes {{ orderNumber status total {{ amount }} }} }} messages(last: 1) {{ nodes {{ channel preview }} }} }} }} }}"}}'

2. Look around. Open the explorer, {url}/ , and give it the token.

3. Watch. {happens} In the explorer:

   subscription {{ messageChanged {{ change message {{ direction channel preview customer {{ name }} }} }} }}

   or on the command line:

   (echo '{{"type":"connection_init","payload":{{"Authorization":"Bearer '$(cat {file})'"}}}}'; sleep 1;
    echo '{{"type":"subscribe","id":"1","payload":{{"query":"subscription {{ messageChanged {{ change message {{ direction preview }} }} }}"}}}}'; sleep 60) |
     npx wscat -s graphql-transport-ws -c {socket}/graphql

Ctrl-C ends it; the next start goes on with the same shop.
"#,
        org = demo::ORG,
    )
}
