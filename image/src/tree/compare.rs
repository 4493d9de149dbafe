//! Two root file systems side by side, each a stack of trees: what one has that the other has not, and what is different.
//!
//! Nothing is held open from one directory to the next and nothing is remembered of files, so that depth and number cost
//! nothing.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use serde::Serialize;

use super::apply::{xattrs, xattrs_at};
use super::part::Part;
use super::walk::{failed, shown};
use super::{device, overlay};
use crate::Result;

/// A path that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Absolute below the root.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// How it differs.
    pub change: Change,
}

/// JSON has no bytes.
fn as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it, with another type, content, target, device, mode, owner, time, other attributes or other hard links.
    Changed(Vec<&'static str>),
}

/// What counts as different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// What programs see, times aside.
    Seen,
    /// The same, and the times of files that are no directories.
    Times,
    /// Whatever a layer over the first stack has to hold to make it the second.
    Layer,
    /// Everything in two single trees: times, which names are one file, and what acts in overlay mounts.
    Exact,
}

/// The directories that are one directory of a stack, the topmost first: numbers of the layers.
type Layers = Vec<usize>;

/// What a name in a directory is.
struct Name {
    kind: FileType,
    /// Of a directory, all that are merged; else the one that has it.
    layers: Layers,
}

/// Compares two stacks of trees, the lowest first in each; what differs comes in the order of the paths.
///
/// # Errors
/// When something cannot be read.
pub fn compare(a: &[Root], b: &[Root], rules: Rules) -> Result<Vec<Difference>> {
    compare_in(a, b, rules, None)
}

/// The same for a part of them.
pub(crate) fn compare_part(a: &[Root], b: &[Root], rules: Rules, part: &Part) -> Result<Vec<Difference>> {
    compare_in(a, b, rules, Some(part))
}

fn compare_in(a: &[Root], b: &[Root], rules: Rules, part: Option<&Part>) -> Result<Vec<Difference>> {
    let (links, back, found) = Default::default();
    let mut comparison = Comparison { a, b, rules, part, links, back, found };
    let all = |stack: &[Root]| (0..stack.len()).rev().collect::<Layers>();
    comparison.attributes_of_directory(b"", &all(a), &all(b))?;
    let mut pending = vec![(Vec::new(), all(a), all(b))];
    while let Some((path, a, b)) = pending.pop() {
        let below = comparison.directory(&path, &a, &b)?;
        pending.extend(below.into_iter().rev());
    }
    // A directory's contents come after what stands beside it.
    comparison.found.sort_by(|x, y| x.path.cmp(&y.path));
    Ok(comparison.found)
}

/// Every path of a stack of trees, the lowest first, and whether it is a directory.
pub(crate) fn paths(stack: &[Root]) -> Result<BTreeMap<PathBuf, bool>> {
    let mut found = BTreeMap::new();
    let mut pending: Vec<(Vec<u8>, Layers)> = vec![(Vec::new(), (0..stack.len()).rev().collect())];
    while let Some((path, layers)) = pending.pop() {
        let dirs = open_all(stack, &path, &layers, false)?;
        for (name, entry) in list(&dirs, &path, false)? {
            let full = join(&path, &name);
            let directory = entry.kind == FileType::Directory;
            found.insert(shown(&full), directory);
            if directory {
                pending.push((full, entry.layers));
            }
        }
    }
    Ok(found)
}

struct Comparison<'r> {
    a: &'r [Root],
    b: &'r [Root],
    rules: Rules,
    /// Where to look, if not everywhere.
    part: Option<&'r Part>,
    /// Files with several names: which of the second is which of the first, and back.
    links: HashMap<Id, Id>,
    back: HashMap<Id, Id>,
    found: Vec<Difference>,
}

type Id = (u64, u64);

/// Directories that are still to be looked into.
type Pending = Vec<(Vec<u8>, Layers, Layers)>;

impl Comparison<'_> {
    fn note(&mut self, path: &[u8], change: Change) {
        self.found.push(Difference { path: shown(path), change });
    }

    fn directory(&mut self, path: &[u8], in_a: &Layers, in_b: &Layers) -> Result<Pending> {
        let raw = self.rules == Rules::Exact;
        let (dirs_a, dirs_b) = (open_all(self.a, path, in_a, raw)?, open_all(self.b, path, in_b, raw)?);
        if !dirs_a.is_empty() && ids(&dirs_a, path)? == ids(&dirs_b, path)? {
            return Ok(Pending::new());
        }
        let (mut names_a, mut names_b) = (list(&dirs_a, path, raw)?, list(&dirs_b, path, raw)?);
        if let Some(part) = self.part {
            [&mut names_a, &mut names_b]
                .into_iter()
                .for_each(|names| names.retain(|name, _| part.meets(&join(path, name))));
        }
        let mut pending = Pending::new();
        for (name, b) in names_b {
            let full = join(path, &name);
            match names_a.remove(&name) {
                Some(a) => self.both(&full, &name, (&dirs_a, a), (&dirs_b, b), &mut pending)?,
                None => self.one(full, b, false, &mut pending),
            }
        }
        for (name, a) in names_a {
            self.one(join(path, &name), a, true, &mut pending);
        }
        Ok(pending)
    }

    fn one(&mut self, path: Vec<u8>, name: Name, removed: bool, pending: &mut Pending) {
        self.note(&path, if removed { Change::Removed } else { Change::Added });
        if name.kind == FileType::Directory {
            let (a, b) = if removed { (name.layers, Layers::new()) } else { (Layers::new(), name.layers) };
            pending.push((path, a, b));
        }
    }

    fn both(
        &mut self,
        path: &[u8],
        name: &[u8],
        a: (&Dirs, Name),
        b: (&Dirs, Name),
        pending: &mut Pending,
    ) -> Result<()> {
        let ((dirs_a, a), (dirs_b, b)) = (a, b);
        match (a.kind == FileType::Directory, b.kind == FileType::Directory) {
            (true, true) => {
                self.attributes_of_directory(path, &a.layers, &b.layers)?;
                pending.push((path.to_vec(), a.layers, b.layers));
                return Ok(());
            }
            (false, false) => {}
            (directory, _) => {
                self.note(path, Change::Changed(vec!["type"]));
                let (a, b) = if directory { (a.layers, Layers::new()) } else { (Layers::new(), b.layers) };
                pending.push((path.to_vec(), a, b));
                return Ok(());
            }
        }
        let (Some(dir_a), Some(dir_b)) = (find(dirs_a, &a), find(dirs_b, &b)) else { return Ok(()) };
        let stat = |dir: &OwnedFd| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let (stat_a, stat_b) =
            (stat(dir_a).map_err(failed("look at", path))?, stat(dir_b).map_err(failed("look at", path))?);
        let mut differs = Vec::new();
        if id(&stat_a) != id(&stat_b) {
            self.files(path, name, (dir_a, &stat_a), (dir_b, &stat_b), &mut differs)?;
        }
        if matches!(self.rules, Rules::Layer | Rules::Exact) && !self.same_links(&stat_a, &stat_b) {
            differs.push("hard links");
        }
        if !differs.is_empty() {
            self.note(path, Change::Changed(differs));
        }
        Ok(())
    }

    fn files(
        &self,
        path: &[u8],
        name: &[u8],
        (dir_a, a): (&OwnedFd, &Stat),
        (dir_b, b): (&OwnedFd, &Stat),
        differs: &mut Vec<&'static str>,
    ) -> Result<()> {
        let of = |dir: &OwnedFd| xattrs_at(dir.as_fd(), name).map_err(failed("read the attributes of", path));
        let (mut xattrs_a, mut xattrs_b) = (of(dir_a)?, of(dir_b)?);
        let kind = FileType::from_raw_mode(a.st_mode);
        // An ordinary user's files stand for devices.
        let device_a = device::take(&mut xattrs_a, a.st_size as u64);
        let device_b = device::take(&mut xattrs_b, b.st_size as u64);
        if kind != FileType::from_raw_mode(b.st_mode) || device_a.is_some() != device_b.is_some() {
            differs.push("type");
            return Ok(());
        }
        match kind {
            _ if device_a != device_b => differs.push("device"),
            FileType::RegularFile => {
                let same = a.st_size == b.st_size
                    && same_content((dir_a, name), (dir_b, name)).map_err(failed("read", path))?;
                differs.extend((!same).then_some("content"));
            }
            FileType::Symlink => {
                let target = |dir| rustix::fs::readlinkat(dir, name, Vec::new()).map_err(failed("read", path));
                differs.extend((target(dir_a)? != target(dir_b)?).then_some("target"));
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                differs.extend((a.st_rdev != b.st_rdev).then_some("device"));
            }
            _ => {}
        }
        self.attributes(a, b, differs);
        differs.extend((self.counted(xattrs_a) != self.counted(xattrs_b)).then_some("attributes"));
        Ok(())
    }

    fn attributes_of_directory(&mut self, path: &[u8], a: &Layers, b: &Layers) -> Result<()> {
        let (Some(a), Some(b)) = (a.first(), b.first()) else { return Ok(()) };
        let (a, b) = (open(&self.a[*a], path)?, open(&self.b[*b], path)?);
        let stat = |dir| rustix::fs::fstat(dir).map_err(failed("look at", path));
        let mut differs = Vec::new();
        self.attributes(&stat(&a)?, &stat(&b)?, &mut differs);
        let of = |dir: &OwnedFd| xattrs(dir.as_fd()).map_err(failed("read the attributes of", path));
        differs.extend((self.counted(of(&a)?) != self.counted(of(&b)?)).then_some("attributes"));
        if !differs.is_empty() {
            self.note(path, Change::Changed(differs));
        }
        Ok(())
    }

    fn attributes(&self, a: &Stat, b: &Stat, differs: &mut Vec<&'static str>) {
        let directory = FileType::from_raw_mode(a.st_mode) == FileType::Directory;
        let times = match self.rules {
            Rules::Seen => false,
            Rules::Times => !directory,
            Rules::Layer => true,
            // A whiteout is as old as its extraction.
            Rules::Exact => !overlay::is_whiteout_file(a),
        };
        differs.extend((a.st_mode != b.st_mode).then_some("mode"));
        differs.extend(((a.st_uid, a.st_gid) != (b.st_uid, b.st_gid)).then_some("owner"));
        differs.extend((times && (a.st_mtime, a.st_mtime_nsec) != (b.st_mtime, b.st_mtime_nsec)).then_some("time"));
    }

    /// The attributes that count.
    fn counted(&self, mut xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
        if self.rules != Rules::Exact {
            xattrs.retain(|(name, _)| !overlay::is_attribute(name));
        }
        xattrs
    }

    /// Whether the names that have led to the first file so far are those that have led to the second. What is shared with other
    /// images has more names than these.
    fn same_links(&mut self, a: &Stat, b: &Stat) -> bool {
        if a.st_nlink == 1 && b.st_nlink == 1 {
            return true;
        }
        let (a, b) = (id(a), id(b));
        let there = *self.links.entry(a).or_insert(b);
        let back = *self.back.entry(b).or_insert(a);
        (there, back) == (b, a)
    }
}

/// Open directories, with the numbers of their layers, the topmost first.
type Dirs = Vec<(usize, OwnedFd)>;

fn find<'d>(dirs: &'d Dirs, name: &Name) -> Option<&'d OwnedFd> {
    dirs.iter().find(|(layer, _)| name.layers.first() == Some(layer)).map(|(_, dir)| dir)
}

fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

fn ids(dirs: &Dirs, path: &[u8]) -> Result<Vec<Id>> {
    dirs.iter().map(|(_, dir)| Ok(id(&rustix::fs::fstat(dir).map_err(failed("look at", path))?))).collect()
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// Opens a directory of a stack, down to the one that hides those below it.
fn open_all(stack: &[Root], path: &[u8], layers: &Layers, raw: bool) -> Result<Dirs> {
    let mut dirs = Dirs::new();
    for layer in layers {
        let dir = open(&stack[*layer], path)?;
        let last = !raw && overlay::is_opaque(dir.as_fd()).map_err(failed("look at", path))?;
        dirs.push((*layer, dir));
        if last {
            break;
        }
    }
    Ok(dirs)
}

/// The names in a directory of a stack.
fn list(dirs: &Dirs, path: &[u8], raw: bool) -> Result<BTreeMap<Vec<u8>, Name>> {
    /// So far: what it is, and whether those below are merged into it.
    struct Found(Option<Name>, bool);
    let mut names: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    for (layer, dir) in dirs {
        for entry in Dir::read_from(dir).map_err(failed("list", path))? {
            let entry = entry.map_err(failed("list", path))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || matches!(names.get(name), Some(Found(_, false))) {
                continue;
            }
            let (kind, whiteout) = look(dir, name, entry.file_type()).map_err(failed("look at", path))?;
            let directory = kind == FileType::Directory;
            match names.get_mut(name) {
                Some(Found(Some(found), _)) if directory => found.layers.push(*layer),
                Some(found) => found.1 = false,
                None => {
                    let found = (raw || !whiteout).then(|| Name { kind, layers: vec![*layer] });
                    names.insert(name.to_vec(), Found(found, directory));
                }
            }
        }
    }
    Ok(names.into_iter().filter_map(|(name, Found(found, _))| Some((name, found?))).collect())
}

/// What a name is, and whether it is a whiteout.
fn look(dir: &OwnedFd, name: &[u8], listed: FileType) -> Result<(FileType, bool), Errno> {
    if !matches!(listed, FileType::Unknown | FileType::CharacterDevice) {
        return Ok((listed, false));
    }
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((FileType::from_raw_mode(stat.st_mode), overlay::is_whiteout_file(&stat)))
}

/// Opens the directory `path` of a tree without following any link.
fn open(root: &Root, path: &[u8]) -> Result<OwnedFd> {
    /// The kernel takes 4096 bytes at once.
    const PIECE: usize = 3000;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let step = |at: &dyn AsFd, piece: &[u8]| loop {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let piece = if piece.is_empty() { b"." } else { piece };
        match rustix::fs::openat2(at.as_fd(), piece, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => continue,
            done => return done.map_err(failed("open", path)),
        }
    };
    let (mut at, mut rest): (Option<OwnedFd>, &[u8]) = (None, path);
    while rest.len() > PIECE {
        let Some(slash) = rest[..PIECE].iter().rposition(|byte| *byte == b'/') else { break };
        at = Some(at.as_ref().map_or_else(|| step(root, &rest[..slash]), |at| step(at, &rest[..slash]))?);
        rest = &rest[slash + 1..];
    }
    at.as_ref().map_or_else(|| step(root, rest), |at| step(at, rest))
}

/// Whether two regular files of the same size, each in a directory and with a name there, hold the same.
pub(crate) fn same_content(a: (&OwnedFd, &[u8]), b: (&OwnedFd, &[u8])) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |(dir, name): (&OwnedFd, &[u8])| {
        let file = rustix::fs::openat(dir, Path::new(OsStr::from_bytes(name)), flags, Mode::empty());
        file.map(File::from)
    };
    same_bytes(&mut open(a)?, &mut open(b)?).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

fn same_bytes(a: &mut File, b: &mut File) -> std::io::Result<bool> {
    const BLOCK: usize = 64 * 1024;
    let (mut of_a, mut of_b) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let len = a.read(&mut of_a)?;
        if len == 0 {
            return Ok(b.read(&mut of_b[..1])? == 0);
        }
        match b.read_exact(&mut of_b[..len]) {
            Ok(()) if of_a[..len] == of_b[..len] => {}
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}
