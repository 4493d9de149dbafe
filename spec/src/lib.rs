//! The App Container formats as plain data: no file, no socket, no clock.
//!
//! | what | where |
//! |---|---|
//! | the manifest in an image | [`ImageManifest`], [`App`], [`Dependency`] |
//! | the manifest of a pod | [`PodManifest`], [`RuntimeApp`], [`Volume`], [`ExposedPort`] |
//! | names | [`AcIdentifier`] (global), [`AcName`] (local), [`ImageName`] (as typed: `example.com/app:1.0,os=linux`) |
//! | image IDs | [`ImageId`], [`ImageIdPrefix`] (as typed) |
//! | named values | [`Labels`], [`Annotations`], [`Environment`] |
//! | as OCI and docker have it | [`oci`]: the mapping both ways |
//! | as bundles have it | [`runtime`]: the mapping both ways |
//! | where images are | [`discovery`]: pages, meta tags, templates |
//! | limits and restrictions | [`Isolators`], [`Isolator`], [`Quantity`] |
//!
//! Everything that is accepted is printed back: unknown fields are kept at every level (`extra`), unknown isolators
//! are no error. Everything that is refused is refused with its JSON path and the rule ([`Error`]). Where the text of
//! the specification and the Go tools disagree, what those tools wrote is accepted.
//!
//! ```
//! use appc_spec::{App, ImageManifest};
//!
//! # fn main() -> Result<(), appc_spec::Error> {
//! let mut manifest = ImageManifest::new("example.com/hello".parse()?);
//! manifest.labels.set("os".parse()?, "linux");
//! manifest.app = Some(App { exec: vec!["/bin/hello".into()], ..App::new() });
//! manifest.validate()?;
//! assert_eq!(ImageManifest::parse(manifest.to_json().as_bytes())?, manifest);
//!
//! let broken = br#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/hello",
//!     "app": {"user": "0", "group": "0", "ports": [{"name": "www", "protocol": "tcp", "port": 70000}]}}"#;
//! let error = ImageManifest::parse(broken).unwrap_err();
//! assert_eq!(error.to_string(), "app.ports[0].port: port must be in 1-65535 range");
//! # Ok(()) }
//! ```

mod annotations;
mod app;
pub mod discovery;
mod environment;
mod error;
mod identifier;
mod image_id;
mod image_manifest;
mod image_name;
mod isolator;
mod json;
mod labels;
mod list;
mod mount_point;
pub mod oci;
mod os_arch;
mod parameters;
mod pod_manifest;
mod port;
mod quantity;
pub mod runtime;
mod runtime_app;
mod version;
mod volume;

pub use annotations::{Annotation, Annotations};
pub use app::{App, EventHandler, EventName};
pub use environment::{Environment, EnvironmentVariable};
pub use error::Error;
pub use identifier::{AcIdentifier, AcName};
pub use image_id::{ImageId, ImageIdPrefix};
pub use image_manifest::{Dependency, ImageManifest};
pub use image_name::ImageName;
pub use isolator::{Isolator, IsolatorEntry, Isolators, Resource, SelinuxContext, Throughput};
pub use json::Map;
pub use labels::{Label, Labels};
pub use mount_point::MountPoint;
pub use os_arch::{check_os_arch, host_arch};
pub use pod_manifest::PodManifest;
pub use port::{ExposedPort, Port};
pub use quantity::Quantity;
pub use runtime_app::{Mount, RuntimeApp, RuntimeImage};
pub use version::{AC_VERSION, Version};
pub use volume::{Volume, VolumeSource};
