//! Everything a file system knows about a folder, to compare two of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

/// One file as the file system describes it; `linked_to` is the first of its hard links, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: u32,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    size: u64,
    device: u64,
    linked_to: Option<PathBuf>,
    target: Option<PathBuf>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Option<Vec<u8>>,
}

/// A folder with everything below it, by path relative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

impl Tree {
    /// Reads a folder; the folder itself is the entry with the empty path.
    ///
    /// # Panics
    /// When something cannot be read.
    #[track_caller]
    pub fn read(folder: &Path) -> Self {
        let mut tree = BTreeMap::new();
        let mut links = BTreeMap::new();
        read_into(folder, Path::new(""), &mut tree, &mut links);
        Self(tree)
    }

    /// Leaves out a path and all below it.
    pub fn without(mut self, path: &str) -> Self {
        self.0.retain(|at, _| !at.starts_with(path));
        self
    }

    /// Leaves the times of folders out: those change when a temporary file comes and goes.
    pub fn without_folder_times(mut self) -> Self {
        self.0.values_mut().filter(|entry| entry.kind == 0o040_000).for_each(|entry| entry.modified = (0, 0));
        self
    }

    /// Leaves all times out.
    pub fn without_times(mut self) -> Self {
        self.0.values_mut().for_each(|entry| entry.modified = (0, 0));
        self
    }

    /// How many entries it has.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether something is at this path.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(Path::new(path))
    }

    /// What is different, one line for each entry.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, entry) in &self.0 {
            match other.0.get(path) {
                None => found.push(format!("{} is missing", path.display())),
                Some(there) if there != entry => found.push(format!("{}: {}", path.display(), entry.against(there))),
                Some(_) => {}
            }
        }
        found.extend(
            other.0.keys().filter(|path| !self.0.contains_key(*path)).map(|path| format!("{} is new", path.display())),
        );
        found
    }

    /// Fails the test when the other tree is not the same in everything.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        let found = self.differences(other);
        assert!(
            found.is_empty(),
            "{what}: {} of {} entries differ\n{}",
            found.len(),
            self.count(),
            found.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n")
        );
    }
}

impl Entry {
    fn against(&self, other: &Self) -> String {
        let mut parts = Vec::new();
        let mut part = |name: &str, same: bool, a: String, b: String| {
            if !same {
                parts.push(format!("{name} {a} became {b}"));
            }
        };
        part("type", self.kind == other.kind, format!("{:o}", self.kind), format!("{:o}", other.kind));
        part("mode", self.mode == other.mode, format!("{:o}", self.mode), format!("{:o}", other.mode));
        part("owner", self.owner == other.owner, format!("{:?}", self.owner), format!("{:?}", other.owner));
        part("time", self.modified == other.modified, format!("{:?}", self.modified), format!("{:?}", other.modified));
        part("size", self.size == other.size, self.size.to_string(), other.size.to_string());
        part("device", self.device == other.device, self.device.to_string(), other.device.to_string());
        part(
            "hard link",
            self.linked_to == other.linked_to,
            format!("{:?}", self.linked_to),
            format!("{:?}", other.linked_to),
        );
        part("target", self.target == other.target, format!("{:?}", self.target), format!("{:?}", other.target));
        let names = |entry: &Self| {
            entry
                .attributes
                .iter()
                .map(|(name, value)| format!("{}={value:x?}", String::from_utf8_lossy(name)))
                .collect::<Vec<_>>()
        };
        part(
            "xattrs",
            self.attributes == other.attributes,
            format!("{:?}", names(self)),
            format!("{:?}", names(other)),
        );
        part("content", self.content == other.content, String::new(), "other bytes".into());
        parts.join(", ")
    }
}

fn read_into(root: &Path, path: &Path, tree: &mut BTreeMap<PathBuf, Entry>, links: &mut BTreeMap<(u64, u64), PathBuf>) {
    let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) };
    let meta = full.symlink_metadata().unwrap_or_else(|error| panic!("read {}: {error}", full.display()));
    let kind = meta.mode() & 0o170_000;
    let mut linked_to = None;
    if !meta.is_dir() && meta.nlink() > 1 {
        let first = links.entry((meta.dev(), meta.ino())).or_insert_with(|| path.to_owned());
        linked_to = (first != path).then(|| first.clone());
    }
    let entry = Entry {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        modified: (meta.mtime(), meta.mtime_nsec()),
        size: if meta.is_dir() { 0 } else { meta.size() },
        device: meta.rdev(),
        linked_to,
        target: meta.is_symlink().then(|| full.read_link().expect("a link has a target")),
        attributes: attributes(&full),
        content: meta.is_file().then(|| digest(&full)),
    };
    tree.insert(path.to_owned(), entry);
    if meta.is_dir() {
        let list = std::fs::read_dir(&full).unwrap_or_else(|error| panic!("list {}: {error}", full.display()));
        // In order, so that the first of several hard links is the same everywhere.
        let mut names: Vec<_> = list.map(|entry| entry.expect("a readable entry").file_name()).collect();
        names.sort();
        for name in names {
            read_into(root, &path.join(name), tree, links);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut list).unwrap_or(0);
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value).unwrap_or(0);
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

fn digest(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = std::io::Read::read(&mut file, &mut buffer)
            .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        if count == 0 {
            return context.finish().as_ref().to_vec();
        }
        context.update(&buffer[..count]);
    }
}

/// The SHA-512 of some bytes as hex.
pub fn sha512(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA512, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of some bytes as hex.
pub fn sha256(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_seen() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "text").expect("ours");
        std::fs::write(path("b"), "text").expect("ours");
        std::os::unix::fs::symlink("a", path("c")).expect("ours");
        let before = Tree::read(folder.path());
        before.assert_same(&Tree::read(folder.path()), "nothing happened");

        let changes: &[(&str, &dyn Fn())] = &[
            ("a: time", &|| {
                std::fs::File::options()
                    .write(true)
                    .open(path("a"))
                    .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
                    .expect("ours")
            }),
            ("a: mode", &|| {
                std::fs::set_permissions(path("a"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours")
            }),
            ("b: time", &|| std::fs::write(path("b"), "TEXT").expect("ours")),
            ("c: ", &|| {
                std::fs::remove_file(path("c")).expect("ours");
                std::os::unix::fs::symlink("b", path("c")).expect("ours");
            }),
            ("b: ", &|| {
                std::fs::remove_file(path("b")).expect("ours");
                std::fs::hard_link(path("a"), path("b")).expect("ours");
            }),
            ("d is new", &|| std::fs::create_dir(path("d")).expect("ours")),
            ("a is missing", &|| std::fs::remove_file(path("a")).expect("ours")),
        ];
        for (wanted, change) in changes {
            change();
            let found = before.differences(&Tree::read(folder.path()));
            assert!(found.iter().any(|line| line.starts_with(wanted)), "{wanted}: {found:?}");
        }
    }
}
