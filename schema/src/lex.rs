//! The tokens of a GraphQL document (October 2021, §2.1), one at a time, by reference.

use std::fmt;

use async_graphql_parser::Pos;

use crate::error::Error;
use crate::parse::syntax;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The end of the text.
    End,
    /// `{`, `...`, …
    Punctuator,
    /// A name or key word.
    Name,
    /// A whole number.
    Int,
    /// A number with a fraction or an exponent.
    Float,
    /// A string or block string, with its quotes.
    String,
}

/// A token.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Where it begins.
    pub pos: Pos,
}

impl Token<'_> {
    /// Stands before the first token.
    pub fn start() -> Self {
        Self {
            kind: Kind::End,
            text: "",
            pos: Pos { line: 1, column: 1 },
        }
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::End => f.write_str("<EOF>"),
            Kind::Punctuator => write!(f, "\"{}\"", self.text),
            Kind::Name => write!(f, "Name \"{}\"", self.text),
            Kind::Int => write!(f, "Int \"{}\"", self.text),
            Kind::Float => write!(f, "Float \"{}\"", self.text),
            Kind::String => f.write_str("String"),
        }
    }
}

/// Cuts a text into tokens.
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
    /// Bytes of the present line that do not begin a character: columns count characters.
    beyond_ascii: usize,
}

impl<'a> Lexer<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            line_start: 0,
            beyond_ascii: 0,
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at.min(self.text.len())..]
    }

    /// Goes over a byte of a comment, a string or white space.
    fn step(&mut self) {
        match self.byte() {
            Some(b'\n') => self.newline(1),
            Some(b'\r') => self.newline(if self.rest().get(1) == Some(&b'\n') { 2 } else { 1 }),
            Some(byte) => {
                self.beyond_ascii += usize::from(byte & 0xC0 == 0x80);
                self.at += 1;
            }
            None => {}
        }
    }

    fn newline(&mut self, bytes: usize) {
        self.at += bytes;
        self.line += 1;
        self.line_start = self.at;
        self.beyond_ascii = 0;
    }

    fn pos(&self) -> Pos {
        Pos {
            line: self.line,
            column: self.at - self.line_start - self.beyond_ascii + 1,
        }
    }

    /// The next token.
    pub fn next_token(&mut self) -> Result<Token<'a>, Error> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b',' | b'\n' | b'\r') => self.step(),
                Some(0xEF) if self.rest().starts_with("\u{feff}".as_bytes()) => {
                    self.at += 3;
                    self.beyond_ascii += 2;
                }
                Some(b'#') => {
                    while !matches!(self.byte(), None | Some(b'\n' | b'\r')) {
                        self.step();
                    }
                }
                _ => break,
            }
        }
        let (start, pos) = (self.at, self.pos());
        let kind = match self.byte() {
            None => Kind::End,
            Some(b'_' | b'a'..=b'z' | b'A'..=b'Z') => {
                while matches!(self.byte(), Some(b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9')) {
                    self.at += 1;
                }
                Kind::Name
            }
            Some(b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}') => {
                self.at += 1;
                Kind::Punctuator
            }
            Some(b'.') if self.rest().starts_with(b"...") => {
                self.at += 3;
                Kind::Punctuator
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'"') if self.rest().starts_with(b"\"\"\"") => self.block_string()?,
            Some(b'"') => self.string(pos)?,
            Some(_) => return Err(syntax(format!("Unexpected character: {}.", self.shown()), pos)),
        };
        Ok(Token {
            kind,
            text: &self.text[start..self.at],
            pos,
        })
    }

    /// The character here, as a message shows it.
    fn shown(&self) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => "<EOF>".to_owned(),
            Some(c) if c.is_control() => format!("U+{:04X}", u32::from(c)),
            Some(c) => format!("\"{c}\""),
        }
    }

    fn number(&mut self) -> Result<Kind, Error> {
        let mut kind = Kind::Int;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
            if matches!(self.byte(), Some(b'0'..=b'9')) {
                return Err(syntax(
                    format!("Invalid number, unexpected digit after 0: {}.", self.shown()),
                    self.pos(),
                ));
            }
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            kind = Kind::Float;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
            kind = Kind::Float;
        }
        if matches!(self.byte(), Some(b'.' | b'_' | b'a'..=b'z' | b'A'..=b'Z')) {
            return Err(syntax(
                format!("Invalid number, expected digit but got: {}.", self.shown()),
                self.pos(),
            ));
        }
        Ok(kind)
    }

    fn digits(&mut self) -> Result<(), Error> {
        if !matches!(self.byte(), Some(b'0'..=b'9')) {
            return Err(syntax(
                format!("Invalid number, expected digit but got: {}.", self.shown()),
                self.pos(),
            ));
        }
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self, pos: Pos) -> Result<Kind, Error> {
        self.at += 1;
        loop {
            match self.byte() {
                None | Some(b'\n' | b'\r') => return Err(syntax("Unterminated string.".into(), self.pos())),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Kind::String);
                }
                Some(b'\\') => {
                    self.at += 1;
                    if !matches!(self.byte(), None | Some(b'\n' | b'\r')) {
                        self.step();
                    }
                }
                Some(byte) if byte < 0x20 && byte != b'\t' => {
                    return Err(syntax(format!("Invalid character within String: {}.", self.shown()), pos));
                }
                Some(_) => self.step(),
            }
        }
    }

    fn block_string(&mut self) -> Result<Kind, Error> {
        self.at += 3;
        loop {
            if self.rest().starts_with(b"\"\"\"") {
                self.at += 3;
                return Ok(Kind::String);
            }
            if self.rest().starts_with(b"\\\"\"\"") {
                self.at += 4;
                continue;
            }
            if self.byte().is_none() {
                return Err(syntax("Unterminated string.".into(), self.pos()));
            }
            self.step();
        }
    }
}

/// The characters of a string or block string.
pub fn unquoted(text: &str, pos: Pos) -> Result<String, Error> {
    if let Some(inner) = text.strip_prefix("\"\"\"").and_then(|rest| rest.strip_suffix("\"\"\"")) {
        return Ok(block(&inner.replace("\\\"\"\"", "\"\"\"")));
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escape = chars.next().unwrap_or('\\');
        out.push(match escape {
            '"' | '\\' | '/' => escape,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => unicode(&mut chars, pos)?,
            other => return Err(syntax(format!("Invalid character escape sequence: \"\\{other}\"."), pos)),
        });
    }
    Ok(out)
}

/// `XXXX`, a pair of surrogates, or `{X…}`; the `\u` is behind.
fn unicode(chars: &mut std::str::Chars<'_>, pos: Pos) -> Result<char, Error> {
    let invalid = || syntax("Invalid Unicode escape sequence.".into(), pos);
    let first = point(chars).ok_or_else(invalid)?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first).ok_or_else(invalid);
    }
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(invalid());
    }
    let second = point(chars).filter(|it| (0xDC00..0xE000).contains(it)).ok_or_else(invalid)?;
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or_else(invalid)
}

fn point(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let rest = chars.as_str();
    let (digits, length) = match rest.strip_prefix('{') {
        Some(inner) => {
            let end = inner.find('}').filter(|&end| (1..=8).contains(&end))?;
            (&inner[..end], end + 2)
        }
        None => (rest.get(..4)?, 4),
    };
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    *chars = rest.get(length..)?.chars();
    u32::from_str_radix(digits, 16).ok()
}

/// BlockStringValue: common indentation and blank lines at both ends go.
fn block(raw: &str) -> String {
    let unified = raw.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = unified.split('\n').collect();
    let indent_of = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let blank = |line: &&str| indent_of(line) == line.len();
    let common = lines
        .iter()
        .skip(1)
        .filter(|line| !blank(line))
        .map(|line| indent_of(line))
        .min()
        .unwrap_or(0);
    let mut lines: Vec<&str> = lines
        .iter()
        .enumerate()
        .map(|(i, line)| if i == 0 { *line } else { line.get(common..).unwrap_or("") })
        .collect();
    let first = lines.iter().position(|line| !blank(line)).unwrap_or(lines.len());
    lines.drain(..first);
    while lines.last().is_some_and(blank) {
        lines.pop();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let read = |text: &str| unquoted(text, Pos::default()).map_err(|error| error.message);
        assert_eq!(read(r#""a\"\\\/\b\f\n\r\t""#).as_deref(), Ok("a\"\\/\u{8}\u{c}\n\r\t"));
        assert_eq!(read(r#""\u0041\uD83D\uDE00\u{1F600}""#).as_deref(), Ok("A😀😀"));
        for wrong in [
            r#""\u12""#,
            r#""\uD83D""#,
            r#""\uD83Dx""#,
            r#""\uDE00""#,
            r#""\u{}""#,
            r#""\u{110000}""#,
            r#""\x""#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            read("\"\"\"\n    Hello,\r\n      World!\n\n    Yours,\n      \\\"\"\"\n  \"\"\"").as_deref(),
            Ok("Hello,\n  World!\n\nYours,\n  \"\"\"")
        );
        assert_eq!(read("\"\"\"  first\n  second\"\"\"").as_deref(), Ok("  first\nsecond"));
        assert_eq!(read("\"\"\"\"\"\"").as_deref(), Ok(""));
    }
}
