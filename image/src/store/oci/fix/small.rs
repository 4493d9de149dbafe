//! The small tree above a layer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat};
use rustix::io::Errno;

use super::{Info, failed};
use crate::error::{Error, Result};
use crate::layer::follow::resolve;
use crate::render::merge::{Found, like, link_as, look_up, open, open_parent};
use crate::tree::overlay;

/// What is in the small tree above the layer `own`.
pub(super) struct Small<'l> {
    /// The trees below the layer, the lowest first.
    below: &'l [Root],
    own: &'l Root,
    info: &'l Info,
    /// Directories of the layer that no entry describes.
    implied: HashSet<&'l Path>,
    /// Its directories, and what each is like.
    directories: BTreeMap<PathBuf, Like>,
    /// Links below in whose place the layer has a directory, the tree that each is in, and where it leads.
    links: BTreeMap<PathBuf, (usize, PathBuf)>,
    /// Where the layer has what is in such a directory, and where that is meant to be.
    moved: Vec<(PathBuf, PathBuf)>,
    /// Directories of the layer that are none, in whose place the tree of this number has something else.
    kept: BTreeMap<PathBuf, usize>,
    /// Those in whose place there is nothing.
    hidden: BTreeSet<PathBuf>,
    /// What has been found out of directories of the layer: whether there is nothing in them.
    idle: HashMap<PathBuf, bool>,
}

/// What a directory is like.
enum Like {
    /// That of the same path in a tree below.
    Below(usize),
    /// That of this path in the layer.
    Own(PathBuf),
    /// None.
    New,
}

impl<'l> Small<'l> {
    pub(super) fn of(below: &'l [Root], own: &'l Root, info: &'l Info) -> Result<Small<'l>> {
        let implied = info.implied.iter().map(PathBuf::as_path).collect();
        // Something will be in those.
        let filled = info.links.iter().flat_map(|(path, _)| path.ancestors().skip(1));
        let idle = filled.map(|path| (path.to_owned(), false)).collect();
        let (directories, links, moved, kept, hidden) = Default::default();
        let mut small = Small { below, own, info, implied, directories, links, moved, kept, hidden, idle };
        // Those above come first.
        for path in &info.implied {
            if path.ancestors().any(|path| {
                small.links.contains_key(path) || small.kept.contains_key(path) || small.hidden.contains(path)
            }) {
                continue;
            }
            match small.look(path)? {
                Found::In(_, stat) if is_directory(&stat) => small.add(path)?,
                Found::In(layer, stat) if is_link(&stat) => match small.follow(above(path), name(path))? {
                    Some(to) => small.put_back(path, layer, &to)?,
                    None => small.undo_if_idle(path, Some(layer))?,
                },
                Found::In(layer, _) => small.undo_if_idle(path, Some(layer))?,
                Found::Hidden | Found::Nowhere => small.undo_if_idle(path, None)?,
            }
        }
        for (path, _) in &info.links {
            let path = small.place_of(path);
            small.add(above(&path))?;
        }
        Ok(small)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    pub(super) fn build(&self, out: &Root) -> Result<()> {
        for path in self.directories.keys().filter(|path| !path.as_os_str().is_empty()) {
            let (above, name) = open_parent(out, path).map_err(failed(path))?;
            rustix::fs::mkdirat(&above, name, Mode::from(0o755)).map_err(failed(path))?;
        }
        for (from, to) in &self.moved {
            link_as(self.own, from, out, to)?;
        }
        let links = self.links.iter().map(|(path, (layer, _))| (path, layer));
        for (path, layer) in links.chain(&self.kept) {
            link_as(&self.below[*layer], path, out, path)?;
        }
        for path in &self.hidden {
            let (above, name) = open_parent(out, path).map_err(failed(path))?;
            rustix::fs::mknodat(&above, name, FileType::CharacterDevice, Mode::empty(), 0).map_err(failed(path))?;
        }
        for (path, target) in &self.info.links {
            self.link(path, target, out)?;
        }
        // Last, and the deepest first: making something in a directory changes its time.
        for (path, one) in self.directories.iter().rev() {
            let (from, there) = match one {
                Like::Below(layer) => (Some(&self.below[*layer]), path),
                Like::Own(there) => (Some(self.own), there),
                Like::New => (None, path),
            };
            like(from, there, out, path).map_err(failed(path))?;
        }
        Ok(())
    }

    fn look(&self, path: &Path) -> Result<Found> {
        look_up(self.below, path).map_err(failed(path))
    }

    fn directory_below(&self, path: &Path) -> Result<Option<usize>> {
        Ok(match self.look(path)? {
            Found::In(layer, stat) if is_directory(&stat) => Some(layer),
            _ => None,
        })
    }

    /// The directory of the trees below that `rest` leads to from the directory `dir`, to which no link leads, if it does.
    fn follow(&self, dir: &Path, rest: &Path) -> Result<Option<PathBuf>> {
        let target = |at: &[u8]| {
            let at = Path::new(OsStr::from_bytes(at));
            let Found::In(layer, stat) = self.look(at)? else { return Ok(None) };
            if !is_link(&stat) {
                return Ok(None);
            }
            let read = open_parent(&self.below[layer], at)
                .and_then(|(dir, name)| rustix::fs::readlinkat(dir, name, Vec::new()));
            Ok::<_, Error>(Some(read.map_err(failed(at))?.into_bytes()))
        };
        let (dir, rest) = (dir.as_os_str().as_bytes(), rest.as_os_str().as_bytes());
        let Some(end) = resolve(dir, rest, target)? else { return Ok(None) };
        let end = PathBuf::from(std::ffi::OsString::from_vec(end));
        Ok(self.directory_below(&end)?.map(|_| end))
    }

    /// Adds `path` and those on the way to it.
    fn add(&mut self, path: &Path) -> Result<()> {
        for path in path.ancestors() {
            if self.directories.contains_key(path) {
                break;
            }
            let one = self.like(path, path)?;
            self.directories.insert(path.to_owned(), one);
        }
        Ok(())
    }

    /// What the directory `path` is to be like, which the layer has as `own`, if at all.
    fn like(&self, path: &Path, own: &Path) -> Result<Like> {
        let has = open(self.own, own, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW).is_ok();
        let described = has && !self.implied.contains(own);
        Ok(match self.directory_below(path)? {
            Some(layer) if !described => Like::Below(layer),
            _ if has => Like::Own(own.to_owned()),
            _ => Like::New,
        })
    }

    /// Makes `path` the link again that the tree `layer` has there, and what the layer has in it a part of `to`, where that
    /// leads.
    fn put_back(&mut self, path: &Path, layer: usize, to: &Path) -> Result<()> {
        self.add(above(path))?;
        self.links.insert(path.to_owned(), (layer, to.to_owned()));
        self.move_all(path, to)
    }

    fn move_all(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.add(to)?;
        for (name, kind) in names(self.own, from)? {
            let from = from.join(&name);
            if kind != FileType::Directory {
                self.moved.push((from, to.join(&name)));
                continue;
            }
            // There may be another link.
            let to = self.follow(to, &name)?.unwrap_or_else(|| to.join(&name));
            let one = self.like(&to, &from)?;
            self.add(above(&to))?;
            self.directories.insert(to.clone(), one);
            self.move_all(&from, &to)?;
        }
        Ok(())
    }

    /// Has no directory `path` when nothing is in that of the layer but marks: below there is nothing that they could hide.
    /// What the tree `below` has there stays; else there is nothing.
    fn undo_if_idle(&mut self, path: &Path, below: Option<usize>) -> Result<()> {
        if self.is_idle(path)? {
            self.add(above(path))?;
            match below {
                Some(layer) => _ = self.kept.insert(path.to_owned(), layer),
                None => _ = self.hidden.insert(path.to_owned()),
            }
        }
        Ok(())
    }

    /// Whether there is nothing in the directory `path` of the layer but marks for removed files, and such directories.
    fn is_idle(&mut self, path: &Path) -> Result<bool> {
        if let Some(idle) = self.idle.get(path) {
            return Ok(*idle);
        }
        let mut idle = self.implied.contains(path);
        for (name, kind) in if idle { names(self.own, path)? } else { Vec::new() } {
            let path = path.join(name);
            idle = match kind {
                FileType::Directory => self.is_idle(&path)?,
                FileType::CharacterDevice => is_mark(self.own, &path).map_err(failed(&path))?,
                _ => false,
            };
            if !idle {
                break;
            }
        }
        self.idle.insert(path.to_owned(), idle);
        Ok(idle)
    }

    /// Where the file that the layer has at `path` is meant to be.
    fn place_of(&self, path: &Path) -> PathBuf {
        let moved = |above: &Path| {
            let (_, to) = self.links.get(above)?;
            Some(to.join(path.strip_prefix(above).ok()?))
        };
        path.ancestors().find_map(moved).unwrap_or_else(|| path.to_owned())
    }

    fn link(&self, path: &Path, target: &Path, out: &Root) -> Result<()> {
        let refuse = |rule: &str| Error::Archive {
            entry: crate::error::printable(path.as_os_str().as_encoded_bytes()),
            offset: 0,
            rule: rule.into(),
        };
        let (mut target, mut found) = (target.to_owned(), self.look(target)?);
        if !matches!(found, Found::In(..))
            && let Some(dir) = self.follow(Path::new(""), above(&target))?
        {
            target = dir.join(name(&target));
            found = self.look(&target)?;
        }
        match found {
            Found::In(_, stat) if is_directory(&stat) => Err(refuse("it is a hard link to a directory")),
            Found::In(layer, _) => link_as(&self.below[layer], &target, out, &self.place_of(path)),
            _ => Err(refuse("it is a hard link to something that is in no layer before it")),
        }
    }
}

/// The directory that `path` is in.
fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn name(path: &Path) -> &Path {
    path.file_name().map_or(Path::new(""), Path::new)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

/// What is in the directory `path` of a tree.
fn names(tree: &Root, path: &Path) -> Result<Vec<(PathBuf, FileType)>> {
    let list = || -> std::result::Result<Vec<(PathBuf, FileType)>, Errno> {
        let dir = open(tree, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let stat = rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                names.push((OsStr::from_bytes(name).into(), FileType::from_raw_mode(stat.st_mode)));
            }
        }
        Ok(names)
    };
    list().map_err(failed(path))
}

fn is_mark(tree: &Root, path: &Path) -> std::result::Result<bool, Errno> {
    let file = open(tree, path, OFlags::PATH | OFlags::NOFOLLOW)?;
    Ok(overlay::is_whiteout_file(&rustix::fs::fstat(&file)?))
}
