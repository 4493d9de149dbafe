//! `acbuild script`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::script::{self, Call, is_name};
use crate::session::Session;

/// Run an acbuild script
///
/// Each line is a command without "acbuild" before it. One that ends in a backslash goes on in the next. '...' and "..."
/// make one word of what is between them, a backslash takes the next character as it is, and # begins a comment where a
/// word would begin. Before a command line that is given to run or set-exec, -- is put where it is missing.
///
/// $1, ${10} and so on stand for the script's arguments, $NAME and ${NAME} for what --set says, each in one word whatever
/// is in it; not between single quotes, and write \$ for the character. One without a value is an error, and the
/// environment is not looked at. A script called by a line "script FILE" works on the same build, with the values of
/// --set of its caller and arguments of its own. All paths are seen from the current directory.
///
/// The whole script is read before its first command runs. Its build lies in a temporary directory, or in --work-path,
/// and ends with it; only a build that --work-path had before the script goes on. The first command that fails ends the
/// script with its exit code.
///
/// With a link "acbuild-script" to acbuild in $PATH, a script can begin with "#!/usr/bin/env acbuild-script".
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild script --set name=example.com/hello build.acbuild 0.0.1")]
pub(crate) struct Script {
    /// A value for $NAME (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
    /// The script
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Values for $1, $2 and so on; whatever follows FILE is one
    #[arg(value_name = "ARG", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Script {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Running script from {}", self.file.display()));
        script::run(&script::plan(&self.call())?, session)?;
        session.debug("Script has been completed");
        Ok(())
    }

    /// What is to be run.
    pub(crate) fn call(&self) -> Call {
        let (file, arguments) = (self.file.clone(), self.arguments.clone());
        Call { file, arguments, names: self.set.iter().cloned().collect() }
    }
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("no '=' character in {text:?}"))?;
    match is_name(name) {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err(format!("{name:?} is no name: it is made of letters, digits and _, and begins with no digit")),
    }
}
