//! Everything this program prints.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use appc_container::Error;
use appc_container::plan::Warnings;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::json;

use crate::globals::{Attempt, Globals, LogFormat, ROOT_IS_TOP};

/// Where messages go.
pub(crate) struct Log {
    file: Option<File>,
    format: LogFormat,
    debug: bool,
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o644).open(path)
}

impl Log {
    /// Opens the log file.
    pub(crate) fn new(globals: &Globals) -> Result<Log, String> {
        let file = match &globals.log {
            Some(path) => Some(
                open(path).map_err(|cause| Error::System { what: path.display().to_string(), cause }.to_string())?,
            ),
            None => None,
        };
        Ok(Log { file, format: globals.log_format, debug: globals.debug })
    }

    /// What ends the command: one line, here and in the log.
    pub(crate) fn error(&self, message: &str) {
        say(one_line(message));
        self.write("error", message);
    }

    /// What the user should know although the command goes on. With a log it is there alone: engines give a log, and take
    /// standard error for the program's.
    pub(crate) fn say(&self, message: &str) {
        match self.file {
            Some(_) => self.write("warning", message),
            None => say(format!("rkt-oci: {}", one_line(message))),
        }
    }

    /// What explains things only when somebody looks: each step that was done. As with runc these lines are in the form
    /// of the log also where there is none.
    pub(crate) fn detail(&self, message: impl FnOnce() -> String) {
        if self.debug && self.file.is_some() {
            self.write("debug", &message());
        } else if self.debug {
            say(self.line("debug", &message()));
        }
    }

    /// What is asked for in vain. That it makes no difference is a detail.
    pub(crate) fn warnings(&self, warnings: &Warnings) {
        warnings.lost.iter().for_each(|warning| self.say(warning));
        warnings.idle.iter().for_each(|warning| self.detail(|| warning.clone()));
    }

    fn write(&self, level: &str, message: &str) {
        let Some(mut file) = self.file.as_ref() else { return };
        // One write, so that lines of several processes do not mix. A full disk must not fail a container.
        let _unwritten = file.write_all(format!("{}\n", self.line(level, message)).as_bytes());
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = jiff::Timestamp::now();
        match self.format {
            LogFormat::Json => json!({"level": level, "msg": message, "time": time.to_string()}).to_string(),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
        }
    }
}

/// Prints a command's result. A reader that went away is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn say(line: String) {
    // Nothing can be said about a standard error that cannot be written to, and a container must not fail by it.
    let _unsaid = io::stderr().lock().write_all((line + "\n").as_bytes());
}

/// Messages may quote what a container chose: no control character gets to the terminal.
fn one_line(message: &str) -> String {
    message.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Whether a command line that is not one of a command asks for help, or for the version.
pub(crate) fn asks_for_help(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand)
        || !error.use_stderr()
}

/// Prints it.
pub(crate) fn help(error: &clap::Error) -> ExitCode {
    // Nowhere to say that nothing can be said.
    let _unsaid = error.print();
    ExitCode::SUCCESS
}

/// As runc.
const NO_SUCH_COMMAND: u8 = 3;

/// The answer to a command line that cannot be understood, here and in the log that it names: engines read only that.
pub(crate) fn usage(error: &clap::Error, attempt: &Attempt) -> ExitCode {
    let help = match &attempt.command {
        Some(command) => format!("rkt-oci {command} --help"),
        None => "rkt-oci --help".to_owned(),
    };
    let why = match attempt.empty.as_deref() {
        // As for any other root of the host's.
        Some("root") => ROOT_IS_TOP.to_owned(),
        Some(option) => format!("--{option} is given nothing: leave the option away, or name something"),
        None => mistake(error),
    };
    let message = format!("rkt-oci: {}: see `{help}`", one_line(&why));
    let file = attempt.log.as_ref().and_then(|path| open(path).ok());
    let format = if attempt.json { LogFormat::Json } else { LogFormat::Text };
    Log { file, format, debug: false }.error(&message);
    match error.kind() {
        ErrorKind::InvalidSubcommand => ExitCode::from(NO_SUCH_COMMAND),
        _ => ExitCode::FAILURE,
    }
}

/// What is wrong with a command line. Two sentences are those of runc, by which callers find out what there is.
fn mistake(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match (error.kind(), context(ContextKind::InvalidSubcommand), context(ContextKind::InvalidArg)) {
        (ErrorKind::InvalidSubcommand, Some(name), _) => return format!("No help topic for '{name}'"),
        (ErrorKind::InvalidValue, _, Some(flag)) if context(ContextKind::InvalidValue) == Some("") => {
            let flag = flag.split([' ', '=']).next().unwrap_or(flag).trim_start_matches('-');
            return format!("flag needs an argument: -{flag}");
        }
        _ => {}
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error before there is a log.
pub(crate) fn failed(what: &str, why: &str) -> ExitCode {
    say(format!("rkt-oci {what} failed: {}", one_line(why)));
    ExitCode::FAILURE
}
