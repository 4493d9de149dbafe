//! Sizes and times for people.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Steps of the time that something is ago: below `limit` seconds it is counted in `unit`s of `length` seconds.
const STEPS: [(i64, i64, &str); 7] = [
    (60, 1, "second"),
    (3_600, 60, "minute"),
    (86_400, 3_600, "hour"),
    (7 * 86_400, 86_400, "day"),
    (30 * 86_400, 7 * 86_400, "week"),
    (360 * 86_400, 30 * 86_400, "month"),
    (i64::MAX, 360 * 86_400, "year"),
];

/// A size in powers of 1024: `8.3MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    // 1023.5 would be printed as 1024.
    while rounded(bytes, 1, unit) > 1023 {
        unit += 1;
    }
    let (tenths, name) = (rounded(bytes, 10, unit), UNITS[unit]);
    match tenths {
        0..100 if unit > 0 => format!("{}.{}{name}", tenths / 10, tenths % 10),
        _ => format!("{}{name}", rounded(bytes, 1, unit)),
    }
}

/// `bytes`, `times` as many, in units of 1024 to the power of `unit`.
fn rounded(bytes: u64, times: u128, unit: usize) -> u128 {
    let one = 1 << (10 * unit);
    (u128::from(bytes) * times + one / 2) >> (10 * unit)
}

/// How long before `now` the time `then` was, both in nanoseconds since 1970: `2 minutes ago`.
pub fn ago(then: i64, now: i64) -> String {
    let seconds = now.saturating_sub(then) / 1_000_000_000;
    if seconds < 1 {
        return "now".into();
    }
    let step = STEPS.iter().find(|(limit, _, _)| seconds < *limit);
    let (_, length, unit) = step.unwrap_or(&STEPS[6]);
    let count = seconds / length;
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// The time in nanoseconds since 1970 in full, in the local time zone: `2006-01-02 15:04:05.999 -0700 MST`.
pub fn time(nanoseconds: i64) -> String {
    full(Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default().to_zoned(TimeZone::system()))
}

/// Now, in nanoseconds since 1970.
pub fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn full(time: Zoned) -> String {
    let fraction = match time.millisecond() {
        0 => String::new(),
        milliseconds => format!(".{milliseconds:03}").trim_end_matches('0').to_owned(),
    };
    format!("{}{fraction} {}", time.strftime("%Y-%m-%d %H:%M:%S"), time.strftime("%z %Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_that_matter() {
        let cases = [
            (0, "0B"),
            (9, "9B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (8_700_000, "8.3MiB"),
            (10_480_000, "10MiB"),
            (1_048_000, "1023KiB"),
            (1_048_570, "1.0MiB"),
            (5 << 30, "5.0GiB"),
            (u64::MAX, "16EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_ago_use_the_largest_unit() {
        let cases = [
            (-5, "now"),
            (0, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_300, "2 hours ago"),
            (86_400 * 6, "6 days ago"),
            (86_400 * 15, "2 weeks ago"),
            (86_400 * 100, "3 months ago"),
            (86_400 * 800, "2 years ago"),
        ];
        for (seconds, text) in cases {
            assert_eq!(ago(0, seconds * 1_000_000_000), text, "{seconds}");
        }
    }

    #[test]
    fn times_in_full_have_no_needless_zeros() {
        let at = |nanoseconds: i128| full(Timestamp::from_nanosecond(nanoseconds).unwrap().to_zoned(TimeZone::UTC));
        assert_eq!(at(1_136_214_245_990_000_000), "2006-01-02 15:04:05.99 +0000 UTC");
        assert_eq!(at(1_136_214_245_000_999_999), "2006-01-02 15:04:05 +0000 UTC");
    }
}
