//! What is wrong with what someone gave: the thing, the place, the reason and the remedy. All of it at once, never the first alone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A code from the table in [`Code`].
    pub code: Code,
    /// Where: `["klasses", "order", "properties", "total"]`, or an input's path `["input", "lines", "0", "total"]`.
    pub path: Vec<String>,
    /// What is wrong and why, in a sentence.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Every code of a user's error, here and nowhere else; `api` gives each its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// A value or definition is not acceptable.
    BadInput,
    /// A required value is missing.
    Required,
    /// Another object holds this unique value.
    Duplicate,
    /// No such object (or not in this org: the two are not told apart).
    NotFound,
    /// The object is not as the caller believed (stale version, deleted).
    Conflict,
    /// Others still point to it.
    Restricted,
    /// The role does not allow it.
    Forbidden,
    /// The change would break clients or lose data and was not forced.
    Breaking,
    /// The same idempotency key came with other input.
    IdempotencyMismatch,
    /// More objects match than `atMost` allows.
    TooMany,
}

impl Fault {
    /// A `BadInput` fault.
    pub fn bad(path: impl IntoIterator<Item = impl Into<String>>, message: impl Into<String>) -> Self {
        Self::new(Code::BadInput, path, message)
    }
    /// A fault of any code.
    pub fn new(code: Code, path: impl IntoIterator<Item = impl Into<String>>, message: impl Into<String>) -> Self {
        Self {
            code,
            path: path.into_iter().map(Into::into).collect(),
            message: message.into(),
            remedy: None,
        }
    }
    /// Adds what to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
    /// Puts a step before the path.
    pub fn under(mut self, step: impl Into<String>) -> Self {
        self.path.insert(0, step.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.join("."))?;
        }
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

/// All that is wrong. Never empty when it is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}
