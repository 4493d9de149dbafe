//! OCI images from one place to another, blob by blob.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use super::kept_index;
use crate::error::printable;
use crate::layout::{CONTAINERD_NAME, REF_NAME};
use crate::oci::{
    Descriptor, Digest, Index, Manifest, OciImage, Platform, Sink, Source, find_manifest, media_type, read_image,
    small, subject,
};
use crate::parallel::for_each;
use crate::progress::Part;
use crate::{Error, Progress, Result};

/// What becomes of the manifests that are about an image, such as signatures and lists of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referrers {
    /// They are copied with it, and so is what is about them.
    Kept,
    /// They stay where they are.
    LeftOut,
}

/// How many manifests are about the image for `platform`, or about one of those.
///
/// # Errors
/// What the source refuses.
pub fn count_referrers(source: &dyn Source, platform: &Platform) -> Result<usize> {
    let mut known = HashSet::from([find_manifest(source, platform)?.digest, source.top()?.digest]);
    let images = known.len();
    let mut left: Vec<(Digest, usize)> = known.iter().map(|image| (image.clone(), 0)).collect();
    while let Some((about, depth)) = left.pop() {
        for found in source.referrers(&about)?.into_iter().chain(attached(source, &about)?) {
            if known.insert(found.digest.clone()) && depth < NESTING_MAX && known.len() <= REFERRERS_MAX {
                left.push((found.digest, depth + 1));
            }
        }
    }
    Ok(known.len() - images)
}

/// What lies beside the manifest `about` by tags that stand for it, each with its tag as its name.
fn attached(source: &dyn Source, about: &Digest) -> Result<Vec<Descriptor>> {
    let named = |tag: String| {
        let found = source.tagged(&tag)?;
        Ok(found.map(|found| Descriptor { annotations: [(REF_NAME.to_owned(), tag)].into(), ..found.bare() }))
    };
    about.attached_tags().map(named).filter_map(Result::transpose).collect()
}

/// Copies what is about the manifest `about`, which is there already, and about the index that it is chosen from, from
/// `source` to `sink`.
pub(crate) fn copy_referrers(
    source: &dyn Source,
    sink: &dyn Sink,
    about: &Descriptor,
    progress: &dyn Progress,
) -> Result<()> {
    let done = HashSet::from([about.digest.clone()]);
    let mut copy = Copy { source, sink, done, referrers_left: Some(REFERRERS_MAX), progress };
    copy.referrers(about, 0)?;
    copy.index_above(about)
}

/// Copies the image for `platform`, or all that there are, from `source` to `sink`. Blobs that are there are not read.
/// Returns what the sink was told is the image.
///
/// # Errors
/// What the source or the sink refuse, and any blob that is not what it is said to be.
pub fn copy(
    source: &dyn Source,
    sink: &dyn Sink,
    platform: Option<&Platform>,
    referrers: Referrers,
    progress: &dyn Progress,
) -> Result<Descriptor> {
    let referrers_left = if referrers == Referrers::Kept { Some(REFERRERS_MAX) } else { None };
    let mut copy = Copy { source, sink, done: HashSet::new(), referrers_left, progress };
    progress.start(None, "copy");
    let top = match platform {
        Some(platform) => {
            let image = read_image(source, platform)?;
            copy.image(&image)?;
            copy.referrers(&image.manifest, 0)?;
            copy.index_above(&image.manifest)?;
            let mut top = image.manifest;
            // An image that is in no index is taken whatever it runs on.
            let config = serde_json::from_slice(&image.config_bytes).unwrap_or_default();
            top.platform = top.platform.or_else(|| platform_of(&config));
            top
        }
        None => {
            let top = source.top()?;
            copy.tree(&top, 0)?;
            top
        }
    };
    sink.finish(&top)?;
    progress.finish();
    Ok(top)
}

/// The platform that a configuration speaks of, and nothing else of it.
pub(super) fn platform_of(config: &Value) -> Option<Platform> {
    let fields = ["os", "architecture", "variant"].into_iter();
    let found: Map<String, Value> = fields.filter_map(|name| Some((name.into(), config.get(name)?.clone()))).collect();
    serde_json::from_value(found.into()).ok()
}

/// Indexes in indexes, at most, as for reading them; and what is about what is about an image.
const NESTING_MAX: usize = 4;

/// More manifests about an image than anybody makes.
const REFERRERS_MAX: usize = 1000;

struct Copy<'c> {
    source: &'c dyn Source,
    sink: &'c dyn Sink,
    done: HashSet<Digest>,
    /// How many more of them are copied; none at all when they are left out.
    referrers_left: Option<usize>,
    progress: &'c dyn Progress,
}

impl Copy<'_> {
    fn image(&mut self, image: &OciImage) -> Result<()> {
        self.blobs(image.layers.iter().map(|layer| &layer.descriptor))?;
        self.document(&image.config, &image.config_bytes)?;
        self.document(&image.manifest, &image.manifest_bytes)
    }

    /// A manifest, or an index and everything in it, the lowest blobs first.
    fn tree(&mut self, at: &Descriptor, depth: usize) -> Result<()> {
        if self.done.contains(&at.digest) {
            return Ok(());
        }
        if depth > NESTING_MAX {
            let what = format!("index {} of {}", at.digest, self.source.describe());
            let rule = format!("indexes, or what refers to them, are nested more than {NESTING_MAX} deep");
            return Err(Error::Oci { what, rule });
        }
        let bytes = small(self.source, at)?;
        let refuse = |e: serde_json::Error| Error::Oci {
            what: format!("{} {} of {}", media_type::noun(&at.media_type), at.digest, self.source.describe()),
            rule: printable(e.to_string().as_bytes()),
        };
        let kind: serde_json::Value = serde_json::from_slice(&bytes).map_err(refuse)?;
        if kind.get("manifests").is_some() {
            let index: Index = serde_json::from_slice(&bytes).map_err(refuse)?;
            for manifest in &index.manifests {
                self.tree(manifest, depth + 1)?;
            }
        } else {
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(refuse)?;
            self.blobs(manifest.layers.iter().chain([&manifest.config]))?;
        }
        self.document(at, &bytes)?;
        self.referrers(at, depth)
    }

    /// The manifests that are about `about`, which has been copied, and what is about them.
    fn referrers(&mut self, about: &Descriptor, depth: usize) -> Result<()> {
        let Some(left) = self.referrers_left else { return Ok(()) };
        let (listed, attached) = (self.source.referrers(&about.digest)?, attached(self.source, &about.digest)?);
        self.referrers_left = Some(left.checked_sub(listed.len() + attached.len()).ok_or_else(|| Error::Oci {
            what: format!("manifest {} of {}", about.digest, self.source.describe()),
            rule: format!("more than {REFERRERS_MAX} others are about it"),
        })?);
        for found in attached {
            // Its tag says what it is about, it itself does not.
            self.tree(&found, depth + 1)?;
            self.sink.refer(&about.digest, &found)?;
        }
        for found in listed {
            let refuse = |rule: String| Error::Oci {
                what: format!("{} of {}, listed as about {}", found.digest, self.source.describe(), about.digest),
                rule,
            };
            if !media_type::is_manifest(&found.media_type) && !media_type::is_index(&found.media_type) {
                let kind = printable(found.media_type.as_bytes());
                return Err(refuse(format!("it is of type \"{kind}\", which is not known")));
            }
            let bytes = small(self.source, &found)?;
            if subject(&bytes).as_ref() != Some(&about.digest) {
                return Err(refuse("it does not say so itself".into()));
            }
            let is_new = !self.done.contains(&found.digest);
            self.tree(&found, depth + 1)?;
            let mut listed = Descriptor::of_referrer(&found.media_type, &bytes);
            // It must not take the name of an image.
            listed.annotations.retain(|name, _| name != REF_NAME && name != CONTAINERD_NAME);
            self.sink.refer(&about.digest, &listed)?;
            if let Some(index) = kept_index::held(&bytes).filter(|_| is_new) {
                self.referrers(&index, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The index that `image` is chosen from, and what is about it; nothing when that is nothing.
    fn index_above(&mut self, image: &Descriptor) -> Result<()> {
        let index = self.source.top()?;
        let is_above = media_type::is_index(&index.media_type) && index.digest != image.digest;
        if self.referrers_left.is_none()
            || !is_above
            || self.source.referrers(&index.digest)?.is_empty() && attached(self.source, &index.digest)?.is_empty()
        {
            return Ok(());
        }
        let bytes = small(self.source, &index)?;
        let artifact = kept_index::artifact(&index, image);
        self.document(&artifact.config, kept_index::CONFIG)?;
        self.document(&artifact.layers[0], &bytes)?;
        let bytes = serde_json::to_vec(&artifact).map_err(Error::io("write the index"))?;
        let listed = Descriptor::of_referrer(media_type::MANIFEST, &bytes);
        self.document(&listed.bare(), &bytes)?;
        self.sink.refer(&image.digest, &listed)?;
        self.referrers(&index, 0)
    }

    /// Those that have not been copied yet, each once, several at a time where the sink takes them so.
    fn blobs<'b>(&mut self, blobs: impl Iterator<Item = &'b Descriptor>) -> Result<()> {
        let new: Vec<&Descriptor> = blobs.filter(|blob| self.done.insert(blob.digest.clone())).collect();
        for_each(&new, self.sink.at_once(), |blob, failed| {
            if self.sink.has(blob)? {
                return Ok(());
            }
            // The sink refuses what does not match: once is enough.
            let part = Part::new(self.progress, blob.size, &blob.digest.short());
            let mut content = Counted { content: self.source.open(blob)?, progress: &part, failed };
            self.sink.put(blob, &mut content)
        })
    }

    fn document(&mut self, descriptor: &Descriptor, mut bytes: &[u8]) -> Result<()> {
        if !self.done.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        // A registry that has a manifest may not yet list it by what it is about.
        if subject(bytes).is_none() && self.sink.has(descriptor)? {
            return Ok(());
        }
        self.sink.put(descriptor, &mut bytes)
    }
}

/// Tells of what is read, until another blob has failed.
struct Counted<'p, R> {
    content: R,
    progress: &'p dyn Progress,
    failed: &'p AtomicBool,
}

impl<R: std::io::Read> std::io::Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("another blob has failed"));
        }
        let len = self.content.read(into)?;
        self.progress.advance(len as u64);
        Ok(len)
    }
}
