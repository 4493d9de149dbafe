//! Writing OCI layouts.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::docker::manifest_json;
use super::files::Files;
use super::new_file::{NewFile, NewFiles, directory_of};
use super::oci::{parse_index, read_index};
use super::referrers::referrers;
use super::staging::{Staging, TEMPORARY};
use super::{INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, REF_NAME, blob_path, garbage, index};
use crate::archive::tar_out::TarOut;
use crate::caller;
use crate::oci::{BLOBS_AT_ONCE, DOCUMENT_MAX, Descriptor, Digest, Index, Sink, media_type, verified};
use crate::pour::pour;
use crate::{Error, Result};

/// A layout in a directory, made when there is none. Other images in it stay.
///
/// An image is there, with all its blobs, or nothing of it is.
pub struct LayoutDir {
    dir: PathBuf,
    name: Option<String>,
    /// The image that goes when this one is there.
    replaced: Option<Descriptor>,
    staging: Staging,
    /// Blobs that were there, and so were not put.
    found: Mutex<Vec<Descriptor>>,
    referrers: Mutex<Vec<Descriptor>>,
}

impl LayoutDir {
    /// Opens the layout in `dir` to write the image `name`, which replaces one of that name.
    pub fn create(dir: &Path, name: Option<&str>) -> Result<LayoutDir> {
        let place = place(dir);
        check(name, &place)?;
        let check_index = || read_index(&Files::directory(dir)?, &place).map(drop);
        let is_wrong = has_something(dir)? && check_index().is_err();
        let staging = Staging::begin(dir)?;
        if is_wrong {
            // Unless another process is making it at this moment.
            let _lock = staging.lock()?;
            check_index()?;
        }
        let name = name.map(str::to_owned);
        let (found, referrers) = (Mutex::default(), Mutex::default());
        Ok(LayoutDir { dir: dir.to_owned(), name, replaced: None, staging, found, referrers })
    }

    /// Takes an image out of the index, under the name that its descriptor has, when the new one is put into it, and what
    /// only that image had out of the layout.
    pub fn in_place_of(self, image: &Descriptor) -> LayoutDir {
        LayoutDir { replaced: Some(image.clone()), ..self }
    }

    /// Whether the layout has the blob.
    fn is_there(&self, descriptor: &Descriptor) -> Result<bool> {
        match std::fs::symlink_metadata(self.dir.join(blob_path(&descriptor.digest))) {
            Ok(meta) => Ok(meta.is_file() && meta.len() == descriptor.size),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(format!("look for {}", descriptor.digest))(e)),
        }
    }

    /// Refuses when a blob that was there has been removed meanwhile, with the image that it was of.
    fn check_found(&self) -> Result<()> {
        for descriptor in locked(&self.found).iter() {
            if !self.is_there(descriptor)? {
                let rule = format!("{} was removed meanwhile: try again", descriptor.digest);
                return Err(Error::Oci { what: place(&self.dir), rule });
            }
        }
        Ok(())
    }

    /// Writes a small file as a whole.
    fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        let mut new = self.staging.file()?;
        let written = new.file.write_all(content).and_then(|()| new.file.sync_all());
        let placed = written.and_then(|()| new.complete().publish(&path));
        placed.map_err(Error::io(format!("write {}", path.display())))
    }
}

fn place(dir: &Path) -> String {
    format!("oci:{}", dir.display())
}

/// Whether there is something in the directory that must be a layout.
fn has_something(dir: &Path) -> Result<bool> {
    let what = || Error::io(format!("open {}", dir.display()));
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(what())?,
    };
    for entry in entries {
        // Another process may be about to make one.
        if !entry.map_err(what())?.file_name().as_bytes().starts_with(TEMPORARY.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Sink for LayoutDir {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        let there = self.is_there(descriptor)?;
        if there {
            locked(&self.found).push(descriptor.clone());
        }
        Ok(there || self.staging.has(&descriptor.digest))
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let mut new = self.staging.file()?;
        let written = pour(&mut verified(content, descriptor), &mut new.file).and_then(|_| new.file.sync_all());
        written.map_err(Error::io(format!("write {} to {}", descriptor.digest, self.dir.display())))?;
        self.staging.keep(&descriptor.digest, new);
        Ok(())
    }

    fn refer(&self, _: &Digest, referrer: &Descriptor) -> Result<()> {
        locked(&self.referrers).push(referrer.clone());
        Ok(())
    }

    fn at_once(&self) -> usize {
        BLOBS_AT_ONCE
    }

    fn finish(&self, top: &Descriptor) -> Result<()> {
        let _lock = self.staging.lock()?;
        let place = place(&self.dir);
        let files = Files::directory(&self.dir)?;
        let begun = files.open(LAYOUT_FILE)?.is_some();
        let mut index = match begun {
            true => parse_index(&read_index(&files, &place)?).map_err(|rule| Error::Oci { what: place, rule })?,
            false => Index::new(Vec::new()),
        };
        if let Some(old) = &self.replaced {
            let name = |image: &Descriptor| image.annotations.get(REF_NAME).cloned();
            index.manifests.retain(|image| image.digest != old.digest || name(image) != name(old));
        }
        let mut about_others = locked(&self.referrers).clone();
        about_others.extend(referrers(&files, &index).into_iter().map(|one| one.descriptor));
        index::insert(&mut index, top.clone(), self.name.as_deref(), &about_others);
        let bytes = json(&index)?;
        self.check_found()?;
        self.staging.place()?;
        self.replace(INDEX_FILE, &bytes)?;
        if let Some(old) = &self.replaced {
            garbage::remove(&self.dir, &files, old, &index);
        }
        if begun { Ok(()) } else { self.replace(LAYOUT_FILE, LAYOUT_VERSION) }
    }
}

/// An archive of a layout with one image, which replaces what is there when it is finished.
///
/// The bytes depend on what is put, in which order, and on the names only. For docker it can hold what `docker load`
/// looks for, too.
pub struct LayoutArchive {
    file: PathBuf,
    name: Option<String>,
    docker: bool,
    out: Mutex<Out>,
}

struct Out {
    tar: TarOut,
    /// Gone when it is finished.
    new: Option<NewFile>,
    /// Of which it is.
    _files: NewFiles,
    blobs: BTreeSet<Digest>,
    referrers: Vec<Descriptor>,
}

impl LayoutArchive {
    /// Begins the archive `file` of the image `name`.
    pub fn create(file: &Path, name: Option<&str>) -> Result<LayoutArchive> {
        check(name, &format!("oci-archive:{}", file.display()))?;
        LayoutArchive::begin(file, name, false)
    }

    /// Begins the archive `file` for `docker load`, of the image `name`, which is `repository:tag`.
    pub fn create_docker(file: &Path, name: Option<&str>) -> Result<LayoutArchive> {
        check(name, &format!("docker-archive:{}", file.display()))?;
        LayoutArchive::begin(file, name, true)
    }

    fn begin(file: &Path, name: Option<&str>, docker: bool) -> Result<LayoutArchive> {
        let files = NewFiles::new(directory_of(file));
        let new = files.file()?;
        let mut tar = TarOut::new(new.file.try_clone().map_err(Error::io(format!("write {}", file.display())))?);
        tar.add(LAYOUT_FILE, LAYOUT_VERSION)?;
        let out = Out { tar, new: Some(new), _files: files, blobs: BTreeSet::new(), referrers: Vec::new() };
        Ok(LayoutArchive { file: file.to_owned(), name: name.map(str::to_owned), docker, out: Mutex::new(out) })
    }

    /// Gives the archive the owner, as far as this user may, and the mode of the file that it will replace.
    ///
    /// # Errors
    /// When the mode cannot be set.
    pub fn like(self, replaced: &Metadata) -> Result<LayoutArchive> {
        if let Some(new) = &self.out().new {
            caller::give(&new.file, replaced);
            let set = new.file.set_permissions(replaced.permissions());
            set.map_err(Error::io(format!("set the mode of {}", self.file.display())))?;
        }
        Ok(self)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        locked(&self.out)
    }
}

impl Sink for LayoutArchive {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.out().blobs.contains(&descriptor.digest))
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let mut out = self.out();
        if out.blobs.contains(&descriptor.digest) {
            return Ok(());
        }
        let mut content = verified(content, descriptor);
        out.tar.stream(&blob_path(&descriptor.digest), descriptor.size, &mut content)?;
        out.blobs.insert(descriptor.digest.clone());
        Ok(())
    }

    fn refer(&self, _: &Digest, referrer: &Descriptor) -> Result<()> {
        self.out().referrers.push(referrer.clone());
        Ok(())
    }

    fn finish(&self, top: &Descriptor) -> Result<()> {
        let failed = || Error::io(format!("write {}", self.file.display()));
        let mut out = self.out();
        let new = out.new.take().ok_or_else(|| failed()(io::Error::other("it is finished already")))?;
        if self.docker {
            let manifest = out.docker_manifest(top, self.name.as_deref())?;
            out.tar.add("manifest.json", &manifest)?;
        }
        let mut index = Index::new(Vec::new());
        index::insert(&mut index, top.clone(), self.name.as_deref(), &out.referrers);
        out.tar.add(INDEX_FILE, &json(&index)?)?;
        out.tar.end()?;
        new.complete().publish(&self.file).map_err(failed())
    }
}

impl Out {
    /// What `docker load` looks for.
    fn docker_manifest(&mut self, top: &Descriptor, name: Option<&str>) -> Result<Vec<u8>> {
        let refuse = |rule| Error::Oci { what: "docker archive".into(), rule };
        if media_type::is_index(&top.media_type) {
            return Err(refuse("it holds an image for one platform only: choose one with --platform".into()));
        }
        let manifest = self.tar.read_back(&blob_path(&top.digest), DOCUMENT_MAX)?;
        manifest_json(&manifest, name).map_err(refuse)
    }
}

fn check(name: Option<&str>, place: &str) -> Result<()> {
    let checked = name.map_or(Ok(()), index::check_name);
    checked.map_err(|rule| Error::Oci { what: place.to_owned(), rule })
}

fn json(index: &Index) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(index).map_err(|e| Error::io("write the index")(io::Error::other(e)))?;
    match bytes.len() as u64 {
        ..=DOCUMENT_MAX => Ok(bytes),
        size => Err(Error::Oci {
            what: "the layout".into(),
            rule: format!("its {INDEX_FILE} would be {size} bytes long, more than the {DOCUMENT_MAX} that are allowed"),
        }),
    }
}

/// A lock's content, also after a thread that held it has panicked: everything here is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
