//! What comes before the command's name.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use appc_container::in_user_namespace;
use clap::Args;
use rustix::process::geteuid;

use crate::spelling::truth;

/// Where root's containers are kept.
pub(crate) const DEFAULT_ROOT: &str = "/run/rkt-oci";
/// What is said of a `--root` that is the host's, as by runc.
pub(crate) const ROOT_IS_TOP: &str = "Option --root argument should not be set to /";

/// Options that every command has.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// Directory for the state of containers [default: /run/rkt-oci, $XDG_RUNTIME_DIR/rkt-oci for an ordinary user, or DIR/containers with --dir]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Data directory of all three programs
    #[arg(long, value_name = "DIR", env = "RKT_DIR", hide_env_values = true)]
    dir: Option<PathBuf>,
    /// File that messages are appended to: warnings there alone, errors on standard error as well
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How messages are written to it
    #[arg(long, value_name = "text|json", default_value = "text", value_parser = log_format)]
    pub(crate) log_format: LogFormat,
    /// Log each step, too; on standard error where there is no log
    #[arg(long)]
    pub(crate) debug: bool,
    /// Have systemd make cgroups; linux.cgroupsPath then is slice:prefix:name
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Whether to go on where an ordinary user is not allowed cgroups
    #[arg(long, value_name = "true|false|auto", default_value = "auto", value_parser = rootless)]
    pub(crate) rootless: Rootless,
    /// Accepted for old callers: criu is looked for in $PATH
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<PathBuf>,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// `time=… level=… msg=…`
    Text,
    /// One object a line.
    Json,
}

/// What can be said of a command line that is not understood.
pub(crate) struct Attempt {
    /// `--log`.
    pub(crate) log: Option<PathBuf>,
    /// `--log-format json`.
    pub(crate) json: bool,
    /// The command.
    pub(crate) command: Option<String>,
    /// Whether one of the options before the command is given an empty value.
    pub(crate) empty: Option<String>,
}

impl Attempt {
    /// Looks at the words up to the name of a command of `program`.
    pub(crate) fn new(typed: &[OsString], program: &clap::Command) -> Attempt {
        let mut attempt = Attempt { log: None, json: false, command: None, empty: None };
        let mut words = typed.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--") else {
                attempt.command = program.find_subcommand(&word).map(|found| found.get_name().to_owned());
                break;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (option.to_owned(), None),
            };
            let known = program.get_arguments().find(|a| a.get_long() == Some(&name));
            if !known.is_some_and(|argument| argument.get_action().takes_values()) {
                continue;
            }
            let value = value.or_else(|| words.next());
            match (name.as_str(), value) {
                (_, Some(empty)) if empty.is_empty() && name != "log-format" => attempt.empty = Some(name),
                ("log", Some(path)) => attempt.log = Some(path.into()),
                ("log-format", Some(format)) => attempt.json = format == "json",
                _ => {}
            }
        }
        attempt
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" | "" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("invalid log-format: {other}")),
    }
}

/// Whether errors of permission about cgroups count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rootless {
    /// As the caller is root or not.
    Auto,
    /// They do not.
    True,
    /// They do.
    False,
}

fn rootless(text: &str) -> Result<Rootless, String> {
    match (text, truth(text)) {
        ("auto", _) => Ok(Rootless::Auto),
        (_, Some(true)) => Ok(Rootless::True),
        (_, Some(false)) => Ok(Rootless::False),
        (other, None) => Err(format!("{other:?} is none of true, false, auto")),
    }
}

impl Globals {
    /// Where containers are kept.
    pub(crate) fn containers(&self) -> Result<PathBuf, String> {
        let root = match (&self.root, &self.dir) {
            (Some(root), _) => root.clone(),
            (None, Some(dir)) => dir.join("containers"),
            (None, None) => match users_root() {
                Some(root) => root,
                None if !geteuid().is_root() => {
                    return Err(
                        "there is no place to keep containers: set XDG_RUNTIME_DIR or use --root DIR".to_owned()
                    );
                }
                None => PathBuf::from(DEFAULT_ROOT),
            },
        };
        let absolute = std::path::absolute(&root).map_err(|e| format!("--root {}: {e}", root.display()))?;
        let absolute = clean(&absolute);
        if absolute == std::path::Path::new("/") {
            return Err(ROOT_IS_TOP.to_owned());
        }
        Ok(absolute)
    }

    /// Whether the caller names that place: one that is not there is none without containers, but a mistake.
    pub(crate) fn names_root(&self) -> bool {
        self.root.is_some()
    }

    /// Makes that place where it is below `XDG_RUNTIME_DIR`, whose content is removed unless it is sticky.
    pub(crate) fn make_users_root(&self) -> Result<(), String> {
        let (None, None, Some(root)) = (&self.root, &self.dir, users_root()) else { return Ok(()) };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root);
        let made = made.and_then(|()| std::fs::set_permissions(&root, PermissionsExt::from_mode(0o1700)));
        made.map_err(|e| format!("make {}: {e}", root.display()))
    }

    /// Whether to go on where cgroups are not allowed.
    pub(crate) fn rootless_cgroups(&self) -> bool {
        match self.rootless {
            Rootless::Auto => !geteuid().is_root() || in_user_namespace(),
            chosen => chosen == Rootless::True,
        }
    }
}

/// Where an ordinary user's containers are, who may be root in a user namespace (of podman, for one).
fn users_root() -> Option<PathBuf> {
    let root = geteuid().is_root() && (!in_user_namespace() || std::env::var_os("USER").is_some_and(|u| u == "root"));
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) if !root && !runtime.is_empty() => Some(PathBuf::from(runtime).join("rkt-oci")),
        _ => None,
    }
}

/// Without `..`, by name only: this is a path of the caller's.
fn clean(path: &std::path::Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean
}
