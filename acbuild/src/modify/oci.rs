//! An OCI image, in an archive, a layout or an archive for docker, that is changed where it lies.
//!
//! Layers are copied as they are, or stay where they are in a layout. There the new image takes the old one's place in the
//! index, and what of the old one no other image has goes.

use std::fs;
use std::path::{Path, PathBuf};

use appc_image::archive::{Compression, Limit, WriteOptions, compression_of};
use appc_image::layout::{ArchiveKind, DockerArchive, LayoutArchive, LayoutDir, OciLayout, archive_kind};
use appc_image::oci::{OciImage, Platform, Sink, Source, media_type, read_image};
use appc_image::reference::Reference;
use appc_image::render;
use appc_image::store::Store;

use crate::cache::StoredLayers;
use crate::commands::write::source_date_epoch;
use crate::context::{Build, Draft};
use crate::error::{Error, Result};
use crate::oci::{self, Image};
use crate::progress::Bar;

/// An image, and where it lies.
#[derive(Debug)]
pub(super) struct Oci {
    path: PathBuf,
    format: Format,
    /// Which of several it is.
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Layout,
    Archive,
    Docker,
}

/// An image, open.
struct Opened {
    source: Box<dyn Source>,
    image: OciImage,
    /// What it is called there.
    name: Option<String>,
}

impl Oci {
    /// The image that a word names: a path, or one behind `oci:`, `oci-archive:` or `docker-archive:`, which can name one
    /// of several.
    pub(super) fn new(word: &Path) -> Result<Oci> {
        let (path, said, name) = match Reference::from_word(word) {
            Ok(Reference::OciLayout { dir, name }) => (dir, Some(Format::Layout), name),
            Ok(Reference::OciArchive { file, name }) => (file, Some(Format::Archive), name),
            Ok(Reference::DockerArchive { file, name }) => (file, Some(Format::Docker), name),
            _ => (word.to_owned(), None, None),
        };
        let found = fs::metadata(&path).map_err(|e| super::missing(&path, e))?;
        let refuse = |why: &str| Err(Error::Refused(format!("image to modify {why}: {}.", path.display())));
        let format = match said {
            Some(said) if (said == Format::Layout) == found.is_dir() => said,
            Some(Format::Layout) => return refuse("is not a directory"),
            None if found.is_dir() => Format::Layout,
            _ if found.is_dir() => return refuse("is a directory"),
            _ if !found.is_file() => return refuse("is not a regular file"),
            _ => format_of(&path)?,
        };
        if format != Format::Layout {
            let archive = fs::File::open(&path).map_err(Error::io("open", &path))?;
            let compression = compression_of(&archive).map_err(|error| Error::File { path: path.clone(), error })?;
            if compression != Compression::None {
                return refuse("is compressed as a whole, which its layers are by themselves: unpack it first");
            }
        }
        Ok(Oci { path: fs::canonicalize(&path).map_err(Error::io("find", &path))?, format, name })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is locked: a layout's index is replaced, and its directory locked for that.
    pub(super) fn lock_path(&self) -> PathBuf {
        if self.format == Format::Layout { self.path.join("oci-layout") } else { self.path.clone() }
    }

    /// What is said of it.
    pub(super) fn image(&self) -> Result<Image> {
        Image::of(&self.open()?.image)
    }

    /// Puts what `change` makes of what is said of it in its place.
    pub(super) fn edit(&self, change: impl FnOnce(Image) -> Result<Image>) -> Result<()> {
        let opened = self.open()?;
        let image = change(Image::of(&opened.image)?)?;
        let sink = self.sink(&opened, &image)?;
        let top = oci::put_edited(&*opened.source, &opened.image, &image, &*sink, &options(&opened.image)?)?;
        Ok(sink.finish(&top)?)
    }

    /// Fills `draft`, with a store in `dir` for the layers, and returns what is said of the image.
    pub(super) fn unpack(&self, draft: &Draft, dir: &Path) -> Result<Image> {
        let opened = self.open()?;
        let store = Store::open(dir.join("store"))?.limited(Limit::NONE);
        let origin = opened.source.describe();
        let stored = store.import_oci(&*opened.source, &Platform::host(), &origin, &Bar::new())?;
        oci::merge(&render::layers(&store, &stored)?, draft)?;
        oci::of_stored(&store, &stored)?.ok_or_else(|| Error::Refused(format!("{origin} is no OCI image")))
    }

    /// Puts the build in its place.
    pub(super) fn write(&self, build: &Build) -> Result<()> {
        let (opened, image) = (self.open()?, build.image()?);
        let sink = self.sink(&opened, &image)?;
        let top = oci::put(build, (&image, &StoredLayers::default()), &*sink, &options(&opened.image)?)?;
        Ok(sink.finish(&top)?)
    }

    /// Opens it.
    ///
    /// # Errors
    /// When more would be lost by replacing it than is replaced: other images, names, platforms.
    fn open(&self) -> Result<Opened> {
        let asked = self.name.as_deref();
        let several = |what: &str| {
            let path = self.path.display();
            Err(Error::Refused(format!("{path} has {what}: copy the one to change out of it with \"acbuild convert\"")))
        };
        let (source, name): (Box<dyn Source>, Option<String>) = match self.format {
            Format::Docker => {
                let archive = DockerArchive::open(&self.path, asked)?;
                if archive.count() > 1 || archive.names().len() > 1 {
                    return several("several images, or names of one");
                }
                let name = archive.names().first().cloned();
                (Box::new(archive), name)
            }
            Format::Archive => {
                let archive = OciLayout::open_archive(&self.path, asked)?;
                if archive.count() > 1 {
                    return several("several images, or names of one");
                }
                let name = archive.name().map(str::to_owned);
                (Box::new(archive), name)
            }
            Format::Layout => {
                let layout = OciLayout::open(&self.path, asked)?;
                let name = layout.name().map(str::to_owned);
                (Box::new(layout), name)
            }
        };
        let image = read_image(&*source, &Platform::host())?;
        match media_type::is_index(&image.top.media_type) {
            true => several("an image for several platforms"),
            false => Ok(Opened { source, image, name }),
        }
    }

    /// What takes the new image, which is the old one until that is finished.
    fn sink(&self, old: &Opened, new: &Image) -> Result<Box<dyn Sink>> {
        let name = self.renamed(old.name.as_deref(), new.tag.as_deref())?;
        let archive = |made: appc_image::Result<LayoutArchive>| -> Result<Box<dyn Sink>> {
            let replaced = fs::metadata(&self.path).map_err(Error::io("read", &self.path))?;
            Ok(Box::new(made?.like(&replaced)?))
        };
        match self.format {
            Format::Layout => {
                let layout = LayoutDir::create(&self.path, name.as_deref())?;
                Ok(Box::new(layout.in_place_of(&old.image.top)))
            }
            Format::Archive => archive(LayoutArchive::create(&self.path, name.as_deref())),
            Format::Docker => archive(LayoutArchive::create_docker(&self.path, name.as_deref())),
        }
    }

    /// What it is called when it was called `old` and is given `tag`. Docker's names are whole ones.
    fn renamed(&self, old: Option<&str>, tag: Option<&str>) -> Result<Option<String>> {
        let Some(tag) = tag else { return Ok(old.map(str::to_owned)) };
        if self.format != Format::Docker {
            return Ok(Some(tag.to_owned()));
        }
        let path = self.path.display();
        let unnamed = || Error::Refused(format!("the image in {path} has no name that the tag could be put behind"));
        let old = old.ok_or_else(unnamed)?;
        let repository = match old.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => old,
        };
        Ok(Some(format!("{repository}:{tag}")))
    }
}

/// What the archive in a file is, by what is in it. Docker writes layouts with a file more.
fn format_of(path: &Path) -> Result<Format> {
    match archive_kind(path)? {
        ArchiveKind::Oci if DockerArchive::open(path, None).is_ok() => Ok(Format::Docker),
        ArchiveKind::Oci => Ok(Format::Archive),
        ArchiveKind::Docker => Ok(Format::Docker),
        ArchiveKind::Other => Err(Error::Refused(format!(
            "image to modify is no archive of an OCI layout or for docker: {}.",
            path.display()
        ))),
    }
}

/// How a new layer is written: as the topmost one was.
fn options(image: &OciImage) -> Result<WriteOptions> {
    let media_type = image.layers.last().map(|layer| layer.descriptor.media_type.as_str());
    let compression = match media_type {
        Some(kind) if kind.ends_with("tar") => Compression::None,
        Some(kind) if kind.ends_with("zstd") => Compression::Zstd,
        _ => Compression::Gzip,
    };
    Ok(WriteOptions { compression, source_date_epoch: source_date_epoch()?, ..WriteOptions::default() })
}
