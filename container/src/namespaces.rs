//! Which namespaces a container makes, which it joins, and the user mappings of a new user namespace.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Error, Result};
use crate::sys::clone::CloneFlags;
use crate::sys::namespace::{namespace_kind, setns, unshare};

/// The namespaces of one container.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// Made by the clone itself.
    pub(crate) clone: CloneFlags,
    /// Made by init after it has entered its cgroup: the cgroup it is in then is the root it sees.
    pub(crate) cgroup: bool,
    /// Entered by the parent for the length of the clone: a pid namespace is for children only.
    join_pid: Option<OwnedFd>,
    /// Entered by init, in this order.
    join: Vec<(i32, OwnedFd)>,
    /// All kinds the container does not share with its caller.
    own: Vec<LinuxNamespaceType>,
    /// The lines of `uid_map` and `gid_map`.
    mappings: Option<(String, String)>,
}

impl NamespacePlan {
    /// Opens what is joined and refuses what cannot be done.
    pub(crate) fn new(linux: &Linux) -> Result<NamespacePlan> {
        let mut plan = NamespacePlan::default();
        for (i, namespace) in linux.namespaces().iter().flatten().enumerate() {
            let field = format!("linux.namespaces[{i}]");
            let kind = namespace.typ();
            if plan.has(kind) {
                return Err(Error::refused(field, format!("there are two of type {kind}")));
            }
            plan.own.push(kind);
            match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => plan.join(kind, path, &field)?,
                _ => plan.make(kind, &field)?,
            }
        }
        if !plan.has(LinuxNamespaceType::Mount) {
            return Err(Error::refused(
                "linux.namespaces",
                "a container needs a mount namespace: add {\"type\": \"mount\"}",
            ));
        }
        plan.read_mappings(linux)?;
        Ok(plan)
    }

    /// Whether the container has a namespace of this kind that is not its caller's.
    pub(crate) fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.own.contains(&kind)
    }

    /// Whether a namespace of this kind is new.
    pub(crate) fn makes(&self, flag: i32) -> bool {
        self.clone.contains(flag)
    }

    fn make(&mut self, kind: LinuxNamespaceType, field: &str) -> Result<()> {
        match kind {
            LinuxNamespaceType::Cgroup => self.cgroup = true,
            LinuxNamespaceType::Time => return Err(Error::refused(field, "time namespaces are not supported yet")),
            kind => self.clone.insert(flag(kind)),
        }
        Ok(())
    }

    fn join(&mut self, kind: LinuxNamespaceType, path: &Path, field: &str) -> Result<()> {
        let field = format!("{field}.path");
        if matches!(kind, LinuxNamespaceType::Mount | LinuxNamespaceType::User | LinuxNamespaceType::Time) {
            return Err(Error::refused(field, format!("joining a {kind} namespace is not supported yet")));
        }
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
            kind => self.join.push((flag(kind), fd)),
        }
        Ok(())
    }

    fn read_mappings(&mut self, linux: &Linux) -> Result<()> {
        let (uids, gids) = (linux.uid_mappings(), linux.gid_mappings());
        if !self.makes(libc::CLONE_NEWUSER) {
            for (name, mappings) in [("linux.uidMappings", uids), ("linux.gidMappings", gids)] {
                if mappings.iter().flatten().next().is_some() {
                    return Err(Error::refused(name, "mappings need a new user namespace: add {\"type\": \"user\"}"));
                }
            }
            return Ok(());
        }
        self.mappings = Some((lines(uids, "linux.uidMappings")?, lines(gids, "linux.gidMappings")?));
        Ok(())
    }

    /// Runs `clone` inside the joined pid namespace, if there is one. The parent itself stays where it is.
    pub(crate) fn inside_pid_namespace<T>(&self, clone: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(joined) = &self.join_pid else { return clone() };
        let own = rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| "open /proc/self/ns/pid")?;
        setns(joined.as_fd(), libc::CLONE_NEWPID).context(|| "join the pid namespace")?;
        let cloned = clone();
        setns(own.as_fd(), libc::CLONE_NEWPID).context(|| "return to the own pid namespace")?;
        cloned
    }

    /// Init's part, before its cgroup namespace.
    pub(crate) fn enter(&self) -> Result<()> {
        for (kind, fd) in &self.join {
            setns(fd.as_fd(), *kind).context(|| format!("join the namespace with flag {kind:#x}"))?;
        }
        Ok(())
    }

    /// Init's part, once it is in its cgroup.
    pub(crate) fn enter_cgroup_namespace(&self) -> Result<()> {
        if self.cgroup { unshare(libc::CLONE_NEWCGROUP).context(|| "make a cgroup namespace") } else { Ok(()) }
    }

    /// The parent's part: maps users and groups of the new user namespace of `pid`, a child not yet waited for.
    pub(crate) fn write_mappings(&self, pid: i32) -> Result<()> {
        let Some((uids, gids)) = &self.mappings else { return Ok(()) };
        for (name, lines) in [("uid_map", uids), ("gid_map", gids)] {
            let path = format!("/proc/{pid}/{name}");
            std::fs::write(&path, lines).context(|| format!("write {path}"))?;
        }
        Ok(())
    }
}

fn flag(kind: LinuxNamespaceType) -> i32 {
    // The enum's values are those of linux/sched.h.
    kind as i32
}

fn lines(mappings: &Option<Vec<LinuxIdMapping>>, field: &str) -> Result<String> {
    let mut lines = String::new();
    for (i, mapping) in mappings.iter().flatten().enumerate() {
        let size = mapping.size();
        let ends = [mapping.container_id().checked_add(size), mapping.host_id().checked_add(size)];
        if size == 0 || ends.contains(&None) {
            return Err(Error::refused(format!("{field}[{i}].size"), "must be at least 1 and stay below 2^32"));
        }
        // Writing to a String cannot fail.
        let _written = writeln!(lines, "{} {} {size}", mapping.container_id(), mapping.host_id());
    }
    if lines.is_empty() {
        return Err(Error::refused(field, "a new user namespace needs at least one mapping"));
    }
    Ok(lines)
}
