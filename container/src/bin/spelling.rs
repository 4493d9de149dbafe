//! Command lines as Go's flag package reads them, for callers that know runc: `-root DIR`, `--debug=false`.

use std::collections::VecDeque;
use std::ffi::OsString;

use clap::{Arg, Command};

/// The words as the parser of this program takes them: two dashes before long names, no value after what has none.
///
/// `parser` is asked for only when there is a word to change.
pub(crate) fn as_meant(typed: Vec<OsString>, parser: impl FnOnce() -> Command) -> Vec<OsString> {
    if !typed.iter().skip(1).any(|word| word.to_str().is_some_and(is_unusual)) {
        return typed;
    }
    let program = parser();
    let mut words = VecDeque::from(typed);
    let mut meant: Vec<OsString> = words.pop_front().into_iter().collect();
    let mut command: Option<Command> = None;
    while let Some(word) = words.pop_front() {
        let Some(flag) = word.to_str().and_then(Flag::parse) else {
            let ends = word == "--" || command.as_ref().is_some_and(takes_the_rest);
            command = command.or_else(|| word.to_str().and_then(|name| built(&program, name)));
            meant.push(word);
            // What follows is for another program, or no command of ours.
            if ends || command.is_none() {
                break;
            }
            continue;
        };
        let scope = command.as_ref().unwrap_or(&program);
        let known = scope.get_arguments().find(|argument| flag.is(argument));
        let has_value = known.is_some_and(|known| known.get_action().takes_values());
        meant.extend(flag.spelt(word.clone(), known.is_some() || flag.name == "help", has_value));
        if has_value && flag.value.is_none() && !known.is_some_and(Arg::is_require_equals_set) {
            meant.extend(words.pop_front());
        }
    }
    meant.extend(words);
    meant
}

/// A word with dashes.
struct Flag<'a> {
    dashes: usize,
    name: &'a str,
    value: Option<&'a str>,
}

impl<'a> Flag<'a> {
    fn parse(word: &'a str) -> Option<Flag<'a>> {
        let (dashes, rest) = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(rest), _) => (2, rest),
            (None, Some(rest)) => (1, rest),
            (None, None) => return None,
        };
        let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
        (!name.is_empty()).then_some(Flag { dashes, name, value })
    }

    fn is(&self, argument: &Arg) -> bool {
        let mut letters = self.name.chars();
        argument.get_long() == Some(self.name)
            || self.dashes == 1 && argument.get_short() == letters.next() && letters.next().is_none()
    }

    /// How it is written here. A flag that is said not to be given is not there at all.
    fn spelt(&self, word: OsString, known: bool, has_value: bool) -> Option<OsString> {
        let dashes = if self.name.chars().count() == 1 { "-" } else { "--" };
        match (known, has_value, self.value.map(truth)) {
            (true, false, Some(Some(given))) => given.then(|| format!("{dashes}{}", self.name).into()),
            (true, _, _) if self.dashes < dashes.len() => {
                let mut longer = OsString::from("-");
                longer.push(word);
                Some(longer)
            }
            _ => Some(word),
        }
    }
}

/// Whether there may be something to change about a word.
fn is_unusual(word: &str) -> bool {
    let long = |flag: &Flag<'_>| flag.dashes == 1 && flag.name.chars().nth(1).is_some();
    Flag::parse(word).is_some_and(|flag| long(&flag) || flag.value.and_then(truth).is_some())
}

/// The spellings of Go's `strconv.ParseBool`, which callers print with.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A command of the program with its arguments.
fn built(program: &Command, name: &str) -> Option<Command> {
    let mut command = program.find_subcommand(name)?.clone();
    command.build();
    Some(command)
}

/// Whether its last arguments are words of another program.
fn takes_the_rest(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, meant: &str) {
        let words = format!("rkt-oci {typed}").split(' ').map(OsString::from).collect();
        let found: Vec<String> =
            as_meant(words, crate::quick).into_iter().skip(1).map(|word| word.into_string().unwrap()).collect();
        assert_eq!(found.join(" "), meant, "{typed}");
    }

    #[test]
    fn long_flags_may_have_one_dash() {
        check(
            "-root /r -log-format=json create -bundle b -pid-file=p c1",
            "--root /r --log-format=json create --bundle b --pid-file=p c1",
        );
        check("-version", "--version");
        check("run -help", "run --help");
        check("restore -no-subreaper -d -image-path i c1", "restore --no-subreaper -d --image-path i c1");
        // Letters together stay letters, and what is not known stays what it was.
        check("exec -dt c1 true", "exec -dt c1 true");
        check("run -nonesuch c1", "run -nonesuch c1");
    }

    #[test]
    fn what_has_no_value_may_be_true_or_false() {
        check("--debug=true --systemd-cgroup=false list", "--debug list");
        check("-debug=1 delete -force=T c1", "--debug delete --force c1");
        check("exec -t=true -d=0 --tty=f c1 true", "exec -t c1 true");
        check("--debug=perhaps list", "--debug=perhaps list");
        // These have one of their own.
        check(
            "--rootless=false exec --no-new-privs=false c1 true",
            "--rootless=false exec --no-new-privs=false c1 true",
        );
    }

    #[test]
    fn values_and_other_programs_keep_their_words() {
        check("--root -debug -log -root list", "--root -debug --log -root list");
        check("exec -cwd -tty c1 ls -root -tty=true", "exec --cwd -tty c1 ls -root -tty=true");
        check("ps -format json c1 -format pid", "ps --format json c1 -format pid");
        check("kill -all c1 -- -root", "kill --all c1 -- -root");
    }
}
