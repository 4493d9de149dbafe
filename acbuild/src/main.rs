//! `acbuild`: builds App Container Images, one shell command at a time.

mod cache;
mod cli;
mod commands;
mod context;
mod difference;
mod document;
mod error;
mod fold;
mod history;
mod images;
mod install;
mod links;
mod modify;
mod oci;
mod outfile;
mod output;
mod patch;
mod place;
mod platform;
mod progress;
mod remove;
mod reproduce;
mod run;
mod script;
mod session;
mod temporary;
mod tied;
mod usage;
mod users;
mod whole;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::error::Error;
use crate::session::Session;

fn main() -> ExitCode {
    let typed = typed(std::env::args_os().collect());
    if let Some(folder) = appc_manual::asked_for(&typed) {
        return manual(folder);
    }
    let parsed = Cli::command().try_get_matches_from(&typed).and_then(|m| Ok((Cli::from_arg_matches(&m)?, m)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage::report(&error, &typed),
    };
    let (command, arguments) = as_understood(&matches);
    let line = history::line(&command, &arguments);
    let session = prepare(&cli.command)
        .and_then(|()| Session::new(&cli.global, line, command.first().copied().unwrap_or_default()));
    match session.and_then(|session| cli.command.run(&session).and_then(|()| session.finish())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Closed) => ExitCode::FAILURE,
        Err(error) => {
            output::note(format_args!("{}: {error}", command.join(" ")));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Gets the process ready for `command`: nothing is open yet, and there is one thread.
fn prepare(command: &cli::Command) -> Result<(), Error> {
    tied::obey()?;
    if command.makes_containers() {
        // First, as the program starts once more.
        appc_container::protect::protect(c"acbuild")?;
    }
    if command.touches_files() {
        users::enter();
    }
    Ok(())
}

/// The command line, which is that of `acbuild script` for a program that was called `acbuild-script`.
fn typed(words: Vec<OsString>) -> Vec<OsString> {
    let called = words.first().and_then(|word| Path::new(word).file_name());
    match called {
        Some(name) if name == "acbuild-script" => {
            ["acbuild".into(), "script".into()].into_iter().chain(words.into_iter().skip(1)).collect()
        }
        _ => words,
    }
}

fn manual(folder: &Path) -> ExitCode {
    match appc_manual::write(Cli::command(), folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format_args!("manual: write below {}: {error}", folder.display()));
            ExitCode::FAILURE
        }
    }
}

/// The full name of the command that was typed, whatever was typed for it, and its positional arguments in order.
fn as_understood(matches: &ArgMatches) -> (Vec<&str>, Vec<OsString>) {
    let (mut at, mut names) = (matches, Vec::new());
    while let Some((name, below)) = at.subcommand() {
        names.push(name);
        at = below;
    }
    let command = Cli::command();
    let leaf = names.iter().fold(&command, |above, name| above.find_subcommand(name).unwrap_or(above));
    let positionals = leaf.get_positionals().filter_map(|p| at.get_raw(p.get_id().as_str()));
    (names, positionals.flatten().map(OsString::from).collect())
}
