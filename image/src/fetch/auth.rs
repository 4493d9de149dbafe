//! rkt's `auth.d`: files of kind `auth`, which say by what servers of images know us.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::aws;
use super::http::Request;
use crate::error::{Error, Result};

/// More than any such file needs.
const LONGEST: u64 = 1 << 20;

/// What servers of images know us by.
#[derive(Default, Clone)]
pub struct Authorizations {
    by_domain: BTreeMap<String, Login>,
}

#[derive(Clone)]
enum Login {
    /// The value of the `Authorization` header.
    Header(String),
    /// Signs each request.
    Aws(aws::Login),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    rkt_kind: String,
    rkt_version: String,
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    credentials: Value,
}

impl Authorizations {
    /// Reads `auth.d` in each of the configuration directories, of which later ones win. What does not exist says nothing.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a file that breaks a rule, and when two in one directory are about the same domain.
    pub fn read(directories: &[impl AsRef<Path>]) -> Result<Authorizations> {
        let mut all = Authorizations::default();
        for directory in directories {
            let mut here = BTreeMap::new();
            for path in files(&directory.as_ref().join("auth.d"))? {
                read_file(&path, &mut here).map_err(|rule| Error::Configuration { path: path.clone(), rule })?;
            }
            all.by_domain.append(&mut here);
        }
        Ok(all)
    }

    /// Adds to a request for `url` what its host knows us by.
    pub(super) fn apply<'c>(&self, request: Request<'c>, url: &str) -> Request<'c> {
        let host = host_and_port(url);
        let bare = host.rsplit_once(':').map_or(host.as_str(), |(bare, _)| bare);
        match self.by_domain.get(&host).or_else(|| self.by_domain.get(bare)) {
            None => request,
            Some(Login::Header(value)) => request.secret("Authorization", value),
            Some(Login::Aws(login)) => login.apply(request, url),
        }
    }
}

/// Shows for whom, not what.
impl std::fmt::Debug for Authorizations {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_set().entries(self.by_domain.keys()).finish()
    }
}

/// `Example.com:80` of `https://user@Example.com:80/x`, in lower case.
fn host_and_port(url: &str) -> String {
    let plain = crate::reference::without_secrets(url);
    let rest = plain.split_once("://").map_or(plain.as_str(), |(_, rest)| rest);
    rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())].to_ascii_lowercase()
}

fn read_file(path: &Path, all: &mut BTreeMap<String, Login>) -> Result<(), String> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(|e| crate::error::errno_text(&e))?;
    let file: File = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if file.rkt_kind != "auth" {
        return Ok(());
    }
    if file.rkt_version != "v1" {
        return Err("rktVersion must be \"v1\"".into());
    }
    if file.domains.is_empty() {
        return Err("domains must name at least one".into());
    }
    let credential = |name: &str| match file.credentials.get(name).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(format!("credentials of type {} need a {name}", file.r#type)),
    };
    let value = match file.r#type.as_str() {
        "basic" => {
            let (user, password) = (credential("user")?, credential("password")?);
            Login::Header(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        }
        "oauth" => Login::Header(format!("Bearer {}", credential("token")?)),
        "aws" => Login::Aws(aws::Login {
            access_key: credential("accessKeyID")?.to_owned(),
            secret_key: credential("secretAccessKey")?.to_owned(),
            region: credential("awsRegion").ok().map(str::to_owned),
        }),
        other => return Err(format!("type {other:?} is none of basic, oauth and aws")),
    };
    for domain in file.domains {
        if all.insert(domain.to_ascii_lowercase(), value.clone()).is_some() {
            return Err(format!("another file of this directory is about {domain:?} already"));
        }
    }
    Ok(())
}

/// The regular files named `*.json`, in the order of their names.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(what()))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(what()))?.path();
        if path.extension().is_some_and(|end| end == "json") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASIC: &str = r#"{"rktKind": "auth", "rktVersion": "v1", "domains": ["Example.com", "x:8443"],
        "type": "basic", "credentials": {"user": "me", "password": "pass"}}"#;

    fn read(texts: &[(&str, &str)]) -> Result<Authorizations> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in texts {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Authorizations::read(&["1", "2"].map(|name| dir.path().join(name)))
    }

    #[test]
    fn later_directories_win() {
        let oauth = r#"{"rktKind": "auth", "rktVersion": "v1", "domains": ["example.com"], "type": "oauth", "credentials": {"token": "t"}}"#;
        let all = read(&[("1/auth.d/a.json", BASIC), ("2/auth.d/b.json", oauth), ("1/auth.d/x", "{")]).unwrap();
        let header = |domain: &str| match &all.by_domain[domain] {
            Login::Header(value) => value.clone(),
            Login::Aws(_) => String::new(),
        };
        assert_eq!(header("example.com"), "Bearer t");
        assert_eq!(header("x:8443"), "Basic bWU6cGFzcw==");
        assert!(!format!("{all:?}").contains("bWU"));
        assert_eq!(host_and_port("https://u:p@Example.com:80/x?y"), "example.com:80");
    }

    #[test]
    fn faults_are_named_with_their_file() {
        let cases = [
            ("{", "EOF"),
            (r#"{"rktKind": "auth", "rktVersion": "v2"}"#, "rktVersion"),
            (r#"{"rktKind": "auth", "rktVersion": "v1"}"#, "domains"),
            (r#"{"rktKind": "auth", "rktVersion": "v1", "domains": ["x"], "type": "magic"}"#, "none of basic"),
            (r#"{"rktKind": "auth", "rktVersion": "v1", "domains": ["x"], "type": "oauth"}"#, "need a token"),
            (r#"{"rktKind": "auth", "rktVersion": "v1", "domains": ["x"], "type": "aws"}"#, "need a accessKeyID"),
        ];
        for (text, rule) in cases {
            let error = read(&[("1/auth.d/a.json", text)]).unwrap_err().to_string();
            assert!(error.contains("a.json: ") && error.contains(rule), "{error}");
        }
        let twice = read(&[("1/auth.d/a.json", BASIC), ("1/auth.d/b.json", BASIC)]).unwrap_err().to_string();
        assert!(twice.contains("b.json") && twice.contains("already"), "{twice}");
    }
}
