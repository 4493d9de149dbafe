//! OCI images: from registries, and from layouts, archives and bundles of this host.

use std::io::Seek;
use std::path::Path;
use std::sync::Arc;

use super::cache::{Cache, Known, Validators, now};
use super::{Fetcher, PullPolicy};
use crate::archive::Compression;
use crate::convert;
use crate::error::{Error, Result};
use crate::layout::{DockerArchive, OciLayout};
use crate::oci::{Digest, Platform, Source, read_image};
use crate::reference::{DockerName, Reference};
use crate::registry::{Access, Credentials, Registry};
use crate::store::{StoredImage, Summary};

/// An image in the store that came from a registry.
struct FromThere {
    image: StoredImage,
    /// Whether its signature was checked then.
    verified: bool,
    /// The digest of the manifest or index that its name meant.
    top: Option<String>,
}

/// What an image is said to come from that is fetched by `reference`: of the only image in an archive, its name there.
///
/// # Errors
/// When the archive cannot be read.
pub fn origin_of(reference: &Reference) -> Result<String> {
    match reference {
        Reference::DockerArchive { file, name: None } => DockerArchive::open(file, None)?.reference(reference).origin(),
        other => other.origin(),
    }
}

impl Fetcher<'_> {
    /// The image in a layout, an archive or a bundle of this host.
    pub(super) fn take_local(&self, reference: &Reference, signature: Option<&Path>) -> Result<StoredImage> {
        refuse_signature(signature)?;
        self.check_local(reference)?;
        self.reporter.debug(&format!("using image from {reference}"));
        let source: Box<dyn Source> = match reference {
            Reference::OciLayout { dir, name } => Box::new(OciLayout::open(dir, name.as_deref())?),
            Reference::OciArchive { file, name } => Box::new(OciLayout::open_archive(file, name.as_deref())?),
            Reference::DockerArchive { file, name } => {
                let archive = DockerArchive::open(file, name.as_deref())?;
                return self.import_oci(&archive, &archive.reference(reference).origin()?);
            }
            Reference::Bundle(dir) => return self.take_bundle(dir),
            other => {
                let rule = "images of this kind are not read from this host".into();
                return Err(Error::Reference { word: other.to_string(), rule });
            }
        };
        self.import_oci(&*source, &reference.origin()?)
    }

    /// A bundle as an image.
    fn take_bundle(&self, dir: &Path) -> Result<StoredImage> {
        let tmp = self.store.dir().join("tmp");
        let mut archive = tempfile::tempfile_in(&tmp).map_err(Error::io(format!("write to {}", tmp.display())))?;
        let mut options = convert::Options::new(&tmp);
        options.write.compression = Compression::Zstd;
        let bar = self.reporter.bar();
        convert::from_bundle(dir, &archive, &options, &*bar)?;
        drop(bar);
        archive.rewind().map_err(Error::io(format!("read from {}", tmp.display())))?;
        let reference = Reference::Bundle(dir.into());
        self.import(archive, &reference.origin()?, &reference.to_string())
    }

    /// What cannot be signed is not taken where signatures are demanded.
    fn check_local(&self, reference: &Reference) -> Result<()> {
        if self.demands.demands_signed_files() && !self.options.insecure.image {
            return Err(Error::Key {
                what: reference.to_string(),
                rule: "cannot be signed, and the policy demands a signature: --insecure-options=image takes it".into(),
            });
        }
        Ok(())
    }

    /// The image in a registry, or what is in the store from there.
    pub(super) fn by_registry(&self, name: &DockerName, signature: Option<&Path>) -> Result<StoredImage> {
        refuse_signature(signature)?;
        let origin = Reference::Docker(name.clone()).origin()?;
        let must_be_signed = !self.options.insecure.image && self.demands.demands_signature_of(name);
        // What a digest means never changes.
        let asked_anyway = self.options.policy == PullPolicy::Update && name.digest.is_none();
        let known = self.known_by(&origin, name)?;
        if let Some(known) = known.as_ref().filter(|_| !asked_anyway) {
            if known.verified || !must_be_signed {
                self.reporter.debug(&format!("using image from local store for {origin}"));
                self.store.pin([&known.image.id])?.mark_used();
                return Ok(known.image.clone());
            }
            if self.options.policy == PullPolicy::Never {
                let rule = "was fetched without the signature that the policy demands: fetch it with \
                            --pull-policy=update, or take it with --insecure-options=image";
                return Err(Error::Key { what: origin, rule: rule.into() });
            }
        }
        if self.options.policy == PullPolicy::Never {
            return Err(Error::NotStored(origin));
        }
        self.reporter.debug(&format!("fetching {origin}"));
        let open = self.registries()?;
        let registry = open(name.clone());
        let top = registry.top()?.digest;
        if must_be_signed {
            self.check_signed(name, &top, |signatures| Ok(open(signatures)))?;
        }
        let unchanged = known.filter(|known| known.top.as_deref() == Some(&*top.to_string()));
        let image = match unchanged {
            Some(FromThere { image, .. }) => {
                self.store.pin([&image.id])?.mark_used();
                self.take_about(&image, &registry, &origin);
                image
            }
            None => self.import_oci(&registry, &origin)?,
        };
        if self.options.other_platform().is_none() {
            let validators = Validators { etag: Some(top.to_string()), last_modified: None };
            let known =
                Known { image: image.id.to_string(), verified: must_be_signed, validators, fetched: now(), max_age: 0 };
            Cache::of(self.store).put(&origin, &known)?;
        }
        Ok(image)
    }

    /// Refuses an image that the policy does not let in, for whoever reads it where it lies. Returns what to read: of an image
    /// in a registry the very one that was checked.
    ///
    /// # Errors
    /// When it is not signed as the policy demands.
    pub fn check(&self, reference: &Reference) -> Result<Reference> {
        match reference {
            Reference::File(path) if self.demands.demands_signed_files() => self.check_file(path, None)?,
            Reference::Docker(name) if !self.options.insecure.image && self.demands.demands_signature_of(name) => {
                let open = self.registries()?;
                let top = open(name.clone()).top()?.digest;
                self.check_signed(name, &top, |signatures| Ok(open(signatures)))?;
                return Ok(Reference::Docker(DockerName { digest: Some(top.to_string()), ..name.clone() }));
            }
            local if local.is_on_host() => self.check_local(local)?,
            _ => {}
        }
        Ok(reference.clone())
    }

    /// What opens images in registries, with the logins for them.
    fn registries(&self) -> Result<impl Fn(DockerName) -> Registry> {
        let client = self.client()?;
        let first_counts: Vec<_> = self.options.config_dirs.iter().rev().collect();
        let credentials = Arc::new(Credentials::read(&first_counts, self.options.docker_config.as_deref())?);
        Ok(move |name| Registry::new(Arc::clone(&client), name, Access::Pull, Arc::clone(&credentials)))
    }

    /// Whether somebody has signed the image whom the policy wants.
    fn check_signed(
        &self,
        name: &DockerName,
        image: &Digest,
        open: impl FnOnce(DockerName) -> Result<Registry>,
    ) -> Result<()> {
        match self.demands.check(name, image, open) {
            Ok(()) => {
                self.reporter.note(&format!("signature of docker://{name} verified"));
                Ok(())
            }
            // It was not even looked at.
            Err(error @ (Error::Fetch { .. } | Error::Unacceptable { .. })) => Err(error),
            Err(error) => Err(Error::Key {
                what: format!("docker://{name}"),
                rule: format!(
                    "is not signed as the policy demands: {error}: --insecure-options=image takes it nevertheless"
                ),
            }),
        }
    }

    /// The image in the store that came from there.
    fn known_by(&self, origin: &str, name: &DockerName) -> Result<Option<FromThere>> {
        // What is remembered is what this machine was given.
        if self.options.other_platform().is_none()
            && let Some(known) = Cache::of(self.store).get(origin)
            && let Some(image) = known.id().and_then(|id| self.store.get(&id).ok())
        {
            return Ok(Some(FromThere { image, verified: known.verified, top: known.validators.etag }));
        }
        let digest = |image: &Summary| image.oci.as_ref().map(|parts| parts.manifest.digest.to_string());
        let from_there = |image: &Summary| {
            image.came_from(origin) && self.is_asked_for(image)
                || name.digest.as_ref().is_some_and(|wanted| digest(image).as_ref() == Some(wanted))
        };
        let found = self.store.list()?.into_iter().filter(from_there).max_by_key(|image| image.imported);
        let Some(found) = found else { return Ok(None) };
        Ok(Some(FromThere { image: self.store.get(&found.id)?, verified: false, top: digest(&found) }))
    }

    /// Whether an image of the store is for the platform that is asked for; one that cannot be read is for none.
    fn is_asked_for(&self, image: &Summary) -> bool {
        let Ok(Some(source)) = self.store.oci(&image.id) else { return false };
        let platform = self.platform();
        read_image(&source, &platform)
            .ok()
            .and_then(|image| serde_json::from_slice(&image.config_bytes).ok())
            .is_some_and(|own: Platform| platform.matches(&own))
    }

    fn platform(&self) -> Platform {
        self.options.platform.clone().unwrap_or_else(Platform::host)
    }

    fn import_oci(&self, source: &dyn Source, origin: &str) -> Result<StoredImage> {
        let bar = self.reporter.bar();
        let image = self.store.import_oci(source, &self.platform(), origin, &*bar)?;
        self.tell_omitted(&image, origin);
        self.take_about(&image, source, origin);
        Ok(image)
    }

    /// Takes what is about the image, such as signatures. The image is good without it.
    fn take_about(&self, image: &StoredImage, source: &dyn Source, origin: &str) {
        let bar = self.reporter.bar();
        if let Err(error) = self.store.import_about(&image.id, source, &*bar) {
            self.reporter.note(&format!("what is about the image {origin}, such as signatures, is not kept: {error}"));
        }
    }
}

fn refuse_signature(signature: Option<&Path>) -> Result<()> {
    match signature {
        None => Ok(()),
        Some(_) => Err(Error::Option(
            "--signature is for App Container images: those in registries are signed there, and the policy says by whom"
                .into(),
        )),
    }
}
