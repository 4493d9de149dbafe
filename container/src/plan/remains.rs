//! What there is of a container whose record is lost, as far as its configuration tells.

use super::{Setup, cgroup};
use crate::cgroup::Saved as SavedCgroup;
use crate::config::read_spec;
use crate::error::Result;
use crate::resctrl::{ResctrlPlan, Saved as SavedResctrl};

/// What is to be removed of it, and what should be done.
#[derive(Debug, Default)]
pub struct Remains {
    /// Its cgroup.
    pub cgroup: Option<SavedCgroup>,
    /// The path of its cgroup starts at that of the process that made it, which is not known.
    pub relative: bool,
    /// Its shares of caches and memory bandwidth.
    pub resctrl: Option<SavedResctrl>,
    /// Whether it has poststop hooks. What those are to be told was in the record.
    pub poststop: bool,
}

impl Remains {
    /// Reads the configuration of the container that `setup` names.
    ///
    /// # Errors
    /// When the configuration does not say where it ran.
    pub fn find(config: &[u8], setup: &Setup) -> Result<Remains> {
        // What it warns of was said when the container was made.
        let spec = read_spec(config, &mut Vec::new())?;
        let linux = spec.linux().as_ref();
        let path = linux.and_then(|l| l.cgroups_path().as_ref()).filter(|path| !path.as_os_str().is_empty());
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_ref());
        let resctrl = linux.and_then(|l| l.intel_rdt().as_ref());
        Ok(Remains {
            cgroup: cgroup::find(linux, setup)?,
            relative: !setup.systemd_cgroup && path.is_none_or(|path| path.is_relative()),
            // Where there is none mounted there is none to be removed.
            resctrl: resctrl.and_then(|asked| Some(ResctrlPlan::new(asked, &setup.id).ok()?.saved())),
            poststop: hooks.is_some_and(|hooks| !hooks.is_empty()),
        })
    }
}
