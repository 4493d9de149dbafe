//! Capability names and the set that apps have by default.

use std::collections::HashSet;
use std::str::FromStr;

pub use appc_container::capabilities::DEFAULT;
use oci_spec::runtime::Capability;

/// `CAP_NET_ADMIN`, in any case, also without `CAP_`.
pub fn parse(name: &str) -> Option<Capability> {
    let name = name.to_ascii_uppercase();
    Capability::from_str(name.strip_prefix("CAP_").unwrap_or(&name)).ok()
}

/// A whole set by its names.
///
/// # Errors
/// The first name that is no capability.
pub fn parse_set<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<HashSet<Capability>, &'n str> {
    names.into_iter().map(|name| parse(name).ok_or(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(parse("CAP_NET_BIND_SERVICE"), Some(Capability::NetBindService));
        assert_eq!(parse("sys_ptrace"), Some(Capability::SysPtrace));
        assert_eq!(parse("CAP_EVERYTHING"), None);
        assert_eq!(parse_set(["CAP_KILL", "NO"]), Err("NO"));
    }
}
