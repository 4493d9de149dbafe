//! `rkt-oci exec`

use std::path::PathBuf;
use std::process::ExitCode;

use appc_container::config::{read_process, read_spec};
use appc_container::files::read_given;
use appc_container::seccomp::Cache;
use appc_container::state::{CONFIG_MAX, Directory, replace_file};
use appc_container::{Error, ExecPlan, ExecSetup, Stdio, capabilities, exit_code, manage};
use clap::Args;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, Spec};

use super::{Outcome, wrong};
use crate::attend::{attend, take_signals};
use crate::globals::Globals;
use crate::log::Log;

/// Run one more program in a container
///
/// It runs as the container's own does, except for what these options change, or as a file in the form of `process` in
/// config.json says. The exit code is the program's (128 and the number of the signal that killed it), 255 for failures
/// before it.
///
///   rkt-oci exec -t mycontainer sh
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    override_usage = "rkt-oci exec [OPTIONS] <CONTAINER> <COMMAND> [ARG]...\n       rkt-oci exec [OPTIONS] --process <FILE> <CONTAINER>"
)]
pub(crate) struct Exec {
    /// Unix socket that is sent the terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that is sent a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Variables to add to the environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, and group, by number
    #[arg(short, long, value_name = "UID[:GID]", allow_hyphen_values = true)]
    user: Option<String>,
    /// Additional groups, by number
    #[arg(short = 'g', long, value_name = "GID", allow_hyphen_values = true)]
    additional_gids: Vec<u32>,
    /// File with the whole description of the process
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Return as soon as the program runs
    #[arg(short, long)]
    detach: bool,
    /// File to write the number of the process to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Forbid gaining privileges, or allow it with `=false`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_new_privs: Option<bool>,
    /// Capabilities to add
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// How many descriptors from 3 on the process inherits
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// Cgroup below the container's to run in, for each hierarchy where there are several
    #[arg(long, value_name = "[CONTROLLER,...:]PATH")]
    cgroup: Vec<String>,
    /// Join a paused container, too: the program runs when it is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// Name of the container; program and arguments, looked up as the container does
    #[arg(value_names = ["CONTAINER", "COMMAND"], num_args = 1.., required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl Exec {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let signals = if self.detach { None } else { Some(take_signals()?) };
        let mut process = self.plan(globals, log)?.start()?;
        log.detail(|| format!("process {} has joined the container and executes the program", process.pid));
        let told = self.tell(&process);
        if let Err(e) = told {
            // The first error is the one to tell.
            let _not_undone = process.destroy();
            return Err(e);
        }
        let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
        attend(&mut process, &signals, None, log)?;
        Ok(ExitCode::from(exit_code(process.wait()?) as u8))
    }

    fn plan(&self, globals: &Globals, log: &Log) -> Result<ExecPlan, Error> {
        let [id, command @ ..] = &self.words[..] else { return Err(wrong("name a container")) };
        let root = globals.containers().map_err(wrong)?;
        let directory = Directory::open(&root, id)?;
        let record = directory.load()?;
        let status = manage::status(&directory, &record)?;
        let text = directory.config()?;
        // What it warns of was said when the container was made.
        let spec = read_spec(&text, &mut Vec::new()).map_err(|e| wrong(format!("configuration of {id}: {e}")))?;
        let mut warnings = Vec::new();
        let process = self.process(&spec, command, &mut warnings)?;
        warnings.iter().for_each(|warning| log.say(warning));
        let setup = ExecSetup {
            stdio: self.stdio(process.terminal().unwrap_or(false))?,
            preserve_fds: self.preserve_fds,
            cgroups: self.cgroup.clone(),
            ignore_paused: self.ignore_paused,
            filters: Some(Cache::below(&root)),
        };
        let plan = ExecPlan::new(&record, status, &spec, &process, setup)?;
        log.warnings(plan.warnings());
        Ok(plan)
    }

    fn tell(&self, process: &appc_container::Process) -> Result<(), Error> {
        if let Some(path) = &self.pidfd_socket {
            appc_container::console::send_pidfd(path, process.pidfd(), "setns")?;
        }
        match &self.pid_file {
            Some(path) => replace_file(path, process.pid.to_string().as_bytes()),
            None => Ok(()),
        }
    }

    fn stdio(&self, terminal: bool) -> Result<Stdio, Error> {
        match (terminal, self.detach, &self.console_socket) {
            (true, true, None) => {
                Err(wrong("cannot allocate tty if rkt-oci will detach without setting console socket"))
            }
            (false, _, Some(_)) | (true, false, Some(_)) => {
                Err(wrong("cannot use console socket if rkt-oci will not detach or allocate tty"))
            }
            (true, true, Some(path)) => Ok(Stdio::ConsoleSocket(path.clone())),
            (true, false, None) => Ok(Stdio::Terminal),
            (false, _, None) => Ok(Stdio::Inherit),
        }
    }

    /// What is to run: a file's content, or the container's own process with changes.
    fn process(&self, spec: &Spec, command: &[String], warnings: &mut Vec<String>) -> Result<Process, Error> {
        if let Some(path) = &self.process {
            let shown = path.display();
            let text = read_given(path, CONFIG_MAX).map_err(|e| wrong(format!("--process {shown}: {e}")))?;
            let mut process = read_process(&text, warnings).map_err(|e| wrong(format!("--process {shown}: {e}")))?;
            // As with runc: the kernel's choice of what to kill is the container's, not the caller's.
            let own = spec.process().as_ref().and_then(Process::oom_score_adj);
            process.set_oom_score_adj(process.oom_score_adj().or(own));
            return Ok(process);
        }
        if command.is_empty() {
            return Err(wrong("process args cannot be empty: name a program after the container, or a --process file"));
        }
        let mut process =
            spec.process().clone().ok_or_else(|| wrong("the container's configuration has no process"))?;
        process.set_args(Some(command.to_vec())).set_terminal(Some(self.tty));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        if let Some(label) = &self.process_label {
            process.set_selinux_label(Some(label.clone()));
        }
        if let Some(profile) = &self.apparmor {
            process.set_apparmor_profile(Some(profile.clone()));
        }
        if let Some(forbid) = self.no_new_privs {
            process.set_no_new_privileges(Some(forbid));
        }
        process.env_mut().get_or_insert_default().extend(self.env.iter().cloned());
        self.change_user(&mut process)?;
        self.add_capabilities(&mut process, warnings);
        Ok(process)
    }

    fn change_user(&self, process: &mut Process) -> Result<(), Error> {
        let mut user = process.user().clone();
        if let Some(all) = self.user.as_ref().filter(|user| !user.is_empty()) {
            let number = |text: &str, what: &str| {
                text.parse::<u32>().map_err(|e| wrong(format!("--user {all}: parsing {what} as a number: {e}")))
            };
            let (uid, gid) = match all.split_once(':') {
                Some((uid, gid)) => (uid, Some(gid)),
                None => (all.as_str(), None),
            };
            user.set_uid(number(uid, "uid")?);
            if let Some(gid) = gid {
                user.set_gid(number(gid, "gid")?);
            }
        }
        user.additional_gids_mut().get_or_insert_default().extend(&self.additional_gids);
        process.set_user(user);
        Ok(())
    }

    /// Not to the inheritable ones, and only to the ambient what is there already: what the program executes is not to have
    /// more by itself than the configuration says.
    fn add_capabilities(&self, process: &mut Process, warnings: &mut Vec<String>) {
        if self.cap.is_empty() {
            return;
        }
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.cap.iter().cloned().partition(|name| capabilities::is_known(name));
        warnings.extend(capabilities::ignored(unknown));
        let more: Vec<Capability> =
            known.into_iter().filter_map(|name| serde_json::from_value(name.into()).ok()).collect();
        let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&more).copied().collect());
        let mut all = process.capabilities().clone().unwrap_or_else(no_capabilities);
        let (bounding, effective, permitted) = (with(all.bounding()), with(all.effective()), with(all.permitted()));
        let kept = |c: &&Capability| all.inheritable().iter().flatten().any(|other| other == *c);
        let ambient = all.ambient().iter().flatten().chain(more.iter().filter(kept)).copied().collect();
        all.set_bounding(bounding).set_effective(effective).set_permitted(permitted).set_ambient(Some(ambient));
        process.set_capabilities(Some(all));
    }
}

/// The default of the type is what the template configuration has.
fn no_capabilities() -> LinuxCapabilities {
    let mut none = LinuxCapabilities::default();
    none.set_bounding(None).set_effective(None).set_inheritable(None).set_permitted(None).set_ambient(None);
    none
}
