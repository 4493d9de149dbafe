//! `sign` and `verify`, with gpg's own keys.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use common::{Ran, Scratch, finish, is_root};
use support::{Gpg, Reply, Server, needs};

/// An image `i.aci`.
fn image() -> Scratch {
    let scratch = Scratch::named();
    scratch.ok(["write", "i.aci"]);
    scratch.ok(["end"]);
    scratch
}

/// Runs a command with the user's gpg being this one.
fn with(gpg: &Gpg, scratch: &Scratch, args: &[&str]) -> Ran {
    finish(scratch.command(args).env("GNUPGHOME", gpg.home.path()))
}

const UNATTENDED: [&str; 5] = ["--", "--batch", "--pinentry-mode=loopback", "--passphrase", ""];

#[test]
fn what_is_signed_verifies_and_what_is_changed_does_not() {
    needs!("gpg");
    let (scratch, gpg) = (image(), Gpg::new());
    let fingerprint = gpg.simple("Maker <maker@example.com>");
    gpg.simple("other@example.com");
    for (user, file) in [("maker@example.com", "maker.gpg"), ("other@example.com", "other.gpg")] {
        fs::write(scratch.path(file), gpg.export(user)).unwrap();
    }
    let sign = |more: &[&'static str]| [&["sign", "--key=maker@example.com", "i.aci"], more, &UNATTENDED].concat();
    let ran = with(&gpg, &scratch, &sign(&[]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:#?}");
    let signature = fs::read_to_string(scratch.path("i.aci.asc")).unwrap();
    assert!(signature.starts_with("-----BEGIN PGP SIGNATURE-----"), "{signature}");
    // As gpg has it.
    let (file, image) = (scratch.path("i.aci.asc"), scratch.path("i.aci"));
    gpg.run(&["--verify", file.to_str().unwrap(), image.to_str().unwrap()]);

    let said = scratch.ok(["verify", "--key=maker.gpg", "i.aci"]);
    let wanted = format!("i.aci: signed by Maker <maker@example.com>, key {fingerprint}, given");
    assert_eq!(said, wanted);
    scratch.ok(["verify", "--key=other.gpg", "--key=maker.gpg", "--signature=i.aci.asc", "i.aci"]);
    scratch.refused(["verify", "--key=other.gpg", "i.aci"], 1, "which is none of those given with --key");
    scratch.refused(["verify", "--key=i.aci", "i.aci"], 1, "verify: i.aci: public key ");
    scratch.refused(["verify", "--key=maker.gpg", "--signature=maker.gpg", "i.aci"], 1, "not a signature");

    let again = with(&gpg, &scratch, &sign(&[]));
    assert_eq!(again.code, Some(1), "{again:#?}");
    assert!(again.stderr.contains("i.aci.asc") && again.stderr.contains("--overwrite"), "{again:#?}");
    assert_eq!(with(&gpg, &scratch, &sign(&["--overwrite"])).code, Some(0));
    scratch.ok(["--modify-appc=i.aci", "set-user", "www"]);
    scratch.refused(["verify", "--key=maker.gpg", "i.aci"], 1, "is not one of this image: one of them was changed");
}

#[test]
fn signatures_of_images_elsewhere_are_checked() {
    needs!("gpg");
    let (scratch, gpg) = (image(), Gpg::new());
    let fingerprint = gpg.simple("Maker <maker@example.com>");
    fs::write(scratch.path("maker.gpg"), gpg.export("maker@example.com")).unwrap();
    assert_eq!(with(&gpg, &scratch, &[&["sign", "i.aci"][..], &UNATTENDED].concat()).code, Some(0));
    let said = |shown: &str| format!("{shown}: signed by Maker <maker@example.com>, key {fingerprint}, given");

    let store = appc_image::store::Store::open(scratch.path("store")).unwrap();
    store.import(fs::File::open(scratch.path("i.aci")).unwrap(), "x", &appc_image::Quiet).unwrap();
    let stored = ["verify", "--key=maker.gpg", "--signature=i.aci.asc", "example.com/test"];
    assert_eq!(scratch.ok(stored), said("example.com/test"));
    scratch.refused(["verify", "--key=maker.gpg", "example.com/test"], 1, "keeps no signature of it: give --signature");
    scratch.refused(["verify", "example.com/none"], 1, "no image example.com/none");

    let (content, signature) = (scratch.path("i.aci"), scratch.path("i.aci.asc"));
    let (content, signature) = (fs::read(content).unwrap(), fs::read(signature).unwrap());
    let server = Server::https(move |request| match request.path.as_str() {
        "/x.aci" | "/unsigned.aci" => Reply::ok(content.clone()),
        "/x.aci.asc" => Reply::ok(signature.clone()),
        _ => Reply::status(404),
    });
    fs::write(scratch.path("authority.pem"), server.authority()).unwrap();
    let remote = |path: &str| {
        let url = server.url(path);
        let mut command = scratch.command(["verify", "--key=maker.gpg", &url]);
        command.env("SSL_CERT_FILE", scratch.path("authority.pem")).env_remove("HTTPS_PROXY");
        (finish(&mut command), url)
    };
    let before = fs::read_dir(scratch.path("store/store/images")).unwrap().count();
    let (ran, url) = remote("/x.aci");
    assert_eq!((ran.code, ran.stdout.trim_end()), (Some(0), &*said(&url)), "{}", ran.stderr);
    let (ran, url) = remote("/unsigned.aci");
    assert!(ran.code == Some(1) && ran.stderr.contains(&format!("{url}.asc: the server answers 404")), "{ran:#?}");
    assert_eq!(fs::read_dir(scratch.path("store/store/images")).unwrap().count(), before, "nothing is kept");
    // Nor does it lie where the next command would take it without a look.
    assert!(!scratch.path("store/fetch").exists());
    scratch.ok(["convert", "i.aci", "oci:layout"]);
    scratch.refused(["verify", "oci:layout"], 1, "oci:layout: ");
}

#[test]
fn keys_count_for_what_they_are_trusted_for() {
    needs!("gpg");
    let (scratch, gpg) = (image(), Gpg::new());
    let fingerprint = gpg.simple("Maker <maker@example.com>");
    assert_eq!(with(&gpg, &scratch, &[&["sign", "i.aci"][..], &UNATTENDED].concat()).code, Some(0));
    // Of an ordinary user: the host's own are none of a test's business.
    fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let verify = || {
        let mut command = scratch.command(["verify", "i.aci"]);
        command.env("XDG_CONFIG_HOME", scratch.path("config"));
        if is_root() {
            command.uid(65534).gid(65534);
        }
        finish(&mut command)
    };
    let unknown = verify();
    assert_eq!(unknown.code, Some(1), "{unknown:#?}");
    assert!(unknown.stderr.starts_with("verify: i.aci: signature made by unknown entity"), "{unknown:#?}");
    let trust = |prefix: &str| {
        let file = format!("config/rkt/trustedkeys/prefix.d/{prefix}/{fingerprint}");
        scratch.file(&file, std::str::from_utf8(&gpg.export("maker@example.com")).unwrap());
    };
    trust("example.com/other");
    let elsewhere = verify();
    assert!(elsewhere.stderr.contains("trusted for prefix example.com/other but not for"), "{elsewhere:#?}");
    trust("example.com");
    let ran = verify();
    let wanted = format!("i.aci: signed by Maker <maker@example.com>, key {fingerprint}, trusted for example.com\n");
    assert_eq!((ran.code, ran.stdout), (Some(0), wanted), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_signed_leaves_nothing() {
    needs!("gpg");
    let (scratch, gpg) = (image(), Gpg::new());
    let ran = with(&gpg, &scratch, &[&["sign", "i.aci"][..], &UNATTENDED].concat());
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stderr.lines().last().unwrap().starts_with("sign: gpg made no signature"), "{ran:#?}");
    scratch.refused(["sign", "missing.aci"], 1, "sign: no such file: missing.aci");
    let none = finish(scratch.command(["sign", "i.aci"]).env("PATH", "/nowhere"));
    assert_eq!(none.stderr, "sign: gpg is not installed: install GnuPG, such as Debian's gnupg\n");
    scratch.refused(["verify", "i.aci"], 1, "i.aci.asc");
    assert!(!scratch.path("i.aci.asc").exists());
}
