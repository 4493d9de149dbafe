//! `acbuild diff`

use std::ffi::OsString;

use appc_image::fetch::Insecure;
use appc_image::reference::Reference;
use appc_image::render::{self, Difference, Rules, compare};
use appc_rooted::Root;
use clap::Args;
use serde_json::json;

use super::Format;
use crate::context::Access;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::whole::Parts;
use crate::{images, output};

/// Compare the files of two images, or of an image and the build in progress
///
/// Dependencies are part of it; those of A and B are looked for in the store. Each line is a path: + only in B, - only in
/// A, ~ in both but different, and how. An image that is no name or ID of one in the store is brought there.
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
        let (store, a) = images::stored(&Reference::from_word(&self.a)?, self.insecure_options, session)?;
        let differences = match &self.b {
            Some(b) => {
                let (_, b) = images::stored(&Reference::from_word(b)?, self.insecure_options, session)?;
                render::diff(&store, &a, &b, rules)?
            }
            None => {
                let a = render::layers(&store, &a)?;
                with_build(&a.open()?, rules, session)?
            }
        };
        match self.format {
            Some(format) => format.print(&json!(differences)),
            None if differences.is_empty() => Ok(()),
            None => {
                let lines: Vec<String> = differences.iter().map(Difference::to_string).collect();
                output::result(lines.join("\n"))
            }
        }
    }
}

fn with_build(a: &[Root], rules: Rules, session: &Session) -> Result<Vec<Difference>> {
    let build = session.whole(Access::Read)?;
    let parts = Parts::of(session, &build, &build.manifest()?)?;
    if parts.is_plain() {
        let Parts { mut below, own, .. } = parts;
        below.push(own);
        return Ok(compare(a, &below, rules)?);
    }
    let temporary = std::env::temp_dir();
    let dir = tempfile::tempdir_in(&temporary).map_err(Error::io("write to", temporary))?;
    let whole = parts.merge(dir.path())?;
    Ok(compare(a, &[Root::open(&whole).map_err(Error::io("open", whole))?], rules)?)
}
