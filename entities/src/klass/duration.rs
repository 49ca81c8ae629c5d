//! ISO 8601 durations, as in `withinLast: "P7D"`: `P1Y2M10DT2H30M`, `P2W`. Calendar parts (years, months) are kept apart from exact ones,
//! since a month has no fixed length.

use chrono::{DateTime, Months, NaiveDate, TimeDelta, Utc};

/// A duration: first so many months, then so many days, then so many microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration {
    /// Years and months, in months.
    pub months: u32,
    /// Weeks and days, in days.
    pub days: u32,
    /// Hours, minutes and seconds, in microseconds.
    pub micros: u64,
}

impl Duration {
    /// Reads the text; `None` for anything that ISO 8601 does not say so, for nothing at all (`P`, `PT`), for signs and for what is longer
    /// than about 10,000 years. Only seconds may have a fraction.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('P')?;
        let (date, time) = match rest.split_once('T') {
            Some((_, "")) => return None,
            Some((date, time)) => (date, time),
            None => (rest, ""),
        };
        if date.is_empty() && time.is_empty() {
            return None;
        }
        let mut out = Self::default();
        for (n, unit) in parts(date, "YMWD")? {
            let n: u32 = n.parse().ok().filter(|n| *n <= 4_000_000)?;
            match unit {
                'Y' => out.months = out.months.checked_add(n.checked_mul(12)?)?,
                'M' => out.months = out.months.checked_add(n)?,
                'W' => out.days = out.days.checked_add(n.checked_mul(7)?)?,
                _ => out.days = out.days.checked_add(n)?,
            }
        }
        for (n, unit) in parts(time, "HMS")? {
            let micros = match unit {
                'H' => n.parse::<u64>().ok()?.checked_mul(3_600_000_000)?,
                'M' => n.parse::<u64>().ok()?.checked_mul(60_000_000)?,
                _ => seconds(n)?,
            };
            out.micros = out.micros.checked_add(micros)?;
        }
        (out.months <= 120_000 && out.days <= 3_700_000 && out.micros <= 320_000_000_000_000_000).then_some(out)
    }

    /// This much before an instant; the earliest instant where there is none so early.
    pub fn before(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let shifted = at
            .checked_sub_months(Months::new(self.months))
            .and_then(|at| at.checked_sub_signed(self.exact()?));
        shifted.unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// This much after an instant; the latest instant where there is none so late.
    pub fn after(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let shifted = at
            .checked_add_months(Months::new(self.months))
            .and_then(|at| at.checked_add_signed(self.exact()?));
        shifted.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// This much before a day; hours count only in whole days.
    pub fn days_before(self, day: NaiveDate) -> NaiveDate {
        let shifted = day
            .checked_sub_months(Months::new(self.months))
            .and_then(|d| d.checked_sub_signed(self.exact()?));
        shifted.unwrap_or(NaiveDate::MIN)
    }

    /// This much after a day; hours count only in whole days.
    pub fn days_after(self, day: NaiveDate) -> NaiveDate {
        let shifted = day
            .checked_add_months(Months::new(self.months))
            .and_then(|d| d.checked_add_signed(self.exact()?));
        shifted.unwrap_or(NaiveDate::MAX)
    }

    /// What does not depend on the calendar.
    fn exact(self) -> Option<TimeDelta> {
        let days = TimeDelta::try_days(i64::from(self.days))?;
        days.checked_add(&TimeDelta::microseconds(i64::try_from(self.micros).ok()?))
    }
}

/// Number and unit of each part; units in the order given, each at most once.
fn parts<'a>(text: &'a str, units: &str) -> Option<Vec<(&'a str, char)>> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut left = units;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest[end..].chars().next()?;
        let position = left.find(unit)?;
        left = &left[position + 1..];
        if end == 0 || (rest[..end].contains('.') && unit != 'S') {
            return None;
        }
        out.push((&rest[..end], unit));
        rest = &rest[end + 1..];
    }
    Some(out)
}

/// `1.5` → 1,500,000.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let micros: u64 = format!("{:0<6.6}", fraction).parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_iso_8601_says() {
        let d = |months, days, micros| Some(Duration { months, days, micros });
        for (text, expected) in [
            ("P7D", d(0, 7, 0)),
            ("P1M", d(1, 0, 0)),
            ("PT2H", d(0, 0, 7_200_000_000)),
            ("P2W", d(0, 14, 0)),
            ("P1Y2M10DT2H30M1.5S", d(14, 10, 9_001_500_000)),
            ("PT0.000001S", d(0, 0, 1)),
            ("PT0S", d(0, 0, 0)),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("7D", None),
            ("P-7D", None),
            ("P7", None),
            ("P1.5D", None),
            ("P1D1M", None),
            ("P1D1D", None),
            ("PT1.S", None),
            ("PT1H1.2.3S", None),
            ("p7d", None),
            ("P99999999999D", None),
            ("P7D ", None),
        ] {
            assert_eq!(Duration::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn months_follow_the_calendar() {
        let at = crate::klass::accept::datetime("2026-03-31T12:00:00Z").expect("a datetime");
        let month = Duration::parse("P1M").expect("a duration");
        assert_eq!(crate::klass::value::datetime_text(month.before(at)), "2026-02-28T12:00:00.000000Z");
        let long = Duration::parse("P9000Y").expect("a duration");
        assert!(long.before(at) < at && long.after(at) > at);
    }
}
