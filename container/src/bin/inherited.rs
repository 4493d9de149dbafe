//! Descriptors that the caller leaves open for the process.

use appc_container::Error;

use crate::commands::wrong;

/// That there are all of them from 3 on: those to listen on, then those to preserve. Before anything is opened, which
/// would take the place of what is missing.
pub(crate) fn check_inherited(listen: u32, preserve: u32) -> Result<(), Error> {
    for n in 0..listen.saturating_add(preserve) {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{}", u64::from(n) + 3)).is_err() {
            let (what, of) = if n < listen { ("LISTEN_FDS", listen) } else { ("preserved-fd", preserve) };
            return Err(wrong(format!("unable to stat {what} {} (of {of})", u64::from(n) + 3)));
        }
    }
    Ok(())
}
