//! Registries that lie, break off, never end and point elsewhere: refused, in bounded time and memory.

#![allow(clippy::unwrap_used)]

mod lying;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use appc_image::fetch::http::{Client, Options, Patience};
use appc_image::oci::{Descriptor, Digest, Index, Platform, Source, media_type, read_image, verified};
use appc_image::registry::{Access, Credentials, Login, Registry, Secret};
use lying::{Answer, Asked, Blobs, Manner, Server, answer, ranged};

/// The image `x` of the server, by a client that waits for a second at most.
fn registry(server: &Server, image: &str) -> Registry {
    registry_as(server, image, Credentials::none())
}

fn registry_as(server: &Server, image: &str, credentials: Credentials) -> Registry {
    let second = Duration::from_secs(1);
    let patience = Patience { connect: second, answer: second, idle: second, window: second, least: 1 << 10 };
    let client = Client::new(Options { insecure_http: true, patience, ..Options::default() }).unwrap();
    let name = format!("{}/{image}", server.address).parse().unwrap();
    Registry::new(Arc::new(client), name, Access::Pull, Arc::new(credentials))
}

fn everything(registry: &Registry) -> Result<Vec<Vec<u8>>, String> {
    let image = read_image(registry, &Platform::new("linux", "amd64")).map_err(|e| e.to_string())?;
    image.layers.iter().map(|layer| blob(registry, &layer.descriptor)).collect()
}

fn blob(registry: &Registry, descriptor: &Descriptor) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let content = registry.open(descriptor).map_err(|e| e.to_string())?;
    verified(content, descriptor).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// A server of `blobs` that answers what `lie` says instead, where it says something.
fn serve(blobs: Blobs, lie: impl Fn(&Asked, &Blobs) -> Option<Answer> + Send + Sync + 'static) -> Server {
    Server::start(move |asked| lie(asked, &blobs).unwrap_or_else(|| blobs.answer(asked)))
}

fn is_layer(asked: &Asked, layer: &[u8]) -> bool {
    asked.path == format!("/v2/x/blobs/{}", Digest::of(layer))
}

/// Tries all the lies at once, and none of them for long.
fn each<const N: usize>(lies: [(Answer, &str); N], test: impl Fn(Answer, &str) + Sync) {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let test = &test;
        lies.into_iter().for_each(|(lie, rule)| _ = scope.spawn(move || test(lie, rule)));
    });
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[test]
fn an_honest_registry() {
    let server = serve(Blobs::image(&[b"one", b"two"]), |_, _| None);
    let registry = registry(&server, "x");
    assert_eq!(everything(&registry).unwrap(), [b"one", b"two"]);
    assert_eq!(server.count("GET /v2/x/manifests/"), 1, "a manifest is fetched once");
    let missing = everything(&self::registry(&server, "x:other")).unwrap_err();
    assert!(missing.contains("there is no tag \"other\""), "{missing}");
}

#[test]
fn manifests_that_are_not_what_was_asked_for() {
    let blobs = Blobs::image(&[b"one"]);
    let (_, manifest) = blobs.tags["latest"].clone();
    let digest = Digest::of(&manifest);
    let other = Digest::of(b"other").to_string();
    // By tag, with a digest in the head that the content does not have.
    let stated = other.clone();
    let server = serve(blobs.clone(), move |asked, blobs| {
        let mut answer = blobs.answer(asked);
        answer.headers.iter_mut().filter(|(n, _)| n == "docker-content-digest").for_each(|(_, v)| *v = stated.clone());
        Some(answer)
    });
    let error = everything(&registry(&server, "x")).unwrap_err();
    assert!(error.contains("its content is another"), "{error}");
    // By digest: what the head says does not matter then.
    let server = serve(blobs.clone(), move |asked, blobs| {
        asked.path.contains("/manifests/").then(|| {
            let digest = asked.path.rsplit('/').next().unwrap();
            answer(200).with("docker-content-digest", digest).body(blobs.tags["latest"].1.clone())
        })
    });
    assert!(everything(&registry(&server, &format!("x@{digest}"))).is_ok());
    let error = everything(&registry(&server, &format!("x@{other}"))).unwrap_err();
    assert!(error.contains("its content is another"), "{error}");
    for digest in ["sha256:", "sha256:../../x", "md5:00", "x"] {
        let server = serve(blobs.clone(), move |_, blobs| {
            Some(answer(200).with("docker-content-digest", digest).body(blobs.tags["latest"].1.clone()))
        });
        let error = everything(&registry(&server, "x")).unwrap_err();
        assert!(error.starts_with("digest"), "{error}");
    }
}

#[test]
fn manifests_without_end_and_without_bottom() {
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        answer(200)
            .with("content-type", media_type::MANIFEST)
            .body(format!(r#"{{"schemaVersion":2,"x":{open}{close},"config":{{}},"layers":[]}}"#))
    };
    let typed = || answer(200).with("content-type", media_type::MANIFEST);
    let cases = [
        (typed().manner(Manner::Promise(1 << 30)), "longer than the 4194304 bytes"),
        (typed().body(vec![b' '; 1 << 16]).manner(Manner::Endless), "longer than"),
        (typed().body("{").manner(Manner::Drip(Duration::from_millis(50))), "sends less than"),
        (deep("[", "]"), "recursion limit"),
        (deep("{\"a\":", "}"), "manifest"),
        (typed().body("not JSON"), "expected"),
        (typed().with("content-length", "7").body("{}").manner(Manner::Cut(2)), "ended early"),
        (answer(200).with("x", "y".repeat(1 << 20)), "too long"),
    ];
    each(cases, |lie, rule| {
        let server = Server::start(move |asked| if asked.path == "/v2/" { answer(200) } else { lie.clone() });
        let error = everything(&registry(&server, "x")).unwrap_err();
        assert!(error.len() < 1000 && error.contains(rule), "{rule}: {error}");
    });
}

#[test]
fn indexes_in_indexes() {
    let mut blobs = Blobs::image(&[b"one"]);
    let (_, manifest) = blobs.tags["latest"].clone();
    let mut child = Descriptor::of(media_type::MANIFEST, &manifest);
    for level in 0..6 {
        child.platform = Some(Platform::new("linux", "amd64"));
        let index = serde_json::to_vec(&Index::new(vec![child])).unwrap();
        child = Descriptor::of(media_type::INDEX, &index);
        blobs.tag(&format!("level{level}"), media_type::INDEX, index);
    }
    // An index that is said to contain itself: its bytes cannot, so they are others.
    let itself = Descriptor::new(media_type::INDEX, Digest::of(b"itself"), 300);
    let server = serve(blobs, move |asked, _| {
        let index = serde_json::to_vec(&Index::new(vec![itself.clone()])).unwrap();
        let cycle = asked.path.ends_with("/cycle") || asked.path.ends_with(&itself.digest.to_string());
        cycle.then(|| answer(200).with("content-type", media_type::INDEX).body(index))
    });
    assert_eq!(everything(&registry(&server, "x:level3")).unwrap(), [b"one"]);
    let error = everything(&registry(&server, "x:level5")).unwrap_err();
    assert!(error.contains("nested"), "{error}");
    let error = everything(&registry(&server, "x:cycle")).unwrap_err();
    assert!(error.contains("its content is another"), "{error}");
}

#[test]
fn layers_that_are_not_what_they_should_be() {
    let layer = b"the layer".as_slice();
    let cases: [(Answer, &str); 7] = [
        (answer(200).body("the leyar"), "its content is another"),
        (answer(200).body("the layer and more"), "says that it is 18 bytes long, not 9"),
        (answer(200).body("the").manner(Manner::Whole), "says that it is 3 bytes long, not 9"),
        (answer(200).body("the layer").manner(Manner::Endless), "longer than"),
        (answer(200).body("t").manner(Manner::Drip(Duration::from_millis(300))), "sends less than"),
        (answer(200).body("the").manner(Manner::Promise(9)), "no answer in time"),
        (answer(206).with("content-range", "bytes 0-8/9").body("the layer"), "another range"),
    ];
    each(cases, |lie, rule| {
        let server = serve(Blobs::image(&[layer]), move |asked, _| is_layer(asked, b"the layer").then(|| lie.clone()));
        let error = everything(&registry(&server, "x")).unwrap_err();
        assert!(error.contains(rule), "{rule}: {error}");
    });
}

#[test]
fn addresses_in_manifests_are_not_asked() {
    let elsewhere = serve(Blobs::default(), |_, _| Some(answer(200).body("foreign")));
    let server = serve(Blobs::default(), |_, _| None);
    let mut foreign = Descriptor::of(media_type::DOCKER_FOREIGN_LAYER, b"foreign");
    let urls = serde_json::json!([format!("http://{}/layer", elsewhere.address)]);
    foreign.extra.insert("urls".into(), urls);
    let error = blob(&registry(&server, "x"), &foreign).unwrap_err();
    assert!(error.contains("are not asked"), "{error}");
    assert!(elsewhere.lines().is_empty());
}

#[test]
fn redirects() {
    let layer = b"elsewhere".as_slice();
    let login = || Login::Password { user: "me".into(), password: Secret::new("secret") };
    let elsewhere = serve(Blobs::default(), |asked, _| match asked.path.as_str() {
        "/curious" => Some(answer(401).with("www-authenticate", "Basic realm=\"give\"")),
        _ => Some(ranged(asked, b"elsewhere")),
    });
    let good = format!("http://{}/layer?signature=x", elsewhere.address);
    let curious = format!("http://{}/curious", elsewhere.address);
    for (target, rule) in [
        (good.as_str(), ""),
        (curious.as_str(), "401"),
        ("file:///etc/passwd", "redirects wrongly"),
        ("http://169.254.169.254/latest", "link-local"),
        ("https://[fe80::1]/x", "link-local"),
        ("ftp://localhost/x", "ftp"),
        ("/v2/x/blobs/loop", "more than 10 redirects"),
        ("http://", "address"),
    ] {
        let to = target.to_owned();
        let server = serve(Blobs::image(&[layer]), move |asked, _| {
            let user = asked.header("authorization") == Some("Basic bWU6c2VjcmV0");
            if !user {
                return Some(answer(401).with("www-authenticate", "Basic realm=\"x\""));
            }
            let leads_away = is_layer(asked, b"elsewhere") || asked.path.ends_with("/loop");
            leads_away.then(|| answer(307).with("location", &to))
        });
        let credentials = Credentials::none().with(server.address.to_string(), login());
        match everything(&registry_as(&server, "x", credentials)) {
            Ok(layers) => assert!(rule.is_empty() && layers == [b"elsewhere"], "{target}"),
            Err(error) => assert!(!rule.is_empty() && error.contains(rule), "{target}: {error}"),
        }
    }
    let asked = elsewhere.asked.lock().unwrap();
    assert!(asked.len() == 2 && asked.iter().all(|asked| asked.header("authorization").is_none()), "{asked:?}");
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let layer: Vec<u8> = (0..8_000_000_u32).map(|i| (i / 7) as u8).collect();
    for with_ranges in [true, false] {
        let content = layer.clone();
        let server = serve(Blobs::image(&[&layer]), move |asked, _| {
            is_layer(asked, &content).then(|| {
                let answer = if with_ranges { ranged(asked, &content) } else { answer(200).body(content.clone()) };
                // Each time three million bytes more; without ranges, all that came before again.
                let already = asked.from().unwrap_or(0);
                let more = if with_ranges { 3_000_000 } else { already + 3_000_000 };
                let end = more.min(answer.body.len());
                answer.manner(Manner::Cut(end))
            })
        });
        assert!(everything(&registry(&server, "x")).unwrap()[0] == layer);
        assert_eq!(server.count(&format!("GET /v2/x/blobs/{}", Digest::of(&layer))), 3);
    }
}

#[test]
fn single_bytes_for_ever_are_not_enough() {
    let layer = vec![7_u8; 100_000];
    let server = serve(Blobs::image(&[&layer]), |asked, _| {
        let layer = vec![7_u8; 100_000];
        is_layer(asked, &layer).then(|| ranged(asked, &layer).manner(Manner::Cut(1)))
    });
    let begun = Instant::now();
    let error = everything(&registry(&server, "x")).unwrap_err();
    assert!(error.contains("ended early"), "{error}");
    assert!(server.count("GET /v2/x/blobs/") < 10 && begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn wrong_ranges_are_refused() {
    let layer = vec![7_u8; 100_000];
    let server = serve(Blobs::image(&[&layer]), |asked, _| {
        let layer = vec![7_u8; 100_000];
        is_layer(asked, &layer).then(|| match asked.from() {
            None => answer(200).body(layer).manner(Manner::Cut(500)),
            Some(_) => answer(206).with("content-range", "bytes 400-99999/100000").body(vec![7; 99_600]),
        })
    });
    let error = everything(&registry(&server, "x")).unwrap_err();
    assert!(error.contains("another range"), "{error}");
}

#[test]
fn busy_registries_are_asked_again_and_dead_ones_given_up() {
    let failures = Arc::new(AtomicUsize::new(0));
    let count = failures.clone();
    let server = serve(Blobs::image(&[b"one"]), move |asked, _| {
        let busy = asked.path != "/v2/" && count.fetch_add(1, Ordering::Relaxed) % 3 != 2;
        busy.then(|| answer(503).with("retry-after", "0"))
    });
    assert_eq!(everything(&registry(&server, "x")).unwrap(), [b"one"]);
    let body = r#"{"errors":[{"code":"UNAVAILABLE","message":"sorry\u001b[31m"}]}"#;
    let server = Server::start(move |_| answer(503).body(body));
    let error = everything(&registry(&server, "x")).unwrap_err();
    assert!(error.contains("503") && error.contains("sorry\\u{1b}[31m"), "{error}");
    assert!(server.count("GET /v2/x/") < 10);
    let server = Server::start(|_| answer(429).with("retry-after", "100000"));
    let begun = Instant::now();
    assert!(everything(&registry(&server, "x")).is_err() && begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn nobody_reads_what_is_not_read() {
    // Dropping a blob in its middle ends the connection and does not wait for the rest.
    let server = serve(Blobs::default(), |_, _| Some(answer(200).body(vec![0; 1 << 16]).manner(Manner::Endless)));
    let huge = Descriptor::new(media_type::LAYER_TAR, Digest::of(b""), 1 << 40);
    let registry = registry(&server, "x");
    let begun = Instant::now();
    let mut content = verified(registry.open(&huge).unwrap(), &huge);
    io::copy(&mut (&mut content).take(1 << 20), &mut io::sink()).unwrap();
    drop(content);
    assert!(begun.elapsed() < Duration::from_secs(5));
}
