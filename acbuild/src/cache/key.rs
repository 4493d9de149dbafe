//! What a step depends on, as one digest.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_image::archive::Ownership;
use appc_image::fingerprint::{self, FingerprintOptions, fingerprint};
use appc_image::oci::{Algorithm, Hasher};
use appc_image::render::Rendered;
use appc_rooted::Root;

use super::Cache;
use super::memory::Contents;
use crate::error::{Error, Result};
use crate::install::of_host;

/// Keys of other versions mean other things. The number counts changes within one of what steps make.
const FORMAT: &str = concat!("acbuild cache 3, ", env!("CARGO_PKG_VERSION"));

/// A key in the making. Whoever adds a field says what it is, and no field can pass for another.
pub(crate) struct Key<'c> {
    hasher: Hasher,
    cache: &'c Cache,
}

impl<'c> Key<'c> {
    /// For a step that is called `step`, in the state `before`.
    pub(super) fn new(cache: &'c Cache, before: &str, step: &str) -> Key<'c> {
        let mut key = Key { hasher: Hasher::new(Algorithm::Sha256), cache };
        key.field("format", FORMAT);
        // The files of root and of a user with ids of its own are the same, those of a user without are not.
        key.field("alone", if Ownership::of_this_process() == Ownership::Mine { "1" } else { "0" });
        key.field("state", before);
        key.field("step", step);
        key
    }

    /// Adds a value.
    pub(crate) fn field(&mut self, name: &str, value: impl AsRef<[u8]>) {
        for part in [name.as_bytes(), value.as_ref()] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
    }

    /// Adds a path as it is written.
    pub(crate) fn path(&mut self, name: &str, path: &Path) {
        self.field(name, path.as_os_str().as_bytes());
    }

    /// Adds values and how many they are.
    pub(crate) fn list(&mut self, name: &str, values: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let mut count = 0;
        for value in values {
            self.field(name, value);
            count += 1;
        }
        self.field("count", format!("{count} {name}"));
    }

    /// Adds the trees of the dependencies, which are called by what they are made of: the IDs of all images.
    pub(crate) fn trees(&mut self, rendered: Option<&Rendered>) {
        let paths = rendered.iter().flat_map(|rendered| &rendered.lower);
        let names = paths.filter_map(|path| path.parent()?.file_name()).map(|name| name.as_bytes());
        self.list("tree", names);
        let images = rendered.iter().flat_map(|rendered| &rendered.images).map(ToString::to_string);
        self.list("image", images);
    }

    /// Adds what a copy of `source`, a path of the host, would be, without the directory `leave_out`.
    ///
    /// # Errors
    /// When it cannot be read, or changes meanwhile.
    pub(crate) fn source(&mut self, source: &Path, leave_out: &Path) -> Result<()> {
        let (from, name) = of_host(source)?;
        let leave_out = Root::open(leave_out).map_err(Error::io("open", leave_out))?;
        let ownership = Ownership::of_this_process();
        self.tree(
            &from,
            name.as_ref(),
            FingerprintOptions { ownership, from_host: true, exclude: Some(&leave_out), memory: None },
        )
    }

    /// Adds what a command sees of `path` of the host.
    ///
    /// # Errors
    /// Those of [`Key::source`].
    pub(crate) fn volume(&mut self, path: &Path) -> Result<()> {
        let path = fs::canonicalize(path).map_err(Error::io("find", path))?;
        let (from, name) = of_host(&path)?;
        let ownership = Ownership::AsRecorded;
        self.tree(&from, name.as_ref(), FingerprintOptions { ownership, from_host: false, exclude: None, memory: None })
    }

    fn tree(&mut self, from: &Root, name: &Path, options: FingerprintOptions<'_>) -> Result<()> {
        let memory = Contents::new(self.cache);
        let fingerprint = fingerprint(from, name, &FingerprintOptions { memory: Some(&memory), ..options })?;
        self.field("files", fingerprint.hex());
        Ok(())
    }

    /// Adds the content of a file.
    ///
    /// # Errors
    /// Those of [`Key::source`].
    pub(crate) fn content(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let memory = Contents::new(self.cache);
        let content = fingerprint::content(&file, Some(&memory))?;
        self.field("content", content.hex());
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        self.hasher.finish().hex().to_owned()
    }
}
