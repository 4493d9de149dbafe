//! Whatever a tree is made of.

use std::fs::{self};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use appc_image::archive::*;
use appc_rooted::Root;
use proptest::prelude::*;

use crate::tarball::{assert_same, snapshot};
use crate::trees::{set_time, unpack_to, with, write_to};

/// A random tree: what to make at each path.
#[derive(Debug, Clone)]
enum Thing {
    Dir { mode: u32 },
    File { content: Vec<u8>, repeat: usize, mode: u32 },
    Link(String),
    Again,
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        3 => (0o700u32..0o1000).prop_map(|mode| Thing::Dir { mode }),
        5 => (proptest::collection::vec(any::<u8>(), 0..40), 0usize..20_000, 0o400u32..0o1000)
            .prop_map(|(content, repeat, mode)| Thing::File { content, repeat, mode }),
        1 => "[a-z/.]{1,150}".prop_map(Thing::Link),
        1 => Just(Thing::Again),
    ]
}

fn build(top: &Path, things: &[(u8, String, Thing, i64, u32)]) {
    let mut dirs = vec![top.to_owned()];
    let mut files = Vec::new();
    let mut times = Vec::new();
    for (place, name, thing, seconds, nanoseconds) in things {
        let path = dirs[usize::from(*place) % dirs.len()].join(name);
        if path.as_os_str().len() > 3500 || path.symlink_metadata().is_ok() {
            continue;
        }
        match thing {
            Thing::Dir { mode } => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                dirs.push(path.clone());
            }
            Thing::File { content, repeat, mode } => {
                fs::write(&path, content.repeat(*repeat)).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                files.push(path.clone());
            }
            Thing::Link(target) => symlink(target, &path).unwrap(),
            Thing::Again => match files.get(usize::from(*place) % files.len().max(1)) {
                Some(file) => fs::hard_link(file, &path).unwrap(),
                None => continue,
            },
        }
        times.push((path, *seconds, i64::from(*nanoseconds)));
    }
    for (path, seconds, nanoseconds) in times.iter().rev() {
        set_time(path, *seconds, *nanoseconds);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(
        things in proptest::collection::vec(
            (any::<u8>(), "[a-z\u{e4}\u{1f600} .]{1,12}[a-z]{0,60}x", thing(), -2_000_000_000i64..12_000_000_000, 0u32..1_000_000_000),
            0..40,
        ),
        compression in proptest::sample::select(&Compression::ALL[..]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, archive, target) = (dir.path().join("rootfs"), dir.path().join("image"), dir.path().join("target"));
        fs::create_dir(&rootfs).unwrap();
        build(&rootfs, &things);
        let level = if compression == Compression::Xz { Some(0) } else { None };
        let written = write_to(&archive, &rootfs, &WriteOptions { level, ..with(compression) });
        let unpacked = unpack_to(&archive, &target, &UnpackOptions::default());
        prop_assert_eq!(written.image_id, unpacked.image_id);
        assert_same(&snapshot(&rootfs), &snapshot(&target));
        let copied = copy_tree(&Root::open(&target).unwrap(), "", &Root::open(dir.path()).unwrap(), "copy", &CopyOptions::default());
        prop_assert!(copied.is_ok());
        assert_same(&snapshot(&rootfs), &snapshot(&dir.path().join("copy")));
    }
}
