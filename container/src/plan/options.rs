//! Mount options as `config.json` spells them.

use crate::sys::mount::{MountAttributes, Propagation};

/// `MOUNT_ATTR_*` of linux/mount.h.
const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
/// The field the three ways to keep access times share; zero in it is `relatime`.
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// The options of one mount, sorted by what they act on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `bind` or `rbind`, and whether it was the latter.
    pub bind: Option<bool>,
    /// For the mount itself.
    pub attributes: MountAttributes,
    /// For the mount and everything below it (`rro` and its like).
    pub recursive: MountAttributes,
    /// The propagation changes in their order; true means recursively.
    pub propagation: Vec<(Propagation, bool)>,
    /// Change the mount that is there already (`remount`).
    pub remount: bool,
    /// Fill a new tmpfs with what it covers (`tmpcopyup`).
    pub copy_up: bool,
    /// Map the users of a bind mount (`idmap`); true means recursively (`ridmap`).
    pub id_map: Option<bool>,
    /// For the file system, whatever its type (`sync` and its like). A bind mount has them from where it comes.
    pub flags: Vec<&'static str>,
    /// For the file system: `key` or `key=value`.
    pub data: Vec<(String, Option<String>)>,
}

/// Options that are not for the file system alone, sorted.
#[rustfmt::skip]
const NAMES: [&str; 62] = [
    "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "idmap", "iversion", "lazytime",
    "loud", "mand", "noatime", "nodev", "nodiratime", "noexec", "noiversion", "nolazytime", "nomand", "norelatime",
    "nostrictatime", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime", "relatime",
    "remount", "rexec", "ridmap", "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime",
    "rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave", "rstrictatime",
    "rsuid", "rsymfollow", "runbindable", "rw", "shared", "silent", "slave", "strictatime", "suid", "symfollow",
    "sync", "tmpcopyup", "unbindable",
];

/// What `fsconfig(2)` takes for every type of file system (`common_set_sb_flag` of the kernel's fs/fs_context.c).
const FLAGS: [&str; 7] = ["async", "dirsync", "lazytime", "mand", "nolazytime", "nomand", "sync"];

impl MountOptions {
    /// All options that are known by name, sorted. What else there is is for the file system.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Sorts options; a later one wins over an earlier.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> MountOptions {
        let mut parsed = MountOptions::default();
        for option in options {
            parsed.add(option.as_ref());
        }
        parsed
    }

    fn add(&mut self, option: &str) {
        if let Some((set, clear)) = attribute(option) {
            change(&mut self.attributes, set, clear);
        } else if let Some((set, clear)) = option.strip_prefix('r').and_then(attribute) {
            change(&mut self.recursive, set, clear);
        } else if let Some(propagation) = propagation(option) {
            self.propagation.push(propagation);
        } else if let Some(flag) = FLAGS.iter().find(|flag| **flag == option) {
            self.flags.push(flag);
        } else {
            match option {
                "bind" => self.bind = Some(self.bind.unwrap_or(false)),
                "rbind" => self.bind = Some(true),
                "defaults" | "" => {}
                "remount" => self.remount = true,
                "tmpcopyup" => self.copy_up = true,
                "idmap" => self.id_map = Some(self.id_map.unwrap_or(false)),
                "ridmap" => self.id_map = Some(true),
                // Which messages the kernel logs, and what its file systems decide for themselves by now.
                "loud" | "silent" | "iversion" | "noiversion" => {}
                _ => match option.split_once('=') {
                    Some((key, value)) => self.data.push((key.to_owned(), Some(value.to_owned()))),
                    None => self.data.push((option.to_owned(), None)),
                },
            }
        }
    }
}

fn change(attributes: &mut MountAttributes, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
}

/// What an option sets and clears. Whoever sets a kind of access time must clear the others.
fn attribute(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        "noatime" => (NOATIME, ATIME),
        "strictatime" | "norelatime" => (STRICTATIME, ATIME),
        "relatime" | "atime" | "nostrictatime" => (0, ATIME),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<(Propagation, bool)> {
    let named = |name: &str| match name {
        "private" => Some(Propagation::Private),
        "shared" => Some(Propagation::Shared),
        "slave" => Some(Propagation::Slave),
        "unbindable" => Some(Propagation::Unbindable),
        _ => None,
    };
    match named(option) {
        Some(kind) => Some((kind, false)),
        None => option.strip_prefix('r').and_then(named).map(|kind| (kind, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(options: &str) -> MountOptions {
        MountOptions::parse(&options.split(',').collect::<Vec<_>>())
    }

    #[test]
    fn options_act_on_what_they_say() {
        let cases = [
            ("ro,nosuid", RDONLY | NOSUID, 0),
            ("ro,rw", 0, RDONLY),
            ("noatime", NOATIME, ATIME & !NOATIME),
            ("noatime,relatime", 0, ATIME),
            ("noatime,strictatime", STRICTATIME, ATIME & !STRICTATIME),
        ];
        for (options, set, clear) in cases {
            let parsed = parse(options).attributes;
            assert_eq!((parsed.set, parsed.clear & !parsed.set), (set, clear), "{options}");
        }
        assert_eq!(parse("rro,rnoexec").recursive.set, RDONLY | NOEXEC);
        assert_eq!(parse("rrelatime").recursive.clear, ATIME);
        assert_eq!(parse("rbind,rslave").propagation, [(Propagation::Slave, true)]);
        assert_eq!(parse("rbind,bind").bind, Some(true));
        assert_eq!(
            parse("mode=755,newinstance").data,
            [("mode".into(), Some("755".into())), ("newinstance".into(), None)]
        );
        let parsed = parse("idmap,ridmap,tmpcopyup,remount,sync,async");
        assert_eq!((parsed.id_map, parsed.copy_up, parsed.remount), (Some(true), true, true));
        assert_eq!((parsed.flags.as_slice(), parsed.data.len()), (["sync", "async"].as_slice(), 0));
    }

    #[test]
    fn known_names_are_sorted_and_never_taken_for_data() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            assert_eq!(parse(name).data, [], "{name}");
        }
    }

    proptest! {
        /// Nothing is lost: every option ends up in exactly one place, and data reads as written.
        #[test]
        fn every_option_goes_somewhere(options in proptest::collection::vec("[a-z]{1,9}(=[a-z0-9:/=]{0,9})?", 0..8)) {
            let parsed = MountOptions::parse(&options);
            let data: Vec<String> = parsed.data.iter().map(|(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            }).collect();
            let mut rest = options.clone();
            rest.retain(|o| data.contains(o));
            prop_assert_eq!(rest, data);
        }

        /// The last of two opposites wins, whatever stands between them.
        #[test]
        fn the_last_word_counts(between in proptest::collection::vec("nosuid|noexec|noatime|size=1k", 0..5)) {
            let around = |first: &str, last: &str| {
                let mut options = vec![first.to_owned()];
                options.extend(between.iter().cloned());
                options.push(last.to_owned());
                MountOptions::parse(&options).attributes
            };
            prop_assert_eq!(around("ro", "rw").set & RDONLY, 0);
            prop_assert_eq!(around("rw", "ro").set & RDONLY, RDONLY);
        }
    }
}
