//! A name in the types of a schema: shared, since each stands in many places, and most are the same in every schema.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A name. As cheap to copy as a number; equal, ordered and hashed as its text.
#[derive(Clone)]
pub enum Name {
    /// The same in every schema.
    Fixed(&'static str),
    /// Made of an org's klasses.
    Made(Arc<str>),
}

/// Things by name, in the order in which they were put in.
pub type ByName<T> = indexmap::IndexMap<Name, T, foldhash::fast::RandomState>;

impl Name {
    /// A name with this text.
    pub fn of(text: &str) -> Self {
        Name::Made(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        match self {
            Name::Fixed(text) => text,
            Name::Made(text) => text,
        }
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Name::Fixed(text)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Name::Made(text.into())
    }
}

impl From<&String> for Name {
    fn from(text: &String) -> Self {
        Name::Made(text.as_str().into())
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl From<&Name> for String {
    fn from(name: &Name) -> Self {
        name.as_str().to_owned()
    }
}

impl PartialEq<Name> for String {
    fn eq(&self, other: &Name) -> bool {
        *self == *other.as_str()
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        *self.as_str() == *other
    }
}

/// A map by name is also asked by text.
impl indexmap::Equivalent<Name> for String {
    fn equivalent(&self, key: &Name) -> bool {
        *self == *key
    }
}
