//! Where OCI images are written to and read from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use appc_image::fetch::{Insecure, http};
use appc_image::layout::{LayoutArchive, LayoutDir};
use appc_image::oci::Sink;
use appc_image::reference::{DockerName, Reference};
use appc_image::registry::{Access, Credentials, Registry, docker_config_path};

use crate::error::{Error, Result};

/// How an image is written to whatever place it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'t> {
    /// Files that exist are replaced.
    pub(crate) overwrite: bool,
    /// What is not checked of a registry.
    pub(crate) insecure: Insecure,
    /// What it is called in a layout, unless the place says so.
    pub(crate) tag: &'t str,
    /// What it is called in a docker archive, unless the place says so.
    pub(crate) name: Option<&'t str>,
}

impl Target<'_> {
    /// Begins to write there.
    pub(crate) fn open(&self, place: &Reference) -> Result<Box<dyn Sink>> {
        let tag = |name: &Option<String>| name.as_deref().unwrap_or(self.tag).to_owned();
        Ok(match place {
            Reference::OciLayout { dir, name } => Box::new(LayoutDir::create(dir, Some(&tag(name)))?),
            Reference::OciArchive { file, name } => {
                self.check(file)?;
                Box::new(LayoutArchive::create(file, Some(&tag(name)))?)
            }
            Reference::DockerArchive { file, name } => {
                self.check(file)?;
                let name = match name {
                    Some(name) => Some(checked_name(name)?),
                    None => self.name.and_then(fitting_name),
                };
                Box::new(LayoutArchive::create_docker(file, name.as_deref())?)
            }
            Reference::Docker(name) => Box::new(registry(name, Access::Push, self.insecure)?),
            other => return Err(Error::Refused(format!("cannot write an OCI image to {other}"))),
        })
    }

    fn check(&self, file: &Path) -> Result<()> {
        match file.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                Err(Error::Refused(format!("{0} is a directory: use oci:{0}", file.display())))
            }
            Ok(_) if !self.overwrite => {
                Err(Error::Refused(format!("{} exists - use --overwrite to replace it", file.display())))
            }
            _ => Ok(()),
        }
    }
}

/// A name that docker takes, with its tag.
fn checked_name(name: &str) -> Result<String> {
    match name.parse::<DockerName>() {
        Ok(DockerName { digest: Some(_), .. }) => Err(Error::Refused(format!("a digest cannot be given: {name}"))),
        // Without a tag docker would not load it.
        Ok(_) if !name.rsplit('/').next().unwrap_or(name).contains(':') => Ok(format!("{name}:latest")),
        Ok(_) => Ok(name.to_owned()),
        Err(rule) => Err(Error::Refused(format!("docker cannot load {name:?}: {rule}"))),
    }
}

/// What is nearest to `name` of what docker takes; none when that is nothing.
fn fitting_name(name: &str) -> Option<String> {
    let (repository, tag) = name.rsplit_once(':')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut tag: String = tag.chars().map(|c| if fits(c) { c } else { '_' }).take(128).collect();
    if tag.starts_with(['.', '-']) {
        tag.replace_range(..1, "_");
    }
    checked_name(&format!("{}:{tag}", repository.replace('~', "-"))).ok()
}

/// The repository `name`.
pub(crate) fn registry(name: &DockerName, access: Access, insecure: Insecure) -> appc_image::Result<Registry> {
    let Insecure { tls: insecure_tls, http: insecure_http, .. } = insecure;
    let options = http::Options { insecure_tls, insecure_http, ..Default::default() };
    let client = Arc::new(http::Client::new(options)?);
    let configuration = ["/etc/rkt", "/usr/lib/rkt"];
    let credentials = Credentials::read(&configuration, docker_config_path().as_deref())?;
    Ok(Registry::new(client, name.clone(), access, Arc::new(credentials)))
}

/// Whether the word names a place that only OCI images are written to.
pub(crate) fn is_of_images(word: &Path) -> bool {
    use Reference::{Docker, DockerArchive, OciArchive, OciLayout};
    let place = Reference::from_word(word);
    matches!(place, Ok(Docker(_) | DockerArchive { .. } | OciArchive { .. } | OciLayout { .. }))
}

/// Whether the word names a bundle. Nothing is built as one.
pub(crate) fn is_bundle(word: &Path) -> bool {
    matches!(Reference::from_word(word), Ok(Reference::Bundle(_)))
}

/// Checks that `word` does not lead into the build in `dir`: what is written there would become a part of the image, or
/// stand in the way of its end.
///
/// # Errors
/// [`Error::Refused`] when it does.
pub(crate) fn check_outside(dir: &Path, word: &Path) -> Result<()> {
    let path = match Reference::from_word(word) {
        Ok(Reference::Docker(_)) => return Ok(()),
        Ok(Reference::OciLayout { dir, .. }) => dir,
        Ok(Reference::OciArchive { file, .. } | Reference::DockerArchive { file, .. }) => file,
        _ => word.to_owned(),
    };
    let above = path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let there = above.filter_map(|above| above.canonicalize().ok()).next();
    match there.zip(dir.canonicalize().ok()) {
        Some((there, build)) if there.starts_with(&build) => {
            Err(Error::Refused(format!("{} is in the build itself: write the image elsewhere", path.display())))
        }
        _ => Ok(()),
    }
}

/// The place that an OCI image is written to; a word that says nothing else is the name of an archive.
pub(crate) fn written_to(word: &Path) -> Result<Reference> {
    match Reference::from_word(word) {
        Ok(place) if is_of_images(word) => Ok(place),
        // Whoever meant a registry does not want a file of that name.
        Err(e) if word.to_string_lossy().contains(':') => Err(e.into()),
        _ => Ok(Reference::OciArchive { file: PathBuf::from(word), name: None }),
    }
}
