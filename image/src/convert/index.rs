//! What is left of a stack of layers: which entry of which layer each path is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::ops::Bound;

use crate::Result;
pub(super) use crate::tree::walk::split;

use crate::archive::entry::{Attributes, Entry, Type, cleaned};
use crate::archive::reader::{Dialect, relative};
use crate::layer::follow::{MOST, resolve};

/// An entry: its layer and its place in it, both from 0.
pub(super) type Id = (u32, u32);

/// What is at a path.
enum Node {
    /// A directory. Its attributes are kept, because directories are written before everything else.
    Directory { layer: u32, attributes: Attributes },
    /// A symbolic link, and what it holds.
    Link(Id, Box<[u8]>),
    /// Anything else; several of one entry are hard links to each other.
    Other(Id),
}

impl Node {
    fn layer(&self) -> u32 {
        match self {
            Node::Directory { layer, .. } | Node::Link((layer, _), _) | Node::Other((layer, _)) => *layer,
        }
    }
}

/// The files of the layers read so far.
#[derive(Default)]
pub(super) struct Index {
    /// By path without slashes at either end; the top itself is the empty path.
    nodes: BTreeMap<Vec<u8>, Node>,
    /// What the layer that is being read has hidden.
    hidden: (u32, HashSet<(Vec<u8>, bool)>),
}

/// What an entry of a layer says.
enum Says<'p> {
    /// There is such a file.
    File,
    /// The file of this path in the layers below is gone.
    Gone(Vec<u8>),
    /// What the layers below have in this directory is gone.
    Opaque(&'p [u8]),
    /// Nothing to us: notes that a storage driver made for itself.
    Nothing,
}

fn says<'p>(entry: &Entry, path: &'p [u8]) -> Result<Says<'p>> {
    let (parent, name) = split(path);
    if parent.split(|b| *b == b'/').any(|name| name.starts_with(b".wh.")) {
        // Storage drivers keep notes in directories of such names.
        let notes = parent.split(|b| *b == b'/').any(|name| name.starts_with(b".wh..wh."));
        return if notes { Ok(Says::Nothing) } else { Err(entry.refuse("it lies in something that is deleted")) };
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(Says::File),
        Some(b".wh..opq") => Ok(Says::Opaque(parent)),
        Some(rest) if rest.starts_with(b".wh.") => Ok(Says::Nothing),
        Some(b"" | b"." | b"..") => Err(entry.refuse("it deletes nothing that can be")),
        Some(rest) => Ok(Says::Gone(join(parent, rest))),
    }
}

/// The directories above a path, the highest first.
pub(super) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    std::iter::once(0).chain(ends).map(|end| &path[..end]).filter(move |parent| parent != &path)
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

impl Index {
    /// Takes the next entry of the layer `id.0`.
    pub(super) fn add(&mut self, entry: &Entry, id: Id) -> Result<()> {
        let layer = id.0;
        let path = &*self.followed(&entry.path, layer);
        match says(entry, path)? {
            Says::Nothing => {}
            // Below a file or a link of this layer there is nothing any more; umoci marks what was in a directory that has
            // become one.
            Says::Gone(hidden) => self.hide_once(&hidden, layer, true),
            Says::Opaque(hidden) => self.hide_once(hidden, layer, false),
            Says::File => {
                self.make_parents(entry, path, layer)?;
                let node = self.node(entry, id)?;
                match (&node, self.nodes.get(path)) {
                    // What is in it stays.
                    (Node::Directory { .. }, None | Some(Node::Directory { .. })) => {}
                    (_, Some(Node::Directory { layer: at, .. })) if *at == layer && !path.is_empty() => {
                        return Err(entry.refuse("it replaces a directory of the same layer"));
                    }
                    // Nothing can lie below what is no directory.
                    (_, Some(Node::Directory { .. })) => {
                        self.hide(path, layer, true);
                        if self.nodes.contains_key(path) {
                            return Err(entry.refuse("it replaces a directory of the same layer"));
                        }
                    }
                    _ => {}
                }
                self.nodes.insert(path.to_vec(), node);
            }
        }
        Ok(())
    }

    fn node(&self, entry: &Entry, id: Id) -> Result<Node> {
        match entry.kind {
            Type::Directory => Ok(Node::Directory { layer: id.0, attributes: entry.attributes.clone() }),
            _ if entry.path.is_empty() => Err(entry.refuse("the top of a file system must be a directory")),
            Type::HardLink => {
                let target = cleaned(relative(Dialect::Layer, &entry.link));
                let target = target.map_err(|rule| entry.refuse(format!("as a hard link's target, {rule}")))?;
                match self.nodes.get(&self.followed(&target, id.0)) {
                    Some(Node::Other(first)) => Ok(Node::Other(*first)),
                    Some(Node::Link(first, target)) => Ok(Node::Link(*first, target.clone())),
                    Some(Node::Directory { .. }) => Err(entry.refuse("it is a hard link to a directory")),
                    None => Err(entry.refuse("it is a hard link to a file that does not exist")),
                }
            }
            Type::Symlink => Ok(Node::Link(id, entry.link.as_slice().into())),
            _ => Ok(Node::Other(id)),
        }
    }

    /// The path with the links of layers below `layer` followed that are in the place of its directories and lead to one.
    fn followed(&self, path: &[u8], layer: u32) -> Vec<u8> {
        let link = |at: &[u8]| match self.nodes.get(at) {
            Some(Node::Link((below, _), target)) if *below < layer => Some(target.to_vec()),
            _ => None,
        };
        let (parent, name) = split(path);
        let (mut dir, mut followed) = (Vec::new(), 0);
        for part in parent.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let at = join(&dir, part);
            let mut there = None;
            if followed < MOST && link(&at).is_some() {
                followed += 1;
                there = resolve(&dir, part, |at| Ok::<_, Infallible>(link(at))).unwrap_or_default();
            }
            let there = there.filter(|there| matches!(self.nodes.get(there), Some(Node::Directory { .. })));
            dir = there.unwrap_or(at);
        }
        join(&dir, name)
    }

    /// Makes the directories above `path` that no entry has made. What lies in their way in a layer below is replaced;
    /// in the same layer it would be followed by some readers and not by others.
    fn make_parents(&mut self, entry: &Entry, path: &[u8], layer: u32) -> Result<()> {
        for parent in parents(path) {
            match self.nodes.get(parent) {
                Some(Node::Directory { .. }) => continue,
                Some(Node::Link((at, _), _) | Node::Other((at, _))) if *at == layer => {
                    return Err(entry.refuse("something on the way to it is no directory"));
                }
                Some(_) | None => {}
            }
            let attributes = Attributes { mode: 0o755, ..Attributes::default() };
            self.nodes.insert(parent.to_vec(), Node::Directory { layer, attributes });
        }
        Ok(())
    }

    /// As [`Index::hide`]. A second time there is nothing more to hide, but, with enough files, much to look at.
    fn hide_once(&mut self, path: &[u8], layer: u32, itself: bool) {
        if self.hidden.0 != layer {
            self.hidden = (layer, HashSet::new());
        }
        if self.hidden.1.insert((path.to_vec(), itself)) {
            self.hide(path, layer, itself);
        }
    }

    /// Removes what layers below `layer` have at `path`, or only below it.
    fn hide(&mut self, path: &[u8], layer: u32, itself: bool) {
        let from = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let below = || {
            let all = self.nodes.range((Bound::Included(from.clone()), Bound::Unbounded));
            all.take_while(|(at, _)| at.starts_with(&from)).filter(|(at, _)| !at.is_empty())
        };
        // What this layer has put there stays, and so do the directories that lead to it.
        let mut kept: HashSet<&[u8]> = HashSet::new();
        for (at, _) in below().filter(|(_, node)| node.layer() == layer) {
            kept.extend(at.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(end, _)| &at[..end]));
        }
        let gone = below().filter(|(at, node)| node.layer() < layer && !kept.contains(at.as_slice()));
        let gone: Vec<Vec<u8>> = gone.map(|(at, _)| at.clone()).collect();
        let leads_on = kept.contains(path);
        for at in gone {
            self.nodes.remove(&at);
        }
        if itself && !leads_on && self.nodes.get(path).is_some_and(|node| node.layer() < layer) {
            self.nodes.remove(path);
        }
    }

    /// Whether there is something at `path`.
    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.nodes.contains_key(path)
    }

    /// All paths but the top, each directory before what is in it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.nodes.keys().map(Vec::as_slice).filter(|path| !path.is_empty())
    }

    /// The directories, each before what is in it.
    pub(super) fn directories(&self) -> impl Iterator<Item = (&[u8], &Attributes)> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::Directory { attributes, .. } => Some((path.as_slice(), attributes)),
            Node::Link(..) | Node::Other(_) => None,
        })
    }

    /// The paths of everything else, by entry.
    pub(super) fn files(&self) -> HashMap<Id, Vec<&[u8]>> {
        let mut files: HashMap<Id, Vec<&[u8]>> = HashMap::new();
        for (path, node) in &self.nodes {
            if let Node::Link(id, _) | Node::Other(id) = node {
                files.entry(*id).or_default().push(path);
            }
        }
        files
    }
}
