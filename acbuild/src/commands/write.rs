//! `acbuild write`

use std::path::PathBuf;

use appc_image::archive::{self, Compression, WriteOptions, Written};
use appc_image::fetch::Insecure;
use appc_image::oci::{Descriptor, Sink};
use appc_image::reference::{Reference, without_login};
use appc_spec::ImageManifest;
use clap::Args;

use super::Unchecked;
use super::begin::UNNAMED;
use crate::cache::{Key, StoredImage, StoredLayers};
use crate::context::{Access, Build};
use crate::document::{Document, Mode};
use crate::error::{Error, Result};
use crate::oci::Run;
use crate::outfile::OutFile;
use crate::place::{self, Target};
use crate::progress::Bar;
use crate::run::{self, whitelist};
use crate::session::Session;
use crate::{oci, output};

/// Write the image from the current build to a file
///
/// Prints the image ID. The file appears when it is complete; the build goes on afterwards. The same files and manifest
/// always give the same image, and times later than $SOURCE_DATE_EPOCH are written as that when it is set. What "run" has
/// deleted of the dependencies is left out of the image by its path whitelist.
///
/// An oci build is written as an archive of an OCI layout, or to oci:DIR[:REF], oci-archive:FILE[:REF],
/// docker-archive:FILE[:NAME:TAG] or docker://[REGISTRY/]REPOSITORY[:TAG], and its manifest's digest is printed. It is
/// called what "acbuild set-tag" says, or "latest", and as old as its newest file, or $SOURCE_DATE_EPOCH. With --index it
/// is one image for several platforms.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild write hello-0.0.1-linux-amd64.aci
  acbuild write oci:hello:0.0.1
  acbuild --work-path amd64 write --index arm64 hello.tar
  acbuild write docker://registry.example.com/hello:0.0.1")]
pub(crate) struct Write {
    /// File to write, or another place for an oci build
    #[arg(value_name = "ACI_PATH")]
    path: PathBuf,
    /// Replace the file when it exists
    #[arg(long)]
    overwrite: bool,
    /// How to compress it: none, gzip, bzip2, xz or zstd; an OCI image's layers none, gzip or zstd
    #[arg(long, value_name = "KIND", default_value = "gzip", value_parser = parse_compression)]
    compression: Compression,
    /// How hard to compress, in the numbers of that kind; its own default without it
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// Write an index of this image and that of the oci build below DIR, for another platform (repeatable)
    #[arg(long, value_name = "DIR")]
    index: Vec<PathBuf>,
    /// Removed: it says what to use instead
    #[arg(long, hide = true)]
    sign: bool,
    #[command(flatten)]
    unchecked: Unchecked,
}

impl Write {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        if self.sign {
            return Err(Error::refused("the sign flag has been removed, please use \"acbuild sign\" afterwards"));
        }
        session.debug(format_args!("Writing ACI to {}", without_login(&self.path.to_string_lossy())));
        if place::is_bundle(&self.path) {
            let bundle = self.path.display();
            return Err(Error::Refused(format!(
                "a build is not written as a bundle: write it to a file, and make that one with \"acbuild convert FILE {bundle}\""
            )));
        }
        let source_date_epoch = source_date_epoch()?;
        let options = WriteOptions {
            compression: self.compression,
            level: self.level,
            source_date_epoch,
            ..WriteOptions::default()
        };
        let build = session.build(Access::Read)?;
        place::check_outside(build.dir(), &self.path)?;
        match build.mode() {
            Mode::Appc => self.appc(session, build, &options),
            Mode::Oci => self.oci(session, build, &options),
        }
    }

    fn appc(&self, session: &Session, build: Build, options: &WriteOptions) -> Result<()> {
        if !self.index.is_empty() {
            let why =
                "--index is for oci builds: App Container images are one for each platform, found by their labels";
            return Err(Error::refused(why));
        }
        if place::is_of_images(&self.path) {
            let what = self.path.display();
            return Err(Error::Refused(format!(
                "{what}: an appc build is written to a file: make that what you want with \"acbuild convert\""
            )));
        }
        check(&build.manifest()?)?;
        let out = OutFile::create(&self.path, self.overwrite)?;
        let known = StoredImage::find(session, &build, &|key| add_to(key, session, &build, options))?;
        if let Some(id) = known.give(&out)? {
            out.publish()?;
            return self.tell(&id);
        }
        drop((known, build));
        let build = session.whole(Access::Read)?;
        let kept = StoredImage::find(session, &build, &|key| add_to(key, session, &build, options))?;
        let written = to_archive(&build, &whitelist::complete(session, &build)?, &out, options)?;
        let id = written.image_id.to_string();
        if written.sockets.is_empty() {
            kept.keep(&id, &out)?;
        }
        out.publish()?;
        output::sockets(&written.sockets);
        self.tell(&id)
    }

    /// Prints the image ID. Who cannot be told it can still have the image.
    fn tell(&self, id: &str) -> Result<()> {
        output::result(id).map_err(|e| match e {
            Error::Io { .. } => Error::Refused(format!("{} is written, but not its ID: {e}", self.path.display())),
            other => other,
        })
    }

    fn oci(&self, session: &Session, build: Build, options: &WriteOptions) -> Result<()> {
        let whole = || session.whole(Access::Read);
        let this = OciBuild::new(session, build, whole, options)?;
        let image = &this.image;
        let run = &image.config.run;
        if *run != Run::default() && run.entrypoint.is_empty() && run.cmd.is_empty() {
            output::warning("exec command was never set.");
        }
        let insecure = self.unchecked.insecure();
        let to = Target { overwrite: self.overwrite, insecure, tag: image.name(), name: None };
        let place = place::written_to(&self.path)?;
        if let (Reference::DockerArchive { file, .. }, false) = (&place, self.index.is_empty()) {
            let file = file.display();
            return Err(Error::Refused(format!(
                "--index: an archive for docker holds an image for one platform only: write oci-archive:{file}"
            )));
        }
        let sink = to.open(&place)?;
        let mut top = this.put(&*sink, options)?;
        if !self.index.is_empty() {
            let mut manifests = vec![top];
            for work_path in &self.index {
                let of_index = |e| Error::Refused(format!("--index {}: {e}", work_path.display()));
                let whole = || Build::open_whole(work_path, Access::Read);
                let other = Build::open(work_path, Access::Read);
                let other = other.and_then(|other| OciBuild::new(session, other, whole, options)).map_err(of_index)?;
                manifests.push(other.put(&*sink, options)?);
            }
            top = oci::put_index(manifests, &*sink)?;
        }
        sink.finish(&top)?;
        output::result(top.digest)
    }
}

/// An oci build with all that is needed of it to be written: its files, unless the cache has its layers.
struct OciBuild<'s> {
    build: Build,
    image: oci::Image,
    layers: StoredLayers<'s>,
}

impl<'s> OciBuild<'s> {
    /// `whole` opens the same build with all its files. They may have to be made first, which takes the lock.
    fn new(
        session: &'s Session,
        build: Build,
        whole: impl FnOnce() -> Result<Build>,
        options: &WriteOptions,
    ) -> Result<OciBuild<'s>> {
        let of = |build: Build| {
            let image = build.image()?;
            let layers = StoredLayers::find(session, &build, &image, options)?;
            Ok(OciBuild { build, image, layers })
        };
        let known = of(build)?;
        if known.layers.is_complete() {
            return Ok(known);
        }
        drop(known);
        of(whole()?)
    }

    fn put(&self, sink: &dyn Sink, options: &WriteOptions) -> Result<Descriptor> {
        oci::put(&self.build, (&self.image, &self.layers), sink, options)
    }
}

/// Writes the build as an image archive with this manifest.
pub(crate) fn to_archive(build: &Build, manifest: &[u8], out: &OutFile, options: &WriteOptions) -> Result<Written> {
    Ok(archive::write(manifest, &build.rootfs()?, out.file()?, options, &Bar::new())?)
}

/// Adds to a key what the archive of `build` depends on beside its files.
fn add_to(key: &mut Key<'_>, session: &Session, build: &Build, options: &WriteOptions) -> Result<()> {
    key.field("manifest", build.manifest_bytes()?);
    if build.state().is_some_and(|state| state.deletes()) {
        // Then the image has a list of what is left of its dependencies.
        key.trees(run::dependencies(session, &build.manifest()?, Insecure::default())?.as_ref());
    }
    let WriteOptions { compression, level, source_date_epoch, .. } = options;
    key.field("options", format!("{compression:?} {level:?} {source_date_epoch:?}"));
    Ok(())
}

/// Whether an image with this manifest is worth writing.
fn check(manifest: &ImageManifest) -> Result<()> {
    if manifest.name.as_str() == UNNAMED {
        return Err(Error::refused("can't write ACI, name was never set - try \"acbuild set-name example.com/NAME\""));
    }
    if manifest.app.as_ref().is_some_and(|app| app.exec.is_empty()) {
        output::warning("exec command was never set.");
    }
    Ok(())
}

/// <https://reproducible-builds.org/specs/source-date-epoch/>
pub(crate) fn source_date_epoch() -> Result<Option<i64>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse::<i64>().ok()).filter(|seconds| *seconds >= 0);
    let why = || {
        Error::Refused(format!(
            "SOURCE_DATE_EPOCH must be a number of seconds since 1970, not {text:?}: unset or correct it"
        ))
    };
    seconds.map(Some).ok_or_else(why)
}

pub(super) fn parse_compression(text: &str) -> Result<Compression, String> {
    text.parse().map_err(|_| "it must be one of none, gzip, bzip2, xz, zstd".to_owned())
}
