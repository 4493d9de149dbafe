//! On whose behalf this process works: root's, or an ordinary user's.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the process has become root of a user namespace of its own.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Says that this process, an ordinary user's, is root only in a user namespace that it has entered: its folders are still
/// the user's, and its files have many owners.
pub fn set_mapped() {
    ENTERED.store(true, Ordering::Relaxed);
}

/// Whether this is root of a namespace that the process has entered for an ordinary user.
pub fn is_mapped() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// Whether the process works for the host's root (or for the root of the container it runs in).
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root() && !is_mapped()
}
