//! `acbuild discover`

use appc_image::fetch::{self, Announced, config_dirs};
use appc_spec::ImageName;
use clap::Args;
use serde_json::json;

use super::{Format, Unchecked};
use crate::error::{Error, Result};
use crate::output;
use crate::session::Session;

/// Find out where images are by their names
///
/// What "actool discover" did: asks the pages of the name's host, as the specification says, and prints the addresses of
/// the image, its signature and the keys for it. Nothing is fetched. What is wrong with a page that was asked is said on
/// standard error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild discover example.com/hello:1.0,os=linux")]
pub(crate) struct Discover {
    /// Names with labels: NAME[:VERSION][,LABEL=VALUE...]; without os and arch they are those of this machine
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ImageName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print JSON on one line
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<Format>,
    /// Port to ask the hosts at, instead of that of https
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    unchecked: Unchecked,
}

impl Discover {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        self.names.iter().try_for_each(|name| self.one(name, session))
    }

    fn one(&self, name: &ImageName, session: &Session) -> Result<()> {
        let insecure = self.unchecked.insecure();
        let options = fetch::Options { insecure, config_dirs: config_dirs(), ..fetch::Options::default() };
        let Announced { endpoints, keys, endpoint_faults, key_faults } =
            fetch::discover(name, self.port, &options, session)?;
        for (walk, faults) in [("endpoints", endpoint_faults), ("public keys", key_faults)] {
            faults.iter().for_each(|fault| output::note(format_args!("discover {walk} walk: {fault}")));
        }
        let failed = |what| Err(Error::Refused(format!("error fetching {what} for {name}: discovery failed")));
        if endpoints.is_empty() {
            return failed("endpoints");
        }
        if self.json || self.format.is_some() {
            let all: Vec<_> = endpoints.iter().map(|e| json!({"ACI": e.image, "ASC": e.signature})).collect();
            let found = json!({"ACIEndpoints": all, "PublicKeys": keys});
            match self.format {
                Some(format) => format.print(&found)?,
                None => output::result(pretty(&found))?,
            }
        } else {
            for endpoint in &endpoints {
                output::result(format_args!("ACI: {}, ASC: {}", endpoint.image, endpoint.signature))?;
            }
            if !keys.is_empty() {
                output::result(format_args!("PublicKeys: {}", keys.join(",")))?;
            }
        }
        if keys.is_empty() { failed("public keys") } else { Ok(()) }
    }
}

/// With four spaces a level, as everything of actool.
fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}").lines().map(indent).collect::<Vec<_>>().join("\n")
}

/// The standard library's two spaces a level doubled. No line of a string begins anew.
fn indent(line: &str) -> String {
    let text = line.trim_start_matches(' ');
    " ".repeat(line.len() - text.len()) + line
}
