//! `discover`: what pages say about names.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use common::{Ran, Scratch, finish};
use serde_json::{Value, json};
use support::{Reply, Server};

const PAGE: &str = "<head><meta name=ac-discovery content='example.com https://images.example.com/{name}-{version}-{os}.{ext}'>\
    <meta name=ac-discovery-pubkeys content='example.com/app https://images.example.com/app.gpg'>\
    <meta name=ac-discovery-pubkeys content='example.com/app https://images.example.com/old.gpg'></head>";

fn discover(server: &Server, args: &[&str]) -> Ran {
    let scratch = Scratch::new();
    let authority = scratch.path("authority.pem");
    std::fs::write(&authority, server.authority()).unwrap();
    let mut command = scratch.command([&["discover"], args].concat());
    finish(command.env("SSL_CERT_FILE", authority).env("HTTPS_PROXY", server.proxy()))
}

fn server() -> Server {
    Server::https(|request| match (request.host.as_str(), request.path.as_str()) {
        ("example.com", "/?ac-discovery=1") => Reply::ok(PAGE),
        _ => Reply::status(404),
    })
}

#[test]
fn addresses_of_images_signatures_and_keys() {
    let server = server();
    let ran = discover(&server, &["example.com/app:1.0"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let image = "https://images.example.com/example.com/app-1.0-linux.aci";
    let keys = ["https://images.example.com/app.gpg", "https://images.example.com/old.gpg"];
    assert_eq!(ran.stdout, format!("ACI: {image}, ASC: {image}.asc\nPublicKeys: {}\n", keys.join(",")));
    assert!(
        ran.stderr.contains("discover endpoints walk: https://example.com/app?…: the server answers 404"),
        "{ran:#?}"
    );
    for format in ["--json", "--format=json"] {
        let ran = discover(&server, &[format, "example.com/app:1.0"]);
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        let wanted = json!({"ACIEndpoints": [{"ACI": image, "ASC": format!("{image}.asc")}], "PublicKeys": keys});
        assert_eq!(found, wanted);
        assert_eq!(ran.stdout.contains("\n    \"ACIEndpoints\": [\n        {\n"), format == "--json", "{}", ran.stdout);
    }
}

#[test]
fn what_is_not_found_is_an_error() {
    let server = server();
    let no_keys = discover(&server, &["example.com/other"]);
    assert_eq!(no_keys.code, Some(1), "{no_keys:#?}");
    assert!(no_keys.stdout.starts_with("ACI: https://images.example.com/example.com/other-latest-linux.aci, ASC: "));
    let last = no_keys.stderr.lines().last().unwrap();
    assert_eq!(last, "discover: error fetching public keys for example.com/other: discovery failed");
    let nothing = discover(&server, &["example.org/app"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(1), ""), "{nothing:#?}");
    assert!(nothing.stderr.ends_with("discover: error fetching endpoints for example.org/app: discovery failed\n"));
    // Another port is asked, where nobody knows the name.
    assert_eq!(discover(&server, &["--port=1", "example.org/app"]).code, Some(1));
    assert_eq!(discover(&server, &[]).code, Some(1));
    assert_eq!(discover(&server, &["NOT A NAME"]).code, Some(3));
    assert_eq!(discover(&server, &["--port=x", "example.com/app"]).code, Some(3));
}
