//! What a script will do: the commands of it and of the scripts it calls, in order, each as it would be typed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches};

use super::Place;
use super::lines::lines;
use super::words::{Values, words};
use crate::cli::{Cli, Command};
use crate::error::{Error, Result};
use crate::usage;

/// More than anybody writes.
const LONGEST_SCRIPT: u64 = 16 << 20;
/// Scripts that call scripts can multiply; nobody means this many commands.
const MOST_STEPS: usize = 10_000;
/// The commands whose arguments are a command line, with flags that are not ours.
const COMMAND_LINES: [&str; 2] = ["run", "set-exec"];

/// A script and what it is given.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// `$1` and on.
    pub(crate) arguments: Vec<OsString>,
    /// The values of `$NAME`.
    pub(crate) names: BTreeMap<String, String>,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line it is on.
    pub(crate) at: Place,
    /// Its full name.
    pub(crate) name: String,
    /// What to type behind `acbuild`.
    pub(crate) arguments: Vec<OsString>,
}

/// Reads a script and those that it calls.
///
/// # Errors
/// The first line that is not a command of `acbuild`, or has a `$NAME` without a value.
pub(crate) fn plan(call: &Call) -> Result<Vec<Step>> {
    let mut cli = Cli::command();
    cli.build();
    let mut planner = Planner { cli, steps: Vec::new(), open: Vec::new() };
    planner.script(call, &[], None)?;
    Ok(planner.steps)
}

struct Planner {
    cli: clap::Command,
    steps: Vec<Step>,
    /// The scripts that are being read, each called by the one before.
    open: Vec<PathBuf>,
}

impl Planner {
    /// `flags` are the global ones of the line that called it, which is `from`.
    fn script(&mut self, call: &Call, flags: &[OsString], from: Option<&Place>) -> Result<()> {
        let wrong = |text: String| match from {
            Some(place) => Error::line(place, text, 1),
            None => Error::Refused(text),
        };
        let (real, text) = read(&call.file).map_err(|e| wrong(e.to_string()))?;
        if let Some(first) = self.open.iter().position(|open| *open == real) {
            let ring: Vec<_> = self.open[first..].iter().chain([&real]).map(|p| p.display().to_string()).collect();
            return Err(wrong(format!("scripts call one another without end: {}", ring.join(" calls "))));
        }
        self.open.push(real);
        let values = Values { arguments: call.arguments.clone(), names: call.names.clone() };
        for (line, text) in lines(&text) {
            let at = Place { file: call.file.clone(), line, caller: from.cloned().map(Box::new) };
            let words = words(&text, &values).map_err(|e| Error::line(&at, e.to_string(), 1))?;
            if !words.is_empty() {
                self.line(at, words, &values, flags)?;
            }
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, at: Place, mut words: Vec<OsString>, values: &Values, flags: &[OsString]) -> Result<()> {
        words[0] = OsString::from_vec(words[0].as_bytes().to_ascii_lowercase());
        separate(&mut words, &self.cli);
        let typed: Vec<OsString> = [OsString::from("acbuild")].into_iter().chain(words.iter().cloned()).collect();
        let parsed = self.cli.try_get_matches_from_mut(&typed).and_then(|m| Ok((Cli::from_arg_matches(&m)?, m)));
        let (cli, matches) = parsed.map_err(|e| {
            let (text, code) = usage::explain(&e, &typed);
            Error::line(&at, text, code)
        })?;
        if let Command::Script(called) = &cli.command {
            let flags = [flags, &cli.global.as_typed()].concat();
            let names = values.names.clone().into_iter().chain(called.call().names).collect();
            return self.script(&Call { names, ..called.call() }, &flags, Some(&at));
        }
        if self.steps.len() == MOST_STEPS {
            return Err(Error::line(
                &at,
                format!("the script and those it calls have more than {MOST_STEPS} lines"),
                1,
            ));
        }
        let (name, _) = crate::as_understood(&matches);
        let arguments = [flags, &words].concat();
        self.steps.push(Step { at, name: name.join(" "), arguments });
        Ok(())
    }
}

/// The content of a script, and where it really is. A pipe is nowhere.
fn read(file: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let opened = fs::File::open(file).map_err(Error::io("read the script", file))?;
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut text = Vec::new();
    opened.take(LONGEST_SCRIPT + 1).read_to_end(&mut text).map_err(Error::io("read the script", file))?;
    if text.len() as u64 > LONGEST_SCRIPT {
        return Err(Error::Refused(format!("{} is longer than {LONGEST_SCRIPT} bytes", file.display())));
    }
    Ok((real, text))
}

/// Puts `--` before a command line that is the argument of a command, so that its flags are not taken for ours.
fn separate(words: &mut Vec<OsString>, cli: &clap::Command) {
    let Some(command) = usage::subcommand(cli, &words[0].to_string_lossy()) else { return };
    if !COMMAND_LINES.contains(&command.get_name()) {
        return;
    }
    let mut at = 1;
    while let Some(word) = words.get(at).map(|word| word.to_string_lossy()) {
        match &*word {
            "--" => return,
            flag if flag.len() > 1 && flag.starts_with('-') => {
                at += if usage::takes_value(&command, flag) { 2 } else { 1 };
            }
            _ => return words.insert(at, "--".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_separated_from_our_flags() {
        let mut cli = Cli::command();
        cli.build();
        let cases = [
            // As the original's script_test.go has it.
            ("set-exec -- test", "set-exec -- test"),
            ("set-exec test", "set-exec -- test"),
            ("set-exec test --foo", "set-exec -- test --foo"),
            ("set-exec --foo test", "set-exec --foo -- test"),
            ("set-exec --foo test --bar", "set-exec --foo -- test --bar"),
            ("set-exec --foo -- test --bar", "set-exec --foo -- test --bar"),
            // The value of a flag is none of the command line.
            ("set-exec --dir /x test --bar", "set-exec --dir /x -- test --bar"),
            ("set-ex --dir=/x test", "set-ex --dir=/x -- test"),
            ("set-exec", "set-exec"),
            ("copy a b", "copy a b"),
        ];
        for (line, expected) in cases {
            let mut words: Vec<_> = line.split(' ').map(OsString::from).collect();
            separate(&mut words, &cli);
            assert_eq!(words.join(std::ffi::OsStr::new(" ")), expected, "{line}");
        }
    }

    fn planned(dir: &Path, name: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let arguments = arguments.iter().map(OsString::from).collect();
        let names = BTreeMap::from([("who".to_owned(), "it's me".to_owned())]);
        let steps = plan(&Call { file: dir.join(name), arguments, names })?;
        let words = |s: &Step| s.arguments.iter().map(|w| w.display().to_string()).collect::<Vec<_>>().join("|");
        Ok(steps.iter().map(|s| format!("{} {} {}", s.at.line, s.name, words(s))).collect())
    }

    #[test]
    fn scripts_within_scripts_are_read_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        let outer = format!(
            "#!/usr/bin/env acbuild-script\nBEGIN\n--debug script --set level=2 {0} $1 x\nscript --set who=you --set level=3 {0} 'b c' d\nend",
            inner.display()
        );
        fs::write(dir.path().join("outer"), outer).unwrap();
        fs::write(&inner, "lab add $1 $who\n\nset-exec $2 --level $level").unwrap();
        let expected = [
            "2 begin begin",
            "1 label add --debug|lab|add|a|it's me",
            "3 set-exec --debug|set-exec|--|x|--level|2",
            "1 label add lab|add|b c|you",
            "3 set-exec set-exec|--|d|--level|3",
            "5 end end",
        ];
        assert_eq!(planned(dir.path(), "outer", &["a"]).unwrap(), expected);
    }

    #[test]
    fn rings_and_floods_of_scripts_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, called: &str, times: usize| {
            let line = format!("script {}\n", dir.path().join(called).display());
            fs::write(dir.path().join(name), line.repeat(times)).unwrap();
        };
        script("a", "b", 1);
        script("b", "a", 1);
        let error = planned(dir.path(), "a", &[]).unwrap_err().to_string();
        assert!(error.contains("b:1, called at "), "{error}");
        assert!(error.contains("a:1: scripts call one another without end: "), "{error}");
        for n in 0..20 {
            script(&n.to_string(), &(n + 1).to_string(), 10);
        }
        fs::write(dir.path().join("20"), "version").unwrap();
        let error = planned(dir.path(), "0", &[]).unwrap_err().to_string();
        assert!(error.contains("20:1, called at "), "{error}");
        assert!(error.contains("0:1: the script and those it calls have more than 10000 lines"), "{error}");
    }
}
