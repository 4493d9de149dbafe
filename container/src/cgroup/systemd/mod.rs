//! systemd's driver: the container's cgroup is that of a unit, which systemd makes and must know the limits of.
//!
//! ```text
//! cgroupsPath   slice:prefix:name          machine.slice:libpod:0ab1
//! unit          prefix-name.scope          libpod-0ab1.scope
//! cgroup        the slice's, then the unit /machine.slice/libpod-0ab1.scope
//! ```
//! A scope is made around a process. Ours is a placeholder, which waits in it until the container's first process has
//! entered: so that one can still be cloned straight into its cgroup, and everything else is as without systemd.

mod bus;
mod properties;
mod text;
mod wire;

pub(crate) use text::PREFIX as ANNOTATION_PREFIX;

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use rustix::process::{Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, waitid};
use serde::{Deserialize, Serialize};

use super::plan::{CgroupPlan, Group};
use super::{Error, Layout, Result};
use crate::sys::clone::{CloneFlags, Cloned, clone3};
use crate::sys::signal;
use bus::{Bus, Failure};
use wire::Value;

/// A property of a unit.
type Property = (String, Value);

/// What a container without a slice of its own is in.
const SYSTEM_SLICE: &str = "system.slice";
const USER_SLICE: &str = "user.slice";
/// The prefix of units without one.
const PREFIX: &str = "rkt-oci";

/// A unit that may exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    name: String,
    slice: String,
    /// Whether it is of this user's systemd.
    user: bool,
}

/// A unit to start.
#[derive(Debug, Clone)]
pub(super) struct UnitPlan {
    pub(super) unit: Unit,
    properties: Vec<Property>,
}

impl CgroupPlan {
    /// Plans the cgroup of a new unit of systemd; `path` is `slice:prefix:name`, or empty for one named by `id`.
    ///
    /// Asks the user's systemd for its own cgroup, as an ordinary user's units are below that.
    ///
    /// # Errors
    /// Names the field that this host cannot give.
    pub fn for_unit(
        layout: &Layout,
        path: &str,
        id: &str,
        resources: Option<&LinuxResources>,
        annotations: Option<&HashMap<String, String>>,
    ) -> Result<CgroupPlan> {
        let user = !rustix::process::geteuid().is_root();
        let unit = Unit::parse(path, id, user)?;
        let mut place = PathBuf::from("/");
        if user {
            let mut bus = connect(true)?;
            let own = bus.manager_property("ControlGroup").map_err(|e| failed("ask for its cgroup", &e))?;
            place.push(own.trim_start_matches('/'));
        }
        place.push(expand(&unit.slice)?);
        place.push(&unit.name);
        let mut plan = CgroupPlan::new(layout, &place, resources)?;
        let asked = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
        let mut properties = unit.description(id);
        properties.extend(text::properties(annotations)?);
        if !user {
            properties.extend(properties::devices(asked)?);
        }
        properties.extend(properties::limits(&plan.groups));
        plan.unit = Some(UnitPlan { unit, properties });
        Ok(plan)
    }
}

impl Unit {
    fn parse(path: &str, id: &str, user: bool) -> Result<Unit> {
        let default = if user { USER_SLICE } else { SYSTEM_SLICE };
        let (slice, prefix, name) = match path.split(':').collect::<Vec<_>>()[..] {
            [""] => ("", PREFIX, id),
            [slice, prefix, name] if !name.is_empty() => (slice, prefix, name),
            _ => {
                let rule = format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                );
                return Err(Error::invalid("linux.cgroupsPath", rule));
            }
        };
        let name = if name.ends_with(".slice") { name.to_owned() } else { format!("{prefix}-{name}.scope") };
        if name.contains('/') {
            return Err(Error::invalid("linux.cgroupsPath", format!("{name:?} is not the name of a unit")));
        }
        let slice = if slice.is_empty() { default } else { slice };
        expand(slice)?;
        Ok(Unit { name, slice: slice.to_owned(), user })
    }

    fn description(&self, id: &str) -> Vec<Property> {
        let on = |name: &str| (name.to_owned(), Value::Bool(true));
        let mut all = vec![("Description".to_owned(), Value::text(format!("rkt-oci container {id}")))];
        match self.name.ends_with(".slice") {
            true => all.push(("Wants".to_owned(), Value::Array("s".to_owned(), vec![Value::text(&self.slice)]))),
            false => all.extend([("Slice".to_owned(), Value::text(&self.slice)), on("Delegate")]),
        }
        all.extend(["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"].map(on));
        all.push(("DefaultDependencies".to_owned(), Value::Bool(false)));
        all
    }

    /// Sets limits of the running unit, until it ends.
    pub(super) fn set_limits(&self, groups: &[Group]) -> Result<()> {
        let properties = properties::limits(groups);
        if properties.is_empty() {
            return Ok(());
        }
        let arguments = [Value::text(&self.name), Value::Bool(true), pairs(&properties)];
        let done = connect(self.user)?.manager("SetUnitProperties", &arguments);
        done.map(drop).map_err(|e| failed(&format!("set the limits of {}", self.name), &e))
    }

    /// Makes systemd forget it. That it cannot be asked any more is no reason to keep the rest of a container.
    pub(super) fn stop(&self) {
        let stop = || -> std::result::Result<(), Failure> {
            let mut bus = Bus::connect(self.user)?;
            bus.watch_jobs()?;
            let name = Value::text(&self.name);
            match bus.manager("StopUnit", &[name.clone(), Value::text("replace")]) {
                Ok(job) => drop(bus.job(&job)?),
                Err(e) if e.is("NoSuchUnit") => return Ok(()),
                Err(e) => return Err(e),
            }
            bus.manager("ResetFailedUnit", &[name]).map(drop)
        };
        let _forgotten = stop();
    }
}

impl UnitPlan {
    /// Starts it around a placeholder.
    pub(super) fn start(&self) -> Result<Placeholder> {
        let name = &self.unit.name;
        let what = format!("start {name}");
        let mut bus = connect(self.unit.user)?;
        bus.watch_jobs().map_err(|e| failed(&what, &e))?;
        let placeholder = Placeholder::new()?;
        let mut properties = self.properties.clone();
        let pid = Value::U32(placeholder.0.pid.cast_unsigned());
        properties.push(("PIDs".to_owned(), Value::Array("u".to_owned(), vec![pid])));
        let none = Value::Array("(sa(sv))".to_owned(), Vec::new());
        let arguments = [Value::text(name), Value::text("replace"), pairs(&properties), none];
        let started = match bus.manager("StartTransientUnit", &arguments) {
            // Perhaps what is left of one that failed.
            Err(e) if e.is("UnitExists") => {
                let _there_is_none = bus.manager("ResetFailedUnit", &[Value::text(name)]);
                bus.manager("StartTransientUnit", &arguments)
            }
            started => started,
        };
        let job = started.map_err(|e| failed(&what, &e))?;
        match bus.job(&job).map_err(|e| failed(&what, &e))?.as_str() {
            "done" => Ok(placeholder),
            other => {
                let _there_is_none = bus.manager("ResetFailedUnit", &[Value::text(name)]);
                Err(Error::Systemd { what, why: format!("the job ended with {other:?}") })
            }
        }
    }
}

/// A process that does nothing, until it is dropped.
#[derive(Debug)]
pub(super) struct Placeholder(Cloned);

impl Placeholder {
    fn new() -> Result<Placeholder> {
        let wait = || -> i32 {
            let _lives_on = set_parent_process_death_signal(Some(Signal::KILL));
            loop {
                rustix::event::pause();
            }
        };
        let cloned = clone3(CloneFlags::default(), None, wait);
        cloned
            .map(Placeholder)
            .map_err(|e| Error::Systemd { what: "make a placeholder".to_owned(), why: e.to_string() })
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        use std::os::fd::AsFd;
        // It may have been killed with the unit.
        let _ended = signal::send(self.0.pidfd.as_fd(), libc::SIGKILL);
        let _reaped = waitid(WaitId::PidFd(self.0.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn connect(user: bool) -> Result<Bus> {
    Bus::connect(user).map_err(|e| match e {
        // By the kernel's sentence podman takes it for a program that is missing.
        Failure::Connection(e) if e.kind() == std::io::ErrorKind::NotFound => Error::Systemd {
            what: "connect to its bus".to_owned(),
            why: "systemd not running on this host, cannot use systemd cgroups manager: leave out --systemd-cgroup"
                .to_owned(),
        },
        e => failed("connect to its bus (is systemd running? else leave out --systemd-cgroup)", &e),
    })
}

fn failed(what: &str, why: &Failure) -> Error {
    Error::Systemd { what: what.to_owned(), why: why.to_string() }
}

/// `a(sv)`
fn pairs(properties: &[Property]) -> Value {
    let pair =
        |(name, value): &Property| Value::Struct(vec![Value::text(name), Value::Variant(Box::new(value.clone()))]);
    Value::Array("(sv)".to_owned(), properties.iter().map(pair).collect())
}

/// Slices are nested by the dashes of their names: `a-b.slice` is at `a.slice/a-b.slice`, and `-.slice` is the root.
fn expand(slice: &str) -> Result<PathBuf> {
    let invalid = || Error::invalid("linux.cgroupsPath", format!("{slice:?} is not the name of a slice"));
    let name = slice.strip_suffix(".slice").filter(|n| !n.is_empty() && !n.contains('/')).ok_or_else(invalid)?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        prefix += part;
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn slices_are_nested_by_their_dashes() {
        assert_eq!(expand("system.slice").unwrap(), Path::new("system.slice"));
        assert_eq!(expand("a-b-c.slice").unwrap(), Path::new("a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(expand("-.slice").unwrap(), Path::new(""));
        for slice in ["", ".slice", "a", "a--b.slice", "-a.slice", "a/b.slice"] {
            assert!(expand(slice).is_err(), "{slice}");
        }
    }

    #[test]
    fn paths_name_units() {
        let unit = |path, user| Unit::parse(path, "one", user).map(|unit| (unit.slice, unit.name)).unwrap();
        let pair = |slice: &str, name: &str| (slice.to_owned(), name.to_owned());
        assert_eq!(unit("", false), pair("system.slice", "rkt-oci-one.scope"));
        assert_eq!(unit("", true), pair("user.slice", "rkt-oci-one.scope"));
        assert_eq!(unit("machine.slice:libpod:x", false), pair("machine.slice", "libpod-x.scope"));
        assert_eq!(unit(":p:x.slice", false), pair("system.slice", "x.slice"));
        for path in ["/a/b", "a:b", "a.slice:b:", "a:b:c", ":b:c/d"] {
            assert!(Unit::parse(path, "one", false).is_err(), "{path}");
        }
    }
}
