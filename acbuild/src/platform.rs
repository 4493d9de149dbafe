//! What an image is for, where that is not this machine: the labels `os` and `arch` of `begin`.

use appc_image::oci;
use appc_spec::oci::{arch_label, platform as to_oci};
use appc_spec::{AcIdentifier, ImageManifest, check_os_arch, host_arch};

use crate::commands::begin::UNNAMED;
use crate::document::{Document, Mode};
use crate::error::{Error, Result};
use crate::oci::Image;

/// An operating system and an architecture, in the words of labels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    arch: String,
    os: String,
}

impl Platform {
    /// What was asked for; what was not is that of this machine. OCI images are for whatever there is, App Container images
    /// for what the specification names.
    ///
    /// # Errors
    /// The choices there are, when it is none of them.
    pub(crate) fn new(os: Option<&str>, arch: Option<&str>, mode: Mode) -> Result<Platform> {
        let os = os.unwrap_or("linux");
        let arch = arch.unwrap_or(host_arch());
        let arch = label(os, arch).unwrap_or(arch);
        if mode == Mode::Appc {
            check_os_arch(os, Some(arch))?;
        }
        Ok(Platform { arch: arch.to_owned(), os: os.to_owned() })
    }

    /// Puts the labels into a new manifest; that of an image that was begun with must have them.
    pub(crate) fn label(&self, manifest: &mut ImageManifest) -> Result<()> {
        let is_new = manifest.name.as_str() == UNNAMED;
        for (name, value) in [("arch", &self.arch), ("os", &self.os)] {
            match manifest.labels.get(name) {
                Some(has) if has == value && !is_new => continue,
                Some(has) if !is_new => {
                    return Err(Error::Refused(format!(
                        "the image is for {name} {has}, not {value}: begin with one that is, such as NAME,{name}={value}"
                    )));
                }
                // Both, so that they stand in the order of an image that was begun with nothing said.
                _ => manifest.labels.set(name.parse::<AcIdentifier>()?, value.as_str()),
            }
        }
        Ok(())
    }

    /// The same for an OCI image, whose platform is not kept as labels.
    pub(crate) fn describe(&self, image: &mut Image) -> Result<()> {
        if image.base.is_some() {
            let (has, wanted) = (image.config.platform(), self.in_oci());
            return match wanted.matches(&has) {
                true => Ok(()),
                false => Err(Error::Refused(format!("the image is for {has}, not {wanted}: begin with one that is"))),
            };
        }
        image.set_label("os", &self.os)?;
        image.set_label("arch", &self.arch)
    }

    /// The same in the words of OCI, to choose by from an image for several.
    pub(crate) fn in_oci(&self) -> oci::Platform {
        match to_oci(&self.os, &self.arch) {
            Some((architecture, variant)) => oci::Platform {
                variant: Some(variant.to_owned()).filter(|variant| !variant.is_empty()),
                ..oci::Platform::new(&self.os, architecture)
            },
            // It has none of its own for it.
            None => oci::Platform::new(&self.os, &self.arch),
        }
    }
}

/// The label for an architecture in the words of labels, of Go and OCI (`arm64`, `arm/v7`), or of uname(1) (`x86_64`).
fn label<'a>(os: &str, arch: &'a str) -> Option<&'a str> {
    if check_os_arch(os, Some(arch)).is_ok() {
        return Some(arch);
    }
    let (architecture, variant) = match arch {
        "x86_64" => ("amd64", ""),
        "i686" | "x86" => ("386", ""),
        // Of Go's, what this name always meant to acbuild.
        "arm" => ("arm", "v7"),
        other => other.split_once('/').unwrap_or((other, "")),
    };
    arch_label(os, architecture, variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_have_many_names() {
        for (os, typed, arch) in [
            ("linux", "amd64", "amd64"),
            ("linux", "x86_64", "amd64"),
            ("linux", "arm64", "aarch64"),
            ("linux", "arm64/v8", "aarch64"),
            ("linux", "aarch64_be", "aarch64_be"),
            ("linux", "arm", "armv7l"),
            ("linux", "arm/v6", "armv6l"),
            ("linux", "armv7b", "armv7b"),
            ("linux", "386", "i386"),
            ("linux", "i686", "i386"),
            ("linux", "ppc64le", "ppc64le"),
            ("linux", "s390x", "s390x"),
            ("freebsd", "arm", "arm"),
            ("freebsd", "x86_64", "amd64"),
            ("darwin", "amd64", "x86_64"),
        ] {
            let platform = Platform::new(Some(os), Some(typed), Mode::Appc).unwrap();
            assert_eq!(platform, Platform { os: os.to_owned(), arch: arch.to_owned() }, "{typed}");
        }
        for (os, arch) in
            [("linux", "riscv65"), ("freebsd", "arm64"), ("plan9", "amd64"), ("linux", ""), ("linux", "arm/v9")]
        {
            assert!(Platform::new(Some(os), Some(arch), Mode::Appc).is_err(), "{os} {arch}");
        }
    }
}
