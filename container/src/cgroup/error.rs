use std::io;
use std::path::PathBuf;

use crate::error::errno_text;

/// Why a cgroup could not be planned, made, read or removed.
///
/// `field` is always the place in the configuration, such as `linux.resources.memory.limit`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cgroup file system where it should be.
    #[error("no cgroup hierarchy is mounted on {}: mount one there", .0.display())]
    NotMounted(PathBuf),
    /// The value can be refused without asking the kernel.
    #[error("{field}: {rule}")]
    Invalid {
        /// The place in the configuration.
        field: String,
        /// What it must be.
        rule: String,
    },
    /// The controller a field needs is not there.
    #[error("{field}: this host has no {controller} cgroup controller: enable it or remove the field")]
    NoController {
        /// The place in the configuration.
        field: String,
        /// As the kernel names it.
        controller: &'static str,
    },
    /// This version of cgroups has nothing like the field.
    #[error("{field}: {what}: remove the field")]
    Unsupported {
        /// The place in the configuration.
        field: String,
        /// What is missing in which version.
        what: &'static str,
    },
    /// The controller is there, its file is not (kernel configuration, or no such device or page size).
    #[error("{field}: the kernel has no {}", path.display())]
    NoFile {
        /// The place in the configuration.
        field: String,
        /// The file.
        path: PathBuf,
    },
    /// The kernel refused a value.
    #[error("{field}: cannot write {value:?} to {}: {}", path.display(), errno_text(.cause))]
    Write {
        /// The place in the configuration.
        field: String,
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// `checkBeforeUpdate` found more in use than the new limit.
    #[error("{field}: rejecting {what} limit {limit} <= usage {usage}")]
    BelowUsage {
        /// The place in the configuration.
        field: String,
        /// `memory` or `memory+swap`.
        what: &'static str,
        /// The limit asked for.
        limit: i64,
        /// What is in use.
        usage: i64,
    },
    /// A controller cannot be turned on for the children of a cgroup with processes of its own.
    #[error(
        "{field}: cannot enable the {controller} controller below {}, which has processes of its own: \
         choose another linux.cgroupsPath",
        path.display()
    )]
    Populated {
        /// The place in the configuration.
        field: String,
        /// The controller.
        controller: String,
        /// The parent.
        path: PathBuf,
    },
    /// The cgroup was there before, with processes.
    #[error("container's cgroup is not empty: {count} process(es) found in {}", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The cgroup, or one above it, is frozen, so nothing started in it would run.
    #[error("container's cgroup unexpectedly frozen: thaw {}", path.display())]
    Frozen {
        /// The directory.
        path: PathBuf,
    },
    /// Processes outlived SIGKILL.
    #[error(
        "cannot remove {}: it still has {count} process(es), which were killed and have not ended, as they wait in the \
         kernel or are frozen with a cgroup above: try again when that is over",
        path.display()
    )]
    Busy {
        /// The directory.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// systemd did not do it.
    #[error("systemd: {what}: {why}")]
    Systemd {
        /// What it was to do.
        what: String,
        /// What it said.
        why: String,
    },
    /// Any other failed access.
    #[error("cannot {what} {}: {}", path.display(), errno_text(.cause))]
    Io {
        /// A verb, such as `open`.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        cause: io::Error,
    },
}

impl Error {
    /// Whether the caller lacks the right, as an ordinary user does in cgroups that are not delegated to it.
    pub fn is_permission(&self) -> bool {
        match self {
            Error::Io { cause, .. } | Error::Write { cause, .. } => {
                matches!(cause.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
            }
            _ => false,
        }
    }

    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>, cause: impl Into<io::Error>) -> Error {
        Error::Io { what, path: path.into(), cause: cause.into() }
    }

    pub(super) fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Error {
        Error::Invalid { field: field.into(), rule: rule.into() }
    }

    pub(super) fn unsupported(field: impl Into<String>, what: &'static str) -> Error {
        Error::Unsupported { field: field.into(), what }
    }
}
