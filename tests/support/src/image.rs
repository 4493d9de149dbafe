//! Images made with the built `acbuild`.

use std::path::PathBuf;

use crate::{Scratch, rootfs};

/// Builds `FILE.aci` in the work folder: a busybox root file system, this name, and what further `acbuild` commands say.
/// The words of a command are separated by single spaces; a `\t` stands for a space inside of a word.
#[track_caller]
pub fn busybox_image(scratch: &Scratch, file: &str, name: &str, commands: &[&str]) -> PathBuf {
    let root = scratch.path().join("busybox");
    if !root.exists() {
        rootfs::busybox(&root);
    }
    let work = scratch.path().join(format!("build-{file}"));
    std::fs::create_dir(&work).expect("the folder is ours");
    let acbuild = |words: &[String]| {
        scratch.acbuild(words).cwd(&work).ok();
    };
    acbuild(&["begin".into(), root.display().to_string()]);
    acbuild(&["set-name".into(), name.into()]);
    for command in commands {
        acbuild(&command.split(' ').map(|word| word.replace('\t', " ")).collect::<Vec<_>>());
    }
    let image = scratch.work().join(format!("{file}.aci"));
    acbuild(&["write".into(), image.display().to_string()]);
    acbuild(&["end".into()]);
    image
}
