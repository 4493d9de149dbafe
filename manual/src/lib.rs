//! Manual pages and completions for bash, zsh and fish from the definition of a command line.
//!
//! Every program writes its own with `PROGRAM manual FOLDER`, laid out as the folder `share` of a system:
//!
//! ```text
//! man/man1/PROGRAM.1, man/man1/PROGRAM-COMMAND.1 …
//! bash-completion/completions/PROGRAM
//! zsh/site-functions/_PROGRAM
//! fish/vendor_completions.d/PROGRAM.fish
//! ```
//! It is no command of the definition itself: those may be shortened, and one more name would make shorter ones
//! ambiguous that scripts use.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};

/// The folder, when `arguments` (the program's name first) are `manual FOLDER`.
pub fn asked_for<S: AsRef<OsStr>>(arguments: &[S]) -> Option<&Path> {
    match arguments {
        [_, manual, folder] if manual.as_ref() == "manual" => Some(Path::new(folder)),
        _ => None,
    }
}

/// Writes everything about `program` below `folder`, making what is missing of it.
///
/// # Errors
/// When a file cannot be written.
pub fn write(mut program: Command, folder: &Path) -> io::Result<()> {
    let name = program.get_name().to_owned();
    let pages = folder.join("man/man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(program.clone(), &pages)?;
    name_values(&program, &name, &pages)?;
    let completions = [
        (Shell::Bash, "bash-completion/completions", name.clone()),
        (Shell::Zsh, "zsh/site-functions", format!("_{name}")),
        (Shell::Fish, "fish/vendor_completions.d", format!("{name}.fish")),
    ];
    for (shell, place, file) in completions {
        let mut text = Vec::new();
        generate(shell, &mut program, &name, &mut text);
        fs::create_dir_all(folder.join(place))?;
        fs::write(folder.join(place).join(file), text)?;
    }
    Ok(())
}

/// Puts the names of options' values into the synopses below `pages`, which come without.
fn name_values(command: &Command, name: &str, pages: &Path) -> io::Result<()> {
    let page = pages.join(format!("{name}.1"));
    // Hidden commands have none.
    if let Ok(text) = fs::read_to_string(&page) {
        let (before, after) = text.split_once(".SH DESCRIPTION").unwrap_or((&text, ""));
        let mut before = before.to_owned();
        for option in command.get_arguments().filter(|a| a.get_action().takes_values()) {
            let (Some(long), Some(values)) = (option.get_long(), option.get_value_names()) else { continue };
            let values: Vec<String> = values.iter().map(|value| format!("\\fI{}\\fR", escaped(value))).collect();
            let long = format!("\\-\\-{}\\fR", escaped(long));
            before = before.replace(&format!("{long}]"), &format!("{long} {}]", values.join(" ")));
        }
        fs::write(page, if after.is_empty() { before } else { before + ".SH DESCRIPTION" + after })?;
    }
    command.get_subcommands().try_for_each(|sub| name_values(sub, &format!("{name}-{}", sub.get_name()), pages))
}

/// A hyphen that is one, for troff.
fn escaped(text: &str) -> String {
    text.replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_words_ask_for_it() {
        assert_eq!(asked_for(&["x", "manual", "/there"]), Some(Path::new("/there")));
        for other in [&["x", "manual"][..], &["x", "man", "/there"], &["x", "manual", "/there", "more"], &["x"]] {
            assert_eq!(asked_for(other), None);
        }
    }

    #[test]
    fn there_is_a_page_for_each_command_and_a_file_for_each_shell() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = Command::new("prog").about("Does things").subcommand(Command::new("run").about("Runs"));
        write(program, folder.path()).expect("it can be written");
        for file in [
            "man/man1/prog.1",
            "man/man1/prog-run.1",
            "bash-completion/completions/prog",
            "zsh/site-functions/_prog",
            "fish/vendor_completions.d/prog.fish",
        ] {
            let text = fs::read_to_string(folder.path().join(file)).expect(file);
            assert!(text.contains("run"), "{file}");
        }
    }

    #[test]
    fn the_synopsis_names_the_values_of_options() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let option = clap::Arg::new("pid-file").long("pid-file").short('p').value_name("FILE").help("Where");
        let flag = clap::Arg::new("keep").long("keep").action(clap::ArgAction::SetTrue).help("Whether");
        let run = Command::new("run").about("Runs").arg(option).arg(flag);
        write(Command::new("prog").about("Does things").subcommand(run), folder.path()).expect("it can be written");
        let page = fs::read_to_string(folder.path().join("man/man1/prog-run.1")).expect("a page");
        let synopsis = page.split(".SH DESCRIPTION").next().expect("a first part");
        assert!(synopsis.contains(r"\-\-pid\-file\fR \fIFILE\fR]"), "{synopsis}");
        assert!(synopsis.contains(r"\-\-keep\fR]"), "{synopsis}");
    }
}
