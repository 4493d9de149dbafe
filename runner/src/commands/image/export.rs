//! `rkt image export`

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use appc_image::convert::{self, Referrers};
use appc_image::layout::LayoutArchive;
use appc_image::store::{Store, StoredOci};
use appc_spec::ImageId;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::cli::Global;
use crate::failure::{Context, Failure, Outcome};
use crate::images;
use crate::progress::Bar;

/// Which image goes where.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  rkt image export example.com/app:1.0 app.aci
  rkt image export --aci sha512-0123456789ab app.aci

What is about an OCI image, such as signatures, is in the file with it.")]
pub(super) struct Args {
    /// An image in the store by its ID (or the beginning of it) or name, or one elsewhere
    image: OsString,
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replaces the file when it exists
    #[arg(long)]
    overwrite: bool,
    /// Makes an OCI image an App Container image
    #[arg(long)]
    aci: bool,
}

/// What is written: as it was fetched, or made anew.
enum Export<'s> {
    Archive(&'s Store, ImageId),
    Oci(StoredOci<'s>, Option<String>),
    Converted(StoredOci<'s>),
}

/// Writes the image as it was fetched, an OCI image with what is about it. The file is there whole or not at all.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let image = images::stored(global, &store, &args.image)?;
    let export = match store.oci(&image.id)? {
        None => Export::Archive(&store, image.id),
        Some(oci) if args.aci => {
            let count = oci.parts().about.manifests.len();
            if count > 0 {
                global.warn(format!(
                    "left out: {count} manifest(s) about the image, such as signatures: export it without --aci"
                ));
            }
            Export::Converted(oci)
        }
        // The tag. What is none in an OCI layout is left out.
        Some(oci) => Export::Oci(oci, image.manifest.labels.get("version").map(str::to_owned)),
    };
    let path = &args.file;
    match fs::metadata(path) {
        Ok(_) if !args.overwrite => Err(exists(path)),
        // A device or a pipe is written into, not replaced; a link stays and what it leads to is replaced.
        Ok(file) if !file.is_file() => into_special_file(&export, path),
        Ok(_) => into_file(&export, &fs::canonicalize(path).context(path.display())?, true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => into_file(&export, path, args.overwrite),
        Err(e) => Err(e).context(path.display()),
    }?;
    Ok(0)
}

impl Export<'_> {
    /// Writes a file, or replaces one, of which nothing has been written yet.
    fn write(&self, path: &Path) -> Result<(), Failure> {
        let bar = Bar::default();
        let file = || File::options().read(true).write(true).create(true).truncate(true).open(path);
        match self {
            Export::Archive(store, id) => {
                let file = file().context(path.display())?;
                store.export(id, &file, &bar)?;
                file.sync_all().context(path.display())?;
            }
            Export::Converted(oci) => {
                let file = file().context(path.display())?;
                let options = convert::Options::new(path.parent().unwrap_or(Path::new(".")));
                convert::to_aci(oci, &oci.origin(), &file, &options, &bar)?;
                file.sync_all().context(path.display())?;
            }
            Export::Oci(oci, tag) => {
                let tagged = tag.as_deref().map(|tag| LayoutArchive::create(path, Some(tag)));
                let archive = tagged.and_then(Result::ok).map_or_else(|| LayoutArchive::create(path, None), Ok)?;
                convert::copy(oci, &archive, None, Referrers::Kept, &bar)?;
                File::open(path).and_then(|file| file.sync_all()).context(path.display())?;
            }
        }
        Ok(())
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(format!("{}: output ACI file exists (try --overwrite)", path.display()))
}

fn into_special_file(export: &Export, path: &Path) -> Result<(), Failure> {
    let mut into = File::options().write(true).open(path).context(path.display())?;
    match export {
        Export::Archive(store, id) => Ok(store.export(id, &into, &Bar::default()).context(path.display())?),
        // These are not written from their beginning to their end.
        _ => {
            let new = New::beside(&std::env::temp_dir().join("image")).context(path.display())?;
            export.write(&new.path)?;
            let mut file = File::open(&new.path).context(path.display())?;
            io::copy(&mut file, &mut into).map(drop).context(path.display())
        }
    }
}

fn into_file(export: &Export, path: &Path, overwrite: bool) -> Result<(), Failure> {
    let new = New::beside(path).context(path.display())?;
    export.write(&new.path)?;
    let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match rustix::fs::renameat_with(CWD, &new.path, CWD, path, flags) {
        Err(Errno::EXIST) => Err(exists(path)),
        // Not every file system has that flag.
        Err(Errno::INVAL) if !overwrite => fs::hard_link(&new.path, path).context(path.display()),
        placed => placed.context(path.display()),
    }
}

/// A file that is not yet what it will be, removed unless it has been renamed.
struct New {
    path: PathBuf,
}

impl New {
    fn beside(path: &Path) -> io::Result<New> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let path = path.with_file_name(hidden);
        File::create_new(&path).or_else(|e| match e.kind() {
            // Left by a killed process of that number.
            io::ErrorKind::AlreadyExists => fs::remove_file(&path).and_then(|()| File::create_new(&path)),
            _ => Err(e),
        })?;
        Ok(New { path })
    }
}

impl Drop for New {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
