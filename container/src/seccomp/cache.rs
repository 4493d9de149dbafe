//! Filters that were made before.
//!
//! ```text
//! <directory>/           mode 0700; `.cache/seccomp` below the containers' state, see [`Cache::below`]
//!     <64 digits>        the SHA-256 of the profile it was made of, of our version and the architecture
//! ```
//! A file starts with the SHA-256 of the rest: flags and number of instructions (32 bits each), the instructions, and the
//! warnings as lines. What is not exactly that, or not ours alone, is not used; and whatever goes wrong here only
//! means that the filter is made anew. Files are never changed, and all removed when there are many.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccomp;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};

use super::arch::Architecture;
use super::assemble::{LONGEST, is_valid};
use super::{Filter, Instruction};
use crate::error::Result;

/// To be raised whenever the same profile is to give another program.
const FORMAT: u32 = 1;
/// More files than a host has profiles are of no use any more.
const MOST_FILES: usize = 100;
/// The longest program and as much again for warnings.
const LONGEST_FILE: u64 = 2 * 8 * LONGEST as u64;

/// A directory of filters.
#[derive(Clone, Debug)]
pub struct Cache {
    path: PathBuf,
}

impl Cache {
    /// The one that belongs to the containers whose state is in `root`.
    pub fn below(root: &Path) -> Cache {
        Cache { path: root.join(crate::state::CACHE).join("seccomp") }
    }

    /// [`Filter::compile`], or what that said the last time.
    ///
    /// # Errors
    /// As that.
    pub fn filter(&self, spec: &LinuxSeccomp) -> Result<Filter> {
        let Ok(name) = name(spec) else { return Filter::compile(spec) };
        let directory = self.open();
        if let Some(filter) = directory.as_ref().ok().and_then(|directory| find(directory, &name)) {
            return Ok(filter);
        }
        let filter = Filter::compile(spec)?;
        // The next one has to make it again then.
        let _not_kept = directory.or_else(|_| self.make()).and_then(|directory| keep(&directory, &name, &filter));
        Ok(filter)
    }

    /// Opens the directory if nobody else could have put something there.
    fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
        let metadata = directory.metadata()?;
        match is_ours(&metadata) && metadata.mode() & 0o077 == 0 {
            true => Ok(directory.into()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn make(&self) -> io::Result<OwnedFd> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.path)?;
        self.open()
    }
}

fn is_ours(metadata: &std::fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

fn name(spec: &LinuxSeccomp) -> serde_json::Result<String> {
    let mut text = format!("{} {FORMAT} {}\n", env!("CARGO_PKG_VERSION"), Architecture::native().name).into_bytes();
    serde_json::to_writer(&mut text, spec)?;
    Ok(digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn find(directory: &OwnedFd, name: &str) -> Option<Filter> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || !is_ours(&metadata) || metadata.len() > LONGEST_FILE {
        return None;
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(LONGEST_FILE).read_to_end(&mut bytes).ok()?;
    decode(&bytes)
}

fn keep(directory: &OwnedFd, name: &str, filter: &Filter) -> io::Result<()> {
    let bytes = encode(filter);
    if bytes.len() as u64 > LONGEST_FILE {
        return Ok(());
    }
    make_room(directory)?;
    let temporary = format!(".{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let kept = openat(directory, &*temporary, flags, Mode::from(0o600)).map_err(io::Error::from);
    let kept = kept.and_then(|file| File::from(file).write_all(&bytes));
    let kept = kept.and_then(|()| Ok(renameat(directory, &*temporary, directory, name)?));
    kept.inspect_err(|_| {
        // What is left of this or of an earlier attempt.
        let _absent = unlinkat(directory, &*temporary, AtFlags::empty());
    })
}

fn make_room(directory: &OwnedFd) -> io::Result<()> {
    let names = Dir::read_from(directory)?.flatten().map(|entry| entry.file_name().to_owned());
    let names: Vec<_> = names.filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect();
    if names.len() >= MOST_FILES {
        for name in &names {
            // Somebody else may be doing the same.
            let _gone = unlinkat(directory, &**name, AtFlags::empty());
        }
    }
    Ok(())
}

fn encode(filter: &Filter) -> Vec<u8> {
    let mut rest = Vec::new();
    rest.extend(filter.flags.to_ne_bytes());
    rest.extend((filter.program.len() as u32).to_ne_bytes());
    for instruction in &filter.program {
        rest.extend(instruction.code.to_ne_bytes());
        rest.extend([instruction.yes, instruction.no]);
        rest.extend(instruction.value.to_ne_bytes());
    }
    for warning in &filter.warnings {
        rest.extend(warning.bytes());
        rest.push(b'\n');
    }
    let mut bytes = digest(&SHA256, &rest).as_ref().to_vec();
    bytes.extend(rest);
    bytes
}

/// The opposite of [`encode`], for what it made and nothing else.
fn decode(bytes: &[u8]) -> Option<Filter> {
    let (sum, rest) = bytes.split_at_checked(SHA256_OUTPUT_LEN)?;
    if digest(&SHA256, rest).as_ref() != sum {
        return None;
    }
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_ne_bytes);
    let (head, rest) = rest.split_at_checked(8)?;
    let (flags, length) = (word(&head[..4])?, word(&head[4..])? as usize);
    let (program, warnings) = rest.split_at_checked(length.checked_mul(8)?)?;
    let instruction = |bytes: &[u8]| {
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        Some(Instruction { code, yes: bytes[2], no: bytes[3], value: word(&bytes[4..])? })
    };
    let program: Vec<Instruction> = program.chunks_exact(8).map(instruction).collect::<Option<_>>()?;
    let warnings = std::str::from_utf8(warnings).ok()?.lines().map(str::to_owned).collect();
    is_valid(&program).then_some(Filter { program, flags, warnings })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use serde_json::json;

    use super::*;

    fn spec(name: &str) -> LinuxSeccomp {
        let rule = json!({"names": [name, "nonesuch"], "action": "SCMP_ACT_ERRNO"});
        serde_json::from_value(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})).unwrap()
    }

    fn files(cache: &Cache) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(&cache.path).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn what_is_kept_is_what_is_found() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::below(root.path());
        let filter = cache.filter(&spec("mkdir")).unwrap();
        assert_eq!(filter, Filter::compile(&spec("mkdir")).unwrap());
        assert_eq!(filter.warnings().len(), 1);
        assert_eq!(files(&cache).len(), 1);
        assert_eq!(fs::metadata(&cache.path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(cache.filter(&spec("mkdir")).unwrap(), filter);
        assert_ne!(cache.filter(&spec("rmdir")).unwrap(), filter);
        assert_eq!(files(&cache).len(), 2);
        // It is really read: another filter under this name is returned, if it is a whole one.
        let other = files(&cache).into_iter().find(|f| decode(&fs::read(f).unwrap()).unwrap() != filter).unwrap();
        let mine = cache.path.join(name(&spec("mkdir")).unwrap());
        fs::copy(other, mine).unwrap();
        assert_ne!(cache.filter(&spec("mkdir")).unwrap(), filter);
    }

    #[test]
    fn nothing_damaged_or_foreign_is_used() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::below(root.path());
        let filter = cache.filter(&spec("mkdir")).unwrap();
        let file = files(&cache).remove(0);
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "length {at}");
        }
        // A program that the kernel would not take, with the right sum.
        let mut endless = filter.clone();
        endless.program.pop();
        assert_eq!(decode(&encode(&endless)), None);
        // Neither links nor waiting for a fifo.
        fs::write(root.path().join("elsewhere"), encode(&Filter::compile(&spec("rmdir")).unwrap())).unwrap();
        fs::remove_file(&file).unwrap();
        symlink(root.path().join("elsewhere"), &file).unwrap();
        assert_eq!(cache.filter(&spec("mkdir")).unwrap(), filter);
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert_eq!(cache.filter(&spec("mkdir")).unwrap(), filter);
        assert!(fs::metadata(&file).unwrap().is_file(), "replaced by a good one");
        // A directory that others can write to, or that is a link.
        fs::write(&file, encode(&Filter::compile(&spec("rmdir")).unwrap())).unwrap();
        assert_ne!(cache.filter(&spec("mkdir")).unwrap(), filter);
        fs::set_permissions(&cache.path, PermissionsExt::from_mode(0o770)).unwrap();
        assert_eq!(cache.filter(&spec("mkdir")).unwrap(), filter);
        fs::set_permissions(&cache.path, PermissionsExt::from_mode(0o700)).unwrap();
        fs::rename(&cache.path, root.path().join("moved")).unwrap();
        symlink(root.path().join("moved"), &cache.path).unwrap();
        assert_eq!(cache.filter(&spec("mkdir")).unwrap(), filter);
    }

    #[test]
    fn many_files_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::below(root.path());
        cache.filter(&spec("mkdir")).unwrap();
        for i in 0..MOST_FILES {
            fs::write(cache.path.join(format!("old-{i}")), "").unwrap();
        }
        cache.filter(&spec("rmdir")).unwrap();
        assert_eq!(files(&cache).len(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_done_without() {
        let cache = Cache::below(Path::new("/proc/no"));
        assert_eq!(cache.filter(&spec("mkdir")).unwrap(), Filter::compile(&spec("mkdir")).unwrap());
    }
}
