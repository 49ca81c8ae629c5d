//! Cursors of pages: opaque to clients. Inside: the hash of the order for which they were made, then the positional JSON
//! that the store gave for the row (`[key, …, id]`), in base 64. A cursor only ever becomes typed operands of a statement.

use klio_entities::klass::Value;
use klio_entities::klass::kind::Kind;
use serde_json::Value as Json;

use super::stored;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Appends a cursor's text. `keys` is the JSON array.
pub fn encode(order: u32, keys: &[u8], out: &mut Vec<u8>) {
    let mut bytes = Vec::with_capacity(keys.len() + 4);
    bytes.extend_from_slice(&order.to_be_bytes());
    bytes.extend_from_slice(keys);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]);
        }
    }
}

fn decode(text: &str) -> Option<(u32, Vec<Json>)> {
    if text.len() > 16_384 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    let (order, keys) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*order), serde_json::from_slice(keys).ok()?))
}

/// Which of a cursor's keys are null, as bits (the id is never). All bits: it is no cursor.
pub fn nulls(text: &str) -> u64 {
    match decode(text) {
        Some((_, keys)) if keys.len() <= 63 => keys
            .iter()
            .enumerate()
            .fold(0, |bits, (i, key)| bits | (u64::from(key.is_null()) << i)),
        _ => u64::MAX,
    }
}

/// Checks that a cursor is for this order, and tells which of its keys are null.
pub fn check(text: &str, order: u32, keys: usize) -> Result<Vec<bool>, String> {
    match decode(text) {
        Some((given, it)) if given == order && it.len() == keys + 1 => Ok(it[..keys].iter().map(Json::is_null).collect()),
        Some(_) => Err("the cursor was made for another order; cursors are good only with the `orderBy` with which they came.".into()),
        None => Err("this is not a cursor.".into()),
    }
}

/// An element of a cursor.
pub fn element(text: &str, order: u32, index: usize, kind: &Kind, scaled: bool) -> Result<Value, String> {
    match decode(text) {
        Some((given, keys)) if given == order => keys
            .get(index)
            .and_then(|json| stored::value(json, kind, scaled))
            .ok_or_else(|| "this is not a cursor of this list.".into()),
        Some(_) => Err("the cursor was made for another order; cursors are good only with the `orderBy` with which they came.".into()),
        None => Err("this is not a cursor.".into()),
    }
}

/// A hash of an order's description (FNV-1a): only to tell orders apart, not to keep anybody out.
pub fn order_hash(description: &str) -> u32 {
    description
        .bytes()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for keys in ["[\"a\",null,\"00\"]", "[1,\"ü\",\"0\"]", "[12,3,\"000\"]"] {
            let mut text = Vec::new();
            encode(7, keys.as_bytes(), &mut text);
            let text = String::from_utf8(text).expect("base 64");
            let (order, decoded) = decode(&text).expect("a cursor");
            assert_eq!((order, Json::Array(decoded).to_string()), (7, keys.to_owned()));
        }
    }

    #[test]
    fn another_orders_cursor_is_refused() {
        let mut text = Vec::new();
        encode(7, b"[null,\"0190163d8694739bb4bbdb4e7c1e2f55\"]", &mut text);
        let text = String::from_utf8(text).expect("base 64");
        assert_eq!(check(&text, 7, 1), Ok(vec![true]));
        assert!(check(&text, 8, 1).is_err());
        assert!(check(&text, 7, 2).is_err());
        assert!(check("garbage!", 7, 1).is_err());
        assert!(check("AAAA", 7, 1).is_err());
        assert_eq!(nulls(&text), 1);
        assert!(matches!(element(&text, 7, 1, &Kind::Id, false), Ok(Value::Id(_))));
        assert!(element(&text, 7, 1, &Kind::Date, false).is_err());
    }
}
