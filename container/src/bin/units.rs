//! Sizes and times as callers of runc write them: those of Go's `units.RAMInBytes` and `time.ParseDuration`.

use std::time::Duration;

/// `-1`, `1024`, `512m`, `1.5 GiB`: powers of 1024, whatever the unit.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("{text:?} is no size: write it such as 512m or 1GiB, or -1 for no limit");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(wrong)? + 1;
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit == "ib" => return Err(wrong()),
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = number.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    let size = number * 1024f64.powi(power);
    if size < i64::MAX as f64 { Ok(size as i64) } else { Err(wrong()) }
}

/// `5s`, `100ms`, `1h2m3.5s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}: write it such as 5s, 100ms or 1m30s");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, more) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let end = more.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(more.len());
        let (unit, more) = more.split_at(end);
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = more;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_gos_units_are() {
        let table = [
            ("0", 0),
            ("-1", -1),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32Kib", 32 << 10),
            ("32Mb", 32 << 20),
            ("32 mib", 32 << 20),
            ("1.5g", 3 << 29),
            ("2Tb", 2 << 40),
            ("1PiB", 1 << 50),
        ];
        for (text, size) in table {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "hello", "-32", "-32kb", "32bm", "32 kbb", "32  k", "32ib", "1e5", "1.2.3", "9999P"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_gos_are() {
        let table = [("0", 0), ("5s", 5000), ("100ms", 100), ("1.5s", 1500), ("1h2m3.5s", 3_723_500), ("+1m", 60_000)];
        for (text, milliseconds) in table {
            assert_eq!(duration(text).unwrap().as_millis(), milliseconds, "{text}");
        }
        assert_eq!(duration("3us").unwrap(), Duration::from_micros(3));
        for text in ["", "5", "s", "-5s", "5x", "1..5s", ".s", "5s5", "1000000000000000000000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
