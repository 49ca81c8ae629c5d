//! Answers made comparable: ids, cursors and moments of now become names, the same one each time.

use std::collections::HashMap;

use serde_json::Value as Json;

/// Names given so far.
#[derive(Default)]
pub struct Names {
    ids: HashMap<String, String>,
    counts: HashMap<String, usize>,
}

impl Names {
    /// Replaces what differs from run to run, in place. `<customer 1>` is the first customer's id that came by.
    pub fn apply(&mut self, value: &mut Json) {
        match value {
            Json::String(text) => {
                if let Some(name) = self.name(text) {
                    *text = name;
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Json::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    if key.to_lowercase().ends_with("cursor") && value.is_string() {
                        *value = "<cursor>".into();
                    } else {
                        self.apply(value);
                    }
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    fn name(&mut self, text: &str) -> Option<String> {
        if is_now(text) {
            return Some("<now>".into());
        }
        let mut out = String::new();
        let mut rest = text;
        let mut found = false;
        // An id may stand alone or within a sentence.
        while let Some((at, len)) = find_id(rest) {
            found = true;
            let id = &rest[at..at + len];
            let prefix = &id[..len - 27];
            let name = self.ids.get(id).cloned().unwrap_or_else(|| {
                let count = self.counts.entry(prefix.to_owned()).or_default();
                *count += 1;
                let name = format!("<{prefix} {count}>");
                self.ids.insert(id.to_owned(), name.clone());
                name
            });
            out.push_str(&rest[..at]);
            out.push_str(&name);
            rest = &rest[at + len..];
        }
        out.push_str(rest);
        found.then_some(out)
    }
}

/// Where the first TypeID of a text begins, and how long it is.
fn find_id(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let base32 = |b: u8| b.is_ascii_digit() || (b.is_ascii_lowercase() && !matches!(b, b'i' | b'l' | b'o' | b'u'));
    for (at, _) in text.match_indices('_') {
        let suffix = bytes.get(at + 1..at + 27)?;
        if !suffix.iter().all(|&b| base32(b)) || suffix[0] > b'7' || bytes.get(at + 27).is_some_and(|&b| base32(b)) {
            continue;
        }
        let start = bytes[..at]
            .iter()
            .rposition(|b| !b.is_ascii_lowercase() && *b != b'_')
            .map_or(0, |i| i + 1);
        if start < at {
            return Some((start, at + 27 - start));
        }
    }
    None
}

/// A moment of today or yesterday, as the tests' own data never has.
fn is_now(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes[10] != b'T' || !text.ends_with('Z') {
        return false;
    }
    let days = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_secs() / 86400)
        .unwrap_or_default();
    [days, days.saturating_sub(1)].iter().any(|&d| text.starts_with(&date(d)))
}

/// A day's date from its number since 1970 (Howard Hinnant's civil_from_days: <https://howardhinnant.github.io/date_algorithms.html>).
fn date(days: u64) -> String {
    let z = days as i64 + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let y = yoe + era * 400 + i64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_moments_get_names() {
        let mut value = serde_json::json!([
            "customer_01h455vb4pex5vsknk084sn02q", "is held by customer_01h455vb4pex5vsknk084sn02q, not by order_01h455vb4pex5vsknk084sn02r",
            "plain_text", "2001-01-01T00:00:00Z", {"endCursor": "abc"}
        ]);
        Names::default().apply(&mut value);
        assert_eq!(
            value,
            serde_json::json!(["<customer 1>", "is held by <customer 1>, not by <order 1>", "plain_text", "2001-01-01T00:00:00Z", {"endCursor": "<cursor>"}])
        );
        assert_eq!(date(20_000), "2024-10-04");
    }
}
