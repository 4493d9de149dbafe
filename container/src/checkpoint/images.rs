//! The folders of a checkpoint: whom they belong to, what lies in them.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use appc_rooted::Root;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use super::Options;
use super::wire::{Value, field, fields};
use crate::error::{Context, Error, Result};

/// What the standard descriptors were; the name and the form are runc's.
const DESCRIPTORS: &str = "descriptors.json";
/// No list of mounts is longer; what is would fill the memory.
const IMAGE_MAX: u64 = 16 << 20;
/// The first eight bytes of an image of mounts: criu's image, of this kind (`magic.h` of criu).
const MOUNTS_MAGIC: [u8; 8] = [0x19, 0x43, 0x56, 0x54, 0x28, 0x39, 0x56, 0x55];

/// The folders, open.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) folder: OwnedFd,
    pub(super) work: Option<OwnedFd>,
    /// As it was given, after it was looked at.
    pub(super) parent: Option<PathBuf>,
    logs: PathBuf,
}

impl Images {
    /// For a dump: makes what is missing.
    pub(super) fn make(options: &Options) -> Result<Images> {
        make(&options.images)?;
        Images::open(options)
    }

    /// For a restore.
    pub(super) fn open(options: &Options) -> Result<Images> {
        let folder = open(&options.images)?;
        if let Some(work) = &options.work {
            make(work)?;
        }
        if let Some(parent) = &options.parent {
            if parent.is_absolute() {
                return Err(Error::Other("parent-path must be relative to the images".to_owned()));
            }
            let parent = options.images.join(parent);
            // What is read from there is made into processes, too.
            let inventory = openat(open(&parent)?, "inventory.img", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty());
            inventory.context(|| format!("parent-path: {} is no checkpoint: open inventory.img", parent.display()))?;
        }
        Ok(Images {
            folder,
            work: options.work.as_deref().map(open).transpose()?,
            parent: options.parent.clone(),
            logs: options.work.clone().unwrap_or_else(|| options.images.clone()),
        })
    }

    /// Where criu writes its log, which an earlier one must not be taken for.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        let path = self.logs.join(name);
        // There need not be one.
        let _absent = std::fs::remove_file(&path);
        path
    }

    /// Writes down what the standard descriptors of a process are connected to.
    pub(super) fn save_descriptors(&self, pid: i32) -> Result<()> {
        let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let names = (0..3).map(|fd| match outside(pid, fd, &table) {
            Some(name) => name,
            None => std::fs::read_link(format!("/proc/{pid}/fd/{fd}"))
                .map_or_else(|_| "/dev/null".to_owned(), |link| link.to_string_lossy().into_owned()),
        });
        let text = serde_json::to_vec(&names.collect::<Vec<_>>()).map_err(|e| Error::Other(e.to_string()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, DESCRIPTORS, flags, Mode::from(0o600));
        let file = file.context(|| format!("write {DESCRIPTORS}"))?;
        File::from(file).write_all(&text).context(|| format!("write {DESCRIPTORS}"))
    }

    /// The standard descriptors to put in the place of saved ones, as numbers and criu's names for what was saved.
    ///
    /// Only such names: the file may say anything, and ours are given away for nothing else.
    pub(super) fn descriptors(&self) -> Result<Vec<(i64, String)>> {
        let text = self.read(DESCRIPTORS)?;
        let names: Vec<String> =
            serde_json::from_slice(&text).map_err(|e| Error::Other(format!("{DESCRIPTORS}: {e}")))?;
        Ok((0..3).zip(names).filter(|(_, name)| is_outside(name)).collect())
    }

    /// Refuses images with a mount that would not end up where it was: criu goes there by name, before the container's
    /// root is its own.
    pub(super) fn check_mounts(&self, root: &Root) -> Result<()> {
        let list = openat(&self.folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let list = list.and_then(rustix::fs::Dir::new).context(|| "list the images")?;
        for entry in list {
            let entry = entry.context(|| "list the images")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("mountpoints-") && name.ends_with(".img") {
                let places = places(&self.read(&name)?).map_err(|e| Error::Other(format!("{name}: {e}")))?;
                check_places(&places, root).map_err(|why| Error::Other(format!("{name}: {why}")))?;
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let read = || -> io::Result<Vec<u8>> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(&self.folder, name, flags, Mode::empty())?;
            let mut bytes = Vec::new();
            File::from(file).take(IMAGE_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().context(|| format!("read {name} of the checkpoint"))
    }
}

fn make(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.context(|| format!("make {}", path.display()))
}

/// Opens a folder that nobody else could have written to.
fn open(path: &Path) -> Result<OwnedFd> {
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, path, flags, Mode::empty()).map_err(|e| match e {
        rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
            Error::Other(format!("{shown} is no folder, or a link in place of one: name the folder itself"))
        }
        e => Error::System { what: format!("open {shown}"), cause: e.into() },
    })?;
    let status = fstat(&folder).context(|| format!("look at {shown}"))?;
    let mine = status.st_uid == 0 || status.st_uid == rustix::process::geteuid().as_raw();
    if !mine || status.st_mode & 0o002 != 0 {
        return Err(Error::Other(format!(
            "{shown} can be written to by others, who could make any process of its images: use a folder of your own"
        )));
    }
    Ok(folder)
}

/// criu's names for the standard descriptors of a process that are files from outside the container.
pub(super) fn external_files(pid: i32) -> Vec<String> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let mut names: Vec<String> =
        (0..3).filter_map(|fd| outside(pid, fd, &table)).filter(|name| name.starts_with("file[")).collect();
    names.dedup();
    names
}

/// criu's name for a descriptor, if it is a pipe or a file from outside. `table` are the mounts of the container.
fn outside(pid: i32, fd: i32, table: &str) -> Option<String> {
    let path = format!("/proc/{pid}/fd/{fd}");
    let link = std::fs::read_link(&path).ok()?.to_string_lossy().into_owned();
    if is_outside(&link) {
        return Some(link);
    }
    let status = std::fs::metadata(&path).ok()?;
    let kind = status.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return None;
    }
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let mount: u32 = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()?;
    let inside = table.lines().any(|line| line.split(' ').next() == Some(mount.to_string().as_str()));
    (!inside).then(|| format!("file[{mount:x}:{:x}]", status.ino()))
}

/// `pipe:[1234]` or `file[1f:2a]`.
fn is_outside(name: &str) -> bool {
    let inner = |before: &str| name.strip_prefix(before).and_then(|rest| rest.strip_suffix(']'));
    inner("pipe:[").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        || inner("file[").is_some_and(|n| n.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'))
}

/// The places of all mounts in an image.
fn places(image: &[u8]) -> io::Result<Vec<PathBuf>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut rest = image.strip_prefix(&MOUNTS_MAGIC).ok_or_else(|| invalid("this is no image of mounts"))?;
    let mut places = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (entry, more) = more
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| invalid("it ends in the middle of a mount"))?;
        // mnt_entry.mountpoint of criu's mnt.proto.
        let place =
            field(&fields(entry)?, 7).and_then(Value::bytes).ok_or_else(|| invalid("a mount without a place"))?;
        places.push(PathBuf::from(String::from_utf8_lossy(place).into_owned()));
        rest = more;
    }
    Ok(places)
}

fn check_places(places: &[PathBuf], root: &Root) -> Result<(), String> {
    for place in places {
        let shown = place.display();
        if !place.is_absolute() || place.components().any(|c| c == Component::ParentDir) {
            return Err(format!("a mount at {shown:?} is not inside the container"));
        }
        // What lies in another mount is not the root's to redirect.
        let covered = |other: &PathBuf| other != place && other != Path::new("/") && place.starts_with(other);
        if places.iter().any(covered) {
            continue;
        }
        for above in place.ancestors().filter(|above| *above != Path::new("/")) {
            let is_link = root.lstat(above).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink);
            if is_link {
                return Err(format!("the mount at {shown} would follow the link {}", above.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::wire::Writer;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn options(images: &Path) -> Options {
        Options { images: images.to_owned(), ..Options::default() }
    }

    #[test]
    fn folders_of_others_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let images = scratch.path().join("images");
        Images::make(&options(&images)).unwrap();
        assert_eq!(std::fs::metadata(&images).unwrap().mode() & 0o777, 0o700);
        symlink(&images, scratch.path().join("link")).unwrap();
        let error = Images::open(&options(&scratch.path().join("link"))).unwrap_err();
        assert!(error.to_string().contains("a link in place of one"), "{error}");
        std::fs::set_permissions(&images, PermissionsExt::from_mode(0o777)).unwrap();
        let error = Images::make(&options(&images)).unwrap_err();
        assert!(error.to_string().contains("written to by others"), "{error}");
    }

    #[test]
    fn parents_are_checkpoints_beside_the_images() {
        let scratch = tempfile::tempdir().unwrap();
        let mut options = options(&scratch.path().join("images"));
        let earlier = scratch.path().join("earlier");
        std::fs::create_dir(&earlier).unwrap();
        for (parent, why) in
            [("/etc", "must be relative"), ("../../..", "no checkpoint"), ("../earlier", "no checkpoint")]
        {
            options.parent = Some(parent.into());
            let error = Images::make(&options).unwrap_err().to_string();
            assert!(error.contains(why) || error.contains("written to by others"), "{parent}: {error}");
        }
        std::fs::write(earlier.join("inventory.img"), "").unwrap();
        Images::make(&options).unwrap();
    }

    #[test]
    fn descriptors_are_given_for_what_criu_names_only() {
        let scratch = tempfile::tempdir().unwrap();
        let images = Images::make(&options(&scratch.path().join("images"))).unwrap();
        let lies = r#"["/etc/shadow", "pipe:[12]", "file[1f:2a]", "pipe:[13]"]"#;
        std::fs::write(scratch.path().join("images/descriptors.json"), lies).unwrap();
        assert_eq!(images.descriptors().unwrap(), [(1, "pipe:[12]".to_owned()), (2, "file[1f:2a]".to_owned())]);
        for name in ["", "pipe:", "pipe:[]", "pipe:[1]x", "xpipe:[1]", "/pipe:[1]", "socket:[1]"] {
            assert!(!is_outside(name), "{name}");
        }
    }

    #[test]
    fn mounts_stay_where_they_were() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("proc/self")).unwrap();
        symlink("/tmp", scratch.path().join("data")).unwrap();
        symlink("/tmp", scratch.path().join("proc/link")).unwrap();
        let root = Root::open(scratch.path()).unwrap();
        let check = |places: &[&str]| {
            let mut image = MOUNTS_MAGIC.to_vec();
            for place in places {
                let mut entry = Writer::default();
                entry.number(1, 5).text(7, place);
                image.extend((entry.bytes().len() as u32).to_le_bytes());
                image.extend(entry.bytes());
            }
            check_places(&super::places(&image).unwrap(), &root)
        };
        check(&["/", "/proc", "/proc/link", "/missing/x"]).unwrap();
        for places in [["/data"], ["/data/x"], ["/../x"], ["x"]] {
            assert!(check(&places).is_err(), "{places:?}");
        }
        assert!(super::places(b"nonsense").is_err());
        let mut torn = MOUNTS_MAGIC.to_vec();
        torn.extend([200, 0, 0, 0, 1]);
        assert!(super::places(&torn).is_err());
    }
}
