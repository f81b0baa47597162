//! Points in time of run records (RFC 3339), as text and as seconds from each other.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A point in time, if the record has a sound one.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// `2026-01-02 03:04:05 UTC`; a text that is no point in time stays as it is.
pub(crate) fn show(text: &str) -> String {
    read(text).map_or_else(
        || text.to_owned(),
        |moment| {
            moment
                .to_zoned(TimeZone::UTC)
                .strftime("%Y-%m-%d %H:%M:%S UTC")
                .to_string()
        },
    )
}

/// Seconds from `start` to `end`.
pub(crate) fn seconds_between(start: Timestamp, end: Timestamp) -> f64 {
    (end.as_millisecond() - start.as_millisecond()) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_shown() {
        let (start, end) = (
            read("2026-01-02T23:59:59Z").unwrap(),
            read("2026-01-03T00:00:01.5Z").unwrap(),
        );
        assert_eq!(seconds_between(start, end), 2.5);
        assert_eq!(show("2026-01-02T23:59:59Z"), "2026-01-02 23:59:59 UTC");
        assert_eq!(show("soon"), "soon");
    }
}
