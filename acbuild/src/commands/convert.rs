//! `acbuild convert`

mod below;
pub(super) mod input;

use std::fs::File;
use std::path::{Path, PathBuf};

use appc_image::archive::{self, Compression, WriteOptions};
use appc_image::convert::{self, Options, Referrers, WrittenBundle};
use appc_image::layout::{LayoutDir, OciLayout};
use appc_image::oci::{Descriptor, Platform, Sink, Source, read_image};
use appc_image::reference::Reference;
use appc_spec::ImageManifest;
use appc_spec::oci::Origin;
use clap::Args;

use below::below;
use input::Input;
pub(crate) use input::exported;

use super::Unchecked;
use super::write::{parse_compression, source_date_epoch};
use crate::error::{Error, Result};
use crate::images;
use crate::outfile::OutFile;
use crate::output;
use crate::place::Target;
use crate::progress::Bar;
use crate::session::Session;

/// Convert an image between the formats of App Container, OCI and docker
///
/// SRC and DST are each an image archive (FILE.aci), oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME],
/// docker://[REGISTRY/]REPOSITORY[:TAG] or bundle:DIR, a root file system with the config.json to run it with; SRC may
/// also be the name or ID of an image in the store, and a name or https://... that is fetched into it. What one format cannot
/// hold is kept for the way back: an image archive that was not edited comes back as the same image (its ID is that of what is
/// compressed), and an OCI image by way of one with the same digest, whose layers stay when only the manifest was edited there. A bundle holds no layers: it becomes one.
/// Images that SRC depends on are taken from the store and become lower layers. Signatures and whatever else is about an image go with it from and to registries, oci: and oci-archive:. Prints the image ID, or the digest of the manifest; of a bundle nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild convert app.aci oci:app:1.0
  acbuild convert docker://registry.example.com/app:1.0 app.aci
  acbuild convert app.aci docker-archive:app.tar:example/app:1.0
  acbuild convert app.aci bundle:app && runc run --bundle app app")]
pub(crate) struct Convert {
    /// The image to convert
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// What to make of it
    #[arg(value_name = "DST")]
    target: PathBuf,
    /// Of an image for several platforms, the one for OS/ARCHITECTURE[/VARIANT]; this host's without it
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    platform: Option<Platform>,
    /// All platforms of the image, from and to OCI and docker only
    #[arg(long)]
    all_platforms: bool,
    /// Replace the file when it exists
    #[arg(long)]
    overwrite: bool,
    /// How to compress what is written anew: none, gzip or zstd; for image archives also bzip2 or xz
    #[arg(long, value_name = "KIND", default_value = "gzip", value_parser = parse_compression)]
    compression: Compression,
    /// How hard to compress, in the numbers of that kind; its own default without it
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// Do not put the original layers behind an image archive: it is smaller, but no longer converts back to the same
    #[arg(long)]
    no_originals: bool,
    /// Leave out what is about the image, such as signatures and lists of its parts
    #[arg(long)]
    no_referrers: bool,
    #[command(flatten)]
    unchecked: Unchecked,
}

impl Convert {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let source = images::checked(&Reference::of_image(&self.source)?, self.unchecked.insecure(), session)?;
        let target = match Reference::from_word(&self.target) {
            Ok(target) if !is_in_store(&target) => target,
            Err(e) if names_a_place(&self.target) => return Err(e.into()),
            _ => Reference::File(self.target.clone()),
        };
        let mut options = Options::new(work_dir(&target));
        let source_date_epoch = source_date_epoch()?;
        options.write = WriteOptions {
            compression: self.compression,
            level: self.level,
            source_date_epoch,
            ..WriteOptions::default()
        };
        options.originals = !self.no_originals;
        options.limit = session.limit();
        if let Some(platform) = &self.platform {
            options.platform = platform.clone();
        }
        if let (Reference::Bundle(dir), Reference::File(path)) = (&source, &target) {
            let out = OutFile::create(path, self.overwrite)?;
            let written = convert::from_bundle(dir, &out.file()?, &options, &Bar::new())?;
            out.publish()?;
            output::sockets(&written.sockets);
            return output::result(written.image_id);
        }
        let kept = input::kept(&source, self.unchecked.insecure(), session)?;
        let input = match &kept {
            Some((store, image)) => input::stored(store, image, &options)?,
            None => input::open(&source, self.unchecked.insecure(), &options)?,
        };
        self.check_platform(&input)?;
        let converted = match (input, &target) {
            (Input::Archive(archive), Reference::Bundle(dir)) => {
                self.bundle_of_archive(&archive, dir, &options, session)
            }
            (Input::Archive(archive), Reference::File(path)) => self.archive_again(&archive, path, &options),
            (Input::Archive(archive), _) => self.convert_archive(&archive, &target, &options, session),
            (Input::Oci(from, origin), Reference::Bundle(dir)) => {
                self.bundle_of_oci(&*from, &origin, dir, &options)?;
                self.tell_referrers(&*from, &target, &options);
                Ok(())
            }
            (Input::Oci(from, origin), _) => {
                self.convert_oci(&*from, &origin, &target, &options)?;
                self.tell_referrers(&*from, &target, &options);
                Ok(())
            }
        };
        converted.map_err(|error| match error {
            Error::Image(error) => images::of_file(&source, error),
            other => other,
        })
    }

    /// Refuses an image for another platform than the one that was asked for.
    fn check_platform(&self, input: &Input<'_>) -> Result<()> {
        let Some(wanted) = &self.platform else { return Ok(()) };
        let own: Option<Platform> = match input {
            Input::Archive(archive) => {
                serde_json::from_value(appc_spec::oci::to_oci(&manifest(archive, &self.source)?).config).ok()
            }
            Input::Oci(source, _) => serde_json::from_slice(&read_image(&**source, wanted)?.config_bytes).ok(),
        };
        match own {
            Some(own) if !wanted.matches(&own) => {
                Err(Error::Refused(format!("{} is for {own}, not for {wanted}", self.source.display())))
            }
            _ => Ok(()),
        }
    }

    /// Says what is about an image that was converted into something that cannot hold that.
    fn tell_referrers(&self, from: &dyn Source, target: &Reference, options: &Options) {
        if self.no_referrers || holds_referrers(target) {
            return;
        }
        match convert::count_referrers(from, &options.platform) {
            Ok(0) => {}
            Ok(count) => output::warning(format_args!(
                "left out: {count} manifest(s) about the image, such as signatures, which only registries and OCI layouts hold"
            )),
            Err(e) => output::warning(format_args!("whether there is something about the image is not known: {e}")),
        }
    }

    fn bundle_of_archive(&self, archive: &File, dir: &Path, options: &Options, session: &Session) -> Result<()> {
        let manifest = manifest(archive, &self.source)?;
        if manifest.dependencies.is_empty() && manifest.path_whitelist.is_empty() {
            let archive = archive.try_clone().map_err(Error::io("read", &self.source))?;
            return tell(&convert::archive_to_bundle(archive, dir, options, &Bar::new())?);
        }
        // As layers, which are put together the same way wherever they come from.
        let temporary = tempfile::tempdir_in(&options.temp_dir).map_err(Error::io("write to", &options.temp_dir))?;
        let mut plain = options.clone();
        plain.write.compression = Compression::None;
        let layout = as_layout(archive, &manifest, temporary.path(), &plain, session)?;
        self.bundle_of_oci(&layout, &Origin::default(), dir, options)
    }

    fn bundle_of_oci(&self, source: &dyn Source, origin: &Origin, dir: &Path, options: &Options) -> Result<()> {
        if self.all_platforms {
            return Err(Error::refused("a bundle is for one platform: name it with --platform"));
        }
        tell(&convert::to_bundle_dir(source, origin, dir, options, &Bar::new())?)
    }

    fn archive_again(&self, archive: &File, path: &Path, options: &Options) -> Result<()> {
        let out = OutFile::create(path, self.overwrite)?;
        let made = convert::archive_again(archive, &out.file()?, options, &Bar::new())?;
        out.publish()?;
        if made.without_originals && !self.no_originals {
            output::warning(
                "left out: the layers that the image was made of, which do not follow it into another compression",
            );
        }
        output::result(made.image_id)
    }

    fn convert_archive(&self, archive: &File, target: &Reference, options: &Options, session: &Session) -> Result<()> {
        let manifest = manifest(archive, &self.source)?;
        let lower = below(&manifest, options, session)?;
        let tag = manifest.labels.get("version").filter(|version| !version.is_empty()).unwrap_or("latest");
        let name = format!("{}:{tag}", manifest.name);
        let sink = self.sink(target, tag, &name)?;
        let made = convert::to_oci(archive, &lower.below, &*sink, options, &Bar::new())?;
        output::omissions(&made.omitted);
        if made.without_originals {
            output::warning(
                "left out: the layers that the image was made of, with their annotations and history: its files are one layer",
            );
        }
        output::result(made.top.digest)
    }

    fn convert_oci(&self, from: &dyn Source, origin: &Origin, target: &Reference, options: &Options) -> Result<()> {
        if let Reference::File(path) = target {
            if self.all_platforms {
                return Err(Error::refused("an image archive holds one platform: name it with --platform"));
            }
            let out = OutFile::create(path, self.overwrite)?;
            let written = convert::to_aci(from, origin, &out.file()?, options, &Bar::new())?;
            out.publish()?;
            return output::result(written.image_id);
        }
        // An image that is alone in a layout need not be named there, and keeps its name.
        let alone = if origin.tag.is_empty() { Some(from.top()?) } else { None };
        let tag = alone.as_ref().map_or(Some(&*origin.tag), OciLayout::name_of).unwrap_or("latest");
        let whole = tag.contains(':');
        let name = if whole { tag.to_owned() } else { format!("{}:{tag}", origin.repository) };
        let sink = self.sink(target, tag, &name)?;
        let platform = (!self.all_platforms).then_some(&options.platform);
        let kept = !self.no_referrers && holds_referrers(target);
        let referrers = if kept { Referrers::Kept } else { Referrers::LeftOut };
        let made: Descriptor = convert::copy(from, &*sink, platform, referrers, &Bar::new())?;
        output::result(made.digest)
    }

    /// Where an image goes, under this `tag` or `name` unless it was given one.
    fn sink(&self, reference: &Reference, tag: &str, name: &str) -> Result<Box<dyn Sink>> {
        Target { overwrite: self.overwrite, insecure: self.unchecked.insecure(), tag, name: Some(name) }.open(reference)
    }
}

/// An App Container image with this manifest as one of OCI, upon the images that it depends on, in the directory `dir`.
pub(crate) fn as_layout(
    archive: &File,
    manifest: &ImageManifest,
    dir: &Path,
    options: &Options,
    session: &Session,
) -> Result<OciLayout> {
    let sink = LayoutDir::create(dir, None)?;
    let lower = below(manifest, options, session)?;
    let made = convert::to_oci(archive, &lower.below, &sink, options, &Bar::new())?;
    output::omissions(&made.omitted);
    Ok(OciLayout::open(dir, None)?)
}

/// A word that nothing else is meant by is the name of a file to write.
fn is_in_store(target: &Reference) -> bool {
    matches!(target, Reference::Id(_) | Reference::Name(_))
}

/// Whether who typed this did not mean a file of that name.
fn names_a_place(word: &Path) -> bool {
    let schemes = ["docker:", "oci:", "oci-archive:", "docker-archive:", "bundle:"];
    word.to_str().is_some_and(|word| schemes.iter().any(|scheme| word.starts_with(scheme)) || word.contains("://"))
}

/// Whether what is about an image can lie beside it there. What `docker load` reads would be an image to it.
fn holds_referrers(target: &Reference) -> bool {
    matches!(target, Reference::Docker(_) | Reference::OciLayout { .. } | Reference::OciArchive { .. })
}

/// Where layers lie until they are whole: beside the image, where there should be room.
fn work_dir(target: &Reference) -> PathBuf {
    let path = match target {
        Reference::OciLayout { dir: path, .. }
        | Reference::OciArchive { file: path, .. }
        | Reference::DockerArchive { file: path, .. }
        | Reference::Bundle(path) => path,
        _ => return std::env::temp_dir(),
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.to_owned()
}

/// The manifest of an archive, which is then to be read from its beginning.
fn manifest(archive: &File, path: &Path) -> Result<ImageManifest> {
    let mut archive = archive.try_clone().map_err(Error::io("read", path))?;
    let manifest = archive::manifest(&archive)?;
    std::io::Seek::rewind(&mut archive).map_err(Error::io("read", path))?;
    ImageManifest::parse(&manifest).map_err(Error::BadManifest)
}

/// Says what a bundle is without.
fn tell(made: &WrittenBundle) -> Result<()> {
    output::omissions(&made.omitted);
    for what in &made.unenforced {
        output::warning(format_args!("no runtime will see to {what}: config.json cannot say it"));
    }
    Ok(())
}
