//! Telling the security modules what the program will run as.
//!
//! A write that ends up in another file than the kernel's own would leave the program unconfined, so the files are
//! reached below a procfs that was looked at before, and nothing mounted over a part of it is passed.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::error::{Error, Result};
use crate::plan::Labels;

/// Sets the labels for the next execve.
pub(super) fn apply_on_exec(labels: &Labels) -> Result<()> {
    let Some(proc) = &labels.proc else { return Ok(()) };
    if let Some(profile) = &labels.apparmor {
        let text = format!("exec {profile}");
        // Where several modules are stacked the old file is another one's.
        match write(proc, "apparmor/exec", &text) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => named("exec", profile, write(proc, "exec", &text))?,
            written => named("apparmor/exec", profile, written)?,
        }
    }
    if let Some(label) = &labels.selinux {
        named("exec", label, write(proc, "exec", label))?;
    }
    Ok(())
}

/// Everything for a process that joins a container, to be inherited by it: it has no procfs to trust itself.
pub(super) fn apply_for_child(labels: &Labels) -> Result<()> {
    if let (Some(proc), Some(label)) = (&labels.proc, &labels.selinux) {
        named("keycreate", label, write(proc, "keycreate", label))?;
    }
    apply_on_exec(labels)
}

/// Runs `make`, which makes keys, with the process's SELinux label as theirs.
pub(super) fn with_key_label(labels: &Labels, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let (Some(proc), Some(label)) = (&labels.proc, &labels.selinux) else { return make() };
    named("keycreate", label, write(proc, "keycreate", label))?;
    make()?;
    // An empty one takes it back.
    named("keycreate", "", write(proc, "keycreate", "\0"))
}

/// In the form by which engines tell a label that is refused from a program that is.
fn named(file: &str, label: &str, written: io::Result<()>) -> Result<()> {
    let what = || format!("set security label {label:?}: write `/proc/thread-self/attr/{file}`");
    written.map_err(|cause| Error::System { what: what(), cause })
}

fn write(proc: &OwnedFd, file: &str, text: &str) -> io::Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let path = format!("thread-self/attr/{file}");
    let file = openat2(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    std::fs::File::from(file).write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_the_kernels_own_file() {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).unwrap();
        // Each thread has its own; without a module to take it the kernel refuses the write, not the file.
        let error = write(&proc, "exec", "no such label").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
        let elsewhere = tempfile::tempdir().unwrap();
        let elsewhere = rustix::fs::open(elsewhere.path(), flags, Mode::empty()).unwrap();
        assert_eq!(write(&elsewhere, "exec", "x").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nothing_is_written_without_a_label() {
        apply_on_exec(&Labels::default()).unwrap();
        with_key_label(&Labels::default(), || Ok(())).unwrap();
        let labels = Labels {
            apparmor: Some("docker-default".to_owned()),
            proc: rustix::fs::open("/proc", OFlags::PATH, Mode::empty()).ok(),
            ..Labels::default()
        };
        let said = apply_on_exec(&labels).unwrap_err().to_string();
        assert!(said.contains("`/proc/thread-self/attr/") && said.contains("docker-default"), "{said}");
    }
}
