//! One app of a running pod: its event handlers and its program, one after the other.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use appc_container::cgroup::Layout;
use appc_container::{Plan, Process, RootSource, Setup, Stdio};
use appc_spec::{App, EventName};
use oci_spec::runtime::Spec;
use rustix::process::Signal;

use super::dir::Pod;
use super::info::AppStatus;
use super::lower;
use super::rootfs::Rootfs;
use crate::failure::{Context, Failure};
use crate::human;

/// A program that an app runs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    PreStart(Vec<String>),
    Main,
    PostStop(Vec<String>),
}

impl Step {
    /// What a handler is called in messages.
    fn handler(&self) -> Option<String> {
        match self {
            Step::PreStart(exec) => Some(format!("pre-start handler {:?}", exec[0])),
            Step::Main => None,
            Step::PostStop(exec) => Some(format!("post-stop handler {:?}", exec[0])),
        }
    }

    /// Why it could not be started.
    fn blame(&self, error: appc_container::Error) -> Failure {
        match (self.handler(), &error) {
            (Some(handler), _) => Failure::from(error).within(handler),
            (None, appc_container::Error::Exec(_)) => {
                Failure::new(format!("{error}: --exec names another program for this run"))
            }
            (None, _) => error.into(),
        }
    }
}

/// One app and where it is in its life.
#[derive(Debug)]
pub struct AppRun {
    /// Its name.
    pub name: String,
    spec: Spec,
    rootfs: Rootfs,
    /// The first step, planned before anything of the pod starts.
    next: Option<(Step, Plan)>,
    steps: VecDeque<Step>,
    current: Option<(Step, Process)>,
    status: AppStatus,
    started: bool,
}

/// What the apps of a pod have in common.
#[derive(Debug)]
pub struct Shared<'p> {
    /// The pod.
    pub pod: &'p Pod,
    /// The host's control groups.
    pub layout: &'p Layout,
    /// Whether there is only one app: then it has the caller's standard input.
    pub alone: bool,
}

/// What became of an app when one of its programs ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its next program runs.
    GoesOn,
    /// It is over, with this exit status.
    Ended(u8),
}

impl AppRun {
    /// Plans the app; nothing runs yet. `root` is its root file system, opened for the first time.
    pub fn new(
        name: String,
        app: &App,
        spec: Spec,
        rootfs: Rootfs,
        root: RootSource,
        shared: &Shared<'_>,
    ) -> Result<AppRun, Failure> {
        let of = |event: EventName| app.event_handlers.iter().filter(move |h| h.name == event).map(|h| h.exec.clone());
        let mut steps: VecDeque<Step> = of(EventName::PreStart).map(Step::PreStart).collect();
        steps.push_back(Step::Main);
        steps.extend(of(EventName::PostStop).map(Step::PostStop));
        let mut run = AppRun {
            name,
            spec,
            rootfs,
            next: None,
            steps,
            current: None,
            status: AppStatus::default(),
            started: false,
        };
        if let Some(first) = run.steps.pop_front() {
            let plan = run.plan(&first, root, shared)?;
            run.next = Some((first, plan));
        }
        Ok(run)
    }

    fn plan(&self, step: &Step, root: RootSource, shared: &Shared<'_>) -> Result<Plan, Failure> {
        let handler = |exec: &[String]| lower::handler(&self.spec, exec);
        let spec = match step {
            Step::PreStart(exec) | Step::PostStop(exec) => handler(exec),
            Step::Main => self.spec.clone(),
        };
        let terminal = spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
        let mut setup = Setup::new(format!("{}-{}", shared.pod.uuid, self.name), Path::new("/"));
        setup.root = Some(root);
        setup.stdio = if terminal {
            Stdio::Terminal
        } else if shared.alone {
            Stdio::Inherit
        } else {
            no_input().context("making an empty input")?
        };
        setup.cgroups = Some(shared.layout.clone());
        let plan = Plan::new(&spec, setup)?;
        if let Some(cgroup) = plan.cgroup() {
            let saved = shared.pod.set_cgroup(&self.name, &cgroup.saved());
            saved.context(format!("writing in the directory of pod {}", shared.pod.uuid))?;
        }
        Ok(plan)
    }

    /// What is asked for in vain, in sentences.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.next.iter().flat_map(|(_, plan)| plan.warnings().iter())
    }

    /// Starts what was planned.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.next.take().map_or(Ok(()), |(step, plan)| self.spawn(step, plan))
    }

    fn spawn(&mut self, step: Step, plan: Plan) -> Result<(), Failure> {
        let process = plan.spawn().map_err(|e| step.blame(e))?;
        self.current = Some((step, process));
        self.started = true;
        if self.status.started_at == 0 {
            self.status.started_at = human::now();
        }
        Ok(())
    }

    /// The process that runs now.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.current.as_ref().map(|(_, process)| process.pidfd())
    }

    /// The terminal of the process that runs now, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.current.as_mut().and_then(|(_, process)| process.take_console())
    }

    /// Whether a program of the app runs or has run.
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// Whether a program of the app runs.
    pub fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// Sends a signal to the process that runs now.
    pub fn kill(&self, signal: i32) {
        if let Some((_, process)) = &self.current {
            // It may just have ended, which the next look at it shows.
            let _ended = process.kill(signal);
        }
    }

    /// Gives up what was still to run.
    pub fn abandon(&mut self) {
        self.steps.clear();
        self.next = None;
    }

    /// Looks whether the current process has ended, and starts what comes next. `stopping`: no program begins any more,
    /// only what has to come after the one that ended.
    ///
    /// # Errors
    /// The app is over then too: [`AppRun::is_running`] is false.
    pub fn advance(
        &mut self,
        shared: &Shared<'_>,
        stopping: bool,
        warn: &dyn Fn(String),
    ) -> Result<Option<Progress>, Failure> {
        let Some((_, process)) = &mut self.current else { return Ok(None) };
        let status = match process.try_wait() {
            Ok(None) => return Ok(None),
            status => status,
        };
        let Some((step, process)) = self.current.take() else { return Ok(None) };
        let code = status?.map_or(0, appc_container::exit_code);
        let (out_of_memory, limit) = (process.oom_kills() > 0, process.memory_limit());
        // Everything that the program left running ends with it.
        process.destroy()?;
        if let Some(handler) = step.handler().filter(|_| code != 0) {
            let then = if matches!(step, Step::PreStart(_)) { ": the app is not started" } else { "" };
            warn(format!("app {:?}: {handler} failed with {code}{then}", self.name));
        }
        match step {
            Step::PreStart(_) if code != 0 => {
                self.record(code, out_of_memory);
                self.steps.retain(|step| matches!(step, Step::PostStop(_)));
            }
            Step::Main => self.record(code, out_of_memory),
            Step::PreStart(_) | Step::PostStop(_) => {}
        }
        if out_of_memory {
            let limit = limit.map_or_else(|| "of its control group".into(), |bytes| format!("of {bytes} bytes"));
            warn(format!("app {:?} ran out of memory: processes over the limit {limit} were killed", self.name));
        }
        if stopping && self.status.finished_at == 0 {
            // It never came to its program: as if that had been asked to end.
            self.record(128 + Signal::TERM.as_raw(), false);
            self.steps.retain(|step| matches!(step, Step::PostStop(_)));
        }
        while let Some(step) = self.steps.pop_front() {
            let afterwards = matches!(step, Step::PostStop(_));
            match self.go_on(step, shared) {
                Ok(()) => return Ok(Some(Progress::GoesOn)),
                // What the app ended with stays what it was.
                Err(failure) if afterwards => warn(format!("app {:?}: {}", self.name, failure.line())),
                Err(failure) => return Err(failure),
            }
        }
        self.write_status(shared)?;
        Ok(Some(Progress::Ended(exit_code(self.status.exit_code))))
    }

    fn go_on(&mut self, step: Step, shared: &Shared<'_>) -> Result<(), Failure> {
        let root = self.rootfs.open()?;
        let plan = self.plan(&step, root, shared)?;
        self.spawn(step, plan)
    }

    /// Ends what runs now at once, with everything that it started.
    pub fn destroy(&mut self) -> Result<(), Failure> {
        if let Some((_, process)) = self.current.take() {
            process.destroy()?;
        }
        Ok(())
    }

    fn record(&mut self, code: i32, out_of_memory: bool) {
        self.status.exit_code = code;
        self.status.out_of_memory = out_of_memory;
        self.status.finished_at = human::now();
    }

    fn write_status(&self, shared: &Shared<'_>) -> Result<(), Failure> {
        shared.pod.set_app_status(&self.name, &self.status).context(format!("writing the status of app {}", self.name))
    }
}

/// Standard output and error as they are, and nothing to read: several apps cannot share one input.
///
/// Not the host's `/dev/null`: by its descriptor an app's root could change the mode of the host's node.
fn no_input() -> std::io::Result<Stdio> {
    let (ended, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
    let output: OwnedFd = own(std::io::stdout().as_fd())?;
    Ok(Stdio::Fds([ended, output, own(std::io::stderr().as_fd())?]))
}

fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(crate::failure::OWN_ERROR)
}
