//! The process of a container.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process, Spec};
use rustix::process::{Resource, Rlimit};

use super::attributes::Attributes;
use super::labels::Labels;
use super::warnings::Warnings;
use crate::capabilities::{Available, CapabilityPlan};
use crate::error::{Error, Result};
use crate::seccomp::{Cache, Seccomp};

/// Numbers of users and groups end before this one, which means "leave as it is" to the kernel.
const NO_ID: u32 = u32::MAX;

/// What init becomes.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) args: Vec<CString>,
    /// Without duplicates: the last one counted.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) capabilities: CapabilityPlan,
    pub(crate) rlimits: Vec<(Resource, Rlimit)>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) terminal: bool,
    /// Which system calls it may make.
    pub(crate) seccomp: Option<Arc<Seccomp>>,
    /// Columns and rows.
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) attributes: Attributes,
    pub(crate) labels: Labels,
    /// How many descriptors from 3 on are sockets to listen on.
    pub(crate) listen_fds: u32,
}

impl ProcessPlan {
    /// Reads a process of the container that `spec` describes: its own, or one that is to join it. Also returns what
    /// the process asks for in vain. `filters` are those made before.
    pub(crate) fn new(
        spec: &Spec,
        process: &Process,
        available: Available,
        filters: Option<&Cache>,
        warnings: &mut Warnings,
    ) -> Result<ProcessPlan> {
        super::refuse::unsupported_process(process)?;
        let user = process.user();
        for (field, id) in [("process.user.uid", user.uid()), ("process.user.gid", user.gid())] {
            if id == NO_ID {
                return Err(Error::refused(field, "4294967295 is not a number a user or group can have"));
            }
        }
        if !process.cwd().is_absolute() {
            return Err(Error::refused("process.cwd", "must be an absolute path"));
        }
        let capabilities = CapabilityPlan::new(process.capabilities().as_ref(), available, warnings);
        let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let seccomp = seccomp.map(|seccomp| Seccomp::new(seccomp, filters)).transpose()?;
        warnings.idle.extend(seccomp.iter().flat_map(|seccomp| seccomp.filter.warnings()).cloned());
        let plan = ProcessPlan {
            args: args(process)?,
            env: environment(process.env().as_deref().unwrap_or_default())?,
            cwd: process.cwd().clone(),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: umask(user.umask())?,
            capabilities,
            rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default())?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            oom_score_adj: oom_score(process.oom_score_adj())?,
            terminal: process.terminal().unwrap_or(false),
            seccomp: seccomp.map(Arc::new),
            console_size: console_size(process),
            attributes: Attributes::new(spec, process)?,
            labels: Labels::new(spec, process)?,
            listen_fds: 0,
        };
        plan.check_groups()?;
        Ok(plan)
    }

    fn check_groups(&self) -> Result<()> {
        // NGROUPS_MAX of linux/limits.h.
        if self.groups.len() > 65536 {
            return Err(Error::refused("process.user.additionalGids", "more than 65536 groups"));
        }
        Ok(())
    }

    /// The value of a variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// The kernel would take the rest of the number away without a word.
fn umask(given: Option<u32>) -> Result<u32> {
    match given.unwrap_or(0o022) {
        mask @ 0..=0o777 => Ok(mask),
        more => Err(Error::refused("process.user.umask", format!("{more} is more than 511, which is 0777"))),
    }
}

fn args(process: &Process) -> Result<Vec<CString>> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.first().is_none_or(|first| first.is_empty()) {
        return Err(Error::refused("process.args", "must name a program to run"));
    }
    args.iter()
        .enumerate()
        .map(|(i, arg)| {
            CString::new(arg.as_str()).map_err(|_| Error::refused(format!("process.args[{i}]"), "holds a zero byte"))
        })
        .collect()
}

/// The variables in the order of their first mention, each with its last value.
fn environment(env: &[String]) -> Result<Vec<(String, String)>> {
    let mut variables: Vec<(String, String)> = Vec::with_capacity(env.len());
    for (i, variable) in env.iter().enumerate() {
        let refused = |rule: &str| Err(Error::refused(format!("process.env[{i}]"), rule));
        let Some((name, value)) = variable.split_once('=') else { return refused("has no '='") };
        if name.is_empty() {
            return refused("has no name");
        }
        if variable.contains('\0') {
            return refused("holds a zero byte");
        }
        match variables.iter_mut().find(|(n, _)| n == name) {
            Some((_, earlier)) => value.clone_into(earlier),
            None => variables.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(variables)
}

fn rlimits(limits: &[PosixRlimit]) -> Result<Vec<(Resource, Rlimit)>> {
    let mut planned: Vec<(Resource, Rlimit)> = Vec::with_capacity(limits.len());
    for (i, limit) in limits.iter().enumerate() {
        let refused = |rule: String| Err(Error::refused(format!("process.rlimits[{i}]"), rule));
        let resource = resource(limit.typ());
        if planned.iter().any(|(r, _)| *r == resource) {
            return refused(format!("{} is given twice", limit.typ()));
        }
        if limit.soft() > limit.hard() {
            return refused(format!("soft {} is above hard {}", limit.soft(), limit.hard()));
        }
        // RLIM_INFINITY is the highest number, for rustix it is the absence of one.
        let value = |v: u64| Some(v).filter(|&v| v != u64::MAX);
        planned.push((resource, Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) }));
    }
    Ok(planned)
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

fn oom_score(score: Option<i32>) -> Result<Option<i32>> {
    match score {
        // OOM_SCORE_ADJ_MIN and _MAX of linux/oom.h.
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Error::refused("process.oomScoreAdj", format!("{score} is not between -1000 and 1000")))
        }
        score => Ok(score),
    }
}

fn console_size(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    let clamp = |v: u64| u16::try_from(v).unwrap_or(u16::MAX);
    Some((clamp(size.width()), clamp(size.height()))).filter(|&size| size != (0, 0))
}
