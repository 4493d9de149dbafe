//! The image configuration of OCI, and of docker. Fields that are not known are kept.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md>

use std::collections::BTreeMap;

use appc_image::oci::{Digest, Platform};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// An image configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    #[serde(default, rename = "config", deserialize_with = "null_is_default")]
    pub(crate) run: Run,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub(crate) history: Vec<History>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// How the image is run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub(crate) user: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub(crate) exposed_ports: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub(crate) env: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub(crate) cmd: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub(crate) volumes: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub(crate) working_dir: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub(crate) stop_signal: String,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// The layers, by the digests of their plain tars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// How a layer came about, or a change without one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) empty_layer: bool,
    #[serde(flatten)]
    pub(crate) extra: Map<String, Value>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

impl Config {
    /// That of an image about which nothing has been said yet.
    pub(crate) fn new() -> Config {
        let Platform { os, architecture, variant, .. } = Platform::host();
        Config {
            created: None,
            author: None,
            architecture,
            os,
            variant,
            run: Run::default(),
            rootfs: RootFs::default(),
            history: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Reads the bytes of one.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config> {
        let config: Config = serde_json::from_slice(bytes)
            .map_err(|e| Error::Refused(format!("this is no OCI image configuration: {e}")))?;
        config.check()?;
        Ok(config)
    }

    /// What its types do not say.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [("architecture", &self.architecture), ("os", &self.os)] {
            if value.is_empty() {
                return Err(Error::Refused(format!("{name}: it must not be empty in an OCI image configuration")));
            }
        }
        Ok(())
    }

    /// What the image runs on.
    pub(crate) fn platform(&self) -> Platform {
        Platform { variant: self.variant.clone(), ..Platform::new(&self.os, &self.architecture) }
    }
}

/// Go writes `null` for what is empty.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_kept_and_null_is_empty() {
        let text = r#"{"architecture":"arm64","os":"linux","variant":"v8","config":{"Env":null,"Cmd":["a"],"OnBuild":["x"]},
            "rootfs":{"type":"layers","diff_ids":null},"history":null,"docker_version":"1"}"#;
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!((config.run.env.len(), config.platform().to_string().as_str()), (0, "linux/arm64/v8"));
        let again = r#"{"architecture":"arm64","os":"linux","variant":"v8","config":{"Cmd":["a"],"OnBuild":["x"]},"rootfs":{"type":"layers","diff_ids":[]},"docker_version":"1"}"#;
        assert_eq!(serde_json::to_string(&config).unwrap(), again);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"architecture":"","os":"linux"}"#,
            r#"{"architecture":"amd64","os":"linux","config":{"Env":[1]}}"#,
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:short"]}}"#,
        ] {
            assert!(Config::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
