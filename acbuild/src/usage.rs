//! What is said about a command line that cannot be understood, and the exit code that goes with it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory};

use crate::cli::Cli;
use crate::output;

/// No such command or flag, or a value that a flag cannot take.
const NOT_UNDERSTOOD: u8 = 3;
/// Wrong number of arguments.
const WRONG_COUNT: u8 = 1;

/// The command that was meant, as far as it can be told.
struct Meant {
    /// Its full name, without the program's.
    path: Vec<String>,
    command: Command,
    /// How many arguments follow it that are not flags.
    arguments: usize,
    /// The first of them.
    first: Option<String>,
}

/// What there is to say about a command line.
enum Answer {
    /// The help that it asks for, if only by being unfinished.
    Help(String),
    /// Why it is none.
    Wrong(String),
}

/// Prints the help that was asked for, or one line about what is wrong with `typed`.
pub(crate) fn report(error: &clap::Error, typed: &[OsString]) -> ExitCode {
    let mut meant = find(typed);
    match answer(error, &mut meant) {
        (Answer::Help(text), code) => show(&text, code),
        (Answer::Wrong(line), code) => {
            output::note(meant.complain(&line));
            ExitCode::from(code)
        }
    }
}

/// One line about what is wrong with `typed`, where nobody is there to read a help text, and the exit code for it.
pub(crate) fn explain(error: &clap::Error, typed: &[OsString]) -> (String, u8) {
    let mut meant = find(typed);
    match answer(error, &mut meant) {
        (Answer::Wrong(line), code) => (meant.complain(&line), code),
        (Answer::Help(_), _) => {
            let line = wrong_count(&mut meant);
            (meant.complain(&line), WRONG_COUNT)
        }
    }
}

fn answer(error: &clap::Error, meant: &mut Meant) -> (Answer, u8) {
    let is_group = meant.command.has_subcommands();
    let (line, code) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return (Answer::Help(error.render().to_string()), 0),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            return (Answer::Help(meant.command.render_help().to_string()), 0);
        }
        ErrorKind::MissingRequiredArgument if meant.arguments == 0 => {
            return (Answer::Help(meant.command.render_help().to_string()), WRONG_COUNT);
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            let needed = missing_flag(error).map(|flag| format!("{flag} is missing, which another flag needs"));
            (needed.unwrap_or_else(|| wrong_count(meant)), WRONG_COUNT)
        }
        ErrorKind::UnknownArgument if !is_flag(error) && !is_group => (wrong_count(meant), WRONG_COUNT),
        ErrorKind::UnknownArgument if is_flag(error) => {
            let flag = context(error, ContextKind::InvalidArg);
            let command_line = error.get(ContextKind::TrailingArg).is_some() || meant.command.get_name() == "set-exec";
            let hint = if command_line { " (put -- before a command line that has flags)" } else { "" };
            (format!("unknown flag: {flag}{hint}"), NOT_UNDERSTOOD)
        }
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument => (unknown_command(meant), NOT_UNDERSTOOD),
        _ => (invalid_value(error), NOT_UNDERSTOOD),
    };
    (Answer::Wrong(line), code)
}

impl Meant {
    /// `line` behind the name of the command, and where to read about that.
    fn complain(&self, line: &str) -> String {
        let help = std::iter::once("acbuild").chain(self.path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        let name = if self.path.is_empty() { "acbuild".to_owned() } else { self.path.join(" ") };
        format!("{name}: {line} - try \"{help} --help\"")
    }
}

fn show(text: &str, code: u8) -> ExitCode {
    match output::result(text.trim_end()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

fn wrong_count(meant: &mut Meant) -> String {
    let usage = meant.command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    format!("incorrect number of arguments, the command is: {usage}")
}

/// The flag that is missing beside another one.
fn missing_flag(error: &clap::Error) -> Option<&String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => {
            missing.iter().find(|argument| argument.starts_with("--"))
        }
        _ => None,
    }
}

fn unknown_command(meant: &Meant) -> String {
    let group = if meant.path.is_empty() { "acbuild".to_owned() } else { format!("acbuild {}", meant.path.join(" ")) };
    let typed = meant.first.as_deref().unwrap_or_default();
    let near: Vec<_> = meant.command.get_subcommands().map(Command::get_name).filter(|n| is_near(n, typed)).collect();
    let hint = if near.is_empty() { String::new() } else { format!(", did you mean {}?", near.join(", ")) };
    format!("unknown command {typed:?} for {group:?}{hint}")
}

/// Whether `typed` may have been meant to be `name`: its beginning, or no more than two slips away.
fn is_near(name: &str, typed: &str) -> bool {
    !typed.is_empty() && (name.starts_with(typed) || distance(name, typed) <= 2.min(typed.len() / 2))
}

/// The number of characters to insert, remove or change to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

fn invalid_value(error: &clap::Error) -> String {
    let argument = context(error, ContextKind::InvalidArg);
    let flag = argument.split([' ', '=']).next().unwrap_or_default();
    let value = context(error, ContextKind::InvalidValue);
    let valid = context(error, ContextKind::ValidValue);
    let why = match std::error::Error::source(error) {
        Some(source) => format!(": {source}"),
        None if !valid.is_empty() => format!(": it must be one of {valid}"),
        None => String::new(),
    };
    match error.kind() {
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        _ if flag.is_empty() => error.kind().to_string(),
        ErrorKind::TooManyValues => format!("flag {flag} takes no value, but got {value:?}"),
        ErrorKind::ArgumentConflict => format!("flag {flag} cannot be used here"),
        _ if value.is_empty() && !is_flag(error) => format!("an argument is empty: {argument}"),
        _ if value.is_empty() => format!("flag needs a value: {flag}{why}"),
        _ => format!("invalid argument {value:?} for {flag}{why}"),
    }
}

fn is_flag(error: &clap::Error) -> bool {
    context(error, ContextKind::InvalidArg).starts_with('-')
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

/// Follows `typed` through the commands, as the parser does, to where it stopped.
fn find(typed: &[OsString]) -> Meant {
    let mut root = Cli::command();
    root.build();
    let mut meant = Meant { path: Vec::new(), command: root, arguments: 0, first: None };
    let mut words = typed.iter().skip(1).map(|word| word.to_string_lossy());
    let mut only_arguments = false;
    while let Some(word) = words.next() {
        if !only_arguments && word == "--" {
            only_arguments = true;
        } else if !only_arguments && word.len() > 1 && word.starts_with('-') {
            if takes_value(&meant.command, &word) {
                words.next();
            }
        } else {
            let below = if meant.arguments == 0 { subcommand(&meant.command, &word) } else { None };
            if let Some(below) = below {
                meant.path.push(below.get_name().to_owned());
                meant.command = below;
            } else {
                meant.arguments += 1;
                meant.first.get_or_insert_with(|| word.into_owned());
            }
        }
    }
    meant
}

/// Whether the flag `word` takes the next word as its value.
pub(crate) fn takes_value(command: &Command, word: &str) -> bool {
    let takes = |a: &clap::Arg| matches!(a.get_action(), ArgAction::Set | ArgAction::Append);
    let name = word.trim_start_matches('-');
    command.get_arguments().any(|a| a.get_long() == Some(name) && takes(a))
}

/// The command that `word` stands for: its name, an alias, or a beginning that fits no other.
pub(crate) fn subcommand(command: &Command, word: &str) -> Option<Command> {
    if let Some(exact) = command.find_subcommand(word) {
        return Some(exact.clone());
    }
    let fits = |c: &&Command| c.get_name().starts_with(word) || c.get_all_aliases().any(|a| a.starts_with(word));
    let mut fitting = command.get_subcommands().filter(fits);
    let only = fitting.next()?;
    fitting.next().is_none().then(|| only.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(line: &str) -> (String, usize) {
        let typed: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let meant = find(&typed);
        (meant.path.join(" "), meant.arguments)
    }

    #[test]
    fn the_command_meant_is_found_behind_flags_and_prefixes() {
        let cases = [
            ("acbuild", "", 0),
            ("acbuild --work-path x lab a", "label add", 0),
            ("acbuild --work-path=x --debug volume rm one", "mount remove", 1),
            ("acbuild set- x", "", 2),
            ("acbuild copy a b c", "copy", 3),
            ("acbuild set-exec -- -c --work-path x", "set-exec", 3),
            ("acbuild dep add --size 3 x", "dependency add", 1),
            ("acbuild nonsense label add", "", 3),
        ];
        for (line, path, arguments) in cases {
            assert_eq!(meant(line), (path.to_owned(), arguments), "{line}");
        }
    }

    #[test]
    fn near_names_are_offered() {
        assert!(is_near("set-exec", "set-"));
        assert!(is_near("label", "lable"));
        assert!(!is_near("label", "x"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
