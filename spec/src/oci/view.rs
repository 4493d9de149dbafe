//! What both formats can say of an image, in OCI's words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{TECHNICAL, field, ports, set_field};
use crate::Error;
use crate::error::Place;
use crate::json::{Fields, Map, Read};

/// An image, but for its layers. Absent and empty are the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct View {
    pub(super) created: String,
    pub(super) author: String,
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) variant: String,
    pub(super) user: String,
    pub(super) exposed_ports: BTreeSet<String>,
    pub(super) env: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) volumes: BTreeSet<String>,
    pub(super) working_dir: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) stop_signal: String,
    pub(super) healthcheck: Value,
    pub(super) annotations: BTreeMap<String, String>,
}

impl View {
    /// Reads a configuration of OCI, or of docker.
    pub(super) fn read(config: &Value, mut annotations: BTreeMap<String, String>) -> Result<View, Error> {
        annotations.retain(|name, _| !TECHNICAL.contains(&name.as_str()));
        let mut fields = Fields::of(config.clone())?;
        let mut run = Fields::of(fields.take_value("config").filter(|v| !v.is_null()).unwrap_or_else(|| json!({})))?;
        let view = View {
            created: fields.take_or_default("created")?,
            author: fields.take_or_default("author")?,
            os: fields.take_or_default("os")?,
            architecture: fields.take_or_default("architecture")?,
            variant: fields.take_or_default("variant")?,
            annotations,
            ..View::default()
        };
        view.with_execution(&mut run).in_field("config")
    }

    fn with_execution(self, run: &mut Fields) -> Result<View, Error> {
        Ok(View {
            user: run.take_or_default("User")?,
            exposed_ports: run.take_or_default::<Keys>("ExposedPorts")?.0,
            env: run.take_or_default("Env")?,
            entrypoint: run.take_or_default("Entrypoint")?,
            cmd: run.take_or_default("Cmd")?,
            volumes: run.take_or_default::<Keys>("Volumes")?.0,
            working_dir: run.take_or_default("WorkingDir")?,
            labels: run.take_or_default("Labels")?,
            stop_signal: run.take_or_default("StopSignal")?,
            healthcheck: run.take_value("Healthcheck").unwrap_or_default(),
            ..self
        })
    }
}

/// The keys of an object whose values mean nothing.
#[derive(Default)]
struct Keys(BTreeSet<String>);

impl Read for Keys {
    fn read(value: Value) -> Result<Keys, Error> {
        match value {
            Value::Object(map) => Ok(Keys(map.into_iter().map(|(key, _)| key).collect())),
            other => Err(crate::json::fields::wrong_type("an object", &other)),
        }
    }
}

/// The annotations of a manifest.
pub(super) fn annotations(manifest: &Value) -> Result<BTreeMap<String, String>, Error> {
    match manifest.as_object().and_then(|manifest| field(manifest, "annotations")) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(annotations) => BTreeMap::read(annotations.clone()).in_field("annotations"),
    }
}

/// Writes what differs between two views into a configuration and annotations; all else in them stays.
pub(super) fn write(from: &View, to: &View, config: &mut Value, annotations: &mut BTreeMap<String, String>) {
    for name in from.annotations.keys().chain(to.annotations.keys()) {
        match (from.annotations.get(name), to.annotations.get(name)) {
            (before, now) if before == now => {}
            (_, Some(now)) => drop(annotations.insert(name.clone(), now.clone())),
            (_, None) => drop(annotations.remove(name)),
        }
    }
    let Value::Object(config) = config else { return };
    let words = [
        ("created", &from.created, &to.created),
        ("author", &from.author, &to.author),
        ("architecture", &from.architecture, &to.architecture),
        ("os", &from.os, &to.os),
        ("variant", &from.variant, &to.variant),
    ];
    write_words(config, &words);
    let mut run = match field(config, "config") {
        Some(Value::Object(run)) => run.clone(),
        _ => Map::new(),
    };
    write_execution(from, to, &mut run);
    set_field(config, "config", Some(Value::Object(run)));
    if field(config, "rootfs").is_none() {
        set_field(config, "rootfs", Some(json!({ "type": "layers", "diff_ids": [] })));
    }
}

fn write_execution(from: &View, to: &View, run: &mut Map) {
    write_words(run, &[("User", &from.user, &to.user)]);
    if from.exposed_ports != to.exposed_ports {
        // What is no port, or a range of some, is not in the views as single ports; it stays if it still says so.
        let kept = |key: &String| ports::expand(key).is_none_or(|all| all.iter().all(|p| to.exposed_ports.contains(p)));
        write_keys(run, "ExposedPorts", &from.exposed_ports, &to.exposed_ports, kept);
    }
    write_list(run, "Env", &from.env, &to.env);
    write_list(run, "Entrypoint", &from.entrypoint, &to.entrypoint);
    write_list(run, "Cmd", &from.cmd, &to.cmd);
    if from.volumes != to.volumes {
        write_keys(run, "Volumes", &from.volumes, &to.volumes, |_| true);
    }
    write_words(run, &[("WorkingDir", &from.working_dir, &to.working_dir)]);
    if from.labels != to.labels {
        set_field(run, "Labels", (!to.labels.is_empty()).then(|| json!(to.labels)));
    }
    write_words(run, &[("StopSignal", &from.stop_signal, &to.stop_signal)]);
    if from.healthcheck != to.healthcheck {
        set_field(run, "Healthcheck", Some(to.healthcheck.clone()).filter(|value| !value.is_null()));
    }
}

fn write_words(object: &mut Map, words: &[(&str, &String, &String)]) {
    for (name, from, to) in words {
        if from != to {
            set_field(object, name, (!to.is_empty()).then(|| json!(to)));
        }
    }
}

fn write_list(object: &mut Map, name: &str, from: &[String], to: &[String]) {
    if from != to {
        set_field(object, name, (!to.is_empty()).then(|| json!(to)));
    }
}

fn write_keys(
    object: &mut Map,
    name: &str,
    from: &BTreeSet<String>,
    to: &BTreeSet<String>,
    kept: impl Fn(&String) -> bool,
) {
    let mut keys = match field(object, name) {
        Some(Value::Object(keys)) => keys.clone(),
        _ => Map::new(),
    };
    keys.retain(|key, _| (!from.contains(key) || to.contains(key)) && kept(key));
    for key in to.difference(from) {
        keys.entry(key.clone()).or_insert_with(|| json!({}));
    }
    set_field(object, name, (!keys.is_empty()).then_some(Value::Object(keys)));
}
