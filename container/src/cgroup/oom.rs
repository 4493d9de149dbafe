//! Being told when a cgroup runs out of memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::fs::{Mode, OFlags};

use super::live::{Cgroup, Place};
use super::{Error, Result, events};

/// Becomes readable when there may be news.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    /// Version 2: the count of `memory.events` when last asked.
    seen: u64,
    /// Version 1 tells before it kills, so that its count is too old when it does: each message is an event.
    counted: bool,
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Cgroup {
    /// Starts to watch for processes of it that the kernel kills for want of memory; none where memory is not counted.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let memory = |controllers: &[String]| controllers.iter().any(|c| c == "memory");
        let place = self.places.iter().find(|p| memory(&p.controllers));
        let Some(place) = place.or(self.places.iter().find(|p| p.is_unified())) else { return Ok(None) };
        let dir = place.dir().map_err(|e| Error::io("open", place.full(), e))?;
        let failed = |e: rustix::io::Errno| Error::io("watch the memory of", place.full(), e);
        let fd = if place.is_unified() {
            if dir.read("memory.events").is_err() {
                return Ok(None);
            }
            let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
            let file = place.full().join("memory.events");
            inotify::add_watch(&fd, file, inotify::WatchFlags::MODIFY).map_err(failed)?;
            fd
        } else {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let control = rustix::fs::openat(&dir, "memory.oom_control", flags, Mode::empty()).map_err(failed)?;
            use std::os::fd::AsRawFd;
            let registration = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
            dir.write("cgroup.event_control", &registration)
                .map_err(|e| Error::io("watch the memory of", place.full(), e))?;
            fd
        };
        Ok(Some(OomWatch { fd, seen: self.oom_events().unwrap_or_default(), counted: place.is_unified() }))
    }

    /// Whether memory ran out since `watch` was last asked.
    pub fn oom_news(&self, watch: &mut OomWatch) -> bool {
        let mut bytes = [0; 4096];
        let mut told = false;
        while rustix::io::read(&watch.fd, &mut bytes).is_ok_and(|n| n > 0) {
            told = true;
        }
        // Its removal is told, too.
        let Some(now) = self.oom_events() else { return false };
        let more = now > watch.seen;
        watch.seen = now;
        if watch.counted { more } else { told }
    }

    /// None when it was removed.
    fn oom_events(&self) -> Option<u64> {
        let memory = |p: &&Place| p.is_unified() || p.controllers.iter().any(|c| c == "memory");
        let read = |p: &Place| {
            let file = if p.is_unified() { "memory.events" } else { "memory.oom_control" };
            events::value(&p.dir().ok()?.read(file).ok()?, "oom_kill")
        };
        let counts: Vec<u64> = self.places.iter().filter(memory).filter_map(read).collect();
        if counts.is_empty() { None } else { Some(counts.iter().sum()) }
    }
}
