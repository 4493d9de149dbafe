//! `acbuild begin`

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_image::archive::{self, Kind, Ownership, UnpackOptions};
use appc_image::store::{Query, Store};
use appc_spec::{AcIdentifier, ImageManifest, host_arch};
use clap::{Args, ValueEnum};

use crate::context::Draft;
use crate::error::{Error, Result};
use crate::install::copy_from_host;
use crate::output;
use crate::progress::Bar;
use crate::session::Session;

/// The name of an image that was not given one; such an image cannot be written.
pub(super) const UNNAMED: &str = "acbuild-unnamed";

/// Start a new build, with either a new and empty image or an existing image
///
/// START is a directory or a tar archive that becomes the root file system, an image file (.aci) that is changed
/// further, or the name or ID of an image in the store. A path begins with / or . so that it is not taken for a name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild begin ./alpine-3.20.aci")]
pub(crate) struct Begin {
    /// What to begin with; an empty image without it
    start: Option<PathBuf>,
    /// Kind of image to build
    #[arg(long, value_enum, value_name = "MODE", default_value = "appc")]
    build_mode: BuildMode,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BuildMode {
    Appc,
    Oci,
}

impl Begin {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        if let BuildMode::Oci = self.build_mode {
            return Err(Error::refused("building oci images is not supported: use --build-mode appc"));
        }
        match &self.start {
            None => session.debug("Beginning build with an empty ACI"),
            Some(start) => session.debug(format_args!("Beginning build with {}", start.display())),
        }
        let draft = Draft::begin(session.work_path())?;
        let manifest = match self.start.as_deref() {
            None => empty_manifest()?,
            Some(start) if matches!(start.as_os_str().as_bytes(), [b'.' | b'/', ..]) => from_path(&draft, start)?,
            Some(name) => from_store(&draft, name, session)?,
        };
        draft.finish(&manifest)?;
        if !rustix::process::geteuid().is_root() {
            output::note("please run this as superuser to avoid filesystem permissions issues");
        }
        Ok(())
    }
}

/// The manifest of an image about which nothing has been said yet.
fn empty_manifest() -> Result<Vec<u8>> {
    let mut manifest = ImageManifest::new(UNNAMED.parse()?);
    for (name, value) in [("arch", host_arch()), ("os", "linux")] {
        manifest.labels.set(name.parse::<AcIdentifier>()?, value.to_owned());
    }
    Ok(manifest.to_json().into_bytes())
}

fn from_path(draft: &Draft, start: &Path) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(start).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::Refused(format!("no such file or directory: {}", start.display())),
        _ => Error::io("read", start)(e),
    })?;
    if metadata.is_dir() {
        // With a slash behind it, so that a link is followed.
        copy_from_host(&start.join(""), &draft.rootfs()?, Path::new(""), draft.path())?;
        return empty_manifest();
    }
    if !metadata.is_file() {
        return Err(Error::Refused(format!("{} is neither a file nor a directory", start.display())));
    }
    from_file(draft, start)
}

fn from_file(draft: &Draft, start: &Path) -> Result<Vec<u8>> {
    let open = || File::open(start).map_err(Error::io("open", start));
    let unreadable = |e: appc_image::Error| {
        let advice = match e.io_kind() {
            // The disk's fault, not the file's.
            Some(_) => e.advice().unwrap_or("try again, or another --work-path"),
            None => "it must be a directory, a tar archive or an intact .aci file",
        };
        Error::Refused(format!("{}: {e} - {advice}", start.display()))
    };
    let is_image = archive::looks_like_aci(open()?).map_err(unreadable)?;
    if !is_image {
        output::note("manifest is missing, assuming build is beginning with a tar of a rootfs");
    }
    let kind = if is_image { Kind::Aci } else { Kind::RootfsTar };
    let manifest = unpack(draft, open()?, kind)?.map_err(unreadable)?;
    if is_image { Ok(manifest) } else { empty_manifest() }
}

fn from_store(draft: &Draft, name: &Path, session: &Session) -> Result<Vec<u8>> {
    let name = name.to_str().ok_or_else(|| Error::refused("the name of an image must be UTF-8"))?;
    if name.contains("://") {
        return Err(Error::Refused(format!(
            "{name} is an address: fetch the image with rkt, then begin with its name"
        )));
    }
    let query: Query = name.parse().map_err(|e| {
        Error::Refused(format!("{name:?} is not the name of an image ({e}): a path must begin with / or ."))
    })?;
    let store = Store::open_existing(session.store_dir())?;
    let image = store
        .resolve(&query)
        .map_err(|e| Error::Refused(format!("{e}; or is it a file? A local path must begin with / or .")))?;
    let blob = store.blob(&image.id);
    Ok(unpack(draft, File::open(&blob).map_err(Error::io("open", blob))?, Kind::Aci)??)
}

/// Unpacks `source` into the new build, and returns its manifest; the inner error is that of the archive.
fn unpack(draft: &Draft, source: File, kind: Kind) -> Result<appc_image::Result<Vec<u8>>> {
    let total = source.metadata().ok().map(|metadata| metadata.len());
    let options = UnpackOptions { ownership: Ownership::of_this_process(), kind, total, ..UnpackOptions::default() };
    let unpacked = archive::unpack(source, &draft.rootfs()?, &options, &Bar::new());
    Ok(unpacked.map(|unpacked| {
        output::omissions(&unpacked.omitted);
        unpacked.manifest
    }))
}
