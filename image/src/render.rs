//! From an image to the directories that make its root file system.
//!
//! An image lies on its dependencies, in the order of its manifest: each comes with its own dependencies below it, later ones
//! overwrite earlier ones, and the image itself overwrites all. A→[B,C], C→[D] gives B, D, C, A from the bottom up. These are
//! the layers of an overlay mount. An image that occurs twice (B→[D], C→[D]: D, B, D, C, A) is kept where it is
//! topmost: whatever it holds is overwritten by itself there.
//!
//! A path whitelist applies to an image together with everything below it, so it cannot be had by stacking: such an image and
//! its dependencies are merged into one tree of hard links (`merge.rs`), which is one layer for whoever depends on it, is kept in the
//! store, and is made again when the store's gc has removed it.

pub(crate) mod merge;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use appc_spec::{Dependency, ImageId, ImageManifest, ImageName};

use crate::error::{Error, Result};
use crate::store::{IoContext, Pin, Query, RENDERED, Store, StoredImage, WorkDir, layer_key, place, sync_file_system};
pub use crate::tree::compare::{Change, Difference, Rules, compare};

/// No image has so long a chain of dependencies; the kernel takes 500 overlay layers at most.
const DEEPEST: usize = 500;

/// What an image's root file system is made of.
#[derive(Debug)]
pub struct Rendered {
    /// All images that take part, bottom first; the last one is the image itself.
    pub images: Vec<ImageId>,
    /// The directories to stack, bottom first. Not to be written to.
    pub lower: Vec<PathBuf>,
    /// Keeps images and directories in the store.
    pub pin: Pin,
}

/// Finds the dependencies of `image` in the store, all the way down, and says what to stack.
///
/// # Errors
/// [`Error::Dependency`] names the image, its dependency, and what is wrong with it: missing, another ID, labels or size than
/// the manifest asks for, or a cycle.
pub fn layers(store: &Store, image: &StoredImage) -> Result<Rendered> {
    let mut renderer = Renderer::new(store, Trees::Make);
    renderer.visit(image)?;
    let node = renderer.done.remove(&image.id).unwrap_or_default();
    let lower = node.layers.iter().map(|key| store.tree_dir(key).join("rootfs")).collect();
    Ok(Rendered { images: node.images, lower, pin: renderer.pin })
}

/// Whether what an image with this manifest depends on is all in the store, and what it should be. Makes nothing. `id` is
/// the image's own, if it is in the store.
///
/// # Errors
/// Those of [`layers`].
pub(crate) fn check(store: &Store, manifest: &ImageManifest, id: Option<&ImageId>) -> Result<()> {
    let mut renderer = Renderer::new(store, Trees::Leave);
    renderer.chain.extend(id.map(|id| (id.clone(), manifest.name.to_string())));
    renderer.below(manifest).map(drop)
}

/// The same for what an image with this manifest, in the store or not, lies on: without the image itself, and without its
/// path whitelist.
///
/// # Errors
/// Those of [`layers`].
pub fn dependencies(store: &Store, manifest: &ImageManifest) -> Result<Rendered> {
    let mut renderer = Renderer::new(store, Trees::Make);
    let node = renderer.below(manifest)?;
    let lower = node.layers.iter().map(|key| store.tree_dir(key).join("rootfs")).collect();
    Ok(Rendered { images: node.images, lower, pin: renderer.pin })
}

/// The same for the lowest `count` layers of an OCI image.
///
/// # Errors
/// Those of [`layers`]; [`Error::Oci`] when a layer above hides all of them, so that nothing was made of them.
pub fn lowest_layers(store: &Store, image: &StoredImage, count: usize) -> Result<Rendered> {
    let refuse = |rule: &str| Error::Oci { what: image.id.short(), rule: rule.into() };
    let parts = image.oci.as_ref().ok_or_else(|| refuse("it has no layers"))?;
    let mut pin = Pin::default();
    pin.add(store, &image.id)?;
    let is_layer = |key: &&String| parts.layers.iter().any(|layer| layer_key(&layer.diff_id) == **key);
    // All below the topmost layer that hides everything are left out.
    let hidden = parts.layers.len().saturating_sub(parts.trees.iter().filter(is_layer).count());
    if count > 0 && count <= hidden {
        return Err(refuse("the layers asked for are all hidden by one above them"));
    }
    let mut left = count.saturating_sub(hidden);
    let asked_for = parts.trees.iter().take_while(|key| {
        let another = is_layer(key);
        let taken = !another || left > 0;
        left -= usize::from(another && taken);
        taken
    });
    let trees = if count == 0 { Vec::new() } else { keep_last(asked_for.cloned().collect()) };
    let lower = trees.iter().map(|key| store.tree_dir(key).join("rootfs")).collect();
    Ok(Rendered { images: vec![image.id.clone()], lower, pin })
}

/// What of the root file system of `b` differs from that of `a`, dependencies included, in the order of the paths.
///
/// # Errors
/// Those of [`layers`].
pub fn diff(store: &Store, a: &StoredImage, b: &StoredImage, rules: Rules) -> Result<Vec<Difference>> {
    let (a, b) = (layers(store, a)?, layers(store, b)?);
    compare(&a.open()?, &b.open()?, rules)
}

impl Rendered {
    /// The directories to stack, open, bottom first.
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn open(&self) -> Result<Vec<Root>> {
        self.lower.iter().map(|path| Root::open(path).on("open", path)).collect()
    }
}

/// Fills the empty directory `out` with what a path whitelist leaves of the stack `layers`, the lowest first.
///
/// # Errors
/// When something cannot be linked or copied there.
pub fn listed(layers: &[Root], whitelist: &[String], out: &Root) -> Result<()> {
    merge::merge(layers, whitelist, out)
}

/// The same of two trees by themselves.
///
/// # Errors
/// When one of them cannot be read.
pub fn diff_trees(a: &Root, b: &Root, rules: Rules) -> Result<Vec<Difference>> {
    compare(std::slice::from_ref(a), std::slice::from_ref(b), rules)
}

/// An image with everything below it.
#[derive(Debug, Clone, Default)]
struct Node {
    images: Vec<ImageId>,
    /// Names in `store/trees`.
    layers: Vec<String>,
}

/// What becomes of merged trees that are not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trees {
    Make,
    Leave,
}

struct Renderer<'s> {
    store: &'s Store,
    trees: Trees,
    pin: Pin,
    done: HashMap<ImageId, Node>,
    /// The images between the one asked for and the one being looked at.
    chain: Vec<(ImageId, String)>,
}

impl<'s> Renderer<'s> {
    fn new(store: &'s Store, trees: Trees) -> Renderer<'s> {
        Renderer { store, trees, pin: Pin::default(), done: HashMap::new(), chain: Vec::new() }
    }

    fn visit(&mut self, image: &StoredImage) -> Result<()> {
        if self.done.contains_key(&image.id) {
            return Ok(());
        }
        let mut node = self.stack(image)?;
        if !image.manifest.path_whitelist.is_empty() {
            node.layers = vec![self.merged(&node, &image.manifest.path_whitelist)?];
        }
        self.done.insert(image.id.clone(), node);
        Ok(())
    }

    /// The image on its dependencies, whatever its own path whitelist leaves of that.
    fn stack(&mut self, image: &StoredImage) -> Result<Node> {
        self.pin.add(self.store, &image.id)?;
        self.chain.push((image.id.clone(), image.manifest.name.to_string()));
        let mut node = self.below(&image.manifest)?;
        self.chain.pop();
        node.images.push(image.id.clone());
        match &image.oci {
            Some(parts) => node.layers.extend_from_slice(&parts.trees),
            None => node.layers.push(image.id.to_string()),
        }
        node.images = keep_last(node.images);
        node.layers = keep_last(node.layers);
        Ok(node)
    }

    /// What the dependencies in `manifest` come to, stacked.
    fn below(&mut self, manifest: &ImageManifest) -> Result<Node> {
        let mut node = Node::default();
        for dependency in &manifest.dependencies {
            let below = self.find(manifest, dependency)?;
            self.visit(&below)?;
            let below = &self.done[&below.id];
            node.images.extend_from_slice(&below.images);
            node.layers.extend_from_slice(&below.layers);
        }
        node.images = keep_last(node.images);
        node.layers = keep_last(node.layers);
        Ok(node)
    }

    /// The stored image that is meant by a dependency of `image`.
    fn find(&self, image: &ImageManifest, wanted: &Dependency) -> Result<StoredImage> {
        let found = dependency(self.store, image, wanted)?;
        let wrong = |rule| wrong(image, wanted, rule);
        if let Some(start) = self.chain.iter().position(|(id, _)| *id == found.id) {
            let names: Vec<&str> = self.chain[start..].iter().map(|(_, name)| name.as_str()).collect();
            return Err(wrong(format!("depends on itself: {} → {}", names.join(" → "), names[0])));
        }
        if self.chain.len() >= DEEPEST {
            return Err(wrong(format!("is below more than {DEEPEST} others")));
        }
        Ok(found)
    }

    /// The name in `store/trees` of the merged tree of `node`, which is made unless it is there.
    fn merged(&self, node: &Node, whitelist: &[String]) -> Result<String> {
        let key = merged_key(&node.layers);
        let place_of_tree = self.store.tree_dir(&key);
        // What has its list is whole.
        let is_there = || place_of_tree.join("images").exists();
        if self.trees == Trees::Leave || is_there() {
            return Ok(key);
        }
        let work = WorkDir::new(self.store)?;
        let tree = work.path().join("tree");
        self.merge(node, whitelist, &tree.join("rootfs"))?;
        let images: String = node.images.iter().map(|id| format!("{id}\n")).collect();
        fs::write(tree.join("images"), images).on("write", tree.join("images"))?;
        sync_file_system(work.path())?;
        let _lock = self.store.lock()?;
        // Somebody may have been quicker, and may be using theirs.
        if !is_there() {
            place(&tree, &place_of_tree)?;
        }
        Ok(key)
    }

    /// Merges `node` in the new directory `rootfs`.
    fn merge(&self, node: &Node, whitelist: &[String], rootfs: &Path) -> Result<()> {
        fs::create_dir_all(rootfs).on("create", rootfs)?;
        let open = |path: &Path| Root::open(path).on("open", path);
        let layers = node.layers.iter().map(|key| open(&self.store.tree_dir(key).join("rootfs")));
        merge::merge(&layers.collect::<Result<Vec<Root>>>()?, whitelist, &open(rootfs)?)
    }
}

/// Makes the merged tree of `image` once more, as the new directory `rootfs`, and returns its name in `store/trees`; nothing
/// for an image that has none.
///
/// # Errors
/// Those of [`layers`].
pub(crate) fn merged_again(store: &Store, image: &StoredImage, rootfs: &Path) -> Result<Option<String>> {
    let whitelist = &image.manifest.path_whitelist;
    if whitelist.is_empty() {
        return Ok(None);
    }
    let mut renderer = Renderer::new(store, Trees::Make);
    let node = renderer.stack(image)?;
    renderer.merge(&node, whitelist, rootfs)?;
    Ok(Some(merged_key(&node.layers)))
}

/// The stored image that is meant by a dependency of `image`.
pub(crate) fn dependency(store: &Store, image: &ImageManifest, wanted: &Dependency) -> Result<StoredImage> {
    let name = name_of(wanted);
    let wrong = |rule| wrong(image, wanted, rule);
    let found = match &wanted.image_id {
        Some(id) => store.get(id),
        None => store.resolve(&Query::Name(name.clone())),
    };
    let found = match found {
        Err(Error::NotStored(_)) => {
            let rule = missing(store, wanted).unwrap_or_else(|| "is not in the store".to_owned());
            return Err(wrong(format!("{rule}: fetch it with `rkt fetch FILE`")));
        }
        found => found?,
    };
    if !found.has_name(&name) {
        return Err(wrong(format!("has the image ID {} of {}", found.id.short(), found.manifest.name)));
    }
    if !found.has_labels(&name) {
        return Err(wrong(format!("has the image ID {}, but not these labels", found.id.short())));
    }
    if let Some(size) = wanted.size.filter(|size| *size != found.size) {
        return Err(wrong(format!("must have {size} bytes, the stored image has {}", found.size)));
    }
    Ok(found)
}

/// What is wrong with a dependency on an image ID that is not in the store.
pub(crate) fn missing(store: &Store, wanted: &Dependency) -> Option<String> {
    let id = wanted.image_id.as_ref()?.short();
    Some(match store.resolve(&Query::Name(name_of(wanted))) {
        Ok(other) => format!("must have the image ID {id}, what is in the store has {}", other.id.short()),
        Err(_) => format!("is not in the store with the image ID {id}"),
    })
}

fn name_of(wanted: &Dependency) -> ImageName {
    ImageName { name: wanted.image_name.clone(), labels: wanted.labels.clone() }
}

fn wrong(image: &ImageManifest, wanted: &Dependency, rule: String) -> Error {
    let (dependency, image) = (name_of(wanted).to_string(), image.name.to_string());
    Error::Dependency { dependency, image, rule }
}

/// The same layers, the whitelist being in the manifest of the topmost, give the same tree.
fn merged_key(layers: &[String]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA512, layers.join("\n").as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{RENDERED}{hex}")
}

/// Leaves every value only where it occurs last.
fn keep_last<T: Clone + Eq + std::hash::Hash>(values: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::new();
    let mut kept: Vec<T> = values.into_iter().rev().filter(|value| seen.insert(value.clone())).collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_repeated_layers_the_topmost_stays() {
        assert_eq!(keep_last("DBDCA".chars().collect()), ['B', 'D', 'C', 'A']);
        assert_eq!(keep_last("BDCA".chars().collect()), ['B', 'D', 'C', 'A']);
        assert_eq!(keep_last(Vec::<char>::new()), []);
    }
}
