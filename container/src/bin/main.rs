//! `rkt-oci`: runs OCI bundles, with the command line of runc.

mod attend;
mod commands;
mod foreground;
mod globals;
mod inherited;
mod launch;
mod log;
mod spelling;
mod units;

use std::ffi::{CStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use appc_container::protect::{protect, rename};
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::globals::{Attempt, Globals};

/// `name version`, `commit:` and `spec:` on three lines: callers parse them.
const VERSION: &str =
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("RKT_OCI_COMMIT"), "\nspec: 1.3.0");

/// Runs containers from OCI bundles
///
/// A bundle is a directory with a config.json and a root file system. `rkt-oci spec` writes a config.json to start from:
///
///   mkdir -p bundle/rootfs && cd bundle
///   (put a root file system into rootfs)
///   rkt-oci spec
///   rkt-oci run mycontainer
///
/// `rkt-oci manual DIR` writes manual pages and shell completions below DIR.
#[derive(Debug, Parser)]
#[command(
    name = "rkt-oci",
    version = VERSION,
    disable_version_flag = true,
    help_expected = true,
    // As Go's programs have it: engines add what they need to what they were told to add.
    args_override_self = true,
    max_term_width = 120,
    verbatim_doc_comment
)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

/// What `ps` shows.
const NAME: &CStr = c"rkt-oci";

/// The commands after which a container's processes can see this one.
const EXPOSED: [&str; 4] = ["create", "run", "exec", "restore"];

fn main() -> ExitCode {
    let typed: Vec<OsString> = spelling::as_meant(std::env::args_os().collect(), quick);
    // By mere mention: a container called `run` costs a little time.
    let exposed = typed.iter().any(|word| EXPOSED.iter().any(|command| word == command));
    if let Err(e) = if exposed { protect(NAME) } else { rename(NAME) } {
        return log::failed("start", &e.to_string());
    }
    if let Some(folder) = appc_manual::asked_for(&typed) {
        return manual(folder);
    }
    let arguments = match understood(&typed) {
        Ok(arguments) => arguments,
        Err(e) => return misunderstood(&typed, &e),
    };
    let inherited = arguments.command.check_inherited();
    let log = match log::Log::new(&arguments.globals) {
        Ok(log) => log,
        Err(why) => return log::failed("log", &why),
    };
    let name = arguments.command.name();
    log.detail(|| format!("rkt-oci {name}: begun by process {}", std::process::id()));
    match inherited.and_then(|()| arguments.command.run(&arguments.globals, &log)) {
        Ok(code) => {
            log.detail(|| format!("rkt-oci {name}: done"));
            code
        }
        Err(e) => {
            let advice = e.advice().map(|advice| format!(" - {advice}")).unwrap_or_default();
            log.error(&format!("rkt-oci {name} failed: {e}{advice}"));
            arguments.command.failure()
        }
    }
}

/// The arguments. What a quick parser cannot make sense of is left to the one that knows everything, and every word of help.
fn understood(typed: &[OsString]) -> Result<Arguments, clap::Error> {
    let found = quick().try_get_matches_from(typed).and_then(|matches| Arguments::from_arg_matches(&matches));
    found.or_else(|_| Arguments::try_parse_from(typed))
}

/// A parser of correct command lines, made in a fifth of the time.
fn quick() -> clap::Command {
    let version = Arg::new("version").short('v').long("version").action(ArgAction::Version);
    let parser = clap::Command::new("rkt-oci").disable_version_flag(true).version(VERSION).arg(version);
    let parser = parser.args_override_self(true);
    Command::deferred(Globals::augment_args(parser))
}

/// Says what is wrong with the command line, or prints the help that it asks for.
fn misunderstood(typed: &[OsString], error: &clap::Error) -> ExitCode {
    if log::asks_for_help(error) {
        // Again, as most commands never need their paragraphs in one piece.
        let again = paragraphs(Arguments::command()).try_get_matches_from(typed);
        return log::help(again.as_ref().err().unwrap_or(error));
    }
    let attempt = Attempt::new(typed, &Arguments::command());
    log::usage(error, &attempt)
}

/// Joins the lines of each paragraph, so that a terminal's width alone decides where they end.
fn paragraphs(command: clap::Command) -> clap::Command {
    let about = command.get_long_about().map(|about| unwrapped(&about.to_string()));
    let command = command.mut_subcommands(paragraphs);
    match about {
        Some(about) => command.long_about(about),
        None => command,
    }
}

/// Examples are indented, and stay.
fn unwrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let plain = !line.is_empty() && !line.starts_with(' ');
        match lines.last_mut() {
            Some(last) if goes_on && plain => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
        goes_on = plain;
    }
    lines.join("\n")
}

/// Manual pages and completions, without the program starting differently for those who never ask.
fn manual(folder: &Path) -> ExitCode {
    let program = paragraphs(Arguments::command()).version(env!("CARGO_PKG_VERSION"));
    match appc_manual::write(program, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => log::failed("manual", &format!("write below {}: {e}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn the_quick_parser_knows_the_same() {
        let [mut quick, mut whole] = [super::quick(), super::Arguments::command()];
        quick.build();
        whole.build();
        let names = |c: &clap::Command| c.get_subcommands().map(|c| c.get_name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&quick), names(&whole));
        let arguments = |c: &clap::Command| c.get_arguments().map(|a| format!("{a:?}")).collect::<Vec<_>>();
        assert_eq!(quick.get_arguments().count(), whole.get_arguments().count());
        for (quick, whole) in quick.get_subcommands().zip(whole.get_subcommands()) {
            assert_eq!(arguments(quick), arguments(whole), "{}", whole.get_name());
        }
    }

    #[test]
    fn paragraphs_are_lines() {
        let text = "Do it\n\nOne\ntwo\nthree:\n\n  example one\n  example two\n\nFour";
        assert_eq!(super::unwrapped(text), "Do it\n\nOne two three:\n\n  example one\n  example two\n\nFour");
    }

    #[test]
    fn every_command_has_an_example() {
        for command in super::Arguments::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let about = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            let example = format!("rkt-oci {}", command.get_name());
            let found = about.lines().any(|line| line.starts_with("  ") && line.contains(&example));
            assert!(found, "the help of {example} has no example:\n{about}");
        }
    }
}
