//! A path whitelist as a layer: what it does not list is deleted by the topmost layer, what it asks for is made there.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use super::index::Index;
use crate::archive::entry::Attributes;
use crate::archive::stream::TarWriter;
use crate::archive::{Finished, Record, WriteOptions};
use crate::oci::Algorithm;
use crate::{Quiet, Result};

/// Writes the layer that leaves of `index` what `whitelist` lists.
pub(super) fn write(index: &Index, whitelist: &[String], out: File, options: &WriteOptions) -> Result<Finished> {
    let listed: Vec<(Vec<u8>, bool)> = whitelist.iter().map(|path| parse(path)).collect();
    let mut kept: BTreeSet<&[u8]> = BTreeSet::from([&b""[..]]);
    for (path, directory) in &listed {
        // The directories on the way to what is not there are no more wanted than it is.
        if *directory || index.contains(path) {
            let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
            kept.extend(ends.chain([path.len()]).map(|end| &path[..end]));
        }
    }
    std::thread::scope(|scope| {
        let mut writer = TarWriter::start(scope, out, options, (Algorithm::Sha256, true), &Quiet)?;
        let mut write = || {
            for (path, directory) in &listed {
                if *directory && !path.is_empty() && !index.contains(path) {
                    entry(&[path, b"/".as_slice()].concat(), b'5', 0o755, &mut writer)?;
                }
            }
            for path in index.paths().filter(|path| !kept.contains(path)) {
                let (parent, name) = super::index::split(path);
                // What lies in something that is deleted needs no deletion of its own.
                if kept.contains(parent) {
                    let parent = if parent.is_empty() { Vec::new() } else { [parent, b"/"].concat() };
                    entry(&[&parent, b".wh.".as_slice(), name].concat(), b'0', 0o644, &mut writer)?;
                }
            }
            writer.end()
        };
        let written = write();
        writer.finish(written)
    })
}

fn entry(name: &[u8], kind: u8, mode: u32, writer: &mut TarWriter<'_, '_>) -> Result<()> {
    let attributes = Attributes { mode, ..Attributes::default() };
    writer.entry(&Record { path: name, name, kind, attributes: &attributes, size: 0, link: b"", device: (0, 0) })
}

/// A listed path relative to the root, and whether it ends in a slash: then the directory is there in any case.
fn parse(path: &str) -> (Vec<u8>, bool) {
    let clean = appc_rooted::clean(path.as_ref());
    let relative = clean.strip_prefix("/").unwrap_or(&clean);
    (relative.as_os_str().as_bytes().to_vec(), path.ends_with('/'))
}
