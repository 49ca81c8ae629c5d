//! How fast the gateway answers, beside a **floor** measured in the same run: hand-written statements on the same tables.
//! `tests/bench/run` builds everything, starts a database and calls this.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

mod chance;
mod data;
mod documents;
mod drive;
mod floor;
mod grow;
mod http;
mod process;
mod queries;
mod realtime;
mod report;
mod run;
mod writes;

#[derive(Parser)]
#[command(about = "How fast the gateway answers, beside hand-written statements on the same tables")]
struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load the data set, start gateway and floor, ask both by turns, print the table.
    Run(run::Run),
    /// Serve the floor alone.
    Floor {
        /// `postgres://…` or `sqlite:PATH`.
        #[arg(long)]
        database: String,
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// What live updates cost: connections, memory, fan-out, catching up.
    Realtime(realtime::Realtime),
    /// Serve the floor of live updates alone.
    FloorSocket {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Write the files of the data set.
    Data {
        /// Where to.
        folder: PathBuf,
        /// 1 makes 50,000 customers.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
    },
    /// Print two results side by side.
    Compare {
        /// The older one.
        before: PathBuf,
        /// The newer one.
        after: PathBuf,
    },
}

/// As the gateway's, so that the floor has what the gateway has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Bench::parse().command {
        Command::Run(run) => run.run().await,
        Command::Floor { database, listen } => floor::serve(&database, listen).await,
        Command::Realtime(realtime) => realtime.run().await,
        Command::FloorSocket { listen } => realtime::floor::serve(listen).await,
        Command::Data { folder, scale } => data::write(&folder, scale),
        Command::Compare { before, after } => report::compare(&before, &after),
    }
}
