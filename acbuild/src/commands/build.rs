//! `acbuild build`

use std::path::PathBuf;

use appc_image::archive::{self, Compression, Owners, WriteOptions};
use appc_rooted::Root;
use clap::Args;

use super::write::source_date_epoch;
use crate::error::{Error, Result};
use crate::outfile::OutFile;
use crate::output;
use crate::progress::Bar;
use crate::session::Session;

/// Make an image of a directory with a manifest and a rootfs, without a build
///
/// What "actool build" did. The directory must hold a file "manifest" and a directory "rootfs" and nothing else. The same
/// files always give the same image.
///
/// Root's image has the owners that the files have. When an ordinary user builds, the user's own files become root's in the
/// image, and those of others of the host, too, as with copy; the user's subordinate ids are the image's users from 1 on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild build --owner-root ./layout hello.aci")]
pub(crate) struct Build {
    /// Directory with the manifest and the root file system
    directory: PathBuf,
    /// Image file to write; its name ends in .aci
    output_file: PathBuf,
    /// Replace the file when it exists
    #[arg(long)]
    overwrite: bool,
    /// Do not compress it
    #[arg(long)]
    no_compression: bool,
    /// Make every file root's, whoever owns it here
    #[arg(long)]
    owner_root: bool,
}

impl Build {
    pub(crate) fn run(&self, _: &Session) -> Result<()> {
        if self.output_file.extension().is_none_or(|extension| extension != "aci") {
            return Err(Error::Refused(format!("Extension must be .aci (given {})", self.output_file.display())));
        }
        let source_date_epoch = source_date_epoch()?;
        archive::validate_layout(&self.directory)
            .map_err(|e| Error::Refused(format!("Layout failed validation: {e}")))?;
        let layout = Root::open(&self.directory).map_err(Error::io("open", &self.directory))?;
        let manifest = layout.read("manifest", u64::from(u32::MAX)).map_err(Error::io("read", &self.directory))?;
        let rootfs = Root::open(self.directory.join("rootfs")).map_err(Error::io("open", &self.directory))?;

        let out = OutFile::create(&self.output_file, self.overwrite)?;
        let compression = if self.no_compression { Compression::None } else { Compression::Gzip };
        let owners = if self.owner_root { Owners::Root } else { Owners::of_host() };
        let options = WriteOptions { compression, source_date_epoch, owners, ..WriteOptions::default() };
        let written = archive::write(&manifest, &rootfs, out.file()?, &options, &Bar::new())?;
        out.publish()?;
        output::sockets(&written.sockets);
        output::omissions(&written.omitted);
        Ok(())
    }
}
