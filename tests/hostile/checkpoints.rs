//! Images that somebody else could have written, or has: item 26.
//!
//! criu itself is a stand-in that writes down what it was asked: what matters is what it is asked, and whether.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::json;
use support::{Cmd, needs};

use crate::attack::Attack;

/// What every image of mounts begins with, by criu's `magic.h`.
const MOUNTS_MAGIC: [u8; 8] = [0x19, 0x43, 0x56, 0x54, 0x28, 0x39, 0x56, 0x55];

struct Images {
    attack: Attack,
    folder: PathBuf,
    request: PathBuf,
}

impl Images {
    fn new() -> Images {
        let mut attack = Attack::new("sleep 1000");
        let place = |name: &str| attack.scratch.path().join(name);
        let (folder, request, programs) = (place("images"), place("request"), place("programs"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&programs).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        let script = format!("#!/bin/bash\ndd bs=65536 count=1 <&$2 >{} 2>/dev/null\nexit 1\n", request.display());
        fs::write(programs.join("criu"), script).unwrap();
        fs::set_permissions(programs.join("criu"), PermissionsExt::from_mode(0o755)).unwrap();
        attack.config["annotations"] = json!({"org.criu.config": "/tripwire/criu.conf"});
        let images = Images { attack, folder, request };
        images.descriptors(&["/dev/null", "/dev/null", "/dev/null"]);
        images.mounts(&["/", "/proc", "/dev"]);
        images
    }

    fn descriptors(&self, names: &[&str]) {
        fs::write(self.folder.join("descriptors.json"), json!(names).to_string()).unwrap();
    }

    /// An image with mounts at these places: entries of a length and one field each, the seventh.
    fn mounts(&self, places: &[&str]) {
        let mut image = MOUNTS_MAGIC.to_vec();
        for place in places {
            image.extend((place.len() as u32 + 2).to_le_bytes());
            image.extend([0x3a, place.len() as u8]);
            image.extend(place.as_bytes());
        }
        fs::write(self.folder.join("mountpoints-12.img"), image).unwrap();
    }

    fn command(&self, command: &[&str], folder: &str) -> Cmd {
        let programs = self.attack.scratch.path().join("programs");
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let folder = self.attack.scratch.path().join(folder);
        self.attack.command([command[0], "--image-path"]).arg(folder).args(&command[1..]).env("PATH", path)
    }

    /// What criu was asked, if it was.
    fn asked(&self) -> Option<String> {
        let request = fs::read(&self.request).ok();
        let _not_asked = fs::remove_file(&self.request);
        request.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[test]
fn item_26_folders_that_others_may_write_to() {
    needs!(root, "busybox", "bash");
    let images = Images::new();
    let attack = &images.attack;
    attack.command(["run", "-d", "test"]).ok();
    symlink(&images.folder, attack.scratch.path().join("link")).unwrap();
    let open = attack.scratch.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    for folder in ["link", "open"] {
        images.command(&["checkpoint", "test"], folder).exits(1);
        images.command(&["restore", "--detach", "other"], folder).exits(1);
    }
    for parent in ["/", "/tmp", "../../..", "../open", "none"] {
        images.command(&["checkpoint", "--pre-dump", "--parent-path", parent, "test"], "images").exits(1);
    }
    assert_eq!(images.asked(), None, "criu was not started");
    assert_eq!(attack.command(["state", "test"]).ok().json()["status"], "running");
    attack.command(["delete", "-f", "test"]).ok();
}

#[test]
fn item_26_images_that_lead_out_of_the_container() {
    needs!(root, "busybox", "bash");
    let images = Images::new();
    let attack = &images.attack;
    // Another root file system, where the way to a mount is a link.
    symlink(attack.tripwire(), attack.rootfs("data")).unwrap();
    symlink("/proc/self/root", attack.rootfs("etc/link")).unwrap();
    for place in
        ["../../tripwire", "/../../tripwire", "data", "/data", "/data/sub", "/etc/link/x", "/etc/../data/sub", ""]
    {
        images.mounts(&["/", place]);
        images.command(&["restore", "--detach", "test"], "images").exits(1);
        assert_eq!(images.asked(), None, "criu was started for a mount at {place:?}");
        attack.nothing_left();
    }
    for image in [&b""[..], b"not an image", &MOUNTS_MAGIC[..7], &[&MOUNTS_MAGIC[..], &[0xff; 40]].concat()] {
        fs::write(images.folder.join("mountpoints-12.img"), image).unwrap();
        images.command(&["restore", "--detach", "test"], "images").exits(1);
        assert_eq!(images.asked(), None, "criu was started for {image:?}");
    }
}

#[test]
fn item_26_images_that_lie_about_descriptors() {
    needs!(root, "busybox", "bash");
    let images = Images::new();
    let lies = ["/etc/shadow", "pipe:[1]x/etc/shadow", "file[../shadow]"];
    images.descriptors(&lies);
    images.command(&["restore", "--detach", "test"], "images").exits(1);
    let asked = images.asked().expect("criu was asked");
    assert!(!asked.contains("shadow"), "{asked:?}");
    // Nor does the configuration that an annotation names get there: it could say anything.
    assert!(!asked.contains("criu.conf") && !asked.contains("org.criu"), "{asked:?}");
    images.attack.nothing_left();
    for text in ["", "{}", "[1,2,3]", "null"] {
        fs::write(images.folder.join("descriptors.json"), text).unwrap();
        images.command(&["restore", "--detach", "test"], "images").exits(1);
        assert_eq!(images.asked(), None);
        images.attack.nothing_left();
    }
}
