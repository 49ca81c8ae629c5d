//! A place in the log, as clients hold it: opaque, authenticated, bound to an org.
//!
//! A cursor holds the log's epoch and one or two positions: in a stream (a sequence number) and in the org's feed. One from a
//! mutation or a page holds both, so it serves the stream of the object and a subscription to a whole klass alike.
//!
//! An event may make several messages; a cursor between two of them stands before the event and says how many of them were told.
//!
//! Layout, before base 64 (URL alphabet, no padding): version (1 byte), flags (1), epoch (8), then if flagged stream hash (8) and
//! sequence (8), then if flagged transaction (8), position (8), own transaction (8) and, if flagged, the position within it (8), then
//! if flagged the messages told (2); then 12 bytes of HMAC-SHA-256 over the org and all of that. Whole numbers are big-endian.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::klass::OrgId;

const VERSION: u8 = 1;
const HAS_STREAM: u8 = 1;
const HAS_FEED: u8 = 2;
const HAS_PART: u8 = 4;
const HAS_OWN_PLACE: u8 = 8;
const MAC: usize = 12;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Identity of the log: another one means that what the client saw may not be what there is.
    pub epoch: u64,
    /// Place in a stream.
    pub stream: Option<StreamPosition>,
    /// Place in the org's feed.
    pub feed: Option<FeedPosition>,
    /// How many messages of the event that follows have been told already.
    pub part: u16,
}

/// Place in a stream: everything up to `seq` has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamPosition {
    /// Of the stream's name; see [`stream_hash`].
    pub hash: u64,
    /// The last event seen; 0: none.
    pub seq: i64,
}

/// Place in the feed of an org: everything up to `(xid, position)` has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedPosition {
    /// Postgres: an event's `xid`; 0 on SQLite.
    pub xid: u64,
    /// Within it; on SQLite the row id.
    pub position: i64,
    /// What has been seen too, though it lies ahead of this place.
    pub own: Own,
}

/// A writer's own events: those of one transaction, up to a position. (A transaction may hold the writes of several callers.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Own {
    /// The transaction; 0: none.
    pub xid: u64,
    /// The last position in it that has been seen.
    pub position: i64,
}

impl Own {
    /// Nothing lies ahead.
    pub const NONE: Own = Own { xid: 0, position: 0 };

    /// All of a transaction.
    pub fn all(xid: u64) -> Own {
        Own { xid, position: i64::MAX }
    }

    /// Whether what stands at `(xid, position)` is part of it.
    pub fn has(&self, xid: u64, position: i64) -> bool {
        self.xid != 0 && self.xid == xid && position <= self.position
    }

    /// What of it still lies ahead of a place with this transaction number.
    pub fn ahead_of(self, xid: u64) -> Own {
        if self.xid > xid { self } else { Own::NONE }
    }
}

/// Why a text is not a cursor of this org.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor of this org's log")]
pub struct NotACursor;

/// Hash of a stream's name within a cursor.
pub fn stream_hash(stream: &str) -> u64 {
    let digest = Sha256::digest(stream.as_bytes());
    digest[..8].iter().fold(0, |n, &b| (n << 8) | u64::from(b))
}

impl Cursor {
    /// No place at all.
    pub const NOWHERE: Cursor = Cursor {
        epoch: 0,
        stream: None,
        feed: None,
        part: 0,
    };

    /// The text for clients.
    pub fn encode(&self, org: OrgId, secret: &[u8]) -> String {
        let mut out = Vec::with_capacity(70);
        let own_place = self
            .feed
            .is_some_and(|feed| feed.own != Own::all(feed.own.xid) && feed.own != Own::NONE);
        out.push(VERSION);
        out.push(
            if self.stream.is_some() { HAS_STREAM } else { 0 }
                | if self.feed.is_some() { HAS_FEED } else { 0 }
                | if self.part > 0 { HAS_PART } else { 0 }
                | if own_place { HAS_OWN_PLACE } else { 0 },
        );
        out.extend(self.epoch.to_be_bytes());
        if let Some(stream) = &self.stream {
            out.extend(stream.hash.to_be_bytes());
            out.extend(stream.seq.to_be_bytes());
        }
        if let Some(feed) = &self.feed {
            out.extend(feed.xid.to_be_bytes());
            out.extend(feed.position.to_be_bytes());
            out.extend(feed.own.xid.to_be_bytes());
            if own_place {
                out.extend(feed.own.position.to_be_bytes());
            }
        }
        if self.part > 0 {
            out.extend(self.part.to_be_bytes());
        }
        let mac = mac(org, secret, &out).finalize().into_bytes();
        out.extend(&mac[..MAC]);
        URL_SAFE_NO_PAD.encode(out)
    }

    /// Reads what [`Cursor::encode`] wrote for the same org with the same secret.
    pub fn decode(text: &str, org: OrgId, secret: &[u8]) -> Result<Cursor, NotACursor> {
        if text.len() > 128 {
            return Err(NotACursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let body = bytes.len().checked_sub(MAC).ok_or(NotACursor)?;
        let (body, told) = bytes.split_at(body);
        mac(org, secret, body).verify_truncated_left(told).map_err(|_| NotACursor)?;
        let mut rest = body;
        let [version, flags] = take(&mut rest)?;
        if version != VERSION {
            return Err(NotACursor);
        }
        let epoch = u64::from_be_bytes(take(&mut rest)?);
        let stream = if flags & HAS_STREAM != 0 {
            Some(StreamPosition {
                hash: u64::from_be_bytes(take(&mut rest)?),
                seq: i64::from_be_bytes(take(&mut rest)?),
            })
        } else {
            None
        };
        let feed = if flags & HAS_FEED != 0 {
            Some(FeedPosition {
                xid: u64::from_be_bytes(take(&mut rest)?),
                position: i64::from_be_bytes(take(&mut rest)?),
                own: match u64::from_be_bytes(take(&mut rest)?) {
                    xid if flags & HAS_OWN_PLACE != 0 => Own {
                        xid,
                        position: i64::from_be_bytes(take(&mut rest)?),
                    },
                    0 => Own::NONE,
                    xid => Own::all(xid),
                },
            })
        } else {
            None
        };
        let part = if flags & HAS_PART != 0 {
            u16::from_be_bytes(take(&mut rest)?)
        } else {
            0
        };
        if !rest.is_empty() {
            return Err(NotACursor);
        }
        Ok(Cursor { epoch, stream, feed, part })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NotACursor> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(NotACursor)?;
    *rest = tail;
    Ok(*head)
}

fn mac(org: OrgId, secret: &[u8], body: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length, so this cannot err.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!());
    mac.update(org.0.as_bytes());
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn org(n: u128) -> OrgId {
        OrgId(Uuid::from_u128(n))
    }

    fn cursors() -> Vec<Cursor> {
        let stream = StreamPosition {
            hash: stream_hash("c:x"),
            seq: 7,
        };
        let feed = |own| {
            Some(FeedPosition {
                xid: u64::MAX,
                position: -1,
                own,
            })
        };
        let mut all = Vec::new();
        for stream in [None, Some(stream)] {
            for feed in [None, feed(Own::all(3)), feed(Own::NONE), feed(Own { xid: 3, position: 7 })] {
                for part in [0, 3] {
                    all.push(Cursor {
                        epoch: 42,
                        stream,
                        feed,
                        part,
                    });
                }
            }
        }
        all
    }

    #[test]
    fn comes_back() {
        for cursor in cursors() {
            let text = cursor.encode(org(1), b"secret");
            assert!(text.len() <= 128);
            assert_eq!(Cursor::decode(&text, org(1), b"secret"), Ok(cursor));
        }
    }

    #[test]
    fn is_of_one_org_and_one_secret() {
        let text = cursors()[7].encode(org(1), b"secret");
        assert_eq!(Cursor::decode(&text, org(2), b"secret"), Err(NotACursor));
        assert_eq!(Cursor::decode(&text, org(1), b"other"), Err(NotACursor));
    }

    #[test]
    fn no_bit_can_be_changed() {
        let text = cursors()[7].encode(org(1), b"secret");
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for i in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[i / 8] ^= 1 << (i % 8);
            assert_eq!(
                Cursor::decode(&URL_SAFE_NO_PAD.encode(forged), org(1), b"secret"),
                Err(NotACursor),
                "bit {i}"
            );
        }
        for odd in ["", "x", "AAAA", "é", &"A".repeat(1000)] {
            assert_eq!(Cursor::decode(odd, org(1), b"secret"), Err(NotACursor));
        }
    }
}
