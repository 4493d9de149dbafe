//! Removing pods: marking them, and taking away what they left.

use std::io;

use appc_container::cgroup::Cgroup;

use super::dir::{Place, Pod};

/// Moves a pod that the caller has locked to where removed pods are.
pub fn mark(pod: &mut Pod) -> io::Result<()> {
    match pod.place {
        Place::Run => pod.move_to(Place::ExitedGarbage),
        Place::Embryo | Place::Prepare => pod.move_to(Place::Garbage),
        Place::ExitedGarbage | Place::Garbage => Ok(()),
    }
}

/// Removes a pod that the caller has locked: first what it had in the kernel, then its directory.
///
/// Its namespaces and mounts went with its processes; only control groups stay behind when `rkt` was killed.
pub fn delete(pod: Pod) -> io::Result<()> {
    for app in pod.app_dirs()? {
        let Some(saved) = pod.cgroup(&app)? else { continue };
        // A hierarchy that is not mounted any more has no group to remove.
        if let Ok(cgroup) = Cgroup::reopen(&saved) {
            cgroup.destroy().map_err(|e| io::Error::other(e.to_string()))?;
        }
    }
    pod.remove()
}
