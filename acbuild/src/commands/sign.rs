//! `acbuild sign`

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use appc_image::trust::beside;
use clap::Args;

use crate::error::{Error, Result};
use crate::outfile::OutFile;
use crate::session::Session;

/// Sign an image file with gpg
///
/// Calls your gpg, which may ask for the passphrase, and writes an armored detached signature to FILE.asc: where
/// "acbuild verify", "rkt fetch" and discovery look for it. The signature is of the file as it is: sign it last.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild sign hello.aci
  acbuild sign --key=me@example.com hello.aci
  acbuild sign hello.aci -- --homedir=keys --batch")]
pub(crate) struct Sign {
    /// Image file to sign
    file: PathBuf,
    /// Your key, as gpg's --local-user takes it; gpg's default key without it
    #[arg(long, value_name = "KEY")]
    key: Option<OsString>,
    /// Replace the signature when it exists
    #[arg(long)]
    overwrite: bool,
    /// More options for gpg
    #[arg(last = true, value_name = "GPG_OPTION")]
    options: Vec<OsString>,
}

impl Sign {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        if !self.file.is_file() {
            return Err(Error::Refused(format!("no such file: {}", self.file.display())));
        }
        let out = OutFile::create(&beside(&self.file), self.overwrite)?;
        let mut gpg = Command::new("gpg");
        gpg.args(&self.options);
        if let Some(key) = &self.key {
            gpg.arg("--local-user").arg(key);
        }
        gpg.args(["--armor", "--output", "-", "--detach-sign"]);
        // A path that begins with a dash is no option.
        gpg.arg(std::path::absolute(&self.file).map_err(Error::io("find", &self.file))?);
        session.debug(format_args!("Running: {gpg:?}"));
        let run = gpg.stdout(Stdio::piped()).spawn().and_then(std::process::Child::wait_with_output);
        let signed = run.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::refused("gpg is not installed: install GnuPG, such as Debian's gnupg"),
            _ => Error::Refused(format!("cannot run gpg: {e}")),
        })?;
        if !signed.status.success() || signed.stdout.is_empty() {
            return Err(Error::Refused(format!("gpg made no signature ({}): see what it said above", signed.status)));
        }
        out.file()?.write_all(&signed.stdout).map_err(Error::io("write", beside(&self.file)))?;
        out.publish()
    }
}
