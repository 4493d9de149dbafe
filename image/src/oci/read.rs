//! From a reference to a checked image.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::document::null_is_empty;
use super::{Descriptor, Digest, Index, Manifest, Platform, Source, media_type, small};
use crate::error::printable;
use crate::{Error, Result};

/// Indexes in indexes, at most.
const NESTING_MAX: usize = 4;

/// More layers than any overlay takes.
const LAYERS_MAX: usize = 1000;

/// Manifests of an index without a platform that are looked into for the one that fits.
const GUESSES_MAX: usize = 32;

/// One image, for one platform: its documents, read and checked.
#[derive(Debug, Clone)]
pub struct OciImage {
    /// What was asked for: an index or the manifest.
    pub top: Descriptor,
    /// The manifest.
    pub manifest: Descriptor,
    /// The manifest's very bytes.
    pub manifest_bytes: Vec<u8>,
    /// The configuration.
    pub config: Descriptor,
    /// The configuration's very bytes.
    pub config_bytes: Vec<u8>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The layer as it lies there, compressed or not.
    pub descriptor: Descriptor,
    /// The digest of the plain tar.
    pub diff_id: Digest,
}

/// Reads the image for `platform` from `source`, through indexes. An image that is in no index is taken whatever it runs
/// on.
pub fn read_image(source: &dyn Source, platform: &Platform) -> Result<OciImage> {
    let top = source.top()?;
    let Found { manifest, bytes } = find(source, &top, platform)?;
    read_manifest(source, top, manifest, bytes)
}

/// The manifest of the image that [`read_image`] reads.
pub fn find_manifest(source: &dyn Source, platform: &Platform) -> Result<Descriptor> {
    find(source, &source.top()?, platform).map(|found| found.manifest)
}

fn find(source: &dyn Source, top: &Descriptor, platform: &Platform) -> Result<Found> {
    let mut search = Search { source, platform, above: Vec::new(), offered: Vec::new(), guesses: 0 };
    match search.descend(top)? {
        Some(found) => Ok(found),
        None => {
            let mut offered: Vec<String> = search.offered.iter().map(|p| printable(p.to_string().as_bytes())).collect();
            offered.dedup();
            let offered = if offered.is_empty() { "nothing".into() } else { offered.join(", ") };
            Err(Error::Oci {
                what: source.describe(),
                rule: format!("it has no image for {platform}, only for {offered}"),
            })
        }
    }
}

struct Found {
    manifest: Descriptor,
    bytes: Vec<u8>,
}

struct Search<'s> {
    source: &'s dyn Source,
    platform: &'s Platform,
    /// The indexes that led here.
    above: Vec<Digest>,
    /// What there is instead.
    offered: Vec<Platform>,
    guesses: usize,
}

impl Search<'_> {
    fn descend(&mut self, at: &Descriptor) -> Result<Option<Found>> {
        let bytes = small(self.source, at)?;
        let place = Place { source: self.source, descriptor: at };
        match place.kind(&bytes)? {
            Kind::Manifest => Ok(Some(Found { manifest: at.clone(), bytes })),
            Kind::Index => self.index(place.parse(&bytes)?, at),
        }
    }

    /// The best manifest of an index, in the order of the index among those that fit equally well.
    fn index(&mut self, index: Index, at: &Descriptor) -> Result<Option<Found>> {
        let place = Place { source: self.source, descriptor: at };
        if self.above.contains(&at.digest) {
            return Err(place.refuse("it contains itself"));
        }
        if self.above.len() == NESTING_MAX {
            return Err(place.refuse(format!("indexes are nested more than {NESTING_MAX} deep")));
        }
        self.above.push(at.digest.clone());
        let found = self.choose(&index.manifests);
        self.above.pop();
        found
    }

    fn choose(&mut self, manifests: &[Descriptor]) -> Result<Option<Found>> {
        let known = |d: &&Descriptor| media_type::is_manifest(&d.media_type) || media_type::is_index(&d.media_type);
        let known: Vec<&Descriptor> = manifests.iter().filter(known).collect();
        let fit = |d: &Descriptor| d.platform.as_ref().and_then(|p| self.platform.distance(p));
        let mut fitting: Vec<(u32, &Descriptor)> = known.iter().filter_map(|d| Some((fit(d)?, *d))).collect();
        fitting.sort_by_key(|(distance, _)| *distance);
        for (_, descriptor) in fitting {
            if let Some(found) = self.descend(descriptor)? {
                return Ok(Some(found));
            }
        }
        self.offered.extend(known.iter().filter_map(|d| d.platform.clone()).take(GUESSES_MAX));
        let unknown: Vec<&Descriptor> = known.into_iter().filter(|d| d.platform.is_none()).collect();
        // The only one of its index needs no platform.
        let only = manifests.len() == 1;
        for descriptor in unknown {
            self.guesses += 1;
            if self.guesses > GUESSES_MAX {
                break;
            }
            if let Some(found) = self.descend(descriptor)?
                && (only || self.runs_here(&found)?)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks into the configuration for what the index does not say.
    fn runs_here(&mut self, found: &Found) -> Result<bool> {
        let place = Place { source: self.source, descriptor: &found.manifest };
        let manifest: Manifest = place.parse(&found.bytes)?;
        if !media_type::is_config(&manifest.config.media_type) {
            return Ok(false);
        }
        let bytes = small(self.source, &manifest.config)?;
        let platform: Platform = Place { source: self.source, descriptor: &manifest.config }.parse(&bytes)?;
        let fits = self.platform.matches(&platform);
        self.offered.push(platform);
        Ok(fits)
    }
}

fn read_manifest(
    source: &dyn Source,
    top: Descriptor,
    descriptor: Descriptor,
    manifest_bytes: Vec<u8>,
) -> Result<OciImage> {
    let place = Place { source, descriptor: &descriptor };
    let manifest: Manifest = place.parse(&manifest_bytes)?;
    let config = manifest.config;
    if !media_type::is_config(&config.media_type) {
        let what = printable(config.media_type.as_bytes());
        return Err(place.refuse(format!("it is no container image: its configuration is of type \"{what}\"")));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(place.refuse(format!("it has {} layers, more than {LAYERS_MAX}", manifest.layers.len())));
    }
    for (at, layer) in manifest.layers.iter().enumerate() {
        if !media_type::is_layer(&layer.media_type) {
            let what = printable(layer.media_type.as_bytes());
            return Err(place.refuse(format!("layer {at} is of type \"{what}\", which is not known")));
        }
    }
    let config_bytes = small(source, &config)?;
    let place_of_config = Place { source, descriptor: &config };
    let RootFs { diff_ids } = place_of_config.parse::<Config>(&config_bytes)?.rootfs.unwrap_or_default();
    if diff_ids.len() != manifest.layers.len() {
        let (ids, layers) = (diff_ids.len(), manifest.layers.len());
        return Err(place.refuse(format!("it has {layers} layers, but its configuration names {ids}")));
    }
    let layers = manifest.layers.into_iter().zip(diff_ids);
    let layers = layers.map(|(descriptor, diff_id)| Layer { descriptor, diff_id }).collect();
    Ok(OciImage { top, manifest: descriptor, manifest_bytes, config, config_bytes, layers })
}

/// What of a configuration concerns the layers.
#[derive(Deserialize)]
struct Config {
    rootfs: Option<RootFs>,
}

#[derive(Deserialize, Default)]
struct RootFs {
    #[serde(default, deserialize_with = "null_is_empty")]
    diff_ids: Vec<Digest>,
}

enum Kind {
    Manifest,
    Index,
}

/// Where a document lies, for what is said of it.
struct Place<'p> {
    source: &'p dyn Source,
    descriptor: &'p Descriptor,
}

impl Place<'_> {
    fn refuse(&self, rule: impl Into<String>) -> Error {
        let Descriptor { media_type, digest, .. } = self.descriptor;
        let what = format!("{} {digest} of {}", media_type::noun(media_type), self.source.describe());
        Error::Oci { what, rule: rule.into() }
    }

    /// Nesting is bounded by the parser, at 128.
    fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|e| self.refuse(printable(e.to_string().as_bytes())))
    }

    /// What the document is, provided that it says so itself: what can be read as both an index and a manifest means
    /// something else to everybody.
    fn kind(&self, bytes: &[u8]) -> Result<Kind> {
        let document: Shape = self.parse(bytes)?;
        let said = document.media_type.as_deref().unwrap_or_default();
        let given = self.descriptor.media_type.as_str();
        if document.schema_version == Some(1) {
            return Err(self.refuse("it is of docker's schema 1, which is no longer read: push the image anew"));
        }
        if document.schema_version != Some(2) {
            return Err(self.refuse("its schemaVersion is not 2"));
        }
        if !said.is_empty() && !given.is_empty() && said != given {
            let said = printable(said.as_bytes());
            return Err(self.refuse(format!("it says of itself that it is of type \"{said}\", not \"{given}\"")));
        }
        let media_type = if given.is_empty() { said } else { given };
        match (document.manifests.is_some(), document.config.is_some() || document.layers.is_some()) {
            (true, true) => Err(self.refuse("it is both an index and a manifest")),
            (true, false) if media_type.is_empty() || media_type::is_index(media_type) => Ok(Kind::Index),
            (false, true) if media_type.is_empty() || media_type::is_manifest(media_type) => Ok(Kind::Manifest),
            _ => {
                let media_type = printable(media_type.as_bytes());
                Err(self.refuse(format!("it is neither an index nor a manifest, though of type \"{media_type}\"")))
            }
        }
    }
}

/// The fields by which documents are told apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}
