//! What the shape calls a leaf: a scalar, an enum, a title, out of an answer of the store.

use super::leaf;
use super::tape::{Tag, Tape};
use super::write::Answer;
use crate::error::write_string;
use crate::plan::cursor;
use crate::plan::shape::{ActorPart, Leaf, TitlePiece};

/// Appends a scalar; `None`: the stored value is not of that kind.
pub(super) fn scalar(leaf: &Leaf, tape: &Tape, at: usize, out: &mut Vec<u8>) -> Option<()> {
    let raw = tape.raw(at);
    let tag = tape.tag(at);
    match leaf {
        Leaf::Raw => out.extend_from_slice(raw),
        Leaf::Int => {
            let number = whole(raw, tag)?;
            i32::try_from(number).ok()?;
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Leaf::BigInt => {
            let number = whole(raw, tag)?;
            out.extend_from_slice(format!("\"{number}\"").as_bytes());
        }
        Leaf::Float => match tag {
            // Postgres writes an average as `3.0000000000000000`, SQLite as `3.0`.
            Tag::Number => {
                let number: f64 = std::str::from_utf8(raw).ok()?.parse().ok()?;
                serde_json::to_writer(&mut *out, &number).ok()?;
            }
            _ => return None,
        },
        Leaf::Boolean => out.extend_from_slice(match (tag, raw) {
            (Tag::True, _) | (Tag::Number, b"1") => b"true",
            (Tag::False, _) | (Tag::Number, b"0") => &b"false"[..],
            _ => return None,
        }),
        Leaf::Decimal(scale) => {
            out.push(b'"');
            match tag {
                Tag::Number => leaf::decimal(out, std::str::from_utf8(raw).ok()?, *scale)?,
                Tag::String => leaf::decimal(out, &tape.string(at)?, 0)?,
                _ => return None,
            }
            out.push(b'"');
        }
        Leaf::DateTime => {
            out.push(b'"');
            match tag {
                Tag::Number => leaf::micros(out, whole(raw, tag)?)?,
                Tag::String => leaf::instant_text(out, &tape.string(at)?)?,
                _ => return None,
            }
            out.push(b'"');
        }
        Leaf::Id(prefix) => leaf::id(out, prefix, raw)?,
        Leaf::Enum(values) => {
            let stored = tape.string(at)?;
            let (_, legal) = values.iter().find(|(value, _)| *value == stored)?;
            write_string(out, legal);
        }
        Leaf::Actor(part) => {
            let text = tape.string(at)?;
            let mut parts = text.splitn(3, ':');
            let (kind, id, name) = (parts.next()?, parts.next()?, parts.next()?);
            match part {
                ActorPart::Kind => write_string(out, &kind.to_uppercase()),
                ActorPart::Id if id == NIL => out.extend_from_slice(b"null"),
                ActorPart::Id => write_string(out, id),
                ActorPart::Name => write_string(out, name),
            }
        }
        Leaf::Cursor(order) => {
            out.push(b'"');
            cursor::encode(*order, raw, out);
            out.push(b'"');
        }
        Leaf::Title(_) => return None,
    }
    Some(())
}

/// The id of the gateway itself, which has none.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

fn whole(raw: &[u8], tag: Tag) -> Option<i64> {
    let text = std::str::from_utf8(raw).ok()?;
    match tag {
        Tag::Number => match text.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole.parse().ok(),
            Some(_) => None,
            None => text.parse().ok(),
        },
        // A whole number in a list of big ones.
        Tag::String => text.trim_matches('"').parse().ok(),
        _ => None,
    }
}

/// How an object is named: its template filled in; the id if nothing in it has a value.
pub(super) fn title(pieces: &[TitlePiece], answer: &Answer, at: usize) -> String {
    let elements: smallvec::SmallVec<[usize; 32]> = answer.tape.elements(at).collect();
    let tape = &answer.tape;
    let plain = |index: usize, leaf: &Leaf| -> Option<String> {
        let at = *elements.get(index)?;
        if tape.tag(at) == Tag::Null {
            return None;
        }
        let mut out = Vec::new();
        scalar(leaf, tape, at, &mut out)?;
        let text = match serde_json::from_slice::<serde_json::Value>(&out).ok()? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        (!text.is_empty()).then_some(text)
    };
    let (mut out, mut any) = (String::new(), false);
    let mut fallback = None;
    let mut asked = false;
    for piece in pieces {
        match piece {
            TitlePiece::Text(text) => out.push_str(text),
            TitlePiece::Value(index, leaf) => {
                asked = true;
                if let Some(text) = plain(*index, leaf) {
                    any = true;
                    out.push_str(&text);
                }
            }
            TitlePiece::Money(index, scale) => {
                asked = true;
                let mut parts = elements.get(*index).into_iter().flat_map(|&at| tape.elements(at));
                if let (Some(amount), Some(currency)) = (parts.next(), parts.next()) {
                    let mut text = Vec::new();
                    if leaf::decimal(&mut text, &tape.text(amount), *scale).is_some() {
                        any = true;
                        out.push_str(&String::from_utf8_lossy(&text));
                        out.push(' ');
                        out.push_str(&tape.string(currency).unwrap_or_default());
                    }
                }
            }
            TitlePiece::Fallback(index, leaf) => fallback = plain(*index, leaf),
        }
    }
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    if (asked && !any) || out.is_empty() {
        fallback.unwrap_or(out)
    } else {
        out
    }
}
