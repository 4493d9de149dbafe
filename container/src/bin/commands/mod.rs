//! One file for each command: its arguments, and what it does with them.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::process::ExitCode;

use appc_container::Error;
use clap::{Args, Subcommand};

use crate::globals::Globals;
use crate::inherited::check_inherited;
use crate::log::Log;

/// What a command ends with.
pub(crate) type Outcome = Result<ExitCode, Error>;

/// All commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Checkpoint(checkpoint::Checkpoint),
    Create(create::Create),
    Delete(delete::Delete),
    Exec(Box<exec::Exec>),
    Events(events::Events),
    Features(features::Features),
    Kill(kill::Kill),
    List(list::List),
    Pause(pause::Pause),
    Ps(ps::Ps),
    Resume(resume::Resume),
    Restore(restore::Restore),
    Run(run::Run),
    Spec(spec::Spec),
    Start(start::Start),
    State(state::State),
    Update(Box<update::Update>),
}

/// Each command's name, and what gives a parser its arguments.
type Definition = (&'static str, fn(clap::Command) -> clap::Command);

/// Again, for parsers that need to know one command only.
const DEFINITIONS: [Definition; 17] = [
    ("checkpoint", checkpoint::Checkpoint::augment_args),
    ("create", create::Create::augment_args),
    ("delete", delete::Delete::augment_args),
    ("exec", exec::Exec::augment_args),
    ("events", events::Events::augment_args),
    ("features", features::Features::augment_args),
    ("kill", kill::Kill::augment_args),
    ("list", list::List::augment_args),
    ("pause", pause::Pause::augment_args),
    ("ps", ps::Ps::augment_args),
    ("resume", resume::Resume::augment_args),
    ("restore", restore::Restore::augment_args),
    ("run", run::Run::augment_args),
    ("spec", spec::Spec::augment_args),
    ("start", start::Start::augment_args),
    ("state", state::State::augment_args),
    ("update", update::Update::augment_args),
];

impl Command {
    /// Adds the commands to a parser, each defined when it is met: all their arguments together take longer than many a command.
    pub(crate) fn deferred(parser: clap::Command) -> clap::Command {
        DEFINITIONS
            .iter()
            .fold(parser, |parser, (name, define)| parser.subcommand(clap::Command::new(name).defer(*define)))
    }

    /// Does it.
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        match self {
            Command::Checkpoint(command) => command.run(globals, log),
            Command::Create(command) => command.run(globals, log),
            Command::Delete(command) => command.run(globals, log),
            Command::Exec(command) => command.run(globals, log),
            Command::Events(command) => command.run(globals, log),
            Command::Features(command) => command.run(),
            Command::Kill(command) => command.run(globals),
            Command::List(command) => command.run(globals, log),
            Command::Pause(command) => command.run(globals),
            Command::Ps(command) => command.run(globals),
            Command::Resume(command) => command.run(globals),
            Command::Restore(command) => command.run(globals, log),
            Command::Run(command) => command.run(globals, log),
            Command::Spec(command) => command.run(),
            Command::Start(command) => command.run(globals),
            Command::State(command) => command.run(globals),
            Command::Update(command) => command.run(globals, log),
        }
    }

    /// What can only be found out while nothing has been opened.
    pub(crate) fn check_inherited(&self) -> Result<(), Error> {
        match self {
            Command::Create(command) => command.launch.check_preserved(),
            Command::Exec(command) => check_inherited(0, command.preserve_fds),
            Command::Run(command) => command.launch.check_preserved(),
            _ => Ok(()),
        }
    }

    /// What it ends with when it has failed.
    pub(crate) fn failure(&self) -> ExitCode {
        match self {
            // Below are the codes of the program itself.
            Command::Exec(_) => ExitCode::from(255),
            _ => ExitCode::FAILURE,
        }
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Checkpoint(_) => "checkpoint",
            Command::Create(_) => "create",
            Command::Delete(_) => "delete",
            Command::Exec(_) => "exec",
            Command::Events(_) => "events",
            Command::Features(_) => "features",
            Command::Kill(_) => "kill",
            Command::List(_) => "list",
            Command::Pause(_) => "pause",
            Command::Ps(_) => "ps",
            Command::Resume(_) => "resume",
            Command::Restore(_) => "restore",
            Command::Run(_) => "run",
            Command::Spec(_) => "spec",
            Command::Start(_) => "start",
            Command::State(_) => "state",
            Command::Update(_) => "update",
        }
    }
}

/// Prints a command's result.
fn print(text: &str) -> Result<(), Error> {
    crate::log::print(text).map_err(|e| wrong(format!("write to standard output: {e}")))
}

/// An error of the command line itself.
pub(crate) fn wrong(why: impl Into<String>) -> Error {
    Error::Other(why.into())
}
