//! How long someone may stay on a connection: until their token expires or is revoked, or the gateway ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use klio_entities::klass::Actor;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::places::Place;
use crate::App;
use crate::auth::{Session, Watch};

type Signal = Pin<Box<WaitForCancellationFutureOwned>>;

/// Why a connection ends that its client would have kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The token has expired.
    Expired,
    /// The token was withdrawn.
    Revoked,
    /// The gateway is about to end.
    Drain,
}

impl End {
    /// As clients and logs are told.
    pub fn why(self) -> &'static str {
        match self {
            End::Expired => "The token has expired",
            End::Revoked => "The token was revoked or changed",
            End::Drain => "The gateway restarts: come back",
        }
    }

    /// The code of an error that says so.
    pub fn code(self) -> &'static str {
        match self {
            End::Expired | End::Revoked => "UNAUTHENTICATED",
            End::Drain => "UNAVAILABLE",
        }
    }

    /// As a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            End::Expired => "expired",
            End::Revoked => "revoked",
            End::Drain => "drain",
        }
    }
}

/// Why someone may not come in on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This actor has as many connections as an actor may have.
    Full,
    /// Someone else is here already: operations under way were begun as them.
    Another,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Stay {
    app: Arc<App>,
    place: Place,
    who: Option<(Session, Watch)>,
    expires_at: Option<Instant>,
    revoked: Option<Signal>,
    draining: Option<Signal>,
    /// When to end for the gateway's end, and when at the latest, whatever is under way.
    drain_at: Option<Instant>,
    drain_by: Option<Instant>,
}

impl Stay {
    /// On a place, of nobody yet.
    pub fn new(app: Arc<App>, place: Place) -> Self {
        Self {
            draining: Some(Box::pin(app.drain.clone().cancelled_owned())),
            app,
            place,
            who: None,
            expires_at: None,
            revoked: None,
            drain_at: None,
            drain_by: None,
        }
    }

    /// Someone comes in, or shows a new token.
    ///
    /// # Errors
    /// Why they may not.
    pub fn admit(&mut self, session: Session) -> Result<(), Refused> {
        match &self.who {
            // A new token may give someone more time, not make them another.
            Some((before, _)) if before.actor != session.actor => return Err(Refused::Another),
            Some(_) => {}
            None => {
                let limit = self.app.config.websocket.connections_per_actor;
                if !self.place.belongs_to(&session.actor, limit) {
                    return Err(Refused::Full);
                }
            }
        }
        self.expires_at = session.expires_at.map(|end| {
            let left = (end - chrono::Utc::now()).to_std().unwrap_or_default();
            // Far enough away is never; an instant cannot be arbitrarily late.
            Instant::now() + left.min(Duration::from_secs(3_155_760_000))
        });
        let watch = self.app.auth.watch(&session);
        self.revoked = session.token.map(|_| Box::pin(watch.revoked().cancelled_owned()) as Signal);
        self.who = Some((session, watch));
        Ok(())
    }

    /// Who is here.
    pub fn actor(&self) -> Option<&Arc<Actor>> {
        self.who.as_ref().map(|(session, _)| &session.actor)
    }

    /// Nobody is waited for any more.
    pub fn over(&mut self) {
        self.revoked = None;
    }

    /// Ready when the token was revoked (`Some`), and when the gateway begins to end: then [`Stay::due`] says something new (`None`).
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        if let Some(revoked) = &mut self.revoked
            && revoked.as_mut().poll(cx).is_ready()
        {
            self.revoked = None;
            return Poll::Ready(Some(End::Revoked));
        }
        if let Some(draining) = &mut self.draining
            && draining.as_mut().poll(cx).is_ready()
        {
            self.draining = None;
            // Not all at once: thousands that come back in the same moment would fall upon the next node.
            let limit = self.app.config.http.drain_timeout;
            let most = (limit / 2).min(Duration::from_secs(5));
            let now = Instant::now();
            self.drain_at = Some(now + most.mul_f64(random()));
            // Early enough to be told before the gateway ends.
            self.drain_by = Some(now + limit - (limit / 10).min(Duration::from_secs(1)));
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// When it ends by the clock, as far as is known, and why. `busy`: something is under way that ends by itself, for which the
    /// gateway's end waits if it ends in time.
    pub fn due(&self, busy: bool) -> Option<(Instant, End)> {
        let drain = if busy { self.drain_by } else { self.drain_at };
        let ends = [self.expires_at.map(|at| (at, End::Expired)), drain.map(|at| (at, End::Drain))];
        ends.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Waits for the end. May be dropped while it waits.
    pub async fn ended(&mut self, busy: bool) -> End {
        loop {
            let due = self.due(busy);
            let clock = async {
                match due {
                    Some((at, end)) => {
                        tokio::time::sleep_until(at).await;
                        end
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                end = clock => return end,
                end = std::future::poll_fn(|cx| self.poll(cx)) => if let Some(end) = end { return end },
            }
        }
    }
}

/// From 0 to 1. Not for secrets: a failing source of random numbers gives 1/2.
fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
