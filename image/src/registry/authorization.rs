//! Answering a challenge: a login as it is, or a token for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Challenge, Login, Secret};
use crate::fetch::http::types::Method;
use crate::fetch::http::{self, Response};
use crate::{Error, Result};

/// More than any token needs.
const ANSWER_MAX: u64 = 1 << 20;

/// What a challenge is answered with.
pub(super) struct Authorization<'a> {
    pub(super) http: &'a http::Client,
    pub(super) login: Option<&'a Login>,
    pub(super) scopes: &'a [String],
}

/// What an address for tokens answers.
#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    access_token: Option<Secret>,
}

impl Authorization<'_> {
    /// The value of the `Authorization` header that answers the first of `challenges` that we can answer.
    pub(super) fn answer(&self, challenges: &[Challenge], challenged: &Response) -> Result<Option<Secret>> {
        if let Some(Login::Token(token)) = self.login {
            return Ok(Some(bearer(token)));
        }
        for challenge in challenges {
            match challenge {
                Challenge::Bearer { realm, service, .. } => {
                    let realm = challenged.join(realm)?;
                    return self.token(&realm, service).map(|token| Some(bearer(&token)));
                }
                Challenge::Basic => {
                    if let Some(Login::Password { user, password }) = self.login {
                        return Ok(Some(basic(user, password)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn token(&self, realm: &str, service: &str) -> Result<Secret> {
        let answer = http::retry(|_| match self.login {
            Some(Login::Identity(token)) => self.exchange(realm, service, token),
            _ => self.ask(realm, service),
        })?;
        let url = answer.url();
        let refuse = |why: &str| Error::Fetch { url: url.clone(), why: why.into(), again: None };
        let bytes = answer.bytes(ANSWER_MAX)?;
        // A parser's message may show what it has read.
        let granted: Granted = serde_json::from_slice(&bytes).map_err(|_| refuse("no JSON with a token comes"))?;
        let token = granted.token.or(granted.access_token).filter(|token| !token.reveal().is_empty());
        token.ok_or_else(|| refuse("no token comes"))
    }

    /// By name and password, or as nobody.
    fn ask(&self, realm: &str, service: &str) -> Result<Response> {
        let mut query = Vec::new();
        if !service.is_empty() {
            query.push(("service", service));
        }
        query.extend(self.scopes.iter().map(|scope| ("scope", scope.as_str())));
        let separator = if realm.contains('?') { '&' } else { '?' };
        let url = format!("{realm}{separator}{}", form(&query));
        let mut request = self.http.get(&url).chosen_by_a_server();
        if let Some(Login::Password { user, password }) = self.login {
            request = request.secret("authorization", basic(user, password).reveal());
        }
        request.send()?.expect(&[200])
    }

    /// By what a login was exchanged for before (OAuth 2).
    fn exchange(&self, realm: &str, service: &str, token: &Secret) -> Result<Response> {
        if !realm.starts_with("https://") {
            let why = "a login is sent by https only".into();
            return Err(Error::Fetch { url: crate::reference::without_secrets(realm), why, again: None });
        }
        let scopes = self.scopes.join(" ");
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", "rkt"),
            ("scope", &scopes),
            ("refresh_token", token.reveal()),
        ];
        let body = form(&fields);
        let request = self.http.request(Method::POST, realm).chosen_by_a_server();
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send_body(&mut body.as_bytes(), Some(body.len() as u64))?.expect(&[200])
    }
}

fn basic(user: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal()))))
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.reveal()))
}

/// `name=value&…`, with everything that may mean something written as `%…`.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
                // Writing to a string cannot fail.
                other => _ = write!(text, "%{other:02X}"),
            }
        }
    }
    text
}

/// What can be done when a registry refuses.
pub(super) fn advice(registry: &str, has_login: bool) -> String {
    match has_login {
        true => {
            format!("the login for {registry} is refused, or has no access to it, or was not sent as it would be seen")
        }
        false => format!("`docker login {registry}` or a dockerAuth file in auth.d may give access"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_headers() {
        assert_eq!(form(&[("a", "x y/z:é"), ("b", "-_.~")]), "a=x%20y%2Fz%3A%C3%A9&b=-_.~");
        let basic = basic("u", &Secret::new("p"));
        assert_eq!((basic.reveal(), format!("{basic:?}").as_str()), ("Basic dTpw", "***"));
    }
}
