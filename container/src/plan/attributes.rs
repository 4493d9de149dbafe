//! What the kernel is told about a process besides who it is: scheduling, memory nodes, personality.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler, Spec,
};

use super::ranges;
use crate::error::{Error, Result};
use crate::sys::scheduling::SchedulerAttributes;

/// Applied by init shortly before it becomes the process's user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) scheduler: Option<SchedulerAttributes>,
    /// Class and level as `ioprio_set(2)` takes them.
    pub(crate) io_priority: Option<u16>,
    pub(crate) personality: Option<u32>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
    /// For processes that join a container: the processors before and after they enter its cgroup.
    pub(crate) affinity: Affinity,
    /// Whether the container's cgroup is for some processors only, which the kernel has no deadlines with.
    pub(crate) has_cpuset: bool,
}

/// `linux.memoryPolicy`, as `set_mempolicy(2)` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    /// With its flags.
    pub(crate) mode: i32,
    pub(crate) nodes: Vec<u64>,
}

/// `process.execCPUAffinity` as masks; an empty one changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Affinity {
    pub(crate) initial: Vec<u64>,
    pub(crate) last: Vec<u64>,
}

impl Attributes {
    /// Reads what a process of the container asks for. What it leaves open is as for the container's first one.
    pub(super) fn new(spec: &Spec, process: &Process) -> Result<Attributes> {
        let first = spec.process().as_ref().unwrap_or(process);
        let linux = spec.linux().as_ref();
        let cpu = linux.and_then(|l| l.resources().as_ref()).and_then(|r| r.cpu().as_ref());
        let cpus = cpu.and_then(|cpu| cpu.cpus().as_deref()).unwrap_or_default();
        let io = process.io_priority().as_ref().or(first.io_priority().as_ref());
        Ok(Attributes {
            scheduler: process.scheduler().as_ref().or(first.scheduler().as_ref()).map(scheduler).transpose()?,
            io_priority: io.map(io_priority).transpose()?,
            personality: linux.and_then(|l| l.personality().as_ref()).map(personality).transpose()?,
            memory_policy: linux.and_then(|l| l.memory_policy().as_ref()).map(memory_policy).transpose()?,
            affinity: affinity(process.exec_cpu_affinity().as_ref().or(first.exec_cpu_affinity().as_ref()))?,
            has_cpuset: !cpus.is_empty(),
        })
    }
}

fn scheduler(asked: &Scheduler) -> Result<SchedulerAttributes> {
    let refused = |field: &str, rule: String| Err(Error::refused(format!("process.scheduler.{field}"), rule));
    let policy = *asked.policy();
    let (nice, priority) = (asked.nice().unwrap_or(0), asked.priority().unwrap_or(0));
    // The rules of sched_setattr(2), whose EINVAL would not say which.
    if matches!(policy, LinuxSchedulerPolicy::SchedOther | LinuxSchedulerPolicy::SchedBatch)
        && !(-20..=19).contains(&nice)
    {
        return refused("nice", format!("{nice} is not between -20 and 19"));
    }
    let realtime = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    if priority < 0 || (priority != 0 && !realtime) {
        return refused("priority", "can only be specified for SCHED_FIFO or SCHED_RR".to_owned());
    }
    let times = [*asked.runtime(), *asked.deadline(), *asked.period()].map(Option::unwrap_or_default);
    if policy != LinuxSchedulerPolicy::SchedDeadline && times != [0; 3] {
        return refused("runtime", "runtime, deadline and period can only be specified for SCHED_DEADLINE".to_owned());
    }
    let flags = asked.flags().iter().flatten().fold(0, |flags, &flag| flags | scheduler_flag(flag));
    Ok(SchedulerAttributes {
        policy: scheduler_policy(policy),
        flags,
        nice,
        priority: priority as u32,
        runtime: times[0],
        deadline: times[1],
        period: times[2],
        ..SchedulerAttributes::default()
    })
}

/// The numbers of linux/sched.h.
fn scheduler_policy(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

/// `SCHED_FLAG_*` of linux/sched.h.
fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// linux/ioprio.h: the class is above the lowest 13 bits.
fn io_priority(asked: &LinuxIOPriority) -> Result<u16> {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match asked.priority() {
        level @ 0..=7 => Ok(class << 13 | level as u16),
        level => Err(Error::refused("process.ioPriority.priority", format!("{level} is not between 0 and 7"))),
    }
}

fn personality(asked: &LinuxPersonality) -> Result<u32> {
    if asked.flags().iter().flatten().next().is_some() {
        return Err(Error::refused("linux.personality.flags", "the runtime specification has no flags: remove them"));
    }
    // linux/personality.h
    Ok(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

fn memory_policy(asked: &LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    let refused = |rule: String| Err(Error::refused("linux.memoryPolicy", rule));
    let list = asked.nodes().as_deref().unwrap_or_default();
    let nodes = match ranges::mask(list) {
        Ok(nodes) => nodes,
        Err(why) => return refused(format!("invalid memory policy nodes {list:?}: {why}")),
    };
    // The numbers of linux/mempolicy.h, and whether the mode takes nodes, must have some, or either.
    let (mode, rule) = match asked.mode() {
        MemoryPolicyModeType::MpolDefault => (0, Some(false)),
        MemoryPolicyModeType::MpolPreferred => (1, None),
        MemoryPolicyModeType::MpolBind => (2, Some(true)),
        MemoryPolicyModeType::MpolInterleave => (3, Some(true)),
        MemoryPolicyModeType::MpolLocal => (4, Some(false)),
        MemoryPolicyModeType::MpolPreferredMany => (5, Some(true)),
        MemoryPolicyModeType::MpolWeightedInterleave => (6, Some(true)),
    };
    match (rule, ranges::count(&nodes)) {
        (Some(false), 1..) => {
            let count = ranges::count(&nodes);
            return refused(format!("memory policy mode requires 0 nodes but got {count}"));
        }
        (Some(true), 0) => return refused("memory policy mode requires at least one node but got 0".to_owned()),
        _ => {}
    }
    let flags = asked.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
                MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
            }
    });
    Ok(MemoryPolicy { mode: mode | flags, nodes })
}

fn affinity(asked: Option<&ExecCPUAffinity>) -> Result<Affinity> {
    let Some(asked) = asked else { return Ok(Affinity::default()) };
    let mask = |field: &str, list: &Option<String>| {
        ranges::mask(list.as_deref().unwrap_or_default())
            .map_err(|why| Error::refused(format!("process.execCPUAffinity.{field}"), why))
    };
    Ok(Affinity { initial: mask("initial", asked.initial())?, last: mask("final", asked.cpu_affinity_final())? })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn attributes(process: Value, linux: Value) -> Result<Attributes, String> {
        let mut base = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/"});
        base.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
        let spec = json!({"ociVersion": "1.3.0", "process": base, "linux": linux});
        let spec: Spec = serde_json::from_value(spec).map_err(|e| e.to_string())?;
        Attributes::new(&spec, spec.process().as_ref().unwrap()).map_err(|e| e.to_string())
    }

    fn of_process(process: Value) -> Result<Attributes, String> {
        attributes(process, json!({}))
    }

    #[test]
    fn nothing_asked_is_nothing_done() {
        let none = attributes(json!({}), json!({})).unwrap();
        assert!(none.scheduler.is_none() && none.io_priority.is_none() && none.personality.is_none());
        assert!(none.memory_policy.is_none() && none.affinity == Affinity::default() && !none.has_cpuset);
    }

    #[test]
    fn a_further_process_is_like_the_first_unless_it_says() {
        let spec = json!({"ociVersion": "1.3.0", "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/",
            "scheduler": {"policy": "SCHED_BATCH"}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let other = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}});
        let made = Attributes::new(&spec, &serde_json::from_value(other).unwrap()).unwrap();
        assert_eq!((made.scheduler.unwrap().policy, made.io_priority), (3, Some(3 << 13)));
    }

    #[test]
    fn a_scheduler_is_packed() {
        let asked = json!({"scheduler": {"policy": "SCHED_DEADLINE", "flags": ["SCHED_RESET_ON_FORK"],
            "nice": 19, "priority": 0, "runtime": 42000, "deadline": 100000, "period": 1000000}});
        let attr = of_process(asked).unwrap().scheduler.unwrap();
        assert_eq!((attr.policy, attr.flags, attr.nice), (6, 1, 19));
        assert_eq!((attr.runtime, attr.deadline, attr.period), (42_000, 100_000, 1_000_000));
    }

    #[test]
    fn impossible_schedulers_are_refused_by_field() {
        for (scheduler, field) in [
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice"),
            (json!({"policy": "SCHED_BATCH", "priority": 1}), "process.scheduler.priority"),
            (json!({"policy": "SCHED_FIFO", "priority": -1}), "process.scheduler.priority"),
            (json!({"policy": "SCHED_FIFO", "priority": 1, "period": 7}), "process.scheduler.runtime"),
        ] {
            let why = of_process(json!({"scheduler": scheduler})).unwrap_err();
            assert!(why.starts_with(field), "{why}");
        }
    }

    #[test]
    fn an_io_priority_is_packed() {
        let asked = |class, priority| of_process(json!({"ioPriority": {"class": class, "priority": priority}}));
        assert_eq!(asked("IOPRIO_CLASS_BE", 4).unwrap().io_priority, Some(2 << 13 | 4));
        assert_eq!(asked("IOPRIO_CLASS_IDLE", 0).unwrap().io_priority, Some(3 << 13));
        assert!(asked("IOPRIO_CLASS_RT", 8).unwrap_err().starts_with("process.ioPriority.priority"));
    }

    #[test]
    fn memory_policies_say_what_is_wrong() {
        let policy = |policy| attributes(json!({}), json!({"memoryPolicy": policy}));
        let made = policy(json!({"mode": "MPOL_PREFERRED", "nodes": "0,2", "flags": ["MPOL_F_RELATIVE_NODES"]}));
        assert_eq!(made.unwrap().memory_policy.unwrap(), MemoryPolicy { mode: 1 | 1 << 14, nodes: vec![5] });
        for (asked, why) in [
            (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
            (json!({"mode": "MPOL_BIND"}), "requires at least one node but got 0"),
            (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "invalid memory policy node"),
        ] {
            let said = policy(asked).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn affinities_are_masks() {
        let made = of_process(json!({"execCPUAffinity": {"initial": "0-1", "final": "1"}})).unwrap();
        assert_eq!(made.affinity, Affinity { initial: vec![3], last: vec![2] });
        let why = of_process(json!({"execCPUAffinity": {"final": "3-1"}})).unwrap_err();
        assert!(why.starts_with("process.execCPUAffinity.final"), "{why}");
    }

    #[test]
    fn personalities_have_no_flags() {
        let personality = |p| attributes(json!({}), json!({"personality": p}));
        assert_eq!(personality(json!({"domain": "LINUX32"})).unwrap().personality, Some(8));
        assert!(personality(json!({"domain": "LINUX", "flags": ["X"]})).unwrap_err().starts_with("linux.personality"));
    }
}
