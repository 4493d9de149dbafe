//! The directories of a tree in the making: which there are, their handles, and what they are to become.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::archive::entry::Attributes;

/// The directory that the tree is made in.
pub(super) const TOP: u32 = 0;

/// At most so many directories are held open: far below any limit on descriptors.
const MAX_OPEN: usize = 96;

/// So many levels are all held open: more than any ordinary tree has. Below those only one in [`STEP`] is.
const DENSE: u32 = 32;

/// From one directory to the next that is held open, in levels: as far as a deep tree makes us go for each entry.
const STEP: u32 = 64;

struct Node {
    parent: u32,
    depth: u32,
    name: Box<[u8]>,
    become_: Fate,
    /// Hides what is in it in the layers below.
    opaque: bool,
}

/// What is to be done with a directory at the end.
enum Fate {
    /// It was there before, and nothing has described it.
    Keep,
    /// Made on the way to something, and nothing has described it.
    Implied,
    Described(Box<Attributes>),
}

pub(super) struct Dirs {
    nodes: Vec<Node>,
    /// By parent and name.
    index: HashMap<Box<[u8]>, u32>,
    /// The top, and directories on the way to the last one, ever deeper.
    open: Vec<Open>,
    key: Vec<u8>,
}

struct Open {
    node: u32,
    depth: u32,
    fd: OwnedFd,
}

impl Dirs {
    pub(super) fn new(top: OwnedFd) -> Dirs {
        let root = Node { parent: TOP, depth: 0, name: Box::default(), become_: Fate::Implied, opaque: false };
        Dirs {
            nodes: vec![root],
            index: HashMap::new(),
            open: vec![Open { node: TOP, depth: 0, fd: top }],
            key: Vec::new(),
        }
    }

    pub(super) fn child(&mut self, parent: u32, name: &[u8]) -> Option<u32> {
        self.key.clear();
        self.key.extend_from_slice(&parent.to_ne_bytes());
        self.key.extend_from_slice(name);
        self.index.get(self.key.as_slice()).copied()
    }

    /// The directory `path`, when it is one of ours.
    pub(super) fn find(&mut self, path: &[u8]) -> Option<u32> {
        if path.is_empty() {
            return Some(TOP);
        }
        path.split(|b| *b == b'/').try_fold(TOP, |node, name| self.child(node, name))
    }

    pub(super) fn add(&mut self, parent: u32, name: &[u8], keep: bool) -> u32 {
        let node = self.nodes.len() as u32;
        let depth = self.nodes[parent as usize].depth + 1;
        let become_ = if keep { Fate::Keep } else { Fate::Implied };
        self.nodes.push(Node { parent, depth, name: name.into(), become_, opaque: false });
        let key = [&parent.to_ne_bytes(), name].concat();
        self.index.insert(key.into(), node);
        node
    }

    /// Describes a directory, and tells whether this was the first time.
    pub(super) fn set_attributes(&mut self, node: u32, attributes: Attributes) -> bool {
        let fate = &mut self.nodes[node as usize].become_;
        !matches!(std::mem::replace(fate, Fate::Described(Box::new(attributes))), Fate::Described(_))
    }

    pub(super) fn set_opaque(&mut self, node: u32) {
        self.nodes[node as usize].opaque = true;
    }

    pub(super) fn is_opaque(&self, node: u32) -> bool {
        self.nodes[node as usize].opaque
    }

    /// The paths of the directories that nothing has described, the top and those aside that hide what is below; none
    /// when they are longer than `most` bytes together.
    pub(super) fn implied(&self, most: usize) -> Option<Vec<Vec<u8>>> {
        let (mut paths, mut len) = (Vec::new(), 0);
        // Parents come before their children.
        let mut hidden = Vec::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            let above = at != TOP as usize && hidden[node.parent as usize];
            hidden.push(above || node.opaque);
            if at != TOP as usize && !hidden[at] && matches!(node.become_, Fate::Implied) {
                let path = self.path(at as u32);
                len += path.len();
                if len > most {
                    return None;
                }
                paths.push(path);
            }
        }
        Some(paths)
    }

    pub(super) fn keep(&mut self, node: u32) {
        self.nodes[node as usize].become_ = Fate::Keep;
    }

    /// Takes the attributes that are still to be set, children before parents: for an ordinary user the parent may
    /// close the way to the child.
    pub(super) fn pop_attributes(&mut self) -> Option<(u32, Attributes)> {
        loop {
            let node = self.unfinished()?;
            match std::mem::replace(&mut self.nodes[node as usize].become_, Fate::Keep) {
                Fate::Keep => {}
                Fate::Implied => return Some((node, Attributes { mode: 0o755, ..Attributes::default() })),
                Fate::Described(attributes) => return Some((node, *attributes)),
            }
        }
    }

    /// Children are always younger than their parents. Finished names stay, as their parents' handles need them.
    fn unfinished(&mut self) -> Option<u32> {
        while let Some(last) = self.nodes.last() {
            if matches!(last.become_, Fate::Keep) {
                self.nodes.pop();
            } else {
                return Some(self.nodes.len() as u32 - 1);
            }
        }
        None
    }

    pub(super) fn path(&self, node: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = node;
        while at != TOP {
            names.push(&*self.nodes[at as usize].name);
            at = self.nodes[at as usize].parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// A handle on the directory.
    pub(super) fn fd(&mut self, node: u32) -> Result<BorrowedFd<'_>, Errno> {
        let mut missing = Vec::new();
        let mut at = node;
        let mut place = loop {
            let depth = self.nodes[at as usize].depth;
            // The top is always open.
            match self.open.binary_search_by_key(&depth, |open| open.depth) {
                Ok(place) if self.open[place].node == at => break place,
                _ => missing.push(at),
            }
            at = self.nodes[at as usize].parent;
        };
        if !missing.is_empty() {
            self.open.truncate(place + 1);
            for node in missing.into_iter().rev() {
                self.descend(node)?;
            }
            place = self.open.len() - 1;
        }
        Ok(self.open[place].fd.as_fd())
    }

    /// Opens a child of the deepest directory that is open.
    fn descend(&mut self, node: u32) -> Result<(), Errno> {
        let Node { name, depth, .. } = &self.nodes[node as usize];
        let last = self.open.len() - 1;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.open[last].fd, &**name, flags, Mode::empty())?;
        let above = self.open[last].depth;
        let open = Open { node, depth: *depth, fd };
        if above < DENSE || above.is_multiple_of(STEP) && self.open.len() < MAX_OPEN {
            self.open.push(open);
        } else {
            self.open[last] = open;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_directories_are_reached_with_few_handles() {
        let top = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(top.path()).unwrap();
        let mut dirs = Dirs::new(fd.into());
        let mut nodes = vec![TOP];
        let mode = Mode::from(0o755);
        for _ in 0..1000 {
            let parent = nodes[nodes.len() - 1];
            rustix::fs::mkdirat(dirs.fd(parent).unwrap(), "d", mode).unwrap();
            nodes.push(dirs.add(parent, b"d", false));
        }
        let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
        let there: Vec<u64> = nodes.iter().map(|node| inode(dirs.fd(*node).unwrap())).collect();
        // Up again, and to and fro.
        let order = (0..nodes.len()).rev().chain((0..200).map(|i| i * 389 % nodes.len()));
        for at in order {
            assert_eq!(inode(dirs.fd(nodes[at]).unwrap()), there[at], "level {at}");
            assert!(dirs.open.len() <= MAX_OPEN);
        }
    }
}
