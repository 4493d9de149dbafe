//! What callers ask for and what they get back.

use std::fs::File;
use std::path::PathBuf;

use appc_spec::ImageId;

use super::{Compression, Limit};
use crate::caller;

/// How an archive is written.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The compression around the tar.
    pub compression: Compression,
    /// The compression's own level; its usual one when `None`.
    pub level: Option<u32>,
    /// Times later than this many seconds since 1970 are written as this, and the manifest's time is this (else 0).
    pub source_date_epoch: Option<i64>,
    /// Whose the files in the archive are.
    pub owners: Owners,
    /// Threads that compress, 0 for one per core. The bytes are the same whatever it is.
    pub threads: usize,
}

/// Whose files become in an archive that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// Of whom they are.
    #[default]
    AsFound,
    /// The same, as a namespace shows it: those of others of the host become root's, without set-user-ID and set-group-ID bits.
    Adopted,
    /// All of them root's.
    Root,
}

impl Owners {
    /// Those of files of the host: when an ordinary user writes them, the user's own and those of others of the host become
    /// root's, and the user's subordinate ids the image's users, where the process has entered a namespace of them.
    pub fn of_host() -> Owners {
        match (caller::is_root(), caller::is_mapped()) {
            (true, _) => Owners::AsFound,
            (_, true) => Owners::Adopted,
            _ => Owners::Root,
        }
    }
}

/// An archive that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The digest of the uncompressed archive.
    pub image_id: ImageId,
    /// The archive's size in bytes, compressed.
    pub size: u64,
    /// Sockets, which no archive can hold, and which were left out. Paths below the root.
    pub sockets: Vec<PathBuf>,
    /// What files of the host lost as they became root's, see [`Owners::Adopted`]. Paths below the root.
    pub omitted: Vec<Omission>,
}

/// How an archive is unpacked.
#[derive(Debug, Default)]
pub struct UnpackOptions {
    /// Gets a copy of every byte of the archive as it came, compressed.
    pub tee: Option<File>,
    /// Whose the files become.
    pub ownership: Ownership,
    /// What the archive is.
    pub kind: Kind,
    /// The archive's compressed size when known, for the progress display only.
    pub total: Option<u64>,
    /// The tree is to be a layer of overlay mounts: devices 0:0 and attributes that would hide what is in other layers are
    /// left out and returned as [`Omission`]s.
    pub layer: bool,
    /// How large it may be.
    pub limit: Limit,
}

/// Whose unpacked and copied files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// As recorded, with device nodes and every extended attribute. Needs root; what cannot be kept is an error.
    AsRecorded,
    /// As recorded, in a user namespace that the process has entered for an ordinary user, see
    /// [`caller`](crate::caller): files stand for device nodes, and the few extended attributes that only the host's root
    /// can set are left out and returned as [`Omission`]s.
    Mapped,
    /// The caller's. What an ordinary user cannot make (device nodes, some extended attributes) or should not
    /// (set-user-ID files that would run as the caller) is left out and returned as [`Omission`]s.
    Mine,
}

impl Ownership {
    /// [`Ownership::AsRecorded`] for root, [`Ownership::Mapped`] in a user's namespace, [`Ownership::Mine`] for anyone else.
    pub fn of_this_process() -> Ownership {
        match (rustix::process::geteuid().is_root(), caller::is_mapped()) {
            (_, true) => Ownership::Mapped,
            (true, false) => Ownership::AsRecorded,
            (false, false) => Ownership::Mine,
        }
    }

    /// For what is not the program's to keep: an ordinary user could not even remove files of others.
    pub fn for_the_caller() -> Ownership {
        if caller::is_root() { Ownership::AsRecorded } else { Ownership::Mine }
    }
}

impl Default for Ownership {
    fn default() -> Ownership {
        Ownership::of_this_process()
    }
}

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// An image: `manifest` and `rootfs` at the top and nothing else.
    #[default]
    Aci,
    /// A plain tar whose top is the root file system itself.
    RootfsTar,
}

/// An archive that was unpacked.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The digest of the uncompressed archive.
    pub image_id: ImageId,
    /// The image manifest, verbatim and unchecked; empty for [`Kind::RootfsTar`].
    pub manifest: Vec<u8>,
    /// The archive's size in bytes as it came, compressed.
    pub size: u64,
    /// Bytes of file content in the tree.
    pub tree_size: u64,
    /// What was left out as [`Ownership`] says.
    pub omitted: Vec<Omission>,
}

/// Something that is in the source and not in the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omission {
    /// The path below the root.
    pub path: PathBuf,
    /// What was left out, such as `device node`, `attribute security.capability`, `set-user-ID bit`.
    pub what: String,
}
