//! `acbuild run`

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use appc_container::Network;
use appc_image::fetch::Insecure;
use clap::{Args, ValueEnum};

use crate::context::Access;
use crate::error::{Error, Result};
use crate::run::{self, Bind, Engine, Request};
use crate::session::Session;

/// Run a command in the image, saving changes made
///
/// The command sees the image's root file system over those of its dependencies, which come from the store or are fetched.
/// What it changes becomes part of the image when it succeeds, also what it deletes of the dependencies; when it fails
/// the build stays as it was, and acbuild exits with its exit status. It has the image's environment, the host's network,
/// and /proc, /dev, /sys, /etc/resolv.conf and /etc/hosts of its own, which leave no trace in the image. At a terminal it has
/// a terminal of its own. Ctrl-C goes to the command there; typed three times within three seconds it also ends one that takes
/// no notice of it, with all its processes, and leaves the build as it was (with --engine=systemd-nspawn, Ctrl-] within one
/// second does).
///
/// It takes root, or a user with subordinate ids (see "acbuild begin --help"), whose commands make no devices and are root of
/// the user's ids only. Programs for another architecture run by way of an emulator that is registered with the kernel, such as
/// those of Debian's qemu-user-static.
///
/// In a build with a cache (see "acbuild begin --help") a command that may write to a volume, or is given something on standard
/// input, is not cached, nor is what comes after it; and none reads from a terminal.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild run -- apt-get install -y nginx-light")]
pub(crate) struct Run {
    /// Command to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
    /// What runs it: acbuild's own container; the same with all that root may do on the host (chroot), which also can make
    /// the volumes writable that are to be read only; or systemd-nspawn,
    /// which gives the command a /tmp and a /run that are not the image's, finds a --user but root with the image's program
    /// getent only, and exits with 255 when a signal ends the command
    #[arg(long, value_enum, default_value = "container")]
    engine: EngineName,
    /// Directory in the image in which it runs
    #[arg(long, value_name = "DIR", default_value = "/", value_parser = parse_absolute)]
    working_dir: String,
    /// Variable of its environment, over the image's (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// File or directory of the host that it sees, and that does not become part of the image (repeatable)
    #[arg(long, value_name = "HOST:PATH[:ro]", value_parser = parse_volume)]
    volume: Vec<Volume>,
    /// Its network: the host's, or none but the loopback interface
    #[arg(long, value_enum, default_value = "host")]
    net: Net,
    /// Who it runs as, by the image's files
    #[arg(long, value_name = "USER[:GROUP]", default_value = "root")]
    user: String,
    /// Take dependencies unsigned, and from hosts that cannot prove who they are
    #[arg(long)]
    insecure: bool,
    /// What is not checked of dependencies that are fetched: a list of none, image, tls, http, pubkey, all-fetch
    #[arg(long, value_name = "LIST", default_value = "none")]
    insecure_options: Insecure,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EngineName {
    Container,
    Chroot,
    SystemdNspawn,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Net {
    Host,
    None,
}

/// `HOST:PATH[:ro]`
#[derive(Debug, Clone)]
struct Volume(Bind);

impl Run {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let command = self.command.iter().map(text).collect::<Result<Vec<String>>>()?;
        session.debug(format_args!("Running: [{}]", command.join(" ")));
        let build = session.build(Access::Change)?;
        let request = Request {
            command,
            engine: match self.engine {
                EngineName::Container => Engine::Container,
                EngineName::Chroot => Engine::Chroot,
                EngineName::SystemdNspawn => Engine::SystemdNspawn,
            },
            working_dir: &self.working_dir,
            environment: &self.env,
            volumes: self.volume.iter().map(|volume| volume.0.clone()).collect(),
            network: match self.net {
                Net::Host => Network::Host,
                Net::None => Network::NewLoopback,
            },
            user: &self.user,
            insecure: if self.insecure { Insecure::ALL } else { self.insecure_options },
        };
        run::run(session, &build, &request)
    }
}

/// A configuration is JSON, which has no bytes.
fn text(word: &OsString) -> Result<String> {
    let word = word.to_str().ok_or_else(|| Error::Refused(format!("{word:?} is not valid UTF-8: use a script")))?;
    match word.contains('\0') {
        false => Ok(word.to_owned()),
        true => Err(Error::refused("an argument cannot have a NUL byte in it")),
    }
}

fn parse_absolute(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("it must be an absolute path in the image".to_owned()),
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

fn parse_volume(text: &str) -> Result<Volume, String> {
    text.parse()
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Volume, String> {
        let (rest, read_only) = match text.strip_suffix(":ro") {
            Some(rest) => (rest, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        let (source, target) = rest
            .split_once(':')
            .filter(|(source, _)| !source.is_empty())
            .ok_or("it must be HOST:PATH, or HOST:PATH:ro for what the command may only read")?;
        if let Some((_, options)) = target.split_once(':') {
            return Err(format!("{options:?} is no option of a volume: there are ro and rw, and PATH has no colon"));
        }
        let target = Path::new(target);
        let above = target.components().any(|component| component == Component::ParentDir);
        if !target.is_absolute() || above || target.components().count() < 2 {
            return Err(format!("{target:?} must be an absolute path below the image's root, without .."));
        }
        Ok(Volume(Bind { source: PathBuf::from(source), target: target.to_owned(), read_only }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_and_variables() {
        let volume = |text: &str| text.parse::<Volume>().map(|v| (v.0.source, v.0.target, v.0.read_only));
        assert_eq!(volume("/a:/b"), Ok(("/a".into(), "/b".into(), false)));
        assert_eq!(volume("./a:/b:ro"), Ok(("./a".into(), "/b".into(), true)));
        assert_eq!(volume("a:/b/c:rw"), Ok(("a".into(), "/b/c".into(), false)));
        for wrong in ["/a", "/a:", ":/b", "/a:b", "/a:/", "/a:/b/../c", "/a:ro", "/a:/b:RO", "/a:/b:ro,rw", "/a:/b:/c"]
        {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(parse_variable("=x").is_err() && parse_variable("A").is_err());
    }
}
