//! The names of signals.

/// The standard signals in the order of their numbers on Linux.
pub const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The number of `15`, `TERM`, `sigterm`, `RTMIN+3`; `0`, which only asks.
pub fn parse(text: &str) -> Option<i32> {
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
    if let Ok(number) = text.parse::<i32>() {
        return Some(number).filter(|n| (0..=RTMAX).contains(n));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return Some(at as i32 + 1);
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => RTMIN,
        (Some(more), _) => RTMIN.checked_add(more.strip_prefix('+')?.parse().ok()?)?,
        (_, Some("")) => RTMAX,
        (_, Some(less)) => RTMAX.checked_sub(less.strip_prefix('-')?.parse().ok()?)?,
        _ => match name {
            "IOT" => libc::SIGIOT,
            "POLL" => libc::SIGPOLL,
            _ => return None,
        },
    };
    Some(number).filter(|n| (RTMIN..=RTMAX).contains(n))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("WINCH", Some(libc::SIGWINCH)),
            ("SYS", Some(libc::SIGSYS)),
            ("RTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+40", None),
            ("0", Some(0)),
            ("65", None),
            ("-9", None),
            ("", None),
            ("NOPE", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }
}
