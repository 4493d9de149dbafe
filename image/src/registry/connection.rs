//! Requests to one repository, with what the registry wants to know of us.

use std::sync::{Arc, Mutex};

use super::authorization::{self, Authorization};
use super::challenge::challenges;
use super::{Access, Credentials, Secret, locked};
use crate::Result;
use crate::fetch::http::types::{Method, Uri};
use crate::fetch::http::{self, Request, Response};
use crate::reference::DockerName;

/// How one repository is reached.
#[derive(Debug)]
pub(super) struct Connection {
    http: Arc<http::Client>,
    registry: String,
    repository: String,
    credentials: Arc<Credentials>,
    /// For what tokens are asked.
    scopes: Vec<String>,
    /// `https` or `http`, once that is known.
    scheme: Mutex<Option<&'static str>>,
    /// What the registry has asked for last.
    authorization: Mutex<Option<Secret>>,
}

impl Connection {
    pub(super) fn new(
        http: Arc<http::Client>,
        name: &DockerName,
        access: Access,
        credentials: Arc<Credentials>,
    ) -> Connection {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        Connection {
            http,
            registry: name.registry.clone(),
            repository: name.repository.clone(),
            credentials,
            scopes: vec![format!("repository:{}:{actions}", name.repository)],
            scheme: Mutex::new(None),
            authorization: Mutex::new(None),
        }
    }

    /// Tokens are to be good for reading `repository`, too.
    pub(super) fn also_pull(&mut self, repository: &str) {
        self.scopes.push(format!("repository:{repository}:pull"));
    }

    /// The address of `path` of the repository.
    pub(super) fn url(&self, path: &str) -> Result<String> {
        Ok(format!("{}://{}/v2/{}/{path}", self.scheme()?, self.registry, self.repository))
    }

    /// Sends a request to `url`: to the registry with what it wants to know of us, elsewhere without. `send` may be
    /// called twice, as the registry may want to know it only now.
    pub(super) fn send(
        &self,
        method: Method,
        url: &str,
        mut send: impl FnMut(Request) -> Result<Response>,
    ) -> Result<Response> {
        let at_home = self.is_home(url);
        let mut request = |authorization: Option<&Secret>| {
            let mut request = self.http.request(method.clone(), url);
            if !at_home {
                request = request.chosen_by_a_server();
            }
            if let Some(secret) = authorization.filter(|_| at_home) {
                request = request.secret("authorization", secret.reveal());
            }
            send(request)
        };
        let used = locked(&self.authorization).clone();
        let answer = request(used.as_ref())?;
        // Whom a registry redirects to may not ask who we are.
        if answer.status != 401 || !at_home || !self.is_home(&answer.uri().to_string()) {
            return Ok(answer);
        }
        match self.authorize(&answer, used.as_ref())? {
            Some(authorization) => request(Some(&authorization)),
            None => Ok(answer),
        }
    }

    /// Finds out what to answer `challenged`. Nothing when there is nothing else than what was `used`.
    fn authorize(&self, challenged: &Response, used: Option<&Secret>) -> Result<Option<Secret>> {
        // Only one thread asks for a token, the others wait for it.
        let mut known = locked(&self.authorization);
        if known.as_ref() != used {
            return Ok(known.clone());
        }
        let login = self.credentials.find(&self.registry, &self.repository)?;
        let headers = challenged.headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
        let authorization = Authorization { http: &self.http, login: login.as_ref(), scopes: &self.scopes };
        let found = authorization.answer(&challenges(headers), challenged)?;
        if found.is_none() || found.as_ref() == used {
            return Ok(None);
        }
        known.clone_from(&found);
        Ok(found)
    }

    /// The registry as an error's text has it, with what can be done about a refused or missing login.
    pub(super) fn advice(&self) -> String {
        let login = self.credentials.find(&self.registry, &self.repository);
        authorization::advice(&self.registry, login.ok().flatten().is_some())
    }

    /// `https`, unless plain `http` is allowed and the registry talks nothing else.
    fn scheme(&self) -> Result<&'static str> {
        if !self.http.options().insecure_http {
            return Ok("https");
        }
        let mut known = locked(&self.scheme);
        if let Some(scheme) = *known {
            return Ok(scheme);
        }
        let ping = |scheme| self.http.get(&format!("{scheme}://{}/v2/", self.registry)).send();
        let scheme = match ping("https") {
            Ok(_) => "https",
            Err(secure) => match ping("http") {
                Ok(_) => "http",
                Err(_) => return Err(secure),
            },
        };
        *known = Some(scheme);
        Ok(scheme)
    }

    /// Whether `url` is the registry's.
    fn is_home(&self, url: &str) -> bool {
        let scheme = locked(&self.scheme).unwrap_or("https");
        let home = format!("{scheme}://{}/", self.registry);
        matches!((origin(url), origin(&home)), (Some(a), Some(b)) if a == b)
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().or(if scheme == "https" { Some(443) } else { Some(80) })?;
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}
