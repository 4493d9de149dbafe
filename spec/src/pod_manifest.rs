//! The pod manifest: apps that run together, and what they share.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::annotations::Annotations;
use crate::error::{Error, Place};
use crate::image_manifest::take_kind;
use crate::isolator::Isolators;
use crate::json::{Fields, Map, Object, Read, Write, text};
use crate::list::duplicate;
use crate::port::ExposedPort;
use crate::runtime_app::RuntimeApp;
use crate::version::{self, Version, ac_version};
use crate::volume::Volume;

const KIND: &str = "PodManifest";

/// A pod: what it will run, or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodManifest {
    /// Version of the specification it was written for.
    pub ac_version: Version,
    /// What runs, each under its own name.
    pub apps: Vec<RuntimeApp>,
    /// Data the apps share, each under its own name.
    pub volumes: Vec<Volume>,
    /// Limits on the whole.
    pub isolators: Isolators,
    /// Facts about it.
    pub annotations: Annotations,
    /// Ports of the host that lead into it.
    pub ports: Vec<ExposedPort>,
    /// Notes of users, without meaning here.
    pub user_annotations: BTreeMap<String, String>,
    /// Notes of users, without meaning here.
    pub user_labels: BTreeMap<String, String>,
    /// Unknown fields.
    pub extra: Map,
}

impl PodManifest {
    /// A pod without apps.
    pub fn new() -> PodManifest {
        PodManifest {
            ac_version: ac_version(),
            apps: Vec::new(),
            volumes: Vec::new(),
            isolators: Isolators::new(),
            annotations: Annotations::new(),
            ports: Vec::new(),
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// The first thing that is wrong, with line and column if it is not JSON, else with its JSON path.
    pub fn parse(json: &[u8]) -> Result<PodManifest, Error> {
        let manifest = PodManifest::read(text::parse(json)?)?;
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
        if let Some((at, name)) = duplicate(self.apps.iter().map(|app| app.name.as_str())) {
            let rule = format!("duplicate apps of name {name:?}");
            return Err(Error::new(rule)).in_field("name").at(at).in_field("apps");
        }
        for (at, app) in self.apps.iter().enumerate() {
            app.validate().at(at).in_field("apps")?;
        }
        if let Some((at, name)) = duplicate(self.volumes.iter().map(|volume| volume.name.as_str())) {
            let rule = format!("duplicate volume name {name:?}");
            return Err(Error::new(rule)).in_field("name").at(at).in_field("volumes");
        }
        for (at, volume) in self.volumes.iter().enumerate() {
            volume.validate().at(at).in_field("volumes")?;
        }
        for (at, port) in self.ports.iter().enumerate() {
            port.validate().at(at).in_field("ports")?;
        }
        self.isolators.validate().in_field("isolators")?;
        self.annotations.validate().in_field("annotations")
    }
}

impl Default for PodManifest {
    fn default() -> PodManifest {
        PodManifest::new()
    }
}

impl Read for PodManifest {
    fn read(value: Value) -> Result<PodManifest, Error> {
        let mut fields = Fields::of(value)?;
        take_kind(&mut fields, KIND)?;
        Ok(PodManifest {
            ac_version: fields.require("acVersion", "acVersion must be set")?,
            apps: fields.take_or_default("apps")?,
            volumes: fields.take_or_default("volumes")?,
            isolators: fields.take_or_default("isolators")?,
            annotations: fields.take_or_default("annotations")?,
            ports: fields.take_or_default("ports")?,
            user_annotations: fields.take_or_default("userAnnotations")?,
            user_labels: fields.take_or_default("userLabels")?,
            extra: fields.rest(),
        })
    }
}

impl Write for PodManifest {
    fn write(&self) -> Value {
        Object::new()
            .put("acVersion", &self.ac_version)
            .put("acKind", KIND)
            .put("apps", &self.apps[..])
            .put("volumes", &self.volumes[..])
            .put("isolators", &self.isolators)
            .put("annotations", &self.annotations)
            .put("ports", &self.ports[..])
            .put_unless_empty("userAnnotations", &self.user_annotations)
            .put_unless_empty("userLabels", &self.user_labels)
            .with(&self.extra)
    }
}
