//! Tails a customer's timeline, and goes on where it stopped: after a lost connection, a restart of the gateway, or its own.
//!
//!   KLIO_TOKEN=$(cat klio-demo/demo-token) cargo run -p klio-client --example tail -- http://127.0.0.1:4000 CUSTOMER [FILE]
//!
//! CUSTOMER is an id or an e-mail address. Each change is a line. With FILE, the cursor is kept there, and the next run begins behind it.

use std::process::ExitCode;

use futures_util::StreamExt;
use klio_client::{Client, Error};
use serde::Deserialize;
use serde_json::{Value, json};

const QUERY: &str = "subscription ($customer: ID!) {
  timeline(customer: $customer) { change cursor at kind entry { __typename ... on Message { body } } reason }
}";

/// A message of the subscription.
#[derive(Deserialize)]
struct Change {
    change: String,
    at: Option<String>,
    kind: Option<String>,
    entry: Option<Value>,
    reason: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(url), Some(customer), file) = (args.first(), args.get(1), args.get(2)) else {
        eprintln!("tail URL CUSTOMER [FILE], with a token in KLIO_TOKEN");
        return ExitCode::from(2);
    };
    match tail(url, customer, file.map(String::as_str)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tail: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tail(url: &str, customer: &str, file: Option<&str>) -> Result<(), Error> {
    // Asked for again whenever the old token is no longer good: here it comes from the environment, elsewhere from whoever issues them.
    let token = async || std::env::var("KLIO_TOKEN").map_err(|_| "KLIO_TOKEN is not set".to_owned());
    let klio = Client::new(url, "").with_tokens(token);
    let customer = id_of(&klio, customer).await?;
    let kept = file.and_then(|file| std::fs::read_to_string(file).ok());
    let mut timeline = klio.subscribe_after(QUERY, json!({ "customer": customer }), kept).typed::<Change>();
    while let Some(change) = timeline.next().await {
        let change = change?;
        let what = change.entry.as_ref().and_then(|entry| entry["body"].as_str());
        let words = [
            Some(change.change.as_str()),
            change.at.as_deref(),
            change.kind.as_deref(),
            what,
            change.reason.as_deref(),
        ];
        println!("{}", words.into_iter().flatten().collect::<Vec<_>>().join(" "));
        // Kept when it was shown: after a crash between the two it is shown once more, and never lost.
        if let (Some(file), Some(cursor)) = (file, timeline.cursor())
            && let Err(error) = std::fs::write(file, cursor)
        {
            eprintln!("tail: {file}: {error}");
        }
    }
    Ok(())
}

/// The id of a customer, by id or e-mail address.
async fn id_of(klio: &Client, customer: &str) -> Result<String, Error> {
    if !customer.contains('@') {
        return Ok(customer.to_owned());
    }
    let query = "query ($email: String!) { customer(email: $email) { id } }";
    let data = klio.query(query, json!({ "email": customer })).await?;
    match data["customer"]["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(Error::Unexpected(format!("there is no customer {customer}"))),
    }
}
