//! Images that a fuzzer has made, in memory.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use appc_spec::oci::ARCHIVE_RECORD;
use serde_json::Value;

use crate::oci::{Descriptor, Digest, Manifest, Sink, Source, media_type, verified};
use crate::{Error, Result};

/// Blobs of one image in memory.
#[derive(Default)]
pub(super) struct Blobs {
    all: Mutex<HashMap<Digest, Vec<u8>>>,
    top: Mutex<Option<Descriptor>>,
}

impl Blobs {
    fn all(&self) -> MutexGuard<'_, HashMap<Digest, Vec<u8>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the image has the record of the archive that it was made of.
    pub(super) fn is_recorded(&self) -> bool {
        let manifest = self.top().ok().and_then(|top| self.all().get(&top.digest).cloned()).unwrap_or_default();
        let manifest: Option<Manifest> = serde_json::from_slice(&manifest).ok();
        manifest.is_some_and(|manifest| manifest.annotations.contains_key(ARCHIVE_RECORD))
    }
}

impl Sink for Blobs {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.all().contains_key(&descriptor.digest))
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        verified(content, descriptor).read_to_end(&mut bytes).map_err(Error::io("read a blob"))?;
        self.all().insert(descriptor.digest.clone(), bytes);
        Ok(())
    }

    fn finish(&self, top: &Descriptor) -> Result<()> {
        *self.top.lock().unwrap_or_else(PoisonError::into_inner) = Some(top.clone());
        Ok(())
    }
}

impl Source for Blobs {
    fn top(&self) -> Result<Descriptor> {
        let top = self.top.lock().unwrap_or_else(PoisonError::into_inner).clone();
        top.ok_or_else(|| Error::Oci { what: self.describe(), rule: "there is no image".into() })
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(std::io::Cursor::new(self.all().get(&descriptor.digest).cloned().unwrap_or_default())))
    }

    fn describe(&self) -> String {
        "the fuzzer".into()
    }
}

/// Two documents, under the digests that they have. Nobody can guess those: a manifest names the second, as its
/// configuration or as what is signed.
pub(super) struct Documents {
    manifest: Vec<u8>,
    config: Vec<u8>,
}

impl Documents {
    pub(super) fn new(manifest: &[u8], config: &[u8]) -> Documents {
        let mut document: Value = serde_json::from_slice(manifest).unwrap_or_default();
        let found = Descriptor::of(media_type::CONFIG, config);
        for place in ["/config", "/layers/0"] {
            if let Some(Value::Object(named)) = document.pointer_mut(place) {
                named.insert("digest".into(), found.digest.to_string().into());
                named.insert("size".into(), found.size.into());
            }
        }
        let manifest = if document.is_object() { document.to_string().into() } else { manifest.to_vec() };
        Documents { manifest, config: config.to_vec() }
    }
}

impl Source for Documents {
    fn top(&self) -> Result<Descriptor> {
        let is_index = serde_json::from_slice::<Value>(&self.manifest).is_ok_and(|all| all.get("manifests").is_some());
        let kind = if is_index { media_type::INDEX } else { media_type::MANIFEST };
        Ok(Descriptor::of(kind, &self.manifest))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let config = Descriptor::of(media_type::CONFIG, &self.config);
        Ok(Box::new(if descriptor.digest == config.digest { &self.config[..] } else { &self.manifest[..] }))
    }

    fn describe(&self) -> String {
        "the fuzzer".into()
    }
}
