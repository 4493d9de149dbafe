//! `acbuild dependency add|remove`

use std::path::PathBuf;

use appc_image::fetch::Insecure;
use appc_image::stack;
use appc_spec::{AcIdentifier, Dependency as Declared, ImageManifest, ImageName, Labels};
use clap::{Args, Subcommand};

use super::removed;
use crate::document::Document;
use crate::error::{Error, Result};
use crate::run::{self, whitelist};
use crate::session::Session;

/// Manage dependencies (appc only)
///
/// A dependency is an image whose files lie below this one's when it is run; later ones lie above earlier ones.
#[derive(Debug, Args)]
pub(crate) struct Dependency {
    #[command(subcommand)]
    command: DependencyCommand,
}

#[derive(Debug, Subcommand)]
enum DependencyCommand {
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Add a dependency, or replace the one of that name
///
/// Use it to build on an image without copying it. Nothing is fetched before the image is run, unless it has a path whitelist: then all
/// of the dependency is added to that.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild dependency add quay.io/coreos/alpine-sh")]
struct Add {
    /// Name of the image, labels behind it: name[:version][,label=value...]
    image_name: String,
    /// The one image it must be
    #[arg(long, value_name = "ID")]
    image_id: Option<String>,
    /// A label the image must have (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Size of the image file in bytes
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
}

/// Remove a dependency
///
/// Exits with 2 when there is none of that name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild dependency remove quay.io/coreos/alpine-sh")]
struct Remove {
    /// Name of the image, without labels
    image_name: String,
}

impl Dependency {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            DependencyCommand::Add(add) => {
                session.debug(format_args!("Adding dependency {:?}", add.image_name));
                let dependency = add.dependency()?;
                session.edit(|manifest| {
                    if let Some(list) = manifest.whitelist() {
                        whitelist::add(list, paths(session, &dependency)?)?;
                    }
                    manifest.dependencies.retain(|d| d.image_name != dependency.image_name);
                    manifest.dependencies.push(dependency);
                    Ok(())
                })
            }
            DependencyCommand::Remove(Remove { image_name }) => {
                session.debug(format_args!("Removing dependency {image_name:?}"));
                let name: AcIdentifier = image_name.parse()?;
                session.edit(|manifest| {
                    let before = manifest.dependencies.len();
                    manifest.dependencies.retain(|d| d.image_name != name);
                    removed(manifest.dependencies.len() < before, "dependency", image_name)
                })
            }
        }
    }
}

impl Add {
    fn dependency(&self) -> Result<Declared> {
        let image: ImageName = self.image_name.parse()?;
        let mut labels = Labels::default();
        let typed = self.labels.iter().map(|(name, value)| (name.as_str(), value));
        let in_name = image.labels.iter().map(|label| (label.name.as_str(), &label.value));
        for (name, value) in typed.chain(in_name) {
            if labels.get(name).is_some() {
                return Err(Error::Refused(format!("multiple {name} labels specified: give each once")));
            }
            labels.set(name.parse()?, value);
        }
        let image_id = self.image_id.as_deref().map(str::parse).transpose()?;
        Ok(Declared { image_id, labels, size: self.size, ..Declared::new(image.name) })
    }
}

/// The paths of the image's root file system.
fn paths(session: &Session, dependency: &Declared) -> Result<Vec<PathBuf>> {
    let mut alone = ImageManifest::new(dependency.image_name.clone());
    alone.dependencies.push(dependency.clone());
    let rendered = run::dependencies(session, &alone, Insecure::default())?;
    Ok(stack::paths(&run::open_all(&rendered)?)?.into_keys().collect())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("no '=' character in {text:?}"))?;
    Ok((name.to_owned(), value.to_owned()))
}
