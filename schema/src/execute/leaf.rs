//! Scalars as a response writes them, out of scalars as the store writes them.

use chrono::{DateTime, Datelike, Timelike, Utc};
use klio_entities::klass::id::encode_base32;
use uuid::Uuid;

use crate::plan::coerce;
use crate::plan::stored;

/// Appends an object's id, with quotes. `hex` may have hyphens.
pub fn id(out: &mut Vec<u8>, prefix: &str, hex: &[u8]) -> Option<()> {
    let id = uuid(hex)?;
    let mut text = String::with_capacity(prefix.len() + 29);
    text.push('"');
    text.push_str(prefix);
    text.push('_');
    encode_base32(id, &mut text);
    text.push('"');
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// An id out of hexadecimal digits, with or without hyphens and quotes.
pub fn uuid(hex: &[u8]) -> Option<Uuid> {
    let (mut bits, mut digits) = (0u128, 0);
    for &byte in hex {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'-' | b'"' => continue,
            _ => return None,
        };
        bits = (bits << 4) | u128::from(digit);
        digits += 1;
    }
    (digits == 32).then(|| Uuid::from_u128(bits))
}

/// Appends a decimal without needless zeros: from an integer that is scaled, or from a plain number (`scale` 0).
pub fn decimal(out: &mut Vec<u8>, number: &str, scale: u32) -> Option<()> {
    if number.bytes().any(|b| matches!(b, b'e' | b'E')) {
        let mut value = coerce::decimal(number)?;
        if scale > 0 {
            value = value.checked_div(rust_decimal::Decimal::from(10i64.checked_pow(scale)?))?;
        }
        out.extend_from_slice(value.normalize().to_string().as_bytes());
        return Some(());
    }
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number),
    };
    // A scaled amount that a function made fractional (no such is asked for) is not silently cut.
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, fraction)) if scale > 0 && fraction.bytes().any(|b| b != b'0') => return None,
        Some((whole, _)) if scale > 0 => (whole, None),
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = scale as usize;
    let (whole, fraction) = if scale > 0 {
        if whole.len() > scale {
            (whole[..whole.len() - scale].to_owned(), whole[whole.len() - scale..].to_owned())
        } else {
            ("0".to_owned(), format!("{whole:0>scale$}"))
        }
    } else {
        (whole.to_owned(), fraction.unwrap_or_default().to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if !(whole.is_empty() && fraction.is_empty()) {
        out.extend_from_slice(sign.as_bytes());
    }
    out.extend_from_slice(if whole.is_empty() { "0" } else { whole }.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    Some(())
}

/// Appends an instant given as microseconds since 1970.
pub fn micros(out: &mut Vec<u8>, micros: i64) -> Option<()> {
    instant(out, DateTime::from_timestamp_micros(micros)?);
    Some(())
}

/// Appends an instant given as text, by Postgres or by RFC 3339.
pub fn instant_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    let bytes = text.as_bytes();
    // The common form, to be shortened only: 2026-11-24T13:05:04.123456+00:00
    if bytes.len() >= 19 && bytes[4] == b'-' && bytes[13] == b':' && matches!(bytes[10], b'T' | b' ') {
        let (fraction, offset) = match text[19..].strip_prefix('.') {
            Some(rest) => rest.split_at(rest.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("", &text[19..]),
        };
        if matches!(offset, "Z" | "+00:00" | "+00" | "") && fraction.len() <= 6 {
            out.extend_from_slice(&bytes[..10]);
            out.push(b'T');
            out.extend_from_slice(&bytes[11..19]);
            push_fraction(out, fraction);
            out.push(b'Z');
            return Some(());
        }
    }
    instant(out, stored::instant_of_text(text)?);
    Some(())
}

fn push_fraction(out: &mut Vec<u8>, fraction: &str) {
    let needed = fraction.trim_end_matches('0').len();
    if needed == 0 {
        return;
    }
    out.push(b'.');
    let digits = if needed <= 3 { 3 } else { 6 };
    let given = &fraction.as_bytes()[..fraction.len().min(digits)];
    out.extend_from_slice(given);
    out.resize(out.len() + digits - given.len(), b'0');
}

/// Appends an instant: with milliseconds or microseconds if it has any.
pub fn instant(out: &mut Vec<u8>, at: DateTime<Utc>) {
    let two = |out: &mut Vec<u8>, n: u32| out.extend_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
    if (0..=9999).contains(&at.year()) {
        two(out, at.year() as u32 / 100);
        two(out, at.year() as u32 % 100);
    } else {
        out.extend_from_slice(format!("{:+05}", at.year()).as_bytes());
    }
    for (mark, number) in [
        (b'-', at.month()),
        (b'-', at.day()),
        (b'T', at.hour()),
        (b':', at.minute()),
        (b':', at.second()),
    ] {
        out.push(mark);
        two(out, number);
    }
    let micros = at.timestamp_subsec_micros().min(999_999);
    if micros > 0 {
        push_fraction(out, &format!("{micros:06}"));
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(f: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<String> {
        let mut out = Vec::new();
        f(&mut out)?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn decimals() {
        for (number, scale, expected) in [
            ("12500000", 6, Some("12.5")),
            ("-1", 6, Some("-0.000001")),
            ("0", 4, Some("0")),
            ("-0", 4, Some("0")),
            ("12.50", 0, Some("12.5")),
            ("100", 0, Some("100")),
            ("-0.50", 0, Some("-0.5")),
            ("1e3", 0, Some("1000")),
            ("25000000.0", 6, Some("25")),
            ("25000000.5", 6, None),
            ("abc", 0, None),
        ] {
            assert_eq!(text(|out| decimal(out, number, scale)).as_deref(), expected, "{number}");
        }
    }

    #[test]
    fn instants() {
        for (given, expected) in [
            ("2026-11-24T13:05:04.123456+00:00", Some("2026-11-24T13:05:04.123456Z")),
            ("2026-11-24 13:05:04.12+00", Some("2026-11-24T13:05:04.120Z")),
            ("2026-11-24T13:05:04Z", Some("2026-11-24T13:05:04Z")),
            ("2026-11-24T13:05:04.000000", Some("2026-11-24T13:05:04Z")),
            ("2026-11-24T15:05:04.5+02:00", Some("2026-11-24T13:05:04.500Z")),
            ("yesterday", None),
        ] {
            assert_eq!(text(|out| instant_text(out, given)).as_deref(), expected, "{given}");
        }
        assert_eq!(
            text(|out| micros(out, 1_795_525_504_120_000)).as_deref(),
            Some("2026-11-24T13:05:04.120Z")
        );
        assert_eq!(text(|out| micros(out, -1)).as_deref(), Some("1969-12-31T23:59:59.999999Z"));
    }

    #[test]
    fn ids() {
        let hex = b"\"01890a5d-ac96-774b-bcce-b302099a8057\"";
        assert_eq!(
            text(|out| id(out, "order", hex)).as_deref(),
            Some("\"order_01h455vb4pex5vsknk084sn02q\"")
        );
        assert_eq!(
            text(|out| id(out, "o", b"01890A5DAC96774BBCCEB302099A8057")).as_deref(),
            Some("\"o_01h455vb4pex5vsknk084sn02q\"")
        );
        assert_eq!(text(|out| id(out, "o", b"0189")), None);
    }
}
