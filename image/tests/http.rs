//! The way to other hosts: what is followed, what is kept secret, and what is not waited for.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use appc_image::Error;
use appc_image::fetch::http::{Client, Options, Patience, retry};
use support::{Reply, Server};
use tempfile::TempDir;

/// A client that trusts the server and asks it for every host.
fn client(server: &Server, change: impl FnOnce(&mut Options)) -> (Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let authorities: PathBuf = dir.path().join("ca.pem");
    std::fs::write(&authorities, server.authority()).unwrap();
    let patience = Patience {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        window: Duration::from_secs(2),
        least: 1000,
    };
    let authorities = Some(authorities).filter(|_| !server.authority().is_empty());
    let mut options = Options { authorities, proxy: Some(server.proxy()), patience, ..Options::default() };
    change(&mut options);
    (Client::new(options).unwrap(), dir)
}

fn why(error: Error) -> String {
    match error {
        Error::Fetch { why, .. } | Error::Unacceptable { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn an_answer_comes_with_the_name_of_this_program() {
    let server = Server::https(|_| Reply::ok("hello").with("ETag", "\"x\""));
    let (client, _dir) = client(&server, |_| {});
    let answer = client.get("https://example.com/a?b=c").header("Accept", "text/plain").send().unwrap();
    assert_eq!((answer.status, answer.header("etag"), answer.length()), (200, Some("\"x\""), Some(5)));
    assert_eq!(answer.url(), "https://example.com/a?…");
    assert_eq!(answer.bytes(5).unwrap(), b"hello");
    let seen = server.seen().remove(0);
    assert_eq!((seen.host.as_str(), seen.path.as_str()), ("example.com", "/a?b=c"));
    assert!(seen.header("user-agent").unwrap().starts_with("rkt/"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
}

#[test]
fn a_certificate_of_nobody_is_refused_unless_allowed() {
    let server = Server::https(|_| Reply::ok("hello"));
    let (strict, _dir) = client(&server, |options| (options.authorities, options.proxy) = (None, None));
    let error = strict.get(&server.url("/")).send().unwrap_err();
    assert!(why(error).contains("SSL_CERT_FILE"));
    assert!(server.seen().is_empty());
    let (lax, _dir) = client(&server, |options| {
        (options.authorities, options.proxy, options.insecure_tls) = (None, None, true);
    });
    assert_eq!(lax.get(&server.url("/")).send().unwrap().status, 200);
}

#[test]
fn who_answers_without_tls_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let answer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let error = Client::new(Options::default()).unwrap().get(&url).send().unwrap_err();
    answer.join().unwrap();
    assert!(why(error).contains("--insecure-options=http allows"));
}

#[test]
fn secrets_stay_with_the_host_they_are_for() {
    let server = Server::https(|request| match (request.host.as_str(), request.path.as_str()) {
        ("example.com", "/a") => Reply::redirect("/b"),
        ("example.com", "/b") => Reply::redirect("https://other.example.org/c?token=1"),
        ("other.example.org", "/c?token=1") => Reply::redirect("https://example.com/d"),
        _ => Reply::ok("there"),
    });
    let (client, _dir) = client(&server, |_| {});
    let answer = client.get("https://me:pass@example.com/a").secret("X-Key", "k").send().unwrap();
    assert_eq!(answer.url(), "https://example.com/d");
    let got = |name: &str| server.seen().iter().map(|r| r.header(name).map(str::to_owned)).collect::<Vec<_>>();
    let (basic, key) = (Some("Basic bWU6cGFzcw==".to_owned()), Some("k".to_owned()));
    assert_eq!(got("authorization"), [basic.clone(), None, None, None]);
    assert_eq!(got("x-key"), [key.clone(), key, None, None]);
}

#[test]
fn secrets_are_not_sent_where_others_can_read_them() {
    let server = Server::http(|_| Reply::ok(""));
    let (client, _dir) = client(&server, |options| options.insecure_http = true);
    client.get("http://me:pass@example.com/a").secret("X-Key", "k").send().unwrap();
    client.get("http://me:pass@127.0.0.1/a").secret("X-Key", "k").send().unwrap();
    let sent: Vec<bool> =
        server.seen().iter().map(|r| r.header("x-key").or(r.header("authorization")).is_some()).collect();
    assert_eq!(sent, [false, true]);
}

#[test]
fn redirects_lead_nowhere_else() {
    let server = Server::https(|request| match request.path.as_str() {
        "/loop" => Reply::redirect("/loop"),
        "/no-location" => Reply::status(302),
        path => Reply::redirect(path.strip_prefix("/to?").unwrap_or("/")),
    });
    let (client, _dir) = client(&server, |_| {});
    let cases = [
        ("/to?file:///etc/passwd", "file addresses are refused"),
        ("/to?file:/etc/passwd", "file addresses are refused"),
        ("/to?http://example.com/", "plain http is not allowed"),
        ("/to?https://169.254.169.254/latest", "link-local"),
        ("/to?https://[fe80::1]/", "link-local"),
        ("/to?https://[::ffff:169.254.169.254]/", "link-local"),
        ("/to?ftp://example.com/", "ftp addresses are refused"),
        ("/loop", "more than 10 redirects"),
    ];
    for (path, reason) in cases {
        let error = why(client.get(&format!("https://example.com{path}")).send().unwrap_err());
        assert!(error.contains(reason), "{path}: {error}");
    }
    assert_eq!(client.get("https://example.com/no-location").send().unwrap().status, 302);
    let seen = server.lines().iter().filter(|line| line.ends_with("/loop")).count();
    assert_eq!(seen, 11);
}

#[test]
fn names_that_hide_a_link_local_address_are_found_out() {
    let server = Server::https(|_| Reply::redirect("https://2852039166/latest"));
    let (client, _dir) = client(&server, |options| options.proxy = None);
    let error = why(client.get(&server.url("/")).send().unwrap_err());
    assert!(error.contains("link-local"), "{error}");
}

#[test]
fn plain_http_is_for_those_who_ask() {
    let server = Server::http(|_| Reply::ok("x"));
    let (client, _dir) = client(&server, |options| options.proxy = None);
    assert!(why(client.get(&server.url("/")).send().unwrap_err()).contains("--insecure-options=http"));
    assert!(server.seen().is_empty());
}

#[test]
fn what_is_too_long_is_refused() {
    let server = Server::https(|request| match request.path.as_str() {
        "/told" => Reply::ok(vec![b'x'; 101]),
        "/exact" => Reply::ok(vec![b'x'; 100]),
        "/lie" => Reply::ok(vec![b'x'; 100]).with("Content-Length", "1000000000000"),
        _ => Reply::ok(vec![b'x'; 5000]).endless(Duration::ZERO),
    });
    let (client, _dir) = client(&server, |_| {});
    let get = |path: &str| client.get(&format!("https://example.com{path}")).send().unwrap();
    assert_eq!(get("/exact").bytes(100).unwrap().len(), 100);
    for path in ["/told", "/lie", "/endless"] {
        let error = why(get(path).bytes(100).unwrap_err());
        assert!(error.contains("longer than"), "{path}: {error}");
    }
    let mut content = Vec::new();
    let error = get("/endless").reader(1 << 20).read_to_end(&mut content).unwrap_err();
    assert!(error.to_string().contains("longer than") && content.len() <= 1 << 20, "{error}");
}

#[test]
fn what_ends_early_is_not_taken_for_whole() {
    let server = Server::https(|_| Reply::ok(vec![b'x'; 1000]).cut(10));
    let (client, _dir) = client(&server, |_| {});
    match client.get("https://example.com/").send().unwrap().bytes(2000).unwrap_err() {
        Error::Fetch { again: Some(_), why, .. } => assert!(why.contains("ended early"), "{why}"),
        other => panic!("{other}"),
    }
}

#[test]
fn the_slow_are_not_waited_for() {
    let server = Server::https(|request| match request.path.as_str() {
        "/silent" => Reply::silence(Duration::from_secs(20)),
        "/stalled" => Reply::ok("x").endless(Duration::from_secs(20)),
        _ => Reply::ok("x").endless(Duration::from_millis(100)),
    });
    let (client, _dir) = client(&server, |_| {});
    let begun = Instant::now();
    let get = |path: &str| client.get(&format!("https://example.com{path}")).send();
    assert!(why(get("/silent").unwrap_err()).contains("no answer in time"));
    assert!(why(get("/stalled").unwrap().bytes(1 << 20).unwrap_err()).contains("no answer in time"));
    assert!(why(get("/drip").unwrap().bytes(1 << 20).unwrap_err()).contains("less than 1000 bytes in 2 seconds"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A server that says the head of an answer in chunks, and then `more` again and again.
fn rambling(begin: &'static str, more: &'static str, pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.read_exact(&mut [0; 4]).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{begin}");
        let mut said = stream.write_all(head.as_bytes());
        while said.is_ok() {
            said = stream.write_all(more.as_bytes());
            thread::sleep(pause);
        }
    });
    format!("http://{address}/")
}

#[test]
fn what_belongs_to_no_content_has_an_end() {
    let server = Server::http(|_| Reply::ok(""));
    let (client, _dir) = client(&server, |options| (options.insecure_http, options.proxy) = (true, None));
    let slow = Duration::from_millis(200);
    for (begin, more, pause, expected) in [
        ("1\r\nx\r\n0\r\n", "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", Duration::ZERO, "belongs to no content"),
        ("1\r\nx\r\n0\r\n", "X: y\r\n", slow, "no answer in time"),
        ("1;", "name=value;", Duration::ZERO, ""),
        ("1;", "name=value;", slow, "no answer in time"),
    ] {
        let begun = Instant::now();
        let error = why(client.get(&rambling(begin, more, pause)).send().unwrap().bytes(1 << 20).unwrap_err());
        assert!(error.contains(expected), "{begin:?}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{begin:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_document_has_a_time_that_fits_its_length() {
    let server = Server::https(|_| Reply::ok(vec![b'x'; 600]).endless(Duration::from_millis(200)));
    let (client, _dir) = client(&server, |_| {});
    let begun = Instant::now();
    let get = || client.get("https://example.com/").send();
    // Fast enough for a large file, but a document of 64 KiB has three seconds.
    let error = retry(|_| get()?.bytes(64 << 10)).unwrap_err();
    assert!(why(error).contains("more than the 3 seconds"));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let mut body = get().unwrap().reader(1 << 20);
    let mut content = vec![0; 15_000];
    body.read_exact(&mut content).unwrap();
    assert!(begun.elapsed() > Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[test]
fn who_is_silent_is_asked_twice() {
    let server = Server::https(|_| Reply::silence(Duration::from_secs(20)));
    let (client, _dir) = client(&server, |_| {});
    let error = retry(|_| client.get("https://example.com/").send()).unwrap_err();
    assert!(why(error).contains("no answer in time"));
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn busy_servers_are_asked_again() {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let server = Server::https(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::status(503),
        1 => Reply::status(429).with("Retry-After", "1"),
        _ => Reply::ok("at last"),
    });
    let (client, _dir) = client(&server, |_| {});
    let begun = Instant::now();
    let answer = retry(|_| client.get("https://example.com/").send()?.expect(&[200])).unwrap();
    assert_eq!(answer.bytes(100).unwrap(), b"at last");
    assert!(begun.elapsed() > Duration::from_secs(1));
    let gone = Server::https(|_| Reply::status(404));
    let (client, _dir) = self::client(&gone, |_| {});
    let error = retry(|_| client.get("https://example.com/").send()?.expect(&[200])).unwrap_err();
    assert!(error.to_string().ends_with("the server answers 404 Not Found"), "{error}");
    assert_eq!(gone.seen().len(), 1);
}

#[test]
fn bodies_are_sent() {
    let server = Server::https(|_| Reply::status(201));
    let (client, _dir) = client(&server, |_| {});
    let put = client.request("PUT".parse().unwrap(), "https://example.com/up");
    assert_eq!(put.send_body(&mut &b"content"[..], Some(7)).unwrap().status, 201);
    assert_eq!(server.seen()[0].body, b"content");
}

/// The address of a SOCKS proxy that connects once.
fn socks() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let (mut greeting, mut request) = ([0; 3], [0; 10]);
        client.read_exact(&mut greeting).unwrap();
        client.write_all(&[5, 0]).unwrap();
        client.read_exact(&mut request).unwrap();
        assert_eq!(request[..4], [5, 1, 0, 1], "connect to an address of four bytes");
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        let ip: [u8; 4] = request[4..8].try_into().unwrap();
        let mut server =
            TcpStream::connect(SocketAddr::from((ip, u16::from_be_bytes([request[8], request[9]])))).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from, &mut to));
        let _ = io::copy(&mut server, &mut client);
    });
    address
}

#[test]
fn proxies_may_be_socks_and_are_named_when_they_fail() {
    let server = Server::https(|_| Reply::ok("hello"));
    let (by_socks, _dir) = client(&server, |options| options.proxy = Some(format!("socks5://{}", socks())));
    assert_eq!(by_socks.get(&server.url("/")).send().unwrap().bytes(5).unwrap(), b"hello");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["socks5", "http"] {
        let (nobody, _dir) = client(&server, |options| options.proxy = Some(format!("{scheme}://me:secret@{gone}")));
        let why = why(nobody.get("https://127.0.0.1:1/").send().unwrap_err());
        assert!(why.ends_with(&format!("(by way of the proxy {gone})")) && !why.contains("secret"), "{why}");
    }
}
