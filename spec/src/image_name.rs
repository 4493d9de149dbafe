//! Image names as people type them: `example.com/app:1.0.0,os=linux,arch=amd64`.

use std::fmt;
use std::str::FromStr;

use crate::{AcIdentifier, Error, Labels};

/// The name of an image and the labels it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// The name proper.
    pub name: AcIdentifier,
    /// `:1.0.0` is the label `version`.
    pub labels: Labels,
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ImageName, Error> {
        refuse_url(text)?;
        let (head, labels) = text.split_once(',').map_or((text, None), |(head, labels)| (head, Some(labels)));
        if labels.is_some_and(|labels| labels.contains(':')) {
            return Err(malformed("colon may appear only right after the app name", text));
        }
        let (name, version) = head.split_once(':').map_or((head, None), |(name, version)| (name, Some(version)));
        if version.is_some_and(|version| version.contains(':')) {
            return Err(malformed("colon may appear at most once", text));
        }
        let mut image = ImageName { name: name.parse()?, labels: Labels::new() };
        if let Some(version) = version {
            image.labels.set("version".parse()?, version);
        }
        for label in labels.into_iter().flat_map(|labels| labels.split(',')) {
            let Some((key, value)) = label.split_once('=') else {
                return Err(Error::new(format!(
                    "malformed string {text:?} - has a label without a value: {}",
                    label.escape_debug()
                )));
            };
            if let Some(earlier) = image.labels.get(key) {
                return Err(Error::new(format!("label {key} with multiple values [{earlier:?} {value:?}]")));
            }
            image.labels.set(key.parse()?, value);
        }
        image.labels.validate().map_err(|e| Error::new(e.rule))?;
        Ok(image)
    }
}

fn malformed(rule: &str, text: &str) -> Error {
    Error::new(format!("malformed app string - {rule}: {text:?}"))
}

/// `docker://alpine` would otherwise pass as the image `docker` in version `//alpine`.
fn refuse_url(text: &str) -> Result<(), Error> {
    let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| !scheme.contains(',')) else { return Ok(()) };
    let why = match scheme {
        "docker" => "a docker image has no App Container name: convert it first, then use the name it was given",
        _ => "leave the scheme out and name the image like example.com/app:1.0.0",
    };
    Err(Error::new(format!("{text:?} is a URL, not an image name; {why}")))
}

/// What [`FromStr`] reads, unless a value has a comma or colon in it, which it has no way to say.
impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.name)?;
        for (at, label) in self.labels.iter().enumerate() {
            if at == 0 && label.name == "version" {
                write!(f, ":{}", label.value)?;
            } else {
                write!(f, ",{}={}", label.name, label.value)?;
            }
        }
        Ok(())
    }
}
