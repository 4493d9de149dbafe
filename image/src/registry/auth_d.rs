//! rkt's `auth.d`: files of kind `dockerAuth`, each with one login for some registries.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Login, Secret};
use crate::{Error, Result};

/// More than any such file needs.
const LONGEST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    rkt_kind: String,
    rkt_version: String,
}

#[derive(Deserialize)]
struct DockerAuth {
    registries: Vec<String>,
    credentials: UserAndPassword,
}

#[derive(Deserialize)]
struct UserAndPassword {
    user: String,
    password: String,
}

/// The logins in the `*.json` files of `dir`, by registry. Files of other kinds are left to others.
pub(super) fn read(dir: &Path) -> Result<Vec<(String, Login)>> {
    let mut logins: Vec<(String, Login)> = Vec::new();
    let mut seen = BTreeSet::new();
    for path in files(dir)? {
        let text = text(&path)?;
        let refuse = |rule: String| Error::Configuration { path: path.clone(), rule };
        let kind: Kind = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        if kind.rkt_kind != "dockerAuth" {
            continue;
        }
        if kind.rkt_version != "v1" {
            return Err(refuse("rktVersion must be \"v1\"".into()));
        }
        let auth: DockerAuth = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        let UserAndPassword { user, password } = auth.credentials;
        if user.is_empty() || password.is_empty() {
            return Err(refuse("credentials need both a user and a password".into()));
        }
        if auth.registries.is_empty() {
            return Err(refuse("registries must name at least one".into()));
        }
        for registry in auth.registries {
            if !seen.insert(registry.clone()) {
                return Err(refuse(format!("another file of this directory has a login for {registry:?} already")));
            }
            logins.push((registry, Login::Password { user: user.clone(), password: Secret::new(password.as_str()) }));
        }
    }
    Ok(logins)
}

/// The regular files named `*.json`, in the order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(what()))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(what()))?.path();
        // A link to a file is as good as a file.
        if path.extension().is_some_and(|end| end == "json") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A configuration file's text.
pub(super) fn text(path: &Path) -> Result<String> {
    let what = || format!("read {}", path.display());
    let mut text = String::new();
    let file = fs::File::open(path).map_err(Error::io(what()))?;
    file.take(LONGEST).read_to_string(&mut text).map_err(Error::io(what()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str) -> Result<Vec<(String, Login)>> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.json"), text).unwrap();
        fs::write(dir.path().join("x.txt"), "not looked at").unwrap();
        read(dir.path())
    }

    #[test]
    fn a_login_for_several_registries() {
        let logins = read_one(
            r#"{"rktKind":"dockerAuth","rktVersion":"v1","registries":["a.example","b.example:5000"],
            "credentials":{"user":"u","password":"p"}}"#,
        );
        let names: Vec<_> = logins.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.example", "b.example:5000"]);
    }

    #[test]
    fn other_kinds_are_left_alone_and_faults_are_told() {
        assert!(read_one(r#"{"rktKind":"auth","rktVersion":"v1","domains":["x"]}"#).unwrap().is_empty());
        for (text, rule) in [
            ("{", "EOF"),
            (r#"{"rktKind":"dockerAuth","rktVersion":"v2"}"#, "rktVersion"),
            (r#"{"rktKind":"dockerAuth","rktVersion":"v1"}"#, "registries"),
            (
                r#"{"rktKind":"dockerAuth","rktVersion":"v1","registries":[],"credentials":{"user":"u","password":"secret"}}"#,
                "at least one",
            ),
            (
                r#"{"rktKind":"dockerAuth","rktVersion":"v1","registries":["x"],"credentials":{"user":"","password":"secret"}}"#,
                "both a user",
            ),
            (
                r#"{"rktKind":"dockerAuth","rktVersion":"v1","registries":["x","x"],"credentials":{"user":"u","password":"secret"}}"#,
                "already",
            ),
        ] {
            let error = read_one(text).unwrap_err().to_string();
            assert!(error.contains(rule) && error.contains("x.json") && !error.contains("secret"), "{error}");
        }
    }
}
