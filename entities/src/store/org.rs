//! Orgs: who shares the gateway without ever meeting.

use chrono::{SubsecRound, Utc};
use futures_util::future::BoxFuture;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::{ConstraintKind, Store, StoreError};
use crate::klass::fault::Code;
use crate::klass::{Fault, OrgId};
use crate::tables::org;

impl Store {
    /// Makes an org. Its slug names it in URLs and in the database (`org_<slug>`), so it is 1 to 40 characters of `a-z`, `0-9`
    /// and inner `-`, starting with a letter. Faults: a bad slug or name, a slug that is taken.
    pub fn create_org<'a>(&'a self, slug: &'a str, name: &'a str) -> BoxFuture<'a, Result<org::Model, StoreError>> {
        Box::pin(async move {
            let mut faults = Vec::new();
            if !is_slug(slug) {
                faults.push(
                    Fault::bad(["slug"], format!("`{slug}` is no slug."))
                        .remedy("Use 1 to 40 characters of a-z, 0-9 and inner -, starting with a letter."),
                );
            }
            if name.trim().is_empty() || name.chars().count() > 200 {
                faults.push(Fault::bad(["name"], "A name has 1 to 200 characters."));
            }
            if !faults.is_empty() {
                return Err(crate::klass::Faults(faults).into());
            }
            let model = org::Model {
                id: Uuid::now_v7(),
                slug: slug.to_string(),
                name: name.trim().to_string(),
                klass_version: 1,
                // As precise as it is stored.
                created_at: Utc::now().trunc_subsecs(6),
            };
            let row = model.clone();
            let schema = self.dialect() == super::Dialect::Postgres;
            let made = self
                .transact(move |tx| {
                    let row = row.clone();
                    Box::pin(async move {
                        tx.execute(
                            "insert into org (id, slug, name, klass_version, created_at) values ($1, $2, $3, $4, $5)",
                            vec![
                                row.id.into(),
                                row.slug.clone().into(),
                                row.name.into(),
                                row.klass_version.into(),
                                row.created_at.into(),
                            ],
                        )
                        .await?;
                        if schema {
                            // A slug holds nothing that SQL could read as more than a name; see `is_slug`.
                            tx.batch(&format!("create schema if not exists {}", schema_name(&row.slug))).await?;
                        }
                        Ok(())
                    })
                })
                .await;
            match made {
                Ok(()) => Ok(model),
                Err(e) if e.constraint(ConstraintKind::Unique).is_some() => {
                    Err(Fault::new(Code::Duplicate, ["slug"], format!("There is an org `{slug}` already.")).into())
                }
                Err(e) => Err(e),
            }
        })
    }

    /// The org of this slug.
    pub fn org_by_slug<'a>(&'a self, slug: &'a str) -> BoxFuture<'a, Result<Option<org::Model>, StoreError>> {
        Box::pin(async move {
            Ok(org::Entity::find()
                .filter(org::Column::Slug.eq(slug))
                .one(&self.connection())
                .await?)
        })
    }

    /// The org of this id.
    pub fn org<'a>(&'a self, id: OrgId) -> BoxFuture<'a, Result<Option<org::Model>, StoreError>> {
        Box::pin(async move { Ok(org::Entity::find_by_id(id.0).one(&self.connection()).await?) })
    }

    /// All orgs, by slug.
    pub fn orgs<'a>(&'a self) -> BoxFuture<'a, Result<Vec<org::Model>, StoreError>> {
        Box::pin(async move { Ok(org::Entity::find().order_by_asc(org::Column::Slug).all(&self.connection()).await?) })
    }
}

/// The Postgres schema of an org's tables, and the prefix of their names on SQLite.
pub fn schema_name(slug: &str) -> String {
    format!("org_{}", slug.replace('-', "_"))
}

fn is_slug(slug: &str) -> bool {
    slug.len() <= 40
        && slug.starts_with(|c: char| c.is_ascii_lowercase())
        && !slug.ends_with('-')
        && !slug.contains("--")
        && slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for good in ["a", "acme", "acme-2", "a1"] {
            assert!(is_slug(good), "{good}");
        }
        for bad in ["", "1a", "A", "a_b", "a-", "-a", "a--b", "a b", "a;", &"a".repeat(41)] {
            assert!(!is_slug(bad), "{bad}");
        }
        // `--` is refused so that two slugs never share a schema; `-` alone becomes `_`, which no slug holds.
        assert_eq!(schema_name("acme-eu"), "org_acme_eu");
    }
}
