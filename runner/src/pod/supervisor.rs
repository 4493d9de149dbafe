//! Watches a running pod until it is over.
//!
//! One thread, one `poll(2)`: signals to `rkt`, the processes of the apps, the pod's PID 1, and the terminal.
//!
//! The pod ends when all apps have. It is stopped (SIGTERM, ten seconds, SIGKILL) when an app fails or when `rkt` is
//! told to by SIGINT, SIGTERM, SIGHUP or SIGQUIT; a second such signal kills it. Signals whose meaning is the apps' go to
//! them.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use appc_container::console::Relay;
use appc_container::sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::app::{AppRun, Progress, Shared};
use crate::failure::{Context, Failure};

/// How long apps may take to end when they are asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// The signals that stop a pod.
const STOPPING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// Those that are passed on. Untaken they would end this program and leave the pod's cgroups.
const PASSED: [Signal; 3] = [Signal::USR1, Signal::USR2, Signal::ALARM];

/// Takes over the signals that the supervisor handles. To be called before anything of the pod exists: until then they
/// end the program, from then on the pod in order.
pub fn take_signals() -> io::Result<SignalFd> {
    let all = STOPPING.iter().chain(&PASSED).chain([&Signal::WINCH]);
    SignalFd::new(&all.map(|signal| signal.as_raw()).collect::<Vec<_>>())
}

/// A pod that runs.
pub struct Supervisor<'p> {
    /// What the apps share.
    pub shared: Shared<'p>,
    /// The signals to this program.
    pub signals: SignalFd,
    /// The apps, planned.
    pub apps: Vec<AppRun>,
    /// Says something to the user.
    pub warn: &'p dyn Fn(String),
}

/// How far stopping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// Asked to end; until then.
    Until(Instant),
    Killed,
}

struct Watch<'s, 'p> {
    pod: &'s mut Supervisor<'p>,
    relay: Option<Relay>,
    stop: Stop,
    /// The exit status of the app that failed first.
    failed: Option<u8>,
    /// What went wrong in this program itself.
    error: Option<Failure>,
}

impl Supervisor<'_> {
    /// Starts the apps and returns when the pod is over: the exit status of the app that failed first, else 0.
    ///
    /// # Errors
    /// When an app cannot be started; the others are stopped first.
    pub fn run(&mut self) -> Result<u8, Failure> {
        let mut watch = Watch { pod: self, relay: None, stop: Stop::No, failed: None, error: None };
        watch.start();
        while watch.pod.apps.iter().any(AppRun::is_running) {
            if let Err(failure) = watch.turn() {
                watch.fail(failure);
                watch.give_up();
            }
        }
        let relay = watch.relay.take();
        let (failed, error) = (watch.failed, watch.error.take());
        relay.map_or(Ok(()), Relay::finish).context("writing the app's last output")?;
        error.map_or(Ok(failed.unwrap_or(0)), Err)
    }
}

impl Watch<'_, '_> {
    fn start(&mut self) {
        for index in 0..self.pod.apps.len() {
            let app = &mut self.pod.apps[index];
            if let Err(failure) = app.start() {
                let failure = failure.within(format!("app {:?}", app.name));
                self.fail(failure);
                return self.stop();
            }
        }
        self.connect();
    }

    /// Waits for something to happen and handles it.
    fn turn(&mut self) -> Result<(), Failure> {
        self.wait().context("waiting for the pod")?;
        while let Some(signal) = self.pod.signals.read().context("reading signals")? {
            self.signal(signal.signal);
        }
        if let Some(Err(e)) = self.relay.as_mut().map(Relay::advance) {
            self.relay = None;
            self.fail(Failure::from(e).within("passing on the terminal"));
            self.stop();
        }
        for index in 0..self.pod.apps.len() {
            let stopping = self.stop != Stop::No;
            let app = &mut self.pod.apps[index];
            match app.advance(&self.pod.shared, stopping, self.pod.warn) {
                Ok(None) => {}
                Ok(Some(Progress::GoesOn)) => self.connect(),
                Ok(Some(Progress::Ended(0))) => {}
                Ok(Some(Progress::Ended(code))) => {
                    self.failed.get_or_insert(code);
                    self.stop();
                }
                Err(failure) => {
                    let failure = failure.within(format!("app {:?}", app.name));
                    self.fail(failure);
                    self.stop();
                }
            }
        }
        if matches!(self.stop, Stop::Until(end) if Instant::now() >= end) {
            self.kill();
        }
        Ok(())
    }

    fn wait(&self) -> rustix::io::Result<()> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = vec![readable(self.pod.signals.as_fd())];
        fds.extend(self.pod.apps.iter().filter_map(AppRun::pidfd).map(readable));
        if let Some(relay) = &self.relay {
            fds.extend(relay.interests());
        }
        let timeout = match self.stop {
            Stop::Until(end) => Timespec::try_from(end.saturating_duration_since(Instant::now())).ok(),
            Stop::No | Stop::Killed => None,
        };
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => Ok(()),
            done => done.map(drop),
        }
    }

    fn signal(&mut self, signal: i32) {
        if signal == Signal::WINCH.as_raw() {
            if let Some(relay) = &self.relay {
                // A terminal that is gone has no size.
                let _gone = relay.resize();
            }
            return;
        }
        if PASSED.iter().any(|passed| passed.as_raw() == signal) {
            return self.pod.apps.iter().for_each(|app| app.kill(signal));
        }
        match self.stop {
            Stop::No => self.stop(),
            Stop::Until(_) | Stop::Killed => self.kill(),
        }
    }

    /// Passes the terminal through to the app that has one.
    fn connect(&mut self) {
        let Some(console) = self.pod.apps.iter_mut().find_map(AppRun::take_console) else { return };
        match Relay::new(console) {
            Ok(relay) => self.relay = Some(relay),
            Err(e) => {
                self.fail(Failure::from(e).within("passing on the terminal"));
                self.stop();
            }
        }
    }

    fn stop(&mut self) {
        if self.stop == Stop::No {
            self.stop = Stop::Until(Instant::now() + PATIENCE);
            self.pod.apps.iter().for_each(|app| app.kill(Signal::TERM.as_raw()));
        }
    }

    fn kill(&mut self) {
        self.stop = Stop::Killed;
        for app in &mut self.pod.apps {
            app.abandon();
            app.kill(Signal::KILL.as_raw());
        }
    }

    /// Nothing can be waited for any more.
    fn give_up(&mut self) {
        for app in &mut self.pod.apps {
            app.abandon();
            if let Err(failure) = app.destroy() {
                (self.pod.warn)(failure.line());
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        match &self.error {
            None => self.error = Some(failure),
            Some(_) => (self.pod.warn)(failure.line()),
        }
    }
}
