//! Signals as something to poll.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The highest signal number of Linux.
pub const MAX: i32 = 64;

/// Blocks signals for this thread and delivers them through a descriptor; dropping it restores the mask.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
    previous: Mask,
}

/// One signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it (or which child changed), 0 when the kernel did.
    pub pid: i32,
}

#[derive(Clone, Copy)]
struct Mask(libc::sigset_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

impl SignalFd {
    /// Takes over the given signals.
    pub fn new(signals: &[i32]) -> io::Result<SignalFd> {
        let mut mask = empty();
        for &signal in signals {
            // SAFETY: the set is initialised; an impossible number is refused, not stored.
            if unsafe { libc::sigaddset(&mut mask, signal) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let mut previous = empty();
        // SAFETY: both sets are valid for the call.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &mask, &mut previous) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        // SAFETY: the set is valid; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            restore(&previous);
            return Err(error);
        }
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(SignalFd { fd, previous: Mask(previous) })
    }

    /// Takes over every signal except those that mean a fault of this program and those given.
    pub fn all_except(signals: &[i32]) -> io::Result<SignalFd> {
        const FAULTS: [i32; 7] =
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGSYS];
        // 32 and 33 belong to the C library's threads.
        let all = (1..=MAX).filter(|s| !FAULTS.contains(s) && !signals.contains(s) && !(32..34).contains(s));
        SignalFd::new(&all.filter(|&s| s != libc::SIGKILL && s != libc::SIGSTOP).collect::<Vec<_>>())
    }

    /// The next signal, or none when there is none (it does not wait: poll the descriptor).
    pub fn read(&self) -> io::Result<Option<Received>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as long as we say.
        let length = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if length == size as isize {
            // SAFETY: the kernel filled the whole structure.
            let info = unsafe { info.assume_init() };
            return Ok(Some(Received { signal: info.ssi_signo as i32, pid: info.ssi_pid as i32 }));
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            e => Err(e),
        }
    }

    /// Waits for the next signal.
    pub fn wait(&self) -> io::Result<Received> {
        loop {
            if let Some(received) = self.read()? {
                return Ok(received);
            }
            let mut fds = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::IN)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
        }
    }

    /// The same under the descriptor `number`, whatever that was before.
    ///
    /// For a process that has its descriptors to itself, like a fresh clone: nobody may own `number` any more.
    pub(crate) fn moved_to(mut self, number: i32) -> io::Result<SignalFd> {
        if self.fd.as_raw_fd() != number {
            // SAFETY: both are numbers; who owned `number` is the caller's promise above.
            if unsafe { libc::dup3(self.fd.as_raw_fd(), number, libc::O_CLOEXEC) } < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: dup3 has just made it, and by that promise it has no other owner.
            self.fd = unsafe { OwnedFd::from_raw_fd(number) };
        }
        Ok(self)
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for SignalFd {
    fn drop(&mut self) {
        restore(&self.previous.0);
    }
}

/// Gives a new process the signals a program expects to start with: none blocked, `SIGPIPE` not ignored (the Rust
/// runtime ignores it, and what is ignored stays ignored across an exec).
pub fn reset() {
    restore(&empty());
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Has a program of this host start as [`reset`] has a container's, whatever this one has blocked.
pub fn reset_for(command: &mut std::process::Command) {
    let reset = || {
        reset();
        Ok(())
    };
    // SAFETY: it calls nothing that is forbidden after a fork.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, reset) };
}

/// Has a program of this host be sent a signal when the thread that starts it ends, however that ends: prctl(2),
/// `PR_SET_PDEATHSIG`.
pub fn end_with_this(command: &mut std::process::Command, signal: rustix::process::Signal) {
    let parent = rustix::process::getpid();
    let tie = move || {
        end_with_parent(signal)?;
        // It may have ended before.
        match rustix::process::getppid() == Some(parent) {
            true => Ok(()),
            false => Err(rustix::io::Errno::SRCH.into()),
        }
    };
    // SAFETY: it makes system calls only.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, tie) };
}

/// Has a program of this host take no notice of a signal, as nohup(1) does.
pub fn ignore_in(command: &mut std::process::Command, signal: rustix::process::Signal) {
    let ignore = move || {
        // SAFETY: SIG_IGN is a valid disposition.
        match unsafe { libc::signal(signal.as_raw(), libc::SIG_IGN) } {
            libc::SIG_ERR => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: it makes a system call only.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, ignore) };
}

/// Has this process be sent a signal when its parent ends.
pub fn end_with_parent(signal: rustix::process::Signal) -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(signal))?)
}

/// Has these signals end this process, and does so for the first of a pid namespace, too, which is otherwise only sent
/// what it has asked for: pid_namespaces(7). What is ignored stays ignored. An execve undoes it.
pub fn end_at(signals: &[i32]) -> io::Result<()> {
    extern "C" fn end(signal: i32) {
        // SAFETY: _exit may be called in a signal handler.
        unsafe { libc::_exit(128 + signal) }
    }
    for &signal in signals.iter().filter(|signal| !is_ignored(**signal)) {
        // SAFETY: the handler calls nothing that is forbidden in one.
        if unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether this process has been told to take no notice of a signal, as nohup(1) does.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed, and what there is is written to a place for it.
    let told = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the kernel has filled it if it says so.
    told == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Sends any signal, real-time ones too, to the process behind a pidfd. Signal 0 only checks.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and the descriptor is open.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn empty() -> libc::sigset_t {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        mask.assume_init()
    }
}

fn restore(mask: &libc::sigset_t) {
    // SAFETY: the set is valid, and SIG_SETMASK with a valid set cannot fail.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_and_the_mask_restored() {
        let signals = SignalFd::new(&[libc::SIGUSR1]).unwrap();
        assert_eq!(signals.read().unwrap(), None);
        // SAFETY: a signal to this very thread, where it is blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR1) };
        assert_eq!(signals.read().unwrap().unwrap().signal, libc::SIGUSR1);
        assert!(SignalFd::new(&[4000]).is_err());
    }
}
