//! What is about an image in the store: signatures, lists of its parts, and what is about those.
//!
//! All of it is blobs. They belong to the image as its layers do: they are counted with it, given out with it and gone
//! with it.

use std::fs;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use appc_spec::ImageId;
use serde::{Deserialize, Serialize};

use super::import::sync_file;
use super::jobs::Gathered;
use crate::convert::copy_referrers;
use crate::error::{Error, Result};
use crate::layout::REF_NAME;
use crate::oci::{Descriptor, Digest, Sink, Source};
use crate::progress::Progress;
use crate::store::import::place_all;
use crate::store::metadata::Metadata;
use crate::store::{IoContext, Store, WorkDir, make_dir, sync_file_system};

/// More than signatures and lists of parts of one image take.
const SIZE_MAX: u64 = 256 << 20;

/// And more blobs than they consist of.
const BLOBS_MAX: usize = 4000;

/// What is about an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The manifests that are about it, or about one of these.
    #[serde(default)]
    pub manifests: Vec<Referrer>,
    /// All blobs that they consist of, themselves too.
    #[serde(default)]
    pub(super) blobs: Vec<Descriptor>,
}

/// A manifest that is about another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// What it is about.
    pub subject: Digest,
    /// The manifest; with a name, when only a tag of that name says what it is about.
    pub manifest: Descriptor,
}

impl Referrer {
    fn tag(&self) -> Option<&String> {
        self.manifest.annotations.get(REF_NAME)
    }
}

impl About {
    pub(super) fn is_empty(&self) -> bool {
        self.manifests.is_empty()
    }

    /// All blobs, each once.
    pub(in crate::store) fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// The manifests that say of themselves that they are about `subject`.
    pub(super) fn of(&self, subject: &Digest) -> impl Iterator<Item = &Descriptor> {
        let about = self.manifests.iter().filter(move |one| one.tag().is_none() && one.subject == *subject);
        about.map(|one| &one.manifest)
    }

    pub(super) fn tagged(&self, tag: &str) -> Option<&Descriptor> {
        self.manifests.iter().find(|one| one.tag().is_some_and(|own| own == tag)).map(|one| &one.manifest)
    }

    /// What is known from `before`, too: other places may hold something else about the same image. Of two with the same tag this
    /// one counts. What is too much together is not kept.
    fn joined(&self, before: &About) -> About {
        let mut all = self.clone();
        let same = |a: &Referrer, b: &Referrer| match (a.tag(), b.tag()) {
            (None, None) => a.manifest.digest == b.manifest.digest,
            (a, b) => a == b,
        };
        all.manifests
            .extend(before.manifests.iter().filter(|old| !self.manifests.iter().any(|new| same(new, old))).cloned());
        for blob in &before.blobs {
            if all.add(blob).is_err() {
                return self.clone();
            }
        }
        all
    }

    fn add(&mut self, blob: &Descriptor) -> Result<()> {
        if self.blobs.iter().any(|known| known.digest == blob.digest) {
            return Ok(());
        }
        // Not its type, which can be any text.
        self.blobs.push(Descriptor::new("", blob.digest.clone(), blob.size));
        let size = self.blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        if size <= SIZE_MAX && self.blobs.len() <= BLOBS_MAX {
            return Ok(());
        }
        let rule = format!("it is more than {BLOBS_MAX} blobs or {SIZE_MAX} bytes");
        Err(Error::Oci { what: "what is about the image".into(), rule })
    }
}

impl Store {
    /// Takes what is about the stored image `id` from `source`, beside what is known. Nothing, when the image is none of
    /// OCI.
    ///
    /// # Errors
    /// What is wrong with it, or why it or the store cannot be had. Then nothing has changed.
    pub fn import_about(&self, id: &ImageId, source: &dyn Source, progress: &dyn Progress) -> Result<()> {
        let _pin = self.pin([id])?;
        let Some(image) = self.oci(id)? else { return Ok(()) };
        let work = WorkDir::new(self)?;
        let gathered = Gathered::new(self, work.path());
        loop {
            let beside = Beside { gathered: &gathered, found: Mutex::default() };
            copy_referrers(source, &beside, &image.parts.manifest, progress)?;
            let found = beside.found.into_inner().unwrap_or_else(PoisonError::into_inner);
            if found.is_empty() || self.commit_about(&gathered, id, &found)? {
                return Ok(());
            }
            // Some blob went with another image that was removed meanwhile.
        }
    }

    /// Moves what has been gathered into the store, unless something of it has vanished since it was looked for.
    fn commit_about(&self, gathered: &Gathered, id: &ImageId, found: &About) -> Result<bool> {
        sync_file_system(gathered.work)?;
        let _lock = self.lock()?;
        let (mut metadata, _) = self.metadata(id)?.ok_or_else(|| Error::NotStored(id.to_string()))?;
        let Some(parts) = &mut metadata.oci else { return Ok(true) };
        let about = if self.has_all(&parts.about) { found.joined(&parts.about) } else { found.clone() };
        for folder in super::BLOB_FOLDERS {
            make_dir(&self.dir.join(folder), 0o755)?;
        }
        let moves: Vec<_> = self.missing(gathered, about.blobs.iter()).collect();
        if !moves.iter().all(|(from, _)| from.exists()) {
            return Ok(false);
        }
        if moves.is_empty() && parts.about == about {
            return Ok(true);
        }
        parts.about = about;
        metadata.size = parts.size();
        let (new, old) = (gathered.work.join("metadata"), self.image_dir(id).join("metadata"));
        metadata.write(&new)?;
        sync_file(&new)?;
        place_all(&moves)?;
        fs::rename(&new, &old).on("write", &old)?;
        Ok(true)
    }

    /// Keeps what is about a stored image when it comes once more.
    pub(super) fn keep_about(&self, new: &mut Metadata, stored: &Metadata) {
        let about = stored.oci.as_ref().map(|parts| &parts.about).filter(|about| self.has_all(about));
        if let (Some(parts), Some(about)) = (&mut new.oci, about) {
            parts.about = about.clone();
            new.size = parts.size();
        }
    }

    fn has_all(&self, about: &About) -> bool {
        about.blobs.iter().all(|blob| self.has_blob(blob))
    }
}

/// Takes what is about an image.
struct Beside<'g> {
    gathered: &'g Gathered<'g>,
    found: Mutex<About>,
}

impl Beside<'_> {
    fn found(&self) -> MutexGuard<'_, About> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Beside<'_> {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        self.found().add(descriptor)?;
        Ok(self.gathered.has_blob(descriptor))
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        self.found().add(descriptor)?;
        self.gathered.take_blob(descriptor, content)
    }

    fn refer(&self, subject: &Digest, referrer: &Descriptor) -> Result<()> {
        // What else is said of it is in the manifest, and can be long.
        let mut manifest = referrer.bare();
        manifest.annotations.extend(referrer.annotations.get_key_value(REF_NAME).map(|(k, v)| (k.clone(), v.clone())));
        self.found().manifests.push(Referrer { subject: subject.clone(), manifest });
        Ok(())
    }

    fn finish(&self, _: &Descriptor) -> Result<()> {
        Ok(())
    }
}
