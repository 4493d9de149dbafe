//! The operating systems and architectures that labels may name.

use crate::Error;

/// What `os` and `arch` labels may say together.
const VALID: [(&str, &[&str]); 3] = [
    ("darwin", &["x86_64", "i386"]),
    ("freebsd", &["amd64", "i386", "arm"]),
    ("linux", &["amd64", "i386", "aarch64", "aarch64_be", "armv6l", "armv7l", "armv7b", "ppc64", "ppc64le", "s390x"]),
];

/// Whether the labels `os` and `arch` name a combination of the specification. `arch` has no meaning without `os`.
///
/// # Errors
/// The choices there are.
pub fn check_os_arch(os: &str, arch: Option<&str>) -> Result<(), Error> {
    let Some((_, arches)) = VALID.iter().find(|(name, _)| *name == os) else {
        let known = VALID.map(|(name, _)| name).join(" ");
        return Err(Error::new(format!("bad os {os:?} (must be one of: [{known}])")));
    };
    match arch {
        Some(arch) if !arches.contains(&arch) => {
            Err(Error::new(format!("bad arch {arch:?} for {os} (must be one of: [{}])", arches.join(" "))))
        }
        _ => Ok(()),
    }
}

/// The `arch` label of programs that run on this machine.
pub fn host_arch() -> &'static str {
    let little = cfg!(target_endian = "little");
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "i386",
        "aarch64" if little => "aarch64",
        "aarch64" => "aarch64_be",
        "arm" if little => "armv7l",
        "arm" => "armv7b",
        "powerpc64" if little => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    }
}
