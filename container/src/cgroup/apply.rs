//! Makes what a [`CgroupPlan`] says.

use std::io;
use std::os::fd::AsFd;

use appc_rooted::Root;
use rustix::io::Errno;

use super::events;
use super::live::{Cgroup, Place};
use super::plan::{CgroupPlan, Group, NotBelow, Write};
use super::tree::{Dir, Step};
use super::{Error, Result};
use crate::fault;
use crate::sys::bpf;

impl CgroupPlan {
    /// Makes the directories and writes the limits.
    ///
    /// # Errors
    /// Nothing made here is left behind. A cgroup that was there before must be empty and must not be frozen.
    pub fn create(&self) -> Result<Cgroup> {
        let mut cgroup = Cgroup::empty(self.version);
        if let Some(plan) = &self.unit {
            cgroup.placeholder = Some(plan.start()?);
            cgroup.unit = Some(plan.unit.clone());
        }
        for group in &self.groups {
            if let Err(e) = add_group(&mut cgroup, group, self.rootless) {
                cgroup.take_back();
                return Err(e);
            }
        }
        cgroup.note_earlier_kills();
        fault::point("cgroup complete");
        Ok(cgroup)
    }
}

fn add_group(cgroup: &mut Cgroup, group: &Group, rootless: bool) -> Result<()> {
    let root = Root::open(&group.mount).map_err(|e| Error::io("open", &group.mount, e))?;
    let (controllers, mount, path) = (group.controllers.clone(), group.mount.clone(), group.path.clone());
    // Before anything is made, so that a failure on the way takes back what was.
    cgroup.places.push(Place { controllers, mount, path, root, made: false });
    let at = cgroup.places.len() - 1;
    let place = &mut cgroup.places[at];

    let cpuset = group.controllers.iter().any(|c| c == "cpuset");
    let (dir, made) = Dir::make(&place.root, &group.mount, &group.path, |step| match step {
        Step::Above(dir) if group.is_unified() => enable_controllers(dir, group),
        Step::Entered { parent, child } if cpuset => inherit_cpuset(parent, child),
        _ => Ok(()),
    })?;
    place.made = made;
    fault::point("cgroup made");
    // The directory of a unit is there already, with its placeholder; two units of one name there cannot be.
    check_usable(&dir, made || cgroup.unit.is_some(), group)?;
    write_all(&dir, &group.writes)?;
    fault::point("cgroup limited");
    if let Some(program) = &group.program {
        let loaded = bpf::load_device_program(program);
        match loaded.and_then(|program| bpf::attach_device_program(dir.as_fd(), program.as_fd())) {
            // Who may not load it may not make devices either.
            Err(e) if rootless && e.raw_os_error() == Some(libc::EPERM) => {}
            attached => {
                attached.map_err(|e| Error::io("attach the program for linux.resources.devices to", &dir.path, e))?;
            }
        }
    }
    Ok(())
}

/// Version 2: a controller works in a cgroup when all above it have it in `cgroup.subtree_control`.
fn enable_controllers(dir: &Dir, group: &Group) -> Result<()> {
    if group.offered.is_empty() && group.enable.is_empty() {
        return Ok(());
    }
    let read = |file| dir.read(file).map_err(|e| Error::io("read", dir.path.join(file), e));
    let enabled = read("cgroup.subtree_control")?;
    let has = |name: &str| enabled.split_whitespace().any(|c| c == name);
    for (controller, field) in group.enable.iter().filter(|(c, _)| !has(c)) {
        dir.write("cgroup.subtree_control", &format!("+{controller}")).map_err(|e| match Errno::from_io_error(&e) {
            Some(Errno::BUSY) => {
                let (field, controller, path) = (field.clone(), controller.clone(), dir.path.clone());
                Error::Populated { field, controller, path }
            }
            // Unless it is the cgroup that is gone.
            Some(Errno::NOENT) if dir.read("cgroup.controllers").is_ok() => {
                let rule = format!("the {controller} controller is not available in {}", dir.path.display());
                Error::invalid(field, rule)
            }
            _ => Error::io("enable controllers in", &dir.path, e),
        })?;
    }
    let needed = |name: &String| group.enable.iter().any(|(c, _)| c == name);
    for controller in group.offered.iter().filter(|c| !has(c) && !needed(c)) {
        // Whether each can be enabled is no part of the configuration (a cgroup with processes of its own, or of
        // another user), so a refusal is none of its business either.
        let _ = dir.write("cgroup.subtree_control", &format!("+{controller}"));
    }
    Ok(())
}

/// Version 1: a new cpuset is empty, and nothing can enter an empty one.
fn inherit_cpuset(parent: &Dir, child: &Dir) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |dir: &Dir| dir.read(file).map_err(|e| Error::io("read", dir.path.join(file), e));
        if read(child)?.trim().is_empty() {
            let inherited = read(parent)?;
            child.write(file, inherited.trim()).map_err(|e| Error::io("write", child.path.join(file), e))?;
        }
    }
    Ok(())
}

fn check_usable(dir: &Dir, made: bool, group: &Group) -> Result<()> {
    if !made {
        let count = dir.processes().map_err(|e| Error::io("read the processes of", &dir.path, e))?.len();
        if count > 0 {
            return Err(Error::NotEmpty { path: dir.path.clone(), count });
        }
    }
    let frozen = if group.is_unified() {
        dir.read("cgroup.events").is_ok_and(|text| events::value(&text, "frozen") == Some(1))
    } else {
        group.controllers.iter().any(|c| c == "freezer")
            && dir.read("freezer.state").is_ok_and(|text| text.trim() != "THAWED")
    };
    if frozen { Err(Error::Frozen { path: dir.path.clone() }) } else { Ok(()) }
}

/// Writes all values. Some constrain one another (limit and limit with swap, burst and quota), in an order that
/// depends on what was there before: what is refused is tried again after the others.
pub(super) fn write_all(dir: &Dir, writes: &[Write]) -> Result<()> {
    let mut pending: Vec<&Write> = writes.iter().collect();
    loop {
        let (mut refused, mut first) = (Vec::new(), None);
        for write in &pending {
            match write_one(dir, write) {
                Ok(()) => {}
                Err(e) if may_succeed_later(write, &e) => {
                    refused.push(*write);
                    first.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        match first {
            None => return Ok(()),
            Some(e) if refused.len() == pending.len() => return Err(e),
            Some(_) => pending = refused,
        }
    }
}

fn may_succeed_later(write: &Write, e: &Error) -> bool {
    let invalid = |e: &io::Error| Errno::from_io_error(e) == Some(Errno::INVAL);
    // Device rules are in order, and the first of them would undo the others.
    matches!(e, Error::Write { cause, .. } if invalid(cause)) && !write.file.starts_with("devices.")
}

fn write_one(dir: &Dir, write: &Write) -> Result<()> {
    check_usage(dir, write)?;
    let (mut file, mut value) = (&write.file, &write.value);
    let mut result = dir.write(file, value);
    let missing = |r: &io::Result<()>| r.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    if let Some(otherwise) = write.otherwise.as_ref().filter(|_| missing(&result)) {
        (file, value) = (&otherwise.0, &otherwise.1);
        result = dir.write(file, value);
    }
    let path = || dir.path.join(file);
    let field = || write.field.clone();
    match result {
        Err(_) if missing(&result) && write.optional => Ok(()),
        Err(_) if missing(&result) => Err(Error::NoFile { field: field(), path: path() }),
        Err(e) if write.optional && e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(cause) => Err(too_low(dir, write, file, &cause).unwrap_or(Error::Write {
            field: field(),
            path: path(),
            value: value.clone(),
            cause,
        })),
        Ok(()) => Ok(()),
    }
}

/// Only as good as what can be read: a cgroup without a count of what it uses is not full.
fn check_usage(dir: &Dir, write: &Write) -> Result<()> {
    let Some(NotBelow { file, what, limit }) = write.not_below else { return Ok(()) };
    match usage(dir, file) {
        Some(usage) if usage >= limit => Err(Error::BelowUsage { field: write.field.clone(), what, limit, usage }),
        _ => Ok(()),
    }
}

fn usage(dir: &Dir, file: &str) -> Option<i64> {
    dir.read(file).ok()?.trim().parse().ok()
}

/// Version 1 refuses a memory limit below what is in use: says how much that is.
fn too_low(dir: &Dir, write: &Write, file: &str, e: &io::Error) -> Option<Error> {
    let busy = file == "memory.limit_in_bytes" && Errno::from_io_error(e) == Some(Errno::BUSY);
    let (now, peak) = (usage(dir, "memory.usage_in_bytes")?, usage(dir, "memory.max_usage_in_bytes")?);
    let value = &write.value;
    let rule = format!("unable to set memory limit to {value} (current usage: {now}, peak usage: {peak})");
    busy.then(|| Error::invalid(&write.field, rule))
}
