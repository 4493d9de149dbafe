//! Bundles: a root file system with the `config.json` that runtimes run it with, made of images and images made of them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use appc_rooted::Root;
use appc_spec::oci::Origin;
use appc_spec::runtime::{User, to_appc, to_bundle};
use appc_spec::{AcIdentifier, ImageManifest};
use rustix::fs::{Mode, OFlags};
use rustix::process::{getegid, geteuid};

use super::{Options, to_aci};
use crate::archive::{self, Compression, Limit, Omission, UnpackOptions, Unpacked, Written};
use crate::oci::{DOCUMENT_MAX, Source};
use crate::store::remove_tree;
use crate::{Error, Progress, Quiet, Result, users};

const CONFIG: &str = "config.json";
const ROOTFS: &str = "rootfs";

/// A bundle that was written.
#[derive(Debug, Clone)]
pub struct WrittenBundle {
    /// Files, or parts of them, that an ordinary user cannot have.
    pub omitted: Vec<Omission>,
    /// What of the app a runtime will not do, as parts of sentences.
    pub unenforced: Vec<String>,
}

/// A bundle in the making, beside the place where it will be; gone unless it is finished.
struct Draft {
    temporary: PathBuf,
    target: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is no longer there when it was finished. Whatever else is in the way, the error that led here counts.
        let _gone = remove_tree(&self.temporary);
    }
}

impl Draft {
    fn begin(target: &Path) -> Result<Draft> {
        match fs::read_dir(target).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(Error::Exists(target.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(format!("open {}", target.display()))(e)),
        }
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Containers of other users must find the way.
        let mode = fs::Permissions::from_mode(0o755);
        let made = tempfile::Builder::new().prefix(".bundle-").permissions(mode).tempdir_in(parent);
        let temporary = made.map_err(Error::io(format!("make a directory in {}", parent.display())))?;
        let draft = Draft { temporary: temporary.keep(), target: target.to_owned() };
        let rootfs = draft.temporary.join(ROOTFS);
        fs::create_dir(&rootfs).map_err(Error::io(format!("make {}", rootfs.display())))?;
        Ok(draft)
    }

    fn rootfs(&self) -> Result<Root> {
        Root::open(self.temporary.join(ROOTFS)).map_err(Error::io("open the root file system"))
    }

    fn finish(self, unpacked: Unpacked) -> Result<WrittenBundle> {
        let manifest = ImageManifest::parse(&unpacked.manifest).map_err(Error::Manifest)?;
        let user = user(&manifest, &self.rootfs()?)?;
        let (uid, gid) = (geteuid(), getegid());
        let rootless = (!uid.is_root()).then(|| (uid.as_raw(), gid.as_raw()));
        let made = to_bundle(&manifest, &user, rootless).map_err(Error::Manifest)?;
        let text = serde_json::to_vec_pretty(&made.config).map_err(|e| Error::io("write the configuration")(e))?;
        let written = File::create(self.temporary.join(CONFIG)).and_then(|mut file| file.write_all(&text));
        written.map_err(Error::io("write the configuration"))?;
        fs::rename(&self.temporary, &self.target).map_err(Error::io(format!("make {}", self.target.display())))?;
        Ok(WrittenBundle { omitted: unpacked.omitted, unenforced: made.unenforced })
    }
}

fn user(manifest: &ImageManifest, rootfs: &Root) -> Result<User> {
    let Some(app) = &manifest.app else { return Ok(User { uid: 0, gid: 0, groups: vec![], home: "/root".into() }) };
    let account = users::of_app(rootfs, app, &manifest.annotations)?;
    Ok(User { uid: account.uid, gid: account.gid, groups: account.groups, home: account.home })
}

/// Makes the bundle `dir` of the image archive `source`, which depends on no other and has no path whitelist.
///
/// # Errors
/// What is wrong with the archive; when there is something in `dir`; when its user is not known.
pub fn archive_to_bundle(
    source: impl Read + Send,
    dir: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<WrittenBundle> {
    let draft = Draft::begin(dir)?;
    // Whoever runs it may stack it, as engines do.
    let unpack = UnpackOptions { limit: options.limit, layer: true, ..UnpackOptions::default() };
    let unpacked = archive::unpack(source, &draft.rootfs()?, &unpack, progress)?;
    draft.finish(unpacked)
}

/// Makes the bundle `dir` of the image of `source` for the platform of `options`.
///
/// # Errors
/// As for [`archive_to_bundle`], and what is wrong with the image.
pub fn to_bundle_dir(
    source: &dyn Source,
    origin: &Origin,
    dir: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<WrittenBundle> {
    let draft = Draft::begin(dir)?;
    let rootfs = draft.rootfs()?;
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::io("make a pipe"))?;
    let mut plain = options.clone();
    plain.write.compression = Compression::None;
    // What it may be at most is looked at where it comes from.
    let unpack = UnpackOptions { limit: Limit::NONE, layer: true, ..UnpackOptions::default() };
    // The layers are squashed into a stream that is unpacked as it comes.
    let (squashed, unpacked) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| archive::unpack(File::from(from), &rootfs, &unpack, &Quiet));
        let squashed = to_aci::whole(source, origin, File::from(to), &plain, progress);
        (squashed, reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // When the stream ended early, the reader only knows that it did; when nobody read on, the reader knows why.
    let unpacked = match (squashed, unpacked) {
        (Ok(_), unpacked) => unpacked?,
        (Err(Error::Io { cause, .. }), Err(e)) if cause.kind() == io::ErrorKind::BrokenPipe => return Err(e),
        (Err(e), _) => return Err(e),
    };
    draft.finish(unpacked)
}

/// Writes the bundle in `dir` as an image archive to `out`, an empty file.
///
/// # Errors
/// What is wrong with its configuration, and [`Error::Tree`] for a file that cannot be archived.
pub fn from_bundle(dir: &Path, out: &File, options: &Options, progress: &dyn Progress) -> Result<Written> {
    let path = dir.join(CONFIG);
    // A fifo must not make us wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let read = rustix::fs::open(&path, flags, Mode::empty()).map_err(io::Error::from).and_then(|file| {
        let (file, mut bytes) = (File::from(file), Vec::new());
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
        }
        file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = read.map_err(Error::io(format!("read {}", path.display())))?;
    let refuse = |rule: String| Error::Oci { what: format!("configuration {}", path.display()), rule };
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(refuse(format!("it is longer than {DOCUMENT_MAX} bytes")));
    }
    let manifest = to_appc(&bytes, name(dir)?).map_err(|e| refuse(e.to_string()))?;
    let config: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
    let root = config.pointer("/root/path").and_then(|path| path.as_str()).unwrap_or(ROOTFS);
    let rootfs = rootfs(dir, Path::new(root)).map_err(|e| match e.raw_os_error() {
        Some(_) => Error::io(format!("open {root} in {}", dir.display()))(e),
        None => refuse(e.to_string()),
    })?;
    let out = out.try_clone().map_err(Error::io("write the archive"))?;
    archive::write(manifest.to_json().as_bytes(), &rootfs, out, &options.write, progress)
}

/// The root file system of a bundle, which is in it: an image must not get files of the host by the words of somebody else.
fn rootfs(dir: &Path, root: &Path) -> io::Result<Root> {
    let dir = fs::canonicalize(dir)?;
    let inside = if root.is_absolute() { root.strip_prefix(&dir).ok() } else { Some(root) };
    match inside.filter(|inside| !inside.components().any(|part| part == Component::ParentDir)) {
        // Nor does a link lead out of it.
        Some(inside) => Ok(Root::from_fd(Root::open(&dir)?.open_at(inside, OFlags::PATH | OFlags::DIRECTORY)?)),
        None => Err(io::Error::other(format!("its root.path {} is not in the bundle", root.display()))),
    }
}

/// What an image is called whose bundle does not say it.
fn name(dir: &Path) -> Result<AcIdentifier> {
    let dir = fs::canonicalize(dir).map_err(Error::io(format!("open {}", dir.display())))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    AcIdentifier::sanitize(&name).or_else(|_| "bundle".parse()).map_err(Error::Manifest)
}
