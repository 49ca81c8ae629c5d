//! The scalars of every schema, and what their values look like.

use crate::types::model::{ScalarType, Text};

/// A scalar: its name, what it is, and where its form is specified.
type Row = (&'static str, &'static str, Option<&'static str>);

/// The five that every GraphQL schema has.
pub const BUILT_IN: [Row; 5] = [
    ("ID", "An opaque id, such as `order_01j…`; serialised as a string.", None),
    ("String", "Text, UTF-8.", None),
    ("Int", "A whole number of 32 bits.", None),
    ("Float", "A double-precision number (IEEE 754).", None),
    ("Boolean", "`true` or `false`.", None),
];

/// Klio's own.
pub const OWN: [Row; 11] = [
    (
        "DateTime",
        "An instant, RFC 3339 in UTC, to the microsecond: `2026-11-24T13:05:04.123456Z`. Input may carry any offset.",
        Some("https://scalars.graphql.org/andimarek/date-time"),
    ),
    (
        "Date",
        "A day, ISO 8601: `2026-11-24`.",
        Some("https://scalars.graphql.org/andimarek/local-date"),
    ),
    (
        "Decimal",
        "An exact decimal number, written as a string so that no client rounds it: `\"12.50\"`. Input may be a string or a number.",
        None,
    ),
    (
        "BigInt",
        "A whole number of 64 bits, written as a string so that no client rounds it. Input may be a string or a number.",
        None,
    ),
    (
        "JSON",
        "Anything that JSON can say.",
        Some("https://www.rfc-editor.org/rfc/rfc8259"),
    ),
    ("URL", "An absolute URL.", Some("https://url.spec.whatwg.org/")),
    (
        "EmailAddress",
        "An e-mail address, kept as given and compared in lower case.",
        Some("https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address"),
    ),
    (
        "PhoneNumber",
        "A telephone number: `+` and digits.",
        Some("https://www.itu.int/rec/T-REC-E.164"),
    ),
    (
        "Cursor",
        "A position in the log of changes, opaque. Give it as `after` to a subscription to hear what happened since.",
        None,
    ),
    (
        "Duration",
        "A length of time, ISO 8601: `P7D`, `PT12H`.",
        Some("https://www.rfc-editor.org/rfc/rfc3339#appendix-A"),
    ),
    (
        "TimeZone",
        "The name of a time zone in the IANA database: `Europe/Berlin`.",
        Some("https://www.iana.org/time-zones"),
    ),
];

/// All of them.
pub fn all() -> impl Iterator<Item = ScalarType> {
    let row = |built_in| {
        move |&(name, description, specified_by): &Row| ScalarType {
            name: name.into(),
            description: Some(Text::Borrowed(description)),
            specified_by: specified_by.map(str::to_owned),
            built_in,
        }
    };
    BUILT_IN.iter().map(row(true)).chain(OWN.iter().map(row(false)))
}
