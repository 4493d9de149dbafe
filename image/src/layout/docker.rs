//! What `docker save` writes: `manifest.json`, and configurations and layers at the paths that it names.
//!
//! Since version 25 the archive is an OCI layout, too; its own manifest is used then, so that its digest is kept.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::archive::Tar;
use super::files::Files;
use super::oci::{open_blob, parse_index, read_index};
use super::{LAYOUT_FILE, blob_path};
use crate::archive::Compression;
use crate::error::printable;
use crate::oci::{Algorithm, DOCUMENT_MAX, Descriptor, Digest, Hasher, Index, Manifest, Source, media_type};
use crate::reference::Reference;
use crate::{Error, Result};

/// The file that names the images.
const MANIFEST: &str = "manifest.json";

/// Manifests of the layout in the archive that are looked through for the image that is meant.
const LOOKED_THROUGH: usize = 256;

/// An image of `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// One image of an archive by `docker save`.
pub struct DockerArchive {
    files: Files,
    place: String,
    top: Descriptor,
    count: usize,
    names: Vec<String>,
    /// The manifest, when it is not in the archive.
    manifest: Option<Vec<u8>>,
    /// Where the blobs are that are not where a layout has them.
    paths: HashMap<Digest, String>,
}

impl DockerArchive {
    /// Opens the archive `file`, compressed or not, for the image `name` (`repository[:tag]`, or `@` and its number from
    /// 0 on), or for the only one.
    pub fn open(file: &Path, name: Option<&str>) -> Result<DockerArchive> {
        let mut place = format!("docker-archive:{}", file.display());
        let files = Files::Archive(Tar::open(file)?);
        let refuse = |rule: String| Error::Oci { what: place.clone(), rule };
        let images = files.whole(MANIFEST, DOCUMENT_MAX)?.ok_or_else(|| {
            let old = files.whole("repositories", DOCUMENT_MAX).is_ok_and(|found| found.is_some());
            let hint = if old {
                "it was saved by docker before 1.10: load and save it anew"
            } else {
                "docker did not write it"
            };
            refuse(format!("there is no {MANIFEST} in it, {hint}"))
        })?;
        let images = parse(&images).map_err(refuse)?;
        let (image, count) = (choose(&images, name).map_err(refuse)?, images.len());
        let names = image.repo_tags.clone().unwrap_or_default();
        let image = Image { files: &files, place: &place, saved: &image };
        let (config, config_bytes) = image.config()?;
        let (top, manifest, paths) = match image.in_layout(&config)? {
            Some(top) => (top, None, HashMap::new()),
            None => {
                let (manifest, paths) = image.manifest(config, &config_bytes)?;
                let bytes = serde_json::to_vec(&manifest).map_err(|e| refuse(e.to_string()))?;
                (Descriptor::of(media_type::MANIFEST, &bytes), Some(bytes), paths)
            }
        };
        if let Some(name) = name {
            place = format!("{place}:{}", printable(name.as_bytes()));
        }
        Ok(DockerArchive { files, place, top, count, names, manifest, paths })
    }

    /// The same image as `reference`, with the first name that the archive has for it when it was given none.
    pub fn reference(&self, reference: &Reference) -> Reference {
        match reference {
            Reference::DockerArchive { file, name: None } => {
                Reference::DockerArchive { file: file.clone(), name: self.names.first().cloned() }
            }
            other => other.clone(),
        }
    }

    /// How many images are in the archive.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What the image is called, each `repository:tag`.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Source for DockerArchive {
    fn top(&self) -> Result<Descriptor> {
        Ok(self.top.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(manifest) = &self.manifest
            && descriptor.digest == self.top.digest
        {
            return Ok(Box::new(manifest.as_slice()));
        }
        match self.paths.get(&descriptor.digest) {
            None => open_blob(&self.files, &self.place, descriptor),
            Some(path) => match self.files.open(path)? {
                Some((content, _)) => Ok(content),
                None => Err(Error::Oci { what: self.place.clone(), rule: format!("{} is not there", shown(path)) }),
            },
        }
    }

    fn describe(&self) -> String {
        self.place.clone()
    }
}

/// The image that is meant, and where its parts are.
struct Image<'i> {
    files: &'i Files,
    place: &'i str,
    saved: &'i Saved,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<Digest>>,
}

impl Image<'_> {
    fn refuse(&self, rule: String) -> Error {
        Error::Oci { what: self.place.to_owned(), rule }
    }

    fn config(&self) -> Result<(Descriptor, Vec<u8>)> {
        let path = &self.saved.config;
        let bytes = self.files.whole(path, DOCUMENT_MAX)?;
        let bytes = bytes.ok_or_else(|| self.refuse(format!("its configuration {} is not there", shown(path))))?;
        let config = Descriptor::of(media_type::CONFIG, &bytes);
        // The digest is the name; what has another one has been tampered with or damaged.
        let name = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
        if name.len() == config.digest.hex().len() && name != config.digest.hex() {
            return Err(self.refuse(format!("its configuration {} is another, {}", shown(path), config.digest)));
        }
        Ok((config, bytes))
    }

    /// The manifest with this configuration in the layout that the archive is, too, when all of it is there.
    fn in_layout(&self, config: &Descriptor) -> Result<Option<Descriptor>> {
        if self.files.open(LAYOUT_FILE)?.is_none() {
            return Ok(None);
        }
        let Ok(index) = read_index(self.files, self.place).and_then(|b| parse_index(&b).map_err(|r| self.refuse(r)))
        else {
            return Ok(None);
        };
        let mut waiting = index.manifests;
        for _ in 0..LOOKED_THROUGH {
            let Some(descriptor) = waiting.pop() else { break };
            // Those of other platforms and attestations may not have been saved.
            let Some(bytes) = self.files.whole(&blob_path(&descriptor.digest), DOCUMENT_MAX)? else { continue };
            if media_type::is_index(&descriptor.media_type) {
                waiting
                    .extend(serde_json::from_slice::<Index>(&bytes).map(|index| index.manifests).unwrap_or_default());
            } else if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes)
                && manifest.config.digest == config.digest
                && Digest::of(&bytes) == descriptor.digest
                && self.has_all(&manifest)?
            {
                return Ok(Some(descriptor.bare()));
            }
        }
        Ok(None)
    }

    fn has_all(&self, manifest: &Manifest) -> Result<bool> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if self.files.open(&blob_path(&blob.digest))?.is_none_or(|(_, len)| len != blob.size) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A manifest of what `manifest.json` lists, and where the blobs are.
    fn manifest(&self, config: Descriptor, config_bytes: &[u8]) -> Result<(Manifest, HashMap<Digest, String>)> {
        let parsed: Config = serde_json::from_slice(config_bytes)
            .map_err(|e| self.refuse(format!("its configuration: {}", printable(e.to_string().as_bytes()))))?;
        let diff_ids = parsed.rootfs.diff_ids.unwrap_or_default();
        let layers = self.saved.layers.as_deref().unwrap_or_default();
        if layers.len() != diff_ids.len() {
            let (layers, ids) = (layers.len(), diff_ids.len());
            return Err(self.refuse(format!("it has {layers} layers, but its configuration names {ids}")));
        }
        let mut paths = HashMap::from([(config.digest.clone(), self.saved.config.clone())]);
        let mut descriptors = Vec::new();
        for (path, diff_id) in layers.iter().zip(diff_ids) {
            let layer = self.layer(path, diff_id)?;
            paths.insert(layer.digest.clone(), path.clone());
            descriptors.push(layer);
        }
        Ok((Manifest::new(config, descriptors), paths))
    }

    fn layer(&self, path: &str, diff_id: Digest) -> Result<Descriptor> {
        let what = || Error::io(format!("read {} of {}", shown(path), self.place));
        let (mut content, len) =
            self.files.open(path)?.ok_or_else(|| self.refuse(format!("its layer {} is not there", shown(path))))?;
        let mut start = Vec::new();
        content.by_ref().take(Compression::MAGIC_LEN as u64).read_to_end(&mut start).map_err(what())?;
        let media_type = match Compression::detect(&start) {
            Some(Compression::Gzip) => media_type::LAYER_GZIP,
            Some(Compression::Zstd) => media_type::LAYER_ZSTD,
            // Verified against the configuration when it is read.
            _ => return Ok(Descriptor::new(media_type::LAYER_TAR, diff_id, len)),
        };
        // Compressed by somebody else than docker: nobody says what its digest is.
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&start);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match content.read(&mut buffer).map_err(what())? {
                0 => return Ok(Descriptor::new(media_type, hasher.finish(), len)),
                len => hasher.update(&buffer[..len]),
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<Saved>, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("its {MANIFEST}: {}", printable(e.to_string().as_bytes())))
}

fn choose(images: &[Saved], name: Option<&str>) -> Result<Saved, String> {
    let tags = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
    let listed = || {
        let tags: Vec<String> = images.iter().flat_map(tags).take(20).map(|t| printable(t.as_bytes())).collect();
        if tags.is_empty() { "@0, @1 and so on".to_owned() } else { tags.join(", ") }
    };
    match (images, name) {
        ([], _) => Err("there is no image in it".into()),
        ([one], None) => Ok(one.clone()),
        (_, None) => Err(format!("there are several images in it, say which: {}", listed())),
        (_, Some(name)) => {
            let number = name.strip_prefix('@').and_then(|number| number.parse::<usize>().ok());
            let found = match number {
                Some(number) => images.get(number),
                None => images.iter().find(|image| tags(image).iter().any(|tag| whole(tag) == whole(name))),
            };
            found
                .cloned()
                .ok_or_else(|| format!("there is no image \"{}\" in it, only {}", printable(name.as_bytes()), listed()))
        }
    }
}

/// A name with all that may be left out.
fn whole(name: &str) -> String {
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    if tagged { name.to_owned() } else { format!("{name}:latest") }
}

fn shown(path: &str) -> String {
    printable(path.as_bytes())
}

/// What `docker load` looks for in an archive of a layout with this manifest.
pub(super) fn manifest_json(manifest: &[u8], name: Option<&str>) -> Result<Vec<u8>, String> {
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|e| e.to_string())?;
    let layers = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    let saved = Saved {
        config: blob_path(&manifest.config.digest),
        repo_tags: name.map(|name| vec![name.to_owned()]),
        layers: Some(layers),
    };
    serde_json::to_vec(&[saved]).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_by_their_tags_and_numbers() {
        let images = parse(
            br#"[{"Config":"a.json","RepoTags":["busybox:latest","example.com:5000/b:1"],"Layers":null},
                 {"Config":"b.json","RepoTags":null,"Layers":["x/layer.tar"]}]"#,
        )
        .unwrap();
        for (name, config) in [
            ("busybox", "a.json"),
            ("busybox:latest", "a.json"),
            ("docker.io/library/busybox", "a.json"),
            ("example.com:5000/b:1", "a.json"),
            ("@0", "a.json"),
            ("@1", "b.json"),
        ] {
            assert_eq!(choose(&images, Some(name)).unwrap().config, config, "{name}");
        }
        for bad in ["busybox:1", "@2", "", "example.com:5000/b"] {
            assert!(choose(&images, Some(bad)).unwrap_err().contains("only busybox:latest"), "{bad}");
        }
        assert!(choose(&images, None).unwrap_err().contains("say which"));
        assert!(choose(&[], None).is_err());
    }
}
