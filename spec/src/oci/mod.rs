//! The mapping between App Container manifests and OCI (or docker) image configurations, both ways and without loss.
//!
//! Both sides are seen through one [`view::View`], which has what either can say of an image. What goes across is the
//! *difference* between two views:
//!
//! | | from the view of | to the view of | is applied to |
//! |---|---|---|---|
//! | App Container → OCI | nothing | the manifest | an empty configuration |
//! | the same, of an image that came from OCI | the manifest as it came | the manifest as it is | the original configuration |
//! | OCI → App Container | nothing | the configuration | an empty manifest |
//! | the same, of an image that came from here | the embedded manifest | the configuration as it is | the embedded manifest |
//!
//! So what was not edited stays as it was, field for field, and what one side cannot say waits there: OCI images carry
//! the whole manifest in the annotation [`MANIFEST`], images that came from OCI carry its two documents in
//! [`CONFIG_STASH`] and [`MANIFEST_STASH`].

mod apply;
mod platform;
mod ports;
mod project;
mod view;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::json::{Map, text};
use crate::{AcIdentifier, Annotations, App, Error, ImageManifest};
pub(crate) use apply::set_other_env;
pub use platform::to_label as arch_label;
use view::View;

pub use platform::to_oci as platform;
pub use project::NO_GROUP;
pub(crate) use project::other_env;

/// Annotation of an OCI manifest: the App Container manifest, byte for byte.
pub const MANIFEST: &str = "io.appc.manifest";
/// Annotation of an OCI manifest: the ID of the image it was made of.
pub const IMAGE_ID: &str = "io.appc.image.id";
/// Annotation of an OCI manifest: how the App Container archive is put together from the layer.
pub const ARCHIVE_RECORD: &str = "io.appc.archive";
/// Annotation of an OCI manifest: `uid:gid` of the files that the app names as its user and group.
pub const RESOLVED_USER: &str = "io.appc.app.user";
/// Annotation of an App Container manifest: the OCI configuration it was made of, byte for byte.
pub const CONFIG_STASH: &str = "io.appc.oci.config";
/// Annotation of an App Container manifest: the OCI manifest it was made of, byte for byte.
pub const MANIFEST_STASH: &str = "io.appc.oci.manifest";

/// Annotations of OCI manifests that are about the conversion, not about the image.
const TECHNICAL: [&str; 3] = [MANIFEST, IMAGE_ID, ARCHIVE_RECORD];

/// An image as OCI has it, but for its layers.
#[derive(Debug, Clone, PartialEq)]
pub struct OciParts {
    /// The image configuration, with an empty list of layers unless the image came with some.
    pub config: Value,
    /// The annotations of the image's manifest.
    pub annotations: BTreeMap<String, String>,
    /// The documents this image was made of, if it is exactly what they say.
    pub original: Option<Original>,
    /// The manifest of the image that this one was made of. The configuration is still about the layers that it lists.
    pub came_with: Option<Value>,
}

/// The two documents of an OCI image, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The image configuration.
    pub config: String,
    /// The image manifest.
    pub manifest: String,
}

/// Where an OCI image comes from; what is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Host, and port, of the registry.
    pub registry: String,
    /// The repository in it, or the name that a file or directory gives to the image.
    pub repository: String,
    /// The tag, which becomes the version.
    pub tag: String,
    /// The image as the user wrote it.
    pub original: String,
    /// Digest of the configuration.
    pub config_digest: String,
    /// Digest of the manifest.
    pub manifest_digest: String,
}

/// The annotations that tell an origin; all but the last two are docker2aci's, and rkt looks for them.
impl Origin {
    const REGISTRY: &str = "appc.io/docker/registryurl";
    const REPOSITORY: &str = "appc.io/docker/repository";
    const ORIGINAL: &str = "appc.io/docker/originalname";
    const CONFIG_DIGEST: &str = "appc.io/docker/imageid";
    const MANIFEST_DIGEST: &str = "appc.io/docker/manifesthash";
    const TAG: &str = "appc.io/docker/tag";

    fn fields(&self) -> [(&'static str, &str); 6] {
        [
            (Origin::ORIGINAL, &self.original),
            (Origin::REGISTRY, &self.registry),
            (Origin::REPOSITORY, &self.repository),
            (Origin::TAG, &self.tag),
            (Origin::CONFIG_DIGEST, &self.config_digest),
            (Origin::MANIFEST_DIGEST, &self.manifest_digest),
        ]
    }

    fn of(manifest: &ImageManifest) -> Origin {
        let get = |name| manifest.annotations.get(name).unwrap_or_default().to_owned();
        Origin {
            registry: get(Origin::REGISTRY),
            repository: get(Origin::REPOSITORY),
            tag: get(Origin::TAG),
            original: get(Origin::ORIGINAL),
            config_digest: get(Origin::CONFIG_DIGEST),
            manifest_digest: get(Origin::MANIFEST_DIGEST),
        }
    }

    /// The name of an image from there that has no other.
    ///
    /// # Errors
    /// None, as there is always one; the signature is that of what makes it.
    pub fn image_name(&self) -> Result<AcIdentifier, Error> {
        let words = [&self.registry[..], &self.repository];
        let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("/");
        AcIdentifier::sanitize(&name).or_else(|_| "image".parse())
    }
}

/// Whether the user of an image's app is one of OCI that names no group: then its groups are those that the image's own passwd
/// and group files give it, whatever `app.group` is (image-spec config.md, `User`).
pub fn names_no_group(app: &App, annotations: &Annotations) -> bool {
    annotations.get(project::NO_GROUP).is_some() && app.group == app.user
}

/// What an image is in OCI's words.
pub fn to_oci(manifest: &ImageManifest) -> OciParts {
    let to = project::project(manifest);
    if let Some(stash) = Stash::of(manifest)
        && let Ok(mut came_as) = stash.came_as(&Origin::of(manifest))
    {
        set(&mut came_as, CONFIG_STASH, &stash.config_text);
        set(&mut came_as, MANIFEST_STASH, &stash.manifest_text);
        let mut annotations = stash.annotations();
        if came_as == *manifest {
            let original = Original { config: stash.config_text, manifest: stash.manifest_text };
            return OciParts {
                config: stash.config,
                annotations,
                original: Some(original),
                came_with: Some(stash.manifest),
            };
        }
        let mut config = stash.config;
        view::write(&project::project(&came_as), &to, &mut config, &mut annotations);
        annotations.insert(MANIFEST.to_owned(), manifest.to_json());
        return OciParts { config, annotations, original: None, came_with: Some(stash.manifest) };
    }
    let mut config = json!({});
    let mut annotations = BTreeMap::from([(MANIFEST.to_owned(), manifest.to_json())]);
    view::write(&View::default(), &to, &mut config, &mut annotations);
    OciParts { config, annotations, original: None, came_with: None }
}

/// What an OCI image is in App Container words: the manifest that it carries, with what was edited since, or else a
/// new one. The layers are no part of it.
///
/// # Errors
/// When one of the documents is not JSON, or a field of them is of a wrong type.
pub fn to_appc(config: &[u8], manifest: &[u8], origin: &Origin) -> Result<ImageManifest, Error> {
    let (config_value, manifest_value) = (parse(config, "configuration")?, parse(manifest, "manifest")?);
    let made = match embedded(&config_value, &manifest_value)? {
        Some(embedded) => embedded,
        None => {
            let mut made = foreign(&config_value, &manifest_value, origin)?;
            keep_documents(&mut made, config, manifest);
            made
        }
    };
    made.validate()?;
    Ok(made)
}

/// Keeps the two documents that [`to_appc`] made `manifest` of in it, so that [`to_oci`] gives them back. It does so by itself
/// for images that carry no manifest; those that do may have become others than the one that was carried, in which case
/// `manifest` must depend on nothing and have no path whitelist.
pub fn keep_documents(made: &mut ImageManifest, config: &[u8], manifest: &[u8]) {
    // Bytes that are no UTF-8 cannot be kept in JSON; such an image is converted, but does not come back the same.
    if let (Ok(config), Ok(manifest)) = (std::str::from_utf8(config), std::str::from_utf8(manifest)) {
        set(made, CONFIG_STASH, config);
        set(made, MANIFEST_STASH, manifest);
    }
}

/// The manifest that an image carries, with what was edited since.
fn embedded(config: &Value, manifest: &Value) -> Result<Option<ImageManifest>, Error> {
    let annotations = view::annotations(manifest)?;
    // One that does not parse is an annotation like another: the configuration says enough.
    let carried = annotations.get(MANIFEST).and_then(|text| ImageManifest::parse(text.as_bytes()).ok());
    let Some(mut embedded) = carried else { return Ok(None) };
    let now = View::read(config, annotations)?;
    let then = written(&embedded, &now)?;
    apply::apply(&mut embedded, &then, &now);
    Ok(Some(embedded))
}

/// The view of what an embedded manifest was written as, in the image that `now` is the view of.
fn written(embedded: &ImageManifest, now: &View) -> Result<View, Error> {
    let parts = to_oci(embedded);
    let mut then = View::read(&parts.config, parts.annotations)?;
    project::leave_to_writer(embedded, &mut then, now);
    Ok(then)
}

/// The manifest of an image that knows nothing of App Containers, without its two documents.
fn foreign(config: &Value, manifest: &Value, origin: &Origin) -> Result<ImageManifest, Error> {
    let mut made = ImageManifest::new(origin.image_name()?);
    if !origin.tag.is_empty() {
        made.labels.set("version".parse()?, &*origin.tag);
    }
    apply::apply(&mut made, &View::default(), &View::read(config, view::annotations(manifest)?)?);
    for (name, value) in origin.fields() {
        made.annotations.remove(name);
        if !value.is_empty() {
            set(&mut made, name, value);
        }
    }
    Ok(made)
}

fn parse(json: &[u8], what: &str) -> Result<Value, Error> {
    match text::parse(json).map_err(|e| Error::new(format!("image {what}: {}", e.rule)))? {
        object @ Value::Object(_) => Ok(object),
        _ => Err(Error::new(format!("image {what}: expected an object"))),
    }
}

/// Sets an annotation whose name is known to be valid.
fn set(manifest: &mut ImageManifest, name: &str, value: &str) {
    if let Ok(name) = name.parse() {
        manifest.annotations.set(name, value);
    }
}

/// The documents an image was made of.
struct Stash {
    config: Value,
    manifest: Value,
    config_text: String,
    manifest_text: String,
}

impl Stash {
    fn of(manifest: &ImageManifest) -> Option<Stash> {
        let config_text = manifest.annotations.get(CONFIG_STASH)?.to_owned();
        let manifest_text = manifest.annotations.get(MANIFEST_STASH)?.to_owned();
        let config = parse(config_text.as_bytes(), "configuration").ok()?;
        let manifest = parse(manifest_text.as_bytes(), "manifest").ok()?;
        Some(Stash { config, manifest, config_text, manifest_text })
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        view::annotations(&self.manifest).unwrap_or_default()
    }

    /// The manifest as it came, without the documents.
    fn came_as(&self, origin: &Origin) -> Result<ImageManifest, Error> {
        let Some(mut embedded) = embedded(&self.config, &self.manifest)? else {
            return foreign(&self.config, &self.manifest, origin);
        };
        // All layers were taken for its own, see `keep_documents`.
        embedded.dependencies.clear();
        embedded.path_whitelist.clear();
        Ok(embedded)
    }
}

/// The field of a JSON object in whatever case it is spelt, as Go reads it.
fn field<'a>(object: &'a Map, name: &str) -> Option<&'a Value> {
    object.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Sets a field where it stands, whatever its case, or at the end; `None` takes it out.
fn set_field(object: &mut Map, name: &str, value: Option<Value>) {
    let key = object.keys().rev().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    match (value, key) {
        (Some(value), key) => {
            object.insert(key.unwrap_or_else(|| name.to_owned()), value);
        }
        (None, Some(key)) => {
            object.shift_remove(&key);
        }
        (None, None) => {}
    }
}
