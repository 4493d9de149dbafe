//! A web server on loopback that does what a test tells it: with TLS of its own authority, and as a proxy that is every host.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The hosts that the server is when it is asked as a proxy.
pub const HOSTS: [&str; 4] = ["localhost", "example.com", "images.example.com", "other.example.org"];

/// What a client asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// The host that was asked: `example.com`, without a port.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What was sent along.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What the client gets.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Whole(Vec<u8>),
    /// So many bytes of it, then the connection ends.
    Cut(Vec<u8>, usize),
    /// These bytes again and again, with this pause in between.
    Endless(Vec<u8>, Duration),
    /// So many bytes of it at a time, with this pause in between.
    Slow(Vec<u8>, usize, Duration),
    /// No answer at all for this long.
    Silence(Duration),
}

impl Reply {
    /// `200` with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: Content::Whole(body.into()) }
    }

    /// This status, and nothing with it.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok("") }
    }

    /// A redirect.
    pub fn redirect(location: &str) -> Self {
        Self::status(302).with("Location", location)
    }

    /// Says nothing for so long, then ends.
    pub fn silence(time: Duration) -> Self {
        Self { body: Content::Silence(time), ..Self::ok("") }
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Changes the status.
    pub fn but(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Ends the connection after so many bytes of the body.
    pub fn cut(self, after: usize) -> Self {
        let Content::Whole(body) = self.body else { return self };
        Self { body: Content::Cut(body, after), ..self }
    }

    /// Repeats the body for ever.
    pub fn endless(self, pause: Duration) -> Self {
        let Content::Whole(body) = self.body else { return self };
        Self { body: Content::Endless(body, pause), ..self }
    }

    /// Sends so many bytes of the body at a time, with a pause after each.
    pub fn slow(self, piece: usize, pause: Duration) -> Self {
        let Content::Whole(body) = self.body else { return self };
        Self { body: Content::Slow(body, piece, pause), ..self }
    }

    /// What a server of files does with this body: validators, ranges, conditions.
    pub fn file(request: &Request, body: &[u8], etag: &str) -> Self {
        let reply = Self::ok("").with("ETag", etag).with("Accept-Ranges", "bytes");
        if request.header("if-none-match") == Some(etag) {
            return reply.but(304);
        }
        let range = request.header("range").filter(|_| request.header("if-range").is_none_or(|tag| tag == etag));
        let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        match start {
            None => Self { body: Content::Whole(body.to_vec()), ..reply },
            Some(start) if start >= body.len() => {
                reply.with("Content-Range", &format!("bytes */{}", body.len())).but(416)
            }
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                Self { body: Content::Whole(body[start..].to_vec()), ..reply.with("Content-Range", &range).but(206) }
            }
        }
    }
}

type Answer = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A running server. Stopped when dropped.
pub struct Server {
    address: SocketAddr,
    authority: Option<String>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    answer: Answer,
    seen: Mutex<Vec<Request>>,
    stop: AtomicBool,
}

impl Server {
    /// A server with TLS.
    pub fn https(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority_pem = authority.self_signed(&key).expect("a certificate").pem();
        let issuer = rcgen::Issuer::new(authority, key);
        let names: Vec<String> = HOSTS.iter().chain(&["127.0.0.1", "::1"]).map(ToString::to_string).collect();
        let own_key = rcgen::KeyPair::generate().expect("a key");
        let own = rcgen::CertificateParams::new(names).and_then(|own| own.signed_by(&own_key, &issuer));
        let own = own.expect("a certificate").der().clone();
        let own_key = rustls::pki_types::PrivateKeyDer::Pkcs8(own_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.expect("versions").with_no_client_auth().with_single_cert(vec![own], own_key).expect("a key");
        Self::start(Some(Arc::new(tls)), Some(authority_pem), Arc::new(answer))
    }

    /// A server without TLS.
    pub fn http(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, None, Arc::new(answer))
    }

    fn start(tls: Option<Arc<ServerConfig>>, authority: Option<String>, answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { tls, answer, seen: Mutex::default(), stop: AtomicBool::new(false) });
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if own.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&own);
                // Each ends when its client or the server does.
                thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        Self { address, authority, shared, thread: Some(thread) }
    }

    /// `https://127.0.0.1:PORT` and this path.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address under which the server is a proxy that is all of [`HOSTS`].
    pub fn proxy(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The certificate of the authority, PEM.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or_default()
    }

    /// All requests until now.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Methods, hosts and paths of all requests until now: `GET example.com/x`.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}{}", seen.method, seen.host, seen.path)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // So that it notices, however long it takes.
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            let _ = TcpStream::connect(self.address);
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut first = [0];
    stream.peek(&mut first)?;
    if &first == b"C" {
        // CONNECT. Byte by byte, as what follows is not ours to buffer.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    }
    match &shared.tls {
        None => exchange(shared, stream),
        Some(tls) => {
            let connection = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
            exchange(shared, StreamOwned::new(connection, stream))
        }
    }
}

fn exchange(shared: &Shared, stream: impl Read + Write) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream)?;
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let reply = (shared.answer)(&request);
    let out = stream.get_mut();
    if let Content::Silence(time) = reply.body {
        return pause(shared, time);
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let (body, sent) = match &reply.body {
        Content::Whole(body) => (body, body.len()),
        Content::Cut(body, after) => (body, *after),
        Content::Slow(body, ..) => (body, 0),
        Content::Endless(body, _) => (body, body.len()),
        Content::Silence(_) => return Ok(()),
    };
    let named = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !named && reply.status != 304 && !matches!(reply.body, Content::Endless(..)) {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    out.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        out.write_all(&body[..sent.min(body.len())])?;
        out.flush()?;
        if let Content::Slow(body, piece, time) = &reply.body {
            for piece in body.chunks(*piece) {
                out.write_all(piece)?;
                out.flush()?;
                pause(shared, *time)?;
            }
        }
        if let Content::Endless(body, time) = &reply.body {
            while !shared.stop.load(Ordering::Relaxed) {
                pause(shared, *time)?;
                out.write_all(body)?;
                out.flush()?;
            }
        }
    }
    out.flush()
}

fn pause(shared: &Shared, time: Duration) -> io::Result<()> {
    let step = Duration::from_millis(20);
    let mut left = time;
    while left > Duration::ZERO && !shared.stop.load(Ordering::Relaxed) {
        thread::sleep(step.min(left));
        left = left.saturating_sub(step);
    }
    Ok(())
}

fn read_request(stream: &mut impl BufRead) -> io::Result<Request> {
    let mut line = || {
        let mut line = String::new();
        match stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => io::Result::Ok(line.trim_end().to_owned()),
        }
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, host: String::new(), path, headers, body: Vec::new() };
    let host = request.header("host").unwrap_or_default();
    request.host = host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned();
    if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
        request.body = vec![0; length];
        stream.read_exact(&mut request.body)?;
    }
    Ok(request)
}
