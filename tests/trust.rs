//! Keys: trusted from files and from the network, listed, hidden, taken back.

use std::fs;
use std::path::{Path, PathBuf};

use support::{Cmd, Gpg, Reply, Scratch, Server, needs};

/// `rkt` with configuration of its own.
fn rkt(scratch: &Scratch, args: &[&str]) -> Cmd {
    let (system, local) = (scratch.path().join("system"), scratch.path().join("local"));
    let command = scratch.program("rkt").arg("--system-config").arg(system).arg("--local-config").arg(local);
    command.arg("--user-config").arg(scratch.path().join("user")).args(args)
}

fn trusted(scratch: &Scratch) -> PathBuf {
    scratch.path().join("user/trustedkeys")
}

fn grouped(fingerprint: &str) -> String {
    let text: Vec<char> = fingerprint.to_uppercase().chars().collect();
    text.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

fn exists(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

#[test]
fn keys_from_files() {
    needs!("gpg");
    let (scratch, gpg) = (Scratch::new(), Gpg::new());
    let fingerprint = gpg.simple("Signer <signer@example.com>");
    scratch.file("key.gpg", gpg.export("signer@example.com"));
    let below = trusted(&scratch).join("prefix.d/example.com/hello").join(&fingerprint);

    let no = rkt(&scratch, &["trust", "--prefix=example.com/hello", "key.gpg"]).input("maybe\nno\n").exits(254);
    no.prints(&[&grouped(&fingerprint), "Signer <signer@example.com>", "Please enter 'yes' or 'no'", "Not trusting"]);
    assert!(!below.exists());
    rkt(&scratch, &["trust", "--prefix=example.com/hello", "key.gpg"])
        .input("")
        .exits(254)
        .says(&["trust:", "--skip-fingerprint-review"]);

    let yes = rkt(&scratch, &["trust", "--prefix=example.com/hello", "key.gpg"]).input("yes\n").ok();
    yes.prints(&[
        "prefix: \"example.com/hello\"",
        "after fingerprint review.",
        "Added key for prefix \"example.com/hello\" at",
    ]);
    assert!(exists(&below));
    let root = rkt(&scratch, &["trust", "--root", "--skip-fingerprint-review", "./key.gpg"]).ok();
    root.prints(&["without fingerprint review.", "Added root key at"]);
    assert!(exists(&trusted(&scratch).join("root.d").join(&fingerprint)));
    rkt(&scratch, &["trust", "--list"]).ok().prints(&["(every image)", "example.com/hello", &fingerprint, "Signer"]);

    // A key of the host is hidden, one's own removed.
    let system = scratch.path().join("local/trustedkeys/root.d");
    fs::create_dir_all(&system).expect("ours");
    fs::copy(scratch.work().join("key.gpg"), system.join(&fingerprint)).expect("ours");
    rkt(&scratch, &["trust", "--root", "--remove", &fingerprint.to_uppercase()]).ok();
    rkt(&scratch, &["trust", "--prefix=example.com/hello", "--remove", &fingerprint]).ok();
    assert!(!below.exists() && exists(&system.join(&fingerprint)));
    let list = rkt(&scratch, &["trust", "--list"]).ok();
    list.require(!list.stdout.contains(&fingerprint), "no key");
    rkt(&scratch, &["trust", "--root", "--remove", &fingerprint]).refused(254, &["is not trusted"]);
}

#[test]
fn what_is_refused() {
    needs!("gpg");
    let (scratch, gpg) = (Scratch::new(), Gpg::new());
    gpg.simple("signer");
    scratch.file("key.gpg", gpg.export("signer"));
    scratch.file("secret.gpg", gpg.run(&["--armor", "--export-secret-keys", "signer"]));
    scratch.file("garbage", "no key");
    let cases: [(&[&str], &[&str]); 9] = [
        (&["key.gpg"], &["aborting due to implicit unbounded trust (root domain)", "--prefix", "--root"]),
        (&[], &["aborting due to implicit unbounded trust", "--prefix"]),
        (&["--remove", "0123456789abcdef"], &["say where the key is trusted", "--prefix", "--root"]),
        (&["--root", "--prefix=example.com", "key.gpg"], &["--root and --prefix usage mutually exclusive"]),
        (&["--prefix=https://example.com", "key.gpg"], &["--prefix must not contain a URL scheme, omit https://"]),
        (&["--prefix=example.com", "missing.gpg"], &["missing.gpg", "No such file"]),
        (&["--prefix=example.com", "garbage"], &["garbage"]),
        (&["--prefix=example.com", "secret.gpg"], &["secret.gpg", "secret"]),
        (&["--prefix=example.com", "http://127.0.0.1:9/key"], &["https", "--insecure-allow-http"]),
    ];
    for (args, words) in cases {
        let args = [&["trust", "--skip-fingerprint-review"], args].concat();
        rkt(&scratch, &args).refused(254, &[&["trust:"], words].concat());
    }
    assert!(!trusted(&scratch).exists());
}

#[test]
fn keys_from_the_network() {
    needs!("gpg");
    let (scratch, gpg) = (Scratch::new(), Gpg::new());
    let fingerprint = gpg.simple("signer");
    let key = gpg.export("signer");
    let server = Server::https(move |request| match (request.host.as_str(), request.path.as_str()) {
        ("example.com", "/?ac-discovery=1") => Reply::ok(
            "<head><meta name=ac-discovery-pubkeys content='example.com/app https://images.example.com/keys/app.gpg'>\
             <meta name=ac-discovery-pubkeys content='example.com/far http://images.example.com/keys/app.gpg'>\
             <meta name=ac-discovery-pubkeys content='example.com/lost file:///etc/passwd'></head>",
        ),
        ("images.example.com", "/keys/app.gpg") | (_, "/direct") => Reply::ok(key.clone()),
        _ => Reply::status(404),
    });
    let authority = scratch.file("authority.pem", server.authority());
    let network = |args: &[&str]| {
        let command = rkt(&scratch, &[&["trust", "--skip-fingerprint-review"], args].concat());
        command.env("SSL_CERT_FILE", &authority).env("HTTPS_PROXY", server.proxy()).env("https_proxy", server.proxy())
    };
    network(&["--prefix=example.com/app/part"]).ok().prints(&["https://images.example.com/keys/app.gpg", "Added key"]);
    assert!(exists(&trusted(&scratch).join("prefix.d/example.com/app/part").join(&fingerprint)));
    network(&["--root", "https://example.com/direct"]).ok();
    // Nobody checks who answers: the authority is not known.
    let stranger = rkt(&scratch, &["trust", "--root", "--skip-fingerprint-review", "https://example.com/direct"]);
    stranger
        .env("HTTPS_PROXY", server.proxy())
        .env("https_proxy", server.proxy())
        .refused(254, &["https://example.com/direct"]);

    network(&["--prefix=example.com/other"]).refused(254, &["no key for example.com/other was found"]);
    network(&["--prefix=example.com/far"]).refused(254, &["https only"]);
    network(&["--prefix=example.com/lost"]).refused(254, &["no key for example.com/lost was found"]);
    network(&["--prefix=example.com/app", "https://example.com/missing"]).refused(254, &["404"]);
}
