//! From a configuration's resources to the files to write, without touching anything.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::devices::{self, Program};
use super::layout::{Hierarchy, Home, Layout, Version};
use super::systemd::UnitPlan;
use super::{Error, Result, v1, v2};

/// A value for one file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// The place in the configuration that asks for it.
    pub field: String,
    pub file: String,
    pub value: String,
    /// The same limit as another kernel spells it, for when `file` does not exist.
    pub otherwise: Option<(String, String)>,
    /// A missing file means that the value holds anyway.
    pub optional: bool,
    /// `checkBeforeUpdate`.
    pub not_below: Option<NotBelow>,
}

/// A limit that must leave room for what is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotBelow {
    /// The file with what is in use.
    pub file: &'static str,
    /// How the limit is called.
    pub what: &'static str,
    pub limit: i64,
}

impl Write {
    pub(super) fn new(field: impl AsRef<str>, file: impl Into<String>, value: impl ToString) -> Write {
        let field = format!("linux.resources.{}", field.as_ref());
        let (file, value) = (file.into(), value.to_string());
        Write { field, file, value, otherwise: None, optional: false, not_below: None }
    }

    pub(super) fn or(mut self, file: impl Into<String>, value: impl ToString) -> Write {
        self.otherwise = Some((file.into(), value.to_string()));
        self
    }

    /// With `checkBeforeUpdate`; a limit of -1 is always high enough.
    pub(super) fn not_below(mut self, checked: bool, file: &'static str, what: &'static str, limit: i64) -> Write {
        self.not_below = (checked && limit > 0).then_some(NotBelow { file, what, limit });
        self
    }

    pub(super) fn optional(mut self) -> Write {
        self.optional = true;
        self
    }
}

/// One directory to make in one hierarchy.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Version 1: the controllers of the hierarchy. Empty for the unified one.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// Below `mount`, clean and relative.
    pub path: PathBuf,
    /// Controllers of the unified hierarchy that are enabled on the way down as far as that is possible: usage can be
    /// read and limits be set later.
    pub offered: Vec<String>,
    /// Those of them that must be enabled on the way down, with the field that needs them.
    pub enable: Vec<(String, String)>,
    pub writes: Vec<Write>,
    pub program: Option<Program>,
}

impl Group {
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// Everything that making a container's cgroup will do. See the [module](super).
#[derive(Debug, Clone)]
pub struct CgroupPlan {
    pub(super) version: Version,
    pub(super) groups: Vec<Group>,
    /// The caller may be an ordinary user: rules about devices are kept as far as it is allowed them.
    pub(crate) rootless: bool,
    /// The unit of systemd that it is the cgroup of.
    pub(super) unit: Option<UnitPlan>,
}

impl CgroupPlan {
    /// Plans a cgroup at `path` (the configuration's `linux.cgroupsPath`) with the limits of `resources`.
    ///
    /// An absolute `path` starts at the mount of each hierarchy; a relative one at the cgroup of this process
    /// (version 2: at its parent, as a cgroup with processes cannot have children with controllers).
    /// `..` never leads out of either.
    ///
    /// # Errors
    /// Names the field that this host cannot give.
    pub fn new(layout: &Layout, path: &Path, resources: Option<&LinuxResources>) -> Result<CgroupPlan> {
        let inner = appc_rooted::clean(path);
        let inner = inner.strip_prefix("/").unwrap_or(&inner);
        if inner.as_os_str().is_empty() {
            return Err(Error::invalid("linux.cgroupsPath", format!("{path:?} does not name a cgroup below the root")));
        }
        let mut planner = Planner { layout, inner, absolute: path.is_absolute(), groups: Vec::new() };
        planner.join_all();
        planner.devices(resources)?;
        if let Some(resources) = resources {
            planner.controllers(resources)?;
            planner.unified(resources)?;
        }
        Ok(CgroupPlan { version: layout.version(), groups: planner.groups, rootless: false, unit: None })
    }
}

pub(super) struct Planner<'a> {
    pub layout: &'a Layout,
    pub inner: &'a Path,
    pub absolute: bool,
    pub groups: Vec<Group>,
}

impl Planner<'_> {
    /// A directory in every hierarchy, whatever the limits: what reads usage finds a container by where its process is,
    /// and would be shown the caller's in the others. The first group is the one that lists, freezes and kills.
    fn join_all(&mut self) {
        if let Some(unified) = &self.layout.unified {
            self.group(unified, true);
        }
        if let (None, Some(Home::V1(freezer))) = (&self.layout.unified, self.layout.home("freezer")) {
            self.group(freezer, false);
        }
        for hierarchy in &self.layout.v1 {
            self.group(hierarchy, false);
        }
    }

    pub(super) fn controllers(&mut self, r: &LinuxResources) -> Result<()> {
        if let Some(memory) = r.memory() {
            self.add("memory", || v1::memory(memory), || v2::memory(memory))?;
        }
        if let Some(cpu) = r.cpu() {
            self.add("cpu", || v1::cpu(cpu), || v2::cpu(cpu))?;
            self.add("cpuset", || Ok(v1::cpuset(cpu)), || Ok(v2::cpuset(cpu)))?;
        }
        if let Some(pids) = r.pids() {
            let writes = || Ok(v1::pids(pids));
            self.add("pids", writes, writes)?;
        }
        if let Some(block) = r.block_io() {
            self.add("blkio", || v1::block_io(block), || v2::block_io(block))?;
        }
        if let Some(limits) = r.hugepage_limits() {
            self.add("hugetlb", || v1::hugepages(limits, "limit_in_bytes"), || v1::hugepages(limits, "max"))?;
        }
        if let Some(rdma) = r.rdma() {
            let writes = || v1::rdma(rdma);
            self.add("rdma", writes, writes)?;
        }
        if let Some(network) = r.network() {
            self.add("net_cls", || Ok(v1::network_class(network)), || v2::network(network))?;
            self.add("net_prio", || v1::network_priorities(network), || v2::network(network))?;
        }
        Ok(())
    }

    /// Puts the writes for one controller where it lives.
    fn add(
        &mut self,
        controller: &'static str,
        v1: impl FnOnce() -> Result<Vec<Write>>,
        v2: impl FnOnce() -> Result<Vec<Write>>,
    ) -> Result<()> {
        let (writes, group) = match self.layout.home(controller) {
            Some(Home::V1(hierarchy)) => (v1()?, Some((hierarchy, false))),
            Some(Home::V2(hierarchy)) => (v2()?, Some((hierarchy, true))),
            None if self.layout.version() == Version::V2 => (v2()?, None),
            None => (v1()?, None),
        };
        let Some(needs) = writes.first().map(|w| w.field.clone()) else { return Ok(()) };
        let Some((hierarchy, unified)) = group else { return Err(Error::NoController { field: needs, controller }) };
        let group = self.group(hierarchy, unified);
        group.writes.extend(writes);
        if unified {
            let name = if controller == "blkio" { "io" } else { controller };
            group.enable.push((name.to_owned(), needs));
        }
        Ok(())
    }

    fn devices(&mut self, resources: Option<&LinuxResources>) -> Result<()> {
        let asked = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
        let rules = devices::rules(asked)?;
        match self.layout.home("devices") {
            Some(Home::V1(hierarchy)) => {
                let writes = devices::v1::writes(&rules)?;
                self.group(hierarchy, false).writes.extend(writes);
            }
            Some(Home::V2(unified)) => self.group(unified, true).program = devices::bpf::program(&rules),
            // The default rules alone were not asked for by anybody.
            None if asked.is_empty() => {}
            None => {
                let field = "linux.resources.devices".to_owned();
                return Err(Error::NoController { field, controller: "devices" });
            }
        }
        Ok(())
    }

    pub(super) fn unified(&mut self, resources: &LinuxResources) -> Result<()> {
        let Some(asked) = resources.unified().as_ref().filter(|map| !map.is_empty()) else { return Ok(()) };
        // The map has no order of its own: the same configuration shall fail at the same place every time.
        let mut asked: Vec<_> = asked.iter().collect();
        asked.sort();
        for (file, value) in asked {
            let (controller, write) = v2::unified(file, value)?;
            let Some(unified) = &self.layout.unified else {
                return Err(Error::unsupported(write.field, "this host has cgroup v1 only"));
            };
            let core = controller == "cgroup";
            if !core && !unified.controllers.contains(&controller) {
                let rule = format!("can't be set: controller {controller:?} not available in cgroup v2 of this host");
                return Err(Error::invalid(write.field, rule));
            }
            let group = self.group(unified, true);
            if !core {
                group.enable.push((controller, write.field.clone()));
            }
            group.writes.push(write);
        }
        Ok(())
    }

    /// The group in `hierarchy`, added when this is the first use of it.
    fn group(&mut self, hierarchy: &Hierarchy, unified: bool) -> &mut Group {
        let at = match self.groups.iter().position(|g| g.mount == hierarchy.mount) {
            Some(at) => at,
            None => {
                let controllers = if unified { Vec::new() } else { hierarchy.controllers.clone() };
                let (mount, path) = (hierarchy.mount.clone(), self.place(hierarchy, unified));
                let offered = if unified { hierarchy.controllers.clone() } else { Vec::new() };
                let (enable, writes, program) = (Vec::new(), Vec::new(), None);
                self.groups.push(Group { controllers, mount, path, offered, enable, writes, program });
                self.groups.len() - 1
            }
        };
        &mut self.groups[at]
    }

    fn place(&self, hierarchy: &Hierarchy, unified: bool) -> PathBuf {
        if self.absolute {
            return self.inner.to_owned();
        }
        let base = if unified { hierarchy.own.parent().unwrap_or(Path::new("")) } else { &hierarchy.own };
        base.join(self.inner)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
