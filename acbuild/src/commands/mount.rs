//! `acbuild mount add|remove`

use appc_spec::MountPoint;
use clap::{Args, Subcommand};

use crate::error::Result;
use crate::session::Session;

/// Manage mount points
///
/// A mount point is a path in the image that wants a volume when it is run.
#[derive(Debug, Args)]
pub(crate) struct Mount {
    #[command(subcommand)]
    command: MountCommand,
}

#[derive(Debug, Subcommand)]
enum MountCommand {
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Add a mount point, or replace the one of that name or path
///
/// Use it for data that is to outlive the pod, or that comes from outside.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild mount add html /usr/share/nginx/html --read-only")]
struct Add {
    /// Name of the mount point
    name: String,
    /// Where it is in the image
    path: String,
    /// The process only reads from it
    #[arg(long)]
    read_only: bool,
}

/// Remove a mount point
///
/// Exits with 2 when there is none of that name or path.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild mount remove html")]
struct Remove {
    /// Name or path of the mount point
    #[arg(value_name = "NAME|PATH")]
    name: String,
}

impl Mount {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            MountCommand::Add(Add { name, path, read_only }) => {
                let kind = if *read_only { "read only mount point" } else { "mount point" };
                session.debug(format_args!("Adding {kind} {name:?}={path:?}"));
                let mount = MountPoint { read_only: *read_only, ..MountPoint::new(name.parse()?, path) };
                session.change(|image| image.add_mount(mount))
            }
            MountCommand::Remove(Remove { name }) => {
                session.debug(format_args!("Removing mount point {name:?}"));
                session.change(|image| image.remove_mount(name))
            }
        }
    }
}
