//! The two surroundings that a script must not notice.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use appc_container::sys::signal::{end_with_this, reset_for};
use appc_container::{Interrupt, exit_code};
use rustix::fs::Mode;
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{Error, Result};
use crate::script::{handed_on, wait};
use crate::session::Session;
use crate::tied;

/// Times in images are whole seconds for many; the second run ends so much later than the first began.
const APART: Duration = Duration::from_millis(2100);
/// What a program may be called with in a script's first line.
const LONGEST_FIRST_LINE: u64 = 256;

/// What is around a script.
pub(super) struct Surroundings {
    /// What to call it.
    pub(super) name: &'static str,
    /// Of different lengths, for what is sorted or cut by it.
    dir: &'static str,
    umask: u32,
    one_processor: bool,
    variables: &'static [(&'static str, &'static str)],
}

/// The two of them. What they differ in is told in the command's help.
pub(super) const BOTH: [Surroundings; 2] = [
    Surroundings {
        name: "umask 022, UTC, the C locale and all processors",
        dir: "a",
        umask: 0o022,
        one_processor: false,
        variables: &[("TZ", "UTC0"), ("LC_ALL", "C"), ("LANG", "C"), ("USER", "root"), ("LOGNAME", "root")],
    },
    Surroundings {
        name: "umask 077, another time zone, a Turkish locale and one processor",
        dir: "second/run of it",
        umask: 0o077,
        one_processor: true,
        variables: &[
            ("TZ", "XST-13:45"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LANG", "tr_TR.UTF-8"),
            ("USER", "someone"),
            ("LOGNAME", "someone"),
        ],
    },
];

impl Surroundings {
    /// Where the script will run.
    pub(super) fn copy_of_current_directory(&self, place: &Path) -> Result<PathBuf> {
        let dir = place.join(self.dir).join("work");
        super::copy_here(&dir)?;
        Ok(dir)
    }

    /// Runs the script in `dir`; what it prints goes to standard error.
    pub(super) fn run(
        &self,
        script: &Path,
        arguments: &[OsString],
        dir: &Path,
        session: &Session,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let started = Instant::now();
        let mut command = command(script, session)?;
        let out = std::io::stderr().as_fd().try_clone_to_owned().map_err(Error::io("write to", "standard error"))?;
        command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(out);
        command.envs(self.variables.iter().copied()).env("RKT_DIR", session.store_dir());
        // What the first run has left would be the second one's result.
        command.env("ACBUILD_CACHE", "0");
        let beside = dir.parent().unwrap_or(dir);
        for (variable, name) in [("HOME", "home"), ("TMPDIR", "tmp")] {
            let path = beside.join(name);
            fs::create_dir(&path).map_err(Error::io("create", &path))?;
            command.env(variable, path);
        }
        command.env("PATH", path_with_this_program(&beside.join("bin"))?);
        reset_for(&mut command);
        tied::tie(&mut command);
        end_with_this(&mut command, Signal::KILL);
        let (status, signal) = self
            .inside(|| {
                let mut child = command.spawn()?;
                wait(&mut child, interrupt, handed_on)
            })
            .map_err(Error::io("run", script))?;
        if signal.is_some() {
            return Err(Error::refused("stopped by a signal"));
        }
        if !status.success() {
            let code = exit_code(status);
            let why = format!("the script failed with exit code {code}, with {} in a copy of the directory", self.name);
            return Err(Error::Refused(why));
        }
        std::thread::sleep(APART.saturating_sub(started.elapsed()));
        Ok(())
    }

    /// Has `act` start a process with what processes inherit, and takes it back.
    fn inside<T>(&self, act: impl FnOnce() -> T) -> T {
        let umask = rustix::process::umask(Mode::from_raw_mode(self.umask));
        let processors = sched_getaffinity(None).ok().filter(|_| self.one_processor);
        if let Some(all) = &processors {
            let mut one = CpuSet::new();
            (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).iter().for_each(|cpu| one.set(*cpu));
            // Fewer differences to find, no error.
            let _ = sched_setaffinity(None, &one);
        }
        let result = act();
        if let Some(all) = &processors {
            // They were this process's a moment ago; without them it is slower, no more.
            let _ = sched_setaffinity(None, all);
        }
        rustix::process::umask(umask);
        result
    }
}

/// What runs the script: the program that its first line names, and this one for scripts of ours.
fn command(script: &Path, session: &Session) -> Result<Command> {
    let file = fs::File::open(script).map_err(Error::io("read the script", script))?;
    let mut first = Vec::new();
    let read = BufReader::new(file.take(LONGEST_FIRST_LINE)).read_until(b'\n', &mut first);
    read.map_err(Error::io("read the script", script))?;
    let mut command = match interpreter(&first) {
        Some((program, argument)) => {
            let mut command = Command::new(OsStr::from_bytes(program));
            command.args(argument.map(OsStr::from_bytes));
            command
        }
        None => {
            let mut command = Command::new("/proc/self/exe");
            command.arg0("acbuild").args(session.flags_but_work_path()).arg("script");
            command
        }
    };
    command.arg(script);
    Ok(command)
}

/// The program and the argument in a first line `#!PROGRAM ARGUMENT`, see execve(2); none if it is ours or there is none.
fn interpreter(line: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let line = line.strip_prefix(b"#!")?.trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (program, argument) = (&line[..end], line[end..].trim_ascii());
    let is_ours = [program, argument].iter().any(|word| Path::new(OsStr::from_bytes(word)).ends_with("acbuild-script"));
    (!is_ours && !program.is_empty()).then_some((program, (!argument.is_empty()).then_some(argument)))
}

/// A search path on which `acbuild` is this very program.
fn path_with_this_program(bin: &Path) -> Result<OsString> {
    let program = std::env::current_exe().map_err(Error::io("find", "/proc/self/exe"))?;
    fs::create_dir(bin).map_err(Error::io("create", bin))?;
    for name in ["acbuild", "acbuild-script"] {
        symlink(&program, bin.join(name)).map_err(Error::io("create", bin.join(name)))?;
    }
    let mut path = bin.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_runs_a_script() {
        type Found<'a> = Option<(&'a str, Option<&'a str>)>;
        let cases: &[(&str, Found<'_>)] = &[
            ("#!/bin/sh\n", Some(("/bin/sh", None))),
            ("#! /bin/sh -e -u\n", Some(("/bin/sh", Some("-e -u")))),
            ("#!/usr/bin/env bash", Some(("/usr/bin/env", Some("bash")))),
            ("#!/usr/bin/env acbuild-script\n", None),
            ("#!/usr/local/bin/acbuild-script\n", None),
            ("begin\n", None),
            ("# a comment\n", None),
            ("#!\n", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(program, argument)| (program.as_bytes(), argument.map(str::as_bytes)));
            assert_eq!(interpreter(line.as_bytes()), expected, "{line:?}");
        }
    }
}
