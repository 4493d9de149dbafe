//! `acbuild diff`

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use appc_image::fetch::Insecure;
use appc_image::reference::Reference;
use appc_image::render::{self, Difference, Rules, compare};
use appc_image::store::Store;
use appc_rooted::Root;
use clap::Args;
use serde_json::json;

use super::Format;
use crate::context::Access;
use crate::document::Mode;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::temporary::Temporary;
use crate::whole::{Layers, Parts};
use crate::{images, output, users};

/// Compare the files of two images, or of an image and the build in progress
///
/// Dependencies are part of it; those of A and B are looked for in the store. Each line is a path: + only in B, - only in
/// A, ~ in both but different, and how. An image that is no name or ID of one in the store is read from where it is, and not
/// kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild diff base.aci
  acbuild diff example.com/app:1.0 docker://registry.example.com/app:1.1")]
pub(crate) struct Diff {
    /// The first image: the name or ID of one in the store, a file, or where it is
    a: OsString,
    /// The second; the build in progress without it
    b: Option<OsString>,
    /// Files with other times are different, too
    #[arg(long)]
    times: bool,
    /// Print JSON instead of lines
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// What is not checked of an image that is fetched: a list of none, image, tls, http, pubkey, all-fetch
    #[arg(long, value_name = "LIST", default_value = "none")]
    insecure_options: Insecure,
}

impl Diff {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let rules = if self.times { Rules::Times } else { Rules::Seen };
        users::warn_of_blindness();
        let place = Temporary::new("diff")?;
        let side = |name: &str, word: &Option<OsString>| {
            let dir = place.path().join(name);
            fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
            match word {
                Some(word) => self.image(&Reference::of_image(word)?, &dir, session),
                None => build(&dir, session),
            }
        };
        let (a, b) = (side("a", &Some(self.a.clone()))?, side("b", &self.b)?);
        let differences = compare(&a.trees, &b.trees, rules)?;
        match self.format {
            Some(format) => format.print(&json!(differences)),
            None if differences.is_empty() => Ok(()),
            None => {
                let lines: Vec<String> = differences.iter().map(Difference::to_string).collect();
                output::result(lines.join("\n"))
            }
        }
    }

    /// What an image consists of. What is not in the store is brought to the empty directory `dir`, and gone afterwards.
    fn image(&self, reference: &Reference, dir: &Path, session: &Session) -> Result<Layers> {
        if let Some(known) = images::known(reference, session) {
            let (store, image) = known?;
            return Layers::of(render::layers(&store, &image)?);
        }
        if let Some((store, image)) = images::fetched_before(reference, session)? {
            return Layers::of(render::layers(&store, &image)?);
        }
        let own = Store::open(dir.join("store"))?.limited(session.limit());
        let image = images::fetch_into(&own, reference, self.insecure_options, session)?;
        if image.manifest.dependencies.is_empty() {
            return Layers::of(render::layers(&own, &image)?);
        }
        let tree = own.tree(&image.id);
        let tree = Root::open(&tree).map_err(Error::io("open", tree))?;
        let store = Store::open_existing(session.store_dir())?;
        Parts::of_image(&store, &image.manifest, tree)?.layers(dir)
    }
}

/// What the build in progress consists of; there is room in the empty directory `dir`.
fn build(dir: &Path, session: &Session) -> Result<Layers> {
    let build = session.whole(Access::Read)?;
    if build.mode() == Mode::Oci {
        // All layers are merged in it.
        return Ok(Layers::of_tree(build.rootfs()?));
    }
    Parts::of(session, &build, &build.manifest()?)?.layers(dir)
}
