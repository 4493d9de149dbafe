//! What differs between two views, applied to an App Container manifest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::project::{
    ANNOTATIONS, APP, CMD, ENTRYPOINT, ENV, HEALTHCHECK, LABEL, NAME, NO_GROUP, NOARCH, PLATFORM, STOP_SIGNAL, VERSION,
    WELL_KNOWN, is_reserved,
};
use super::view::View;
use super::{RESOLVED_USER, platform, ports, set};
use crate::json::{Read, text};
use crate::{AcIdentifier, Annotations, App, Environment, ImageManifest, check_os_arch};

/// Changes of a manifest what differs between the views, and nothing else. What its rules forbid goes where it is
/// kept for the way back, or is left out.
pub(super) fn apply(manifest: &mut ImageManifest, from: &View, to: &View) {
    let platform = |view: &View| (view.os.clone(), view.architecture.clone(), view.variant.clone());
    if platform(from) != platform(to) {
        apply_platform(manifest, to);
    }
    apply_app(manifest, from, to);
    apply_annotations(manifest, from, to);
    for (name, from, to) in [("created", &from.created, &to.created), ("authors", &from.author, &to.author)] {
        if from != to {
            set_checked(manifest, name, Some(to).filter(|value| !value.is_empty()));
        }
    }
    if from.stop_signal != to.stop_signal {
        stash(manifest, STOP_SIGNAL, &to.stop_signal);
    }
    if from.healthcheck != to.healthcheck {
        let json = if to.healthcheck.is_null() { String::new() } else { text::compact(&to.healthcheck) };
        stash(manifest, HEALTHCHECK, &json);
    }
}

/// Sets an annotation, or removes it when there is nothing to say.
fn stash(manifest: &mut ImageManifest, name: &str, value: &str) {
    if value.is_empty() {
        manifest.annotations.remove(name);
    } else {
        set(manifest, name, value);
    }
}

/// Sets a well-known annotation if its value is one; says whether it is.
fn set_checked(manifest: &mut ImageManifest, name: &str, value: Option<&String>) -> bool {
    let Some(value) = value else {
        manifest.annotations.remove(name);
        return true;
    };
    let mut alone = Annotations::new();
    if let Ok(name) = name.parse() {
        alone.set(name, value);
    }
    let valid = alone.validate().is_ok();
    if valid {
        set(manifest, name, value);
    }
    valid
}

fn set_label(manifest: &mut ImageManifest, name: &str, value: Option<&str>) -> bool {
    let Some(value) = value else {
        manifest.labels.remove(name);
        return true;
    };
    let before = manifest.labels.clone();
    match name.parse() {
        Ok(name) => manifest.labels.set(name, value),
        Err(_) => return false,
    }
    let valid = manifest.labels.validate().is_ok();
    if !valid {
        manifest.labels = before;
    }
    valid
}

fn apply_platform(manifest: &mut ImageManifest, to: &View) {
    let label = platform::to_label(&to.os, &to.architecture, &to.variant);
    manifest.labels.remove("arch");
    manifest.labels.remove("os");
    if check_os_arch(&to.os, None).is_ok() {
        set_label(manifest, "os", Some(&to.os));
    }
    match label {
        Some(label) => {
            set_label(manifest, "arch", Some(label));
            manifest.annotations.remove(PLATFORM);
        }
        None => {
            let words = [&to.os[..], &to.architecture, &to.variant].join("/");
            stash(manifest, PLATFORM, words.trim_end_matches('/'));
        }
    }
}

fn apply_app(manifest: &mut ImageManifest, from: &View, to: &View) {
    if execution(from) == execution(to) {
        return;
    }
    let mut app = manifest.app.take().unwrap_or_default();
    if from.user != to.user {
        let (user, group) = user_and_group(&to.user);
        stash(manifest, NO_GROUP, if user.is_some() && group.is_none() { "true" } else { "" });
        app.user = user.unwrap_or("0").to_owned();
        app.group = group.unwrap_or(&app.user).to_owned();
    }
    if from.env != to.env {
        apply_env(&mut app, manifest, &to.env);
    }
    if (&from.entrypoint, &from.cmd) != (&to.entrypoint, &to.cmd) {
        app.exec = to.entrypoint.iter().chain(&to.cmd).cloned().collect();
        for (name, list) in [(ENTRYPOINT, &to.entrypoint), (CMD, &to.cmd)] {
            stash(manifest, name, &if list.is_empty() { String::new() } else { text::compact(&json!(list)) });
        }
    }
    if from.working_dir != to.working_dir {
        app.working_directory = match &*to.working_dir {
            "" => None,
            absolute if absolute.starts_with('/') => Some(absolute.to_owned()),
            relative => Some(format!("/{relative}")),
        };
    }
    if from.volumes != to.volumes {
        ports::apply_volumes(&mut app.mount_points, &from.volumes, &to.volumes);
    }
    if from.exposed_ports != to.exposed_ports {
        ports::apply(&mut app.ports, &from.exposed_ports, &to.exposed_ports);
    }
    apply_map(&mut app.user_labels, &from.labels, &to.labels);
    manifest.app = Some(app);
}

/// What makes an app of an image.
fn execution(view: &View) -> impl PartialEq {
    let View { user, exposed_ports, env, entrypoint, cmd, volumes, working_dir, labels, .. } = view;
    (user, exposed_ports, env, entrypoint, cmd, volumes, working_dir, labels)
}

/// What there is of both.
fn user_and_group(text: &str) -> (Option<&str>, Option<&str>) {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let named = |name: &'_ str| !name.is_empty();
    (Some(user).filter(|name| named(name)), Some(group).filter(|name| named(name)))
}

/// Of several values for one name the last one counts, at the first one's place. What is no variable is kept for the
/// way back.
fn apply_env(app: &mut App, manifest: &mut ImageManifest, to: &[String]) {
    let mut environment = Environment::new();
    let mut others = Vec::new();
    for entry in to {
        let mut alone = Environment::new();
        match entry.split_once('=') {
            Some((name, value)) => {
                alone.set(name, value);
                if alone.validate().is_ok() {
                    environment.set(name, value);
                    continue;
                }
                others.push(entry);
            }
            None => others.push(entry),
        }
    }
    app.environment = environment;
    set_other_env(manifest, &others);
}

/// Keeps entries of the environment whose names App Container does not have.
pub(crate) fn set_other_env(manifest: &mut ImageManifest, others: &[&String]) {
    stash(manifest, ENV, &if others.is_empty() { String::new() } else { text::compact(&json!(others)) });
}

fn apply_map(map: &mut BTreeMap<String, String>, from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) {
    for key in from.keys().chain(to.keys()).filter(|key| from.get(*key) != to.get(*key)) {
        match to.get(key) {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        }
    }
}

fn apply_annotations(manifest: &mut ImageManifest, from: &View, to: &View) {
    let (from, to) = (&from.annotations, &to.annotations);
    let mut others: BTreeMap<String, String> =
        manifest.annotations.get(ANNOTATIONS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let changed: BTreeSet<&String> =
        from.keys().chain(to.keys()).filter(|name| from.get(*name) != to.get(*name)).collect();
    for name in changed {
        let value = to.get(name);
        others.remove(name);
        if !apply_annotation(manifest, name, value)
            && let Some(value) = value
        {
            others.insert(name.clone(), value.clone());
        }
    }
    stash(manifest, ANNOTATIONS, &if others.is_empty() { String::new() } else { text::compact(&json!(others)) });
    if let Some(missing) = to.get(NOARCH).filter(|_| from.get(NOARCH) != to.get(NOARCH)) {
        missing.split(',').filter(|name| ["os", "arch"].contains(name)).for_each(|name| {
            manifest.labels.remove(name);
        });
    }
}

/// One annotation that was set or removed; says whether there is a place for it.
fn apply_annotation(manifest: &mut ImageManifest, name: &str, value: Option<&String>) -> bool {
    if let Some((ours, _)) = WELL_KNOWN.iter().find(|(_, theirs)| *theirs == name) {
        return set_checked(manifest, ours, value);
    }
    if let Some(label) = name.strip_prefix(LABEL) {
        return set_label(manifest, label, value.map(String::as_str));
    }
    match (name, value) {
        (NAME, Some(value)) => value.parse::<AcIdentifier>().map(|name| manifest.name = name).is_ok(),
        (VERSION, value) => set_label(manifest, "version", value.map(String::as_str)),
        (NAME | NOARCH | RESOLVED_USER, _) => true,
        _ if name.starts_with(APP) => apply_json(manifest, &name[APP.len()..], value),
        _ if is_reserved(name) => value.is_none(),
        (_, value) => match (name.parse(), value) {
            (Ok(name), Some(value)) => {
                manifest.annotations.set(name, value);
                true
            }
            _ => {
                manifest.annotations.remove(name);
                value.is_none()
            }
        },
    }
}

/// A field of the app that has no place in OCI but an annotation.
fn apply_json(manifest: &mut ImageManifest, name: &str, json: Option<&String>) -> bool {
    let value = match json {
        Some(json) => match text::parse(json.as_bytes()) {
            Ok(value) => value,
            Err(_) => return false,
        },
        None => Value::Null,
    };
    let mut app = manifest.app.clone().unwrap_or_default();
    let read = match name {
        "event-handlers" => read(value).map(|list| app.event_handlers = list),
        "isolators" => read(value).map(|list| app.isolators = list),
        "mount-points" => read(value).map(|list| app.mount_points = list),
        "ports" => read(value).map(|list| app.ports = list),
        "supplementary-gids" => read(value).map(|list| app.supplementary_gids = list),
        "user-annotations" => read(value).map(|map| app.user_annotations = map),
        _ => None,
    };
    let valid = read.is_some() && app.validate().is_ok();
    if valid && (manifest.app.is_some() || json.is_some()) {
        manifest.app = Some(app);
    }
    valid
}

fn read<T: Read + Default>(value: Value) -> Option<T> {
    if value.is_null() { Some(T::default()) } else { T::read(value).ok() }
}
