//! One app of a pod: which image, and what is different from the image's own app.

use serde_json::Value;

use crate::annotations::Annotations;
use crate::app::App;
use crate::error::{Error, Place};
use crate::identifier::{AcIdentifier, AcName};
use crate::image_id::ImageId;
use crate::json::{Fields, Map, Object, Read, Write};
use crate::labels::Labels;
use crate::volume::Volume;

/// One app of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeApp {
    /// Unique in the pod.
    pub name: AcName,
    /// The image it runs in.
    pub image: RuntimeImage,
    /// Instead of the image's app.
    pub app: Option<App>,
    /// Whether the root file system cannot be written to.
    pub read_only_rootfs: bool,
    /// Which volumes appear where.
    pub mounts: Vec<Mount>,
    /// On top of the image's annotations.
    pub annotations: Annotations,
    /// Unknown fields.
    pub extra: Map,
}

impl RuntimeApp {
    /// Runs the image's own app under `name`.
    pub fn new(name: AcName, image: RuntimeImage) -> RuntimeApp {
        RuntimeApp {
            name,
            image,
            app: None,
            read_only_rootfs: false,
            mounts: Vec::new(),
            annotations: Annotations::new(),
            extra: Map::new(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.image.labels.validate().in_field("labels").in_field("image")?;
        if let Some(app) = &self.app {
            app.validate().in_field("app")?;
        }
        for (at, mount) in self.mounts.iter().enumerate() {
            mount.validate().at(at).in_field("mounts")?;
        }
        self.annotations.validate().in_field("annotations")
    }
}

impl Read for RuntimeApp {
    fn read(value: Value) -> Result<RuntimeApp, Error> {
        let mut fields = Fields::of(value)?;
        Ok(RuntimeApp {
            name: fields.require("name", "name must be set")?,
            image: fields.require("image", "image must be set")?,
            app: fields.take("app")?,
            read_only_rootfs: fields.take_or_default("readOnlyRootFS")?,
            mounts: fields.take_or_default("mounts")?,
            annotations: fields.take_or_default("annotations")?,
            extra: fields.rest(),
        })
    }
}

impl Write for RuntimeApp {
    fn write(&self) -> Value {
        Object::new()
            .put("name", &self.name)
            .put("image", &self.image)
            .put_if_some("app", &self.app)
            .put_unless_empty("readOnlyRootFS", &self.read_only_rootfs)
            .put_unless_empty("mounts", &self.mounts[..])
            .put_unless_empty("annotations", &self.annotations)
            .with(&self.extra)
    }
}

/// The image of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeImage {
    /// Its name, for people.
    pub name: Option<AcIdentifier>,
    /// What it is.
    pub id: ImageId,
    /// Its labels, for people.
    pub labels: Labels,
    /// Unknown fields.
    pub extra: Map,
}

impl RuntimeImage {
    /// The image `id`.
    pub fn new(id: ImageId) -> RuntimeImage {
        RuntimeImage { name: None, id, labels: Labels::new(), extra: Map::new() }
    }
}

impl Read for RuntimeImage {
    fn read(value: Value) -> Result<RuntimeImage, Error> {
        let mut fields = Fields::of(value)?;
        Ok(RuntimeImage {
            name: fields.take("name")?,
            id: fields.require("id", "image id must be set")?,
            labels: fields.take_or_default("labels")?,
            extra: fields.rest(),
        })
    }
}

impl Write for RuntimeImage {
    fn write(&self) -> Value {
        Object::new()
            .put_if_some("name", &self.name)
            .put("id", &self.id)
            .put_unless_empty("labels", &self.labels)
            .with(&self.extra)
    }
}

/// A volume in an app's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Name of the pod's volume.
    pub volume: AcName,
    /// Inside the app's file system.
    pub path: String,
    /// A volume of the app's own, instead of the pod's.
    pub app_volume: Option<Volume>,
    /// Unknown fields.
    pub extra: Map,
}

impl Mount {
    /// The pod's `volume` at `path`.
    pub fn new(volume: AcName, path: impl Into<String>) -> Mount {
        Mount { volume, path: path.into(), app_volume: None, extra: Map::new() }
    }

    fn validate(&self) -> Result<(), Error> {
        if self.path.is_empty() {
            return Err(Error::new("path must be set")).in_field("path");
        }
        self.app_volume.iter().try_for_each(|volume| volume.validate().in_field("appVolume"))
    }
}

impl Read for Mount {
    fn read(value: Value) -> Result<Mount, Error> {
        let mut fields = Fields::of(value)?;
        Ok(Mount {
            volume: fields.require("volume", "volume must be set")?,
            path: fields.take_or_default("path")?,
            app_volume: fields.take("appVolume")?,
            extra: fields.rest(),
        })
    }
}

impl Write for Mount {
    fn write(&self) -> Value {
        Object::new()
            .put("volume", &self.volume)
            .put("path", &self.path)
            .put_if_some("appVolume", &self.app_volume)
            .with(&self.extra)
    }
}
