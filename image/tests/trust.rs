//! Signatures made by GnuPG: which are good, and why others are not.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use appc_image::trust::{Key, Keyring, Keystore, Refused, Scope, Signer, Verifier, fingerprints};
use support::Gpg;

const IMAGE: &[u8] = b"not really an archive, which nobody looks at here\n";

/// A key store with two directories, as on a host.
struct Keys {
    dir: tempfile::TempDir,
    store: Keystore,
}

impl Keys {
    fn new() -> Keys {
        let dir = tempfile::tempdir().unwrap();
        let store = Keystore::open([dir.path().join("system"), dir.path().join("local")]);
        Keys { dir, store }
    }

    fn trust(&self, key: &[u8], prefix: &str) -> PathBuf {
        self.store.trust(&Key::parse(key).unwrap(), &scope(prefix)).unwrap()
    }

    fn ring(&self, name: &str) -> Keyring {
        self.store.keyring(&name.parse().unwrap()).unwrap()
    }

    fn verify(&self, name: &str, signature: &[u8]) -> Result<Signer, Refused> {
        verify(&self.ring(name), signature, IMAGE)
    }
}

fn scope(prefix: &str) -> Scope {
    if prefix.is_empty() { Scope::Root } else { Scope::Prefix(prefix.parse().unwrap()) }
}

fn verify(keys: &Keyring, signature: &[u8], content: &[u8]) -> Result<Signer, Refused> {
    let mut verifier = Verifier::expecting(signature)?;
    // In pieces, as from a network.
    content.chunks(7).for_each(|chunk| verifier.write_all(chunk).unwrap());
    verifier.finish(signature, keys)
}

#[test]
fn good_signatures() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let fingerprint = gpg.simple("Signer <signer@example.com>");
    keys.trust(&gpg.export("signer@example.com"), "example.com/hello");
    for options in [&["--armor"][..], &[], &["--armor", "--digest-algo", "SHA384"], &["--digest-algo", "SHA256"]] {
        let signature = gpg.sign_with(options, "signer@example.com", IMAGE);
        for name in ["example.com/hello", "example.com/hello/below"] {
            let signer = keys.verify(name, &signature).unwrap();
            assert_eq!(signer.identity, "Signer <signer@example.com>");
            assert_eq!((signer.fingerprint, signer.scope), (fingerprint.clone(), scope("example.com/hello")));
        }
        // The signature may come after the image.
        let mut late = Verifier::new();
        late.write_all(IMAGE).unwrap();
        late.finish(&signature, &keys.ring("example.com/hello")).unwrap();
    }
}

#[test]
fn all_kinds_of_keys() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let curves = ["nistp256", "nistp384", "nistp521"].map(|curve| (curve, "SHA512"));
    let numbers = [("rsa2048", "SHA224"), ("rsa2048", "SHA256"), ("dsa2048", "SHA256")];
    for (algorithm, digest) in numbers.into_iter().chain(curves) {
        let user = format!("{algorithm} {digest}");
        gpg.key(&[], &user, algorithm, "sign", "never");
        keys.trust(&gpg.export(&user), "");
        let signature = gpg.sign_with(&["--digest-algo", digest], &user, IMAGE);
        let signer = keys.verify("example.com/x", &signature).unwrap_or_else(|e| panic!("{user}: {e}"));
        assert_eq!(signer.scope, Scope::Root);
    }
}

#[test]
fn kinds_of_keys_that_are_not_known() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    for curve in ["brainpoolP256r1", "secp256k1"] {
        gpg.key(&[], curve, curve, "sign", "never");
        keys.trust(&gpg.export(curve), "");
        let refused = keys.verify("example.com/x", &gpg.sign(curve, IMAGE)).unwrap_err();
        assert!(matches!(refused, Refused::Unsupported(_)), "{refused}");
    }
}

#[test]
fn a_signing_subkey_counts_as_its_key() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let primary = gpg.key(&[], "owner", "ed25519", "cert", "never");
    gpg.run(&["--quick-add-key", &primary, "ed25519", "sign", "never"]);
    keys.trust(&gpg.export("owner"), "example.com");
    let signer = keys.verify("example.com/hello", &gpg.sign("owner", IMAGE)).unwrap();
    assert_eq!(signer.fingerprint, primary);
    assert_eq!(fingerprints(&gpg.export("owner")).unwrap()[0].subkeys(), [signer.signed_with]);
}

#[test]
fn other_images_and_other_keys() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let (good, other) = (gpg.simple("good"), gpg.simple("other"));
    keys.trust(&gpg.export("good"), "example.com/hello");
    let refused = verify(&keys.ring("example.com/hello"), &gpg.sign("good", IMAGE), b"something else").unwrap_err();
    assert_eq!(refused, Refused::Mismatch { key: good.clone() });

    let refused = keys.verify("example.com/hello", &gpg.sign("other", IMAGE)).unwrap_err();
    assert!(refused.to_string().starts_with(&format!("signature made by unknown entity, key {other}")), "{refused}");
    assert!(refused.hint().contains("rkt trust --prefix \"example.com/hello\""));

    for name in ["example.com/hello2", "example.com", "example.org/hello", "example.com/hello/../other"] {
        let refused = keys.verify(name, &gpg.sign("good", IMAGE)).unwrap_err();
        let expected = format!("trusted for prefix example.com/hello but not for {name}");
        assert!(refused.to_string().ends_with(&expected), "{refused}");
    }
    // Of several signatures one that is good is enough, in any order.
    let both = [gpg.sign_with(&[], "other", IMAGE), gpg.sign_with(&[], "good", IMAGE)].concat();
    assert_eq!(keys.verify("example.com/hello", &both).unwrap().fingerprint, good);
    let armored = ["other", "good"].map(|who| gpg.sign_with(&["--armor"], who, IMAGE)).concat();
    assert_eq!(keys.verify("example.com/hello", &armored).unwrap().fingerprint, good);
    let refused = keys.verify("example.org/hello", &gpg.sign("other", IMAGE)).unwrap_err();
    assert!(refused.hint().starts_with("no key is trusted for example.org/hello: "), "{}", refused.hint());
}

#[test]
fn weak_digests_and_keys() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    gpg.key(&[], "strong", "rsa2048", "sign", "never");
    gpg.key(&[], "weak", "rsa1024", "sign", "never");
    keys.trust(&gpg.export("strong"), "");
    keys.trust(&gpg.export("weak"), "");
    for digest in ["SHA1", "RIPEMD160"] {
        let signature = gpg.sign_with(&["--digest-algo", digest], "strong", IMAGE);
        assert!(matches!(Verifier::expecting(&signature), Err(Refused::WeakHash(_))), "{digest}");
        let refused = keys.verify("example.com/x", &signature).unwrap_err();
        assert_eq!(refused.to_string(), format!("the signature uses the weak digest {digest}"));
    }
    let refused = keys.verify("example.com/x", &gpg.sign("weak", IMAGE)).unwrap_err();
    assert!(matches!(refused, Refused::WeakKey { .. }), "{refused}");
}

#[test]
fn times_that_are_over() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let past = ["--faked-system-time", "20200101T120000!"];
    let old = gpg.key(&past, "old", "ed25519", "sign", "2d");
    keys.trust(&gpg.export("old"), "");
    let signature = gpg.sign_with(&past, "old", IMAGE);
    let refused = keys.verify("example.com/x", &signature).unwrap_err();
    assert_eq!(refused, Refused::KeyExpired { key: old.clone(), when: "2020-01-03".into() });
    // The owner gives it more time: the same file with a new self-signature.
    gpg.run(&["--quick-set-expire", &old, "0"]);
    keys.trust(&gpg.export("old"), "");
    keys.verify("example.com/x", &signature).unwrap();

    let short = gpg.sign_with(&[&past[..], &["--default-sig-expire", "3d"]].concat(), "old", IMAGE);
    let refused = keys.verify("example.com/x", &short).unwrap_err();
    assert_eq!(refused, Refused::Expired { key: old.clone(), when: "2020-01-04".into() });

    let early = gpg.sign_with(&["--faked-system-time", "21000101T120000!"], "old", IMAGE);
    let refused = keys.verify("example.com/x", &early).unwrap_err();
    assert!(refused.to_string().ends_with("is dated 2100-01-01, which is in the future"), "{refused}");
}

#[test]
fn keys_that_were_taken_back() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let fingerprint = gpg.simple("gone");
    let signature = gpg.sign("gone", IMAGE);
    assert_eq!(Key::parse(&gpg.export("gone")).unwrap().fault(), None);
    gpg.revoke(&fingerprint);
    let fault = Key::parse(&gpg.export("gone")).unwrap().fault();
    assert!(matches!(&fault, Some(Refused::Revoked { key, .. }) if *key == fingerprint), "{fault:?}");
    keys.trust(&gpg.export("gone"), "");
    let refused = keys.verify("example.com/x", &signature).unwrap_err();
    assert!(matches!(&refused, Refused::Revoked { key, .. } if *key == fingerprint), "{refused}");
}

#[test]
fn keys_for_other_purposes() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let fingerprint = gpg.simple("plain");
    // The same key with a self-signature that allows only certification.
    let signature = gpg.sign("plain", IMAGE);
    let mut change = Command::new("gpg");
    change.arg("--homedir").arg(gpg.home.path()).args(["--batch", "--quiet", "--passphrase", ""]);
    change.args(["--pinentry-mode", "loopback", "--command-fd", "0", "--expert", "--edit-key", &fingerprint]);
    let mut child = change.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"change-usage\nS\nQ\nsave\n").unwrap();
    assert!(child.wait().unwrap().success());
    keys.trust(&gpg.export("plain"), "");
    let refused = keys.verify("example.com/x", &signature).unwrap_err();
    assert!(matches!(refused, Refused::NotForSigning { .. }), "{refused}");
}

#[test]
fn what_is_no_signature() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    gpg.simple("signer");
    let key = gpg.export("signer");
    keys.trust(&key, "");
    let signed =
        gpg.run(&["--armor", "--output", "-", "--sign", gpg.home.path().join("pubring.kbx").to_str().unwrap()]);
    let text = gpg.sign_with(&["--armor", "--textmode"], "signer", IMAGE);
    for bad in
        [&b""[..], b"\n", b"garbage", b"<html>not found</html>", &[0xff; 100], &[0; 1 << 20], &key, &signed, &text]
    {
        assert!(keys.verify("example.com/x", bad).is_err(), "{bad:?}");
    }
    let good = gpg.sign_with(&[], "signer", IMAGE);
    keys.verify("example.com/x", &good).unwrap();
    for length in 0..good.len() {
        assert!(keys.verify("example.com/x", &good[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn every_bit_counts() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let fingerprint = gpg.simple("signer");
    keys.trust(&gpg.export("signer"), "");
    let good = gpg.sign_with(&[], "signer", IMAGE);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        // What is not signed (whose key it is, for those who search) may change, but nobody else's name comes of it.
        if let Ok(signer) = keys.verify("example.com/x", &changed) {
            assert_eq!(signer.fingerprint, fingerprint);
        }
    }
}

#[test]
fn files_of_the_store() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let fingerprint = gpg.simple("signer");
    let (key, signature) = (gpg.export("signer"), gpg.sign("signer", IMAGE));
    let path = keys.trust(&key, "example.com/a/b");
    let local = keys.dir.path().join("local/trustedkeys");
    assert_eq!(path, local.join("prefix.d/example.com/a/b").join(&fingerprint));
    assert!(keys.ring("example.com/a").is_empty());
    keys.verify("example.com/a/b", &signature).unwrap();

    // Moved to the directory that comes with the system, and there hidden and shown again.
    let system = keys.dir.path().join("system/trustedkeys/prefix.d/example.com/a/b");
    fs::create_dir_all(&system).unwrap();
    fs::rename(&path, system.join(&fingerprint)).unwrap();
    keys.verify("example.com/a/b", &signature).unwrap();
    let prefix = scope("example.com/a/b");
    keys.store.distrust(&fingerprint, &prefix).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert!(matches!(keys.verify("example.com/a/b", &signature), Err(Refused::UnknownKey { .. })));
    assert!(keys.store.list().unwrap().is_empty());
    assert!(keys.store.distrust(&fingerprint, &prefix).is_err(), "it is not trusted any more");
    keys.trust(&key, "example.com/a/b");
    keys.verify("example.com/a/b", &signature).unwrap();
    keys.trust(&key, "");
    let all: Vec<Scope> = keys.store.list().unwrap().into_iter().map(|k| k.scope).collect();
    assert_eq!(all, [Scope::Root, prefix.clone()]);
    keys.store.distrust(&fingerprint.to_uppercase(), &Scope::Root).unwrap();
    assert!(!local.join("root.d").join(&fingerprint).exists(), "nothing to hide there");
}

#[test]
fn files_that_are_no_keys() {
    let (gpg, keys) = (Gpg::new(), Keys::new());
    let (fingerprint, other) = (gpg.simple("signer"), gpg.simple("other"));
    let (key, signature) = (gpg.export("signer"), gpg.sign("signer", IMAGE));
    let path = keys.trust(&key, "example.com");
    fs::write(path.with_file_name("README"), "no key").unwrap();
    fs::write(path.with_file_name(&other), &key).unwrap();
    // A wrong name takes nothing from the right one, and is told where a key is missed.
    keys.verify("example.com/x", &signature).unwrap();
    let refused = keys.verify("example.com/x", &gpg.sign("other", IMAGE)).unwrap_err();
    assert!(
        refused.to_string().contains(&format!("has a name that is not its fingerprint, {fingerprint}")),
        "{refused}"
    );
    fs::write(&path, "garbage").unwrap();
    assert!(matches!(keys.verify("example.com/x", &signature), Err(Refused::UnknownKey { .. })));

    for bad in [&b""[..], b"garbage", &signature] {
        assert!(fingerprints(bad).is_err());
    }
    let secret = gpg.run(&["--armor", "--export-secret-keys", "signer"]);
    assert!(fingerprints(&secret).unwrap_err().to_string().contains("secret"));
    assert!(Key::parse(&gpg.run(&["--export"])).unwrap_err().to_string().contains("2"), "one a file");
    assert_eq!(fingerprints(&gpg.run(&["--export"])).unwrap().len(), 2);
    let blocks = [&b"Two keys:\n"[..], &key, b"\nand\n", &gpg.export("other")].concat();
    let found: Vec<String> = fingerprints(&blocks).unwrap().iter().map(Key::fingerprint).collect();
    assert_eq!(found, [fingerprint.clone(), other.clone()]);
    let outside = Scope::Prefix("example.com/../../x".parse().unwrap());
    assert!(keys.store.trust(&Key::parse(&key).unwrap(), &outside).is_err());
    assert!(!Path::new(keys.dir.path()).join("local/x").exists());
}
