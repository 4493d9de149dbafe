//! Tells `rkt-oci --version` which commit it is built from, and how the program is linked: where it begins, and with
//! packed relocations.
//!
//! The commit is read from the files of the repository, as git itself need not be there. Only for releases: looking again
//! at every commit would have a developer's every build start from here. Anything else says the version of the crate.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RKT_OCI_COMMIT");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // For those who build from an archive and know.
    let commit = std::env::var("RKT_OCI_COMMIT").ok().filter(|given| !given.trim().is_empty());
    let commit = commit.or_else(|| if release { commit_of(Path::new("../.git")) } else { None });
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=RKT_OCI_COMMIT={}", commit.unwrap_or(version).trim());
    // See src/sys/entry.rs.
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=appc_protected_entry");
    }
    if packs_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the program will understand packed relocations: a quarter of a megabyte that each start of it need not read.
/// A static one applies its own, with code that the GNU C library has since 2.36.
fn packs_relocations() -> bool {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let here = variable("HOST") == variable("TARGET") && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    let is_static = variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    let asked = || Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok();
    let version = || String::from_utf8(asked()?.stdout).ok()?.trim().strip_prefix("glibc 2.")?.parse::<u32>().ok();
    here && is_static && version().is_some_and(|minor| minor >= 36)
}

fn commit_of(git: &Path) -> Option<String> {
    let head = read(&git.join("HEAD"))?;
    let commit = match head.trim().strip_prefix("ref: ") {
        None => head,
        Some(branch) => read(&git.join(branch)).or_else(|| {
            let packed = read(&git.join("packed-refs"))?;
            let line = packed.lines().find(|line| line.ends_with(&format!(" {branch}")))?;
            line.split(' ').next().map(str::to_owned)
        })?,
    };
    let commit = commit.trim();
    (commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit())).then(|| commit.to_owned())
}

/// Cargo is to run this again when the file changes.
fn read(path: &PathBuf) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text)
}
