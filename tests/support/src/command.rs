//! Running a program and saying everything about it when it did not do what the test wanted.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A command to run. Cheap to make; nothing happens before [`Cmd::run`] and its siblings.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: PathBuf,
    args: Vec<OsString>,
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    timeout: Duration,
}

impl Cmd {
    /// A command with no arguments, in the current folder, with one minute to end.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: std::env::current_dir().expect("the current folder exists"),
            env: Vec::new(),
            input: Vec::new(),
            timeout: Duration::from_secs(60),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs in another folder.
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = cwd.into();
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives the program something to read; without this it reads nothing.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Allows more or less than a minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same command run by another program: `setpriv --reuid 65534 COMMAND…`.
    pub fn under<S: AsRef<OsStr>>(mut self, program: impl Into<PathBuf>, args: impl IntoIterator<Item = S>) -> Self {
        let inner = std::mem::replace(&mut self.program, program.into());
        let mut all: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        all.push(inner.into());
        all.append(&mut self.args);
        self.args = all;
        self
    }

    /// Starts the program and returns while it runs.
    #[track_caller]
    pub fn spawn(&self) -> Running {
        let out = tempfile::tempfile().expect("a temporary file");
        let err = tempfile::tempfile().expect("a temporary file");
        let mut input = tempfile::tempfile().expect("a temporary file");
        input.write_all(&self.input).expect("the input fits on the disk");
        std::io::Seek::rewind(&mut input).expect("files can be rewound");
        let copy = |file: &File| Stdio::from(file.try_clone().expect("a file descriptor is free"));
        self.spawn_with(input.into(), copy(&out), copy(&err), out, err)
    }

    #[track_caller]
    pub(crate) fn spawn_with(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio, out: File, err: File) -> Running {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.cwd).envs(self.env.iter().map(|(name, value)| (name, value)));
        let child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.line()));
        let pid = Pid::from_raw(child.id().cast_signed()).expect("children have a process id");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("the kernel has pidfd_open");
        Running { command: self.clone(), child, pidfd, out, err, status: None }
    }

    /// Runs the program to its end, whatever that is.
    #[track_caller]
    pub fn run(&self) -> Outcome {
        self.spawn().wait()
    }

    /// Runs the program, which must succeed.
    #[track_caller]
    pub fn ok(&self) -> Outcome {
        self.exits(0)
    }

    /// Runs the program, which must end with this exit code (128+n for signal n).
    #[track_caller]
    pub fn exits(&self, code: i32) -> Outcome {
        let outcome = self.run();
        outcome.require(outcome.code() == code, &format!("the exit code {code}"));
        outcome
    }

    /// Runs the program, which must refuse: this exit code, one line on stderr that contains all of `words`, nothing on stdout.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) -> Outcome {
        let outcome = self.exits(code);
        outcome.require(outcome.stdout.is_empty(), "nothing on stdout");
        let lines = outcome.stderr.lines().count();
        outcome.require(lines == 1 && outcome.stderr.ends_with('\n'), "exactly one line on stderr");
        outcome.says(words);
        outcome
    }

    /// The command as one would type it.
    pub fn line(&self) -> String {
        let mut line = self.program.display().to_string();
        for arg in &self.args {
            let _ = write!(line, " {:?}", arg.to_string_lossy());
        }
        line
    }

    pub(crate) fn cwd_path(&self) -> &Path {
        &self.cwd
    }

    pub(crate) fn timeout_value(&self) -> Duration {
        self.timeout
    }
}

/// A program that is running. It is killed when dropped.
pub struct Running {
    command: Cmd,
    child: Child,
    pidfd: OwnedFd,
    out: File,
    err: File,
    status: Option<ExitStatus>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("children have a process id");
        // It may have ended already; the child is not reaped before `wait`, so the id is still its own.
        let _ = kill_process(pid, signal);
    }

    /// What it has written so far: stdout, stderr.
    pub fn output(&self) -> (String, String) {
        (read_all(&self.out), read_all(&self.err))
    }

    /// Waits until it has written this text to stdout or stderr.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + self.command.timeout_value();
        loop {
            let (out, err) = self.output();
            if out.contains(text) || err.contains(text) {
                return;
            }
            let over = self.ended_within(Duration::from_millis(5)) || Instant::now() > end;
            if over && !self.output().0.contains(text) && !self.output().1.contains(text) {
                let outcome = self.finish_now();
                outcome.require(false, &format!("the output {text:?}"));
            }
        }
    }

    /// Whether it ends within this time.
    pub fn ended_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        matches!(poll(&mut fds, Some(&timeout)), Ok(1))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        let timeout = self.command.timeout_value();
        if !self.ended_within(timeout) {
            let outcome = self.finish_now();
            outcome.require(false, &format!("an end within {timeout:?} (it was killed)"));
        }
        self.finish_now()
    }

    fn finish_now(&mut self) -> Outcome {
        if !self.ended_within(Duration::ZERO) {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("a child can be waited for");
        self.status = Some(status);
        let (stdout, stderr) = self.output();
        Outcome { command: self.command.clone(), stdout, stderr, status }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read_all(file: &File) -> String {
    let mut bytes = vec![0; file.metadata().map_or(0, |meta| meta.len() as usize)];
    // Read at positions: the offset is shared with the program that writes.
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// A program that has ended.
#[derive(Debug)]
pub struct Outcome {
    command: Cmd,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    status: ExitStatus,
}

impl Outcome {
    pub(crate) fn new(command: Cmd, stdout: String, status: ExitStatus) -> Self {
        Self { command, stdout, stderr: String::new(), status }
    }

    /// The exit code, 128+n when signal n ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Stdout without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let value = serde_json::from_str(&self.stdout);
        self.require(value.is_ok(), "JSON on stdout");
        value.expect("checked on the line before")
    }

    /// All of `words` must be on stderr.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        for word in words {
            self.require(self.stderr.contains(word), &format!("{word:?} on stderr"));
        }
    }

    /// All of `words` must be on stdout.
    #[track_caller]
    pub fn prints(&self, words: &[&str]) {
        for word in words {
            self.require(self.stdout.contains(word), &format!("{word:?} on stdout"));
        }
    }

    /// Fails the test with everything known about the command, when `met` is false.
    #[track_caller]
    pub fn require(&self, met: bool, wanted: &str) {
        assert!(
            met,
            "wanted {wanted}\n  command: {}\n  folder:  {}\n  ended:   {} (code {})\n--- stdout\n{}\n--- stderr\n{}\n--- folder listing\n{}",
            self.command.line(),
            self.command.cwd_path().display(),
            self.status,
            self.code(),
            self.stdout,
            self.stderr,
            listing(self.command.cwd_path())
        );
    }
}

/// Names in a folder and its sub-folders, two levels deep.
fn listing(folder: &Path) -> String {
    let mut text = String::new();
    list_into(folder, 0, &mut text);
    text
}

fn list_into(folder: &Path, level: usize, text: &mut String) {
    let mut names: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    for entry in names.iter().take(30) {
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let size = entry.metadata().map_or(0, |meta| meta.len());
        let _ = writeln!(text, "{:level$}{} {size}", "", entry.file_name().display(), level = level * 2);
        if folder && level < 2 {
            list_into(&entry.path(), level + 1, text);
        }
    }
    if names.len() > 30 {
        let _ = writeln!(text, "{:level$}… {} in all", "", names.len(), level = level * 2);
    }
}
