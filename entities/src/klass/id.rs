//! Ids: a UUIDv7 in the database, a TypeID (`order_01j…`) for clients.
//!
//! The text form follows the TypeID specification 0.3: <https://github.com/jetify-com/typeid/tree/main/spec>

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An org (tenant).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrgId(pub Uuid);

/// An object of some klass. Sorts by time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub Uuid);

impl ObjectId {
    /// A new id, greater than those made before it by this process.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The text that clients see: `<prefix>_<26 characters of base 32>`. The prefix is [`super::Klass::id_prefix`].
    pub fn to_text(self, prefix: &str) -> String {
        let mut out = String::with_capacity(prefix.len() + 27);
        out.push_str(prefix);
        out.push('_');
        encode_base32(self.0, &mut out);
        out
    }

    /// Splits a client's id into prefix and id; `None` when it is not of that form.
    pub fn parse(text: &str) -> Option<(&str, Self)> {
        let (prefix, suffix) = text.rsplit_once('_')?;
        Some((prefix, Self(decode_base32(suffix)?)))
    }
}

impl Default for ObjectId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Appends the 26 characters of a UUID in Crockford's base 32, most significant first.
pub fn encode_base32(id: Uuid, out: &mut String) {
    let bits = id.as_u128();
    for i in (0..26).rev() {
        out.push(char::from(ALPHABET[((bits >> (5 * i)) & 31) as usize]));
    }
}

/// Reads what [`encode_base32`] writes; `None` for anything else (length, alphabet, more than 128 bits).
pub fn decode_base32(text: &str) -> Option<Uuid> {
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut bits = 0u128;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&a| a == byte)?;
        bits = (bits << 5) | digit as u128;
    }
    Some(Uuid::from_u128(bits))
}
