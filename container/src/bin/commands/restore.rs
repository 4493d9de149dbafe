//! `rkt-oci restore`

use appc_container::checkpoint::Options;
use clap::Args;

use super::Outcome;
use super::checkpoint::ImageOptions;
use crate::foreground::Foreground;
use crate::globals::Globals;
use crate::launch::Base;
use crate::log::Log;

/// Bring a container back that `rkt-oci checkpoint` saved
///
/// Takes the bundle and the options that the container was made with. In the foreground it then behaves as `run` does.
///
///   rkt-oci restore --detach --bundle /srv/web --image-path /var/lib/web.checkpoint web
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Restore {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    images: ImageOptions,
    /// Return as soon as the container runs
    #[arg(short, long)]
    detach: bool,
    /// Accepted for old callers
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Security label for the restored processes
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// SELinux context of the restored mounts
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
}

impl Restore {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let options = Options {
            lsm_profile: self.lsm_profile.clone(),
            lsm_mount_context: self.lsm_mount_context.clone(),
            ..self.images.options()?
        };
        let foreground = Foreground::new(self.detach)?;
        let (process, directory) = self.base.restore(globals, log, self.detach, &options)?;
        foreground.attend(process, directory, None, (&self.base.id, false), log)
    }
}
