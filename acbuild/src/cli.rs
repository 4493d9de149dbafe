//! The command line: what can be typed, and which file answers it.

use std::ffi::OsString;
use std::path::PathBuf;

use appc_image::archive::Limit;
use clap::{Args, Parser, Subcommand};

use crate::commands::*;
use crate::error::Result;
use crate::session::Session;

/// Builds App Container Images, one shell command at a time
///
/// A build is begun in a directory, changed by as many commands as it takes, written to an image file, and ended:
/// between commands it lies in the directory .acbuild there. Any unambiguous beginning of a command's name will do.
#[derive(Debug, Parser)]
#[command(
    name = "acbuild",
    bin_name = "acbuild",
    infer_subcommands = true,
    args_override_self = true,
    help_expected = true,
    subcommand_value_name = "COMMAND",
    max_term_width = 100,
    after_help = "Example:
  acbuild begin
  acbuild set-name example.com/hello
  acbuild copy hello /bin/hello
  acbuild set-exec /bin/hello
  acbuild write hello.aci
  acbuild end"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print what is being done to standard error
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Directory in which the build is kept, as .acbuild [default: .]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) work_path: Option<PathBuf>,
    /// Change the image in this file instead of the build: all of it or, if the command fails, nothing
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) modify_appc: Option<PathBuf>,
    /// The same of an OCI image: in an archive, a layout, or an archive for docker, or as oci:DIR:REF one of several
    #[arg(long, global = true, value_name = "IMAGE")]
    pub(crate) modify_oci: Option<PathBuf>,
    /// Do not record the command in the image's annotations
    #[arg(long, global = true)]
    pub(crate) no_history: bool,
    /// Do what the command says though its result is in the build's cache, and keep the new one
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Directory of the image store [default: $RKT_DIR, or that of rkt]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Take no image that is larger, packed or unpacked; without it 64Gi, or 8Gi when its server does not say how large it
    /// is, and unpacked 8Gi or 128 times what it is packed
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) max_image_size: Option<Limit>,
}

impl Global {
    /// These flags as they could be typed.
    pub(crate) fn as_typed(&self) -> Vec<OsString> {
        let switches = [(self.debug, "--debug"), (self.no_history, "--no-history"), (self.no_cache, "--no-cache")];
        let paths = [
            ("--work-path", &self.work_path),
            ("--modify-appc", &self.modify_appc),
            ("--modify-oci", &self.modify_oci),
            ("--dir", &self.dir),
        ];
        let mut typed: Vec<OsString> = switches.iter().filter(|(on, _)| *on).map(|(_, flag)| flag.into()).collect();
        for (flag, path) in paths {
            typed.extend(path.iter().flat_map(|path| [flag.into(), path.into()]));
        }
        if let Some(Limit::Bytes(size)) = self.max_image_size {
            typed.extend(["--max-image-size".into(), size.to_string().into()]);
        }
        typed
    }
}

macro_rules! commands {
    ($( $(#[$attribute:meta])* $name:ident($args:ty), )*) => {
        /// The commands; each is described where it is defined.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command { $( $(#[$attribute])* $name($args), )* }

        impl Command {
            /// Does what was asked for.
            pub(crate) fn run(&self, session: &Session) -> Result<()> {
                match self { $( Command::$name(command) => command.run(session), )* }
            }
        }
    };
}

impl Command {
    /// Whether it runs programs that are not trusted.
    pub(crate) fn makes_containers(&self) -> bool {
        matches!(self, Command::Run(_))
    }

    /// Whether it deals with files of the image, which can belong to others than the caller. Those that only change or show
    /// the manifest do without a user namespace, which takes a few milliseconds to make.
    pub(crate) fn touches_files(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Begin(_)
                | End(_)
                | Write(_)
                | Copy(_)
                | CopyToDir(_)
                | Run(_)
                | Status(_)
                | Squash(_)
                | File(_)
                | Layer(_)
                | Diff(_)
                | Build(_)
        )
    }
}

// The hidden names are beginnings that the original's commands alone make unambiguous.
commands! {
    #[command(alias = "b")]
    Begin(begin::Begin),
    End(end::End),
    Write(write::Write),
    Run(run::Run),
    Convert(convert::Convert),
    Copy(copy::Copy),
    CopyToDir(copy_to_dir::CopyToDir),
    SetName(set_name::SetName),
    SetExec(set_exec::SetExec),
    SetUser(set_user::SetUser),
    SetGroup(set_group::SetGroup),
    #[command(alias = "set-s")]
    SetSuppGroups(set_supp_groups::SetSuppGroups),
    #[command(visible_alias = "set-wd")]
    SetWorkingDirectory(set_working_directory::SetWorkingDirectory),
    #[command(visible_alias = "set-eh")]
    SetEventHandler(set_event_handler::SetEventHandler),
    SetTag(set_tag::SetTag),
    SetStopSignal(set_stop_signal::SetStopSignal),
    Annotation(annotation::Annotation),
    Label(label::Label),
    Environment(environment::Environment),
    #[command(alias = "p")]
    Port(port::Port),
    #[command(visible_alias = "volume")]
    Mount(mount::Mount),
    Isolator(isolator::Isolator),
    #[command(alias = "d")]
    Dependency(dependency::Dependency),
    Layer(layer::Layer),
    Squash(squash::Squash),
    #[command(alias = "ca")]
    CatManifest(cat_manifest::CatManifest),
    ReplaceManifest(replace_manifest::ReplaceManifest),
    File(file::File),
    Status(status::Status),
    History(history::History),
    Cache(cache::Cache),
    Diff(diff::Diff),
    Build(build::Build),
    PatchManifest(patch_manifest::PatchManifest),
    Validate(validate::Validate),
    Discover(discover::Discover),
    Sign(sign::Sign),
    Verify(verify::Verify),
    Script(script::Script),
    VerifyReproducible(verify_reproducible::VerifyReproducible),
    #[command(aliases = ["v", "ve", "ver"])]
    Version(version::Version),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound_and_every_command_has_help_and_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        check(&cli);
    }

    #[test]
    fn what_was_an_unambiguous_beginning_in_the_original_still_is() {
        const NAMES: &str = "annotation begin cat-manifest copy copy-to-dir dependency end environment isolator label layer \
            mount port replace-manifest run script set-event-handler set-exec set-group set-name set-supp-groups set-tag \
            set-user set-working-directory version write";
        let names = || NAMES.split_whitespace();
        for name in names() {
            for beginning in (1..=name.len()).map(|len| &name[..len]) {
                if beginning != name && names().filter(|other| other.starts_with(beginning)).count() > 1 {
                    continue;
                }
                // Arguments that no command takes: the command is known before they are looked at.
                let mut cli = Cli::command().ignore_errors(true);
                cli.build();
                let matches = cli.try_get_matches_from(["acbuild", beginning]).unwrap();
                assert_eq!(matches.subcommand_name(), Some(name), "{beginning}");
            }
        }
    }

    fn check(command: &clap::Command) {
        let name = command.get_name();
        if name == "help" {
            return;
        }
        assert!(command.get_about().is_some(), "{name} has no help");
        let children: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
        let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(!children.is_empty() || example.contains("acbuild "), "{name} has no example");
        children.into_iter().for_each(check);
    }
}
