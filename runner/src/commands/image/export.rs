//! `rkt image export`

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use appc_image::store::{Store, StoredImage};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::cli::Global;
use crate::failure::{Context, Failure, Outcome};
use crate::progress::Bar;

/// Which image goes where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// ID (or its beginning) or name of an image
    image: String,
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replaces the file when it exists
    #[arg(long)]
    overwrite: bool,
}

/// Writes the image as it was fetched. The file is there whole or not at all.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = Store::open_existing(&global.dir)?;
    let image = super::find(&store, &args.image)?;
    let path = &args.file;
    match fs::metadata(path) {
        Ok(_) if !args.overwrite => Err(exists(path)),
        // A device or a pipe is written into, not replaced; a link stays and what it leads to is replaced.
        Ok(file) if !file.is_file() => into_special_file(&store, &image, path),
        Ok(_) => into_file(&store, &image, &fs::canonicalize(path).context(path.display())?, true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => into_file(&store, &image, path, args.overwrite),
        Err(e) => Err(e).context(path.display()),
    }?;
    Ok(0)
}

fn exists(path: &Path) -> Failure {
    Failure::new(format!("{}: output ACI file exists (try --overwrite)", path.display()))
}

fn into_special_file(store: &Store, image: &StoredImage, path: &Path) -> Result<(), Failure> {
    let file = File::options().write(true).open(path).context(path.display())?;
    store.export(&image.id, &file, &Bar::default()).context(path.display())
}

fn into_file(store: &Store, image: &StoredImage, path: &Path, overwrite: bool) -> Result<(), Failure> {
    let new = New::beside(path).context(path.display())?;
    store.export(&image.id, &new.file, &Bar::default()).context(path.display())?;
    new.file.sync_all().context(path.display())?;
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
    file: File,
}

impl New {
    fn beside(path: &Path) -> io::Result<New> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let path = path.with_file_name(hidden);
        let file = File::create(&path)?;
        Ok(New { path, file })
    }
}

impl Drop for New {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
