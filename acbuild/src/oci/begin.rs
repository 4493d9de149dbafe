//! What an oci build begins with.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_image::archive;
use appc_image::archive::{CopyOptions, Kind, Ownership, looks_like_aci};
use appc_image::convert::Options;
use appc_image::fetch::Insecure;
use appc_image::oci::{Platform, read_image};
use appc_image::open_regular;
use appc_image::reference::Reference;
use appc_image::render::{self, Rendered};
use appc_image::store::{Store, StoredImage};

use super::image::Base;
use super::{Config, Image};
use crate::cache::{Key, fill};
use crate::commands::begin::{Start, at_path, fetch, from_directory, of_archive, reference_of, unpack};
use crate::commands::convert::{as_layout, exported};
use crate::context::Draft;
use crate::error::{Error, Result};
use crate::images::Pull;
use crate::output;
use crate::progress::Bar;
use crate::run;
use crate::session::Session;

/// Fills `draft` with what `start` names.
pub(crate) fn begin(draft: &Draft, start: Option<&Path>, pull: Pull, session: &Session) -> Result<Image> {
    let Some(start) = start else { return Ok(Image::new(Config::new())) };
    if !matches!(start.as_os_str().as_bytes(), [b'.' | b'/', ..]) {
        return match reference_of(start, session)? {
            Reference::File(path) => from_path(draft, &path, pull, session),
            reference => from_image(draft, &reference, pull, session),
        };
    }
    from_path(draft, start, pull, session)
}

fn from_path(draft: &Draft, start: &Path, pull: Pull, session: &Session) -> Result<Image> {
    match at_path(start)? {
        Start::Directory => {
            from_directory(draft, start, session)?;
            Ok(Image::new(Config::new()))
        }
        Start::File => from_file(draft, start, pull, session),
        Start::Image(reference) => from_image(draft, &reference, pull, session),
    }
}

fn from_file(draft: &Draft, start: &Path, pull: Pull, session: &Session) -> Result<Image> {
    let open = || open_regular(start).map_err(Error::io("open", start));
    let unreadable = |e: appc_image::Error| {
        let advice = match e.io_kind() {
            // The disk's fault, not the file's.
            Some(_) => e.advice().unwrap_or("try again, or another --work-path"),
            None => "it must be a directory, a tar archive, or an OCI or docker image",
        };
        Error::Refused(format!("{}: {e} - {advice}", start.display()))
    };
    if looks_like_aci(open()?).map_err(unreadable)? {
        return from_image(draft, &Reference::File(start.to_owned()), pull, session);
    }
    output::note("oci-layout is missing, assuming build is beginning with a tar of a rootfs");
    let inputs = |key: &mut Key<'_>| of_archive(key, start, Kind::RootfsTar);
    fill(session, draft, &inputs, || unpack(draft, open()?, Kind::RootfsTar, session.limit())?.map_err(unreadable))?;
    Ok(Image::new(Config::new()))
}

fn from_image(draft: &Draft, reference: &Reference, pull: Pull, session: &Session) -> Result<Image> {
    let insecure = pull.insecure;
    let (store, mut stored) = fetch(reference, pull, session)?;
    if store.oci(&stored.id)?.is_none() {
        stored = converted(&store, &stored, insecure, draft, session)?;
    }
    let none = || Error::Refused(format!("{reference} has no layers"));
    let image = of_stored(&store, &stored)?.ok_or_else(none)?;
    lay_down(&store, &stored, draft, session)?;
    Ok(image)
}

/// A stored App Container image, with all that it depends on, as one of OCI in the same store. Layers lie in the directory
/// of the draft until they are whole.
fn converted(
    store: &Store,
    stored: &StoredImage,
    insecure: Insecure,
    draft: &Draft,
    session: &Session,
) -> Result<StoredImage> {
    let _dependencies = run::dependencies(session, &stored.manifest, insecure)?;
    let dir = tempfile::tempdir_in(draft.path()).map_err(Error::io("write to", draft.path()))?;
    let options = Options { limit: session.limit(), ..Options::new(dir.path()) };
    let archive = exported(store, &stored.id, &options)?;
    let layout = as_layout(&archive, &stored.manifest, &dir.path().join("layout"), &options, session)?;
    Ok(store.import_oci(&layout, &Platform::host(), &stored.id.to_string(), &Bar::new())?)
}

/// What a stored image says; nothing when it is none of OCI.
pub(crate) fn of_stored(store: &Store, stored: &StoredImage) -> Result<Option<Image>> {
    let Some(source) = store.oci(&stored.id)? else { return Ok(None) };
    let mut image = Image::of(&read_image(&source, &Platform::host())?)?;
    let dir = std::path::absolute(store.dir()).map_err(Error::io("find", store.dir()))?;
    image.base = Some(Base { store: dir, id: stored.id.to_string() });
    Ok(Some(image))
}

/// Merges the layers of a stored image in the root file system of the build; where the file system can, their blocks are
/// shared.
pub(crate) fn lay_down(store: &Store, stored: &StoredImage, draft: &Draft, session: &Session) -> Result<()> {
    let rendered = render::layers(store, stored)?;
    let inputs = |key: &mut Key<'_>| {
        key.trees(Some(&rendered));
        Ok(())
    };
    fill(session, draft, &inputs, || merge(&rendered, draft))
}

/// The same, whatever was done before.
pub(crate) fn merge(rendered: &Rendered, draft: &Draft) -> Result<()> {
    let options = CopyOptions { layer: true, ownership: Ownership::of_this_process(), ..CopyOptions::default() };
    for layer in rendered.open()? {
        output::omissions(&archive::copy_tree(&layer, "", &draft.rootfs()?, "", &options)?.omitted);
    }
    Ok(())
}
