//! The five capability sets of a process.

use std::io;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use crate::error::{Context, Result};
use crate::plan::Warnings;
use crate::sys::credentials::{self, CapabilitySets};

/// All that this engine knows, each at its number.
#[rustfmt::skip]
pub(crate) const NAMES: [&str; 41] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
];

/// What an app may have when nothing else is said: the 14 of the App Container specification.
pub const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::NetBindService,
    Capability::Setuid,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setfcap,
    Capability::SysChroot,
];

/// Those that this process may use, and so give to others.
///
/// # Errors
/// When the kernel does not tell.
pub fn own() -> io::Result<Capabilities> {
    let permitted = rustix::thread::capabilities(None)?.permitted.bits();
    let own = NAMES.iter().enumerate().filter(|(number, _)| permitted >> number & 1 == 1);
    Ok(own.filter_map(|(_, name)| name.trim_start_matches("CAP_").parse().ok()).collect())
}

/// The sets of a process for which `set` is a ceiling: nothing is inheritable or ambient, so a program that is not root's
/// starts with none of them.
pub fn ceiling(set: Capabilities) -> LinuxCapabilities {
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    capabilities
}

/// The sentence about names that mean nothing here, with the words that callers know from runc.
pub fn ignored(unknown: impl IntoIterator<Item = String>) -> Option<String> {
    let names: Vec<String> = unknown.into_iter().collect();
    let names = names.join(" ");
    (!names.is_empty())
        .then(|| format!("process.capabilities: ignoring unknown or unavailable capabilities: [{names}]"))
}

/// Whether `name` is a capability, spelt as in a configuration.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What a process can be given, as bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Available {
    bounding: u64,
    permitted: u64,
}

impl Available {
    /// What this process has to give, or all that the kernel knows, with which the first process in a user namespace
    /// begins: user_namespaces(7).
    pub(crate) fn new(in_user_namespace: bool) -> Result<Available> {
        let (mut known, mut bounding) = (0, 0);
        for number in 0..NAMES.len() as u32 {
            match credentials::in_bounding(number) {
                Ok(has) => {
                    known |= 1 << number;
                    bounding |= u64::from(has) << number;
                }
                // The first that the kernel does not know: there is none above it.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
                Err(e) => return Err(e).context(|| "read the own capabilities"),
            }
        }
        if in_user_namespace {
            return Ok(Available { bounding: known, permitted: known });
        }
        let own = rustix::thread::capabilities(None).context(|| "read the own capabilities")?;
        Ok(Available { bounding, permitted: own.permitted.bits() })
    }
}

/// The sets as bits, ready to be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilityPlan {
    bounding: u64,
    sets: CapabilitySets,
    ambient: u64,
}

impl CapabilityPlan {
    /// Reads the configuration; a process without the field has no capabilities.
    pub(crate) fn new(
        spec: Option<&LinuxCapabilities>,
        available: Available,
        warnings: &mut Warnings,
    ) -> CapabilityPlan {
        let Some(spec) = spec else { return CapabilityPlan::default() };
        let mut lost = 0;
        let mut among = |set: &Option<Capabilities>, available: u64| {
            lost |= bits(set) & !available;
            bits(set) & available
        };
        let bounding = among(spec.bounding(), available.bounding);
        let permitted = among(spec.permitted(), available.permitted);
        let inheritable = among(spec.inheritable(), available.permitted);
        let effective = among(spec.effective(), available.permitted);
        let asked = among(spec.ambient(), available.permitted);
        let lost = NAMES.iter().enumerate().filter(|(number, _)| lost >> number & 1 == 1);
        warnings.lost.extend(ignored(lost.map(|(_, name)| (*name).to_owned())));
        // capabilities(7): a capability can be ambient only while it is both permitted and inheritable.
        let ambient = asked & permitted & inheritable;
        let lost = NAMES.iter().enumerate().filter(|(number, _)| (asked & !ambient) >> number & 1 == 1);
        warnings.lost.extend(lost.map(|(_, name)| {
            let why = "it is not both permitted and inheritable";
            format!("process.capabilities.ambient: can't raise ambient capability {name}: {why}")
        }));
        CapabilityPlan { bounding, sets: CapabilitySets { effective, permitted, inheritable }, ambient }
    }

    /// Shrinks the bounding set; needs `CAP_SETPCAP`, so before [`CapabilityPlan::apply`].
    pub(crate) fn limit(&self) -> io::Result<()> {
        for capability in 0..64 {
            if self.bounding >> capability & 1 == 1 {
                continue;
            }
            match credentials::drop_bounding(capability) {
                // The first number the kernel does not know: there is none above it.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
                done => done?,
            }
        }
        Ok(())
    }

    /// Takes on the other four sets; to be called by the final user. `meanwhile` is kept besides, as far as it is there,
    /// until [`CapabilityPlan::settle`].
    pub(crate) fn apply(&self, meanwhile: u64) -> io::Result<()> {
        let mut more = self.sets;
        more.permitted |= meanwhile;
        more.effective |= meanwhile;
        match credentials::set_capabilities(more) {
            // Not there: nothing to keep.
            Err(e) if meanwhile != 0 && e.raw_os_error() == Some(libc::EPERM) => self.settle()?,
            done => done?,
        }
        for capability in (0..64).filter(|c| self.ambient >> c & 1 == 1) {
            credentials::raise_ambient(capability)?;
        }
        Ok(())
    }
}

impl CapabilityPlan {
    /// Drops what [`CapabilityPlan::apply`] kept meanwhile.
    pub(crate) fn settle(&self) -> io::Result<()> {
        credentials::set_capabilities(self.sets)
    }
}

fn bits(set: &Option<Capabilities>) -> u64 {
    set.iter().flatten().fold(0, |bits, &capability| bits | 1 << number(capability))
}

/// The number of linux/capability.h.
fn number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str, available: u64) -> (CapabilityPlan, Warnings) {
        let available = Available { bounding: available, permitted: available };
        let mut warnings = Warnings::default();
        (CapabilityPlan::new(Some(&serde_json::from_str(json).unwrap()), available, &mut warnings), warnings)
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let (plan, warnings) = plan(
            r#"{"permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"]}"#,
            u64::MAX,
        );
        assert_eq!(plan.ambient, 1 << 5);
        assert_eq!(plan.sets.permitted, 1 << 5 | 1);
        assert_eq!((warnings.lost.len(), warnings.idle.len()), (1, 0));
    }

    #[test]
    fn what_cannot_be_had_is_left_away_and_told() {
        let (plan, warnings) = plan(
            r#"{"bounding": ["CAP_CHOWN", "CAP_BPF"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL", "CAP_CHOWN"]}"#,
            1,
        );
        assert_eq!((plan.bounding, plan.sets.permitted, plan.sets.effective), (1, 0, 1));
        let sentence = "process.capabilities: ignoring unknown or unavailable capabilities: [CAP_KILL CAP_BPF]";
        assert_eq!(warnings, Warnings { lost: vec![sentence.to_owned()], idle: vec![] });
    }

    #[test]
    fn names_stand_at_their_numbers() {
        for (at, name) in NAMES.iter().enumerate() {
            let known: Capability = serde_json::from_value(serde_json::json!(name)).unwrap();
            assert_eq!(number(known), at as u32, "{name}");
        }
    }

    #[test]
    fn absent_means_none() {
        let nothing = Available { bounding: 0, permitted: 0 };
        assert_eq!(CapabilityPlan::new(None, nothing, &mut Warnings::default()), CapabilityPlan::default());
    }
}
