//! App Container images: everything is in the image manifest.

use appc_spec::{AcIdentifier, AcName, App, ImageManifest, MountPoint, Port};

use super::{Document, Mode};
use crate::commands::removed;
use crate::error::{Error, Result};
use crate::history;

/// What describes the process to run; a manifest without it gets the default one.
fn app(manifest: &mut ImageManifest) -> &mut App {
    manifest.app.get_or_insert_with(App::new)
}

impl Document for ImageManifest {
    fn mode(&self) -> Mode {
        Mode::Appc
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        self.validate()?;
        Ok(self.to_json().into_bytes())
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn steps(&self) -> Vec<&str> {
        history::steps(self.annotations.iter().map(|a| (a.name.as_str(), a.value.as_str())))
    }

    fn whitelist(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.path_whitelist).filter(|list| !list.is_empty())
    }

    fn record(&mut self, line: &str) -> Result<()> {
        let names = self.annotations.iter().map(|annotation| annotation.name.as_str());
        let name = history::next_name(names).parse()?;
        self.annotations.set(name, line);
        Ok(())
    }

    fn set_tag(&mut self, tag: &str) -> Result<()> {
        self.labels.set("version".parse()?, tag);
        Ok(())
    }

    fn set_exec(&mut self, command: &[String]) -> Result<()> {
        app(self).exec = command.to_vec();
        Ok(())
    }

    fn set_user(&mut self, user: &str) -> Result<()> {
        app(self).user = user.to_owned();
        Ok(())
    }

    fn set_group(&mut self, group: &str) -> Result<()> {
        app(self).group = group.to_owned();
        Ok(())
    }

    fn set_working_directory(&mut self, directory: &str) -> Result<()> {
        app(self).working_directory = Some(directory.to_owned());
        Ok(())
    }

    fn set_annotation(&mut self, name: &str, value: &str) -> Result<()> {
        self.annotations.set(name.parse()?, value);
        Ok(())
    }

    fn remove_annotation(&mut self, name: &str) -> Result<()> {
        name.parse::<AcIdentifier>()?;
        removed(self.annotations.remove(name), "annotation", name)
    }

    fn set_label(&mut self, name: &str, value: &str) -> Result<()> {
        if name == "name" {
            return Err(Error::refused("invalid label name: \"name\" - try \"acbuild set-name\""));
        }
        self.labels.set(name.parse()?, value);
        Ok(())
    }

    fn remove_label(&mut self, name: &str) -> Result<()> {
        name.parse::<AcIdentifier>()?;
        removed(self.labels.remove(name), "label", name)
    }

    fn set_variable(&mut self, name: &str, value: &str) -> Result<()> {
        app(self).environment.set(name, value);
        Ok(())
    }

    fn remove_variable(&mut self, name: &str) -> Result<()> {
        removed(app(self).environment.remove(name), "environment variable", name)
    }

    fn add_port(&mut self, port: Port) -> Result<()> {
        let ports = &mut app(self).ports;
        ports.retain(|p| !is_called(p, port.name.as_str()));
        ports.push(port);
        Ok(())
    }

    fn remove_port(&mut self, name: &str) -> Result<()> {
        name.parse::<AcName>()?;
        let ports = &mut app(self).ports;
        let before = ports.len();
        ports.retain(|p| !is_called(p, name));
        removed(ports.len() < before, "port", name)
    }

    fn add_mount(&mut self, mount: MountPoint) -> Result<()> {
        let mounts = &mut app(self).mount_points;
        mounts.retain(|m| m.name != mount.name && m.path != mount.path);
        mounts.push(mount);
        Ok(())
    }

    fn remove_mount(&mut self, name: &str) -> Result<()> {
        let mounts = &mut app(self).mount_points;
        let before = mounts.len();
        mounts.retain(|m| m.name.as_str() != name && m.path != name);
        removed(mounts.len() < before, "mount point", name)
    }
}

/// Whether `name` is the port's name or its number.
fn is_called(port: &Port, name: &str) -> bool {
    port.name.as_str() == name || port.port.to_string() == name
}
