//! What someone wishes to be so: checked whole, then written whole (`store/write/`).

use std::sync::Arc;

use super::query::Key;
use super::{End, Filter, Klass, ObjectId, Property, Value};

/// A wish. One draft is one root mutation, or one item of a bulk one.
#[derive(Clone, Debug, PartialEq)]
pub enum Draft {
    /// A new object.
    Create(Object),
    /// A change of an object that exists.
    Update {
        /// Which (its operand must be a constant).
        key: Key,
        /// Only if its version is this.
        version: Option<i64>,
        /// What changes.
        set: Object,
    },
    /// A change of the object with this key if there is one, a new one otherwise.
    Upsert {
        /// Which: externalId, a unique property or a contact point (constant operand). The key's value need not be repeated in `create`.
        key: Key,
        /// If there is none.
        create: Object,
        /// If there is one.
        update: Object,
    },
    /// Soft delete.
    Delete {
        /// Of this klass.
        klass: Arc<Klass>,
        /// Which.
        id: ObjectId,
        /// Only if its version is this.
        version: Option<i64>,
    },
    /// Undo of a soft delete.
    Restore {
        /// Of this klass.
        klass: Arc<Klass>,
        /// Which.
        id: ObjectId,
    },
    /// Removal for good.
    Destroy {
        /// Of this klass.
        klass: Arc<Klass>,
        /// Which.
        id: ObjectId,
    },
    /// The same change to all that match; refused when more than `at_most` do.
    UpdateAll {
        /// Of this klass.
        klass: Arc<Klass>,
        /// Which (no arguments: constants only).
        filter: Filter,
        /// What changes.
        set: Object,
        /// How many at most.
        at_most: u32,
    },
    /// Soft delete of all that match; refused when more than `at_most` do.
    DeleteAll {
        /// Of this klass.
        klass: Arc<Klass>,
        /// Which.
        filter: Filter,
        /// How many at most.
        at_most: u32,
    },
}

/// The values and links of an object. What is absent stays as it is; [`Value::Null`] clears.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Of this klass.
    pub klass: Arc<Klass>,
    /// Property by property.
    pub values: Vec<(Arc<Property>, Value)>,
    /// Relationship by relationship.
    pub links: Vec<(Arc<End>, Vec<LinkChange>)>,
    /// Where in the caller's input this object stands, for faults: `["input"]`.
    pub path: Vec<String>,
}

/// A change at one end of a relationship.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkChange {
    /// Ties to an object that exists. At a to-one end it replaces.
    Connect {
        /// Its klass (one of the end's).
        klass: Arc<Klass>,
        /// Which (constant operand).
        key: Key,
        /// Properties of the link.
        link: Vec<(Arc<Property>, Value)>,
    },
    /// Makes a new object and ties to it.
    Create {
        /// The object.
        object: Object,
        /// Properties of the link.
        link: Vec<(Arc<Property>, Value)>,
    },
    /// Makes or changes an object and ties to it.
    Upsert {
        /// Which (constant operand).
        key: Key,
        /// If there is none.
        create: Object,
        /// If there is one.
        update: Object,
        /// Properties of the link.
        link: Vec<(Arc<Property>, Value)>,
    },
    /// Unties from an object; at a to-one end from whatever it is tied to.
    Disconnect {
        /// From which; `None` at a to-one end.
        object: Option<(Arc<Klass>, Key)>,
    },
}

/// What became of a draft.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    /// Of this klass.
    pub klass: String,
    /// The object (for `*All`: of each one).
    pub ids: Vec<ObjectId>,
    /// What happened.
    pub outcome: Outcome,
    /// Where in the log: give it as `after` to a subscription to start right behind the write. `None` when nothing changed.
    pub cursor: Option<String>,
}

/// What happened to the object of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum Outcome {
    Created,
    Updated,
    Unchanged,
    Deleted,
    Restored,
    Destroyed,
}
