//! `exec.fifo`, where the init of a created container waits for `start`, which is another process than its parent.
//!
//! ```text
//!  start                                    init
//!    │                                        │ opens for writing, which waits for a reader
//!    │ opens for reading                      │
//!    │ ◀────────────────────────────────── 0  │
//!    │ removes the fifo: « running »          │ startContainer hooks, execve
//!    │ ◀──────── end of file, by the execve,  │
//!    │           or the sentence of a failure │
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Context, Error, Result};
use crate::fault;
use crate::sys::mount::{MountAttributes, Propagation, mount_setattr};

/// Its name in a container's directory.
const NAME: &str = "exec.fifo";
/// The longest sentence, in bytes: what a pipe takes at once.
const SENTENCE_MAX: u64 = rustix::pipe::PIPE_BUF as u64;

/// Makes the fifo in a container's directory and opens that for init.
pub(crate) fn make(directory: &Path) -> Result<OwnedFd> {
    let path = directory.join(NAME);
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from(0o622), 0)
        .context(|| format!("make {}", path.display()))?;
    // The umask has taken from the mode what an init without privileges needs.
    for (path, mode) in [(path.as_path(), 0o622), (directory, 0o711)] {
        rustix::fs::chmod(path, Mode::from(mode)).context(|| format!("let init open {}", path.display()))?;
    }
    fault::point("fifo made");
    match apart(directory) {
        // An ordinary user cannot here: init does it.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(io::Error::from)
        }
        opened => opened,
    }
    .context(|| format!("open {}", directory.display()))
}

/// Opens a directory as a mount of its own, whose root is above everything: init holds it inside the container, where who
/// may trace init finds it in `/proc`, and must find no way to the host from there.
fn apart(directory: &Path) -> io::Result<OwnedFd> {
    let copy = open_tree(CWD, directory, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let propagation = Some(Propagation::Private);
    mount_setattr(&copy, false, MountAttributes { set, propagation, ..MountAttributes::default() })?;
    Ok(copy)
}

/// What [`make`] cannot do for an ordinary user: for init, which is root of its mount namespace, while the host's paths
/// are there.
pub(crate) fn set_apart(directory: &OwnedFd) -> Result<OwnedFd> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    path.and_then(|path| apart(&path)).context(|| "copy the mount of the container's directory")
}

/// Whether init still waits.
pub(crate) fn is_in(directory: &Path) -> bool {
    directory.join(NAME).exists()
}

/// Lets init go on, removes the fifo, and waits for the program to be executed.
///
/// One at a time: of two readers one would take the byte, and the other wait for it for ever.
///
/// # Errors
/// What init fails with, that it has died, or that somebody else has let it go.
pub(crate) fn release(directory: &Path, pidfd: &OwnedFd) -> Result<()> {
    let path = directory.join(NAME);
    let held = File::open(directory).context(|| format!("open {}", directory.display()))?;
    let lock = || rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive);
    rustix::io::retry_on_intr(lock).context(|| format!("lock {}", directory.display()))?;
    if !is_in(directory) {
        return Err(Error::State("cannot start an already running container".to_owned()));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fifo = rustix::fs::open(&path, flags, Mode::empty()).context(|| format!("open {}", path.display()))?;
    fault::point("fifo opened");
    wait_for_byte(&fifo, pidfd)?;
    fault::point("fifo read");
    std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
    fault::point("fifo removed");
    wait_for_program(File::from(fifo), pidfd)
}

fn wait_for_byte(fifo: &OwnedFd, pidfd: &OwnedFd) -> Result<()> {
    loop {
        let ended = wait_for_init(fifo, pidfd)?;
        match rustix::io::read(fifo, &mut [0]) {
            Ok(1) => return Ok(()),
            _ if ended => return Err(Error::State("container process is already dead".to_owned())),
            // Init has not opened it yet: without a writer the fifo reads as ended.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(Duration::from_micros(200)),
            Err(e) => return Err(e).context(|| "read exec.fifo"),
        }
    }
}

fn wait_for_program(mut fifo: File, pidfd: &OwnedFd) -> Result<()> {
    let mut sentence = Vec::new();
    loop {
        let ended = wait_for_init(&fifo, pidfd)?;
        match fifo.by_ref().take(SENTENCE_MAX).read_to_end(&mut sentence) {
            // When init has ended it is something else that holds the other end, and nothing to wait for.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && sentence.is_empty() && !ended => {}
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e).context(|| "read exec.fifo"),
            _ if sentence.is_empty() => return Ok(()),
            _ => {
                wait_for_end(pidfd);
                return Err(Error::Other(String::from_utf8_lossy(&sentence).into_owned()));
            }
        }
    }
}

/// Init has told why it ends: when that is printed it is to have ended, which takes it no time.
fn wait_for_end(pidfd: &OwnedFd) {
    let end = Timespec { tv_sec: 10, tv_nsec: 0 };
    let _whatever = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&end));
}

/// Waits for something to read or the end of init; whether it has ended.
fn wait_for_init(fifo: impl AsFd, pidfd: &OwnedFd) -> Result<bool> {
    let mut fds = [PollFd::new(&fifo, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).context(|| "wait for init")?;
    Ok(!fds[1].revents().is_empty())
}

/// The process at the other end of the fifo, for init. The execve closes it.
pub(crate) struct Starter(OwnedFd);

impl Starter {
    /// Waits for one. The directory is held open: no path leads there from inside.
    pub(crate) fn wait(directory: &OwnedFd) -> Result<Starter> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fifo = rustix::io::retry_on_intr(|| rustix::fs::openat(directory, NAME, flags, Mode::empty()))
            .context(|| format!("open {NAME}"))?;
        rustix::io::write(&fifo, b"0").context(|| format!("write to {NAME}"))?;
        Ok(Starter(fifo))
    }

    /// Tells it what went wrong, if it is still there: a write for nobody would be a signal.
    pub(crate) fn tell(&self, sentence: &str) -> bool {
        let sentence = &sentence.as_bytes()[..sentence.len().min(SENTENCE_MAX as usize)];
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && !fds[0].revents().contains(PollFlags::ERR) && rustix::io::write(&self.0, sentence).is_ok()
    }
}
