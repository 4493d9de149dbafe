//! `acbuild verify-reproducible`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::output;
use crate::reproduce::{Compared, Subject};
use crate::session::Session;

/// Run a script twice and tell what differs in the images it writes
///
/// The script is a shell script, or whatever its first line #!... names, or an acbuild script. Each run is in a copy of
/// the current directory, and the images that are compared are the .aci files, OCI archives and layouts that are new or
/// changed in it afterwards: what the script reads and writes there needs relative paths, and an image that an earlier run left is in the way of
/// a write without --overwrite.
///
/// The runs differ in the paths of the current directory, of $HOME and of $TMPDIR, in the umask, the time zone, the
/// locale, $USER, the number of processors, and in the time, if $SOURCE_DATE_EPOCH is not set. What a file system lists
/// first, and the names of host and user, are the same in both.
///
/// Prints fields of the manifest, and of an OCI image's config, and paths in the image: - only in the first, + only in the second, ~ in both, with what
/// differs. Exits with 1 when something does.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  SOURCE_DATE_EPOCH=0 acbuild verify-reproducible ./build.sh 1.0")]
pub(crate) struct VerifyReproducible {
    /// Print JSON instead of lines
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
    /// The script
    #[arg(value_name = "SCRIPT")]
    script: PathBuf,
    /// Its arguments; whatever follows SCRIPT is one
    #[arg(value_name = "ARG", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl VerifyReproducible {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let compared = Subject::new(&self.script, &self.arguments)?.verify(session)?;
        if self.format.is_some() {
            output::result(serde_json::Value::from_iter(compared.iter().map(Compared::json)))?;
        } else {
            compared.iter().try_for_each(|image| output::result(image.text()))?;
        }
        if compared.iter().all(Compared::is_same) {
            return Ok(());
        }
        let only_times = compared.iter().all(|image| image.is_same() || image.is_only_times());
        let hint = match only_times && std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
            true => "only times do: set SOURCE_DATE_EPOCH to the latest that an image is to have",
            false => "a script that is to make it again must not depend on what is around it",
        };
        Err(Error::Refused(format!("the two runs differ - {hint}")))
    }
}
