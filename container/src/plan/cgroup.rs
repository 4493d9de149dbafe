//! Whether there is a cgroup, and what when it is not allowed.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::Linux;

use super::Setup;
use super::mounts::{MountPlan, Source};
use crate::cgroup::{Cgroup, CgroupPlan, Saved};
use crate::error::{Error, Result};

/// How callers tell this case from others.
const ROOTLESS_NEEDS: &str = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";

const NONE: &str = "the container has no cgroup, as none can be made here";

/// Why a container has a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupNeed {
    /// Its caller is root: every container has one.
    Always,
    /// Its caller may be an ordinary user, but its configuration asks for one.
    Asked,
    /// It can do without.
    Optional {
        /// Whether it has rules about devices, which nobody enforces then.
        rules: bool,
    },
}

impl CgroupNeed {
    pub(super) fn new(rootless: bool, linux: &Linux) -> CgroupNeed {
        match (rootless, is_asked_for(linux)) {
            (false, _) => CgroupNeed::Always,
            (true, true) => CgroupNeed::Asked,
            (true, false) => CgroupNeed::Optional { rules: has_rules(linux) },
        }
    }

    /// Makes the cgroup, or does without.
    pub(crate) fn make(self, plan: &CgroupPlan) -> Result<Option<Cgroup>> {
        match plan.create() {
            Err(e) if matches!(self, CgroupNeed::Optional { .. }) && e.is_permission() => Ok(None),
            Err(e) if self == CgroupNeed::Asked && e.is_permission() => {
                Err(Error::Other(format!("{ROOTLESS_NEEDS}: {e}")))
            }
            made => Ok(Some(made?)),
        }
    }

    /// What a container without a cgroup does not have of what its configuration asks for. `shown` is whether there is
    /// another one to be seen instead.
    pub(crate) fn lost(self, mounts: &[MountPlan], shown: bool) -> Vec<String> {
        let is_empty = |mount: &MountPlan| !shown && matches!(mount.source, Source::Cgroup);
        let mounts = mounts.iter().enumerate().filter(|(_, mount)| is_empty(mount));
        let empty = |(i, mount): (usize, &MountPlan)| format!("mounts[{i}]: {:?} is empty: {NONE}", mount.destination);
        let rules = matches!(self, CgroupNeed::Optional { rules: true });
        let rules = rules.then(|| format!("linux.resources.devices is not enforced: {NONE}"));
        mounts.map(empty).chain(rules).collect()
    }
}

fn has_rules(linux: &Linux) -> bool {
    let resources = linux.resources().as_ref();
    resources.and_then(|r| r.devices().as_ref()).is_some_and(|rules| !rules.is_empty())
}

/// Rules about devices are no limit: an ordinary user cannot make devices anyway.
fn is_asked_for(linux: &Linux) -> bool {
    let limits = linux.resources().clone().map(|mut resources| {
        resources.set_devices(None);
        resources
    });
    has_path(linux) || limits.is_some_and(|limits| limits != Default::default())
}

fn has_path(linux: &Linux) -> bool {
    linux.cgroups_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty())
}

/// Reads `cgroupsPath` and `resources`.
pub(super) fn plan(
    setup: &Setup,
    linux: &Linux,
    annotations: Option<&HashMap<String, String>>,
) -> Result<Option<CgroupPlan>> {
    let Some(layout) = &setup.cgroups else { return without(setup, linux).map(|()| None) };
    // Like every runtime: a container without a path of its own gets one by its name.
    let path = match linux.cgroups_path() {
        Some(path) if has_path(linux) => path.clone(),
        _ => setup.cgroup_path.clone().unwrap_or_else(|| PathBuf::from(&setup.id)),
    };
    let resources = linux.resources().as_ref();
    let mut plan = match setup.systemd_cgroup {
        true => {
            let path = if has_path(linux) { path.to_string_lossy() } else { "".into() };
            CgroupPlan::for_unit(layout, &path, &setup.id, resources, annotations)?
        }
        false => CgroupPlan::new(layout, &path, resources)?,
    };
    plan.rootless = setup.rootless_cgroups;
    Ok(Some(plan))
}

/// Where the cgroup is of a container with the configuration `asked`, if it has one.
pub(super) fn find(asked: Option<&Linux>, setup: &Setup) -> Result<Option<Saved>> {
    let mut linux: Linux = serde_json::from_str("{}").map_err(|e| Error::Other(e.to_string()))?;
    linux.set_cgroups_path(asked.and_then(|l| l.cgroups_path().clone()));
    Ok(plan(setup, &linux, None)?.map(|plan| plan.saved()))
}

/// Refuses what cannot be had without cgroups.
fn without(setup: &Setup, linux: &Linux) -> Result<()> {
    let limits = match setup.rootless_cgroups {
        true if is_asked_for(linux) => {
            return Err(Error::Other(format!("{ROOTLESS_NEEDS}: no cgroup hierarchy is mounted on /sys/fs/cgroup")));
        }
        true => false,
        false => linux.resources().as_ref().is_some_and(|r| *r != Default::default()),
    };
    match linux.cgroups_path() {
        Some(_) if has_path(linux) => {
            Err(Error::refused("linux.cgroupsPath", "cgroups are not in use here: remove it"))
        }
        _ if limits => Err(Error::refused("linux.resources", "cgroups are not in use here: remove the field")),
        _ => Ok(()),
    }
}
