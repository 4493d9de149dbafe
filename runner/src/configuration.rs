//! Where the configuration lies: one directory over the other, each with `auth.d`, `trustedkeys` and the like.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::directory;

/// The directories, later ones over earlier ones.
#[derive(Debug, Clone, clap::Args)]
pub struct Directories {
    /// Configuration that comes with the system
    #[arg(long, global = true, value_name = "DIR", value_parser = directory, default_value = "/usr/lib/rkt")]
    system_config: PathBuf,
    /// Configuration of this host
    #[arg(long, global = true, value_name = "DIR", value_parser = directory, default_value = "/etc/rkt")]
    local_config: PathBuf,
    /// Configuration of the user, over that of the host [default: none for root and $XDG_CONFIG_HOME/rkt for others]
    #[arg(long, global = true, value_name = "DIR", value_parser = directory)]
    user_config: Option<PathBuf>,
}

impl Directories {
    /// All of them, whether they exist or not. What is written goes into the last.
    pub fn all(&self) -> Vec<PathBuf> {
        let user = self.user_config.clone().or_else(|| {
            let root = rustix::process::geteuid().is_root();
            own(root, |name| std::env::var_os(name).filter(|value| !value.is_empty()))
        });
        [self.system_config.clone(), self.local_config.clone()].into_iter().chain(user).collect()
    }
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
