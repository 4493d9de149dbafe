//! What a root file system has over the layers below it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, FileType, Stat};

use crate::tree::compare::{Change, Difference, Rules, compare, compare_part};
use crate::tree::part::Part;
use crate::tree::walk::{Visitor, failed, parents, split, walk};
use crate::{Error, Result};

/// What a layer has to hold so that a stack of layers becomes a given root file system.
///
/// Files that are one file under several names are in it under all of them or not at all: a hard link to a file of
/// another layer is not understood everywhere. So are the directories above everything that is in it, since not
/// everyone who unpacks a layer looks at those below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is new or different, directories too. Paths below the root.
    present: BTreeSet<Vec<u8>>,
    /// The directories on the way to something.
    above: BTreeSet<Vec<u8>>,
    /// What is gone, by the directory that it was in.
    removed: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    sockets: Vec<PathBuf>,
}

impl Changes {
    /// What `tree` has over `below`, a stack of trees in the form of overlay mounts, the lowest first.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn between(below: &[Root], tree: &Root) -> Result<Changes> {
        Changes::whole(tree, &compare(below, std::slice::from_ref(tree), Rules::Layer)?)
    }

    /// The same where only a `part` of the tree can be different: nothing else is looked at.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn in_part(below: &[Root], tree: &Root, part: &Part) -> Result<Changes> {
        Changes::whole(tree, &compare_part(below, std::slice::from_ref(tree), Rules::Layer, part)?)
    }

    fn whole(tree: &Root, differences: &[Difference]) -> Result<Changes> {
        let mut changes = Changes::of(differences);
        changes.complete(tree)?;
        let above = |path: &Vec<u8>| parents(path).map(<[u8]>::to_vec).collect::<Vec<_>>();
        changes.above = changes.present.iter().flat_map(above).collect();
        changes.above.extend(changes.removed.keys().flat_map(|path| [above(path), vec![path.clone()]].concat()));
        Ok(changes)
    }

    fn of(differences: &[Difference]) -> Changes {
        let mut changes = Changes::default();
        // What is below them went with them.
        let mut gone: BTreeSet<&[u8]> = BTreeSet::new();
        for Difference { path, change } in differences {
            let path = path.as_os_str().as_bytes();
            let path = path.strip_prefix(b"/").unwrap_or(path);
            match change {
                Change::Removed => {
                    gone.insert(path);
                    let (parent, name) = split(path);
                    if !gone.contains(parent) {
                        changes.removed.entry(parent.to_vec()).or_default().insert(name.to_vec());
                    }
                }
                Change::Changed(differs) => {
                    if differs.contains(&"type") {
                        gone.insert(path);
                    }
                    changes.present.insert(path.to_vec());
                }
                Change::Added => _ = changes.present.insert(path.to_vec()),
            }
        }
        changes
    }

    /// Takes sockets out, which no archive can hold, and the other names of files in.
    fn complete(&mut self, tree: &Root) -> Result<()> {
        let seen = match self.look(tree) {
            Some(seen) => seen,
            None => {
                let top = tree.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open the tree"))?;
                let mut seen = Seen::default();
                walk(top, &mut seen)?;
                seen
            }
        };
        for socket in &seen.sockets {
            if self.present.remove(socket) {
                self.sockets.push(OsStr::from_bytes(socket).into());
            }
        }
        for names in seen.names.into_values() {
            if names.iter().any(|name| self.present.contains(name)) {
                self.present.extend(names);
            }
        }
        Ok(())
    }

    /// What there is to see of what is present; nothing when the tree has to be looked through for other names of it, or
    /// when a path is too long for the kernel.
    fn look(&self, tree: &Root) -> Option<Seen> {
        let (mut seen, mut names, mut found) = (Seen::default(), 0, 0);
        for path in &self.present {
            let stat = tree.lstat(OsStr::from_bytes(path)).ok()?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {}
                FileType::Socket => seen.sockets.push(path.clone()),
                _ if stat.st_nlink > 1 => {
                    let known = seen.names.entry((stat.st_dev, stat.st_ino)).or_default();
                    names += if known.is_empty() { stat.st_nlink } else { 0 };
                    found += 1;
                    known.push(path.clone());
                }
                _ => {}
            }
        }
        (names == found).then_some(seen)
    }

    /// Takes out what is gone, and returns it: paths below the root.
    pub fn take_removed(&mut self) -> Vec<PathBuf> {
        let removed = std::mem::take(&mut self.removed);
        let join = |directory: &[u8], name: &Vec<u8>| {
            let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
            OsStr::from_bytes(&[directory, slash, name].concat()).into()
        };
        removed.iter().flat_map(|(directory, names)| names.iter().map(|name| join(directory, name))).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.present.is_empty() && self.removed.is_empty()
    }

    /// Sockets that would be among them, which no archive can hold. Paths below the root.
    pub fn sockets(&self) -> &[PathBuf] {
        &self.sockets
    }

    pub(crate) fn has_directory(&self, path: &[u8]) -> bool {
        self.present.contains(path) || self.above.contains(path)
    }

    pub(crate) fn has_file(&self, path: &[u8]) -> bool {
        self.present.contains(path)
    }

    pub(crate) fn removed_in(&self, directory: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.removed.get(directory).into_iter().flatten().map(Vec::as_slice)
    }
}

/// What a comparison does not tell.
#[derive(Default)]
struct Seen {
    /// Files with several names.
    names: HashMap<(u64, u64), Vec<Vec<u8>>>,
    sockets: Vec<Vec<u8>>,
}

impl Visitor for Seen {
    fn directory(&mut self, _: &[u8], _: BorrowedFd<'_>, _: &Stat) -> Result<bool> {
        Ok(true)
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
        if kind == FileType::Socket {
            self.sockets.push(path.to_vec());
            return Ok(());
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
        if stat.st_nlink > 1 {
            self.names.entry((stat.st_dev, stat.st_ino)).or_default().push(path.to_vec());
        }
        Ok(())
    }
}
