//! `acbuild validate`

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use appc_image::archive::{self, Compression};
use appc_spec::{ImageManifest, PodManifest};
use clap::{Args, ValueEnum};

use super::read_json;
use crate::error::{Error, Result};
use crate::output;
use crate::session::Session;

/// Check images, manifests and extracted images against the specification
///
/// An archive is read to its end. Says nothing of what is valid, but with --debug, and one line about what is not; exits
/// with 1 then.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild validate hello.aci manifest.json ./layout")]
pub(crate) struct Validate {
    /// Image archives, files with image or pod manifests, or directories with a manifest and a rootfs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the files are; found out without it
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum Kind {
    AppImage,
    Layout,
    Manifest,
}

impl Validate {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let mut failed: Option<Error> = None;
        for path in &self.files {
            match self.check(path) {
                Ok(what) => session.debug(format_args!("{}: valid {what}", path.display())),
                Err(error) => {
                    if let Some(before) = failed.replace(error) {
                        output::note(format_args!("validate: {before}"));
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What the file is, if it is valid.
    fn check(&self, path: &Path) -> Result<&'static str> {
        let shown = path.display();
        let invalid =
            |what: &str, why: &dyn std::fmt::Display| Error::Refused(format!("{shown}: invalid {what}: {why}"));
        let found = path.metadata().map_err(|e| Error::Refused(format!("unable to access {shown}: {e}")))?;
        let kind = match self.kind {
            Some(kind) => kind,
            None if found.is_dir() => Kind::Layout,
            None => detect(path)?,
        };
        match (kind, found.is_dir()) {
            (Kind::Layout, true) => {
                archive::validate_layout(path).map_err(|e| invalid("image layout", &e))?;
                Ok("image layout")
            }
            (Kind::Layout, false) => Err(invalid("image layout", &"it is not a directory (wrong --type?)")),
            (_, true) => Err(Error::Refused(format!("{shown} is a directory (wrong --type?)"))),
            (Kind::AppImage, false) => {
                let file = File::open(path).map_err(Error::io("open", path))?;
                archive::validate(file).map_err(|e| invalid("app container image", &e))?;
                Ok("app container image")
            }
            (Kind::Manifest, false) => manifest(path),
        }
    }
}

/// What a file is by its beginning.
fn detect(path: &Path) -> Result<Kind> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(Compression::MAGIC_LEN as u64).read_to_end(&mut start).map_err(Error::io("read", path))?;
    match Compression::detect(&start) {
        Some(_) => Ok(Kind::AppImage),
        None if start.trim_ascii_start().starts_with(b"{") => Ok(Kind::Manifest),
        None => Err(Error::Refused(format!("{}: unable to detect filetype (try --type)", path.display()))),
    }
}

fn manifest(path: &Path) -> Result<&'static str> {
    let text = read_json(path)?;
    let unreadable =
        |e: serde_json::Error| Error::Refused(format!("{}: error unmarshaling manifest: {e}", path.display()));
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(unreadable)?;
    // Names of fields are compared as Go does.
    let mut fields = value.as_object().into_iter().flatten();
    let kind = fields.rfind(|(name, _)| name.eq_ignore_ascii_case("acKind")).and_then(|(_, kind)| kind.as_str());
    let (what, checked) = match kind {
        Some("ImageManifest") => ("ImageManifest", ImageManifest::parse(&text).map(drop)),
        Some("PodManifest") => ("PodManifest", PodManifest::parse(&text).map(drop)),
        kind => {
            let kind = kind.unwrap_or_default();
            let why = format!("acKind must be ImageManifest or PodManifest, found {kind:?}");
            return Err(Error::Refused(format!("{}: invalid manifest: {why}", path.display())));
        }
    };
    checked.map_err(|e| Error::Refused(format!("{}: invalid {what}: {e}", path.display())))?;
    Ok(what)
}
