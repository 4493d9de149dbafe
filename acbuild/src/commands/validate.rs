//! `acbuild validate`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use appc_image::Error::NotStored;
use appc_image::archive::{self, Compression};
use appc_image::convert::{self, Options};
use appc_image::fetch::Insecure;
use appc_image::oci::Source;
use appc_image::open_regular;
use appc_image::reference::{Found, Reference, without_login};
use appc_spec::{ImageManifest, PodManifest};
use clap::{Args, ValueEnum};

use super::convert::input::{self, Input};
use super::read_json;
use crate::error::{Error, Result};
use crate::progress::Bar;
use crate::session::Session;
use crate::{images, output};

/// Check images, manifests and extracted images against the specification
///
/// An image is read to its end, and so are all layers of one of OCI or docker. Says nothing of what is valid, but with
/// --debug, and one line about what is not; exits with 1 then.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild validate hello.aci manifest.json ./layout
  acbuild validate example.com/hello:1.0 oci:hello docker://registry.example.com/hello:1.0")]
pub(crate) struct Validate {
    /// Image archives, files with image or pod manifests, directories with a manifest and a rootfs, or bundles; what is no
    /// file or directory is an image: the name or ID of one in the store, or where it is
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// What the files are; found out without it
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// What is not checked of an image that is fetched: a list of none, image, tls, http, pubkey, all-fetch
    #[arg(long, value_name = "LIST", default_value = "none")]
    insecure_options: Insecure,
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
        for word in &self.images {
            match self.check(word, session) {
                Ok(what) => session.debug(format_args!("{}: valid {what}", shown(word))),
                Err(error) => {
                    if let Some(before) = failed.replace(error) {
                        output::note(format_args!("validate: {before}"));
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What the word names, if that is valid. Files come first: they are what scripts mean.
    fn check(&self, word: &Path, session: &Session) -> Result<&'static str> {
        match word.metadata() {
            Ok(found) if found.is_dir() && self.kind.is_none() && is_image(word) => self.check_image(word, session),
            Ok(found) if found.is_file() && self.kind.is_none() => match Reference::of_file(word.to_owned())? {
                Reference::File(_) => self.check_path(word, false),
                archive => self.check_reference(word, &archive, session),
            },
            Ok(found) => self.check_path(word, found.is_dir()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.check_image(word, session),
            Err(e) => Err(Error::Refused(format!("unable to access {}: {e}", shown(word)))),
        }
    }

    fn check_path(&self, path: &Path, is_dir: bool) -> Result<&'static str> {
        let shown = path.display();
        let kind = match self.kind {
            Some(kind) => kind,
            None if is_dir => Kind::Layout,
            None => detect(path)?,
        };
        match (kind, is_dir) {
            (Kind::Layout, true) => {
                archive::validate_layout(path).map_err(|e| invalid(path, "image layout", &e))?;
                Ok("image layout")
            }
            (Kind::Layout, false) => Err(invalid(path, "image layout", &"it is not a directory (wrong --type?)")),
            (_, true) => Err(Error::Refused(format!("{shown} is a directory (wrong --type?)"))),
            (Kind::AppImage, false) => app_image(path, open_regular(path).map_err(Error::io("open", path))?),
            (Kind::Manifest, false) => manifest(path),
        }
    }

    fn check_image(&self, word: &Path, session: &Session) -> Result<&'static str> {
        let shown = shown(word);
        match Reference::from_word(word)? {
            // As an address.
            Reference::File(path) if path != word && path.exists() => self.check(&path, session),
            Reference::File(_) => Err(Error::Refused(format!("unable to access {shown}: no such file"))),
            reference => self.check_reference(word, &reference, session),
        }
    }

    fn check_reference(&self, word: &Path, reference: &Reference, session: &Session) -> Result<&'static str> {
        let shown = shown(word);
        if let Some(Kind::Layout | Kind::Manifest) = self.kind {
            return Err(Error::Refused(format!("{shown} is an image (wrong --type?)")));
        }
        let mut options = Options::new(std::env::temp_dir());
        options.limit = session.limit();
        if !matches!(reference, Reference::Id(_) | Reference::Name(_) | Reference::Url(_)) {
            return match input::open(reference, self.insecure_options, &options)? {
                Input::Archive(archive) => app_image(word, archive),
                Input::Oci(source, _) => self.oci(word, &*source, &options),
            };
        }
        let (store, image) = images::stored(reference, self.insecure_options, session).map_err(|e| match e {
            Error::Image(NotStored(_)) => {
                Error::Refused(format!("unable to access {shown}: no such file, and no such image in the store"))
            }
            other => other,
        })?;
        match store.oci(&image.id)? {
            Some(source) => self.oci(word, &source, &options),
            None => {
                let blob = store.blob(&image.id);
                app_image(word, File::open(&blob).map_err(Error::io("open", &blob))?)
            }
        }
    }

    fn oci(&self, word: &Path, source: &dyn Source, options: &Options) -> Result<&'static str> {
        if let Some(Kind::AppImage) = self.kind {
            return Err(invalid(word, "app container image", &"it is one of OCI (wrong --type?)"));
        }
        convert::validate(source, options, &Bar::new()).map_err(|e| invalid(word, "OCI image", &e))?;
        Ok("OCI image")
    }
}

/// Whether a directory is a bundle or a layout of OCI, and no image layout.
fn is_image(dir: &Path) -> bool {
    matches!(Found::at(dir), Some(Found::Bundle | Found::Layout)) && !dir.join("manifest").exists()
}

/// The word as it may be shown.
fn shown(word: &Path) -> String {
    without_login(&word.to_string_lossy())
}

fn invalid(word: &Path, what: &str, why: &dyn std::fmt::Display) -> Error {
    Error::Refused(format!("{}: invalid {what}: {why}", shown(word)))
}

fn app_image(word: &Path, archive: File) -> Result<&'static str> {
    archive::validate(archive).map_err(|e| invalid(word, "app container image", &e))?;
    Ok("app container image")
}

/// What a file is by its beginning.
fn detect(path: &Path) -> Result<Kind> {
    let mut start = Vec::new();
    let file = open_regular(path).map_err(Error::io("open", path))?;
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
