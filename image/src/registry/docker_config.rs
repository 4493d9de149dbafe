//! Docker's `config.json`: logins in the file itself and in programs that keep them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use serde::Deserialize;

use super::credentials::same_registry;
use super::{Login, Secret, auth_d};
use crate::error::printable;
use crate::{Error, Result};

/// Docker Hub's key.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// So long a helper may take: some ask the user.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than any login needs.
const ANSWER_MAX: u64 = 1 << 20;

/// More than any helper needs to say why it fails, in bytes.
const SENTENCE_MAX: usize = 500;

/// What concerns logins in docker's configuration.
#[derive(Debug)]
pub(super) struct DockerConfig {
    path: PathBuf,
    fields: Fields,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Entry {
    /// User, colon and password in base64.
    #[serde(default)]
    auth: Option<Secret>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    identitytoken: Option<Secret>,
    #[serde(default)]
    registrytoken: Option<Secret>,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: Secret,
}

impl DockerConfig {
    /// Reads the file, if it exists.
    pub(super) fn read(path: &Path) -> Result<Option<DockerConfig>> {
        let text = match auth_d::text(path) {
            Err(e) if e.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
            text => text?,
        };
        let fields = serde_json::from_str(&text)
            .map_err(|e| Error::Configuration { path: path.into(), rule: printable(e.to_string().as_bytes()) })?;
        Ok(Some(DockerConfig { path: path.into(), fields }))
    }

    /// The login for `repository` of `registry`, as docker and its relatives look for it: the registry's helper, else the
    /// helper for all, else an entry, the one with the longest path if several are for the repository.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Result<Option<Login>> {
        let helper = self.fields.cred_helpers.iter().find(|(key, _)| same_registry(host_of(key), registry));
        if let Some((key, helper)) = helper {
            return self.ask(helper, key);
        }
        if !self.fields.creds_store.is_empty() {
            let hub = same_registry(registry, crate::reference::DOCKER_HUB);
            let found = self.ask(&self.fields.creds_store, if hub { HUB_KEY } else { registry })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let fits = |key: &&String| same_registry(host_of(key), registry) && covers(key, repository);
        let best = self.fields.auths.keys().filter(fits).max_by_key(|key| path_of(key).len());
        best.map_or(Ok(None), |key| self.login(key, &self.fields.auths[key]))
    }

    fn login(&self, key: &str, entry: &Entry) -> Result<Option<Login>> {
        let some = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.reveal().is_empty());
        if let Some(token) = some(&entry.registrytoken) {
            return Ok(Some(Login::Token(token)));
        }
        if let Some(token) = some(&entry.identitytoken) {
            return Ok(Some(Login::Identity(token)));
        }
        if let (Some(user), Some(password)) = (&entry.username, some(&entry.password)) {
            return Ok(Some(Login::Password { user: user.clone(), password }));
        }
        // Where a helper keeps them, docker leaves an empty entry.
        let Some(auth) = some(&entry.auth) else { return Ok(None) };
        let plain = base64(auth.reveal()).and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = plain.as_deref().and_then(|plain| plain.split_once(':')).ok_or_else(|| {
            let rule = format!("auth of {:?} is not user:password in base64", printable(key.as_bytes()));
            Error::Configuration { path: self.path.clone(), rule }
        })?;
        // Old docker pads the password.
        let password = Secret::new(password.trim_end_matches('\0'));
        Ok(Some(Login::Password { user: user.into(), password }))
    }

    /// Asks `docker-credential-NAME get`.
    fn ask(&self, helper: &str, server: &str) -> Result<Option<Login>> {
        let refuse = |rule: String| Error::Configuration { path: self.path.clone(), rule };
        if helper.contains('/') {
            return Err(refuse(format!("credential helper {helper:?} must be a name, without slashes")));
        }
        let program = format!("docker-credential-{helper}");
        let failed = |e: io::Error| refuse(format!("{program} cannot be run: {}", crate::error::errno_text(&e)));
        let mut command = Command::new(&program);
        let child = command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let (status, output) = match answer(child.map_err(failed)?, server, PATIENCE) {
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                let seconds = PATIENCE.as_secs();
                return Err(refuse(format!(
                    "{program} does not answer within {seconds} seconds: does it wait for you?"
                )));
            }
            answered => answered.map_err(failed)?,
        };
        if !status.success() {
            // It is not of the protocol what is wrong, but all helpers say these words.
            let said = String::from_utf8_lossy(&output);
            if said.contains("credentials not found") {
                return Ok(None);
            }
            let said = match said.trim() {
                "" => format!("without a word, {status}"),
                // A sentence, and no login that came before the failure, nor output without end.
                said if said.len() > SENTENCE_MAX || said.contains(['{', '\n']) => {
                    format!("{status}; what it prints is not shown, as there may be a secret in it")
                }
                said => printable(said.as_bytes()),
            };
            return Err(refuse(format!("{program} failed: {said}")));
        }
        // Its output is never shown, as it holds the secret.
        let Helped { username, secret } = serde_json::from_slice(&output)
            .map_err(|_| refuse(format!("{program} does not print the JSON that it should")))?;
        Ok(match (username.as_str(), secret.reveal()) {
            (_, "") => None,
            ("<token>", _) => Some(Login::Identity(secret)),
            _ => Some(Login::Password { user: username, password: secret }),
        })
    }
}

/// What a helper that is asked for `server` ends with and prints. One that does neither `within` this time is killed.
fn answer(mut child: Child, server: &str, within: Duration) -> io::Result<(ExitStatus, Vec<u8>)> {
    let end = Instant::now() + within;
    if let Some(mut input) = child.stdin.take() {
        // One that ends without reading says why.
        let _ = input.write_all(server.as_bytes());
    }
    let (sender, printed) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        // On its own, as whatever the helper has started may keep its output open.
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // Nobody listens any more when it took too long.
            let _ = sender.send(output.take(ANSWER_MAX).read_to_end(&mut bytes).map(|_| bytes));
        });
    }
    let printed = printed.recv_timeout(within);
    loop {
        match child.try_wait()? {
            Some(status) => return Ok((status, printed.map_err(|_| io::ErrorKind::TimedOut)??)),
            None if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
            None => break,
        }
    }
    child.kill()?;
    child.wait()?;
    Err(io::ErrorKind::TimedOut.into())
}

/// Bytes from base64 as `docker login` writes it, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()
}

/// The host and port of a key, which is `HOST[:PORT][/PATH]` or an address.
fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or(key)
}

/// What of a key narrows it to some repositories: nothing of an address, which ends in the version of an interface.
fn path_of(key: &str) -> &str {
    match key.split_once('/') {
        Some((_, path)) if !key.contains("://") => path.trim_end_matches('/'),
        _ => "",
    }
}

fn covers(key: &str, repository: &str) -> bool {
    match path_of(key) {
        // `HOST/v1/` and `HOST/v2/` are addresses, too.
        "" | "v1" | "v2" => true,
        path => repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        DockerConfig { path: "config.json".into(), fields: serde_json::from_str(text).unwrap() }
    }

    fn password(user: &str, password: &str) -> Option<Login> {
        Some(Login::Password { user: user.into(), password: Secret::new(password) })
    }

    #[test]
    fn entries() {
        let config = config(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                "a.example": {"auth": "dTpwOnE="},
                "a.example/team/x": {"username": "team", "password": "t"},
                "https://b.example:5000/v2/": {"identitytoken": "refresh"},
                "c.example": {},
                "d.example": {"registrytoken": "tok"},
                "e.example": {"auth": "bm8gY29sb24="}
            }, "HttpHeaders": {"x": "y"}}"#,
        );
        let find = |registry, repository| config.find(registry, repository).unwrap();
        assert_eq!(find(crate::reference::DOCKER_HUB, "library/x"), password("hub", "pw"));
        assert_eq!(find("a.example", "other"), password("u", "p:q"));
        assert_eq!(find("a.example", "team/x"), password("team", "t"));
        assert_eq!(find("a.example", "team/x/y"), password("team", "t"));
        assert_eq!(find("a.example", "team/xy"), password("u", "p:q"));
        assert_eq!(find("b.example:5000", "x"), Some(Login::Identity(Secret::new("refresh"))));
        assert_eq!(find("b.example", "x"), None);
        assert_eq!(find("c.example", "x"), None);
        assert_eq!(find("d.example", "x"), Some(Login::Token(Secret::new("tok"))));
        let error = config.find("e.example", "x").unwrap_err().to_string();
        assert!(error.contains("e.example") && !error.contains("bm8g"), "{error}");
    }

    #[test]
    fn helpers() {
        assert!(config("{}").ask("../x", "x").unwrap_err().to_string().contains("without slashes"));
        let run = |script: &str, milliseconds: u64| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
            answer(command.spawn().unwrap(), "a.example", Duration::from_millis(milliseconds))
        };
        let (status, output) = run("cat; exit 3", 60_000).unwrap();
        assert_eq!((status.code(), &output[..]), (Some(3), &b"a.example"[..]));
        for hangs in ["exec sleep 60", "exec sleep 60 >&-", "sleep 2 & exit 0"] {
            assert_eq!(run(hangs, 100).unwrap_err().kind(), io::ErrorKind::TimedOut, "{hangs}");
        }
        let error = config(r#"{"credsStore": "no-such-helper"}"#).find("a.example", "x").unwrap_err().to_string();
        assert!(error.contains("docker-credential-no-such-helper cannot be run: No such file"), "{error}");
    }
}
