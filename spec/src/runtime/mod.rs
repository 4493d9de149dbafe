//! The mapping between App Container manifests and the runtime configuration of a bundle, both ways.
//!
//! A bundle is a root file system and a `config.json` that says how a runtime runs a program in it. What such a file says
//! of mounts, hooks and namespaces no image can say, and what a manifest says of its labels no bundle can: each carries
//! the other as an annotation, [`MANIFEST`] and [`BUNDLE_STASH`], so that what was not edited stays as it was.

mod build;
mod read;

use serde_json::Value;

use crate::json::text;
use crate::oci::MANIFEST;
use crate::{AcIdentifier, Error, ImageManifest};

/// Annotation of an App Container manifest: the configuration of the bundle it was made of.
pub const BUNDLE_STASH: &str = "io.appc.bundle.config";

/// Who an app runs as, by the files of its root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Further groups, besides those that the app names.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// A configuration, and what it cannot say.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The content of `config.json`; its root file system is `rootfs`.
    pub config: Value,
    /// What of the app the runtime will not do, as parts of sentences.
    pub unenforced: Vec<String>,
}

/// What is the app's, and follows it when it was edited.
const FOLLOWS: [&str; 9] = [
    "/process/args",
    "/process/env",
    "/process/cwd",
    "/process/user",
    "/process/capabilities",
    "/process/noNewPrivileges",
    "/process/oomScoreAdj",
    "/linux/resources/memory",
    "/linux/resources/cpu",
];

/// The configuration that runs an image's app as `user`.
///
/// `rootless` are the numbers of an ordinary user of the host who will run it, and who is then root in it.
///
/// # Errors
/// When an isolator's value cannot be had, or the annotation with an earlier configuration is none.
pub fn to_bundle(manifest: &ImageManifest, user: &User, rootless: Option<(u32, u32)>) -> Result<Bundle, Error> {
    let mut made = build::build(manifest, user, rootless)?;
    if let Some(stash) = manifest.annotations.get(BUNDLE_STASH) {
        let came_as = text::parse(stash.as_bytes())?;
        let then = read::foreign(&came_as, manifest.name.clone())?;
        let was = read::user(&came_as, &user.home);
        let then = build::build(&then, &was, None)?.config;
        let mut config = came_as;
        for field in FOLLOWS {
            if then.pointer(field) != made.config.pointer(field) {
                put(&mut config, field, made.config.pointer(field).cloned());
            }
        }
        put(&mut config, "/root/path", Some("rootfs".into()));
        made.config = config;
    }
    let mut bare = manifest.clone();
    bare.annotations.remove(BUNDLE_STASH);
    put(&mut made.config, &annotation(MANIFEST), Some(bare.to_json().into()));
    Ok(made)
}

/// The manifest of the image that a bundle with the configuration `config` is: the one that it carries, with what was
/// edited since, or else a new one called `name`.
///
/// # Errors
/// When it is not JSON, or a field of it is of a wrong type.
pub fn to_appc(config: &[u8], name: AcIdentifier) -> Result<ImageManifest, Error> {
    let mut config = text::parse(config)?;
    if !config.is_object() {
        return Err(Error::new("the configuration is no object"));
    }
    let embedded = config.pointer(&annotation(MANIFEST)).and_then(Value::as_str);
    let embedded = embedded.and_then(|text| ImageManifest::parse(text.as_bytes()).ok());
    put(&mut config, &annotation(MANIFEST), None);
    let mut made = match embedded {
        Some(mut manifest) => {
            let user = read::user(&config, &read::home(&config));
            let then = build::build(&manifest, &user, read::rootless(&config))?.config;
            if then == config {
                return Ok(manifest);
            }
            let now = read::foreign(&config, manifest.name.clone())?;
            read::merge(&mut manifest, &then, &config, now);
            manifest
        }
        None => read::foreign(&config, name)?,
    };
    made.annotations.set(BUNDLE_STASH.parse()?, config.to_string());
    made.validate()?;
    Ok(made)
}

/// Sets what is at a JSON pointer, objects on the way included, or takes it out.
fn put(config: &mut Value, pointer: &str, value: Option<Value>) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if value.is_some() && !parent.is_empty() && config.pointer(parent).is_none_or(|found| !found.is_object()) {
        put(config, parent, Some(serde_json::json!({})));
    }
    let Some(Value::Object(parent)) = config.pointer_mut(parent) else { return };
    match value {
        Some(value) => drop(parent.insert(name.to_owned(), value)),
        None => drop(parent.shift_remove(name)),
    }
}

fn annotation(name: &str) -> String {
    format!("/annotations/{name}")
}
