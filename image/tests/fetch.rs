//! Fetching images by name and by address from a server that is every host.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod images;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use appc_image::fetch::{self, Fetcher, Insecure, PullPolicy, Reporter, http};
use appc_image::reference::Reference;
use appc_image::store::StoredImage;
use appc_image::trust::{Key, Keystore, Scope};
use appc_image::{Error, Progress, Quiet};
use images::Fixture;
use support::Gpg;
use support::{Reply, Server};

const LABELS: &str =
    r#""labels":[{"name":"version","value":"1.0"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]"#;
const PAGE: &str = r#"<html><head><meta name="ac-discovery" content="example.com https://images.example.com/{name}-{version}.{ext}"></head>"#;

type Files = Arc<Mutex<HashMap<String, (Vec<u8>, String)>>>;
type Answers = Arc<Mutex<HashMap<String, Vec<Reply>>>>;

/// A store, a server, and what the server has.
struct World {
    here: Fixture,
    there: Fixture,
    server: Server,
    files: Files,
    /// Said once each, in order, before the files are looked at.
    answers: Answers,
    notes: Mutex<Vec<String>>,
    options: fetch::Options,
}

impl Reporter for World {
    fn bar(&self) -> Box<dyn Progress + '_> {
        Box::new(Quiet)
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.into());
    }
}

impl World {
    fn new() -> World {
        let files: Files = Arc::default();
        let answers: Answers = Arc::default();
        let (own_files, own_answers) = (Arc::clone(&files), Arc::clone(&answers));
        let server = Server::https(move |request| {
            let key = format!("{}{}", request.host, request.path);
            if let Some(answers) = own_answers.lock().unwrap().get_mut(&key).filter(|answers| !answers.is_empty()) {
                return answers.remove(0);
            }
            match own_files.lock().unwrap().get(&key) {
                Some((content, etag)) => Reply::file(request, content, etag),
                None => Reply::status(404),
            }
        });
        let (here, there) = (Fixture::new(), Fixture::new());
        let authorities = here.dir.path().join("ca.pem");
        fs::write(&authorities, server.authority()).unwrap();
        let options = fetch::Options {
            insecure: Insecure { image: true, ..Insecure::default() },
            config_dirs: vec![here.dir.path().join("config")],
            http: http::Options {
                authorities: Some(authorities),
                proxy: Some(server.proxy()),
                ..http::Options::default()
            },
            ..fetch::Options::default()
        };
        let world = World { here, there, server, files, answers, notes: Mutex::default(), options };
        world.put("example.com/?ac-discovery=1", PAGE);
        world
    }

    fn put(&self, place: &str, content: impl AsRef<[u8]>) {
        let etag = format!("\"{}\"", content.as_ref().iter().map(|b| u64::from(*b)).sum::<u64>());
        self.files.lock().unwrap().insert(place.into(), (content.as_ref().to_vec(), etag));
    }

    fn say(&self, place: &str, answers: impl IntoIterator<Item = Reply>) {
        self.answers.lock().unwrap().insert(place.into(), answers.into_iter().collect());
    }

    /// Publishes an image and returns its bytes.
    fn publish(&self, name: &str, rest: &str) -> Vec<u8> {
        let noise: String = (0..3000).map(|n| format!("{name} {}\n", n * n)).collect();
        let content = fs::read(self.there.image(name, rest, &[("file", &noise)])).unwrap();
        self.put(&format!("images.example.com/{name}-1.0.aci"), &content);
        self.put(&format!("images.example.com/{name}-latest.aci"), &content);
        content
    }

    fn fetch(&self, word: &str, change: impl FnOnce(&mut fetch::Options)) -> Result<StoredImage, Error> {
        let mut options = self.options.clone();
        change(&mut options);
        let reference = Reference::from_word(word).unwrap();
        Fetcher::new(&self.here.store, options, self)?.fetch(&reference, None)
    }

    /// What was asked for since the last time, without discovery.
    fn asked(&self) -> Vec<String> {
        let lines = self.server.lines().into_iter().filter(|line| !line.ends_with("?ac-discovery=1"));
        lines.map(|line| line.replace("GET images.example.com/", "")).collect()
    }

    fn partial_files(&self) -> usize {
        fs::read_dir(self.here.data().join("fetch/partial")).map_or(0, Iterator::count)
    }

    fn trust(&self, key: &[u8]) {
        let store = Keystore::open(&self.options.config_dirs);
        store.trust(&Key::parse(key).unwrap(), &Scope::Prefix("example.com".parse().unwrap())).unwrap();
    }
}

fn update(options: &mut fetch::Options) {
    options.policy = PullPolicy::Update;
}

fn signed(options: &mut fetch::Options) {
    options.insecure.image = false;
}

#[test]
fn a_name_is_looked_for_upwards_and_then_known() {
    let world = World::new();
    world.publish("example.com/a/app", LABELS);
    let image = world.fetch("example.com/a/app:1.0,os=linux", |_| {}).unwrap();
    assert_eq!(image.source, "https://images.example.com/example.com/a/app-1.0.aci");
    let all = [
        "GET example.com/a/app?ac-discovery=1",
        "GET example.com/a?ac-discovery=1",
        "GET example.com/?ac-discovery=1",
        "GET images.example.com/example.com/a/app-1.0.aci",
    ];
    assert_eq!(world.server.lines(), all);
    assert_eq!(world.partial_files(), 0);
    // New: what is there is taken.
    assert_eq!(world.fetch("example.com/a/app:1.0", |_| {}).unwrap().id, image.id);
    assert_eq!(world.server.lines().len(), 4);
    // Update: the server is asked whether it has changed.
    assert_eq!(world.fetch("example.com/a/app:1.0", update).unwrap().id, image.id);
    let last = world.server.seen().pop().unwrap();
    assert!(last.header("if-none-match").is_some());
    world.publish("example.com/a/app", &LABELS.replace("amd64", "i386"));
    assert_ne!(world.fetch("example.com/a/app:1.0", update).unwrap().id, image.id);
    let never = |options: &mut fetch::Options| options.policy = PullPolicy::Never;
    assert!(matches!(world.fetch("example.com/b", never), Err(Error::NotStored(_))));
}

#[test]
fn what_was_fetched_stays_as_long_as_the_fetcher() {
    let world = World::new();
    world.publish("example.com/base", LABELS);
    let dependencies = format!(r#"{LABELS},"dependencies":[{{"imageName":"example.com/base"}}]"#);
    world.publish("example.com/app", &dependencies);
    let store = &world.here.store;
    let fetcher = Fetcher::new(store, world.options.clone(), &world).unwrap();
    let app = fetcher.fetch(&Reference::from_word("example.com/app").unwrap(), None).unwrap();
    let base = store.list().unwrap().into_iter().find(|image| image.id != app.id).unwrap();
    for id in [&app.id, &base.id] {
        assert!(matches!(store.remove(id), Err(Error::InUse(_))), "{id}");
    }
    drop(fetcher);
    for id in [&app.id, &base.id] {
        store.remove(id).unwrap();
    }
}

#[test]
fn an_address_is_not_asked_again_before_its_time() {
    let world = World::new();
    let content = world.publish("example.com/app", LABELS);
    let place = "images.example.com/x.aci";
    world.say(place, [Reply::ok(content).with("Cache-Control", "public, max-age=1000").with("ETag", "\"x\"")]);
    let url = format!("https://user:pass@{place}");
    let image = world.fetch(&url, update).unwrap();
    assert_eq!(image.source, "https://images.example.com/x.aci");
    assert_eq!(world.fetch(&url, update).unwrap().id, image.id);
    assert_eq!(world.asked(), ["x.aci"]);
    // Without a signature that was checked it is no good for those who want one.
    assert!(
        world
            .fetch(&url, |options| {
                update(options);
                signed(options);
            })
            .is_err()
    );
    assert_eq!(world.asked(), ["x.aci", "x.aci.asc", "HEAD images.example.com/x.aci"]);
}

#[test]
fn a_broken_download_goes_on_where_it_ended() {
    let world = World::new();
    let content = world.publish("example.com/app", LABELS);
    let place = "images.example.com/example.com/app-latest.aci";
    let etag = world.files.lock().unwrap()[place].1.clone();
    let whole = Reply::ok(content.clone()).with("ETag", &etag);
    // The same process tries again; another one goes on.
    world.say(place, [whole.clone().cut(1000), Reply::status(403)]);
    assert!(world.fetch("example.com/app", |_| {}).is_err());
    assert_eq!(world.partial_files(), 2);
    let image = world.fetch("example.com/app", |_| {}).unwrap();
    assert_eq!(fs::read(world.here.store.blob(&image.id)).unwrap(), content);
    let ranges = |world: &World| -> Vec<Option<String>> {
        let seen = world.server.seen().into_iter().filter(|request| request.path.ends_with(".aci"));
        seen.map(|request| request.header("range").map(str::to_owned)).collect()
    };
    let range = Some("bytes=1000-".to_owned());
    assert_eq!(ranges(&world), [None, range.clone(), range.clone()]);
    assert_eq!(world.partial_files(), 0);
    // A file that has changed meanwhile is fetched from its beginning.
    world.here.store.remove(&image.id).unwrap();
    world.say(place, [Reply::ok(vec![b'x'; 5000]).with("ETag", "\"other\"").cut(1000), Reply::status(403)]);
    assert!(world.fetch("example.com/app", |_| {}).is_err());
    assert_eq!(world.fetch("example.com/app", |_| {}).unwrap().id, image.id);
}

#[test]
fn a_server_that_always_begins_anew_is_given_up() {
    let world = World::new();
    let place = "images.example.com/example.com/app-latest.aci";
    // More each time than what counts as progress, and never more than before.
    let broken = Reply::ok(vec![b'x'; 3 << 20]).with("ETag", "\"x\"").cut(2 << 20);
    world.say(place, std::iter::repeat_n(broken, 20));
    let error = world.fetch("example.com/app", |_| {}).unwrap_err().to_string();
    assert!(error.contains("ended early"), "{error}");
    assert!(world.asked().len() < 10, "{:?}", world.asked());
}

#[test]
fn a_server_that_sends_another_part_is_not_believed() {
    let world = World::new();
    let content = world.publish("example.com/app", LABELS);
    let place = "images.example.com/example.com/app-latest.aci";
    let etag = world.files.lock().unwrap()[place].1.clone();
    let part = Reply::ok(content[900..].to_vec())
        .with("Content-Range", &format!("bytes 900-{}/{}", content.len() - 1, content.len()));
    world.say(place, [Reply::ok(content.clone()).with("ETag", &etag).cut(1000), part.but(206)]);
    let image = world.fetch("example.com/app", |_| {}).unwrap();
    assert_eq!(fs::read(world.here.store.blob(&image.id)).unwrap(), content);
}

#[test]
fn what_was_left_over_is_removed() {
    let world = World::new();
    world.publish("example.com/app", LABELS);
    let place = "images.example.com/example.com/app-latest.aci";
    world.say(place, [Reply::ok(vec![b'x'; 5000]).with("ETag", "\"x\"").cut(1000), Reply::status(403)]);
    assert!(world.fetch("example.com/app", |_| {}).is_err());
    assert_eq!(fetch::remove_partial(&world.here.store, Duration::from_secs(60)).unwrap(), 0);
    assert_eq!(fetch::remove_partial(&world.here.store, Duration::ZERO).unwrap(), 1);
    assert_eq!(world.partial_files(), 0);
}

#[test]
fn what_is_in_a_query_is_asked_with_and_not_kept() {
    let world = World::new();
    let (one, other) = (world.there.image("example.com/one", "", &[]), world.there.image("example.com/two", "", &[]));
    world.put("images.example.com/x.aci?token=sekrit&n=1", fs::read(one).unwrap());
    world.put("images.example.com/x.aci?token=sekrit&n=2", fs::read(other).unwrap());
    let address = |n: u32| format!("https://images.example.com/x.aci?token=sekrit&n={n}");
    let images = [1, 2].map(|n| world.fetch(&address(n), |_| {}).unwrap());
    assert_ne!(images[0].id, images[1].id);
    for (n, image) in [1, 2].into_iter().zip(&images) {
        assert_eq!(image.source, "https://images.example.com/x.aci?…");
        assert_eq!(world.fetch(&address(n), |_| {}).unwrap().id, image.id);
        let reference = Reference::from_word(address(n)).unwrap();
        let stored = fetch::stored_from(&world.here.store, &reference).unwrap();
        assert_eq!(stored.iter().map(|stored| &stored.id).collect::<Vec<_>>(), [&image.id]);
    }
    assert_eq!(world.asked().len(), 2, "each once");
    let found = fs::read_to_string(world.here.data().join(format!("store/images/{}/metadata", images[0].id))).unwrap();
    assert!(!found.contains("sekrit"), "{found}");
}

#[test]
fn of_many_addresses_some_are_left_aside() {
    let world = World::new();
    let tag = |number: usize| {
        format!(
            r#"<meta name="ac-discovery" content="example.com https://images.example.com/{number}/{{name}}.{{ext}}">"#
        )
    };
    let page: String = (0..40).map(tag).collect();
    world.put("example.com/?ac-discovery=1", page);
    let error = world.fetch("example.com/app", |_| {}).unwrap_err().to_string();
    assert!(error.contains("/15/example.com/app.aci") && !error.contains("/16/"), "{error}");
    assert!(error.contains("24 more addresses that the page names are left aside"), "{error}");
}

#[test]
fn records_of_what_is_no_more_are_removed() {
    let world = World::new();
    world.publish("example.com/app", LABELS);
    let image = world.fetch("example.com/app", |_| {}).unwrap();
    let known = world.here.data().join("fetch/known");
    let (left, living) = (known.join(".tmpLEFT"), known.join(".tmpNEW"));
    let hours_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    fs::File::create(&left).unwrap().set_modified(hours_ago).unwrap();
    fs::write(&living, "").unwrap();
    let records = || fs::read_dir(&known).unwrap().count();
    assert_eq!(records(), 3);
    assert_eq!(fetch::remove_unknown(&world.here.store).unwrap(), 1);
    assert!(!left.exists() && records() == 2, "what is there, and what is on its way");
    world.here.store.remove(&image.id).unwrap();
    assert_eq!(fetch::remove_unknown(&world.here.store).unwrap(), 1);
    assert!(living.exists() && records() == 1);
}

#[test]
fn what_arrives_must_be_what_was_asked_for_and_every_address_is_tried() {
    let world = World::new();
    let two = PAGE.replace(
        "<head>",
        r#"<head><meta name="ac-discovery" content="example.com https://other.example.org/{name}.{ext}">"#,
    );
    world.put("example.com/?ac-discovery=1", two);
    let wrong = world.publish("example.com/other", LABELS);
    world.put("other.example.org/example.com/app.aci", &wrong);
    let error = world.fetch("example.com/app:1.0", |_| {}).unwrap_err().to_string();
    assert!(error.contains("error when reading the app name: \"example.com/app\" expected"), "{error}");
    assert!(error.contains("app-1.0.aci: the server answers 404"), "{error}");
    world.publish("example.com/app", LABELS);
    assert!(world.fetch("example.com/app:1.0", |_| {}).is_ok());
    world.put("images.example.com/example.com/app-2.0.aci", world.publish("example.com/app", LABELS));
    let error = world.fetch("example.com/app:2.0", |_| {}).unwrap_err().to_string();
    assert!(error.contains("was found, and not taken: "), "{error}");
    assert!(error.contains("requested value for label version: \"2.0\" differs from \"1.0\""), "{error}");
}

#[test]
fn images_are_signed_by_who_may() {
    let world = World::new();
    let gpg = Gpg::new();
    gpg.simple("maker");
    let content = world.publish("example.com/app", LABELS);
    let error = world.fetch("example.com/app", signed).unwrap_err().to_string();
    assert!(
        error.contains("app-latest.aci.asc: the server answers 404") && error.contains("--insecure-options=image"),
        "{error}"
    );
    assert!(error.starts_with("image example.com/app was found, and not taken: "), "{error}");
    let looked = |line: &String| line.ends_with(".asc") || line.starts_with("HEAD ");
    assert!(world.asked().iter().all(looked), "nothing is fetched in vain");
    let signature = gpg.sign("maker", &content);
    let place = "images.example.com/example.com/app-latest.aci.asc";
    world.put(place, &signature);
    let error = world.fetch("example.com/app", signed).unwrap_err().to_string();
    assert!(error.contains("unknown entity") && error.contains("rkt trust"), "{error}");
    world.trust(&gpg.export("maker"));
    // "Ask me when you have the image."
    world.say(place, [Reply::status(202)]);
    let image = world.fetch("example.com/app", signed).unwrap();
    assert!(world.notes.lock().unwrap()[0].contains("signature verified: maker"));
    world.here.store.remove(&image.id).unwrap();
    let before = world.asked().len();
    world.say(place, (0..6).map(|_| Reply::status(202)));
    let error = world.fetch("example.com/app", signed).unwrap_err().to_string();
    assert!(error.contains("was found, and not taken: ") && error.contains("for ever: try again later"), "{error}");
    assert_eq!(world.asked().len() - before, 7, "the image, and the signature before it and five times after");
    // The image need not come again.
    world.say(place, [Reply::status(202), Reply::status(202), Reply::status(202)]);
    let image = world.fetch("example.com/app", signed).unwrap();
    world.here.store.remove(&image.id).unwrap();
    world.say("images.example.com/example.com/app-latest.aci", [Reply::ok(world.publish("example.com/app", ""))]);
    let error = world.fetch("example.com/app", signed).unwrap_err().to_string();
    assert!(error.contains("is not one of this image"), "{error}");
    assert_eq!(world.partial_files(), 0, "what is wrong is not kept");
    let error = world.fetch("example.com/absent", signed).unwrap_err().to_string();
    assert!(error.starts_with("image example.com/absent was not found: ") && error.ends_with("from a file"), "{error}");
    assert!(error.contains("absent-latest.aci: the server answers 404"), "{error}");
}

#[test]
fn a_broken_download_is_verified_from_its_beginning() {
    let world = World::new();
    let gpg = Gpg::new();
    gpg.simple("maker");
    world.trust(&gpg.export("maker"));
    let content = world.publish("example.com/app", LABELS);
    let place = "images.example.com/example.com/app-latest.aci";
    world.put(&format!("{place}.asc"), gpg.sign("maker", &content));
    let etag = world.files.lock().unwrap()[place].1.clone();
    world.say(place, [Reply::ok(content.clone()).with("ETag", &etag).cut(1000), Reply::status(403)]);
    assert!(world.fetch("example.com/app", signed).is_err());
    assert!(world.fetch("example.com/app", signed).is_ok());
    assert!(world.server.seen().last().unwrap().header("range").is_some());
}

#[test]
fn files_of_this_host_are_checked_when_they_are_signed() {
    let world = World::new();
    let gpg = Gpg::new();
    gpg.simple("maker");
    let path = world.there.image("example.com/app", LABELS, &[]);
    let word = path.to_str().unwrap();
    assert!(world.fetch(word, signed).is_ok());
    let signature = PathBuf::from(format!("{word}.asc"));
    fs::write(&signature, gpg.sign("maker", &fs::read(&path).unwrap())).unwrap();
    assert!(world.fetch(word, signed).unwrap_err().to_string().contains("unknown entity"));
    assert!(world.fetch(word, |_| {}).is_ok());
    world.trust(&gpg.export("maker"));
    assert!(world.fetch(word, signed).is_ok());
    fs::write(&signature, gpg.sign("maker", b"something else")).unwrap();
    assert!(world.fetch(word, signed).is_err());
}

#[test]
fn keys_are_trusted_from_https_by_those_who_want_it() {
    let world = World::new();
    let gpg = Gpg::new();
    gpg.simple("maker");
    let keys = r#"<head><meta name="ac-discovery-pubkeys" content="example.com https://images.example.com/keys.gpg">"#;
    world.put("example.com/?ac-discovery=1", PAGE.replace("<head>", keys));
    world.put("images.example.com/keys.gpg", gpg.export("maker"));
    let content = world.publish("example.com/app", LABELS);
    world.put("images.example.com/example.com/app-latest.aci.asc", gpg.sign("maker", &content));
    assert!(world.fetch("example.com/app", signed).is_err());
    let trusting = |options: &mut fetch::Options| {
        signed(options);
        options.trust_keys_from_https = true;
    };
    world.fetch("example.com/app", trusting).unwrap();
    assert!(world.notes.lock().unwrap()[0].contains("trusting the key of maker for example.com/app"));
    assert!(
        world
            .fetch("example.com/app", |options| {
                signed(options);
                update(options);
            })
            .is_ok()
    );
}

#[test]
fn dependencies_come_along_each_once() {
    let world = World::new();
    let on = |names: &[&str]| {
        let all: Vec<String> = names.iter().map(|name| format!(r#"{{"imageName":"example.com/{name}"}}"#)).collect();
        format!(r#""dependencies":[{}]"#, all.join(","))
    };
    world.publish("example.com/top", &on(&["left", "middle", "right"]));
    for side in ["left", "middle", "right"] {
        world.publish(&format!("example.com/{side}"), &on(&["base"]));
    }
    // It goes in circles: fetching ends, and says so.
    world.publish("example.com/base", &on(&["top"]));
    let error = world.fetch("example.com/top", |_| {}).unwrap_err().to_string();
    assert!(error.contains("depends on itself: example.com/top → example.com/left → example.com/base"), "{error}");
    let mut asked = world.asked();
    asked.sort();
    assert_eq!(asked, ["base", "left", "middle", "right", "top"].map(|name| format!("example.com/{name}-latest.aci")));
    assert_eq!(world.here.store.list().unwrap().len(), 5);

    world.publish("example.com/lost", &on(&["nowhere"]));
    let error = world.fetch("example.com/lost", |_| {}).unwrap_err().to_string();
    assert!(
        error.contains("dependency example.com/nowhere of example.com/lost is not in the store and cannot be fetched"),
        "{error}"
    );
    let id = format!("sha512-{}", "ab".repeat(64));
    world.publish(
        "example.com/picky",
        &format!(r#""dependencies":[{{"imageName":"example.com/left","imageID":"{id}"}}]"#),
    );
    let error = world.fetch("example.com/picky", |_| {}).unwrap_err().to_string();
    assert!(error.contains("must have the image ID sha512-abab"), "{error}");

    let base = world.publish("example.com/base", "");
    let small = r#""dependencies":[{"imageName":"example.com/base","size":1}]"#;
    world.publish("example.com/picky", small);
    let error = world.fetch("example.com/picky", update).unwrap_err().to_string();
    assert!(error.contains(&format!("must have 1 bytes, the stored image has {}", base.len())), "{error}");
}

#[test]
fn credentials_go_where_they_belong() {
    let world = World::new();
    let dir = world.here.dir.path().join("config/auth.d");
    fs::create_dir_all(&dir).unwrap();
    let auth = r#"{"rktKind":"auth","rktVersion":"v1","domains":["images.example.com"],"type":"basic","credentials":{"user":"me","password":"hidden"}}"#;
    fs::write(dir.join("x.json"), auth).unwrap();
    world.publish("example.com/app", LABELS);
    let place = "images.example.com/example.com/app-latest.aci";
    world.say(place, [Reply::redirect("https://other.example.org/example.com/app.aci?signature=hidden")]);
    let error = world.fetch("example.com/app", |_| {}).unwrap_err().to_string();
    assert!(error.contains("other.example.org/example.com/app.aci?…: the server answers 404"), "{error}");
    assert!(!error.contains("hidden"), "{error}");
    let who: Vec<(String, bool)> =
        world.server.seen().iter().map(|r| (r.host.clone(), r.header("authorization").is_some())).collect();
    assert_eq!(&who[who.len() - 2..], [("images.example.com".into(), true), ("other.example.org".into(), false)]);
    assert!(who[..who.len() - 2].iter().all(|(_, known)| !known));
}
