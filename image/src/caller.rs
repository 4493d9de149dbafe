//! On whose behalf this process works: root's, or an ordinary user's.

use std::fs::Metadata;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the kernel shows instead of ids that the namespace has not (user_namespaces(7), `/proc/sys/kernel/overflowuid`).
pub(crate) const OVERFLOW: u32 = 65534;

/// Tells whose an open file is outside of the namespace.
type Asked = Box<dyn Fn(BorrowedFd<'_>) -> Option<u32> + Send + Sync>;

/// Who can tell.
static OWNERS: OnceLock<Asked> = OnceLock::new();

/// Whether the process has become root of a user namespace of its own.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Says that this process, an ordinary user's, is root only in a user namespace that it has entered: its folders are still
/// the user's, and its files have many owners.
pub fn set_mapped() {
    ENTERED.store(true, Ordering::Relaxed);
}

/// Says who can tell the user that an open file belongs to outside of that namespace, which shows all whom it has not as nobody.
pub fn set_owners(of: impl Fn(BorrowedFd<'_>) -> Option<u32> + Send + Sync + 'static) {
    // Who was told first can tell as well.
    let _second = OWNERS.set(Box::new(of));
}

/// Whether an open file belongs to the host's root, as far as somebody can tell.
pub(crate) fn is_of_root(file: BorrowedFd<'_>) -> bool {
    OWNERS.get().is_some_and(|of| of(file) == Some(0))
}

/// Gives a new file the owner and group of the one that it will replace, as far as this user may: who may not give files away
/// keeps it, as with any editor. In a user namespace those that it has not are shown as nobody, and nobody gets nothing.
pub fn give(file: impl AsFd, replaced: &Metadata) {
    let known = |id: u32| (!is_mapped() || id != OVERFLOW).then_some(id);
    let (uid, gid) = (known(replaced.uid()), known(replaced.gid()));
    let _ = std::os::unix::fs::fchown(file, uid, gid);
}

/// Whether this is root of a namespace that the process has entered for an ordinary user.
pub fn is_mapped() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// Whether the process works for the host's root (or for the root of the container it runs in).
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root() && !is_mapped()
}
