//! Who asks, and what they may do.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::OrgId;

/// Who asks: passed through every layer, so that a finer model of rights needs no new parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The org to which every statement is scoped.
    pub org: OrgId,
    /// What sort of caller it is.
    pub kind: ActorKind,
    /// The token's or user's id; nil for the system.
    pub id: Uuid,
    /// The name shown in `createdBy`.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// What sort of caller an actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A person, by JWT.
    User,
    /// A program, by bearer token.
    Token,
    /// The gateway itself (import, demo, cascades).
    System,
}

/// What an actor may do. Ask a role questions; do not compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads objects.
    Reader,
    /// Reads and writes objects.
    Agent,
    /// Also defines klasses, destroys objects and makes tokens.
    Admin,
    /// Also changes the org itself.
    Owner,
}

impl Role {
    /// May create, update and delete objects.
    pub fn can_write(self) -> bool {
        self >= Role::Agent
    }
    /// May destroy objects for good.
    pub fn can_destroy(self) -> bool {
        self >= Role::Admin
    }
    /// May define and change klasses.
    pub fn can_define(self) -> bool {
        self >= Role::Admin
    }
    /// May make and revoke tokens.
    pub fn can_grant(self) -> bool {
        self >= Role::Admin
    }
    /// Sees properties marked sensitive.
    pub fn sees_sensitive(self) -> bool {
        self >= Role::Agent
    }
}

impl Actor {
    /// The gateway itself, within an org.
    pub fn system(org: OrgId) -> Self {
        Self {
            org,
            kind: ActorKind::System,
            id: Uuid::nil(),
            name: "klio".into(),
            role: Role::Owner,
        }
    }

    /// As stored in `created_by`: `kind:id:name`.
    pub fn to_text(&self) -> String {
        let kind = match self.kind {
            ActorKind::User => "user",
            ActorKind::Token => "token",
            ActorKind::System => "system",
        };
        format!("{kind}:{}:{}", self.id, self.name)
    }
}
