//! The filter of system calls, loaded at the last moment at which everything it may forbid is done.
//!
//! A process that may still gain privileges needs `CAP_SYS_ADMIN` to load a filter, so that capability is kept until
//! then, whatever the configuration says, and dropped right after.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::plan::ProcessPlan;
use crate::protocol::{Channel, Message};
use crate::seccomp::Seccomp;

/// `CAP_SYS_ADMIN` of linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;

/// The moments at which filters are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before « created »: the parent, which may end then, has to pass the listener on.
    Ready,
    /// Before hooks that may be the container's own programs.
    Hooks,
    /// Right before the program.
    Program,
}

/// What must be kept of the capabilities until the filter is loaded.
pub(super) fn kept_capabilities(process: &ProcessPlan) -> u64 {
    if process.seccomp.is_some() && !process.no_new_privileges { 1 << CAP_SYS_ADMIN } else { 0 }
}

/// Loads the filter of `process` if this is the moment for it.
pub(super) fn load(now: Moment, process: &ProcessPlan, has_hooks: bool, channel: &Channel) -> Result<()> {
    let Some(seccomp) = &process.seccomp else { return Ok(()) };
    let moment = match seccomp.filter.notifies() {
        true => Moment::Ready,
        false if has_hooks => Moment::Hooks,
        false => Moment::Program,
    };
    if now != moment {
        return Ok(());
    }
    match seccomp.filter.notifies() {
        true => load_and_tell(seccomp, channel)?,
        false => drop(seccomp.filter.load().context(|| "load the seccomp filter")?),
    }
    if kept_capabilities(process) == 0 {
        return Ok(());
    }
    process.capabilities.settle().context(|| "process.capabilities: set them")
}

/// What this thread and the one that sends have to say to each other.
enum Word {
    Wait,
    Send(OwnedFd),
    Sent,
    Failed,
}

/// Loads a filter that notifies, and has its listener sent to the agent by way of the parent, by a thread without that
/// filter: this one may have to wait for the agent to answer before it can send anything, or do anything at all.
fn load_and_tell(seccomp: &Seccomp, channel: &Channel) -> Result<()> {
    let channel = channel.try_clone().context(|| "copy the channel to the parent")?;
    let word = Arc::new(Mutex::new(Word::Wait));
    let theirs = Arc::clone(&word);
    // Nothing more is needed than to send; the thread ends by itself or with the execve.
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(move || send(&theirs, &channel));
    drop(thread.context(|| "start a thread to send the seccomp listener")?);
    let loaded = seccomp.filter.load();
    // No system call from here on: it might be one that waits for the listener. So locks are tried, not waited for.
    let (say, result) = match loaded {
        Ok(Some(fd)) => (Word::Send(fd), Ok(())),
        Ok(None) => (Word::Failed, Err(Error::Other("the kernel gives no seccomp listener".to_owned()))),
        Err(e) => (Word::Failed, Err(e).context(|| "load the seccomp filter")),
    };
    let mut say = Some(say);
    while say.is_some() {
        if let Ok(mut word) = word.try_lock() {
            say.take().into_iter().for_each(|say| *word = say);
        }
    }
    result?;
    loop {
        std::hint::spin_loop();
        match word.try_lock().as_deref() {
            Ok(Word::Sent) => return Ok(()),
            Ok(Word::Failed) => {
                return Err(Error::Other("the seccomp listener cannot be sent to its agent".to_owned()));
            }
            _ => {}
        }
    }
}

/// The other thread's part.
fn send(word: &Mutex<Word>, channel: &Channel) {
    loop {
        if let Ok(mut word) = word.try_lock() {
            match std::mem::replace(&mut *word, Word::Wait) {
                Word::Wait => {}
                Word::Send(fd) => {
                    let sent = channel.send(&Message::SeccompListener(fd)).and_then(|()| channel.passed_on());
                    *word = if sent.is_ok() { Word::Sent } else { Word::Failed };
                    return;
                }
                Word::Sent | Word::Failed => return,
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}
