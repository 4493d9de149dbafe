//! Which namespaces a container makes, which it joins, and the user mappings of a new user namespace.
//!
//! Most are made by the clone itself and joined by init. A joined user namespace comes before all of it: see [`join`].

mod join;
mod time;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType};
use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;

use crate::error::{Context, Error, Result};
use crate::mappings::Mappings;
use crate::plan::ProcessPlan;
use crate::sys::clone::{CloneFlags, Cloned, clone3};
use crate::sys::environment;
use crate::sys::namespace::{in_user_namespace, namespace_kind, setns, unshare};

/// The namespaces of one container.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// Made by the clone itself.
    pub(crate) clone: CloneFlags,
    /// Made by init after it has entered its cgroup: the cgroup it is in then is the root it sees.
    pub(crate) cgroup: bool,
    /// A new time namespace, made by init.
    time: Option<time::TimeOffsets>,
    /// Entered by the parent for the length of the clone: a pid namespace is for children only.
    join_pid: Option<OwnedFd>,
    /// Entered by a process between parent and init, with all others.
    join_user: Option<OwnedFd>,
    /// Entered by init, in this order; a mount namespace last, as paths mean something else there.
    join: Vec<(i32, OwnedFd)>,
    /// Where init returns to from the mount namespace that it has built the root in.
    pub(crate) callers_mounts: Option<OwnedFd>,
    /// All kinds the container does not share with its caller.
    own: Vec<LinuxNamespaceType>,
    /// Whether the caller is not root.
    pub(crate) ordinary_caller: bool,
    /// Of the new user namespace, or those that a joined one must have.
    mappings: Option<Mappings>,
}

impl NamespacePlan {
    /// Opens what is joined and refuses what cannot be done.
    pub(crate) fn new(linux: &Linux) -> Result<NamespacePlan> {
        let mut plan = NamespacePlan { ordinary_caller: !geteuid().is_root(), ..NamespacePlan::default() };
        for (i, namespace) in linux.namespaces().iter().flatten().enumerate() {
            let field = format!("linux.namespaces[{i}]");
            let kind = namespace.typ();
            if plan.has(kind) {
                return Err(Error::refused(field, format!("there are two of type {kind}")));
            }
            plan.own.push(kind);
            match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => plan.join(kind, path, &field)?,
                _ => plan.make(kind),
            }
        }
        // An ordinary user can make none of the others without it.
        if plan.ordinary_caller && !plan.has(LinuxNamespaceType::User) {
            plan.own.push(LinuxNamespaceType::User);
            plan.make(LinuxNamespaceType::User);
        }
        if !plan.has(LinuxNamespaceType::Mount) {
            plan.borrow_mount_namespace()?;
        }
        plan.join.sort_by_key(|(kind, _)| *kind == libc::CLONE_NEWNS);
        plan.read_mappings(linux)?;
        plan.read_time_offsets(linux)?;
        Ok(plan)
    }

    /// The container shares its caller's mount namespace, but its root is built in a temporary one.
    fn borrow_mount_namespace(&mut self) -> Result<()> {
        if self.has(LinuxNamespaceType::User) {
            let why = "a user namespace needs a mount namespace: add {\"type\": \"mount\"}";
            return Err(Error::refused("linux.namespaces", why));
        }
        let own = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        self.callers_mounts = Some(own.context(|| "open /proc/self/ns/mnt")?);
        self.make(LinuxNamespaceType::Mount);
        Ok(())
    }

    /// Whether the container has a namespace of this kind that is not its caller's.
    pub(crate) fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.own.contains(&kind)
    }

    /// Whether a namespace of this kind is new.
    pub(crate) fn makes(&self, flag: i32) -> bool {
        self.clone.contains(flag)
    }

    fn make(&mut self, kind: LinuxNamespaceType) {
        match kind {
            LinuxNamespaceType::Cgroup => self.cgroup = true,
            LinuxNamespaceType::Time => self.time = Some(time::TimeOffsets::default()),
            kind => self.clone.insert(flag(kind)),
        }
    }

    fn join(&mut self, kind: LinuxNamespaceType, path: &Path, field: &str) -> Result<()> {
        let field = format!("{field}.path");
        let shown = path.display();
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .map_err(|e| Error::refused(&field, format!("open {shown}: {e}")))?;
        match namespace_kind(fd.as_fd()) {
            Ok(found) if found == flag(kind) => {}
            Ok(_) => return Err(Error::refused(field, format!("{shown} is not a {kind} namespace"))),
            Err(_) => return Err(Error::refused(field, format!("{shown} is not a namespace"))),
        }
        match kind {
            LinuxNamespaceType::Pid => self.join_pid = Some(fd),
            LinuxNamespaceType::User => self.join_user = Some(fd),
            kind => self.join.push((flag(kind), fd)),
        }
        Ok(())
    }

    fn read_mappings(&mut self, linux: &Linux) -> Result<()> {
        let (uids, gids) = (linux.uid_mappings(), linux.gid_mappings());
        let any = [uids, gids].iter().any(|mappings| mappings.iter().flatten().next().is_some());
        if self.join_user.is_some() && !any {
            return Ok(());
        }
        if !self.has(LinuxNamespaceType::User) {
            for (name, mappings) in [("linux.uidMappings", uids), ("linux.gidMappings", gids)] {
                if mappings.iter().flatten().next().is_some() {
                    return Err(Error::refused(name, "mappings need a new user namespace: add {\"type\": \"user\"}"));
                }
            }
            return Ok(());
        }
        let [uids, gids] = [uids, gids].map(|m| m.as_deref().unwrap_or_default());
        self.mappings = Some(match uids.is_empty() && gids.is_empty() && self.ordinary_caller {
            true => Mappings::of_caller(),
            false => Mappings::read(uids, gids, "linux")?,
        });
        Ok(())
    }

    /// The mappings of the new user namespace.
    pub(crate) fn mappings(&self) -> Option<&Mappings> {
        self.mappings.as_ref()
    }

    /// Refuses users and groups that are nobody in the new user namespace.
    pub(crate) fn check_user(&self, process: &ProcessPlan) -> Result<()> {
        let Some(mappings) = &self.mappings else { return Ok(()) };
        let unmapped = |field: &str, id: u32, kind: &str| {
            Error::refused(format!("process.user.{field}"), format!("{id} is not mapped: add it to linux.{kind}"))
        };
        if !mappings.has_uid(process.uid) {
            return Err(unmapped("uid", process.uid, "uidMappings"));
        }
        if !mappings.has_gid(process.gid) {
            return Err(unmapped("gid", process.gid, "gidMappings"));
        }
        if let Some(group) = process.groups.iter().find(|&&group| !mappings.has_gid(group)) {
            return Err(unmapped("additionalGids", *group, "gidMappings"));
        }
        if mappings.fix_groups() && !process.groups.is_empty() {
            let why = "cannot set any additional groups in a rootless container without ranges in /etc/subgid";
            return Err(Error::refused("process.user.additionalGids", why));
        }
        Ok(())
    }

    fn read_time_offsets(&mut self, linux: &Linux) -> Result<()> {
        let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return Ok(()) };
        let refused = |rule: &str| Err(Error::refused("linux.timeOffsets", rule));
        let any = self.has(LinuxNamespaceType::Time);
        match &mut self.time {
            Some(time) => *time = time::TimeOffsets::new(offsets)?,
            None if any => return refused("the joined time namespace has its own: give either its path or offsets"),
            None => return refused("offsets need a new time namespace: add {\"type\": \"time\"}"),
        }
        Ok(())
    }

    /// Whether the container's processes are in a user namespace that is not the caller's.
    pub(crate) fn has_user(&self) -> bool {
        self.has(LinuxNamespaceType::User)
    }

    /// The network namespace of the first process `pid`: the one it joins, or has been made in.
    pub(crate) fn network(&self, pid: i32) -> Result<OwnedFd> {
        match self.join.iter().find(|(kind, _)| *kind == libc::CLONE_NEWNET) {
            Some((_, joined)) => joined.try_clone().context(|| "open the network namespace"),
            None => {
                let path = format!("/proc/{pid}/ns/net");
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                rustix::fs::open(&path, flags, Mode::empty()).context(|| format!("open {path}"))
            }
        }
    }

    /// Clones the container's first process, which runs `init` in the new namespaces.
    pub(crate) fn clone_init(&self, into: Option<BorrowedFd<'_>>, init: impl FnOnce() -> i32) -> Result<Cloned> {
        if let Some(user) = &self.join_user {
            return self.clone_between(|| self.join_all(user), into, init);
        }
        if let Some(joined) = self.join_pid.as_ref().filter(|_| in_user_namespace()) {
            return self.clone_between(|| join_pid(joined), into, init);
        }
        self.inside_pid_namespace(|| clone3(self.clone, into, init).context(|| "clone the container's first process"))
    }

    /// Runs `clone` inside the joined pid namespace, if there is one. The parent itself stays where it is.
    fn inside_pid_namespace<T>(&self, clone: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(joined) = &self.join_pid else { return clone() };
        let own = rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| "open /proc/self/ns/pid")?;
        join_pid(joined)?;
        // Who is there already may trace the newcomer from its first moment on.
        let cloned = environment::hidden_from_child(clone);
        setns(own.as_fd(), libc::CLONE_NEWPID).context(|| "return to the own pid namespace")?;
        cloned.context(|| "hide the environment")?
    }

    /// Init's part, before its cgroup namespace.
    pub(crate) fn enter(&self) -> Result<()> {
        if self.join_user.is_some() {
            return Ok(());
        }
        for (kind, fd) in &self.join {
            setns(fd.as_fd(), *kind).context(|| format!("join the namespace with flag {kind:#x}"))?;
        }
        Ok(())
    }

    /// Init's very first part: the clock's offsets are for whom they belong to to write.
    pub(crate) fn enter_time_namespace(&self) -> Result<()> {
        self.time.as_ref().map_or(Ok(()), time::TimeOffsets::enter)
    }

    /// Init's part, once it is in its cgroup.
    pub(crate) fn enter_cgroup_namespace(&self) -> Result<()> {
        if self.cgroup { unshare(libc::CLONE_NEWCGROUP).context(|| "make a cgroup namespace") } else { Ok(()) }
    }

    /// The parent's part: maps users and groups of the new user namespace of `pid`, a child not yet waited for.
    pub(crate) fn write_mappings(&self, pid: i32) -> Result<()> {
        match &self.mappings {
            Some(mappings) if self.makes(libc::CLONE_NEWUSER) => mappings.write(pid),
            _ => Ok(()),
        }
    }
}

fn join_pid(namespace: &OwnedFd) -> Result<()> {
    setns(namespace.as_fd(), libc::CLONE_NEWPID).context(|| "join the pid namespace")
}

fn flag(kind: LinuxNamespaceType) -> i32 {
    // The enum's values are those of linux/sched.h.
    kind as i32
}
