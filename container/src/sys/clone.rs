//! `clone3(2)` without `CLONE_VM`: a fork that also makes namespaces, enters a cgroup and yields a pidfd.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// linux/sched.h; the C library's constants are too narrow for these two.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Namespace flags of `clone(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloneFlags(pub u64);

impl CloneFlags {
    /// Adds `other`.
    pub fn insert(&mut self, other: i32) {
        self.0 |= other as u64;
    }

    /// Whether `flag` is among these.
    pub fn contains(self, flag: i32) -> bool {
        self.0 & flag as u64 != 0
    }
}

/// The parent's view of a new process.
#[derive(Debug)]
pub struct Cloned {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// A handle that cannot come to mean another process.
    pub pidfd: OwnedFd,
}

/// Runs `child` in a copy of this process and ends that copy with the number `child` returns.
///
/// Signal handlers are reset in the child; its signal mask is the caller's. With `cgroup`, a directory of a v2
/// hierarchy, the child starts there. With `CLONE_PARENT` it is a sibling of this process.
///
/// # Errors
/// Refuses to run in a process with several threads: only the calling thread is copied, and a lock (the allocator's,
/// for one) that another thread holds at that instant would stay locked in the child for ever.
pub fn clone3(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> io::Result<Cloned> {
    require_one_thread()?;
    let mut pidfd: i32 = -1;
    // SAFETY: the structure is plain numbers, for which zero means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags.0 | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    // A sibling's end is told as the caller's own will be.
    args.exit_signal = if flags.contains(libc::CLONE_PARENT) { 0 } else { libc::SIGCHLD as u64 };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` outlive the call. Without CLONE_VM the child has its own copy of all memory, and there
    // is no second thread that could have held a lock, so ordinary Rust may run in it.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        0 => {
            // A panic must not unwind into frames that belong to the parent.
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
            exit_now(code)
        }
        pid if pid > 0 => {
            // SAFETY: the kernel stored a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned { pid: pid as i32, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends the process without running destructors or exit handlers, which are the parent's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}

/// A thread that was joined is there for an instant longer, so look again before refusing.
fn require_one_thread() -> io::Result<()> {
    const ATTEMPTS: usize = 1000;
    for _ in 0..ATTEMPTS {
        // unshare(2): with this flag alone nothing happens, and it is an error in a process with several threads.
        // Unlike a look at /proc it needs no path, which could be a container's.
        // SAFETY: no memory is involved.
        if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(io::Error::other("the calling process must have one thread, it has several"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_threads_are_refused() {
        // The test runner itself has another thread.
        let waiting = std::thread::spawn(std::thread::park);
        let error = clone3(CloneFlags::default(), None, || 0).unwrap_err();
        assert!(error.to_string().contains("one thread"), "{error}");
        waiting.thread().unpark();
        waiting.join().unwrap();
    }
}
