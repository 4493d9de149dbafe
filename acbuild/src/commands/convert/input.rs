//! What is converted: an App Container archive, or an OCI image wherever it lies.

use std::fs::File;
use std::io::Seek;
use std::path::Path;

use appc_image::archive::Compression;
use appc_image::convert::{self, Options};
use appc_image::fetch::Insecure;
use appc_image::layout::{DockerArchive, OciLayout};
use appc_image::oci::Source;
use appc_image::open_regular;
use appc_image::reference::Reference;
use appc_image::registry::Access;
use appc_image::store::{Store, StoredImage};
use appc_spec::ImageId;
use appc_spec::oci::Origin;

use crate::error::{Error, Result};
use crate::progress::Bar;
use crate::session::Session;
use crate::{images, output, place};

/// An image that can be read.
pub(in crate::commands) enum Input<'s> {
    /// The archive, from its beginning.
    Archive(File),
    /// The image, and what is known of where it comes from.
    Oci(Box<dyn Source + 's>, Origin),
}

/// What of the store and where images are fetched from is converted: the image, and the store that it is in then.
pub(in crate::commands) fn kept(
    reference: &Reference,
    insecure: Insecure,
    session: &Session,
) -> Result<Option<(Store, StoredImage)>> {
    match reference {
        Reference::Id(_) | Reference::Name(_) | Reference::Url(_) => {
            images::fetch(reference, insecure, session).map(Some)
        }
        _ => Ok(None),
    }
}

/// An image of the store, as what it came as.
pub(in crate::commands) fn stored<'s>(store: &'s Store, image: &StoredImage, options: &Options) -> Result<Input<'s>> {
    match store.oci(&image.id)? {
        None => exported(store, &image.id, options).map(Input::Archive),
        Some(oci) => {
            let origin = oci.origin();
            Ok(Input::Oci(Box::new(oci), origin))
        }
    }
}

/// An image that is not looked for in the store.
pub(in crate::commands) fn open(
    reference: &Reference,
    insecure: Insecure,
    options: &Options,
) -> Result<Input<'static>> {
    let from: Box<dyn Source> = match reference {
        Reference::Bundle(dir) => return bundle(dir, options).map(Input::Archive),
        Reference::File(path) => return Ok(Input::Archive(open_regular(path).map_err(Error::io("open", path))?)),
        Reference::OciLayout { dir, name } => Box::new(OciLayout::open(dir, name.as_deref())?),
        Reference::OciArchive { file, name } => Box::new(OciLayout::open_archive(file, name.as_deref())?),
        Reference::DockerArchive { file, name } => {
            let archive = DockerArchive::open(file, name.as_deref())?;
            let origin = origin(&archive.reference(reference));
            return Ok(Input::Oci(Box::new(archive), origin));
        }
        Reference::Docker(name) => Box::new(place::registry(name, Access::Pull, insecure)?),
        other => return Err(Error::Refused(format!("cannot read {other}: fetch it with \"rkt fetch\" first"))),
    };
    Ok(Input::Oci(from, origin(reference)))
}

/// A bundle as an archive.
fn bundle(dir: &Path, options: &Options) -> Result<File> {
    let mut file = tempfile::tempfile_in(&options.temp_dir).map_err(Error::io("write to", &options.temp_dir))?;
    let mut plain = options.clone();
    plain.write.compression = Compression::None;
    let written = convert::from_bundle(dir, &file, &plain, &Bar::new())?;
    output::sockets(&written.sockets);
    file.rewind().map_err(Error::io("read", &options.temp_dir))?;
    Ok(file)
}

/// A stored image as a file.
pub(crate) fn exported(store: &Store, id: &ImageId, options: &Options) -> Result<File> {
    let mut file = tempfile::tempfile_in(&options.temp_dir).map_err(Error::io("write to", &options.temp_dir))?;
    store.export(id, &mut file, &Bar::new())?;
    file.rewind().map_err(Error::io("read", &options.temp_dir))?;
    Ok(file)
}

/// What is known of the place that an image comes from.
fn origin(reference: &Reference) -> Origin {
    let file_name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (registry, repository, tag) = match reference {
        Reference::Docker(name) => {
            (name.registry.clone(), name.repository.clone(), name.tag.clone().unwrap_or_default())
        }
        Reference::OciLayout { dir: path, name }
        | Reference::OciArchive { file: path, name }
        | Reference::DockerArchive { file: path, name } => match name.as_deref().map(|name| name.rsplit_once(':')) {
            Some(Some((repository, tag))) => (String::new(), repository.to_owned(), tag.to_owned()),
            _ => (String::new(), file_name(path), name.clone().unwrap_or_default()),
        },
        _ => Default::default(),
    };
    // How the place of a file is spelt is not of the image: the same one gives the same everywhere.
    let original = matches!(reference, Reference::Docker(_)).then(|| reference.to_string()).unwrap_or_default();
    Origin { registry, repository, tag, original, ..Origin::default() }
}
