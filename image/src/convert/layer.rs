//! An image archive made a layer, and made of that layer again.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::Options;
use super::in_the_way::InTheWay;
use super::record::{self, Recorder, Replay};
use crate::archive::decode::{How, Stream};
use crate::archive::entry::{Attributes, Entry, Segment, Type, cleaned};
use crate::archive::reader::{Dialect, Reader, Source};
use crate::archive::stream::{TarWriter, padding};
use crate::archive::{Finished, Kind, Omission, Record, Seen};
use crate::error::printable;
use crate::extract::{MANIFEST_MAX, Place, place, take_acting};
use crate::oci::{Algorithm, Digest};
use crate::tree::overlay;
use crate::{Error, Progress, Quiet, Result};

/// A layer that was made of an image archive.
pub(super) struct Made {
    /// What is in the file.
    pub(super) layer: Finished,
    /// The archive's manifest, verbatim.
    pub(super) manifest: Vec<u8>,
    /// The archive's SHA-512, which is the image's ID.
    pub(super) archive: Digest,
    /// How to make the archive again.
    pub(super) record: Option<String>,
    /// What would have hidden files of the layers below.
    pub(super) omitted: Vec<Omission>,
}

/// Writes the files of the image archive `source` as a layer to `out`, in the order of the archive, to lie on layers in
/// which things are `in_the_way`.
pub(super) fn from_archive(
    source: impl Read + Send,
    out: File,
    in_the_way: &mut InTheWay,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Made> {
    std::thread::scope(|scope| {
        let between = Rc::new(RefCell::new(Between { bytes: Vec::new(), keeping: true }));
        let how = How { algorithm: Algorithm::Sha512, dialect: Dialect::Image, limit: options.limit };
        let stream = Stream::start(scope, source, None, how, progress)?;
        let mut reader = Reader::new(Tap { source: stream, between: between.clone() });
        let writer = TarWriter::start(scope, out, &options.write, (Algorithm::Sha256, true), &Quiet)?;
        let mut conversion = Conversion {
            writer,
            between,
            in_the_way,
            recorder: Recorder::new(),
            manifest: None,
            padding: 0,
            seen: Seen::default(),
            left_out: HashSet::new(),
            omitted: Vec::new(),
        };
        let written = conversion.run(&mut reader);
        let Conversion { writer, recorder, manifest, omitted, .. } = conversion;
        let layer = writer.finish(written)?;
        let (archive, _) = reader.into_source().source.finish()?;
        let manifest = manifest.ok_or_else(|| Error::NotAnArchive("there is no manifest in it".into()))?;
        Ok(Made { layer, manifest, archive, record: recorder.finish(), omitted })
    })
}

/// What the archive has between the contents of its files.
struct Between {
    bytes: Vec<u8>,
    keeping: bool,
}

/// Keeps a copy of what is read between the contents.
struct Tap<S> {
    source: S,
    between: Rc<RefCell<Between>>,
}

impl<S: Source> Source for Tap<S> {
    fn fill(&mut self) -> Result<&[u8]> {
        self.source.fill()
    }

    fn consume(&mut self, len: usize) {
        let mut between = self.between.borrow_mut();
        // Beyond that the recorder gives up anyway: an archive may end in gigabytes of zeros.
        if between.keeping
            && between.bytes.len() <= record::PIECE_MAX
            && let Ok(piece) = self.source.fill()
        {
            between.bytes.extend_from_slice(&piece[..len]);
        }
        self.source.consume(len);
    }
}

struct Conversion<'scope, 'p> {
    writer: TarWriter<'scope, 'p>,
    between: Rc<RefCell<Between>>,
    in_the_way: &'p mut InTheWay,
    recorder: Recorder,
    manifest: Option<Vec<u8>>,
    /// After the content before.
    padding: usize,
    seen: Seen,
    /// Paths of files that are not in the layer.
    left_out: HashSet<Vec<u8>>,
    omitted: Vec<Omission>,
}

impl Conversion<'_, '_> {
    fn run<S: Source>(&mut self, reader: &mut Reader<S>) -> Result<()> {
        while let Some(mut entry) = reader.next()? {
            let between = std::mem::take(&mut self.between.borrow_mut().bytes);
            self.between.borrow_mut().keeping = false;
            for name in take_acting(&mut entry) {
                let what = format!("attribute {}, which would act in an overlay", printable(&name));
                self.omit(entry.path.strip_prefix(b"rootfs/").unwrap_or_default(), what);
            }
            self.entry(&entry, &between, reader)?;
            self.between.borrow_mut().keeping = true;
        }
        let rest = std::mem::take(&mut self.between.borrow_mut().bytes);
        self.recorder.put(record::END, &rest, &vec![0; std::mem::take(&mut self.padding) + 1024]);
        self.writer.end()
    }

    fn entry<S: Source>(&mut self, entry: &Entry, between: &[u8], reader: &mut Reader<S>) -> Result<()> {
        let mut predicted = vec![0; std::mem::take(&mut self.padding)];
        match place(Kind::Aci, entry)? {
            Place::Top => self.recorder.put(record::TOP, between, &predicted),
            Place::Manifest if self.manifest.is_some() => return Err(entry.refuse("it is in the archive twice")),
            Place::Manifest => {
                let manifest = reader.whole(MANIFEST_MAX)?;
                predicted.extend(manifest_header(manifest.len())?);
                self.recorder.put(record::MANIFEST, between, &predicted);
                self.padding = padding(manifest.len() as u64);
                self.manifest = Some(manifest);
            }
            Place::Rootfs(path) => {
                refuse_whiteout(entry, path)?;
                let file = Named::of(entry, path)?;
                self.seen.add(path, entry)?;
                if self.would_act(entry, path, &file.link) {
                    self.recorder.put(record::TOP, between, &predicted);
                    return Ok(());
                }
                self.replace_what_is_below(entry, path)?;
                predicted.extend(file.in_archive().bytes()?);
                let stored = match &entry.sparse {
                    None => {
                        self.recorder.put(record::ENTRY, between, &predicted);
                        entry.size
                    }
                    // The layer has the zeros, too.
                    Some(map) => {
                        self.recorder.put(record::SPARSE, between, &predicted);
                        self.recorder.put_map(map);
                        map.iter().map(|segment| segment.len).sum()
                    }
                };
                self.writer.entry(&file.in_layer())?;
                copy_content(entry, reader, &mut self.writer)?;
                self.padding = padding(stored);
            }
        }
        Ok(())
    }

    /// Says of the directories above `path` that they are directories, where something else is in their way.
    fn replace_what_is_below(&mut self, entry: &Entry, path: &[u8]) -> Result<()> {
        let attributes = Attributes { mode: 0o755, ..Attributes::default() };
        for directory in self.in_the_way.replaced_by(entry, path) {
            self.recorder.put_directory();
            let name = [directory, b"/"].concat();
            let (kind, device) = kind(Type::Directory);
            let record =
                Record { path: directory, name: &name, kind, attributes: &attributes, size: 0, link: b"", device };
            self.writer.entry(&record)?;
        }
        Ok(())
    }

    /// Leaves out a device that would hide a file of the layers below, and hard links to it.
    fn would_act(&mut self, entry: &Entry, path: &[u8], link: &[u8]) -> bool {
        let what = match entry.kind {
            kind if overlay::is_whiteout(kind) => overlay::WHITEOUT,
            Type::HardLink if self.left_out.contains(link) => "hard link to what was left out",
            _ => return false,
        };
        self.left_out.insert(path.to_vec());
        self.omit(path, what.into());
        true
    }

    fn omit(&mut self, path: &[u8], what: String) {
        if self.omitted.len() < OMITTED_MAX {
            self.omitted.push(Omission { path: OsStr::from_bytes(path).into(), what });
        }
    }
}

/// So many are told of.
const OMITTED_MAX: usize = 1000;

/// A name that would delete something in the layers below, or be refused there.
fn refuse_whiteout(entry: &Entry, path: &[u8]) -> Result<()> {
    if path.split(|b| *b == b'/').any(|name| name.starts_with(b".wh.")) {
        let rule = "names that begin with `.wh.` mean deletions in OCI images, which cannot hold this file: rename it";
        return Err(entry.refuse(rule));
    }
    Ok(())
}

/// Writes the content of an entry, holes filled with zeros.
pub(super) fn copy_content<S: Source>(
    entry: &Entry,
    reader: &mut Reader<S>,
    writer: &mut TarWriter<'_, '_>,
) -> Result<()> {
    let mut at = 0;
    let whole = [crate::archive::entry::Segment { offset: 0, len: entry.size }];
    for segment in entry.sparse.as_deref().unwrap_or(&whole) {
        writer.zeros(segment.offset - at)?;
        let mut left = segment.len;
        while left > 0 {
            let piece = reader.content()?;
            if piece.is_empty() {
                // What is stored was checked against the map.
                break;
            }
            let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            writer.content(&piece[..len])?;
            reader.consume(len);
            left -= len as u64;
        }
        at = segment.offset + segment.len;
    }
    writer.zeros(entry.size.saturating_sub(at))
}

/// Writes of the content of an entry what `map` speaks of, without the zeros between. Returns how much that is.
fn copy_stored<S: Source>(
    entry: &Entry,
    map: &[Segment],
    reader: &mut Reader<S>,
    writer: &mut TarWriter<'_, '_>,
) -> Result<u64> {
    if entry.sparse.is_some() {
        return Err(record::broken());
    }
    let (mut at, mut stored) = (0, 0);
    for segment in map {
        for (until, copied) in [(segment.offset, false), (segment.offset + segment.len, true)] {
            while at < until {
                let piece = reader.content()?;
                let len = piece.len().min(usize::try_from(until - at).unwrap_or(usize::MAX));
                if len == 0 {
                    return Err(record::broken());
                }
                if copied {
                    writer.raw(&piece[..len])?;
                    stored += len as u64;
                }
                reader.consume(len);
                at += len as u64;
            }
        }
    }
    Ok(stored)
}

/// The header that [`crate::archive::write()`] gives a manifest of this length.
fn manifest_header(len: usize) -> Result<Vec<u8>> {
    let attributes = Attributes { mode: 0o644, ..Attributes::default() };
    let (name, device) = (&b"manifest"[..], (0, 0));
    let size = len as u64;
    Record { path: name, name, kind: b'0', attributes: &attributes, size, link: b"", device }.bytes()
}

/// A file, as an archive and as a layer name it.
pub(super) struct Named<'e> {
    path: &'e [u8],
    archived: Vec<u8>,
    layered: Vec<u8>,
    kind: u8,
    device: (u32, u32),
    attributes: &'e Attributes,
    size: u64,
    /// The target, of a hard link as a path below the root file system.
    link: Vec<u8>,
    archived_link: Vec<u8>,
}

impl<'e> Named<'e> {
    /// An entry of an image archive.
    pub(super) fn of(entry: &'e Entry, path: &'e [u8]) -> Result<Named<'e>> {
        let mut link = entry.link.clone();
        if entry.kind == Type::HardLink {
            let target =
                cleaned(&entry.link).map_err(|rule| entry.refuse(format!("as a hard link's target, {rule}")))?;
            let below = target.strip_prefix(b"rootfs/").filter(|below| !below.is_empty());
            link = below.ok_or_else(|| entry.refuse("it is a hard link to something outside rootfs"))?.to_vec();
        }
        Ok(Named::new(entry, path, &entry.attributes, link))
    }

    /// An entry at `path`, with a target that is a path if it is a hard link.
    pub(super) fn new(entry: &Entry, path: &'e [u8], attributes: &'e Attributes, link: Vec<u8>) -> Named<'e> {
        let (kind, device) = kind(entry.kind);
        let below: &[&[u8]] = if path.is_empty() { &[b"rootfs"] } else { &[b"rootfs/", path] };
        let slash: &[u8] = if kind == b'5' { b"/" } else { b"" };
        let layered = if path.is_empty() { b"./".to_vec() } else { [path, slash].concat() };
        let archived_link = if kind == b'1' { [b"rootfs/", &link[..]].concat() } else { link.clone() };
        let size = entry.size;
        Named { path, archived: below.concat(), layered, kind, device, attributes, size, link, archived_link }
    }

    pub(super) fn in_archive(&self) -> Record<'_> {
        let Named { path, archived: name, kind, attributes, size, device, archived_link: link, .. } = self;
        Record { path, name, kind: *kind, attributes, size: *size, link, device: *device }
    }

    fn in_layer(&self) -> Record<'_> {
        Record { name: &self.layered, link: &self.link, ..self.in_archive() }
    }
}

fn kind(kind: Type) -> (u8, (u32, u32)) {
    match kind {
        Type::File => (b'0', (0, 0)),
        Type::HardLink => (b'1', (0, 0)),
        Type::Symlink => (b'2', (0, 0)),
        Type::CharDevice { major, minor } => (b'3', (major, minor)),
        Type::BlockDevice { major, minor } => (b'4', (major, minor)),
        Type::Directory => (b'5', (0, 0)),
        Type::Fifo => (b'6', (0, 0)),
    }
}

/// Writes the archive that `record` was made of, from the layer that was made with it.
pub(super) fn to_archive(
    layer: impl Read + Send,
    record: &str,
    manifest: &[u8],
    out: File,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Finished> {
    let mut replay = Replay::new(record).ok_or_else(record::broken)?;
    std::thread::scope(|scope| {
        let how = How { algorithm: Algorithm::Sha256, dialect: Dialect::Layer, limit: options.limit };
        let stream = Stream::start(scope, layer, None, how, progress)?;
        let mut reader = Reader::of(Dialect::Layer, stream);
        let mut writer = TarWriter::start(scope, out, &options.write, (Algorithm::Sha512, false), &Quiet)?;
        let written = again(&mut reader, &mut replay, manifest, &mut writer);
        writer.finish(written)
    })
}

fn again<S: Source>(
    reader: &mut Reader<S>,
    replay: &mut Replay<'_>,
    manifest: &[u8],
    writer: &mut TarWriter<'_, '_>,
) -> Result<()> {
    let mut before = 0;
    loop {
        let mut predicted = vec![0; std::mem::take(&mut before)];
        match replay.tag()? {
            record::TOP => writer.raw(&replay.bytes(predicted)?)?,
            record::DIRECTORY => {
                reader.next()?.filter(|entry| entry.kind == Type::Directory).ok_or_else(record::broken)?;
                before = predicted.len();
            }
            record::MANIFEST => {
                predicted.extend(manifest_header(manifest.len())?);
                writer.raw(&replay.bytes(predicted)?)?;
                writer.raw(manifest)?;
                before = padding(manifest.len() as u64);
            }
            record::ENTRY => {
                let entry = reader.next()?.ok_or_else(record::broken)?;
                let file = Named::new(&entry, &entry.path, &entry.attributes, entry.link.clone());
                predicted.extend(file.in_archive().bytes()?);
                writer.raw(&replay.bytes(predicted)?)?;
                copy_content(&entry, reader, writer)?;
                before = padding(entry.size);
            }
            record::SPARSE => {
                let entry = reader.next()?.ok_or_else(record::broken)?;
                let file = Named::new(&entry, &entry.path, &entry.attributes, entry.link.clone());
                predicted.extend(file.in_archive().bytes()?);
                writer.raw(&replay.bytes(predicted)?)?;
                before = padding(copy_stored(&entry, &replay.map()?, reader, writer)?);
            }
            record::END => {
                predicted.resize(predicted.len() + 1024, 0);
                writer.raw(&replay.bytes(predicted)?)?;
                return if reader.next()?.is_some() { Err(record::broken()) } else { Ok(()) };
            }
            _ => return Err(record::broken()),
        }
    }
}
