//! Contact points: their forms, and the one form in which they are compared.

use super::filter::ContactKind;

/// The form in which a contact point is stored in `contact_point` and looked up: e-mail addresses in lower case, telephone
/// numbers as `+` and digits, external ids as they are. `None` when it is no such thing.
pub fn normalise(kind: ContactKind, text: &str) -> Option<String> {
    match kind {
        ContactKind::Email => email(text).map(|e| e.to_lowercase()),
        ContactKind::Phone => phone(text),
        ContactKind::ExternalId => {
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        }
    }
}

/// An e-mail address without surrounding blanks, as given otherwise; `None` when it is none. The form is checked, not the mailbox:
/// something before the last `@` (at most 64 bytes), a host behind it, 254 bytes in all, no blanks.
pub fn email(text: &str) -> Option<String> {
    let text = text.trim();
    let (local, host) = text.rsplit_once('@')?;
    let host_ok = !host.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        });
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c));
    (host_ok && local_ok && text.len() <= 254).then(|| text.to_owned())
}

/// A telephone number as `+` and its digits; `None` when it is none. Blanks, brackets, dots, hyphens and slashes fall away, a
/// leading `00` is a `+`. A number without country code keeps its digits alone: we do not guess a country.
pub fn phone(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let (plus, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => match text.strip_prefix("00") {
            Some(rest) => (true, rest),
            None => (false, text),
        },
    };
    let mut digits = String::with_capacity(rest.len() + 1);
    if plus {
        digits.push('+');
    }
    for c in rest.chars() {
        match c {
            '0'..='9' => digits.push(c),
            ' ' | '\u{a0}' | '(' | ')' | '.' | '-' | '/' | '\u{2010}' | '\u{2011}' | '\u{2013}' => {}
            _ => return None,
        }
    }
    let count = digits.len() - usize::from(plus);
    // E.164 allows 15 digits; short codes have three
    (3..=15).contains(&count).then_some(digits)
}
