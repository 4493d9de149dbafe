//! What a command has from whoever runs this program, and can tell.

use std::fs;
use std::path::Path;

use rustix::stdio::{stderr, stdout};
use rustix::termios::isatty;

use crate::cache::Key;
use crate::error::{Error, Result};

/// Fields of proc_pid_status(5): what the command's capabilities are cut down to, and other limits of what it may do.
const RIGHTS: [&str; 4] = ["CapPrm:", "CapBnd:", "NoNewPrivs:", "Seccomp:"];

/// Adds to a key what a command inherits: rights, resource limits, and whether its output goes to a terminal. Its input is
/// not looked at: see `input.rs`.
pub(super) fn add_to(key: &mut Key<'_>) -> Result<()> {
    let status = read("/proc/self/status")?;
    key.list("right", status.lines().filter(|line| RIGHTS.iter().any(|name| line.starts_with(name))));
    key.field("limits", read("/proc/self/limits")?);
    key.field("terminals", format!("{} {}", isatty(stdout()), isatty(stderr())));
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", Path::new(path)))
}
