//! A way over TCP that a test can cut, stop and make long: between clients and a gateway, or between a gateway and what it lives on.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the wires are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Each cut breaks what is connected.
    cuts: u64,
    /// Each time what is connected is left to itself: it stays open, and carries nothing any more.
    abandoned: u64,
    /// Nothing goes through; connections stay open, as when a network is gone and nobody says so.
    stopped: bool,
    /// How long bytes are on their way.
    delay: Duration,
}

/// See the head of this file.
pub struct Wires {
    /// Where they begin.
    pub address: SocketAddr,
    state: watch::Sender<State>,
}

impl Wires {
    /// Wires that lead to the first of these (`host:port`) that lets one in, as a load balancer does.
    pub async fn to(far: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = watch::Sender::new(State {
            cuts: 0,
            abandoned: 0,
            stopped: false,
            delay: Duration::ZERO,
        });
        let seen = state.subscribe();
        let far: Vec<String> = far.iter().map(|far| (*far).to_owned()).collect();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (far, mut seen) = (far.clone(), seen.clone());
                let cuts = seen.borrow_and_update().cuts;
                tokio::spawn(async move {
                    // Nobody gets through while they are stopped.
                    if seen.wait_for(|state| !state.stopped || state.cuts != cuts).await.is_err() {
                        return;
                    }
                    let Some(far) = first(&far).await else { return };
                    let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(near_out, far_in, seen.clone()) => {}
                        () = carry(far_out, near_in, seen.clone()) => {}
                        () = cut(seen.clone(), cuts) => {}
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Where they begin, for a client of a gateway.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks all connections; new ones are made as before.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Leaves what is connected to itself: it stays open, and nothing goes through any more. New connections are made as before.
    pub fn abandon(&self) {
        self.state.send_modify(|state| state.abandoned += 1);
    }

    /// Stops everything (or lets it go on) without a word to either side.
    pub fn stop(&self, stopped: bool) {
        self.state.send_modify(|state| state.stopped = stopped);
    }

    /// Makes the way so long.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }
}

/// A connection to the first that lets one in.
async fn first(all: &[String]) -> Option<TcpStream> {
    for far in all {
        if let Ok(stream) = TcpStream::connect(far).await {
            return Some(stream);
        }
    }
    None
}

/// Waits for another cut than those so far.
async fn cut(mut seen: watch::Receiver<State>, cuts: u64) {
    // The wires are gone when nobody can cut them any more.
    let _ = seen.wait_for(|state| state.cuts != cuts).await;
}

/// Carries bytes one way until either side ends.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut seen: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 * 1024];
    let abandoned = seen.borrow().abandoned;
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let Ok(state) = seen.wait_for(|state| !state.stopped).await.map(|state| *state) else {
            return;
        };
        if state.abandoned != abandoned {
            std::future::pending::<()>().await;
        }
        let delay = state.delay;
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
