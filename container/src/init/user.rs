//! Becoming the process's user, in its directory, with its limits.

use std::path::Path;

use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::{FileType, fstat};
use rustix::process::{fchdir, getcwd, setrlimit};

use super::attributes;
use super::filter::kept_capabilities;
use crate::error::{Context, Error, Result, errno_text};
use crate::plan::ProcessPlan;
use crate::sys::credentials::{reset_securebits, set_all_gids, set_all_uids, set_groups};

/// The longest `/etc/passwd` that is read.
const PASSWD_MAX: u64 = 1 << 20;

/// Changes everything that `process` says about who and where it is. There is no way back.
///
/// With `fixed_groups` the user namespace does not allow to change supplementary groups, see [`groups_are_fixed`].
///
/// [`groups_are_fixed`]: crate::mappings::groups_are_fixed
pub(super) fn become_user(root: &Root, process: &ProcessPlan, fixed_groups: bool) -> Result<()> {
    for (i, (resource, limit)) in process.rlimits.iter().enumerate() {
        setrlimit(*resource, *limit).context(|| {
            let name = format!("{resource:?}").to_uppercase();
            let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
            let (soft, hard) = (shown(limit.current), shown(limit.maximum));
            format!("process.rlimits[{i}]: set RLIMIT_{name} to {soft} (soft) and {hard} (hard)")
        })?;
    }
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
    }
    attributes::apply(&process.attributes)?;
    let entered = enter_directory(root, &process.cwd);
    reset_securebits().context(|| "reset securebits")?;
    process.capabilities.limit().context(|| "process.capabilities.bounding: take away the others")?;
    // Otherwise leaving user 0 would drop the capabilities that are to be kept.
    rustix::thread::set_keep_capabilities(true).context(|| "keep capabilities")?;
    if !fixed_groups || !process.groups.is_empty() {
        set_groups(&process.groups).context(|| "set additional groups")?;
    }
    set_all_gids(process.gid).map_err(|e| not_become("gid", process.gid, &e))?;
    set_all_uids(process.uid).map_err(|e| not_become("uid", process.uid, &e))?;
    rustix::thread::set_keep_capabilities(false).context(|| "keep capabilities")?;
    process.capabilities.apply(kept_capabilities(process)).context(|| "process.capabilities: set them")?;
    // A directory may be closed to root, as on NFS, and open to the user.
    let entered = entered.or_else(|_| enter_directory(root, &process.cwd));
    entered.map_err(|why| no_directory(&process.cwd, &why))?;
    rustix::process::umask(Mode::from(process.umask));
    Ok(())
}

/// setresuid(2): `EINVAL` says that the user namespace has no such user.
fn not_become(kind: &str, id: u32, why: &std::io::Error) -> Error {
    let rule = match why.kind() {
        std::io::ErrorKind::InvalidInput => {
            format!("{id} is not mapped in the user namespace: an ordinary user has what is in /etc/sub{kind}")
        }
        _ => format!("become {id}: {}", errno_text(why)),
    };
    Error::refused(format!("process.user.{kind}"), rule)
}

/// Makes the working directory of a new container where it is missing, as long as the root can be written to.
pub(super) fn make_directory(root: &Root, cwd: &Path) -> Result<()> {
    match root.open_at(cwd, OFlags::PATH | OFlags::DIRECTORY) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            root.mkdir_all(cwd, Mode::from(0o755)).map(drop).map_err(|e| no_directory(cwd, &errno_text(&e)))
        }
        // Whatever it is, it is seen when it is entered.
        _ => Ok(()),
    }
}

fn no_directory(cwd: &Path, why: &str) -> Error {
    Error::Other(format!("chdir to cwd ({cwd:?}) set in config.json failed: {why}"))
}

/// Through the root's descriptor, so that no magic link (`/proc/self/fd/7`) can lead out of the container.
fn enter_directory(root: &Root, cwd: &Path) -> Result<(), String> {
    let directory = root.open_at(cwd, OFlags::PATH | OFlags::DIRECTORY);
    fchdir(directory.map_err(|e| errno_text(&e))?).map_err(|e| errno_text(&e.into()))?;
    // What the kernel calls unreachable has no path from our root.
    match getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        _ => Err("current working directory is outside of container mount namespace root".to_owned()),
    }
}

/// The home directory: what the environment says, else what the container's `/etc/passwd` says, else `/`.
pub(super) fn home(root: &Root, process: &ProcessPlan) -> String {
    if let Some(home) = process.variable("HOME").filter(|home| !home.is_empty()) {
        return home.to_owned();
    }
    let passwd = root.read("/etc/passwd", PASSWD_MAX).unwrap_or_default();
    home_in(&String::from_utf8_lossy(&passwd), process.uid).unwrap_or("/").to_owned()
}

fn home_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [_name, _password, number, _gid, _comment, home, ..] if number.parse() == Ok(uid) && !home.is_empty() => {
                Some(home)
            }
            _ => None,
        }
    })
}

/// Lets the user open `/dev/stdout` and its like again: pipes belong to whoever made them.
pub(super) fn own_pipes(process: &ProcessPlan) -> Result<()> {
    if process.uid == 0 {
        return Ok(());
    }
    let uid = rustix::fs::Uid::from_raw(process.uid);
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        // A descriptor that is not open has no owner to change.
        let Ok(status) = fstat(fd) else { continue };
        if FileType::from_raw_mode(status.st_mode) == FileType::Fifo {
            match rustix::fs::fchown(fd, Some(uid), None) {
                // Not ours to give (a user namespace without the pipe's owner in it).
                Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(e).context(|| "give standard input and output to the user"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::home_in;

    #[test]
    fn home_is_the_sixth_field() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:1000:1000::/home/me:/bin/sh\nnone:x:7:7:::\n";
        assert_eq!(home_in(passwd, 0), Some("/root"));
        assert_eq!(home_in(passwd, 1000), Some("/home/me"));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_in(passwd, 8), None);
    }
}
