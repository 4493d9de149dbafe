//! `acbuild patch-manifest`

use std::path::{Path, PathBuf};

use appc_image::archive::{self, Compression, WriteOptions};
use appc_image::open_regular;
use appc_spec::{ImageManifest, MountPoint, Port};
use clap::Args;

use super::read_json;
use super::write::source_date_epoch;
use crate::error::{Error, Result};
use crate::modify::Image;
use crate::outfile::OutFile;
use crate::patch::{Capabilities, Limit, Patch, Seccomp, SeccompMode};
use crate::progress::Bar;
use crate::session::Session;

/// Change fields of the manifest in an image file, several at once
///
/// What "actool patch-manifest" did. Writes the image with the new manifest to another file or, with --replace, to the
/// same; its files are not unpacked. Mounts, ports and isolators each take the place of those of their name and leave the
/// others. Nothing is recorded in the history.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild patch-manifest --name=example.com/other --user=1000 hello.aci other.aci
  acbuild patch-manifest --replace --exec='/bin/hello --verbose' --mounts=data,path=/data:logs,path=/log hello.aci")]
pub(crate) struct PatchManifest {
    /// Image file to read
    input: PathBuf,
    /// Image file to write
    output: Option<PathBuf>,
    /// Change the image file itself
    #[arg(long)]
    replace: bool,
    /// Replace the output file when it exists
    #[arg(long)]
    overwrite: bool,
    /// Do not compress the image
    #[arg(long)]
    no_compression: bool,
    /// File with a manifest to put in place of the whole, - for standard input
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Name of the image
    #[arg(long)]
    name: Option<String>,
    /// Command line, its words separated by single spaces
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// User that the command runs as
    #[arg(long)]
    user: Option<String>,
    /// Group that the command runs as
    #[arg(long)]
    group: Option<String>,
    /// Further groups, as numbers: 1,2
    #[arg(long, value_name = "GIDS", value_delimiter = ',')]
    supplementary_groups: Vec<u32>,
    /// Capabilities to have, and no others: A,B
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    capability: Vec<String>,
    /// Capabilities to have no longer: A,B
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    revoke_capability: Vec<String>,
    /// Mount points: NAME,path=PATH[,readOnly=true][:NAME,...]
    #[arg(long, value_name = "MOUNTS", value_delimiter = ':')]
    mounts: Vec<MountPoint>,
    /// Ports: NAME,protocol=PROTOCOL,port=NUMBER[,count=N][,socketActivated=true][:NAME,...]
    #[arg(long, value_name = "PORTS", value_delimiter = ':')]
    ports: Vec<Port>,
    /// Isolators: resource/cpu,request=50m,limit=100m[:os/linux/no-new-privileges,true][:os/linux/oom-score-adj,N]
    #[arg(long, value_name = "ISOLATORS", value_delimiter = ':')]
    isolators: Vec<Limit>,
    /// What is done with the system calls of --seccomp-set: remove or retain, with ,errno=NAME behind it
    #[arg(long, value_name = "MODE", requires = "seccomp_set")]
    seccomp_mode: Option<SeccompMode>,
    /// System calls: A,B
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "seccomp_mode")]
    seccomp_set: Vec<String>,
}

impl PatchManifest {
    pub(crate) fn run(&self, _: &Session) -> Result<()> {
        let target = self.target()?;
        let change = self.change()?;
        if self.replace && !self.no_compression {
            return Image::aci(&self.input)?.edit(change);
        }
        let of_input = |error| Error::File { path: self.input.clone(), error };
        let input = open_regular(&self.input).map_err(Error::io("open", &self.input))?;
        let manifest = change(&archive::manifest(&input).map_err(of_input)?)?;
        manifest.validate()?;
        let compression = match self.no_compression {
            true => Compression::None,
            false => archive::compression_of(&input).map_err(of_input)?,
        };
        let options = WriteOptions { compression, source_date_epoch: source_date_epoch()?, ..WriteOptions::default() };
        let out = OutFile::create(target, self.overwrite || self.replace)?;
        let manifest = manifest.to_json();
        archive::replace_manifest(&input, manifest.as_bytes(), &out.file()?, &options, &Bar::new())
            .map_err(of_input)?;
        out.publish()
    }

    /// The file to write.
    fn target(&self) -> Result<&Path> {
        match (&self.output, self.replace) {
            (_, true) if self.overwrite => Err(Error::refused("Cannot use both --replace and --overwrite")),
            (Some(_), true) => Err(Error::refused("Must provide one file, as --replace changes that")),
            (None, true) => Ok(&self.input),
            (Some(output), false) => Ok(output),
            (None, false) => Err(Error::refused("Must provide input and output files (or use --replace)")),
        }
    }

    /// What makes a new manifest of the present one.
    fn change(&self) -> Result<impl FnOnce(&[u8]) -> Result<ImageManifest>> {
        let patch = self.patch()?;
        let whole = match &self.manifest {
            Some(_) if patch.is_some() => {
                return Err(Error::refused("--manifest is incompatible with other manifest editing options"));
            }
            Some(path) => Some(ImageManifest::parse(&read_json(path)?)?),
            None => None,
        };
        Ok(move |present: &[u8]| {
            if let Some(whole) = whole {
                return Ok(whole);
            }
            let mut manifest = ImageManifest::parse(present).map_err(Error::BadManifest)?;
            patch.map_or(Ok(()), |patch| patch.apply(&mut manifest))?;
            Ok(manifest)
        })
    }

    /// What the flags say, if they say anything.
    fn patch(&self) -> Result<Option<Patch>> {
        let capabilities = match (self.capability.is_empty(), self.revoke_capability.is_empty()) {
            (false, false) => {
                return Err(Error::refused("conflicting capabilities isolators provided: give one of them"));
            }
            (false, true) => Some(Capabilities::Retain(self.capability.clone())),
            (true, false) => Some(Capabilities::Remove(self.revoke_capability.clone())),
            (true, true) => None,
        };
        let seccomp = self.seccomp_mode.clone().map(|mode| Seccomp { mode, set: self.seccomp_set.clone() });
        let patch = Patch {
            name: self.name.clone(),
            exec: self.exec.clone(),
            user: self.user.clone(),
            group: self.group.clone(),
            supplementary_groups: self.supplementary_groups.clone(),
            capabilities,
            mounts: self.mounts.clone(),
            ports: self.ports.clone(),
            isolators: self.isolators.clone(),
            seccomp,
        };
        Ok(patch.is_any().then_some(patch))
    }
}
