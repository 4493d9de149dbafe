//! What is about an image goes with it: signatures, lists of its parts, and what is about those.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod lying;
mod support;
mod tarball;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use appc_image::Quiet;
use appc_image::convert::{Referrers, copy, count_referrers};
use appc_image::fetch::http::{Client, Options};
use appc_image::layout::{LayoutArchive, LayoutDir, OciLayout};
use appc_image::oci::{Descriptor, Digest, Index, Manifest, Platform, Sink, Source, media_type, small};
use appc_image::registry::{Access, Credentials, Registry};
use lying::registry::{Faults, respond, start};
use lying::{Server, answer};
use serde_json::{Value, json};
use support::Fixture;
use tarball::Tar;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

fn registry(server: &Server, image: &str) -> Registry {
    let client = Client::new(Options { insecure_http: true, ..Options::default() }).unwrap();
    let name = format!("{}/{image}", server.address).parse().unwrap();
    Registry::new(Arc::new(client), name, Access::Push, Arc::new(Credentials::none()))
}

fn put(sink: &dyn Sink, media_type: &str, content: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, content);
    sink.put(&descriptor, &mut &*content).unwrap();
    descriptor
}

/// Puts an image with one layer for `architecture`.
fn image(sink: &dyn Sink, architecture: &str) -> Descriptor {
    let layer = put(sink, media_type::LAYER_TAR, &Tar::default().file(architecture, b"").end());
    let platform = json!({"os": "linux", "architecture": architecture});
    let mut config = platform.clone();
    config["rootfs"] = json!({"type": "layers", "diff_ids": [layer.digest]});
    let config = put(sink, media_type::CONFIG, config.to_string().as_bytes());
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
    Descriptor { platform: serde_json::from_value(platform).unwrap(), ..put(sink, media_type::MANIFEST, &manifest) }
}

/// Puts a manifest about another.
fn about(sink: &dyn Sink, subject: &Descriptor, kind: &str) -> Descriptor {
    let content = put(sink, "text/plain", format!("{kind} of {}", subject.digest).as_bytes());
    let mut manifest = Manifest::new(put(sink, media_type::EMPTY, b"{}"), vec![content]);
    manifest.subject = Some(subject.bare());
    manifest.annotations.insert("example.com/kind".into(), kind.into());
    manifest.extra.insert("artifactType".into(), format!("application/x-{kind}").into());
    put(sink, media_type::MANIFEST, &serde_json::to_vec(&manifest).unwrap())
}

fn listed(source: &dyn Source, subject: &Descriptor) -> BTreeSet<Digest> {
    source.referrers(&subject.digest).unwrap().into_iter().map(|found| found.digest).collect()
}

fn digests<const N: usize>(all: [&Descriptor; N]) -> BTreeSet<Digest> {
    all.map(|one| one.digest.clone()).into()
}

fn index_of(dir: &Path) -> Vec<Value> {
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

#[test]
fn they_go_from_registries_to_layouts_and_archives_and_back() {
    let host = Platform::host();
    for no_referrers in [false, true] {
        let (from, _) = start(Faults { no_referrers, ..Faults::default() });
        let source = registry(&from, "x:1.0");
        let (ours, other) = (image(&source, &host.architecture), image(&source, "mips"));
        let index = serde_json::to_vec(&Index::new(vec![ours.clone(), other.clone()])).unwrap();
        let index = put(&source, media_type::INDEX, &index);
        source.finish(&index).unwrap();
        let (signature, parts) = (about(&source, &ours, "signature"), about(&source, &ours, "parts"));
        let signed_parts = about(&source, &parts, "signature");
        assert_eq!(count_referrers(&registry(&from, "x:1.0"), &host).unwrap(), 3);

        // One platform, twice, with what is about it; into an archive and into a registry that knows nothing of it.
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("layout");
        for _ in 0..2 {
            let sink = LayoutDir::create(&layout, Some("1.0")).unwrap();
            copy(&registry(&from, "x:1.0"), &sink, Some(&host), Referrers::Kept, &Quiet).unwrap();
        }
        let entries = index_of(&layout);
        assert_eq!(entries.len(), 4, "{entries:?}");
        assert!(entries.iter().any(|one| one["artifactType"] == "application/x-parts"
            && one["annotations"]["example.com/kind"] == "parts"
            && one["digest"] == parts.digest.to_string()));
        let archive = dir.path().join("archive");
        let sink = LayoutArchive::create(&archive, Some("1.0")).unwrap();
        // What is about an image is none: it needs no name to be found.
        copy(&OciLayout::open(&layout, None).unwrap(), &sink, Some(&host), Referrers::Kept, &Quiet).unwrap();
        let (to, _) = start(Faults { no_referrers: !no_referrers, ..Faults::default() });
        let source = OciLayout::open_archive(&archive, None).unwrap();
        copy(&source, &registry(&to, "x:copy"), None, Referrers::Kept, &Quiet).unwrap();
        let copied = registry(&to, "x:copy");
        assert_eq!(copied.top().unwrap().digest, ours.digest);
        for place in [&source as &dyn Source, &copied] {
            assert_eq!(listed(place, &ours), digests([&signature, &parts]));
            assert_eq!(listed(place, &parts), digests([&signed_parts]));
            assert!(listed(place, &other).is_empty() && listed(place, &index).is_empty());
        }

        // All platforms.
        let of_all = about(&registry(&from, "x:1.0"), &index, "signature");
        let sink = LayoutDir::create(&layout, Some("all")).unwrap();
        copy(&registry(&from, "x:1.0"), &sink, None, Referrers::Kept, &Quiet).unwrap();
        let all = OciLayout::open(&layout, Some("all")).unwrap();
        assert_eq!((all.top().unwrap().digest, listed(&all, &index)), (index.digest.clone(), digests([&of_all])));
        // Or none of it.
        let sink = LayoutDir::create(&dir.path().join("none"), Some("1.0")).unwrap();
        copy(&registry(&from, "x:1.0"), &sink, Some(&host), Referrers::LeftOut, &Quiet).unwrap();
        assert_eq!(index_of(&dir.path().join("none")).len(), 1);
    }
}

#[test]
fn a_list_by_its_tag_in_a_layout_counts_too() {
    let dir = tempfile::tempdir().unwrap();
    let host = Platform::host();
    let sink = LayoutDir::create(dir.path(), Some("1.0")).unwrap();
    let ours = image(&sink, &host.architecture);
    let signature = about(&sink, &ours, "signature");
    let list = put(&sink, media_type::INDEX, &serde_json::to_vec(&Index::new(vec![signature.clone()])).unwrap());
    sink.finish(&ours).unwrap();
    let tag = ours.digest.to_string().replace(':', "-");
    let sink = LayoutDir::create(dir.path(), Some(&tag)).unwrap();
    sink.finish(&list).unwrap();
    assert_eq!(listed(&OciLayout::open(dir.path(), Some("1.0")).unwrap(), &ours), digests([&signature]));
}

#[test]
fn lists_that_lie_are_refused_and_leave_nothing() {
    let host = Platform::host();
    let (server, held) = start(Faults::default());
    let source = registry(&server, "x:1.0");
    let ours = image(&source, &host.architecture);
    source.finish(&ours).unwrap();
    let other = image(&source, "mips");
    let elsewhere = about(&source, &other, "signature");
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("a/b/layout");
    let refused = |entries: Vec<Value>, rule: &str| {
        held.lock().unwrap().referrers.insert(ours.digest.to_string(), entries);
        let sink = LayoutDir::create(&layout, Some("1.0")).unwrap();
        let copied = copy(&registry(&server, "x:1.0"), &sink, Some(&host), Referrers::Kept, &Quiet);
        let error = copied.unwrap_err().to_string();
        assert!(error.contains(rule), "{error} does not say {rule}");
        drop(sink);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{rule}");
    };
    let entry = |one: &Descriptor| serde_json::to_value(one).unwrap();
    refused(vec![entry(&elsewhere)], "does not say so itself");
    refused(vec![json!({"mediaType": "text/plain", "digest": other.digest, "size": 1})], "\"text/plain\"");
    let lost = Descriptor::of(media_type::MANIFEST, b"lost");
    refused(vec![entry(&lost)], "no manifest");
    let grown = Descriptor { size: elsewhere.size + 1, ..elsewhere.clone() };
    refused(vec![entry(&grown)], "ends after");
    refused(vec![entry(&elsewhere); 1001], "more than 1000");

    let endless = Server::start(move |asked| match asked.path.contains("/referrers/") {
        true => answer(200).with("link", "</v2/x/referrers/again>; rel=\"next\"").body(r#"{"schemaVersion":2}"#),
        false => answer(404),
    });
    let error = registry(&endless, "x:1.0").referrers(&ours.digest).unwrap_err().to_string();
    assert!(error.contains("more than 64 pages"), "{error}");
}

/// Puts what cosign makes: it says nowhere what it is about but in its tag.
fn tagged(sink: &Registry, subject: &Descriptor, content: &str) -> (String, Descriptor) {
    let layer = put(sink, "text/plain", content.as_bytes());
    let manifest = Manifest::new(put(sink, media_type::CONFIG, b"{}"), vec![layer]);
    let signature = put(sink, media_type::MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    let tag = format!("{}.sig", subject.digest.to_string().replace(':', "-"));
    let named = Descriptor { annotations: [(REF_NAME.to_owned(), tag.clone())].into(), ..signature.clone() };
    sink.refer(&subject.digest, &named).unwrap();
    (tag, signature)
}

fn tag_of(place: &dyn Source, tag: &str) -> Option<Digest> {
    place.tagged(tag).unwrap().map(|found| found.digest)
}

#[test]
fn what_only_a_tag_stands_for_goes_along() {
    let host = Platform::host();
    let (from, _) = start(Faults::default());
    let source = registry(&from, "x:1.0");
    let ours = image(&source, &host.architecture);
    source.finish(&ours).unwrap();
    let (tag, _) = tagged(&source, &ours, "old");
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    let take = || {
        let sink = LayoutDir::create(&layout, Some("1.0")).unwrap();
        copy(&registry(&from, "x:1.0"), &sink, None, Referrers::Kept, &Quiet).unwrap();
    };
    take();
    // Signed again: the tag is of the new signature everywhere.
    let (_, signature) = tagged(&source, &ours, "new");
    take();
    assert_eq!(count_referrers(&source, &host).unwrap(), 1);
    assert_eq!(index_of(&layout).len(), 2, "{:?}", index_of(&layout));
    let source = OciLayout::open(&layout, None).expect("a signature is no second image");
    assert_eq!(tag_of(&source, &tag), Some(signature.digest.clone()));
    let (to, held) = start(Faults::default());
    copy(&source, &registry(&to, "x:copy"), None, Referrers::Kept, &Quiet).unwrap();
    {
        let held = held.lock().unwrap();
        assert_eq!(held.manifests[&tag], held.manifests[&signature.digest.to_string()]);
    }
    assert_eq!(registry(&to, "x:copy").top().unwrap().digest, ours.digest);
}

#[test]
fn the_store_keeps_them_with_the_image() {
    let host = Platform::host();
    for no_referrers in [false, true] {
        let f = Fixture::new();
        let (server, held) = start(Faults { no_referrers, ..Faults::default() });
        let source = registry(&server, "x:1.0");
        let ours = image(&source, &host.architecture);
        source.finish(&ours).unwrap();
        let fetch = || {
            let source = registry(&server, "x:1.0");
            let stored = f.store.import_oci(&source, &host, "docker://localhost/x:1.0", &Quiet).unwrap();
            f.store.import_about(&stored.id, &source, &Quiet).unwrap();
            f.store.get(&stored.id).unwrap()
        };
        let bare = fetch();
        let parts = about(&source, &ours, "parts");
        let signed_parts = about(&source, &parts, "signature");
        fetch();
        let (tag, signature) = tagged(&source, &ours, "signed");
        let stored = fetch();
        let usage = f.store.usage().unwrap();
        assert!(stored.size > bare.size + parts.size + signed_parts.size + signature.size, "{stored:?}");
        assert_eq!((f.store.list().unwrap()[0].size, usage.total), (stored.size, usage.images[0].freed));
        let check = |place: &dyn Source| {
            assert_eq!(listed(place, &ours), digests([&parts]));
            assert_eq!(listed(place, &parts), digests([&signed_parts]));
            assert_eq!(tag_of(place, &tag), Some(signature.digest.clone()));
        };
        let oci = f.store.oci(&stored.id).unwrap().unwrap();
        check(&oci);
        assert_eq!(f.store.gc(&[]).unwrap(), appc_image::store::Report::default());
        // Given out again, into an archive and from there into another store.
        let archive = f.dir.path().join("archive");
        let sink = LayoutArchive::create(&archive, Some("1.0")).unwrap();
        copy(&oci, &sink, None, Referrers::Kept, &Quiet).unwrap();
        let archive = OciLayout::open_archive(&archive, None).unwrap();
        check(&archive);
        let other = Fixture::new();
        let again = other.store.import_oci(&archive, &host, "oci-archive:x:1.0", &Quiet).unwrap();
        other.store.import_about(&again.id, &archive, &Quiet).unwrap();
        check(&other.store.oci(&again.id).unwrap().unwrap());

        // What a place lacks is not forgotten, and what is damaged is named, and mended by fetching.
        held.lock().unwrap().referrers.clear();
        held.lock().unwrap().manifests.retain(|name, _| !name.starts_with("sha256-"));
        fetch();
        check(&f.store.oci(&stored.id).unwrap().unwrap());
        fs::write(f.store.oci_blob(&parts.digest), "spoilt").unwrap();
        let faults = f.store.verify(&stored.id, &Quiet).unwrap().faults;
        assert!(faults.len() == 1 && faults[0].part == format!("blob {}", parts.digest), "{faults:?}");
        f.store.import_about(&stored.id, &archive, &Quiet).unwrap();
        assert_eq!(f.store.verify(&stored.id, &Quiet).unwrap().faults, []);
        drop(oci);
        f.store.remove(&stored.id).unwrap();
        assert_eq!(f.names(), Vec::<String>::new());
        assert_eq!(fs::read_dir(f.data().join("store/blobs/sha256")).unwrap().count(), 0);
    }
}

#[test]
fn the_store_takes_nothing_of_what_lies() {
    let host = Platform::host();
    let f = Fixture::new();
    let (server, held) = start(Faults::default());
    let source = registry(&server, "x:1.0");
    let ours = image(&source, &host.architecture);
    source.finish(&ours).unwrap();
    let stored = f.store.import_oci(&source, &host, "docker://localhost/x:1.0", &Quiet).unwrap();
    let good = about(&source, &ours, "signature");
    let elsewhere = about(&source, &image(&source, "mips"), "signature");
    let refused = |entry: Descriptor, rule: &str| {
        let entries = vec![serde_json::to_value(&good).unwrap(), serde_json::to_value(entry).unwrap()];
        held.lock().unwrap().referrers.insert(ours.digest.to_string(), entries);
        let error = f.store.import_about(&stored.id, &registry(&server, "x:1.0"), &Quiet).unwrap_err().to_string();
        assert!(error.contains(rule), "{error} does not say {rule}");
        assert_eq!(f.store.get(&stored.id).unwrap().size, stored.size);
        assert_eq!(fs::read_dir(f.data().join("store/blobs/sha256")).unwrap().count(), 3, "{rule}");
        assert_eq!(fs::read_dir(f.data().join("tmp")).unwrap().count(), 0, "{rule}");
    };
    refused(elsewhere, "does not say so itself");
    // Larger than signatures are: of what it names nothing is asked.
    let mut endless = Manifest::new(put(&source, media_type::EMPTY, b"{}"), Vec::new());
    endless.layers = vec![Descriptor::new("text/plain", Digest::of(b"endless"), 300 << 20)];
    endless.subject = Some(ours.bare());
    let endless = put(&source, media_type::MANIFEST, &serde_json::to_vec(&endless).unwrap());
    refused(endless, "268435456 bytes");
}

#[test]
fn a_list_that_somebody_else_wrote_over_is_mended() {
    let host = Platform::host();
    let (server, held) = start(Faults { no_referrers: true, ..Faults::default() });
    let (one, two) = (registry(&server, "x:1.0"), registry(&server, "x:2.0"));
    let ours = image(&one, &host.architecture);
    let tag = ours.digest.to_string().replace(':', "-");
    let first = about(&one, &ours, "signature");
    // The other had read the list before that, and writes what it knows.
    held.lock().unwrap().manifests.remove(&tag);
    let second = about(&two, &ours, "parts");
    assert_eq!(listed(&two, &ours), digests([&second]));
    one.finish(&ours).unwrap();
    two.finish(&ours).unwrap();
    assert_eq!(listed(&registry(&server, "x:1.0"), &ours), digests([&first, &second]));
}

#[test]
fn what_is_not_there_costs_no_connection() {
    let held = std::sync::Mutex::default();
    let faults = Faults { no_referrers: true, ..Faults::default() };
    let server = Server::start(move |asked| {
        let answer = respond(asked, &mut held.lock().unwrap(), &faults);
        if answer.status == 404 { answer.body("there is no such thing") } else { answer }
    });
    let source = registry(&server, "x:1.0");
    let nothing = Digest::of(b"nothing");
    assert!(source.referrers(&nothing).unwrap().is_empty());
    for tag in ["a", "b", "c"] {
        assert_eq!(source.tagged(tag).unwrap(), None);
    }
    // The first tries TLS.
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::Relaxed), 2, "{:?}", server.lines());
}

#[test]
fn what_is_about_an_index_goes_along_with_one_of_its_images() {
    let host = Platform::host();
    for no_referrers in [false, true] {
        let f = Fixture::new();
        let (from, _) = start(Faults { no_referrers, ..Faults::default() });
        let source = registry(&from, "x:1.0");
        let (ours, other) = (image(&source, &host.architecture), image(&source, "mips"));
        let bytes = serde_json::to_vec(&Index::new(vec![ours.clone(), other.clone()])).unwrap();
        let index = put(&source, media_type::INDEX, &bytes);
        source.finish(&index).unwrap();
        let signature = about(&source, &index, "signature");
        let of_signature = about(&source, &signature, "time");
        let (tag, by_tag) = tagged(&source, &index, "signed");
        assert_eq!(count_referrers(&registry(&from, "x:1.0"), &host).unwrap(), 3);
        let check = |place: &dyn Source| {
            assert_eq!(listed(place, &index), digests([&signature]));
            assert_eq!(listed(place, &signature), digests([&of_signature]));
            assert_eq!(tag_of(place, &tag), Some(by_tag.digest.clone()));
            let kept = place.referrers(&ours.digest).unwrap();
            assert_eq!(kept.len(), 1, "{kept:?}");
            let artifact: Manifest = serde_json::from_slice(&small(place, &kept[0]).unwrap()).unwrap();
            assert_eq!(small(place, &artifact.layers[0]).unwrap(), bytes, "the index, to be compared with its digest");
        };
        // Into the store, twice, from there into a layout, an archive, another registry, and the store again.
        for _ in 0..2 {
            let source = registry(&from, "x:1.0");
            let stored = f.store.import_oci(&source, &host, "docker://localhost/x:1.0", &Quiet).unwrap();
            f.store.import_about(&stored.id, &source, &Quiet).unwrap();
        }
        let id = f.store.list().unwrap()[0].id.clone();
        let oci = f.store.oci(&id).unwrap().unwrap();
        check(&oci);
        assert_eq!(f.store.verify(&id, &Quiet).unwrap().faults, []);
        let (layout, archive) = (f.dir.path().join("layout"), f.dir.path().join("archive"));
        let sink = LayoutDir::create(&layout, Some("1.0")).unwrap();
        copy(&oci, &sink, None, Referrers::Kept, &Quiet).unwrap();
        let layout = OciLayout::open(&layout, None).unwrap();
        check(&layout);
        let sink = LayoutArchive::create(&archive, Some("1.0")).unwrap();
        copy(&layout, &sink, Some(&host), Referrers::Kept, &Quiet).unwrap();
        let archive = OciLayout::open_archive(&archive, None).unwrap();
        check(&archive);
        let (to, _) = start(Faults { no_referrers: !no_referrers, ..Faults::default() });
        copy(&archive, &registry(&to, "x:copy"), None, Referrers::Kept, &Quiet).unwrap();
        check(&registry(&to, "x:copy"));
        // The same without the way through the store.
        let direct = f.dir.path().join("direct");
        let sink = LayoutDir::create(&direct, Some("1.0")).unwrap();
        copy(&registry(&from, "x:1.0"), &sink, Some(&host), Referrers::Kept, &Quiet).unwrap();
        check(&OciLayout::open(&direct, None).unwrap());
        assert_eq!(index_of(&direct), index_of(&f.dir.path().join("layout")));
        drop(oci);
        f.store.remove(&id).unwrap();
        assert_eq!(fs::read_dir(f.data().join("store/blobs/sha256")).unwrap().count(), 0);
    }
}
