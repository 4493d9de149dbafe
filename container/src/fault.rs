//! Places where a test build dies, to prove that what a killed runtime leaves can be removed.
//!
//! With the feature `fault-injection`, a process that comes by the point named by `RKT_OCI_FAULT` ends there at once, as
//! `kill -9` would have it; `NAME:2` is the second time. Without the feature there are no such places.

/// All points. A message of the protocol has three: before it is sent, after, and when it was received.
#[cfg(feature = "fault-injection")]
pub const POINTS: &[&str] = &[
    "directory made",
    "fifo made",
    "state begun",
    "state written",
    "state renamed",
    "state begun:2",
    "state written:2",
    "state renamed:2",
    "state begun:3",
    "state written:3",
    "state renamed:3",
    "state begun:4",
    "state written:4",
    "state renamed:4",
    "state begun:5",
    "state written:5",
    "state renamed:5",
    "state begun:6",
    "state written:6",
    "state renamed:6",
    "state begun:7",
    "state written:7",
    "state renamed:7",
    "cgroup made",
    "cgroup made:2",
    "cgroup limited",
    "cgroup complete",
    "cloned",
    "oom score set",
    "mappings written",
    "hooks run",
    "created",
    "init: begun",
    "init: in its cgroup",
    "init: in its namespaces",
    "init: root mounted",
    "init: root entered",
    "init: root covered",
    "init: user changed",
    "init: started",
    "init: before execve",
    "fifo opened",
    "fifo read",
    "fifo removed",
    "started",
    "exec: planned",
    "exec: joined",
    "exec: before execve",
    "killed",
    "cgroup removed",
    "directory removed",
    "checkpoint: folder ready",
    "checkpoint: descriptors saved",
    "checkpoint: saved",
    "restore: place made",
    "restore: apart",
    "restore: running",
    "criu: begun",
    "criu: before execve",
    "criu started",
    "criu asked",
    "criu asks back",
    "criu asks back:2",
    "criu answered",
    "send Mapped",
    "sent Mapped",
    "received Mapped",
    "send Sources",
    "sent Sources",
    "received Sources",
    "send Copy",
    "sent Copy",
    "received Copy",
    "send RootReady",
    "sent RootReady",
    "received RootReady",
    "send HooksDone",
    "sent HooksDone",
    "received HooksDone",
    "send Console",
    "sent Console",
    "received Console",
    "send SeccompListener",
    "sent SeccompListener",
    "received SeccompListener",
    "send PassedOn",
    "sent PassedOn",
    "received PassedOn",
    "send Ready",
    "sent Ready",
    "received Ready",
    "send Start",
    "sent Start",
    "received Start",
    "send Joined",
    "sent Joined",
    "received Joined",
];

/// Dies here if that was asked for.
#[cfg(feature = "fault-injection")]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    // Read at a process's first point: its children have no environment any more.
    static WANTED: OnceLock<String> = OnceLock::new();
    debug_assert!(POINTS.contains(&name), "{name:?} is not in the list of points");
    let wanted = WANTED.get_or_init(|| std::env::var("RKT_OCI_FAULT").unwrap_or_default());
    let (wanted, time) = match wanted.rsplit_once(':').and_then(|(name, n)| Some((name, n.parse().ok()?))) {
        Some((name, time)) => (name, time),
        None => (wanted.as_str(), 1),
    };
    if wanted != name || PASSED.fetch_add(1, Ordering::Relaxed) + 1 != time {
        return;
    }
    // The first process of a pid namespace cannot kill itself, but it can end without a word.
    let _first_of_its_namespace =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    crate::sys::clone::exit_now(137)
}

/// The points of a message: its name after the moment.
#[cfg(feature = "fault-injection")]
pub(crate) fn message(moment: &str, message: &impl std::fmt::Debug) {
    let shown = format!("{message:?}");
    let name = format!("{moment} {}", shown.split('(').next().unwrap_or_default());
    // The last words of an init that gives up are no step.
    if !name.ends_with("Failed") {
        point(&name);
    }
}

/// There are no such places in this build.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) fn message<M>(_moment: &str, _message: &M) {}

/// There are no such places in this build.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}
