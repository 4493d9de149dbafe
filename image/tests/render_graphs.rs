//! Thousands of generated dependency graphs, rendered by the store and by a renderer that is slow and obvious.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use appc_image::Quiet;
use appc_image::store::ExtractOptions;

mod support;
use support::Fixture;

/// Graphs in all, and how many of them share a store: each image is the top of one.
const GRAPHS: usize = 2400;
const IN_A_STORE: usize = 12;

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// One of few paths, so that images often have the same ones.
    fn path(&mut self) -> String {
        let parts: Vec<&str> = (0..=self.below(3)).map(|_| ["a", "b", "c"][self.below(3)]).collect();
        parts.join("/")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Dir,
    File(String),
    Link(String),
}

/// By path, so that directories come before what is in them.
type Tree = BTreeMap<String, Entry>;

struct Image {
    own: Tree,
    /// Earlier ones, by their numbers.
    dependencies: Vec<usize>,
    whitelist: Vec<String>,
}

/// The directories on the way to a path, the highest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn generate(random: &mut Random, number: usize) -> Image {
    let mut own = Tree::new();
    for _ in 0..random.below(7) {
        let path = random.path();
        let entry = match random.below(6) {
            0 => Entry::Dir,
            1 => Entry::Link(["a", "../b", "/c", "nowhere"][random.below(4)].to_owned()),
            _ => Entry::File(format!("{number} {path}")),
        };
        let blocked = above(&path).any(|dir| own.get(dir).is_some_and(|entry| *entry != Entry::Dir));
        if blocked || own.contains_key(&path) {
            continue;
        }
        own.extend(above(&path).map(|dir| (dir.to_owned(), Entry::Dir)));
        own.insert(path, entry);
    }
    let mut dependencies = BTreeSet::new();
    (0..random.below(4)).filter(|_| number > 0).for_each(|_| _ = dependencies.insert(random.below(number.max(1))));
    let mut dependencies: Vec<usize> = dependencies.into_iter().collect();
    if random.below(2) == 0 {
        dependencies.reverse();
    }
    let listed = if random.below(3) == 0 { 1 + random.below(8) } else { 0 };
    let whitelist = (0..listed).map(|_| format!("/{}{}", random.path(), ["", "", "/"][random.below(3)])).collect();
    Image { own, dependencies, whitelist }
}

/// Puts `upper` over `lower`: what is no directory replaces everything in its place, and is itself replaced.
fn overlay(lower: &mut Tree, upper: &Tree) {
    for (path, entry) in upper {
        if !(*entry == Entry::Dir && lower.get(path) == Some(&Entry::Dir)) {
            let below = format!("{path}/");
            lower.retain(|other, _| other != path && !other.starts_with(&below));
        }
        lower.insert(path.clone(), entry.clone());
    }
}

/// What the list leaves of `tree`: each path on it, and the directories on the way there. A directory that must be there
/// (it ends in a slash) is made, unless something else is in its way.
fn listed(tree: &Tree, whitelist: &[String]) -> Tree {
    let mut left = Tree::new();
    for path in whitelist {
        let clean = path.trim_matches('/');
        let blocked = above(clean).any(|dir| tree.get(dir).is_some_and(|entry| *entry != Entry::Dir));
        let entry = match tree.get(clean) {
            Some(entry) => entry.clone(),
            None if path.ends_with('/') && !blocked => Entry::Dir,
            None => continue,
        };
        left.extend(above(clean).map(|dir| (dir.to_owned(), Entry::Dir)));
        left.insert(clean.to_owned(), entry);
    }
    left
}

/// All that has to be put over one another for an image, the lowest first: D, B, D, C, A. Of one with a whitelist that
/// is what its list leaves.
fn sequence(images: &[Image], number: usize) -> Vec<Tree> {
    let image = &images[number];
    let mut all: Vec<Tree> = image.dependencies.iter().flat_map(|number| sequence(images, *number)).collect();
    all.push(image.own.clone());
    match image.whitelist.as_slice() {
        [] => all,
        whitelist => vec![listed(&flat(&all), whitelist)],
    }
}

fn flat(all: &[Tree]) -> Tree {
    let mut tree = Tree::new();
    all.iter().for_each(|upper| overlay(&mut tree, upper));
    tree
}

/// What is in a directory.
fn read(root: &Path, dir: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_symlink() {
            tree.insert(name, Entry::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned()));
        } else if stat.is_dir() {
            tree.insert(name, Entry::Dir);
            read(root, &path, tree);
        } else {
            tree.insert(name, Entry::File(fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The image as [`support`] makes it.
fn import(f: &Fixture, image: &Image, number: usize) {
    let files = image.own.iter().map(|(path, entry)| match entry {
        Entry::Dir => (format!("{path}/"), String::new()),
        Entry::File(content) => (path.clone(), content.clone()),
        Entry::Link(target) => (path.clone(), format!("->{target}")),
    });
    let files: Vec<(String, String)> = files.collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    let dependencies: Vec<_> =
        image.dependencies.iter().map(|number| serde_json::json!({"imageName": format!("i{number}")})).collect();
    let whitelist = serde_json::to_string(&image.whitelist).unwrap();
    let rest =
        format!("\"dependencies\":{},\"pathWhitelist\":{whitelist}", serde_json::to_string(&dependencies).unwrap());
    f.import(&format!("i{number}"), &rest, &files);
}

#[test]
fn every_graph_is_rendered_as_the_obvious_renderer_does() {
    // Nothing of it has to survive: in memory it takes a tenth of the time.
    if Path::new("/dev/shm").is_dir() {
        let _ = tempfile::env::override_temp_dir(Path::new("/dev/shm"));
    }
    let (mut with_whitelist, mut deep) = (0, 0);
    for seed in 0..GRAPHS / IN_A_STORE {
        let (f, mut random) = (Fixture::new(), Random(seed as u64));
        let images: Vec<Image> = (0..IN_A_STORE).map(|number| generate(&mut random, number)).collect();
        images.iter().enumerate().for_each(|(number, image)| import(&f, image, number));
        for number in 0..IN_A_STORE {
            let parts = sequence(&images, number);
            let stored = f.store.resolve(&format!("i{number}").parse().unwrap()).unwrap();
            let out = f.dir.path().join(format!("out{number}"));
            let options = ExtractOptions { rootfs_only: true, overwrite: false };
            f.store.render(&stored, &out, options, &Quiet).unwrap();
            let mut rendered = Tree::new();
            read(&out, &out, &mut rendered);
            assert_eq!(rendered, flat(&parts), "seed {seed}, image {number}");
            with_whitelist += usize::from(!images[number].whitelist.is_empty());
            deep += usize::from(parts.len() > 4);
        }
    }
    assert!(
        with_whitelist > GRAPHS / 5 && deep > GRAPHS / 10,
        "{with_whitelist} {deep}: the graphs are worth rendering"
    );
}
