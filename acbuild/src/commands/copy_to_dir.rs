//! `acbuild copy-to-dir`

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use clap::Args;
use rustix::fs::FileType;

use super::copy::copy;
use crate::cache::Key;
use crate::error::{Error, Result};
use crate::install::name_of;
use crate::session::Session;

/// Copy a file or directory into a directory in the image
///
/// The directory is made when it is missing. Each file or directory keeps its name in it; otherwise this works as copy.
#[derive(Debug, Args)]
#[command(
    override_usage = "acbuild copy-to-dir [OPTIONS] <PATH_ON_HOST>... <PATH_IN_ACI>",
    after_help = "Example:\n  acbuild copy-to-dir index.html style.css /srv/www"
)]
pub(crate) struct CopyToDir {
    /// Files and directories to copy, then the directory in the image
    #[arg(num_args = 2.., required = true, value_names = ["PATH_ON_HOST", "PATH_IN_ACI"])]
    paths: Vec<PathBuf>,
}

impl CopyToDir {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let Some((directory, sources)) = self.paths.split_last() else {
            return Err(Error::refused("incorrect number of arguments"));
        };
        let typed = sources.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ");
        session.debug(format_args!("Copying {typed} to {}", directory.display()));
        let names = sources.iter().map(|source| name_of(source)).collect::<Result<Vec<_>>>()?;
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(Error::Refused(format!(
                "two of the sources are named {twice:?}: copy them one after the other"
            )));
        }
        let leave_out = session.build_dir();
        let inputs = |key: &mut Key<'_>| {
            key.path("to", directory);
            key.list("name", names.iter().map(|name| name.as_bytes()));
            sources.iter().try_for_each(|source| key.source(source, &leave_out))
        };
        copy(session, ("copy-to-dir", &inputs), |staged| {
            check_directory(staged.rootfs(), directory)?;
            for (source, name) in sources.iter().zip(&names) {
                staged.add(source, &directory.join(name))?;
            }
            Ok(())
        })
    }
}

/// Refuses a target that is there and is no directory, before anything is copied.
fn check_directory(rootfs: &Root, directory: &Path) -> Result<()> {
    match rootfs.stat(directory) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
        Ok(_) => Err(Error::Refused(format!("target {directory:?} is not a directory: use copy to replace it"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("copy to", directory)(e)),
    }
}
