//! Images small enough to be made for each test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use appc_image::Quiet;
use appc_image::archive::{self, Compression, WriteOptions};
use appc_image::store::{Store, StoredImage};
use appc_rooted::Root;

/// A store and a place for what goes into it, removed at the end.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Fixture {
    pub fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("data")).unwrap();
        Fixture { dir, store }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Imports an image with this manifest (`name` and whatever is in `rest`) and these files.
    pub fn import(&self, name: &str, rest: &str, files: &[(&str, &str)]) -> StoredImage {
        let path = self.image(name, rest, files);
        self.store.import(File::open(&path).unwrap(), path.to_str().unwrap(), &Quiet).unwrap()
    }

    /// Writes an image archive.
    pub fn image(&self, name: &str, rest: &str, files: &[(&str, &str)]) -> PathBuf {
        write_image(self.dir.path(), name, rest, files, Compression::Gzip)
    }

    /// What lies in the store and in `tmp/`, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in ["store/images", "store/trees", "store/blobs/sha512", "tmp"] {
            let entries = fs::read_dir(self.data().join(folder)).unwrap();
            names.extend(entries.map(|e| format!("{folder}/{}", e.unwrap().file_name().to_str().unwrap())));
        }
        names.sort();
        names
    }
}

/// A path with a trailing slash is a directory, content that begins with `->` a link.
pub fn make_tree(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("->") {
            _ if path.as_os_str().as_encoded_bytes().ends_with(b"/") => fs::create_dir_all(&path).unwrap(),
            Some(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            None => fs::write(&path, content).unwrap(),
        }
    }
}

pub fn manifest(name: &str, rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { "," };
    format!("{{\"acKind\":\"ImageManifest\",\"acVersion\":\"0.8.11\",\"name\":\"{name}\"{comma}{rest}}}")
}

pub fn write_image(dir: &Path, name: &str, rest: &str, files: &[(&str, &str)], compression: Compression) -> PathBuf {
    let scratch = tempfile::tempdir_in(dir).unwrap();
    make_tree(scratch.path(), files);
    let path = dir.join(format!("{}.aci", name.replace('/', "-")));
    // Times differ from run to run; the same image must have the same ID.
    let options = WriteOptions { compression, source_date_epoch: Some(1), ..Default::default() };
    let root = Root::open(scratch.path()).unwrap();
    let out = File::create(&path).unwrap();
    archive::write(manifest(name, rest).as_bytes(), &root, out, &options, &Quiet).unwrap();
    path
}
