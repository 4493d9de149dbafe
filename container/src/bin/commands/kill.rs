//! `rkt-oci kill`

use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::{Error, manage};
use clap::Args;

use super::{Outcome, wrong};
use crate::globals::Globals;

/// Send a signal to a container's first process
///
/// By name or number, TERM by default; 0 sends nothing and only finds out whether that process lives. When the container shares its pid namespace, KILL goes to all of its processes. One that was created and not started ends by TERM, HUP, INT, QUIT and KILL.
///
///   rkt-oci kill mycontainer HUP
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Kill {
    /// Accepted for old callers: it only makes a container that has ended no error
    #[arg(short, long, hide = true)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    signal: String,
}

impl Kill {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let signal = parse(&self.signal).ok_or_else(|| wrong(format!("unknown signal {:?}", self.signal)))?;
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        match manage::kill(&directory, signal) {
            Err(Error::NotRunning) if self.all => Ok(ExitCode::SUCCESS),
            done => done.map(|()| ExitCode::SUCCESS),
        }
    }
}

/// The standard signals in the order of their numbers on Linux.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// `15`, `TERM`, `sigterm`, `RTMIN+3`; `0`, which only asks.
fn parse(text: &str) -> Option<i32> {
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
