//! What `ureq` is told: certificates, proxies, time-outs, and where redirects must not lead.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Duration as UreqDuration;
use ureq::unversioned::transport::{Connector, DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy, Timeout, config::Config};

use super::Options;
use super::address::{Address, is_link_local};
use super::piece::Watching;
use crate::error::{Again, Error, Result};

/// Where distributions keep the certificates of authorities; the first that is there counts.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// For each scheme, and for addresses that another server chose, an agent with its open connections.
#[derive(Debug)]
pub(super) struct Agents {
    https: [Agent; 2],
    http: [Agent; 2],
}

impl Agents {
    pub(super) fn new(options: &Options) -> Result<Agents> {
        let tls = TlsConfig::builder().disable_verification(options.insecure_tls);
        let tls = if options.insecure_tls { tls } else { tls.root_certs(authorities(options)?) }.build();
        let agents = |proxy: Option<Proxy>| {
            [false, true].map(|redirected| {
                let resolver = Cautious { redirected, plain: DefaultResolver::default() };
                let connector = DefaultConnector::default().chain(Watching);
                Agent::with_parts(config(options, tls.clone(), proxy.clone()), connector, resolver)
            })
        };
        let proxy = |variable| match &options.proxy {
            Some(url) => Proxy::new(url).map(Some).map_err(|_| bad_proxy("that is configured")),
            None => proxy(variable),
        };
        Ok(Agents { https: agents(proxy("HTTPS_PROXY")?), http: agents(proxy("HTTP_PROXY")?) })
    }

    pub(super) fn get(&self, address: &Address, redirected: bool) -> &Agent {
        let agents = if address.scheme() == "http" { &self.http } else { &self.https };
        &agents[usize::from(redirected)]
    }
}

fn config(options: &Options, tls: TlsConfig, proxy: Option<Proxy>) -> Config {
    let patience = &options.patience;
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("rkt/", env!("CARGO_PKG_VERSION")))
        // Digests and signatures are of the bytes as they lie on the server.
        .accept_encoding("identity")
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.answer))
        .timeout_per_read(Some(patience.idle))
        .timeout_per_write(Some(patience.idle))
        .build()
}

/// The authorities of this host, those of `SSL_CERT_FILE`, or, where there are neither, those that come with this program.
fn authorities(options: &Options) -> Result<RootCerts> {
    let mut certificates = Vec::new();
    if let Some(bundle) = BUNDLES.iter().find_map(|path| fs::read(path).ok()) {
        certificates.extend(parse(&bundle));
    }
    let named = || env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = options.authorities.clone().or_else(named) {
        let what = format!("cannot read the certificates in {}", path.display());
        let extra = parse(&fs::read(&path).map_err(Error::io(&what))?);
        if extra.is_empty() {
            return Err(Error::Option(format!("{what}: there is no certificate in it")));
        }
        certificates.extend(extra);
    }
    if certificates.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn parse(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(pem).filter_map(certificate).collect()
}

/// The proxy that the environment names for a scheme. This host itself is never asked for through one.
fn proxy(variable: &str) -> Result<Option<Proxy>> {
    let value = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let either = |name: &str| value(name).or_else(|| value(&name.to_lowercase()));
    let Some(url) = either(variable).or_else(|| either("ALL_PROXY")) else { return Ok(None) };
    let bad = |_| bad_proxy(&format!("in {variable} or ALL_PROXY"));
    let plain = Proxy::new(&url).map_err(bad)?;
    let mut proxy = Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let (Some(user), Some(password)) = (plain.username(), plain.password()) {
        proxy = proxy.username(user).password(password);
    }
    let excepted = either("NO_PROXY").unwrap_or_default();
    let here = ["localhost", "127.*", "[::1]", "::1"];
    for host in excepted.split(',').map(str::trim).filter(|host| !host.is_empty()).chain(here) {
        proxy = proxy.no_proxy(host);
    }
    proxy.build().map(Some).map_err(bad)
}

/// Its password must not be shown.
fn bad_proxy(which: &str) -> Error {
    Error::Option(format!("the address of the proxy {which} cannot be used"))
}

/// Looks names up without a thread, and, for addresses that a server chose, leaves out what is link-local.
#[derive(Debug)]
struct Cautious {
    redirected: bool,
    plain: DefaultResolver,
}

impl Resolver for Cautious {
    fn resolve(&self, uri: &Uri, config: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // The C library limits the time itself (resolv.conf); with a limit of ours the look-up would be a thread that stays.
        let unlimited =
            NextTimeout { after: UreqDuration::NotHappening, reason: Timeout::Resolve, ..Default::default() };
        let found = self.plain.resolve(uri, config, unlimited)?;
        let is_proxy = config.proxy().is_some_and(|proxy| uri.host() == Some(proxy.host()));
        if !self.redirected || is_proxy {
            return Ok(found);
        }
        let mut kept = self.empty();
        for address in found.iter().filter(|address| !is_link_local(address.ip())) {
            kept.push(*address);
        }
        match kept.is_empty() {
            true => Err(ureq::Error::Io(io::Error::other("it was redirected to, and has a link-local address"))),
            false => Ok(kept),
        }
    }
}

/// An error in words, and when the same may succeed.
pub(super) fn explain(error: &ureq::Error) -> (String, Option<Again>) {
    match error {
        ureq::Error::Io(e) => io_words(e),
        ureq::Error::Timeout(Timeout::Connect) => ("no connection in time".into(), Some(Again::Faster)),
        ureq::Error::Timeout(_) => ("no answer in time".into(), Some(Again::Faster)),
        ureq::Error::HostNotFound => ("there is no such host".into(), None),
        ureq::Error::Rustls(e) => (tls_words(&e.to_string()), None),
        ureq::Error::Protocol(e) => (format!("not an answer in HTTP: {e}"), None),
        ureq::Error::LargeResponseHeader(..) => ("the head of the answer is too long".into(), None),
        other => (other.to_string(), None),
    }
}

pub(super) fn io_words(error: &io::Error) -> (String, Option<Again>) {
    use io::ErrorKind as Kind;
    const SOON: Option<Again> = Some(Again::SOON);
    // TLS errors, and errors from below, come wrapped.
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        return explain(inner);
    }
    let text = crate::error::errno_text(error);
    match error.kind() {
        Kind::UnexpectedEof => ("the connection ended early".into(), SOON),
        Kind::InvalidData => (tls_words(&text), None),
        Kind::TimedOut | Kind::WouldBlock => ("no answer in time".into(), Some(Again::Faster)),
        Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => (text, SOON),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => (text, SOON),
        _ => {
            let later = SOON.filter(|_| text.contains("Temporary failure"));
            (text.replace("failed to lookup address information", "cannot look up the host"), later)
        }
    }
}

fn tls_words(text: &str) -> String {
    let hint = match () {
        // No TLS record is like this.
        () if text.contains("InvalidContentType") => {
            " (the server may speak plain http there, which --insecure-options=http allows)"
        }
        () if text.contains("UnknownIssuer") => " (SSL_CERT_FILE may name the certificates of more authorities)",
        () if text.contains("CaUsedAsEndEntity") => {
            " (its certificate is that of an authority, CA:TRUE: the server needs one of its own, signed by that)"
        }
        () => "",
    };
    format!("no secure connection: {text}{hint}")
}
