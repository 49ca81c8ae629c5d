//! Cursors, whatever a client makes of them: none panics; one that was changed, or is another org's, is no cursor; one that is read is
//! written as it was.
#![no_main]

use klio_entities::klass::OrgId;
use klio_entities::store::cursor::{Cursor, FeedPosition, Own, StreamPosition};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Numbers out of bytes; zeros when they are used up.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn number(&mut self) -> u64 {
        let (head, rest) = self.0.split_at(self.0.len().min(8));
        self.0 = rest;
        head.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

fuzz_target!(|data: &[u8]| {
    let org = OrgId(Uuid::from_u128(1));
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(cursor) = Cursor::decode(text, org, SECRET)
    {
        assert_eq!(cursor.encode(org, SECRET), text);
    }
    let mut bytes = Bytes(data);
    let shape = bytes.number();
    let mut cursor = Cursor {
        epoch: bytes.number(),
        stream: (shape & 1 == 1).then(|| StreamPosition {
            hash: bytes.number(),
            seq: bytes.number() as i64,
        }),
        feed: None,
        part: (shape >> 8) as u16,
    };
    if shape & 2 == 2 {
        let own = match shape & 12 {
            0 => Own::NONE,
            4 => Own::all(bytes.number()),
            _ => Own {
                xid: bytes.number(),
                position: bytes.number() as i64,
            },
        };
        cursor.feed = Some(FeedPosition {
            xid: bytes.number(),
            position: bytes.number() as i64,
            own,
        });
    }
    let text = cursor.encode(org, SECRET);
    assert_eq!(Cursor::decode(&text, org, SECRET), Ok(cursor));
    assert!(Cursor::decode(&text, OrgId(Uuid::from_u128(2)), SECRET).is_err());
    let at = bytes.number() as usize % text.len();
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    assert!(Cursor::decode(&changed, org, SECRET).is_err(), "{text} {changed}");
});
