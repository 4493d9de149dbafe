//! Becoming root of a user namespace, for programs that make files of many owners in the hands of an ordinary user.
//!
//! ```text
//!  caller ── clone3 ──▶ mapper, outside the namespace
//!    unshare ── "done" ──▶ newuidmap, newgidmap for the caller
//!    ◀────────── nothing, or why not ── ends, or says whose files are
//! ```

mod owners;

pub use owners::Owners;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, geteuid, waitid};
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Context, Error, Result};
use crate::mappings::Mappings;
use crate::sys::clone::{CloneFlags, clone3};
use crate::sys::namespace::unshare;

/// What has become of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It was root before.
    Root,
    /// It is root of a new user namespace, in which its subordinate ids are all others.
    Entered,
    /// It is who it was: there are no subordinate ids for it, or no programs to map them.
    NoIds,
}

/// Moves this process into a user namespace of its own with all its subordinate ids, unless it is root's.
///
/// The calling process must have one thread.
///
/// # Errors
/// The kernel has no user namespaces for it, or `newuidmap` refuses. The process may then be in a namespace in which it is
/// called nobody, with the rights on files that it had before.
pub fn enter() -> Result<Entry> {
    enter_with(&mut None, None)
}

/// The same. Who has entered can ask whose the files are that the namespace shows as nobody's.
///
/// # Errors
/// Those of [`enter`].
pub fn enter_and_ask() -> Result<(Entry, Option<Owners>)> {
    let (owners, answers) = owners::pair().context(|| "make a pair of sockets")?;
    let mut owners = Some(owners);
    let entry = enter_with(&mut owners, Some(answers))?;
    Ok((entry, owners.filter(|_| entry == Entry::Entered)))
}

/// The mapper stays to tell `owners` what they ask, at the other end, `asked`.
fn enter_with(owners: &mut Option<Owners>, asked: Option<OwnedFd>) -> Result<Entry> {
    if geteuid().is_root() {
        return Ok(Entry::Root);
    }
    let mappings = Mappings::of_caller();
    if mappings.is_caller_alone() {
        return Ok(Entry::NoIds);
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe");
    let ((entered, enter), (answer, answers)) = (pipe()?, pipe()?);
    let caller = rustix::process::getpid().as_raw_nonzero().get();
    let (mut kept, mut answers) = (Some((enter, answer)), Some(answers));
    let mapper = clone3(CloneFlags::default(), None, || {
        // Else the end of the caller would never be read.
        (kept, *owners) = (None, None);
        let mapped = answers.take().is_some_and(|answers| map(&mappings, caller, &entered, &answers));
        if let Some(asked) = asked.as_ref().filter(|_| mapped) {
            owners::answer(asked);
        }
        0
    })
    .context(|| "start the process that maps the user's ids")?;
    let stays = asked.is_some();
    drop((entered, answers, asked));
    let Some((enter, answer)) = kept else { return Err(Error::Other("the mapper returned".to_owned())) };
    let unshared = unshare(libc::CLONE_NEWUSER).context(|| "make a user namespace");
    if unshared.is_ok() {
        rustix::io::write(&enter, b"x").context(|| "ask for the user's ids")?;
    }
    drop(enter);
    let said = std::io::read_to_string(std::fs::File::from(answer)).context(|| "wait for the user's ids");
    if !stays || unshared.is_err() || said.as_ref().is_ok_and(|why| !why.is_empty()) {
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(mapper.pidfd.as_fd()), WaitIdOptions::EXITED))
            .context(|| "wait for the process that maps the user's ids")?;
    }
    unshared?;
    match said?.as_str() {
        "" => Ok(Entry::Entered),
        why => Err(Error::Other(why.to_owned())),
    }
}

/// What the mapper is there for, and whether it is done: what it writes is why there are no ids.
fn map(mappings: &Mappings, caller: i32, entered: &OwnedFd, answers: &OwnedFd) -> bool {
    let told = rustix::io::retry_on_intr(|| rustix::io::read(entered, &mut [0]));
    if told != Ok(1) {
        return false;
    }
    let mapped = mappings.write(caller);
    if let Err(e) = &mapped {
        // When the caller is gone there is nobody to tell.
        let _unread = rustix::io::write(answers, e.to_string().as_bytes());
    }
    mapped.is_ok()
}
