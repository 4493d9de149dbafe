//! Finding the program in the container, and executing it.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::error::errno_text;
use crate::plan::ProcessPlan;
use crate::sys::exec::{execve, may_execute};

/// A program that was there when it was looked for.
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    home: String,
}

/// Looks for `args[0]` as the process's user would; the error is the whole sentence.
pub(super) fn find(root: &Root, process: &ProcessPlan, home: String) -> Result<Program, String> {
    let name = process.args[0].to_string_lossy();
    let path = if name.contains('/') {
        let path = PathBuf::from(&*name);
        match check(root, &process.cwd.join(&path)) {
            Ok(()) => path,
            Err(Errno::NOENT) => return Err(format!("exec: {name:?}: stat {name}: no such file or directory")),
            Err(Errno::ISDIR) => return Err(format!("exec: {name:?}: is a directory")),
            Err(e) => return Err(format!("exec: {name:?}: {}", errno_text(&e.into()))),
        }
    } else {
        search(root, process, &name)?
    };
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("exec: {name:?}: zero byte"))?;
    let mut env: Vec<(&str, &str)> = process.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    env.retain(|(name, _)| *name != "HOME");
    env.push(("HOME", &home));
    // sd_listen_fds(3): they are for the process of that number, which is this one.
    let (count, own) = (process.listen_fds.to_string(), rustix::process::getpid().to_string());
    if process.listen_fds > 0 {
        env.retain(|(name, _)| !matches!(*name, "LISTEN_FDS" | "LISTEN_PID"));
        env.extend([("LISTEN_FDS", count.as_str()), ("LISTEN_PID", own.as_str())]);
    }
    // Zero bytes were refused when the plan was made.
    let env = env.iter().filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok()).collect();
    Ok(Program { path, args: process.args.clone(), env, home })
}

/// Goes along `PATH`. Like the shell, something found but not allowed counts only when nothing else is found.
fn search(root: &Root, process: &ProcessPlan, name: &str) -> Result<PathBuf, String> {
    let mut denied = false;
    for directory in process.variable("PATH").unwrap_or_default().split(':').filter(|d| !d.is_empty()) {
        let path = Path::new(directory).join(name);
        match check(root, &process.cwd.join(&path)) {
            Ok(()) => return Ok(path),
            Err(Errno::ACCESS) => denied = true,
            Err(_) => {}
        }
    }
    match denied {
        true => Err(format!("exec: {name:?}: permission denied")),
        false => Err(format!("exec: {name:?}: executable file not found in $PATH")),
    }
}

/// Whether this process may execute `path`. Magic links are none of the container's files, so they count as absent.
fn check(root: &Root, path: &Path) -> Result<(), Errno> {
    let file = root.open_at(path, OFlags::PATH).map_err(errno)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR),
        _ => return Err(Errno::ACCESS),
    }
    may_execute(file.as_fd()).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

impl Program {
    /// The variable that it may have beyond what the configuration says.
    pub(super) fn home(&self) -> (String, String) {
        ("HOME".to_owned(), self.home.clone())
    }

    /// Executes it. Returns only to say why that failed.
    pub(super) fn execute(self) -> String {
        let error = execve(&self.path, &self.args, &self.env);
        format!("exec {}: {}", self.path.to_string_lossy(), errno_text(&error))
    }
}
