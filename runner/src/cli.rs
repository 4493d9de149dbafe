//! The command line: global flags, the list of commands, and where errors become text and exit status.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use appc_container::rootless::{self, Entry};
use appc_image::archive::Limit;
use appc_image::fetch::Insecure;
use appc_image::store::Store;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::configuration::Directories;
use crate::failure::{Failure, OWN_ERROR, Outcome};
use crate::output;

/// Runs container images as pods.
#[derive(Debug, Parser)]
#[command(name = "rkt", infer_subcommands = true, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    /// Data directory [default: $RKT_DIR, else /var/lib/rkt for root and $XDG_DATA_HOME/rkt for others]
    #[arg(long, global = true, value_name = "DIR", value_parser = directory)]
    dir: Option<PathBuf>,
    /// Says more on standard error
    #[arg(long, global = true)]
    debug: bool,
    #[command(flatten)]
    config: Directories,
    /// Goes without checks: a list of none, image, tls, http, pubkey, all-fetch, all
    #[arg(long, global = true, value_name = "LIST", default_value = "none")]
    insecure_options: Insecure,
    /// Trusts the keys that the host of an image announces over https, where there are none for it yet
    #[arg(long, global = true)]
    trust_keys_from_https: bool,
    /// Takes no image that is larger, packed or unpacked; without it 64Gi, or 8Gi when its server does not say how large it
    /// is, and unpacked 8Gi or 128 times what it is packed
    #[arg(long, global = true, value_name = "SIZE")]
    max_image_size: Option<Limit>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts images into the store
    Fetch(commands::fetch::Args),
    /// Removes pods that have ended
    Gc(commands::gc::Args),
    /// Shows and changes what is in the store
    Image(commands::image::Args),
    /// Lists pods
    List(commands::list::Args),
    /// Removes pods that do not run
    Rm(commands::rm::Args),
    /// Runs images as the apps of a new pod
    Run(commands::run::Args),
    /// Shows the state of a pod
    Status(commands::status::Args),
    /// Trusts keys: images that they sign may be fetched
    Trust(commands::trust::Args),
    /// Prints the versions of this program and of the specification
    Version(commands::version::Args),
}

/// What holds for every command.
#[derive(Debug)]
pub struct Global {
    /// The data directory.
    pub dir: PathBuf,
    /// Whether more is said on standard error.
    pub debug: bool,
    /// Where the configuration lies, later directories over earlier ones.
    pub config: Vec<PathBuf>,
    /// What is not checked of images.
    pub insecure: Insecure,
    /// Whether keys that hosts announce are trusted.
    pub trust_keys_from_https: bool,
    /// How large images may be.
    pub limit: Limit,
    /// The command's name, in front of what is said on standard error.
    pub command: &'static str,
}

impl Global {
    /// Says `text` on standard error.
    pub fn warn(&self, text: impl AsRef<str>) {
        output::note(self.command, text.as_ref());
    }

    /// Says `text` on standard error when `--debug` is given.
    pub fn debug(&self, text: impl AsRef<str>) {
        if self.debug {
            output::note(self.command, text.as_ref());
        }
    }

    /// The store, as it is.
    pub fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open_existing(&self.dir)?.limited(self.limit))
    }

    /// The store, made when there is none.
    pub fn new_store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.dir)?.limited(self.limit))
    }

    /// Refuses to go on when the caller is not root.
    pub fn require_root(&self) -> Result<(), Failure> {
        match rustix::process::geteuid().is_root() {
            true => Ok(()),
            false => Err(Failure::new(format!("must be run as root: try `sudo rkt {}`", self.command))),
        }
    }
}

/// Runs the command line `arguments` (program name first) and returns the exit status.
pub fn main(arguments: Vec<OsString>) -> u8 {
    if let Some(folder) = appc_manual::asked_for(&arguments) {
        return manual(folder);
    }
    let cli = match Cli::command().try_get_matches_from(&arguments).and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let (dir, config) = (cli.dir.unwrap_or_else(|| absolute(appc_image::store::default_dir())), cli.config.all());
    let (insecure, trust_keys_from_https) = (cli.insecure_options, cli.trust_keys_from_https);
    let limit = cli.max_image_size.unwrap_or_default();
    let global = |command| Global { dir, debug: cli.debug, config, insecure, trust_keys_from_https, limit, command };
    if cli.command.touches_files() {
        enter_users();
    }
    match cli.command {
        Command::Fetch(args) => finish(global("fetch"), |g| commands::fetch::run(g, args)),
        Command::Gc(args) => finish(global("gc"), |g| commands::gc::run(g, args)),
        Command::Image(args) => finish(global(args.name()), |g| commands::image::run(g, args)),
        Command::List(args) => finish(global("list"), |g| commands::list::run(g, args)),
        Command::Rm(args) => finish(global("rm"), |g| commands::rm::run(g, args)),
        Command::Run(args) => finish(global("run"), |g| commands::run::run(g, args)),
        Command::Status(args) => finish(global("status"), |g| commands::status::run(g, args)),
        Command::Trust(args) => finish(global("trust"), |g| commands::trust::run(g, args)),
        Command::Version(args) => finish(global("version"), |g| commands::version::run(g, args)),
    }
}

impl Command {
    /// Whether it deals with files in the store, which can belong to others than the caller.
    fn touches_files(&self) -> bool {
        match self {
            Command::Fetch(_) => true,
            Command::Image(args) => args.touches_files(),
            _ => false,
        }
    }
}

/// Becomes root of a namespace in which an ordinary user's store keeps the owners of files, where the user has subordinate
/// ids; without them they are all the user's. Must come before the first thread.
fn enter_users() {
    match rootless::enter() {
        Ok(Entry::Root | Entry::NoIds) => {}
        Ok(Entry::Entered) => appc_image::caller::set_mapped(),
        Err(error) => output::note("rkt", &format!("warning: owners of files are lost: {error}")),
    }
}

fn manual(folder: &Path) -> u8 {
    appc_manual::write(Cli::command(), folder).map_or_else(
        |error| {
            output::note("manual", &format!("write below {}: {error}", folder.display()));
            OWN_ERROR
        },
        |()| 0,
    )
}

/// A path that is not empty.
pub fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("\"\" is not a valid directory".into()) } else { Ok(absolute(text.into())) }
}

/// A pod's volumes lie in it, and are mounted from elsewhere.
fn absolute(dir: PathBuf) -> PathBuf {
    // Where there is no current directory, what is relative to it will fail with that.
    std::path::absolute(&dir).unwrap_or(dir)
}

fn finish(global: Global, command: impl FnOnce(&Global) -> Outcome) -> u8 {
    command(&global).unwrap_or_else(|failure| {
        output::note(global.command, &failure.line());
        failure.code()
    })
}

/// Help goes to standard output; a mistake is one line.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output::print(&text).map_or(OWN_ERROR, |()| 0),
        // No command at all: the status of the original.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => output::print(&text).map_or(OWN_ERROR, |()| 2),
        _ => {
            let first = text.split("\n\n").next().unwrap_or(&text);
            let first = first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
            let path = command_path(arguments);
            let command = path.strip_prefix("rkt ").unwrap_or(&path);
            output::note(command, &format!("{first}: see `{path} --help`"));
            OWN_ERROR
        }
    }
}

/// The command that was typed, as far as it is one: `rkt image rm`.
fn command_path(arguments: &[OsString]) -> String {
    let (mut at, mut path) = (&Cli::command(), "rkt".to_owned());
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    for word in words {
        if let Some(below) = at.find_subcommand(word) {
            path = format!("{path} {}", below.get_name());
            at = below;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_item_has_help() {
        Cli::command().help_expected(true).debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn check(command: &mut clap::Command) {
            let name = command.get_name().to_owned();
            let commands: Vec<_> = command.get_subcommands_mut().filter(|c| c.get_name() != "help").collect();
            if commands.is_empty() {
                assert!(command.render_long_help().to_string().contains("Example"), "{name}");
            } else {
                commands.into_iter().for_each(check);
            }
        }
        Cli::command().get_subcommands_mut().for_each(check);
    }

    #[test]
    fn the_usage_names_the_command() {
        let path = |line: &str| command_path(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(path("rkt image rm --none"), "rkt image rm");
        assert_eq!(path("rkt --debug image list --fields=bad"), "rkt image list");
        assert_eq!(path("rkt --dir x nothing"), "rkt");
        assert_eq!(path("rkt run x -- list"), "rkt run");
    }
}
