//! Days on the command line: the first and the last one of something, or a time of the day.

use jiff::{civil::Date, tz::TimeZone};
use posta_mail::Timestamp;
use std::str::FromStr;

/// The first day: its time is the day's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstDay(pub(crate) Timestamp);

/// The last day: its time is the day's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastDay(pub(crate) Timestamp);

impl FromStr for FirstDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text, Some).map(Self)
    }
}

impl FromStr for LastDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text, |day| day.tomorrow().ok()).map(Self)
    }
}

/// Reads a time, or a day, of which `edge` returns the day at whose beginning, in UTC, it begins or ends.
fn read(text: &str, edge: impl Fn(Date) -> Option<Date>) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    // A date with a time but without a zone would be read as a mere day.
    let day = text.parse::<Date>().ok().filter(|_| text.len() <= "2026-12-24".len());
    let begin = day.and_then(edge).map(|day| day.at(0, 0, 0, 0));
    begin.and_then(|begin| TimeZone::UTC.to_timestamp(begin).ok()).ok_or_else(|| {
        format!("{text:?} is neither a day such as 2026-12-24 nor a time such as 2026-12-24T17:00:00+02:00")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole() {
        for (text, first, last) in [
            ("2026-12-24", "2026-12-24T00:00:00Z", "2026-12-25T00:00:00Z"),
            ("2026-12-31", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2026-12-24T17:00:00+02:00", "2026-12-24T15:00:00Z", "2026-12-24T15:00:00Z"),
        ] {
            assert_eq!(text.parse::<FirstDay>().unwrap().0.to_string(), first);
            assert_eq!(text.parse::<LastDay>().unwrap().0.to_string(), last);
        }
        for wrong in ["", "tomorrow", "24.12.2026", "2026-13-01", "2026-12-24T17:00", "2026-02-30"]
        {
            assert!(wrong.parse::<FirstDay>().is_err(), "{wrong}");
        }
    }
}
