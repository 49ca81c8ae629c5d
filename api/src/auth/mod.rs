//! Who comes in: bearer tokens and JWTs, verified, remembered for a moment, and forgotten when they are withdrawn.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use klio_entities::klass::actor::ActorKind;
use klio_entities::klass::{Actor, Fault, OrgId, Role};
use klio_entities::store::token::{self, PREFIX};
use klio_entities::store::{Store, StoreError};
use klio_subscriptions::bus::Heard;
use klio_subscriptions::bus::redis::Redis;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::tokens::Tokens;
use crate::config;

pub mod jwt;
mod tokens;

/// How many verified credentials are remembered at once.
const REMEMBERED: usize = 10_000;
/// How often uses of tokens are written down.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// Someone who has come in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who it is.
    pub actor: Arc<Actor>,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
    /// By which token; `None` for a JWT.
    pub token: Option<Uuid>,
}

/// Why someone may not come in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing was shown.
    #[error("Say who you are: send the header Authorization: Bearer <token>. `klio token create` makes a token.")]
    Missing,
    /// What was shown is not good.
    #[error("The token is not valid: {0}.")]
    Invalid(String),
    /// It could not be found out.
    #[error("The token could not be verified just now.")]
    Unavailable,
}

struct Remembered {
    session: Session,
    until: Instant,
}

/// A token and role with open connections: how many, and the signal that ends them.
struct Watched {
    connections: usize,
    revoked: CancellationToken,
}

/// Verifies credentials. One per gateway.
pub struct Auth {
    store: Store,
    tokens: Tokens,
    keys: jwt::Keys,
    cache: Duration,
    recheck: Duration,
    remembered: quick_cache::sync::Cache<[u8; 32], Arc<Remembered>>,
    watched: Mutex<HashMap<(Uuid, Role), Watched>>,
    used: Mutex<HashSet<Uuid>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The credential of an `Authorization` header's value; `None` unless it is a bearer's.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, credential) = header.trim().split_once(' ')?;
    let credential = credential.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

impl Auth {
    /// Reads keys.
    ///
    /// # Errors
    /// Which setting names a key that cannot be used.
    pub fn new(store: Store, config: &config::Auth) -> Result<Self, String> {
        Ok(Self {
            tokens: Tokens::new(store.clone()),
            store,
            keys: jwt::Keys::load(config)?,
            cache: config.cache,
            recheck: config.recheck,
            remembered: quick_cache::sync::Cache::new(REMEMBERED),
            watched: Mutex::default(),
            used: Mutex::default(),
        })
    }

    /// Says who shows this credential.
    ///
    /// # Errors
    /// Why they may not come in.
    pub async fn verify(&self, credential: &str) -> Result<Session, Refusal> {
        // Tokens and JWTs are both remembered under a hash, never as they are.
        let hash: [u8; 32] = Sha256::digest(credential.as_bytes()).into();
        let session = match self.remembered.get(&hash) {
            Some(known) if Instant::now() < known.until => known.session.clone(),
            _ => {
                let session = self.look_up(credential, &hash).await?;
                let remembered = Remembered {
                    session: session.clone(),
                    until: Instant::now() + self.cache,
                };
                self.remembered.insert(hash, Arc::new(remembered));
                session
            }
        };
        if session.expires_at.is_some_and(|end| end <= Utc::now()) {
            return Err(Refusal::Invalid("it has expired".into()));
        }
        if let Some(token) = session.token {
            lock(&self.used).insert(token);
        }
        Ok(session)
    }

    async fn look_up(&self, credential: &str, hash: &[u8; 32]) -> Result<Session, Refusal> {
        if credential.starts_with(PREFIX) {
            let token = self
                .tokens
                .by_hash(*hash)
                .await?
                .ok_or_else(|| Refusal::Invalid("there is no such token".into()))?;
            return session_of(token);
        }
        if self.keys.is_empty() {
            return Err(Refusal::Invalid(format!(
                "it does not begin with {PREFIX}, and no key for JWTs is set"
            )));
        }
        let claims = self.keys.verify(credential).map_err(Refusal::Invalid)?;
        let org = self.store.org_by_slug(&claims.org).await.map_err(|error| unavailable(&error))?;
        let org = org.ok_or_else(|| Refusal::Invalid("its org is not known".into()))?;
        let name = claims.name.unwrap_or_else(|| claims.sub.clone());
        let actor = Actor {
            org: OrgId(org.id),
            kind: ActorKind::User,
            id: subject_id(&claims.sub),
            name,
            role: claims.role,
        };
        Ok(Session {
            actor: Arc::new(actor),
            expires_at: DateTime::from_timestamp(claims.exp, 0),
            token: None,
        })
    }

    /// Watches a session for as long as the answer is kept: it tells when the session's token is revoked, or its role is another.
    pub fn watch(self: &Arc<Self>, session: &Session) -> Watch {
        let Some(token) = session.token else {
            return Watch {
                auth: self.clone(),
                token: None,
                revoked: CancellationToken::new(),
            };
        };
        let key = (token, session.actor.role);
        let mut watched = lock(&self.watched);
        let entry = watched.entry(key).or_insert_with(|| Watched {
            connections: 0,
            revoked: CancellationToken::new(),
        });
        entry.connections += 1;
        Watch {
            auth: self.clone(),
            token: Some(key),
            revoked: entry.revoked.clone(),
        }
    }

    /// Ends the connections of a token that is void, or has another role than it had when they were opened.
    fn end(&self, token: (Uuid, Role)) {
        self.remembered.retain(|_, known| known.session.token != Some(token.0));
        if let Some(watched) = lock(&self.watched).get(&token) {
            watched.revoked.cancel();
        }
    }

    /// Checks the tokens of open connections, at once when news says that one was withdrawn and every now and then besides; writes down
    /// uses of tokens. Until the end.
    pub async fn run(self: Arc<Self>, mut news: BoxStream<'static, Heard>, end: CancellationToken) {
        let mut tick = tokio::time::interval(self.recheck);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut touched = Instant::now();
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                _ = tick.tick() => {}
                Some(heard) = news.next() => match heard {
                    // That it was said is no reason to believe it: the database says whether it is so.
                    Heard::Withdrawn(token) => self.remembered.retain(|_, known| known.session.token != Some(token)),
                    Heard::Lost => {}
                    Heard::Hint(_) | Heard::Beat(_) => continue,
                },
            }
            if let Err(error) = self.check().await {
                tracing::warn!(%error, "tokens of open connections could not be checked");
            }
            if touched.elapsed() >= TOUCH_EVERY {
                touched = Instant::now();
                self.touch().await;
            }
        }
        self.touch().await;
    }

    async fn check(&self) -> Result<(), StoreError> {
        let watched: Vec<(Uuid, Role)> = lock(&self.watched).keys().copied().collect();
        if watched.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = watched.iter().map(|(id, _)| *id).collect();
        let standing: HashMap<Uuid, Role> = self.store.standing_tokens(&ids).await?.into_iter().collect();
        for token in watched.into_iter().filter(|(id, role)| standing.get(id) != Some(role)) {
            self.end(token);
        }
        Ok(())
    }

    async fn touch(&self) {
        let used: Vec<Uuid> = std::mem::take(&mut *lock(&self.used)).into_iter().collect();
        if let Err(error) = self.store.touch_tokens(&used, Utc::now()).await {
            tracing::warn!(%error, "uses of tokens could not be written down");
        }
    }
}

/// Makes a token by names: the org's slug, and a role (`reader`, `agent`, `admin`, `owner`). Answers its text, which is told once.
///
/// # Errors
/// There is no such org or role; what the store says.
pub async fn issue(store: &Store, org: &str, role: &str, name: &str) -> Result<String, StoreError> {
    let role = token::role_of(role).ok_or_else(|| Fault::bad(["role"], format!("there is no role {role}")))?;
    let org = store
        .org_by_slug(org)
        .await?
        .ok_or_else(|| Fault::bad(["org"], format!("there is no org {org}")))?;
    let (text, _) = store.create_token(OrgId(org.id), name, role, None).await?;
    Ok(text)
}

/// The token of a name in an org, if there is one that is not revoked.
///
/// # Errors
/// What the store says.
pub async fn named(store: &Store, org: &str, name: &str) -> Result<Option<token::Token>, StoreError> {
    let Some(org) = store.org_by_slug(org).await? else {
        return Ok(None);
    };
    let tokens = store.tokens(Some(OrgId(org.id))).await?;
    Ok(tokens.into_iter().find(|token| token.name == name && token.revoked_at.is_none()))
}

/// Tells running gateways at once that a token was withdrawn or has another role, where Redis carries news.
///
/// # Errors
/// Redis does not answer. The gateways find out by themselves, within `auth.recheck`.
pub async fn tell(config: &config::Redis, token: Uuid) -> Result<(), String> {
    match &config.url {
        Some(place) => Redis::withdraw_once(place, &config.prefix, token).await,
        None => Ok(()),
    }
}

/// A session under watch.
#[derive(Debug)]
pub struct Watch {
    auth: Arc<Auth>,
    token: Option<(Uuid, Role)>,
    revoked: CancellationToken,
}

impl Watch {
    /// The signal that the token was revoked, or may something else from now on.
    pub fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(token) = self.token else { return };
        let mut watched = lock(&self.auth.watched);
        if let Some(entry) = watched.get_mut(&token) {
            entry.connections -= 1;
            if entry.connections == 0 {
                watched.remove(&token);
            }
        }
    }
}

fn session_of(token: token::Token) -> Result<Session, Refusal> {
    if token.revoked_at.is_some() {
        return Err(Refusal::Invalid("it was revoked".into()));
    }
    let actor = Actor {
        org: token.org,
        kind: ActorKind::Token,
        id: token.actor,
        name: token.name,
        role: token.role,
    };
    Ok(Session {
        actor: Arc::new(actor),
        expires_at: token.expires_at,
        token: Some(token.id),
    })
}

/// The actor's id of a JWT's subject: itself when it is a UUID, else made from it (version 8: from a hash).
fn subject_id(subject: &str) -> Uuid {
    if let Ok(id) = subject.parse() {
        return id;
    }
    let digest = Sha256::digest(subject.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn unavailable(error: &StoreError) -> Refusal {
    tracing::error!(%error, "a token could not be verified");
    Refusal::Unavailable
}

/// Nothing that is done under these locks can leave them half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearers() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for wrong in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn subjects() {
        let id = "0190b0c0-0000-7000-8000-000000000001";
        assert_eq!(subject_id(id).to_string(), id);
        assert_eq!(subject_id("auth0|123"), subject_id("auth0|123"));
        assert_ne!(subject_id("auth0|123"), subject_id("auth0|124"));
        assert_eq!(subject_id("x").get_version_num(), 8);
    }
}
