//! Tokens: who may come in as whom. Only a hash of each is kept; its text is told once, when it is made.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::silence::answered;
use super::{Store, StoreError};
use crate::klass::id::encode_base32;
use crate::klass::{Fault, OrgId, Role};
use crate::tables::token;

/// How every token begins, so that scanners of leaked secrets know one.
pub const PREFIX: &str = "klio_";

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Where it is valid.
    pub org: OrgId,
    /// What it is for: the name shown in `createdBy`.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// The actor that its bearer is.
    pub actor: Uuid,
    /// From when on it is void.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl Token {
    /// Opens the door at this time.
    pub fn is_valid(&self, at: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| at < end)
    }
}

/// The hash under which a token's text is kept. The text is 256 random bits, so a slow hash would protect nothing more.
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Store {
    /// Makes a token; answers its text, which is kept nowhere, and what it is.
    ///
    /// # Errors
    /// A name that is empty or longer than 200 characters; what the database says.
    pub fn create_token<'a>(
        &'a self,
        org: OrgId,
        name: &'a str,
        role: Role,
        expires_at: Option<DateTime<Utc>>,
    ) -> BoxFuture<'a, Result<(String, Token), StoreError>> {
        Box::pin(async move {
            let name = name.trim();
            if name.is_empty() || name.chars().count() > 200 {
                return Err(Fault::bad(["name"], "a token's name has 1 to 200 characters").into());
            }
            let mut secret = [0u8; 32];
            getrandom::fill(&mut secret).map_err(|e| StoreError::Unavailable(format!("no random numbers are to be had: {e}")))?;
            let (left, right) = secret.split_at(16);
            let mut text = PREFIX.to_owned();
            for half in [left, right] {
                // Both halves have 16 bytes.
                encode_base32(Uuid::from_slice(half).unwrap_or_default(), &mut text);
            }
            let id = Uuid::now_v7();
            let row = token::Model {
                id,
                org_id: org.0,
                name: name.to_owned(),
                hash: hash(&text).to_vec(),
                role: role_name(role).to_owned(),
                actor_id: id,
                expires_at,
                revoked_at: None,
                created_at: Utc::now(),
                last_used_at: None,
            };
            token::Entity::insert(token::ActiveModel::from(row.clone()))
                .exec_without_returning(&self.connection())
                .await?;
            Ok((text, from_row(row)?))
        })
    }

    /// The token of this text's [`hash`], whether it is still valid or not.
    ///
    /// # Errors
    /// What the database says.
    pub fn token_by_hash<'a>(&'a self, hash: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Token>, StoreError>> {
        Box::pin(async move {
            let found = self.tokens_by_hash(std::slice::from_ref(hash)).await?;
            Ok(found.into_values().next())
        })
    }

    /// The tokens of these hashes, whether they are still valid or not; one statement.
    ///
    /// # Errors
    /// What the database says.
    pub fn tokens_by_hash<'a>(&'a self, hashes: &'a [[u8; 32]]) -> BoxFuture<'a, Result<HashMap<[u8; 32], Token>, StoreError>> {
        Box::pin(async move {
            let find = token::Entity::find().filter(token::Column::Hash.is_in(hashes.iter().map(|hash| hash.to_vec())));
            let rows = self
                .noticed(async |connection| answered(Some(self.patience()), find.all(&connection)).await)
                .await?;
            rows.into_iter()
                .map(|row| {
                    let hash = row.hash.as_slice().try_into();
                    let hash = hash.map_err(|_| StoreError::Corrupt(format!("the hash of the token {} has not 32 bytes", row.id)))?;
                    Ok((hash, from_row(row)?))
                })
                .collect()
        })
    }

    /// The tokens of an org, or of all; oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn tokens<'a>(&'a self, org: Option<OrgId>) -> BoxFuture<'a, Result<Vec<Token>, StoreError>> {
        Box::pin(async move {
            let mut find = token::Entity::find();
            if let Some(org) = org {
                find = find.filter(token::Column::OrgId.eq(org.0));
            }
            let rows = find
                .order_by_asc(token::Column::OrgId)
                .order_by_asc(token::Column::CreatedAt)
                .all(&self.connection())
                .await?;
            rows.into_iter().map(from_row).collect()
        })
    }

    /// Withdraws a token; `false` when there is no such token in the org, or it was withdrawn before.
    ///
    /// # Errors
    /// What the database says.
    pub fn revoke_token<'a>(&'a self, org: OrgId, id: Uuid) -> BoxFuture<'a, Result<bool, StoreError>> {
        let change = token::ActiveModel {
            revoked_at: ActiveValue::Set(Some(Utc::now())),
            ..Default::default()
        };
        self.change_token(org, id, change)
    }

    /// Gives a token another role; `false` when there is no such token in the org, or it was revoked. Connections that it opened end
    /// within a second.
    ///
    /// # Errors
    /// What the database says.
    pub fn set_token_role<'a>(&'a self, org: OrgId, id: Uuid, role: Role) -> BoxFuture<'a, Result<bool, StoreError>> {
        let change = token::ActiveModel {
            role: ActiveValue::Set(role_name(role).to_owned()),
            ..Default::default()
        };
        self.change_token(org, id, change)
    }

    /// Changes a token that stands; `false` when there is none in the org.
    fn change_token(&self, org: OrgId, id: Uuid, change: token::ActiveModel) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let done = token::Entity::update_many()
                .set(change)
                .filter(token::Column::Id.eq(id))
                .filter(token::Column::OrgId.eq(org.0))
                .filter(token::Column::RevokedAt.is_null())
                .exec(&self.connection())
                .await?;
            Ok(done.rows_affected > 0)
        })
    }

    /// Which of these tokens still stand (are there and not revoked), and their roles.
    ///
    /// # Errors
    /// What the database says.
    pub fn standing_tokens<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<(Uuid, Role)>, StoreError>> {
        Box::pin(async move {
            let mut standing = Vec::with_capacity(ids.len());
            for part in ids.chunks(5_000) {
                let found: Vec<(Uuid, String)> = token::Entity::find()
                    .select_only()
                    .column(token::Column::Id)
                    .column(token::Column::Role)
                    .filter(token::Column::Id.is_in(part.iter().copied()))
                    .filter(token::Column::RevokedAt.is_null())
                    .into_tuple()
                    .all(&self.connection())
                    .await?;
                // A role that is none is no token's that may come in.
                standing.extend(found.into_iter().filter_map(|(id, role)| Some((id, role_of(&role)?))));
            }
            Ok(standing)
        })
    }

    /// Notes that these tokens were used.
    ///
    /// # Errors
    /// What the database says.
    pub fn touch_tokens<'a>(&'a self, ids: &'a [Uuid], at: DateTime<Utc>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for part in ids.chunks(5_000) {
                token::Entity::update_many()
                    .set(token::ActiveModel {
                        last_used_at: ActiveValue::Set(Some(at)),
                        ..Default::default()
                    })
                    .filter(token::Column::Id.is_in(part.iter().copied()))
                    .exec(&self.connection())
                    .await?;
            }
            Ok(())
        })
    }
}

/// As a role is written in settings, claims and the database.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Agent => "agent",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

/// The role of this name.
pub fn role_of(name: &str) -> Option<Role> {
    [Role::Reader, Role::Agent, Role::Admin, Role::Owner]
        .into_iter()
        .find(|role| role_name(*role) == name)
}

fn from_row(row: token::Model) -> Result<Token, StoreError> {
    Ok(Token {
        role: role_of(&row.role).ok_or_else(|| StoreError::Corrupt(format!("token {} has the role {:?}", row.id, row.role)))?,
        id: row.id,
        org: OrgId(row.org_id),
        name: row.name,
        actor: row.actor_id,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::each;

    #[tokio::test]
    async fn a_token_from_its_making_to_its_end() {
        each(async |fresh| {
            let store = &fresh.store;
            let acme = OrgId(store.create_org("acme", "Acme").await.expect("an org").id);
            let other = OrgId(store.create_org("other", "Other").await.expect("an org").id);
            let (text, made) = store.create_token(acme, " shop ", Role::Agent, None).await.expect("a token");
            assert!(text.starts_with(PREFIX) && text.len() == PREFIX.len() + 52, "{text}");
            assert_eq!((made.name.as_str(), made.role, made.org), ("shop", Role::Agent, acme));
            let found = store.token_by_hash(&hash(&text)).await.expect("a look-up").expect("the token");
            assert_eq!(found.id, made.id);
            assert!(found.is_valid(Utc::now()));
            assert_eq!(store.token_by_hash(&hash("klio_x")).await.expect("a look-up"), None);

            let end = Utc::now() + chrono::TimeDelta::hours(1);
            let (_, short) = store.create_token(other, "short", Role::Owner, Some(end)).await.expect("a token");
            assert!(short.is_valid(end - chrono::TimeDelta::seconds(1)) && !short.is_valid(end));
            assert_eq!(store.tokens(Some(acme)).await.expect("a list").len(), 1);
            assert_eq!(store.tokens(None).await.expect("a list").len(), 2);

            let at = Utc::now();
            store.touch_tokens(&[made.id], at).await.expect("a note");
            store.touch_tokens(&[], at).await.expect("nothing to note");
            let noted = store.tokens(Some(acme)).await.expect("a list")[0].last_used_at.expect("a time");
            assert!((noted - at).abs() < chrono::TimeDelta::milliseconds(1));

            let both = [made.id, short.id, Uuid::now_v7()];
            assert_eq!(store.standing_tokens(&both).await.expect("a list").len(), 2);
            assert!(!store.revoke_token(other, made.id).await.expect("a try"), "another org's token");
            assert!(store.revoke_token(acme, made.id).await.expect("a revocation"));
            assert!(!store.revoke_token(acme, made.id).await.expect("a try"), "revoked already");
            assert_eq!(store.standing_tokens(&both).await.expect("a list"), [(short.id, Role::Owner)]);
            assert!(!store.set_token_role(other, made.id, Role::Reader).await.expect("a try"), "revoked");
            assert!(
                !store.set_token_role(acme, short.id, Role::Reader).await.expect("a try"),
                "another org's"
            );
            assert!(store.set_token_role(other, short.id, Role::Reader).await.expect("a change"));
            assert_eq!(store.standing_tokens(&both).await.expect("a list"), [(short.id, Role::Reader)]);
            let found = store.token_by_hash(&hash(&text)).await.expect("a look-up").expect("the token");
            assert!(!found.is_valid(Utc::now()));
            assert!(matches!(
                store.create_token(acme, " ", Role::Agent, None).await,
                Err(StoreError::Faults(_))
            ));
        })
        .await;
    }

    #[test]
    fn roles_have_names() {
        for role in [Role::Reader, Role::Agent, Role::Admin, Role::Owner] {
            assert_eq!(role_of(role_name(role)), Some(role));
        }
        assert_eq!(role_of("god"), None);
    }
}
