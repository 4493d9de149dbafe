//! A stack of layers made one image archive.
//!
//! The layers are read twice: for what is left of each, and for the content of that. Directories come first, then the
//! files of the lowest layer in its order, and so on: the same layers give the same bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use super::Options;
use super::index::{Id, Index};
use super::layer::{Named, copy_content};
use crate::archive::decode::{How, Stream};
use crate::archive::entry::{Attributes, Entry, Time, Type};
use crate::archive::reader::{Dialect, Reader};
use crate::archive::stream::TarWriter;
use crate::archive::{Finished, Limit, Record, WriteOptions};
use crate::oci::{Algorithm, Layer, Source, verified};
use crate::{Error, Progress, Quiet, Result};

/// Writes `manifest` and what `layers` have together as an image archive to `out`.
pub(super) fn squash(
    source: &dyn Source,
    layers: &[&Layer],
    manifest: &[u8],
    out: File,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Finished> {
    let index = read(source, layers, options.limit, &Quiet)?;
    let files = index.files();
    std::thread::scope(|scope| {
        let mut writer = TarWriter::start(scope, out, &options.write, (Algorithm::Sha512, false), &Quiet)?;
        let mut write = || {
            write_head(&index, manifest, &options.write, &mut writer)?;
            for (at, layer) in layers.iter().enumerate() {
                each(source, layer, options.limit, progress, |reader, entry, number| {
                    write_file(&files, (at as u32, number), entry, reader, &mut writer)
                })?;
            }
            writer.end()
        };
        let written = write();
        writer.finish(written)
    })
}

/// Reads `layers` to their ends, and returns what they have together.
pub(super) fn read(source: &dyn Source, layers: &[&Layer], limit: Limit, progress: &dyn Progress) -> Result<Index> {
    let mut index = Index::default();
    for (at, layer) in layers.iter().enumerate() {
        each(source, layer, limit, progress, |_, entry, number| index.add(entry, (at as u32, number)))?;
    }
    Ok(index)
}

/// Calls `take` with each entry of a layer, which is verified by the time the last one has been read.
fn each(
    source: &dyn Source,
    layer: &Layer,
    limit: Limit,
    progress: &dyn Progress,
    mut take: impl FnMut(&mut Reader<Stream<'_>>, &Entry, u32) -> Result<()>,
) -> Result<()> {
    let content: Box<dyn Read + Send + '_> = Box::new(verified(source.open(&layer.descriptor)?, &layer.descriptor));
    std::thread::scope(|scope| {
        let how = How { algorithm: layer.diff_id.algorithm(), dialect: Dialect::Layer, limit };
        let stream = Stream::start(scope, content, None, how, progress)?;
        let mut reader = Reader::of(Dialect::Layer, stream);
        let mut number = 0;
        while let Some(entry) = reader.next()? {
            take(&mut reader, &entry, number)?;
            number += 1;
        }
        let (diff_id, _) = reader.into_source().finish()?;
        if diff_id != layer.diff_id {
            let what = format!("layer {} of {}", layer.descriptor.digest, source.describe());
            let rule = format!("unpacked it is {diff_id}, but the configuration says {}", layer.diff_id);
            return Err(Error::Oci { what, rule });
        }
        Ok(())
    })
}

/// The manifest and all directories.
fn write_head(index: &Index, manifest: &[u8], options: &WriteOptions, writer: &mut TarWriter<'_, '_>) -> Result<()> {
    let mtime = Time { seconds: options.source_date_epoch.unwrap_or(0), nanoseconds: 0 };
    let attributes = Attributes { mode: 0o644, mtime, ..Attributes::default() };
    let (name, size) = (&b"manifest"[..], manifest.len() as u64);
    writer.entry(&Record { path: name, name, kind: b'0', attributes: &attributes, size, link: b"", device: (0, 0) })?;
    writer.content(manifest)?;
    let directory = |path: &[u8], attributes: &Attributes, writer: &mut TarWriter<'_, '_>| {
        let name = if path.is_empty() { b"rootfs".to_vec() } else { [b"rootfs/", path].concat() };
        writer.entry(&Record { path, name: &name, kind: b'5', attributes, size: 0, link: b"", device: (0, 0) })
    };
    let mut directories = index.directories().peekable();
    if directories.peek().is_none_or(|(path, _)| !path.is_empty()) {
        directory(b"", &Attributes { mode: 0o755, ..Attributes::default() }, writer)?;
    }
    directories.try_for_each(|(path, attributes)| directory(path, attributes, writer))
}

/// Writes what is left of an entry: under its first name with its content, under the others as hard links.
fn write_file(
    files: &HashMap<Id, Vec<&[u8]>>,
    id: Id,
    entry: &Entry,
    reader: &mut Reader<Stream<'_>>,
    writer: &mut TarWriter<'_, '_>,
) -> Result<()> {
    let Some((first, others)) = files.get(&id).and_then(|paths| paths.split_first()) else { return Ok(()) };
    writer.entry(&Named::new(entry, first, &entry.attributes, entry.link.clone()).in_archive())?;
    copy_content(entry, reader, writer)?;
    for other in others {
        let link = Entry { kind: Type::HardLink, ..entry.but_for_content() };
        writer.entry(&Named::new(&link, other, &entry.attributes, first.to_vec()).in_archive())?;
    }
    Ok(())
}
