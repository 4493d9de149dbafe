//! Dependencies become layers, and path whitelists trees.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use appc_image::render::{Rendered, layers};
use appc_image::store::{Fault, Repair, Report, StoredImage};
use appc_image::{Error, Quiet};

mod support;
use support::Fixture;

fn depends(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{{\"imageName\":\"{name}\"}}")).collect();
    format!("\"dependencies\":[{}]", names.join(","))
}

fn whitelist(paths: &[&str]) -> String {
    format!("\"pathWhitelist\":{}", serde_json::to_string(paths).unwrap())
}

/// The names of the images, bottom first.
fn order(f: &Fixture, rendered: &Rendered) -> String {
    rendered.images.iter().map(|id| f.store.get(id).unwrap().manifest.name.to_string()).collect()
}

/// Every path of a tree with what it is: `d`, `-> target`, or the content.
fn listing(root: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, lines: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display();
            let stat = fs::symlink_metadata(&path).unwrap();
            if stat.is_dir() {
                lines.push(format!("{name} d"));
                walk(root, &path, lines);
            } else if stat.is_symlink() {
                lines.push(format!("{name} ->{}", fs::read_link(&path).unwrap().display()));
            } else {
                lines.push(format!("{name} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort();
    lines
}

/// The tree of an image that has a whitelist.
fn rendered_tree(f: &Fixture, image: &StoredImage) -> Vec<String> {
    let rendered = layers(&f.store, image).unwrap();
    assert_eq!(rendered.lower.len(), 1);
    listing(&rendered.lower[0])
}

fn refusal(f: &Fixture, image: &StoredImage) -> String {
    let error = layers(&f.store, image).unwrap_err();
    assert!(matches!(error, Error::Dependency { .. }), "{error}");
    error.to_string()
}

#[test]
fn the_example_of_the_specification() {
    let f = Fixture::new();
    f.import("d", "", &[]);
    f.import("b", "", &[]);
    f.import("c", &depends(&["d"]), &[]);
    let a = f.import("a", &depends(&["b", "c"]), &[]);
    let rendered = layers(&f.store, &a).unwrap();
    assert_eq!(order(&f, &rendered), "bdca");
    let trees: Vec<_> = rendered.images.iter().map(|id| f.store.tree(id)).collect();
    assert_eq!(rendered.lower, trees);
}

#[test]
fn of_a_diamond_the_topmost_occurrence_stays() {
    let f = Fixture::new();
    f.import("d", "", &[("x", "d")]);
    f.import("b", &depends(&["d"]), &[("x", "b")]);
    f.import("c", &depends(&["d"]), &[]);
    // d, b, d, c, a: what b overwrites is overwritten by the second d.
    let a = f.import("a", &depends(&["b", "c"]), &[]);
    assert_eq!(order(&f, &layers(&f.store, &a).unwrap()), "bdca");
    let merged = f.import("m", &format!("{},{}", depends(&["b", "c"]), whitelist(&["/x"])), &[]);
    assert_eq!(rendered_tree(&f, &merged), ["x d"]);
}

#[test]
fn a_ladder_of_diamonds_takes_no_time() {
    let f = Fixture::new();
    f.import("l0", "", &[]);
    f.import("r0", "", &[]);
    for n in 1..30 {
        let below = [format!("l{}", n - 1), format!("r{}", n - 1)];
        for side in ["l", "r"] {
            f.import(&format!("{side}{n}"), &depends(&[&below[0], &below[1]]), &[]);
        }
    }
    let top = f.import("top", &depends(&["l29", "r29"]), &[]);
    assert_eq!(layers(&f.store, &top).unwrap().images.len(), 61);
}

#[test]
fn a_dependency_must_be_what_the_manifest_says() {
    let f = Fixture::new();
    let missing = f.import("a", &depends(&["example.com/b"]), &[]);
    assert_eq!(
        refusal(&f, &missing),
        "dependency example.com/b of a is not in the store: fetch it with `rkt fetch FILE`"
    );
    let b = f.import("b", r#""labels":[{"name":"version","value":"1"}]"#, &[]);
    let on_b = |name: &str, rest: String| {
        let text = format!(r#""dependencies":[{{"imageName":"b",{rest}}}]"#);
        f.import(name, &text, &[])
    };
    let labels = on_b("l", r#""labels":[{"name":"version","value":"2"}]"#.into());
    assert!(refusal(&f, &labels).contains("b:2"), "{}", refusal(&f, &labels));
    let absent = on_b("n", r#""labels":[{"name":"arch","value":"amd64"}]"#.into());
    assert!(refusal(&f, &absent).contains("is not in the store"));
    let id = on_b("i", format!(r#""imageID":"sha512-{}""#, "0".repeat(128)));
    let rule = format!("must have the image ID sha512-000000000000, what is in the store has {}:", b.id.short());
    assert!(refusal(&f, &id).contains(&rule), "{}", refusal(&f, &id));
    let nowhere =
        f.import("w", &format!(r#""dependencies":[{{"imageName":"c","imageID":"sha512-{}"}}]"#, "0".repeat(128)), &[]);
    assert!(refusal(&f, &nowhere).contains("is not in the store with the image ID sha512-000000000000:"));
    let both = on_b("o", format!(r#""imageID":"{}","labels":[{{"name":"version","value":"2"}}]"#, b.id));
    assert!(refusal(&f, &both).contains("not these labels"));
    let another = format!(r#""dependencies":[{{"imageName":"example.com/c","imageID":"{}"}}]"#, b.id);
    let name = f.import("e", &another, &[]);
    assert!(
        refusal(&f, &name).starts_with("dependency example.com/c of e has the image ID "),
        "{}",
        refusal(&f, &name)
    );
    let size = on_b("s", format!(r#""size":{}"#, b.size + 1));
    assert!(refusal(&f, &size).contains(&format!("must have {} bytes, the stored image has {}", b.size + 1, b.size)));
    let right =
        on_b("r", format!(r#""imageID":"{}","size":{},"labels":[{{"name":"version","value":"1"}}]"#, b.id, b.size));
    assert_eq!(order(&f, &layers(&f.store, &right).unwrap()), "br");
    // Also further down.
    let above = f.import("above", &depends(&["i"]), &[]);
    assert!(refusal(&f, &above).starts_with("dependency b of i "));
}

#[test]
fn cycles_are_named() {
    let f = Fixture::new();
    let alone = f.import("alone", &depends(&["alone"]), &[]);
    assert_eq!(refusal(&f, &alone), "dependency alone of alone depends on itself: alone → alone");
    f.import("b", &depends(&["c"]), &[]);
    f.import("c", &depends(&["b"]), &[]);
    let a = f.import("a", &depends(&["b"]), &[]);
    assert_eq!(refusal(&f, &a), "dependency b of c depends on itself: b → c → b");
}

#[test]
fn a_whitelist_leaves_what_it_lists_and_the_way_there() {
    let f = Fixture::new();
    f.import(
        "base",
        "",
        &[("bin/sh", "shell"), ("bin/ls", "ls"), ("etc/a", "a"), ("opt/x/y", "y"), ("lib", "->usr/lib")],
    );
    let list = ["/bin/sh", "etc/", "/opt", "/new/empty/", "/missing", "/missing/too", "/lib", "/lib/x", "//bin/./own"];
    let rest = format!("{},{}", depends(&["base"]), whitelist(&list));
    let image = f.import("app", &rest, &[("bin/own", "own"), ("usr/lib/x", "behind a link")]);
    let expected = ["bin d", "bin/own own", "bin/sh shell", "etc d", "lib ->usr/lib", "new d", "new/empty d", "opt d"];
    assert_eq!(rendered_tree(&f, &image), expected);
}

#[test]
fn whitelists_of_an_image_and_of_those_above_it_both_hold() {
    let f = Fixture::new();
    f.import("low", &whitelist(&["/a", "/b"]), &[("a", "1"), ("b", "1"), ("c", "1")]);
    let middle = f.import("middle", &depends(&["low"]), &[("d", "2")]);
    let top = f.import("top", &format!("{},{}", depends(&["middle"]), whitelist(&["/b", "/c", "/d"])), &[]);
    assert_eq!(rendered_tree(&f, &top), ["b 1", "d 2"]);
    // Without a whitelist of its own, an image is stacked on the merged tree of its dependency.
    let rendered = layers(&f.store, &middle).unwrap();
    assert_eq!(listing(&rendered.lower[0]), ["a 1", "b 1"]);
    assert_eq!(rendered.lower[1], f.store.tree(&middle.id));
}

#[test]
fn upper_images_replace_whatever_is_below() {
    let f = Fixture::new();
    f.import("low", "", &[("link", "->dir"), ("dir/inside", "low"), ("was/dir", "low"), ("file", "low")]);
    let list = ["/link", "/link/inside", "/dir/inside", "/was", "/was/dir", "/file/now"];
    let rest = format!("{},{}", depends(&["low"]), whitelist(&list));
    let files = [("link/inside", "upper"), ("was", "a file"), ("file/now", "dir")];
    let image = f.import("app", &rest, &files);
    let expected = ["dir d", "dir/inside low", "file d", "file/now dir", "link d", "link/inside upper", "was a file"];
    assert_eq!(rendered_tree(&f, &image), expected);
    // What hides something hides it also when it is not listed itself.
    let rest = format!("{},{}", depends(&["low"]), whitelist(&["/was/dir"]));
    let hidden = f.import("hidden", &rest, &files);
    assert!(rendered_tree(&f, &hidden).is_empty());
}

#[test]
fn merged_trees_share_files_and_keep_directories_as_they_are() {
    let f = Fixture::new();
    let scratch = f.dir.path().join("scratch");
    support::make_tree(&scratch, &[("private/file", "x")]);
    fs::set_permissions(scratch.join("private"), fs::Permissions::from_mode(0o2710)).unwrap();
    let path = f.dir.path().join("low.aci");
    let root = appc_rooted::Root::open(&scratch).unwrap();
    let options = Default::default();
    let manifest = support::manifest("low", &whitelist(&["/private/file"]));
    appc_image::archive::write(
        manifest.as_bytes(),
        &root,
        fs::File::create(&path).unwrap(),
        &options,
        &appc_image::Quiet,
    )
    .unwrap();
    let low = f.store.import(fs::File::open(&path).unwrap(), "low", &appc_image::Quiet).unwrap();
    let rendered = layers(&f.store, &low).unwrap();
    let (own, merged) = (f.store.tree(&low.id), &rendered.lower[0]);
    let stat = |path: &Path| fs::metadata(path).unwrap();
    assert_eq!(stat(&own.join("private/file")).ino(), stat(&merged.join("private/file")).ino());
    for dir in ["private", ""] {
        let (own, merged) = (stat(&own.join(dir)), stat(&merged.join(dir)));
        let of = |stat: &fs::Metadata| (stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec());
        assert_eq!(of(&own), of(&merged), "{dir:?}");
    }
}

#[test]
fn a_merged_tree_is_made_once_and_goes_with_its_images() {
    let f = Fixture::new();
    let base = f.import("base", "", &[("x", "1")]);
    let app = f.import("app", &format!("{},{}", depends(&["base"]), whitelist(&["/x"])), &[]);
    let rendered = layers(&f.store, &app).unwrap();
    let tree = rendered.lower[0].clone();
    let inode = || fs::metadata(&tree).unwrap().ino();
    let before = inode();
    layers(&f.store, &app).unwrap();
    assert_eq!(inode(), before);
    // In use, then named as in use, then not.
    assert!(matches!(f.store.remove(&base.id), Err(Error::InUse(_))));
    assert_eq!(f.store.gc(&[]).unwrap(), Report::default());
    drop(rendered);
    assert_eq!(f.store.gc(std::slice::from_ref(&app.id)).unwrap(), Report::default());
    assert_eq!(f.store.gc(&[]).unwrap(), Report { rendered: 1, ..Report::default() });
    assert!(!tree.exists());
    layers(&f.store, &app).unwrap();
    // As a killed gc leaves it.
    let list = tree.with_file_name("images");
    fs::remove_file(&list).unwrap();
    fs::remove_file(tree.join("x")).unwrap();
    layers(&f.store, &app).unwrap();
    assert!(tree.join("x").exists() && list.exists());
    f.store.remove(&base.id).unwrap();
    assert!(!tree.exists());
}

#[test]
fn a_merged_tree_that_is_damaged_is_found_and_made_again() {
    let f = Fixture::new();
    let base = f.import("base", "", &[("a/x", "x"), ("a/y", "y"), ("b", "b")]);
    let rest = format!("{},{}", depends(&["base"]), whitelist(&["/a/x", "/a/y"]));
    let image = f.import("app", &rest, &[]);
    let tree = layers(&f.store, &image).unwrap().lower.remove(0);
    let verify = || f.store.verify(&image.id, &Quiet).unwrap();
    assert_eq!((verify().faults, verify().repair), (vec![], None));

    fs::remove_file(tree.join("a/y")).unwrap();
    fs::write(tree.join("a/new"), "new").unwrap();
    let pin = f.store.pin([&image.id]).unwrap();
    let found = verify();
    assert!(found.faults.iter().all(|fault| fault.part == "rendered tree" && fault.is_of_tree()), "{found:?}");
    for (path, what) in [("/a/new", "added"), ("/a/y", "removed")] {
        let is_it = |fault: &Fault| fault.path.as_deref() == Some(path) && fault.what == what;
        assert!(found.faults.iter().any(is_it), "{path}: {found:?}");
    }
    assert_eq!(found.repair, Some(Repair::InUse));
    drop(pin);
    assert_eq!(verify().repair, Some(Repair::Rebuilt));
    assert_eq!(rendered_tree(&f, &image), ["a d", "a/x x", "a/y y"]);
    assert_eq!(verify().faults, []);
    // Images that were removed tell nothing of what was made of them.
    f.store.remove(&base.id).unwrap();
    assert_eq!(verify().faults, []);
}
