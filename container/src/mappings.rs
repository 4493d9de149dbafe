//! Users and groups of a user namespace.
//!
//! Who may write what (user_namespaces(7)):
//!
//! | writer | may map |
//! |---|---|
//! | root | everything it has itself |
//! | a user, with `newuidmap` and `newgidmap` | itself and its ranges in `/etc/subuid` and `/etc/subgid` |
//! | a user | itself alone; the group only when nobody inside can change supplementary groups any more |

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use oci_spec::runtime::LinuxIdMapping;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, getegid, geteuid, pidfd_send_signal};

use crate::error::{Context, Error, Result, errno_text};
use crate::sys::clone::{CloneFlags, clone3};

/// Where the two programs are when the environment does not say.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// `size` numbers from `outside` on, which are `inside` and up in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    size: u32,
}

/// Both maps of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mappings {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

impl Mappings {
    /// Reads a configuration's mappings; `place` is what comes before `uidMappings` in the fields' names.
    pub(crate) fn read(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping], place: &str) -> Result<Mappings> {
        let uids = ranges(uids, &format!("{place}.uidMappings"))?;
        Ok(Mappings { uids, gids: ranges(gids, &format!("{place}.gidMappings"))? })
    }

    /// What an ordinary user gets without asking: itself as root, and above it all its subordinate ids.
    pub(crate) fn of_caller() -> Mappings {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let passwd = read("/etc/passwd");
        let user = user_name(&passwd, uid);
        let (subuid, subgid) = (read("/etc/subuid"), read("/etc/subgid"));
        // One without the other is of no use: files would belong to groups that do not exist.
        let usable = program("newuidmap").is_some() && program("newgidmap").is_some();
        let ranges = match usable {
            true => (subordinate(&subuid, user, uid), subordinate(&subgid, user, uid)),
            false => (Vec::new(), Vec::new()),
        };
        let ranges = if ranges.0.is_empty() || ranges.1.is_empty() { Default::default() } else { ranges };
        Mappings { uids: stacked(uid, &ranges.0), gids: stacked(gid, &ranges.1) }
    }

    /// Whether they are what the kernel shows of a user namespace.
    pub(crate) fn are(&self, uid_map: &str, gid_map: &str) -> bool {
        same(&lines(&self.uids), uid_map) && same(&lines(&self.gids), gid_map)
    }

    /// Whether the user is somebody in the namespace.
    pub(crate) fn has_uid(&self, uid: u32) -> bool {
        has(&self.uids, uid)
    }

    /// Whether the group is something in the namespace.
    pub(crate) fn has_gid(&self, gid: u32) -> bool {
        has(&self.gids, gid)
    }

    /// Whether supplementary groups stay what they are, as the caller cannot map its group otherwise.
    pub(crate) fn fix_groups(&self) -> bool {
        !geteuid().is_root() && self.is_caller_alone()
    }

    /// Whether the caller alone is somebody in the namespace.
    pub(crate) fn is_caller_alone(&self) -> bool {
        let alone = |ranges: &[Range], id: u32| matches!(ranges, [r] if r.outside == id && r.size == 1);
        alone(&self.uids, geteuid().as_raw()) && alone(&self.gids, getegid().as_raw())
    }

    /// Writes them for the user namespace of `pid`, a child not yet waited for.
    pub(crate) fn write(&self, pid: i32) -> Result<()> {
        if geteuid().is_root() || self.is_caller_alone() {
            if self.fix_groups() {
                write(pid, "setgroups", "deny")?;
            }
            write(pid, "uid_map", &lines(&self.uids))?;
            return write(pid, "gid_map", &lines(&self.gids));
        }
        map_by_program("newuidmap", pid, &self.uids)?;
        map_by_program("newgidmap", pid, &self.gids)
    }

    /// A user namespace with these mappings and nobody in it, for id-mapped mounts.
    ///
    /// The calling process must have a single thread, see [`clone3`].
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        let mut flags = CloneFlags::default();
        flags.insert(libc::CLONE_NEWUSER);
        let wait = || loop {
            // Until it is killed, which its parent's end does, too.
            let _never = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            std::thread::sleep(std::time::Duration::from_secs(60));
        };
        let child = clone3(flags, None, wait).context(|| "make a user namespace")?;
        let path = format!("/proc/{}/ns/user", child.pid);
        let opened = self.write(child.pid).and_then(|()| {
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(|| format!("open {path}"))
        });
        pidfd_send_signal(&child.pidfd, Signal::KILL).context(|| "end the user namespace's process")?;
        let exited = rustix::process::WaitIdOptions::EXITED;
        rustix::process::waitid(rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&child.pidfd)), exited)
            .context(|| "wait for the user namespace's process")?;
        opened
    }
}

/// Whether the user namespace of a process, and with it every one below, leaves supplementary groups as they are.
/// The process is a name in `/proc`.
pub(crate) fn groups_are_fixed(process: &str) -> bool {
    std::fs::read(Path::new("/proc").join(process).join("setgroups")).is_ok_and(|text| text.starts_with(b"deny"))
}

fn ranges(mappings: &[LinuxIdMapping], field: &str) -> Result<Vec<Range>> {
    let mut ranges: Vec<Range> = Vec::with_capacity(mappings.len());
    for (i, mapping) in mappings.iter().enumerate() {
        let range = Range { inside: mapping.container_id(), outside: mapping.host_id(), size: mapping.size() };
        if range.size == 0 || range.inside.checked_add(range.size).is_none() {
            return Err(Error::refused(format!("{field}[{i}].size"), "must be at least 1 and stay below 2^32"));
        }
        if range.outside.checked_add(range.size).is_none() {
            return Err(Error::refused(format!("{field}[{i}].size"), "must be at least 1 and stay below 2^32"));
        }
        if let Some(other) = ranges.iter().position(|other| overlap(*other, range)) {
            return Err(Error::refused(format!("{field}[{i}]"), format!("overlaps {field}[{other}]")));
        }
        ranges.push(range);
    }
    if ranges.is_empty() {
        return Err(Error::refused(field, "a new user namespace needs at least one mapping"));
    }
    Ok(ranges)
}

/// Whether two maps say the same, in whatever order and with whatever space between the numbers.
fn same(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|map| {
        let mut lines: Vec<Vec<&str>> = map.lines().map(|l| l.split_ascii_whitespace().collect()).collect();
        lines.sort();
        lines
    });
    one == other
}

fn overlap(one: Range, other: Range) -> bool {
    let meet = |a: u32, b: u32| a < b + other.size && b < a + one.size;
    meet(one.inside, other.inside) || meet(one.outside, other.outside)
}

fn has(ranges: &[Range], id: u32) -> bool {
    ranges.iter().any(|r| id >= r.inside && id - r.inside < r.size)
}

fn lines(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut lines, Range { inside, outside, size }| {
        // Writing to a String cannot fail.
        let _written = writeln!(lines, "{inside} {outside} {size}");
        lines
    })
}

fn write(pid: i32, name: &str, content: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::write(&path, content).context(|| format!("write {path}"))
}

/// `newuidmap` and `newgidmap` are allowed what their caller is not.
fn map_by_program(name: &str, pid: i32, ranges: &[Range]) -> Result<()> {
    let failed = |why: String| Error::Other(format!("map the container's users: {name}: {why}"));
    let path = program(name).ok_or_else(|| failed("not found: install it (package uidmap)".to_owned()))?;
    let mut command = Command::new(path);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for Range { inside, outside, size } in ranges {
        command.args([inside, outside, size].map(u32::to_string));
    }
    let output = command.output().map_err(|e: io::Error| failed(errno_text(&e)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches(&format!("{name}: ")).replace('\n', "; ");
    let file = if name == "newuidmap" { "/etc/subuid" } else { "/etc/subgid" };
    Err(failed(format!("{said} ({}): see {file}", output.status)))
}

fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = if path.is_empty() { PATH } else { &path };
    path.split(':').map(|dir| Path::new(dir).join(name)).find(|file| file.is_absolute() && file.is_file())
}

fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// The ranges of a user in a file of subuid(5): first and count.
fn subordinate(file: &str, user: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.trim().parse().ok()?, fields.next()?.trim().parse().ok()?);
        (Some(owner) == user || owner.parse() == Ok(uid)).then_some(range)
    };
    file.lines().filter_map(range).filter(|&(_, count)| count > 0).collect()
}

/// `id` as 0, and the ranges from 1 on. What does not fit into 32 bits is left away.
fn stacked(id: u32, subordinate: &[(u32, u32)]) -> Vec<Range> {
    let mut ranges = vec![Range { inside: 0, outside: id, size: 1 }];
    let mut inside = 1u32;
    for &(outside, size) in subordinate {
        let range = Range { inside, outside, size };
        let (Some(end), Some(_)) = (inside.checked_add(size), outside.checked_add(size)) else { continue };
        if !ranges.iter().any(|other| overlap(*other, range)) {
            ranges.push(range);
            inside = end;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn maps_are_compared_as_the_kernel_writes_them() {
        assert!(same("0 100000 65536\n", "         0     100000      65536\n"));
        assert!(same("1 2 3\n0 1 1\n", "0 1 1\n1 2 3\n"));
        assert!(!same("0 1 1\n", "0 1 2\n"));
    }

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), Some("me"));
        assert_eq!(user_name(passwd, 7), None);
        let subuid = "you:1:2\nme:100000:65536\nbroken\n1000:300000:10\nme:x:1\nme:5:0\n";
        assert_eq!(subordinate(subuid, Some("me"), 1000), [(100000, 65536), (300000, 10)]);
        assert_eq!(subordinate(subuid, None, 7), []);
    }

    #[test]
    fn ranges_are_stacked_above_root() {
        let stacked = lines(&stacked(1000, &[(100000, 65536), (999, 3), (u32::MAX, 2), (300000, 10)]));
        assert_eq!(stacked, "0 1000 1\n1 100000 65536\n65537 300000 10\n");
    }

    #[test]
    fn the_whole_field_is_named() {
        let mapping = |inside, outside, size| -> LinuxIdMapping {
            serde_json::from_value(serde_json::json!({"containerID": inside, "hostID": outside, "size": size})).unwrap()
        };
        let refused = |list: &[LinuxIdMapping]| ranges(list, "linux.uidMappings").unwrap_err().to_string();
        assert!(refused(&[]).starts_with("linux.uidMappings: "));
        assert!(refused(&[mapping(0, 0, 0)]).starts_with("linux.uidMappings[0].size: "));
        assert!(refused(&[mapping(1, 0, u32::MAX)]).starts_with("linux.uidMappings[0].size: "));
        let twice = refused(&[mapping(0, 1000, 10), mapping(20, 1009, 1)]);
        assert_eq!(twice, "linux.uidMappings[1]: overlaps linux.uidMappings[0]");
    }

    proptest! {
        /// What the kernel would refuse is never written: no number is in two ranges.
        #[test]
        fn stacked_ranges_do_not_overlap(id in 0u32..5000, given in proptest::collection::vec((any::<u32>(), 1u32..1 << 31), 0..6)) {
            let ranges = stacked(id, &given);
            for (i, one) in ranges.iter().enumerate() {
                prop_assert!(ranges[i + 1..].iter().all(|other| !overlap(*one, *other)));
            }
            prop_assert!(has(&ranges, 0));
        }
    }
}
