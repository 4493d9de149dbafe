//! Where the configuration lies: one directory over the other, each with `auth.d`, `trustedkeys` and the like.

use std::ffi::OsString;
use std::path::PathBuf;

/// Configuration that comes with the system.
pub const SYSTEM_CONFIG: &str = "/usr/lib/rkt";
/// Configuration of this host.
pub const LOCAL_CONFIG: &str = "/etc/rkt";

/// All of them, later ones over earlier ones, whether they exist or not.
pub fn config_dirs() -> Vec<PathBuf> {
    [SYSTEM_CONFIG.into(), LOCAL_CONFIG.into()].into_iter().chain(user_config()).collect()
}

/// Configuration of the user, over that of the host; root has none.
pub fn user_config() -> Option<PathBuf> {
    own(crate::caller::is_root(), |name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn own(root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG specification: a relative path in the variable is to be ignored.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = || absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    if root { None } else { folder().map(|folder| folder.join("rkt")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_users_have_their_own() {
        let set = |name: &str| (name == "HOME").then(|| OsString::from("/home/me"));
        assert_eq!(own(false, set), Some("/home/me/.config/rkt".into()));
        assert_eq!(own(false, |name| Some(if name == "HOME" { "/home/me" } else { "x" }.into())), own(false, set));
        assert_eq!(own(false, |_| Some("/x".into())), Some("/x/rkt".into()));
        assert_eq!(own(true, set), None);
    }
}
