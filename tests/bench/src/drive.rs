//! Sixteen connections that ask as fast as they are answered, for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::http::Connection;

/// Connections at once.
pub const CONNECTIONS: usize = 16;

/// What a while of asking gave.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// How long each answer took, in microseconds.
    pub micros: Vec<u32>,
    /// Bytes of all bodies.
    pub bytes: u64,
    /// How long it was.
    pub took: Duration,
}

/// Asks for a while. Each connection goes through the requests from a place of its own.
pub async fn drive(address: SocketAddr, requests: Arc<Vec<Vec<u8>>>, time: Duration) -> anyhow::Result<Round> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|place| {
            let requests = requests.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                let (mut micros, mut bytes) = (Vec::with_capacity(16_384), 0);
                let mut next = place * requests.len() / CONNECTIONS;
                while began.elapsed() < time {
                    let asked = Instant::now();
                    let (status, body) = connection.ask(&requests[next % requests.len()]).await?;
                    if status != 200 || find_errors(body) {
                        bail!("answer {status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)]));
                    }
                    bytes += body.len() as u64;
                    micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
                    next += 1;
                }
                anyhow::Ok((micros, bytes))
            })
        })
        .collect();
    let mut round = Round::default();
    for task in tasks {
        let (micros, bytes) = task.await.context("a connection's task")??;
        round.micros.extend(micros);
        round.bytes += bytes;
    }
    round.took = began.elapsed();
    Ok(round)
}

/// An answer with errors begins with them or ends in them; looking at the head is enough to tell that something is amiss.
fn find_errors(body: &[u8]) -> bool {
    body.starts_with(b"{\"errors\"") || body.starts_with(b"{\"data\":null")
}

impl Round {
    /// Adds another.
    pub fn add(&mut self, other: Round) {
        self.micros.extend(other.micros);
        self.bytes += other.bytes;
        self.took += other.took;
    }

    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.micros.len() as f64 / self.took.as_secs_f64()
    }

    /// Within how many microseconds this share of the answers came.
    pub fn within(&mut self, share: f64) -> u32 {
        self.micros.sort_unstable();
        let last = self.micros.len().saturating_sub(1);
        self.micros.get(((last as f64) * share) as usize).copied().unwrap_or_default()
    }
}
