//! Operating systems and architectures: `linux`, `aarch64` here, `linux/arm64/v8` there.

use crate::check_os_arch;

/// Label values, and what OCI calls them. Of several lines for one side the first is the one that is written.
const NAMES: [(&str, &str, &str, &str); 18] = [
    ("linux", "amd64", "amd64", ""),
    ("linux", "i386", "386", ""),
    ("linux", "aarch64", "arm64", "v8"),
    ("linux", "aarch64", "arm64", ""),
    ("linux", "armv6l", "arm", "v6"),
    ("linux", "armv6l", "arm", ""),
    ("linux", "armv7l", "arm", "v7"),
    ("linux", "armv7l", "arm", "v8"),
    ("linux", "ppc64", "ppc64", ""),
    ("linux", "ppc64le", "ppc64le", ""),
    ("linux", "s390x", "s390x", ""),
    ("freebsd", "amd64", "amd64", ""),
    ("freebsd", "i386", "386", ""),
    ("freebsd", "arm", "arm", ""),
    ("freebsd", "arm", "arm", "v6"),
    ("freebsd", "arm", "arm", "v7"),
    ("darwin", "x86_64", "amd64", ""),
    ("darwin", "i386", "386", ""),
];

/// Architecture and variant of an `arch` label; none if OCI has no word for it.
pub fn to_oci(os: &str, arch: &str) -> Option<(&'static str, &'static str)> {
    let found = NAMES.iter().find(|(known_os, known_arch, ..)| (*known_os, *known_arch) == (os, arch));
    found.map(|(_, _, architecture, variant)| (*architecture, *variant))
}

/// The `arch` label of a platform; none if there is no label for it.
pub fn to_label<'a>(os: &str, architecture: &'a str, variant: &str) -> Option<&'a str> {
    let known = |line: &&(&str, &str, &str, &str)| (line.0, line.2) == (os, architecture);
    let exact = NAMES.iter().filter(known).find(|line| line.3 == variant);
    // Levels of amd64 (`v2`, `v3`) say what more is needed, not another architecture.
    let level = || NAMES.iter().filter(known).find(|line| line.3.is_empty() && architecture != "arm");
    if let Some(line) = exact.or_else(level) {
        return Some(line.1);
    }
    // What OCI has no word for was written as it is; what it has another word for was not.
    let verbatim = to_oci(os, architecture).is_none() && architecture != "arm";
    (verbatim && check_os_arch(os, Some(architecture)).is_ok()).then_some(architecture)
}
