//! The image manifest: what an image is, what it needs, how it is executed.

use serde_json::Value;

use crate::annotations::Annotations;
use crate::app::App;
use crate::error::{Error, Place};
use crate::identifier::AcIdentifier;
use crate::image_id::ImageId;
use crate::json::{Fields, Map, Object, Read, Write, text};
use crate::labels::Labels;
use crate::version::{self, Version, ac_version};

const KIND: &str = "ImageManifest";

/// The file `manifest` of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// Version of the specification it was written for.
    pub ac_version: Version,
    /// Name of the image, without version.
    pub name: AcIdentifier,
    /// What tells it from other images of that name.
    pub labels: Labels,
    /// How to execute it.
    pub app: Option<App>,
    /// Facts about it.
    pub annotations: Annotations,
    /// Images that lie below it, lowest first.
    pub dependencies: Vec<Dependency>,
    /// The only paths that stay when all is put together; no restriction when empty.
    pub path_whitelist: Vec<String>,
    /// Unknown fields.
    pub extra: Map,
}

impl ImageManifest {
    /// A manifest with a name and nothing else.
    pub fn new(name: AcIdentifier) -> ImageManifest {
        ImageManifest {
            ac_version: ac_version(),
            name,
            labels: Labels::new(),
            app: None,
            annotations: Annotations::new(),
            dependencies: Vec::new(),
            path_whitelist: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// The first thing that is wrong, with line and column if it is not JSON, else with its JSON path.
    pub fn parse(json: &[u8]) -> Result<ImageManifest, Error> {
        let manifest = ImageManifest::read(text::parse(json)?)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The manifest on one line, as the Go tools print it; no newline at the end.
    pub fn to_json(&self) -> String {
        text::compact(&self.write())
    }

    /// The manifest with four spaces a level; no newline at the end.
    pub fn to_json_pretty(&self) -> String {
        text::pretty(&self.write())
    }

    /// Checks the rules that a manifest in memory can break. What passes here, and is printed, parses again.
    ///
    /// # Errors
    /// The first rule that is broken, with its JSON path.
    pub fn validate(&self) -> Result<(), Error> {
        version::check(&self.ac_version).in_field("acVersion")?;
        self.labels.validate().in_field("labels")?;
        if let Some(app) = &self.app {
            app.validate().in_field("app")?;
        }
        self.annotations.validate().in_field("annotations")?;
        for (at, dependency) in self.dependencies.iter().enumerate() {
            dependency.labels.validate().in_field("labels").at(at).in_field("dependencies")?;
        }
        Ok(())
    }
}

/// Takes `acKind` out and refuses any but `kind`.
pub(crate) fn take_kind(fields: &mut Fields, kind: &str) -> Result<(), Error> {
    match fields.take::<String>("acKind")? {
        Some(found) if found == kind => Ok(()),
        Some(found) => {
            let rule = format!("missing or bad ACKind (must be {kind:?}), found {found:?}");
            Err(Error::new(rule)).in_field("acKind")
        }
        None => Err(Error::new(format!("missing or bad ACKind (must be {kind:?})"))).in_field("acKind"),
    }
}

impl Read for ImageManifest {
    fn read(value: Value) -> Result<ImageManifest, Error> {
        let mut fields = Fields::of(value)?;
        take_kind(&mut fields, KIND)?;
        Ok(ImageManifest {
            ac_version: fields.require("acVersion", "acVersion must be set")?,
            name: fields.require("name", "name must be set")?,
            labels: fields.take_or_default("labels")?,
            app: fields.take("app")?,
            annotations: fields.take_or_default("annotations")?,
            dependencies: fields.take_or_default("dependencies")?,
            path_whitelist: fields.take_or_default("pathWhitelist")?,
            extra: fields.rest(),
        })
    }
}

impl Write for ImageManifest {
    fn write(&self) -> Value {
        Object::new()
            .put("acKind", KIND)
            .put("acVersion", &self.ac_version)
            .put("name", &self.name)
            .put_unless_empty("labels", &self.labels)
            .put_if_some("app", &self.app)
            .put_unless_empty("annotations", &self.annotations)
            .put_unless_empty("dependencies", &self.dependencies[..])
            .put_unless_empty("pathWhitelist", &self.path_whitelist[..])
            .with(&self.extra)
    }
}

/// An image that another one lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub image_name: AcIdentifier,
    /// Exactly this image, if given.
    pub image_id: Option<ImageId>,
    /// Labels it must have.
    pub labels: Labels,
    /// Its size in bytes, if given.
    pub size: Option<u64>,
    /// Unknown fields.
    pub extra: Map,
}

impl Dependency {
    /// Any image of that name.
    pub fn new(image_name: AcIdentifier) -> Dependency {
        Dependency { image_name, image_id: None, labels: Labels::new(), size: None, extra: Map::new() }
    }
}

impl Read for Dependency {
    fn read(value: Value) -> Result<Dependency, Error> {
        let mut fields = Fields::of(value)?;
        Ok(Dependency {
            image_name: fields.require("imageName", "imageName cannot be empty")?,
            image_id: fields.take("imageID")?,
            labels: fields.take_or_default("labels")?,
            size: fields.take("size")?.filter(|size| *size != 0),
            extra: fields.rest(),
        })
    }
}

impl Write for Dependency {
    fn write(&self) -> Value {
        Object::new()
            .put("imageName", &self.image_name)
            .put_if_some("imageID", &self.image_id)
            .put_unless_empty("labels", &self.labels)
            .put_unless_empty("size", &self.size.unwrap_or(0))
            .with(&self.extra)
    }
}
