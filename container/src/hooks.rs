//! Programs of the host's administrator that run at fixed moments of a container's life.
//!
//! | hook | when | where | failure |
//! |---|---|---|---|
//! | prestart, createRuntime | root built, host's still reachable | parent's namespaces | container is not made |
//! | createContainer | right after those | container's namespaces, host's root | container is not made |
//! | startContainer | right before the program | container | container is not started |
//! | poststart | after the program started | parent's namespaces | container is killed |
//! | poststop | after the container is gone | parent's namespaces | warning |
//!
//! Those in the container's namespaces have its environment unless they name one, the others that of this program.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, errno_text};
use crate::interrupt::Interrupt;
use crate::sys::signal;

/// All hooks of a container, checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    prestart: Vec<Hook>,
    create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    poststart: Vec<Hook>,
    poststop: Vec<Hook>,
}

/// The moments at which hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Old name for the first moment.
    Prestart,
    /// First moment, on the host's side.
    CreateRuntime,
    /// First moment, on the container's side.
    CreateContainer,
    /// Right before the program.
    StartContainer,
    /// Right after it started.
    Poststart,
    /// After the container is gone.
    Poststop,
}

/// What hooks read on their standard input: the state of the runtime specification.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookState<'a> {
    pub(crate) oci_version: &'a str,
    pub(crate) id: &'a str,
    pub(crate) status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    pub(crate) bundle: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<&'a HashMap<String, String>>,
}

/// What a hook runs with besides what it names itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Surroundings<'a> {
    /// The variables of those that name none; this program's if absent.
    pub(crate) environment: Option<&'a [(String, String)]>,
    /// What ends them.
    pub(crate) interrupt: Option<&'a Interrupt>,
    /// Where they start; where this program is if absent.
    pub(crate) directory: Option<&'a Path>,
}

impl<'a> Surroundings<'a> {
    /// Those of hooks on the host's side start in the bundle, as with runc, unless it is gone.
    pub(crate) fn on_the_host(state: &HookState<'a>) -> Surroundings<'a> {
        Surroundings { directory: enterable(state.bundle), ..Surroundings::default() }
    }
}

/// The directory, if a hook can start there.
pub(crate) fn enterable(directory: &Path) -> Option<&Path> {
    let may = directory.is_dir() && rustix::fs::access(directory, rustix::fs::Access::EXEC_OK).is_ok();
    may.then_some(directory)
}

impl Hooks {
    /// Reads `hooks`.
    pub(crate) fn new(spec: Option<&oci_spec::runtime::Hooks>) -> Result<Hooks> {
        let Some(spec) = spec else { return Ok(Hooks::default()) };
        Ok(Hooks {
            prestart: checked("prestart", spec.prestart())?,
            create_runtime: checked("createRuntime", spec.create_runtime())?,
            create_container: checked("createContainer", spec.create_container())?,
            start_container: checked("startContainer", spec.start_container())?,
            poststart: checked("poststart", spec.poststart())?,
            poststop: checked("poststop", spec.poststop())?,
        })
    }

    /// Whether something runs at that moment.
    pub(crate) fn any(&self, stage: Stage) -> bool {
        !self.of(stage).1.is_empty()
    }

    /// Runs the hooks of one moment in their order, stopping at the first failure.
    pub(crate) fn run(&self, stage: Stage, state: &HookState<'_>) -> Result<()> {
        self.run_with(stage, state, Surroundings::on_the_host(state))
    }

    /// [`Hooks::run`] in other surroundings.
    pub(crate) fn run_with(&self, stage: Stage, state: &HookState<'_>, with: Surroundings<'_>) -> Result<()> {
        let (name, hooks) = self.of(stage);
        if hooks.is_empty() {
            return Ok(());
        }
        let state = serde_json::to_vec(state).map_err(|e| Error::Other(format!("state for hooks: {e}")))?;
        for (index, hook) in hooks.iter().enumerate() {
            run(hook, &state, with).map_err(|why| Error::Hook { name, index, why })?;
        }
        Ok(())
    }

    /// Runs every hook of one moment, whatever the others do; returns the failures.
    pub(crate) fn run_all(&self, stage: Stage, state: &HookState<'_>) -> Vec<Error> {
        let (name, hooks) = self.of(stage);
        let with = Surroundings::on_the_host(state);
        let said = match serde_json::to_vec(state) {
            Ok(said) => said,
            Err(e) => return vec![Error::Other(format!("state for hooks: {e}"))],
        };
        let failures =
            hooks.iter().enumerate().filter_map(|(index, hook)| Some((index, run(hook, &said, with).err()?)));
        failures.map(|(index, why)| Error::Hook { name, index, why }).collect()
    }

    fn of(&self, stage: Stage) -> (&'static str, &[Hook]) {
        match stage {
            Stage::Prestart => ("prestart", &self.prestart),
            Stage::CreateRuntime => ("createRuntime", &self.create_runtime),
            Stage::CreateContainer => ("createContainer", &self.create_container),
            Stage::StartContainer => ("startContainer", &self.start_container),
            Stage::Poststart => ("poststart", &self.poststart),
            Stage::Poststop => ("poststop", &self.poststop),
        }
    }
}

fn checked(name: &str, hooks: &Option<Vec<Hook>>) -> Result<Vec<Hook>> {
    for (i, hook) in hooks.iter().flatten().enumerate() {
        if !hook.path().is_absolute() {
            return Err(Error::refused(format!("hooks.{name}[{i}].path"), "must be an absolute path"));
        }
        if hook.timeout().is_some_and(|seconds| seconds <= 0) {
            return Err(Error::refused(format!("hooks.{name}[{i}].timeout"), "must be greater than zero"));
        }
    }
    Ok(hooks.clone().unwrap_or_default())
}

fn run(hook: &Hook, state: &[u8], with: Surroundings<'_>) -> Result<(), String> {
    let mut command = Command::new(hook.path());
    // args[0] is the program's name for itself.
    if let Some((name, args)) = hook.args().as_ref().and_then(|args| args.split_first()) {
        command.arg0(name).args(args);
    }
    // Without a list of its own it has that of where it runs, as with every other runtime; an empty list means none.
    match (hook.env(), with.environment) {
        (Some(own), _) => {
            command.env_clear();
            command.envs(own.iter().map(|variable| variable.split_once('=').unwrap_or((variable, ""))));
        }
        (None, Some(containers)) => {
            command.env_clear();
            command.envs(containers.iter().map(|(name, value)| (name, value)));
        }
        (None, None) => {}
    }
    if let Some(directory) = with.directory {
        command.current_dir(directory);
    }
    // Files in memory: a hook need not read its input, and what it says is taken whether or not somebody holds it open
    // afterwards.
    let input = in_memory(state).map_err(|e| errno_text(&e))?;
    let mut said = in_memory(b"").map_err(|e| errno_text(&e))?;
    let stderr = said.try_clone().map_err(|e| errno_text(&e))?;
    command.stdin(input).stdout(Stdio::null()).stderr(stderr);
    // Its own group, so that what it started is killed with it when it takes too long.
    command.process_group(0);
    signal::reset_for(&mut command);
    let mut child = command.spawn().map_err(|e| format!("{}: {}", hook.path().display(), errno_text(&e)))?;
    let status = wait(&mut child, hook, with.interrupt)?;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    };
    let mut words = String::new();
    // What it said is an extra: without it there is still the status.
    let _unreadable = said.rewind().and_then(|_| said.take(4096).read_to_string(&mut words));
    Err(format!("{how}, stderr: {}", words.trim_end()))
}

/// A file to be read from its start.
fn in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("hook", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn wait(child: &mut Child, hook: &Hook, interrupt: Option<&Interrupt>) -> Result<ExitStatus, String> {
    if hook.timeout().is_some() || interrupt.is_some() {
        let pid = Pid::from_child(child);
        if let Err(why) = wait_in_time(pid, hook.timeout(), interrupt) {
            // Gone in this instant is as good.
            let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
            let _reaped = child.wait();
            return Err(why);
        }
    }
    child.wait().map_err(|e| errno_text(&e))
}

/// Says why it is to be killed.
fn wait_in_time(pid: Pid, timeout: Option<i64>, interrupt: Option<&Interrupt>) -> Result<(), String> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|e| e.to_string())?;
    let limit = timeout.map(|seconds| Timespec { tv_sec: seconds, tv_nsec: 0 });
    let ended = match interrupt {
        Some(interrupt) => interrupt.wait_for(pidfd.as_fd(), limit.as_ref()).map_err(|e| e.to_string())?,
        None => {
            let found = retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref()));
            found.map_err(|e| e.to_string())? > 0
        }
    };
    match (ended, timeout) {
        (false, Some(seconds)) => Err(format!("ran past its timeout of {seconds} s and was killed")),
        _ => Ok(()),
    }
}
