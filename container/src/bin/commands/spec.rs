//! `rkt-oci spec`

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use appc_container::Error;
use clap::Args;
use rustix::process::{getegid, geteuid};
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};

use super::{Outcome, wrong};

/// What a bundle without special needs starts from. The content is that of runc's `spec`.
const TEMPLATE: &str = include_str!("spec.json");

/// Write a config.json to start from
///
/// A shell in all namespaces, with the root file system of the folder rootfs beside it. To be changed by hand.
///
///   mkdir -p web/rootfs && rkt-oci spec --bundle web
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Spec {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a container that an ordinary user starts: with a user namespace that maps the user alone
    #[arg(long)]
    rootless: bool,
}

impl Spec {
    pub(crate) fn run(&self) -> Outcome {
        let path = self.bundle.join("config.json");
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => wrong("config.json exists: remove it first"),
            _ => Error::System { what: format!("write {}", path.display()), cause: e },
        };
        let text = match self.rootless {
            true => rootless(geteuid().as_raw(), getegid().as_raw()).map_err(|e| failed(e.into()))?,
            false => TEMPLATE.to_owned(),
        };
        let mut file = File::options().write(true).create_new(true).open(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(|e| {
            // Half of it would be in the way of the next.
            let _not_removed = std::fs::remove_file(&path);
            failed(e)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The template without what an ordinary user cannot have. Again that is what runc makes of it: the host's network, and
/// its `/sys`, as a new one needs a network of its own.
fn rootless(uid: u32, gid: u32) -> serde_json::Result<String> {
    let mut config: Value = serde_json::from_str(TEMPLATE)?;
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            (mount["type"], mount["source"]) = (json!("none"), json!("/sys"));
            mount["options"] = json!(["rbind", "nosuid", "noexec", "nodev", "ro"]);
        } else if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            let of_nobody = |o: &Value| o.as_str().is_some_and(|o| o.starts_with("gid=") || o.starts_with("uid="));
            options.retain(|option| !of_nobody(option));
        }
    }
    let linux = &mut config["linux"];
    linux.as_object_mut().map(|linux| linux.shift_remove("resources"));
    for (name, id) in [("uidMappings", uid), ("gidMappings", gid)] {
        linux[name] = json!([{"containerID": 0, "hostID": id, "size": 1}]);
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    let mut text = Vec::new();
    config.serialize(&mut Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_gets_what_it_can_have() {
        let config: Value = serde_json::from_str(&rootless(1000, 100).unwrap()).unwrap();
        let linux = &config["linux"];
        assert_eq!(linux["uidMappings"], json!([{"containerID": 0, "hostID": 1000, "size": 1}]));
        assert_eq!(linux["gidMappings"][0]["hostID"], 100);
        assert!(linux.get("resources").is_none());
        let kinds: Vec<&str> =
            linux["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["pid", "ipc", "uts", "mount", "user"]);
        let text = config["mounts"].to_string();
        assert!(text.contains("rbind") && !text.contains("gid=") && text.contains("mode=0620"), "{text}");
        assert!(!text.contains("null"), "{text}");
    }
}
