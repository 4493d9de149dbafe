//! `acbuild begin`

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_image::Error::{NotFound, NotStored};
use appc_image::archive::{self, Kind, Limit, Ownership, UnpackOptions};
use appc_image::fetch::{PullPolicy, origin_of};
use appc_image::open_regular;
use appc_image::reference::{Found, Reference, without_login};
use appc_image::store::{Store, StoredImage};
use appc_spec::{AcIdentifier, ImageManifest, host_arch};
use clap::{Args, ValueEnum};

use super::Unchecked;
use crate::cache::{Key, fill};
use crate::context::Draft;
use crate::document::Mode;
use crate::error::{Error, Result};
use crate::images::Pull;
use crate::install::copy_from_host;
use crate::platform::Platform;
use crate::progress::Bar;
use crate::session::Session;
use crate::{images, oci, output, users};

/// The name of an image that was not given one; such an image cannot be written.
pub(crate) const UNNAMED: &str = "acbuild-unnamed";

/// What a word may have been meant as that is no image.
const OR_DIRECTORY: &str = "or is it a directory? A local path must begin with / or .";

/// Start a new build, with either a new and empty image or an existing image
///
/// START is a directory or a tar archive that becomes the root file system, an image that is changed further: a file
/// (.aci, or an archive of OCI or for docker), an OCI layout or a bundle; the ID or name of an image in the store, or an
/// image elsewhere: a name that is found by discovery, https://..., docker://[REGISTRY/]REPOSITORY[:TAG], oci:DIR[:REF],
/// oci-archive:FILE[:REF], docker-archive:FILE[:TAG] or bundle:DIR. A path begins with / or . so that it is not taken for a
/// name; the name of a file alone will do, unless an image in the store is called so.
///
/// --arch and --os set the labels of a new image. One that is begun with must be for them; of an OCI image for several
/// platforms that one is taken.
///
/// An ordinary user with ranges in /etc/subuid and /etc/subgid builds what root would: owners, set-user-ID bits, devices
/// and file capabilities are kept. Without them every file is the user's.
///
/// With --cache, what the steps of the build do to its files is kept beside the store, and a step that was done before, in
/// this or another build, is not done again: one after the same steps with the same command, files to copy and images to
/// depend on. What a command gets over the network is not looked at: give that step --no-cache. The files of the build are
/// then made when they are needed, and must not be changed but by commands. $ACBUILD_CACHE says the same for all builds: 1
/// for a cache, 0 for none even with --cache.
///
/// With --build-mode=oci it is an OCI image that is built: the layers of the image that it begins with stay as they are
/// below what is built. An App Container image becomes one layer for it and for each image that it depends on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild begin ./alpine-3.20.aci
  acbuild begin --build-mode=oci docker://registry.example.com/debian:12")]
pub(crate) struct Begin {
    /// What to begin with; an empty image without it
    start: Option<PathBuf>,
    /// Kind of image to build
    #[arg(long, value_enum, value_name = "MODE", default_value = "appc")]
    build_mode: BuildMode,
    #[command(flatten)]
    unchecked: Unchecked,
    /// Architecture that the image is for, by the name of its label, of Go or of uname; that of this machine without it
    #[arg(long)]
    arch: Option<String>,
    /// Do not do again what was done before: see above
    #[arg(long)]
    cache: bool,
    /// When an image elsewhere is fetched: new (unless it is in the store, whatever the name or tag means by now), update (unless
    /// it has not changed), never
    #[arg(long, value_name = "POLICY", default_value = "new")]
    pull_policy: PullPolicy,
    /// Operating system that the image is for; linux without it
    #[arg(long)]
    os: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BuildMode {
    Appc,
    Oci,
}

impl Begin {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.start {
            None => session.debug("Beginning build with an empty ACI"),
            Some(start) => {
                session.debug(format_args!("Beginning build with {}", without_login(&start.to_string_lossy())));
            }
        }
        let platform = self.platform()?;
        let pull = self.pull(platform.as_ref());
        let use_cache = self.uses_cache()?;
        let draft = Draft::begin(session.work_path())?;
        if use_cache {
            match draft.use_cache(session) {
                // Of somebody else's, on a full or a read-only disk: the build can be made all the same.
                Err(e @ Error::Io { .. }) => {
                    output::warning(format_args!("this build goes on without a cache: {e}"));
                }
                used => used?,
            }
        }
        match self.build_mode {
            BuildMode::Appc => self.appc(draft, platform.as_ref(), pull, session)?,
            BuildMode::Oci => {
                let mut image = oci::begin(&draft, self.start.as_deref(), pull, session)?;
                if let Some(platform) = &platform {
                    platform.describe(&mut image)?;
                }
                draft.finish_oci(&image)?;
            }
        }
        users::warn_of_losses();
        Ok(())
    }

    fn appc(&self, draft: Draft, platform: Option<&Platform>, pull: Pull, session: &Session) -> Result<()> {
        let manifest = match self.start.as_deref() {
            None => empty_manifest()?,
            Some(start) if matches!(start.as_os_str().as_bytes(), [b'.' | b'/', ..]) => {
                from_path(&draft, start, pull, session)?
            }
            Some(word) => match reference_of(word, session)? {
                Reference::File(path) => from_path(&draft, &path, pull, session)?,
                reference => from_image(&draft, &reference, pull, session)?,
            },
        };
        match platform {
            Some(platform) => {
                let mut manifest = ImageManifest::parse(&manifest)?;
                platform.label(&mut manifest)?;
                draft.finish(manifest.to_json().as_bytes())?;
            }
            None => draft.finish(&manifest)?,
        }
        Ok(())
    }
}

impl Begin {
    fn pull(&self, platform: Option<&Platform>) -> Pull {
        Pull { policy: self.pull_policy, insecure: self.unchecked.insecure(), platform: platform.map(Platform::in_oci) }
    }

    /// Whether the build is to have a cache.
    fn uses_cache(&self) -> Result<bool> {
        match std::env::var_os("ACBUILD_CACHE").as_deref().and_then(OsStr::to_str) {
            None | Some("") => Ok(self.cache),
            Some("1") => Ok(true),
            Some("0") => Ok(false),
            Some(other) => {
                Err(Error::Refused(format!("ACBUILD_CACHE must be 1 or 0, not {other:?}: correct or unset it")))
            }
        }
    }

    /// What the image is for, if that was said.
    fn platform(&self) -> Result<Option<Platform>> {
        let (os, arch) = (self.os.as_deref(), self.arch.as_deref());
        let mode = match self.build_mode {
            BuildMode::Appc => Mode::Appc,
            BuildMode::Oci => Mode::Oci,
        };
        (os.is_some() || arch.is_some()).then(|| Platform::new(os, arch, mode)).transpose()
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

fn from_path(draft: &Draft, start: &Path, pull: Pull, session: &Session) -> Result<Vec<u8>> {
    match at_path(start)? {
        Start::Directory => {
            from_directory(draft, start, session)?;
            empty_manifest()
        }
        Start::File => from_file(draft, start, session),
        Start::Image(reference) => from_image(draft, &reference, pull, session),
    }
}

/// What a build can begin with that is at a path.
pub(crate) enum Start {
    /// A root file system.
    Directory,
    /// A tar of one, or an App Container image.
    File,
    /// An image in another format.
    Image(Reference),
}

/// What there is at the path `start`.
pub(crate) fn at_path(start: &Path) -> Result<Start> {
    let metadata = std::fs::metadata(start).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::Refused(format!("no such file or directory: {}", start.display())),
        _ => Error::io("read", start)(e),
    })?;
    if !metadata.is_dir() && !metadata.is_file() {
        return Err(Error::Refused(format!("{} is neither a file nor a directory", start.display())));
    }
    Ok(match Found::at(start) {
        Some(Found::Directory) => Start::Directory,
        Some(Found::Layout) => Start::Image(Reference::OciLayout { dir: start.to_owned(), name: None }),
        Some(Found::Bundle) => Start::Image(Reference::Bundle(start.to_owned())),
        Some(Found::File) | None => match Reference::of_file(start.to_owned())? {
            Reference::File(_) => Start::File,
            archive => Start::Image(archive),
        },
    })
}

/// The root file system is a copy of the directory `start`.
pub(crate) fn from_directory(draft: &Draft, start: &Path, session: &Session) -> Result<()> {
    // With a slash behind it, so that a link is followed.
    let start = start.join("");
    let inputs = |key: &mut Key<'_>| key.source(&start, draft.path());
    fill(session, draft, &inputs, || copy_from_host(&start, &draft.rootfs()?, Path::new(""), draft.path()))
}

fn from_file(draft: &Draft, start: &Path, session: &Session) -> Result<Vec<u8>> {
    let open = || open_regular(start).map_err(Error::io("open", start));
    let unreadable = |e: appc_image::Error| {
        let advice = match e.io_kind() {
            // The disk's fault, not the file's.
            Some(_) => e.advice().unwrap_or("try again, or another --work-path"),
            None => "it must be a directory, a tar archive or an intact .aci file",
        };
        Error::Refused(format!("{}: {e} - {advice}", start.display()))
    };
    let is_image = archive::looks_like_aci(open()?).map_err(unreadable)?;
    let kind = if is_image { Kind::Aci } else { Kind::RootfsTar };
    fill(session, draft, &|key| of_archive(key, start, kind), || {
        unpack(draft, open()?, kind, session.limit())?.map_err(unreadable)
    })?;
    if !is_image {
        output::note("manifest is missing, assuming build is beginning with a tar of a rootfs");
        return empty_manifest();
    }
    let manifest = archive::manifest(open()?).map_err(unreadable)?;
    ImageManifest::parse(&manifest).map_err(|e| unreadable(appc_image::Error::Manifest(e)))?;
    Ok(manifest)
}

/// Adds an archive that is unpacked to a key.
pub(crate) fn of_archive(key: &mut Key<'_>, start: &Path, kind: Kind) -> Result<()> {
    key.field("archive", format!("{kind:?}"));
    key.content(start)
}

/// An image that is in the store, or is fetched into it.
fn from_image(draft: &Draft, reference: &Reference, pull: Pull, session: &Session) -> Result<Vec<u8>> {
    let (store, image) = fetch(reference, pull, session)?;
    if image.oci.is_some() {
        oci::lay_down(&store, &image, draft, session)?;
        let named = match reference {
            Reference::Id(_) | Reference::Name(_) => None,
            // The same image may be in the store under another name.
            elsewhere => store.manifest_from(&image.id, &origin_of(elsewhere)?)?,
        };
        return Ok(named.unwrap_or(image.manifest).to_json().into_bytes());
    }
    let inputs = |key: &mut Key<'_>| {
        key.field("image", image.id.to_string());
        Ok(())
    };
    let blob = store.blob(&image.id);
    let open = || File::open(&blob).map_err(Error::io("open", &blob));
    fill(session, draft, &inputs, || Ok(unpack(draft, open()?, Kind::Aci, Limit::NONE)??))?;
    Ok(archive::manifest(open()?)?)
}

/// What a word means that does not begin like a path: an image, or else a file.
pub(crate) fn reference_of(word: &Path, session: &Session) -> Result<Reference> {
    let reference = Reference::from_word(word).map_err(|e| Error::Refused(format!("{e}; {OR_DIRECTORY}")))?;
    match (&reference, word.to_str().and_then(|word| word.parse().ok())) {
        // A file that happens to lie here takes no name from an image that a script means.
        (Reference::File(_), Some(name)) => {
            let named = Reference::Name(name);
            let is_stored = images::known(&named, session).is_some_and(|found| found.is_ok());
            Ok(if is_stored { named } else { reference })
        }
        _ => Ok(reference),
    }
}

/// The image in the store, fetched if it has to be.
pub(crate) fn fetch(reference: &Reference, pull: Pull, session: &Session) -> Result<(Store, StoredImage)> {
    images::fetch(reference, pull, session).map_err(|e| match e {
        Error::Image(NotFound { .. } | NotStored(_)) => Error::Refused(format!("{e}; {OR_DIRECTORY}")),
        other => other,
    })
}

/// Unpacks `source` into the new build; the inner error is that of the archive.
pub(crate) fn unpack(draft: &Draft, source: File, kind: Kind, limit: Limit) -> Result<appc_image::Result<()>> {
    let total = source.metadata().ok().map(|metadata| metadata.len());
    let ownership = Ownership::of_this_process();
    // `run` mounts an overlay of it, and so does whoever runs the image.
    let options = UnpackOptions { ownership, kind, total, limit, layer: true, ..UnpackOptions::default() };
    let unpacked = archive::unpack(source, &draft.rootfs()?, &options, &Bar::new());
    Ok(unpacked.map(|unpacked| output::omissions(&unpacked.omitted)))
}
