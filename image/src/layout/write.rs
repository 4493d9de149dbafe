//! Writing OCI layouts.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempPath;

use super::docker::manifest_json;
use super::files::Files;
use super::oci::{parse_index, read_index};
use super::{INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, blob_path, index};
use crate::archive::tar_out::TarOut;
use crate::oci::{BLOBS_AT_ONCE, DOCUMENT_MAX, Descriptor, Digest, Index, Sink, media_type, verified};
use crate::pour::pour;
use crate::{Error, Result};

/// A layout in a directory, made when there is none. Other images in it stay.
///
/// A blob is there whole or not at all, and an image is named only when all of it is there.
pub struct LayoutDir {
    dir: PathBuf,
    name: Option<String>,
}

impl LayoutDir {
    /// Opens the layout in `dir` to write the image `name`, which replaces one of that name.
    pub fn create(dir: &Path, name: Option<&str>) -> Result<LayoutDir> {
        let layout = LayoutDir { dir: dir.to_owned(), name: name.map(str::to_owned) };
        check(name, &layout.place())?;
        match std::fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                // Something is there: it must be a layout.
                read_index(&Files::directory(dir)?, &layout.place())?;
            }
            Ok(false) => layout.begin()?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => layout.begin()?,
            Err(e) => return Err(Error::io(format!("open {}", dir.display()))(e)),
        }
        Ok(layout)
    }

    fn begin(&self) -> Result<()> {
        std::fs::create_dir_all(&self.dir).map_err(Error::io(format!("make {}", self.dir.display())))?;
        self.replace(INDEX_FILE, &json(&Index::new(Vec::new()))?)?;
        self.replace(LAYOUT_FILE, LAYOUT_VERSION)
    }

    fn place(&self) -> String {
        format!("oci:{}", self.dir.display())
    }

    /// Writes a small file as a whole.
    fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        let (mut file, temporary) = temporary_in(&self.dir)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| temporary.persist(&path).map_err(|e| e.error));
        placed.map_err(Error::io(format!("write {}", path.display())))
    }
}

impl Sink for LayoutDir {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        match std::fs::symlink_metadata(self.dir.join(blob_path(&descriptor.digest))) {
            Ok(meta) => Ok(meta.is_file() && meta.len() == descriptor.size),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(format!("look for {}", descriptor.digest))(e)),
        }
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let path = self.dir.join(blob_path(&descriptor.digest));
        let dir = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(dir).map_err(Error::io(format!("make {}", dir.display())))?;
        let (mut file, temporary) = temporary_in(dir)?;
        let written = pour(&mut verified(content, descriptor), &mut file).and_then(|_| file.sync_all());
        let placed = written.and_then(|()| temporary.persist(&path).map_err(|e| e.error));
        placed.map_err(Error::io(format!("write {}", path.display())))
    }

    fn at_once(&self) -> usize {
        BLOBS_AT_ONCE
    }

    fn finish(&self, top: &Descriptor) -> Result<()> {
        let what = || Error::io(format!("lock {}", self.dir.display()));
        let lock = File::open(&self.dir).map_err(what())?;
        // Two that finish at once must not lose each other's image.
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|errno| what()(errno.into()))?;
        let bytes = read_index(&Files::directory(&self.dir)?, &self.place())?;
        let refuse = |rule| Error::Oci { what: self.place(), rule };
        let mut index = parse_index(&bytes).map_err(refuse)?;
        index::insert(&mut index, top.clone(), self.name.as_deref());
        self.replace(INDEX_FILE, &json(&index)?)
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
    temporary: Option<TempPath>,
    blobs: BTreeSet<Digest>,
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
        let dir = match file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let (out, temporary) = temporary_in(dir)?;
        let mut tar = TarOut::new(out);
        tar.add(LAYOUT_FILE, LAYOUT_VERSION)?;
        let out = Mutex::new(Out { tar, temporary: Some(temporary), blobs: BTreeSet::new() });
        Ok(LayoutArchive { file: file.to_owned(), name: name.map(str::to_owned), docker, out })
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn finish(&self, top: &Descriptor) -> Result<()> {
        let failed = || Error::io(format!("write {}", self.file.display()));
        let mut out = self.out();
        let temporary = out.temporary.take().ok_or_else(|| failed()(io::Error::other("it is finished already")))?;
        if self.docker {
            let manifest = out.docker_manifest(top, self.name.as_deref())?;
            out.tar.add("manifest.json", &manifest)?;
        }
        let mut index = Index::new(Vec::new());
        index::insert(&mut index, top.clone(), self.name.as_deref());
        out.tar.add(INDEX_FILE, &json(&index)?)?;
        out.tar.end()?;
        temporary.persist(&self.file).map_err(|e| failed()(e.error))
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

/// A new file whose name is none of a layout's.
fn temporary_in(dir: &Path) -> Result<(File, TempPath)> {
    let open = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(path);
    let made = tempfile::Builder::new().prefix(".tmp-").make_in(dir, open);
    Ok(made.map_err(Error::io(format!("make a file in {}", dir.display())))?.into_parts())
}

fn check(name: Option<&str>, place: &str) -> Result<()> {
    let checked = name.map_or(Ok(()), index::check_name);
    checked.map_err(|rule| Error::Oci { what: place.to_owned(), rule })
}

fn json(index: &Index) -> Result<Vec<u8>> {
    serde_json::to_vec(index).map_err(|e| Error::io("write the index")(io::Error::other(e)))
}
