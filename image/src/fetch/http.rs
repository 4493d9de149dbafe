//! The one way to other hosts: HTTP with limits.
//!
//! A [`Client`] is made once and shared. It follows redirects itself, ten at most, so that
//! * what is secret ([`Request::secret`]) goes to the host it is meant for and to no other,
//! * nothing but `https` is followed (`http` where it is allowed), and nothing leads to link-local addresses, behind which
//!   cloud machines keep their credentials.
//!
//! Every wait is limited, and so is slowness ([`Patience`]); a body is read up to a size that the caller names.
//! Proxies come from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; certificates from the host's bundle and from
//! `SSL_CERT_FILE`. No thread is started.

mod address;
mod agent;
mod body;
mod piece;
mod response;
mod retry;

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, LOCATION};
use ureq::http::{HeaderName, HeaderValue, Method};
use ureq::{Agent, SendBody};

pub use body::{Body, error as read_error};
pub use response::Response;
pub(crate) use retry::wait;
pub use retry::{ATTEMPTS, retry, weight};
pub use ureq::http as types;

use crate::error::{Error, Result};
use address::Address;

/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// What a [`Client`] may do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Accepts any certificate.
    pub insecure_tls: bool,
    /// Allows plain `http`.
    pub insecure_http: bool,
    /// More certificates of authorities, PEM. `SSL_CERT_FILE` when this is not given.
    pub authorities: Option<PathBuf>,
    /// The proxy for everything. What the environment says when this is not given.
    pub proxy: Option<String>,
    /// How long it waits.
    pub patience: Patience,
}

/// How long another host is waited for.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Until there is a connection, TLS included.
    pub connect: Duration,
    /// Until the head of an answer is there.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// Over any such time at least `least` bytes of a body must come.
    pub window: Duration,
    /// See `window`.
    pub least: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        let (connect, answer) = (Duration::from_secs(20), Duration::from_secs(60));
        // A modem of 1990 brings ten times as much.
        Patience { connect, answer, idle: Duration::from_secs(60), window: Duration::from_secs(60), least: 16 << 10 }
    }
}

/// Makes requests.
#[derive(Debug)]
pub struct Client {
    options: Options,
    agents: agent::Agents,
}

impl Client {
    /// A client that may do what `options` say.
    ///
    /// # Errors
    /// When `SSL_CERT_FILE` or a proxy's address cannot be used.
    pub fn new(options: Options) -> Result<Client> {
        let agents = agent::Agents::new(&options)?;
        Ok(Client { options, agents })
    }

    /// What the client may do.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A request yet to be sent.
    pub fn request<'c>(&'c self, method: Method, url: &str) -> Request<'c> {
        let (headers, secrets) = (Vec::new(), Vec::new());
        Request { client: self, method, url: url.into(), headers, secrets, foreign: false, bad: None }
    }

    /// A `GET` yet to be sent.
    pub fn get<'c>(&'c self, url: &str) -> Request<'c> {
        self.request(Method::GET, url)
    }

    /// A `HEAD` yet to be sent.
    pub fn head<'c>(&'c self, url: &str) -> Request<'c> {
        self.request(Method::HEAD, url)
    }

    fn check_scheme(&self, address: &Address) -> Result<(), String> {
        match address.scheme() {
            "https" => Ok(()),
            "http" if self.options.insecure_http => Ok(()),
            "http" => Err("plain http is not allowed: use https, or --insecure-options=http".into()),
            other => Err(format!("{other} addresses are refused")),
        }
    }
}

/// A request.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'c> {
    client: &'c Client,
    method: Method,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Not for hosts that are redirected to.
    secrets: Vec<(HeaderName, HeaderValue)>,
    /// Another host has named the address.
    foreign: bool,
    bad: Option<String>,
}

impl Request<'_> {
    /// What is asked for.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match parse_header(name, value) {
            Some(header) => self.headers.push(header),
            None => self.bad = Some(name.into()),
        }
        self
    }

    /// Adds a header that only the host of this very address gets, and only in private: by https, or on this machine.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        match parse_header(name, value) {
            Some((name, mut value)) => {
                value.set_sensitive(true);
                self.secrets.push((name, value));
            }
            None => self.bad = Some(name.into()),
        }
        self
    }

    /// Tells that the address comes from another host and not from the user: link-local ones are refused then.
    pub fn chosen_by_a_server(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// Sends the request and follows redirects. Every other answer, whatever its status, is returned.
    ///
    /// # Errors
    /// [`Error::Fetch`] when there is no answer, [`Error::Unacceptable`] when the address or a redirect leads where it must not.
    pub fn send(self) -> Result<Response> {
        let followed = matches!(self.method, Method::GET | Method::HEAD);
        let mut address = self.start()?;
        let first = address.clone();
        // Once elsewhere, never again: the way back is the other host's idea.
        let mut at_home = true;
        for hop in 0..=REDIRECTS {
            let answer = self.one(&address, at_home, self.foreign || hop > 0, SendBody::none())?;
            let redirect = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
            let Some(target) = answer.header(LOCATION.as_str()).filter(|_| redirect && followed) else {
                return Ok(answer);
            };
            let next = address.join(target).and_then(|next| self.check_redirect(&next).map(|()| next));
            let next = next.map_err(|why| refused(&address, format!("it redirects wrongly: {why}")))?;
            at_home = at_home && next.same_origin(&first);
            address = next;
        }
        Err(fault(&first, format!("more than {REDIRECTS} redirects")))
    }

    /// Sends the request with `content`, in chunks when its length is not known. No redirect is followed.
    ///
    /// # Errors
    /// [`Error::Fetch`] when there is no answer, [`Error::Unacceptable`] when the address leads where it must not.
    pub fn send_body(mut self, content: &mut dyn Read, length: Option<u64>) -> Result<Response> {
        let address = self.start()?;
        if let Some(length) = length {
            self.headers.push((ureq::http::header::CONTENT_LENGTH, HeaderValue::from(length)));
        }
        self.one(&address, true, self.foreign, SendBody::from_reader(content))
    }

    /// The address to begin with; a user and password in it become a secret.
    fn start(&self) -> Result<Address> {
        let bad = |why: String| Error::Fetch { url: crate::reference::without_secrets(&self.url), why, again: None };
        if let Some(name) = &self.bad {
            return Err(bad(format!("the header {name} cannot have this value")));
        }
        let address = Address::parse(&self.url).map_err(bad)?;
        let checked = if self.foreign { self.check_redirect(&address) } else { self.client.check_scheme(&address) };
        checked.map_err(|why| refused(&address, why))?;
        Ok(address)
    }

    fn check_redirect(&self, next: &Address) -> Result<(), String> {
        let wrong = |why: String| format!("{why} ({next})");
        self.client.check_scheme(next).map_err(wrong)?;
        if next.is_link_local() { Err(wrong("a link-local address".into())) } else { Ok(()) }
    }

    /// One request, one answer.
    fn one(&self, address: &Address, at_home: bool, redirected: bool, body: SendBody) -> Result<Response> {
        let mut request = ureq::http::Request::builder().method(&self.method).uri(address.uri());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if at_home && address.is_private() {
            for (name, value) in &self.secrets {
                request = request.header(name, value);
            }
            let named = self.secrets.iter().any(|(name, _)| name == AUTHORIZATION);
            if let Some(user) = address.credentials().filter(|_| !named) {
                request = request.header(AUTHORIZATION, user);
            }
        }
        let request = request.body(body).map_err(|e| fault(address, e.to_string()))?;
        let agent: &Agent = self.client.agents.get(address, redirected);
        let (head, body) = agent.run(request).map_err(|e| unreachable_host(address, agent, &e))?.into_parts();
        let body = Body::new(body, address.to_string(), &self.client.options.patience);
        Ok(Response::new(head.status.as_u16(), head.headers, address.clone(), body))
    }
}

fn parse_header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, value.parse().ok()?))
}

/// An address that is not asked.
fn refused(address: &Address, why: String) -> Error {
    Error::Unacceptable { url: address.to_string(), why }
}

/// An error that will be the same next time.
fn fault(address: &Address, why: String) -> Error {
    Error::Fetch { url: address.to_string(), why, again: None }
}

fn unreachable_host(address: &Address, agent: &Agent, error: &ureq::Error) -> Error {
    let (mut why, again) = agent::explain(error);
    // Else the mistake is looked for at the wrong host.
    if let Some(proxy) = agent.config().proxy().filter(|proxy| !proxy.is_no_proxy(address.uri())) {
        why += &format!(" (by way of the proxy {}:{})", proxy.host(), proxy.port());
    }
    Error::Fetch { url: address.to_string(), why, again }
}
