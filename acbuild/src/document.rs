//! What a build says of its image, whichever kind of image it is.
//!
//! Commands that work in every build are written against [`Document`]. What only images of one kind have is edited in
//! their own type: [`ImageManifest`](appc_spec::ImageManifest) or [`Image`](crate::oci::Image).

mod appc;

use std::fmt;

use appc_spec::{MountPoint, Port};

use crate::error::Result;

/// The kind of image that is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// An App Container image.
    Appc,
    /// An OCI image.
    Oci,
}

impl Mode {
    /// The content of `buildMode`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Mode::Appc => "appc",
            Mode::Oci => "oci",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Mode> {
        [Mode::Appc, Mode::Oci].into_iter().find(|mode| mode.as_str() == text)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What images of all kinds have. Adding replaces what is there under that name, unless the kind of image forbids it;
/// removing what is not there is an error.
pub(crate) trait Document {
    /// The kind of image.
    fn mode(&self) -> Mode;

    /// The bytes to keep it as, once it is known to keep the rules.
    fn to_bytes(&self) -> Result<Vec<u8>>;

    /// What the image is called.
    fn name(&self) -> &str;

    /// The history, the first command first.
    fn steps(&self) -> Vec<&str>;

    /// The paths that the image shows, where it has a list of them and shows no others.
    fn whitelist(&mut self) -> Option<&mut Vec<String>> {
        None
    }

    /// Adds a command to the history.
    fn record(&mut self, line: &str) -> Result<()>;

    fn set_tag(&mut self, tag: &str) -> Result<()>;
    fn set_exec(&mut self, command: &[String]) -> Result<()>;
    fn set_user(&mut self, user: &str) -> Result<()>;
    fn set_group(&mut self, group: &str) -> Result<()>;
    fn set_working_directory(&mut self, directory: &str) -> Result<()>;

    fn set_annotation(&mut self, name: &str, value: &str) -> Result<()>;
    fn remove_annotation(&mut self, name: &str) -> Result<()>;
    fn set_label(&mut self, name: &str, value: &str) -> Result<()>;
    fn remove_label(&mut self, name: &str) -> Result<()>;
    fn set_variable(&mut self, name: &str, value: &str) -> Result<()>;
    fn remove_variable(&mut self, name: &str) -> Result<()>;
    fn add_port(&mut self, port: Port) -> Result<()>;
    /// By its name or number.
    fn remove_port(&mut self, name: &str) -> Result<()>;
    fn add_mount(&mut self, mount: MountPoint) -> Result<()>;
    /// By its name or path.
    fn remove_mount(&mut self, name: &str) -> Result<()>;
}
