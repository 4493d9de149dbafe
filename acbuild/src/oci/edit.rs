//! What can be said of OCI images: everything is in the configuration but for annotations, which are the manifest's, and
//! the names of ports and mount points (`names.rs`), which are there as in appc builds.

use appc_container::signal_names;
use appc_spec::oci::platform;
use appc_spec::{MountPoint, Port};
use serde_json::json;

use super::Image;
use super::image::json as bytes;
use super::names::{Kind, of_mount, of_port};
use crate::document::{Document, Mode};
use crate::error::{Error, Result};
use crate::history;

/// The name of an image that was not given one.
const LATEST: &str = "latest";

impl Image {
    /// The signal that asks the process to end.
    pub(crate) fn set_stop_signal(&mut self, signal: &str) -> Result<()> {
        if signal_names::parse(signal).is_none_or(|number| number == 0) {
            let names = signal_names::NAMES.map(|name| format!("SIG{name}")).join(", ");
            return Err(Error::Refused(format!(
                "{signal:?} is no signal: give a number from 1 to 64, or one of {names}, SIGRTMIN+N, SIGRTMAX-N"
            )));
        }
        self.config.run.stop_signal = signal.to_owned();
        Ok(())
    }

    fn user_and_group(&self) -> (&str, Option<&str>) {
        let user = self.config.run.user.as_str();
        user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)))
    }
}

/// Refuses what would make two words of one.
fn no_colon(kind: &str, word: &str) -> Result<()> {
    match word.contains(':') {
        true => Err(Error::Refused(format!("{kind} cannot contain a ':' character: set user and group by themselves"))),
        false => Ok(()),
    }
}

/// A word as platforms are made of.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

impl Document for Image {
    fn mode(&self) -> Mode {
        Mode::Oci
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        self.config.check()?;
        bytes(self)
    }

    fn name(&self) -> &str {
        self.tag.as_deref().unwrap_or(LATEST)
    }

    fn steps(&self) -> Vec<&str> {
        history::steps(self.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    fn record(&mut self, line: &str) -> Result<()> {
        let name = history::next_name(self.annotations.keys().map(String::as_str));
        self.annotations.insert(name, line.to_owned());
        self.steps.push(line.to_owned());
        Ok(())
    }

    fn set_tag(&mut self, tag: &str) -> Result<()> {
        // The grammar of tags, which all names in layouts and registries keep:
        // https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(known) || tag.starts_with(['.', '-']) {
            let rule = "at most 128 letters, digits and _ . -, the first a letter, a digit or _";
            return Err(Error::Refused(format!("{tag:?} is no tag: it must be {rule}")));
        }
        self.tag = Some(tag.to_owned());
        Ok(())
    }

    fn set_exec(&mut self, command: &[String]) -> Result<()> {
        let (first, rest) = command.split_at(command.len().min(1));
        (self.config.run.entrypoint, self.config.run.cmd) = (first.to_vec(), rest.to_vec());
        Ok(())
    }

    fn set_user(&mut self, user: &str) -> Result<()> {
        no_colon("user", user)?;
        let group = self.user_and_group().1.map(|group| format!(":{group}")).unwrap_or_default();
        self.config.run.user = format!("{user}{group}");
        Ok(())
    }

    fn set_group(&mut self, group: &str) -> Result<()> {
        no_colon("group", group)?;
        let user = Some(self.user_and_group().0).filter(|user| !user.is_empty()).unwrap_or("0");
        self.config.run.user = format!("{user}:{group}");
        Ok(())
    }

    fn set_working_directory(&mut self, directory: &str) -> Result<()> {
        if !directory.starts_with('/') {
            return Err(Error::Refused(format!("working directory {directory:?} must be an absolute path")));
        }
        self.config.run.working_dir = directory.to_owned();
        Ok(())
    }

    fn set_annotation(&mut self, name: &str, value: &str) -> Result<()> {
        if name.is_empty() {
            return Err(Error::refused("an annotation needs a name"));
        }
        self.annotations.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn remove_annotation(&mut self, name: &str) -> Result<()> {
        let why = || Error::Refused(format!("no annotation with name {name:?} to remove"));
        self.annotations.remove(name).map(drop).ok_or_else(why)
    }

    /// The labels `os` and `arch` are the platform of an OCI image; it may be given in the words of either format.
    fn set_label(&mut self, name: &str, value: &str) -> Result<()> {
        let config = &mut self.config;
        match name {
            "" => return Err(Error::refused("a label needs a name")),
            "os" | "arch" if !is_word(value) => {
                return Err(Error::Refused(format!("bad {name} {value:?}: it must be a word such as linux or amd64")));
            }
            "os" => config.os = value.to_owned(),
            "arch" => match platform(&config.os, value) {
                Some((architecture, variant)) => {
                    config.architecture = architecture.to_owned();
                    config.variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
                }
                None => (config.architecture, config.variant) = (value.to_owned(), None),
            },
            _ => _ = config.run.labels.insert(name.to_owned(), value.to_owned()),
        }
        Ok(())
    }

    fn remove_label(&mut self, name: &str) -> Result<()> {
        if matches!(name, "os" | "arch") {
            return Err(Error::Refused(format!(
                "an OCI image always has {name}: use \"acbuild label add\" to change it"
            )));
        }
        let why = || Error::NoSuch(format!("no label with name {name:?} to remove"));
        self.config.run.labels.remove(name).map(drop).ok_or_else(why)
    }

    fn set_variable(&mut self, name: &str, value: &str) -> Result<()> {
        if name.is_empty() || name.contains('=') {
            return Err(Error::Refused(format!("{name:?} is no name of a variable: it must not be empty or have a =")));
        }
        let env = &mut self.config.run.env;
        env.retain(|variable| variable.split('=').next() != Some(name));
        env.push(format!("{name}={value}"));
        Ok(())
    }

    fn remove_variable(&mut self, name: &str) -> Result<()> {
        let env = &mut self.config.run.env;
        let before = env.len();
        env.retain(|variable| variable.split('=').next() != Some(name));
        match env.len() < before {
            true => Ok(()),
            false => {
                let what = format!("element to be removed does not exist in this image: environment variable {name:?}");
                Err(Error::NoSuch(what))
            }
        }
    }

    fn add_port(&mut self, port: Port) -> Result<()> {
        if port.count != 1 {
            return Err(Error::refused("oci build mode does not support port counts: add each port by itself"));
        }
        if port.socket_activated {
            return Err(Error::refused("oci build mode does not support socket activated ports"));
        }
        if !matches!(port.protocol.as_str(), "tcp" | "udp" | "sctp") {
            let protocol = &port.protocol;
            return Err(Error::Refused(format!(
                "oci build mode knows the protocols tcp, udp and sctp, not {protocol:?}"
            )));
        }
        Kind::Port.claim(&mut self.annotations, port.name.as_str(), of_port(&port))?;
        self.config.run.exposed_ports.insert(format!("{}/{}", port.port, port.protocol), json!({}));
        Ok(())
    }

    fn remove_port(&mut self, name: &str) -> Result<()> {
        let named = Kind::Port.key(&self.annotations, name);
        let is_meant = |key: &str| Some(key) == named.as_deref() || key == name || key.split('/').next() == Some(name);
        let exposed = &mut self.config.run.exposed_ports;
        let gone: Vec<String> = exposed.keys().filter(|key| is_meant(key)).cloned().collect();
        if gone.is_empty() && named.is_none() {
            return Err(Error::NoSuch(format!("no such port {name:?}")));
        }
        exposed.retain(|key, _| !gone.contains(key));
        Kind::Port.forget(&mut self.annotations, is_meant);
        Ok(())
    }

    fn add_mount(&mut self, mount: MountPoint) -> Result<()> {
        if mount.read_only {
            return Err(Error::refused("oci build mode does not support read only mounts"));
        }
        if !mount.path.starts_with('/') {
            return Err(Error::Refused(format!(
                "the path of a mount point must be absolute, and {:?} is not",
                mount.path
            )));
        }
        Kind::Mount.claim(&mut self.annotations, mount.name.as_str(), of_mount(&mount.path))?;
        self.config.run.volumes.insert(mount.path, json!({}));
        Ok(())
    }

    fn remove_mount(&mut self, name: &str) -> Result<()> {
        let named = Kind::Mount.key(&self.annotations, name);
        let path = named.clone().unwrap_or_else(|| name.to_owned());
        let was_there = self.config.run.volumes.remove(&path).is_some();
        if !was_there && named.is_none() {
            return Err(Error::NoSuch(format!("no such mount: {name}")));
        }
        Kind::Mount.forget(&mut self.annotations, |key| key == path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn image() -> Image {
        Image::new(Config::new())
    }

    #[test]
    fn user_and_group_are_two_halves_of_one_field() {
        let mut image = image();
        let user = |image: &Image| image.config.run.user.clone();
        image.set_group("7").unwrap();
        assert_eq!(user(&image), "0:7");
        image.set_user("www").unwrap();
        assert_eq!(user(&image), "www:7");
        image.set_group("staff").unwrap();
        assert_eq!(user(&image), "www:staff");
        assert!(image.set_user("a:b").is_err() && image.set_group("a:b").is_err());
    }

    #[test]
    fn a_shorter_command_leaves_no_arguments_behind() {
        let mut image = image();
        image.set_exec(&["a", "b", "c"].map(str::to_owned)).unwrap();
        assert_eq!(image.config.run.cmd, ["b", "c"]);
        image.set_exec(&["d".to_owned()]).unwrap();
        assert_eq!((image.config.run.entrypoint.len(), image.config.run.cmd.len()), (1, 0));
    }

    #[test]
    fn ports_go_by_name_number_and_key() {
        let port = |name: &str, protocol: &str, number| Port::new(name.parse().unwrap(), protocol, number);
        for (removed, left) in [("dns", 2), ("53", 1), ("53/tcp", 2), ("www", 2)] {
            let mut image = image();
            for port in [port("dns", "udp", 53), port("dns-tcp", "tcp", 53), port("www", "tcp", 80)] {
                image.add_port(port).unwrap();
            }
            assert!(image.add_port(port("dns", "tcp", 1)).is_err());
            image.remove_port(removed).unwrap();
            assert_eq!((image.config.run.exposed_ports.len(), image.annotations.len()), (left, left), "{removed}");
            assert!(image.remove_port(removed).is_err());
        }
    }

    #[test]
    fn the_platform_is_understood_in_the_words_of_either_format() {
        for (arch, architecture, variant) in [
            ("aarch64", "arm64", Some("v8")),
            ("i386", "386", None),
            ("riscv64", "riscv64", None),
            ("arm64", "arm64", None),
        ] {
            let mut image = image();
            image.set_label("os", "linux").unwrap();
            image.set_label("arch", arch).unwrap();
            let config = &image.config;
            assert_eq!((config.architecture.as_str(), config.variant.as_deref()), (architecture, variant), "{arch}");
        }
        assert!(image().set_label("arch", "not a word").is_err() && image().remove_label("arch").is_err());
    }
}
