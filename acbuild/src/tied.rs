//! Commands that a script has started and that end with whoever runs the script.
//!
//! A shell that is killed leaves what it has started to itself. A variable in its environment has this program end with
//! its parent, see `PR_SET_PDEATHSIG` in prctl(2).

use std::process::Command;

use appc_container::state::alive_since;
use appc_container::sys::signal::end_with_parent;
use rustix::process::Signal;

use crate::error::{Error, Result};

/// Names the process that runs the script: its number and when it started.
const VARIABLE: &str = "ACBUILD_ENDS_WITH";

/// Has each command of the script that `shell` runs end with this process.
pub(crate) fn tie(shell: &mut Command) {
    shell.env(VARIABLE, value(std::process::id().cast_signed()));
}

/// Ties this process, if it is such a command.
///
/// # Errors
/// When whoever runs the script has ended: no signal will come for that any more.
pub(crate) fn obey() -> Result<()> {
    let Some(said) = std::env::var_os(VARIABLE) else { return Ok(()) };
    end_with_parent(Signal::KILL).map_err(Error::io("tie to its parent", "/proc/self"))?;
    let pid = said.to_str().and_then(|said| said.split(' ').next()?.parse().ok());
    match pid.is_some_and(|pid| said == *value(pid)) {
        true => Ok(()),
        false => Err(Error::Refused(format!("whoever runs this script has ended, or {VARIABLE} must be unset"))),
    }
}

/// Whether this process is such a command.
pub(crate) fn is_tied() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

fn value(pid: i32) -> String {
    format!("{pid} {}", alive_since(pid).unwrap_or_default())
}
