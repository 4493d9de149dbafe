//! Tars made by hand, down to the broken byte, and trees compared to the nanosecond.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(crate) const MANIFEST: &[u8] = br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/test"}"#;

/// An archive in the making.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// The start of an image: a manifest and a rootfs.
    pub(crate) fn image() -> Tar {
        Tar::default().file("manifest", MANIFEST).dir("rootfs")
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Tar {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A header with its checksum, after `change` has had its way.
    pub(crate) fn header(
        self,
        kind: u8,
        name: &str,
        size: u64,
        link: &str,
        change: impl FnOnce(&mut [u8; 512]),
    ) -> Tar {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, b"0000755\x000000000\x000000000\0");
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, b"14000000000\0");
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        header[156] = kind;
        change(&mut header);
        self.raw(&sealed(header))
    }

    pub(crate) fn content(self, content: &[u8]) -> Tar {
        let padded = content.len().next_multiple_of(512) - content.len();
        self.raw(content).raw(&vec![0; padded])
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Tar {
        self.header(b'0', name, content.len() as u64, "", |_| {}).content(content)
    }

    pub(crate) fn dir(self, name: &str) -> Tar {
        self.header(b'5', name, 0, "", |_| {})
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Tar {
        self.header(b'2', name, 0, target, |_| {})
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Tar {
        self.header(b'1', name, 0, target, |_| {})
    }

    /// An extended header: `x`, `g`, `L` or `K`.
    pub(crate) fn extended(self, kind: u8, data: &[u8]) -> Tar {
        self.header(kind, "extended", data.len() as u64, "", |_| {}).content(data)
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Tar {
        self.extended(b'x', &pax_data(records))
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

pub(crate) fn pax_data(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (rest + 1..).find(|len| *len == rest + len.to_string().len()).unwrap();
        data += &format!("{len} {key}={value}\n");
    }
    data.into_bytes()
}

/// A header with the right checksum.
pub(crate) fn sealed(mut header: [u8; 512]) -> [u8; 512] {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Everything about a file, as text that a person can compare.
pub(crate) type Snapshot = BTreeMap<PathBuf, String>;

/// What the tree at `root` is: types, modes, owners, times, links, devices, attributes, content.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    add(root, root, &mut found);
    // Hard links: which names are one file, whatever its number.
    let mut groups: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    for path in found.keys() {
        let meta = std::fs::symlink_metadata(root.join(path)).unwrap();
        if !meta.is_dir() && meta.nlink() > 1 {
            groups.entry((meta.dev(), meta.ino())).or_default().push(path.clone());
        }
    }
    for names in groups.values() {
        for name in names {
            found.get_mut(name).unwrap().push_str(&format!(" same as {names:?}"));
        }
    }
    found
}

fn add(root: &Path, path: &Path, found: &mut Snapshot) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let content = if kind.is_file() {
        format!("{:x?}", ring::digest::digest(&ring::digest::SHA256, &std::fs::read(path).unwrap()).as_ref())
    } else if kind.is_symlink() {
        format!("{:?}", std::fs::read_link(path).unwrap())
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("{}:{}", rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()))
    } else {
        String::new()
    };
    let mut text =
        format!("{:o} {}:{} {}.{:09} {content}", meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec());
    for (name, value) in xattrs(path) {
        text += &format!(" {name}={value:?}");
    }
    found.insert(path.strip_prefix(root).unwrap().to_owned(), text);
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            add(root, &entry.unwrap().path(), found);
        }
    }
}

pub(crate) fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..len].split(|b| *b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65536];
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..len].to_vec())
        })
        .collect()
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

/// Panics with the first differences only: whole trees are long.
pub(crate) fn assert_same(before: &Snapshot, after: &Snapshot) {
    let mut differences = Vec::new();
    for path in before.keys().chain(after.keys()) {
        let (a, b) = (before.get(path), after.get(path));
        if a != b {
            differences.push(format!("{}:\n  {a:?}\n  {b:?}", path.display()));
        }
    }
    differences.dedup();
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences[..differences.len().min(8)].join("\n")
    );
}

pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
