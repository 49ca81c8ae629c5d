//! What a response tells of an error: every code here and nowhere else; `api` gives each its HTTP status.

use async_graphql_parser::Pos;
use klio_entities::klass::Fault;
use klio_entities::klass::fault;

/// How many errors one response tells at most; a document with ten thousand mistakes is not answered with ten thousand sentences.
pub const MAX_ERRORS: usize = 20;

/// `errors[].extensions.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The text is not a GraphQL document.
    ParseFailed,
    /// The document does not fit the schema.
    ValidationFailed,
    /// A variable, argument, id or cursor is not acceptable.
    BadInput,
    /// Nobody known asks.
    Unauthenticated,
    /// The role does not allow it.
    Forbidden,
    /// No such object.
    NotFound,
    /// The object is not as the caller believed.
    Conflict,
    /// A limit on documents is exceeded, or the cost of one.
    TooCostly,
    /// Too much in too short a time; `extensions.retryAfter` says in how many seconds to try again.
    RateLimited,
    /// The operation of this name is not in the document, or none is named where several are.
    UnknownOperation,
    /// The kind of operation is not allowed on this way in (a mutation by GET).
    OperationNotAllowed,
    /// It took too long.
    Timeout,
    /// The database is away.
    Unavailable,
    /// Our fault; the log knows more.
    Internal,
}

impl Code {
    /// As it is written in a response.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Code::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Code::BadInput => "BAD_INPUT",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::Conflict => "CONFLICT",
            Code::TooCostly => "TOO_COSTLY",
            Code::RateLimited => "RATE_LIMITED",
            Code::UnknownOperation => "UNKNOWN_OPERATION",
            Code::OperationNotAllowed => "OPERATION_NOT_ALLOWED",
            Code::Timeout => "TIMEOUT",
            Code::Unavailable => "UNAVAILABLE",
            Code::Internal => "INTERNAL",
        }
    }
}

/// The code of a fault that ends a request or a field. (Faults of a mutation's input are data of its payload instead.)
impl From<fault::Code> for Code {
    fn from(code: fault::Code) -> Self {
        match code {
            fault::Code::BadInput | fault::Code::Required | fault::Code::Breaking | fault::Code::TooMany => Code::BadInput,
            fault::Code::NotFound => Code::NotFound,
            fault::Code::Forbidden => Code::Forbidden,
            fault::Code::Duplicate | fault::Code::Conflict | fault::Code::Restricted | fault::Code::IdempotencyMismatch => Code::Conflict,
        }
    }
}

/// A step of `errors[].path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A response key.
    Key(String),
    /// A place in a list.
    Index(usize),
}

/// One error of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// A sentence, fit for whoever asked: never an internal message.
    pub message: String,
    /// Its code.
    pub code: Code,
    /// Places in the document.
    pub locations: Vec<Pos>,
    /// The field in the response, for errors of execution.
    pub path: Vec<Segment>,
    /// More of `extensions`.
    pub extensions: Vec<(&'static str, serde_json::Value)>,
}

impl Error {
    /// An error without a place.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code,
            locations: Vec::new(),
            path: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// A `BAD_INPUT`.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(Code::BadInput, message)
    }

    /// The document does not fit the schema, at these places.
    pub fn invalid(message: impl Into<String>, at: impl IntoIterator<Item = Pos>) -> Self {
        let mut error = Self::new(Code::ValidationFailed, message);
        error.locations.extend(at);
        error
    }

    /// Our fault: the message goes to the log, the caller gets a plain sentence.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(error = %what, "internal error");
        Self::new(Code::Internal, "Something went wrong inside the gateway; it is in its log.")
    }

    /// Tells it in other words.
    pub fn retold(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Adds a place in the document.
    pub fn at(mut self, pos: Pos) -> Self {
        self.locations.push(pos);
        self
    }

    /// Says which field it befell.
    pub fn on(mut self, path: Vec<Segment>) -> Self {
        self.path = path;
        self
    }

    /// Adds to `extensions`.
    pub fn with(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.extensions.push((name, value.into()));
        self
    }

    /// Appends the error as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"message\":");
        write_string(out, &self.message);
        if !self.locations.is_empty() {
            out.extend_from_slice(b",\"locations\":[");
            for (i, pos) in self.locations.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(format!("{{\"line\":{},\"column\":{}}}", pos.line, pos.column).as_bytes());
            }
            out.push(b']');
        }
        if !self.path.is_empty() {
            out.extend_from_slice(b",\"path\":[");
            for (i, segment) in self.path.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                match segment {
                    Segment::Key(key) => write_string(out, key),
                    Segment::Index(index) => out.extend_from_slice(index.to_string().as_bytes()),
                }
            }
            out.push(b']');
        }
        out.extend_from_slice(b",\"extensions\":{\"code\":\"");
        out.extend_from_slice(self.code.as_str().as_bytes());
        out.push(b'"');
        for (name, value) in &self.extensions {
            out.push(b',');
            write_string(out, name);
            out.push(b':');
            out.extend_from_slice(value.to_string().as_bytes());
        }
        out.extend_from_slice(b"}}");
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code.into(), fault.to_string())
    }
}

/// Appends `[error, …]`, at most [`MAX_ERRORS`] of them.
pub fn write_errors(out: &mut Vec<u8>, errors: &[Error]) {
    out.push(b'[');
    for (i, error) in errors.iter().take(MAX_ERRORS).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        error.write(out);
    }
    out.push(b']');
}

/// Appends a text as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean..i]);
        clean = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[clean..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_as_json() {
        let mut out = Vec::new();
        let error = Error::bad("no \"such\"\nthing\u{1}")
            .at(Pos { line: 2, column: 7 })
            .on(vec![Segment::Key("a".into()), Segment::Index(3)])
            .with("limit", 5);
        write_errors(&mut out, &[error]);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"[{"message":"no \"such\"\nthing\u0001","locations":[{"line":2,"column":7}],"path":["a",3],"extensions":{"code":"BAD_INPUT","limit":5}}]"#
        );
    }
}
