//! Images by name and by address, from a server that is every host; and OCI images from there and from this host.

mod bars;
mod names;
mod oci;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use support::{Cmd, Reply, Scratch, Server, busybox_image};

const PAGE: &str = r#"<html><head>
    <meta name="ac-discovery" content="example.com https://images.example.com/{name}-{version}-{os}.{ext}">
    <meta name="ac-discovery-pubkeys" content="example.com https://images.example.com/keys.gpg">
    </head></html>"#;

/// What the server has: by host and path.
type Files = Arc<Mutex<HashMap<String, Vec<u8>>>>;

struct World {
    scratch: Scratch,
    files: Files,
    /// Said once, before the files are looked at.
    once: Arc<Mutex<HashMap<String, Reply>>>,
    server: Server,
    authority: PathBuf,
}

impl World {
    fn new() -> World {
        let (files, once) = (Files::default(), Arc::<Mutex<HashMap<String, Reply>>>::default());
        let (own_files, own_once) = (Arc::clone(&files), Arc::clone(&once));
        let server = Server::https(move |request| {
            let place = format!("{}{}", request.host, request.path);
            if let Some(reply) = own_once.lock().unwrap_or_else(PoisonError::into_inner).remove(&place) {
                return reply;
            }
            match own_files.lock().unwrap_or_else(PoisonError::into_inner).get(&place) {
                Some(content) => Reply::file(request, content, &etag(content)),
                None => Reply::status(404),
            }
        });
        let scratch = Scratch::new();
        let authority = scratch.path().join("authority.pem");
        fs::write(&authority, server.authority()).expect("the folder is ours");
        let world = World { scratch, files, once, server, authority };
        world.put("example.com/?ac-discovery=1", PAGE);
        world
    }

    fn put(&self, place: &str, content: impl Into<Vec<u8>>) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(place.into(), content.into());
    }

    fn say_once(&self, place: &str, reply: Reply) {
        self.once.lock().unwrap_or_else(PoisonError::into_inner).insert(place.into(), reply);
    }

    /// Builds an image in version 1.0 that says its name, publishes it and returns its bytes.
    fn publish(&self, name: &str, commands: &[&str]) -> Vec<u8> {
        let exec = format!("set-exec -- /bin/echo I\tam\t{name}");
        let commands = [&["label add version 1.0", &exec], commands].concat();
        let file = name.replace('/', "-");
        let path = busybox_image(&self.scratch, &file, &format!("example.com/{name}"), &commands);
        let content = fs::read(path).expect("just built");
        for version in ["1.0", "latest"] {
            self.put(&place(name, version), content.clone());
        }
        content
    }

    /// `rkt` with configuration of its own, for which the server is the network.
    fn rkt(&self, args: &[&str]) -> Cmd {
        let local = self.scratch.path().join("local");
        let command = self.scratch.rkt(["--local-config"]).arg(local).args(args);
        let command = command.env("SSL_CERT_FILE", &self.authority).env("HTTPS_PROXY", self.server.proxy());
        command.env("DOCKER_CONFIG", self.scratch.path().join("docker"))
    }

    /// Methods and paths asked for since `before`, a number of requests, without discovery.
    fn asked_since(&self, before: usize) -> Vec<String> {
        let lines = self.server.lines().into_iter().skip(before).filter(|line| !line.contains("ac-discovery"));
        lines.map(|line| line.replace("images.example.com/example.com/", "")).collect()
    }

    fn requests(&self) -> usize {
        self.server.lines().len()
    }
}

fn etag(content: &[u8]) -> String {
    format!("\"{}\"", support::tree::sha512(content))
}

fn place(name: &str, version: &str) -> String {
    format!("images.example.com/example.com/{name}-{version}-linux.aci")
}
