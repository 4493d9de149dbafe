//! Where the configuration lies: one directory over the other, each with `auth.d`, `trustedkeys` and the like.

use std::path::PathBuf;

use appc_image::fetch::{LOCAL_CONFIG, SYSTEM_CONFIG, user_config};

use crate::cli::directory;

/// The directories, later ones over earlier ones.
#[derive(Debug, Clone, clap::Args)]
pub struct Directories {
    /// Configuration that comes with the system
    #[arg(long, global = true, value_name = "DIR", value_parser = directory, default_value = SYSTEM_CONFIG)]
    system_config: PathBuf,
    /// Configuration of this host
    #[arg(long, global = true, value_name = "DIR", value_parser = directory, default_value = LOCAL_CONFIG)]
    local_config: PathBuf,
    /// Configuration of the user, over that of the host [default: none for root and $XDG_CONFIG_HOME/rkt for others]
    #[arg(long, global = true, value_name = "DIR", value_parser = directory)]
    user_config: Option<PathBuf>,
}

impl Directories {
    /// All of them, whether they exist or not. What is written goes into the last.
    pub fn all(&self) -> Vec<PathBuf> {
        let user = self.user_config.clone().or_else(user_config);
        [self.system_config.clone(), self.local_config.clone()].into_iter().chain(user).collect()
    }
}
