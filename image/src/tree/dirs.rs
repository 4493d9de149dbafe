//! The directories of a tree in the making: which there are, their handles, and what they are to become.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::archive::entry::Attributes;

/// The directory that the tree is made in.
pub(super) const TOP: u32 = 0;

/// At most so many levels are held open: far below any limit on descriptors, deeper than any ordinary tree.
const MAX_OPEN: usize = 64;

struct Node {
    parent: u32,
    depth: u32,
    name: Box<[u8]>,
    become_: Fate,
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
    /// Handles of the top, of one directory in it, of one in that, and so on.
    open: Vec<(u32, OwnedFd)>,
    /// The handle of one directory deeper than that.
    deep: Option<(u32, OwnedFd)>,
    key: Vec<u8>,
}

impl Dirs {
    pub(super) fn new(top: OwnedFd) -> Dirs {
        let root = Node { parent: TOP, depth: 0, name: Box::default(), become_: Fate::Implied };
        Dirs { nodes: vec![root], index: HashMap::new(), open: vec![(TOP, top)], deep: None, key: Vec::new() }
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
        self.nodes.push(Node { parent, depth, name: name.into(), become_ });
        let key = [&parent.to_ne_bytes(), name].concat();
        self.index.insert(key.into(), node);
        node
    }

    /// Describes a directory, and tells whether this was the first time.
    pub(super) fn set_attributes(&mut self, node: u32, attributes: Attributes) -> bool {
        let fate = &mut self.nodes[node as usize].become_;
        !matches!(std::mem::replace(fate, Fate::Described(Box::new(attributes))), Fate::Described(_))
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
        let depth = loop {
            let depth = self.nodes[at as usize].depth as usize;
            if self.open.get(depth).is_some_and(|(open, _)| *open == at) {
                break depth;
            }
            missing.push(at);
            at = self.nodes[at as usize].parent;
        };
        if self.deep.as_ref().is_none_or(|(deep, _)| missing.is_empty() || *deep != node) {
            self.deep = None;
            if !missing.is_empty() {
                self.open.truncate(depth + 1);
            }
            for node in missing.into_iter().rev() {
                self.descend(node)?;
            }
        }
        // The top is always open.
        let last = match &self.deep {
            Some((_, fd)) => fd.as_fd(),
            None => self.open[self.nodes[node as usize].depth as usize].1.as_fd(),
        };
        Ok(last)
    }

    /// Opens a child of the deepest directory that is open.
    fn descend(&mut self, node: u32) -> Result<(), Errno> {
        let above = match &self.deep {
            Some((_, fd)) => fd.as_fd(),
            None => self.open[self.open.len() - 1].1.as_fd(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(above, &*self.nodes[node as usize].name, flags, Mode::empty())?;
        if self.deep.is_none() && self.open.len() < MAX_OPEN {
            self.open.push((node, fd));
        } else {
            self.deep = Some((node, fd));
        }
        Ok(())
    }
}
