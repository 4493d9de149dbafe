//! Pushing to registries, good and bad ones, and who we are to them.
#![allow(clippy::unwrap_used)]

mod lying;

use std::io::Read;
use std::sync::{Arc, Mutex};

use appc_image::fetch::http::{Client, Options};
use appc_image::oci::{Descriptor, Digest, Manifest, Sink, Source, media_type, verified};
use appc_image::registry::{Access, Credentials, Login, Registry, Secret};
use lying::registry::{Faults, Held, respond, start};
use lying::{Server, answer};

/// More than two chunks.
const LARGE: usize = 20_000_000;

fn registry_as(server: &Server, image: &str, credentials: Credentials) -> Registry {
    let client = Client::new(Options { insecure_http: true, ..Options::default() }).unwrap();
    let name = format!("{}/{image}", server.address).parse().unwrap();
    Registry::new(Arc::new(client), name, Access::Push, Arc::new(credentials))
}

fn registry(server: &Server) -> Registry {
    registry_as(server, "x:tag", Credentials::none())
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|i| (i / 3) as u8).collect()
}

fn put(registry: &Registry, media_type: &str, content: &[u8]) -> Result<Descriptor, String> {
    let descriptor = Descriptor::of(media_type, content);
    if !registry.has(&descriptor).map_err(|e| e.to_string())? {
        registry.put(&descriptor, &mut &*content).map_err(|e| e.to_string())?;
    }
    Ok(descriptor)
}

/// Pushes an image with one layer, and returns its manifest.
fn push(registry: &Registry, layer: &[u8]) -> Result<Descriptor, String> {
    let config = put(registry, media_type::CONFIG, b"{}")?;
    let layer = put(registry, media_type::LAYER_TAR, layer)?;
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
    let manifest = put(registry, media_type::MANIFEST, &manifest)?;
    registry.finish(&manifest).map_err(|e| e.to_string())?;
    Ok(manifest)
}

fn read(registry: &Registry, descriptor: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    verified(registry.open(descriptor).unwrap(), descriptor).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn whole_blobs_and_chunks() {
    for faults in [
        Faults::default(),
        Faults { no_patch: true, ..Faults::default() },
        Faults { half_chunks: true, ..Faults::default() },
        Faults { least: Some(9 << 20), ..Faults::default() },
        Faults { least: Some(1 << 40), ..Faults::default() },
    ] {
        let (server, held) = start(faults);
        let manifest = push(&registry(&server), &large()).unwrap();
        let fresh = registry(&server);
        assert_eq!(fresh.top().unwrap().digest, manifest.digest);
        assert!(read(&fresh, &Descriptor::of(media_type::LAYER_TAR, &large())) == large());
        assert!(held.lock().unwrap().manifests.contains_key("tag"));
        let posts = server.count("POST");
        push(&fresh, &large()).unwrap();
        assert_eq!(server.count("POST"), posts, "what is there is not sent again");
    }
}

#[test]
fn registries_that_forget_are_told_of() {
    let (server, _) = start(Faults { half_chunks: true, forgetful: true, ..Faults::default() });
    let error = push(&registry(&server), &large()).unwrap_err();
    assert!(error.contains("does not have what it took before"), "{error}");
    assert_eq!(server.count("DELETE /v2/x/blobs/uploads/"), 1);
}

#[test]
fn wrong_content_is_not_sent() {
    for (size, fault) in [(LARGE, 0), (9, 0), (LARGE, 1), (9, 1)] {
        let (server, held) = start(Faults::default());
        let mut content = large()[..size].to_vec();
        let descriptor = Descriptor::of(media_type::LAYER_TAR, &content);
        match fault {
            0 => content[size - 1] ^= 1,
            _ => content.truncate(size - 1),
        }
        let error = registry(&server).put(&descriptor, &mut content.as_slice()).unwrap_err().to_string();
        assert!(error.contains(["its content is another", "ends after"][fault]), "{error}");
        assert!(held.lock().unwrap().blobs.is_empty() && server.count("PUT") == 0);
    }
}

#[test]
fn blobs_are_mounted_from_elsewhere() {
    let (server, held) = start(Faults::default());
    let layer = b"a layer of another repository";
    held.lock().unwrap().blobs.insert(format!("other {}", Digest::of(layer)), layer.to_vec());
    push(&registry(&server).mount_from("base/one").mount_from("base/two"), layer).unwrap();
    let lines = server.lines();
    let sent = |digest: &Digest| lines.iter().any(|line| line.starts_with("PUT") && line.ends_with(digest.hex()));
    assert!(!sent(&Digest::of(layer)) && sent(&Digest::of(b"{}")), "{lines:?}");
    // The upload that was begun when mounting failed is used.
    assert_eq!(server.count("POST /v2/x/blobs/uploads/?mount="), 3);
    assert_eq!(server.count("POST"), 3);
}

#[test]
fn referrers_with_and_without_the_registry_s_help() {
    for no_referrers in [false, true] {
        let (server, held) = start(Faults { no_referrers, ..Faults::default() });
        let image = push(&registry(&server), b"layer").unwrap();
        let registry = registry_as(&server, "x:signature", Credentials::none());
        let empty = put(&registry, media_type::EMPTY, b"{}").unwrap();
        let mut digests = Vec::new();
        for number in 0..3 {
            let mut signature = Manifest::new(empty.clone(), vec![]);
            signature.subject = Some(image.bare());
            signature.annotations.insert("number".into(), number.to_string());
            signature.extra.insert("artifactType".into(), "application/x-signature".into());
            let bytes = serde_json::to_vec(&signature).unwrap();
            digests.push(put(&registry, media_type::MANIFEST, &bytes).unwrap().digest);
        }
        let found = registry.referrers(&image.digest).unwrap();
        assert_eq!(found.iter().map(|d| d.digest.clone()).collect::<Vec<_>>(), digests);
        let tag = image.digest.to_string().replace(':', "-");
        assert_eq!(held.lock().unwrap().manifests.contains_key(&tag), no_referrers);
        if no_referrers {
            assert_eq!(found[2].annotations["number"], "2");
            assert_eq!(found[2].extra["artifactType"], "application/x-signature");
        }
        assert!(registry.referrers(&Digest::of(b"nobody refers to this")).unwrap().is_empty());
    }
}

/// A registry that wants a token for everything, and takes each for ten requests only.
fn with_tokens(login: &'static str) -> (Server, Arc<Mutex<Held>>) {
    let held = Arc::new(Mutex::new(Held::default()));
    let shared = held.clone();
    let tokens = Mutex::new((0, 0));
    let server = Server::start(move |asked| {
        let mut tokens = tokens.lock().unwrap();
        if let Some(query) = asked.path.strip_prefix("/token?") {
            assert!(query.contains("service=registry&scope=repository%3Ax%3Apull%2Cpush"), "{query}");
            if asked.header("authorization").unwrap_or_default() != login {
                return answer(401).body("no");
            }
            *tokens = (tokens.0 + 1, 10);
            return answer(200).body(format!(r#"{{"token":"t{}","expires_in":60}}"#, tokens.0));
        }
        let expected = format!("Bearer t{}", tokens.0);
        if asked.header("authorization") != Some(&expected) || tokens.1 == 0 {
            let challenge = r#"Bearer realm="/token",service="registry",scope="repository:x:pull""#;
            return answer(401).with("www-authenticate", challenge);
        }
        tokens.1 -= 1;
        respond(asked, &mut shared.lock().unwrap(), &Faults::default())
    });
    (server, held)
}

#[test]
fn tokens_are_had_and_renewed() {
    for (expected, login) in [("", None), ("Basic bWU6c2VjcmV0", Some("secret"))] {
        let (server, _) = with_tokens(expected);
        let credentials = match login {
            None => Credentials::none(),
            Some(password) => {
                let login = Login::Password { user: "me".into(), password: Secret::new(password) };
                Credentials::none().with(server.address.to_string(), login)
            }
        };
        push(&registry_as(&server, "x:tag", credentials), &large()).unwrap();
        assert!(server.count("GET /token") > 1);
    }
}

#[test]
fn a_refused_login_is_an_error_soon_and_shows_nothing() {
    let (server, _) = with_tokens("Basic somebody else");
    let login = Login::Password { user: "me".into(), password: Secret::new("secret") };
    let credentials = Credentials::none().with(server.address.to_string(), login);
    let error = push(&registry_as(&server, "x:tag", credentials), b"x").unwrap_err();
    assert!(error.contains("401") && !error.contains("secret") && !error.contains("c2Vj"), "{error}");
    assert!(server.lines().len() < 5, "{:?}", server.lines());

    let server = Server::start(|asked| match asked.path.as_str() {
        "/v2/" => answer(200),
        _ => answer(401).with("www-authenticate", "Basic realm=x"),
    });
    let error = push(&registry(&server), b"x").unwrap_err();
    assert!(error.contains("docker login"), "{error}");
    let credentials = |user: &str| {
        let login = Login::Password { user: user.into(), password: Secret::new("secret") };
        Credentials::none().with(server.address.to_string(), login)
    };
    let error = push(&registry_as(&server, "x:tag", credentials("me")), b"x").unwrap_err();
    assert!(error.contains("is refused") && !error.contains("secret"), "{error}");
}

#[test]
fn logins_do_not_leave_the_registry() {
    let (elsewhere, _) = start(Faults::default());
    let at = format!("http://{}", elsewhere.address);
    let held = Mutex::new(Held::default());
    let server = Server::start(move |asked| {
        if asked.header("authorization").is_none() {
            return answer(401).with("www-authenticate", "Basic realm=x");
        }
        respond(asked, &mut held.lock().unwrap(), &Faults { uploads_at: Some(at.clone()), ..Faults::default() })
    });
    let login = Login::Password { user: "me".into(), password: Secret::new("secret") };
    let credentials = Credentials::none().with(server.address.to_string(), login);
    // The other server has begun no upload.
    assert!(push(&registry_as(&server, "x:tag", credentials), b"x").is_err());
    let asked = elsewhere.asked.lock().unwrap();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.header("authorization").is_none()), "{asked:?}");
    // Nor does a token come from, or a blob go to, where a server must not send us.
    for place in ["http://169.254.169.254/token", "file:///etc/passwd", "https://[fe80::1]/"] {
        let server = Server::start(move |asked| match asked.method.as_str() {
            "POST" => answer(202).with("location", place),
            "HEAD" => answer(404),
            _ => answer(401).with("www-authenticate", format!("Bearer realm=\"{place}\"")),
        });
        assert!(push(&registry(&server), b"x").is_err());
        let error = registry(&server).top().unwrap_err().to_string();
        assert!(error.contains("link-local") || error.contains("address"), "{error}");
    }
}

#[test]
fn blobs_that_a_registry_sees_late_fail_no_push() {
    let (server, held) = start(Faults { late: true, ..Faults::default() });
    let manifest = push(&registry(&server), b"layer").unwrap();
    assert!(held.lock().unwrap().manifests.contains_key("tag"));
    assert_eq!(server.count(&format!("PUT /v2/x/manifests/{}", manifest.digest)), 2);
}
