//! JSON text as a flat list of nodes: one pass, no allocation per value, and then any element is found without reading the text again.

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array; its elements follow.
    Array,
    /// An object; its names and values follow in turn.
    Object,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    end: u32,
    /// The node behind this one and all beneath it.
    next: u32,
    tag: Tag,
}

/// A text and its nodes. The root is node 0.
#[derive(Debug)]
pub struct Tape {
    text: bytes::Bytes,
    nodes: Vec<Node>,
}

/// The text is not JSON (the byte at which that shows).
#[derive(Debug, thiserror::Error)]
#[error("an answer of the store is not JSON at byte {0}")]
pub struct NotJson(usize);

/// How deep arrays and objects may lie within each other: a free-form JSON property may not make us run out of stack.
const MAX_DEPTH: usize = 512;

impl Tape {
    /// Reads a text. It comes from a database that made it, so scalars are taken as they stand.
    pub fn read(text: bytes::Bytes) -> Result<Self, NotJson> {
        if u32::try_from(text.len()).is_err() {
            return Err(NotJson(u32::MAX as usize));
        }
        let mut nodes = Vec::with_capacity(text.len() / 8 + 4);
        let mut open: Vec<u32> = Vec::with_capacity(16);
        let bytes = text.as_ref();
        let mut i = 0;
        loop {
            // Separators carry no meaning to us: a database writes well-formed text, and positions say the rest.
            while i < bytes.len() && matches!(bytes[i], b' ' | b'\n' | b'\r' | b'\t' | b',' | b':') {
                i += 1;
            }
            let Some(&byte) = bytes.get(i) else {
                return Err(NotJson(i));
            };
            let start = i as u32;
            match byte {
                b'[' | b'{' => {
                    if open.len() >= MAX_DEPTH {
                        return Err(NotJson(i));
                    }
                    open.push(nodes.len() as u32);
                    nodes.push(Node {
                        start,
                        end: start,
                        next: 0,
                        tag: if byte == b'[' { Tag::Array } else { Tag::Object },
                    });
                    i += 1;
                    continue;
                }
                b']' | b'}' => {
                    let Some(index) = open.pop() else {
                        return Err(NotJson(i));
                    };
                    i += 1;
                    let next = nodes.len() as u32;
                    let node: &mut Node = &mut nodes[index as usize];
                    node.end = i as u32;
                    node.next = next;
                }
                b'"' => {
                    i += 1;
                    loop {
                        match bytes.get(i) {
                            None => return Err(NotJson(i)),
                            Some(b'"') => break,
                            Some(b'\\') => i += 2,
                            Some(_) => i += 1,
                        }
                    }
                    i += 1;
                    push(&mut nodes, start, i, Tag::String);
                }
                b't' | b'f' | b'n' => {
                    let (word, tag): (&[u8], Tag) = match byte {
                        b't' => (b"true", Tag::True),
                        b'f' => (b"false", Tag::False),
                        _ => (b"null", Tag::Null),
                    };
                    if !bytes[i..].starts_with(word) {
                        return Err(NotJson(i));
                    }
                    i += word.len();
                    push(&mut nodes, start, i, tag);
                }
                b'-' | b'0'..=b'9' => {
                    while i < bytes.len() && matches!(bytes[i], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                        i += 1;
                    }
                    push(&mut nodes, start, i, Tag::Number);
                }
                _ => return Err(NotJson(i)),
            }
            if open.is_empty() {
                break;
            }
        }
        if bytes[i..].iter().any(|b| !b.is_ascii_whitespace()) {
            return Err(NotJson(i));
        }
        Ok(Self { text, nodes })
    }

    /// What a node is.
    pub fn tag(&self, node: usize) -> Tag {
        self.nodes[node].tag
    }

    /// Its text: a string with its quotes, escapes as they are.
    pub fn raw(&self, node: usize) -> &[u8] {
        let node = &self.nodes[node];
        &self.text[node.start as usize..node.end as usize]
    }

    /// Its text as text (the store answers UTF-8; anything else is shown as replacement characters).
    pub fn text(&self, node: usize) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.raw(node))
    }

    /// A string's characters, escapes undone.
    pub fn string(&self, node: usize) -> Option<std::borrow::Cow<'_, str>> {
        if self.tag(node) != Tag::String {
            return None;
        }
        let raw = self.raw(node);
        let inner = &raw[1..raw.len() - 1];
        if inner.contains(&b'\\') {
            return serde_json::from_slice::<String>(raw).ok().map(Into::into);
        }
        Some(String::from_utf8_lossy(inner))
    }

    /// The elements of an array; of anything else none.
    pub fn elements(&self, node: usize) -> Elements<'_> {
        let it = &self.nodes[node];
        let (at, end) = if it.tag == Tag::Array {
            (node + 1, it.next as usize)
        } else {
            (0, 0)
        };
        Elements { tape: self, at, end }
    }

    /// The element at an index of an array.
    pub fn element(&self, node: usize, index: usize) -> Option<usize> {
        self.elements(node).nth(index)
    }

    /// The value of this name in an object.
    pub fn member(&self, node: usize, name: &str) -> Option<usize> {
        let it = &self.nodes[node];
        if it.tag != Tag::Object {
            return None;
        }
        let mut at = node + 1;
        while at < it.next as usize {
            let value = self.behind(at);
            if self.string(at).is_some_and(|n| n == name) {
                return Some(value);
            }
            at = self.behind(value);
        }
        None
    }

    fn behind(&self, node: usize) -> usize {
        let it = &self.nodes[node];
        match it.tag {
            Tag::Array | Tag::Object => it.next as usize,
            _ => node + 1,
        }
    }
}

fn push(nodes: &mut Vec<Node>, start: u32, end: usize, tag: Tag) {
    nodes.push(Node {
        start,
        end: end as u32,
        next: 0,
        tag,
    });
}

/// Walks the elements of an array.
#[derive(Clone)]
pub struct Elements<'a> {
    tape: &'a Tape,
    at: usize,
    end: usize,
}

impl Iterator for Elements<'_> {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        if self.at >= self.end {
            return None;
        }
        let node = self.at;
        self.at = self.tape.behind(node);
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape(text: &'static str) -> Tape {
        Tape::read(bytes::Bytes::from_static(text.as_bytes())).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn finds_any_element() {
        let it = tape(r#" [1, ["a\"b", null, []], {"x": [2], "y\n": -1.5e3}, true] "#);
        let texts: Vec<String> = it.elements(0).map(|n| it.text(n).into_owned()).collect();
        assert_eq!(texts, ["1", r#"["a\"b", null, []]"#, r#"{"x": [2], "y\n": -1.5e3}"#, "true"]);
        let list = it.element(0, 1).expect("there are four");
        assert_eq!(it.string(list + 1).as_deref(), Some("a\"b"));
        let object = it.element(0, 2).expect("there are four");
        assert_eq!(it.member(object, "y\n").map(|n| it.text(n).into_owned()).as_deref(), Some("-1.5e3"));
        assert_eq!(it.member(object, "z"), None);
        assert_eq!(it.elements(it.element(list, 2).expect("three")).count(), 0);
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in ["", "[", "[1", "]", "nul", "[1]x", "\"a", "{\"a\":1", "1 2"] {
            assert!(Tape::read(bytes::Bytes::from_static(text.as_bytes())).is_err(), "{text}");
        }
        let deep = "[".repeat(600) + &"]".repeat(600);
        assert!(Tape::read(deep.into()).is_err());
    }
}
