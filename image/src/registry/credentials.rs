//! Who we are to which registry.

use std::path::{Path, PathBuf};

use super::docker_config::DockerConfig;
use super::{Secret, auth_d};
use crate::Result;

/// What a registry, or the one who gives tokens for it, takes us by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and its password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// What `docker login` was given in place of a password: good for getting tokens only.
    Identity(Secret),
    /// A token that the registry itself takes.
    Token(Secret),
}

/// Every login of this user. Files are read when it is made, helpers run when they are asked.
#[derive(Debug, Default)]
pub struct Credentials {
    /// By registry; the first one counts.
    own: Vec<(String, Login)>,
    docker: Option<DockerConfig>,
}

impl Credentials {
    /// Nobody.
    pub fn none() -> Credentials {
        Credentials::default()
    }

    /// Adds a login for `registry`, `HOST[:PORT]`, which counts before those added later.
    #[must_use]
    pub fn with(mut self, registry: impl Into<String>, login: Login) -> Credentials {
        self.own.push((registry.into(), login));
        self
    }

    /// Reads `auth.d` of each of the configuration directories, the first counting most, and docker's configuration.
    /// What does not exist says nothing.
    ///
    /// # Errors
    /// When a file is there but cannot be read or breaks a rule.
    pub fn read(configuration: &[impl AsRef<Path>], docker_config: Option<&Path>) -> Result<Credentials> {
        let mut own = Vec::new();
        for dir in configuration {
            own.extend(auth_d::read(&dir.as_ref().join("auth.d"))?);
        }
        let docker = docker_config.map(DockerConfig::read).transpose()?.flatten();
        Ok(Credentials { own, docker })
    }

    /// The login for `repository` of `registry`, if there is one.
    ///
    /// # Errors
    /// When a credential helper fails.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Login>> {
        if let Some((_, login)) = self.own.iter().find(|(name, _)| same_registry(name, registry)) {
            return Ok(Some(login.clone()));
        }
        match &self.docker {
            Some(docker) => docker.find(registry, repository),
            None => Ok(None),
        }
    }
}

/// Where docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub fn docker_config_path() -> Option<PathBuf> {
    let dir = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = dir("DOCKER_CONFIG").or_else(|| Some(dir("HOME")?.join(".docker")));
    Some(dir?.join("config.json"))
}

/// Docker Hub has one name in images, one in docker's configuration and another on the network.
pub(super) fn same_registry(a: &str, b: &str) -> bool {
    fn normal(name: &str) -> &str {
        if matches!(name, "docker.io" | "index.docker.io") { crate::reference::DOCKER_HUB } else { name }
    }
    normal(a).eq_ignore_ascii_case(normal(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn password(user: &str) -> Login {
        Login::Password { user: user.into(), password: Secret::new("p") }
    }

    #[test]
    fn the_first_directory_counts_then_docker_s_file() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |user: &str, registry: &str| {
            format!(
                r#"{{"rktKind":"dockerAuth","rktVersion":"v1","registries":["{registry}"],
                "credentials":{{"user":"{user}","password":"p"}}}}"#
            )
        };
        let [user, system] = ["user", "system"].map(|name| dir.path().join(name));
        for (config, name, registry) in [(&user, "mine", "a.example"), (&system, "all", "a.example")] {
            fs::create_dir_all(config.join("auth.d")).unwrap();
            fs::write(config.join("auth.d/a.json"), entry(name, registry)).unwrap();
        }
        fs::write(system.join("auth.d/b.json"), entry("all", "b.example:5000")).unwrap();
        let docker = dir.path().join("config.json");
        fs::write(&docker, r#"{"auths":{"a.example":{"auth":"eDpw"},"c.example":{"auth":"eDpw"}}}"#).unwrap();
        let dirs = [user, dir.path().join("missing"), system];
        let credentials = Credentials::read(&dirs, Some(&docker)).unwrap();
        let find = |registry| credentials.find(registry, "x").unwrap();
        assert_eq!(find("a.example"), Some(password("mine")));
        assert_eq!(find("b.example:5000"), Some(password("all")));
        assert_eq!(find("b.example"), None);
        assert_eq!(find("c.example"), Some(password("x")));
        assert!(!format!("{credentials:?}").contains("\"p\""));
    }

    #[test]
    fn the_hub_has_three_names() {
        let credentials = Credentials::none().with("docker.io", password("me"));
        assert!(credentials.find(crate::reference::DOCKER_HUB, "library/x").unwrap().is_some());
        assert!(credentials.find("example.com", "x").unwrap().is_none());
    }
}
