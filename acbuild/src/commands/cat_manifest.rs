//! `acbuild cat-manifest`

use std::ffi::OsString;

use appc_image::archive;
use appc_image::fetch::Insecure;
use appc_image::oci::{Platform, read_image};
use appc_image::open_regular;
use appc_image::reference::Reference;
use appc_spec::ImageManifest;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::document::Mode;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::{images, output};

/// Print the manifest from the current build, or that of an image
///
/// Use it to see what the commands so far made, or what is in an image. The manifest of an image is printed as it is,
/// whatever is wrong with it, unless it is to be indented. An oci build has a manifest and a config; the layers of the
/// build itself are not in them before they are written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  acbuild cat-manifest --pretty-print\n  acbuild cat-manifest hello.aci")]
pub(crate) struct CatManifest {
    /// The image: a file, the name or ID of one in the store, or where it is; the build without it
    image: Option<OsString>,
    /// Print it over several lines, indented
    #[arg(long)]
    pretty_print: bool,
    /// Which file to print; an appc image has only the manifest, and the manifest of an OCI image is what it is as one of appc
    #[arg(long, value_enum, default_value = "manifest")]
    file: Which,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Manifest,
    Config,
}

impl CatManifest {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        if let Some(word) = &self.image {
            let reference = Reference::of_image(word)?;
            if let Which::Config = self.file {
                return self.config_of(&reference, session);
            }
            let manifest = of_image(&reference, session)?;
            let parsed = ImageManifest::parse(&manifest).map_err(|e| {
                Error::Refused(format!(
                    "the manifest of {reference} is none: {e}: have its maker write the image again"
                ))
            })?;
            return match self.pretty_print {
                true => output::result(parsed.to_json_pretty()),
                false => output::result(String::from_utf8_lossy(&manifest)),
            };
        }
        session.debug("Printing manifest from current build");
        match (session.mode()?, self.file) {
            (Mode::Appc, Which::Config) => Err(no_config()),
            (Mode::Appc, Which::Manifest) => {
                let manifest = session.manifest()?;
                output::result(if self.pretty_print { manifest.to_json_pretty() } else { manifest.to_json() })
            }
            (Mode::Oci, Which::Config) => self.print(&session.image()?.config),
            (Mode::Oci, Which::Manifest) => self.print(&session.image()?.manifest()?),
        }
    }

    fn print(&self, document: &impl Serialize) -> Result<()> {
        let mut text = Vec::new();
        let written = match self.pretty_print {
            // As many spaces as the manifests of appc builds have.
            true => {
                document.serialize(&mut Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    ")))
            }
            false => document.serialize(&mut Serializer::new(&mut text)),
        };
        written.map_err(|e| Error::Refused(format!("the document is no JSON: {e}")))?;
        output::result(String::from_utf8_lossy(&text))
    }

    /// Prints the configuration of an OCI image, as it is or indented.
    fn config_of(&self, reference: &Reference, session: &Session) -> Result<()> {
        if let Reference::File(_) = reference {
            return Err(no_config());
        }
        let (store, image) = images::stored(reference, Insecure::default(), session)?;
        let source = store.oci(&image.id)?.ok_or_else(no_config)?;
        let config = read_image(&source, &Platform::host())?.config_bytes;
        match serde_json::from_slice::<serde_json::Value>(&config) {
            Ok(document) if self.pretty_print => self.print(&document),
            _ => output::result(String::from_utf8_lossy(&config)),
        }
    }
}

fn no_config() -> Error {
    Error::refused("can't print config, appc has no image configs: use --file manifest")
}

/// The manifest as it lies in the image.
fn of_image(reference: &Reference, session: &Session) -> Result<Vec<u8>> {
    if let Reference::File(path) = reference {
        let file = open_regular(path).map_err(Error::io("open", path))?;
        return archive::manifest(file).map_err(|error| Error::File { path: path.clone(), error });
    }
    let (store, image) = images::stored(reference, Insecure::default(), session)?;
    Ok(store.manifest_bytes(&image.id)?)
}
