//! A small HTTP server on loopback that answers whatever a test wants it to.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

pub mod registry;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use appc_image::oci::{Descriptor, Digest, Manifest, media_type};

/// What a client has asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// `GET /v2/x`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Where the range that is asked for begins.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What it is answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub manner: Manner,
}

/// How an answer's body is sent.
#[derive(Debug, Clone, Default)]
pub enum Manner {
    #[default]
    Whole,
    /// It ends after so many bytes, and the connection with it.
    Cut(usize),
    /// So many bytes are promised and never come: the body is sent, and then nothing.
    Promise(u64),
    /// It is sent over and over.
    Endless,
    /// It is sent over and over, slowly.
    Drip(Duration),
}

pub fn answer(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

impl Answer {
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }

    pub fn manner(mut self, manner: Manner) -> Answer {
        self.manner = manner;
        self
    }
}

/// Stopped when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    pub connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let handler = Arc::new(handler);
        let (all, stopped) = (asked.clone(), stop.clone());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let (handler, all, stopped) = (handler.clone(), all.clone(), stopped.clone());
                thread::spawn(move || {
                    let _ = serve(stream?, &*handler, &all, &stopped);
                    io::Result::Ok(())
                });
            }
        });
        Server { address, asked, connections, stop, thread: Some(thread) }
    }

    /// Everything that was asked, as `METHOD PATH`.
    pub fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(Asked::line).collect()
    }

    pub fn count(&self, beginning: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(beginning)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the one who accepts.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    stream: TcpStream,
    handler: &(dyn Fn(&Asked) -> Answer + Send + Sync),
    all: &Mutex<Vec<Asked>>,
    stop: &AtomicBool,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    while let Some(asked) = read(&mut input)? {
        all.lock().unwrap().push(asked.clone());
        let answer = handler(&asked);
        if !send(&mut output, &asked, answer, stop)? {
            break;
        }
    }
    Ok(())
}

fn read(input: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    // Somebody who tries TLS first sends no text.
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path), Some("HTTP/1.1")) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let mut asked = Asked { method: method.into(), path: path.into(), headers: BTreeMap::new(), body: Vec::new() };
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        asked.headers.insert(name.to_ascii_lowercase(), value.trim().into());
    }
    let length = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    input.take(length).read_to_end(&mut asked.body)?;
    Ok(Some(asked))
}

/// False when the connection is not to be used any more.
fn send(output: &mut TcpStream, asked: &Asked, answer: Answer, stop: &AtomicBool) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let length = match answer.manner {
        Manner::Whole | Manner::Cut(_) => Some(answer.body.len() as u64),
        Manner::Promise(length) => Some(length),
        Manner::Endless | Manner::Drip(_) => None,
    };
    let stated = answer.headers.iter().any(|(name, _)| name == "content-length");
    match length.filter(|_| !stated) {
        Some(length) => head += &format!("content-length: {length}\r\n\r\n"),
        None => head += "\r\n",
    }
    output.write_all(head.as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(true);
    }
    match answer.manner {
        Manner::Whole => output.write_all(&answer.body)?,
        Manner::Cut(at) => {
            output.write_all(&answer.body[..at])?;
            return Ok(false);
        }
        Manner::Promise(_) => {
            output.write_all(&answer.body)?;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
            return Ok(false);
        }
        Manner::Endless => {
            while !stop.load(Ordering::Relaxed) {
                output.write_all(&answer.body)?;
            }
            return Ok(false);
        }
        Manner::Drip(pause) => {
            while !stop.load(Ordering::Relaxed) {
                output.write_all(&answer.body)?;
                thread::sleep(pause);
            }
            return Ok(false);
        }
    }
    Ok(true)
}

/// What an image consists of: blobs by their digests.
#[derive(Default, Clone)]
pub struct Blobs {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub tags: BTreeMap<String, (String, Vec<u8>)>,
}

impl Blobs {
    pub fn add(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        self.blobs.insert(descriptor.digest.to_string(), bytes);
        descriptor
    }

    /// An image with these layers (which are no archives: nobody here looks into them).
    pub fn image(layers: &[&[u8]]) -> Blobs {
        let mut blobs = Blobs::default();
        let ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":{}}}}}"#,
            serde_json::to_string(&ids).unwrap()
        );
        let config = blobs.add(media_type::CONFIG, config);
        let layers = layers.iter().map(|layer| blobs.add(media_type::LAYER_TAR, *layer)).collect();
        let manifest = serde_json::to_vec(&Manifest::new(config, layers)).unwrap();
        blobs.tag("latest", media_type::MANIFEST, manifest);
        blobs
    }

    pub fn tag(&mut self, tag: &str, media_type: &str, bytes: Vec<u8>) {
        self.add(media_type, bytes.clone());
        self.tags.insert(tag.into(), (media_type.into(), bytes));
    }

    /// An honest answer to a request for reading from repository `x`.
    pub fn answer(&self, asked: &Asked) -> Answer {
        if asked.path == "/v2/" {
            return answer(200);
        }
        if let Some(reference) = asked.path.strip_prefix("/v2/x/manifests/") {
            let by_digest = || {
                let bytes = self.blobs.get(reference)?;
                Some((media_type::MANIFEST.to_owned(), bytes.clone()))
            };
            return match self.tags.get(reference).cloned().or_else(by_digest) {
                Some((media_type, bytes)) => {
                    let digest = Digest::of(&bytes).to_string();
                    answer(200).with("content-type", media_type).with("docker-content-digest", digest).body(bytes)
                }
                None => answer(404),
            };
        }
        match asked.path.strip_prefix("/v2/x/blobs/").and_then(|digest| self.blobs.get(digest)) {
            Some(bytes) => ranged(asked, bytes),
            None => answer(404),
        }
    }
}

/// The bytes, or those from where they are asked for.
pub fn ranged(asked: &Asked, bytes: &[u8]) -> Answer {
    match asked.from() {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            answer(206).with("content-range", range).body(&bytes[from..])
        }
        None => answer(200).body(bytes),
    }
}
