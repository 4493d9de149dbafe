//! `acbuild convert`, and what other programs make of what it writes and it of what they write.

use std::fs;

use serde_json::{Value, json};
use support::tree::{self, Tree};
use support::{Cmd, Scratch, busybox_image, needs};

/// A tool by others, in the test's folder.
fn tool(scratch: &Scratch, name: &str, args: &[&str]) -> Cmd {
    Cmd::new(name).args(args).cwd(scratch.work())
}

fn convert(scratch: &Scratch, args: &[&str]) -> String {
    scratch.acbuild(["convert"].iter().chain(args)).ok().text().to_owned()
}

fn id_of(scratch: &Scratch, aci: &str) -> String {
    scratch.rkt(["fetch", "--full", aci]).ok().text().to_owned()
}

fn image(scratch: &Scratch) {
    let commands = ["set-exec -- /bin/echo converted", "environment add A 1", "label add version 1.0"];
    busybox_image(scratch, "app", "example.com/app", &commands);
}

#[test]
fn an_image_comes_back_with_its_id_by_every_way() {
    needs!("busybox");
    let scratch = Scratch::new();
    image(&scratch);
    let id = id_of(&scratch, "./app.aci");
    for way in ["oci:layout:1.0", "oci-archive:layout.tar:1.0", "docker-archive:docker.tar:example/app:1.0"] {
        let digest = convert(&scratch, &["app.aci", way]);
        assert!(digest.starts_with("sha256:"), "{digest}");
        assert_eq!(convert(&scratch, &["--overwrite", way, "back.aci"]), id, "{way}");
        assert_eq!(id_of(&scratch, "./back.aci"), id, "{way}");
    }
    // From the store, too, and nothing depends on the day.
    let digest = convert(&scratch, &["example.com/app:1.0", "oci:again"]);
    assert_eq!(digest, convert(&scratch, &["app.aci", "oci:again"]));
}

#[test]
fn an_archive_is_compressed_in_another_way() {
    needs!("busybox");
    let scratch = Scratch::new();
    image(&scratch);
    let read = |name: &str| fs::read(scratch.work().join(name)).expect("it was written");
    let id = convert(&scratch, &["app.aci", "same.aci"]);
    assert_eq!(read("same.aci"), read("app.aci"));
    for kind in ["none", "bzip2", "xz", "zstd"] {
        let name = format!("{kind}.aci");
        assert_eq!(convert(&scratch, &[&format!("--compression={kind}"), "app.aci", &name]), id, "{kind}");
        assert_ne!(read(&name), read("app.aci"));
        assert_eq!(id_of(&scratch, &format!("./{name}")), id, "{kind}");
        assert_eq!(convert(&scratch, &["--overwrite", &name, "back.aci"]), id);
    }
    // Behind an archive that was an OCI image are its layers.
    let layout = convert(&scratch, &["app.aci", "oci:layout"]);
    convert(&scratch, &["oci:layout", "from.aci"]);
    convert(&scratch, &["from.aci", "copied.aci"]);
    assert_eq!(convert(&scratch, &["copied.aci", "oci:again"]), layout);
    scratch.file("text.aci", "no archive");
    scratch.acbuild(["convert", "text.aci", "other.aci"]).refused(1, &["convert: "]);
    assert!(!scratch.work().join("other.aci").exists());
}

#[test]
fn a_large_image_takes_little_memory() {
    needs!("time");
    let scratch = Scratch::new();
    let root = scratch.work().join("root");
    fs::create_dir(&root).expect("the folder is ours");
    fs::File::create(root.join("zeros")).and_then(|file| file.set_len(1 << 30)).expect("a file without blocks");
    for command in ["begin ./root", "set-name example.com/large", "write large.aci"] {
        scratch.acbuild(command.split(' ')).ok();
    }
    for (compression, from, to) in [
        ("gzip", "large.aci", "oci:layout:1"),
        ("zstd", "large.aci", "oci:zstd:1"),
        ("gzip", "oci:layout:1", "back.aci"),
        ("gzip", "oci:layout:1", "bundle:bundle"),
        ("gzip", "oci:zstd:1", "bundle:other"),
    ] {
        let words = ["convert", "--compression", compression, from, to];
        scratch.acbuild(words).under("time", ["-f", "%M", "-o", "peak"]).ok();
        let peak = fs::read_to_string(scratch.work().join("peak")).expect("it was measured");
        let kilobytes: u64 = peak.trim().parse().expect("a number");
        assert!(kilobytes < 90 << 10, "{from} to {to}: {kilobytes} KiB");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    needs!("busybox");
    let scratch = Scratch::new();
    image(&scratch);
    let refused = |args: &[&str], words: &[&str]| {
        scratch.acbuild(["convert"].iter().chain(args)).refused(1, words);
    };
    refused(&["app.aci"], &["incorrect number of arguments"]);
    refused(&["nothing.aci", "oci:x"], &["convert: ", "nothing.aci"]);
    refused(&["oci:nothing", "x.aci"], &["convert: ", "nothing"]);
    convert(&scratch, &["app.aci", "oci:layout"]);
    refused(&["oci:layout", "app.aci"], &["--overwrite"]);
    refused(&["--all-platforms", "oci:layout", "new.aci"], &["--platform"]);
    refused(&["--compression=xz", "app.aci", "oci:other"], &["use gzip, zstd or none"]);
}

#[test]
fn what_is_refused_leaves_nothing() {
    needs!("busybox");
    let scratch = Scratch::new();
    image(&scratch);
    convert(&scratch, &["app.aci", "oci:good:1.0"]);
    let whole = Tree::read(&scratch.work().join("good")).without_folder_times();
    let digest = convert(&scratch, &["app.aci", "oci:bad:1.0"]);
    let manifest = scratch.work().join("bad/blobs").join(digest.replace(':', "/"));
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).expect("it is there")).expect("it is JSON");
    let config = manifest["config"]["digest"].as_str().expect("text");
    fs::remove_file(scratch.work().join("bad/blobs").join(config.replace(':', "/"))).expect("it is there");
    let before = names(&scratch);
    let refused = |source: &str, target: &str, words: &[&str]| {
        scratch.acbuild(["convert", source, target]).refused(1, words);
        assert_eq!(names(&scratch), before, "{source} {target}");
    };
    let nowhere =
        ["oci:new:1.0", "oci:new/below/it:1.0", "oci-archive:new:1.0", "docker-archive:new:x:1.0", "bundle:new"];
    for target in nowhere {
        refused("oci:bad:1.0", target, &["is not there"]);
        refused("nothing.aci", target, &["nothing.aci"]);
    }
    scratch.acbuild(["convert", "--compression=xz", "app.aci", "oci:new"]).refused(1, &["gzip"]);
    // Nor does anything come to what is there.
    refused("oci:bad:1.0", "oci:good:2.0", &["is not there"]);
    assert_eq!(Tree::read(&scratch.work().join("good")).without_folder_times(), whole);
    refused("oci:good:1.0", "oci:good/blobs", &["no OCI layout"]);
    assert_eq!(names(&scratch), before);
}

fn names(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.work()).expect("it is ours").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn archives_that_cannot_be_fetched_are_not_converted_either() {
    let scratch = Scratch::new();
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/odd"}"#;
    let script = "mkdir -p rootfs && echo 1 >rootfs/f && tar cf twice.aci manifest rootfs && tar rf twice.aci rootfs/f
        mkdir layer && ln -s /etc layer/ln && echo >layer/x && tar cf layer.tar -C layer ln &&
        tar rf layer.tar -C layer --transform 's,^,ln/,' x";
    scratch.file("manifest", manifest);
    Cmd::new("sh").args(["-ec", script]).cwd(scratch.work()).ok();
    scratch.rkt(["fetch", "twice.aci"]).refused(254, &["rootfs/f", "twice"]);
    for target in ["oci:out", "docker-archive:out:x:1", "bundle:out"] {
        scratch.acbuild(["convert", "twice.aci", target]).refused(1, &["rootfs/f", "twice"]);
    }
    let layer = fs::read(scratch.work().join("layer.tar")).expect("just made");
    odd_layout(&scratch, &layer);
    scratch.rkt(["fetch", "oci:odd"]).refused(254, &["ln/x"]);
    for target in ["out.aci", "bundle:out"] {
        scratch.acbuild(["convert", "oci:odd", target]).refused(1, &["ln/x", "no directory"]);
    }
}

/// Makes the layout `odd` of an image with this layer.
fn odd_layout(scratch: &Scratch, layer: &[u8]) {
    let put = |content: &[u8], media_type: &str| {
        let hex = tree::sha256(content);
        scratch.file(&format!("odd/blobs/sha256/{hex}"), content);
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len()})
    };
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let layer = put(layer, &oci("layer.v1.tar"));
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = put(config.to_string().as_bytes(), &oci("config.v1+json"));
    let manifest =
        json!({"schemaVersion": 2, "mediaType": oci("manifest.v1+json"), "config": config, "layers": [layer]});
    let manifest = put(manifest.to_string().as_bytes(), &oci("manifest.v1+json"));
    scratch.file("odd/index.json", json!({"schemaVersion": 2, "manifests": [manifest]}).to_string());
    scratch.file("odd/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
}

#[test]
fn dependencies_become_lower_layers() {
    let scratch = Scratch::new();
    let acbuild = |line: &str| scratch.acbuild(line.split(' ')).ok();
    scratch.file("base", "base");
    scratch.file("top", "top");
    for line in ["begin", "set-name example.com/base", "copy base /base", "copy base /both", "write base.aci", "end"] {
        acbuild(line);
    }
    for line in ["begin", "set-name example.com/top", "copy top /both", "copy top /top"] {
        acbuild(line);
    }
    acbuild("dependency add example.com/base");
    acbuild("write top.aci");
    scratch.acbuild(["convert", "top.aci", "oci:layout"]).refused(1, &["example.com/base"]);
    id_of(&scratch, "./base.aci");
    let digest = convert(&scratch, &["top.aci", "oci:layout"]);
    let path = scratch.work().join("layout/blobs").join(digest.replace(':', "/"));
    let manifest: Value = serde_json::from_slice(&fs::read(path).expect("the blob is there")).expect("it is JSON");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2));
    let name = manifest["layers"][0]["annotations"]["io.appc.layer.image-name"].as_str().unwrap_or_default();
    assert!(name.starts_with("example.com/base"), "{name}");
    // It still is the image that depends on the other.
    assert_eq!(convert(&scratch, &["oci:layout", "back.aci"]), id_of(&scratch, "./top.aci"));
}

/// An archive may leave directories out; in the way of one a dependency has a link, which is not followed anywhere.
#[test]
fn directories_without_entries_replace_links_of_dependencies() {
    needs!(root, "umoci");
    let scratch = Scratch::new();
    scratch.file("usr/lib/low", "low");
    scratch.file("rootfs/lib/sub/top", "top");
    let manifest = json!({"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/top",
        "dependencies": [{"imageName": "example.com/base"}]});
    scratch.file("manifest", manifest.to_string());
    let script = "ln -s usr/lib lib; tar cf top.aci --no-recursion manifest rootfs/lib/sub/top";
    Cmd::new("sh").args(["-ec", script]).cwd(scratch.work()).ok();
    for line in ["begin", "set-name example.com/base", "copy usr /usr", "copy lib /lib", "write base.aci", "end"] {
        scratch.acbuild(line.split(' ')).ok();
    }
    id_of(&scratch, "./base.aci");
    convert(&scratch, &["top.aci", "oci:layout:1.0"]);
    assert_eq!(convert(&scratch, &["oci:layout:1.0", "back.aci"]), id_of(&scratch, "./top.aci"));
    tool(&scratch, "umoci", &["unpack", "--image", "layout:1.0", "bundle"]).ok();
    scratch.rkt(["image", "render", "--rootfs-only", "example.com/top", "rendered"]).ok();
    for rootfs in ["bundle/rootfs", "rendered"] {
        let rootfs = scratch.work().join(rootfs);
        assert!(fs::symlink_metadata(rootfs.join("lib")).expect("it is there").is_dir());
        assert!(rootfs.join("lib/sub/top").exists() && rootfs.join("usr/lib/low").exists());
        assert!(!rootfs.join("usr/lib/sub").exists());
    }
}

#[test]
fn a_dependency_with_a_path_whitelist_is_one_layer_with_what_it_lists() {
    let scratch = Scratch::new();
    let acbuild = |line: &str| scratch.acbuild(line.split(' ')).ok();
    for name in ["low", "mid", "side", "top"] {
        scratch.file(name, name);
    }
    for line in ["begin", "set-name example.com/low", "copy low /low", "copy low /hidden", "write low.aci", "end"] {
        acbuild(line);
    }
    acbuild("begin");
    acbuild("set-name example.com/mid");
    acbuild("dependency add example.com/low");
    acbuild("copy mid /mid");
    let manifest = scratch.acbuild(["cat-manifest"]).ok().json();
    let mut manifest = manifest;
    manifest["pathWhitelist"] = json!(["/low", "/mid"]);
    scratch.file("manifest", manifest.to_string());
    acbuild("replace-manifest manifest");
    acbuild("write mid.aci");
    acbuild("end");
    for line in ["begin", "set-name example.com/side", "copy side /hidden", "copy side /side", "write side.aci", "end"]
    {
        acbuild(line);
    }
    for line in ["begin", "set-name example.com/top", "copy top /top", "dependency add example.com/side"] {
        acbuild(line);
    }
    acbuild("dependency add example.com/mid");
    acbuild("write top.aci");
    for aci in ["./low.aci", "./mid.aci", "./side.aci"] {
        id_of(&scratch, aci);
    }
    let digest = convert(&scratch, &["top.aci", "oci:layout"]);
    let path = scratch.work().join("layout/blobs").join(digest.replace(':', "/"));
    let manifest: Value = serde_json::from_slice(&fs::read(path).expect("the blob is there")).expect("it is JSON");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(3));
    assert_eq!(convert(&scratch, &["oci:layout", "back.aci"]), id_of(&scratch, "./top.aci"));
    // What the one below hides the other still has.
    convert(&scratch, &["top.aci", "bundle:bundle"]);
    let rootfs = scratch.work().join("bundle/rootfs");
    let content = |name: &str| fs::read_to_string(rootfs.join(name)).ok();
    let found = ["low", "mid", "side", "top", "hidden"].map(content);
    assert_eq!(found, ["low", "mid", "side", "top", "side"].map(|name| Some(name.to_owned())));
}

#[test]
fn what_the_whitelist_of_one_dependency_hides_stays_hidden() {
    let scratch = Scratch::new();
    let acbuild = |line: &str| scratch.acbuild(line.split(' ')).ok();
    scratch.file("x", "x");
    for line in ["begin", "set-name example.com/low", "copy x /shown", "copy x /hidden"] {
        acbuild(line);
    }
    let mut manifest = scratch.acbuild(["cat-manifest"]).ok().json();
    manifest["pathWhitelist"] = json!(["/shown"]);
    scratch.file("manifest", manifest.to_string());
    for line in
        ["replace-manifest manifest", "write low.aci", "end", "begin", "set-name example.com/top", "copy x /top"]
    {
        acbuild(line);
    }
    for line in ["dependency add example.com/low", "write top.aci", "end"] {
        acbuild(line);
    }
    id_of(&scratch, "./low.aci");
    let id = id_of(&scratch, "./top.aci");
    convert(&scratch, &["top.aci", "oci:layout"]);
    for (source, bundle) in [("top.aci", "of-aci"), ("example.com/top", "of-store"), ("oci:layout", "of-oci")] {
        convert(&scratch, &[source, &format!("bundle:{bundle}")]);
        let names = fs::read_dir(scratch.work().join(bundle).join("rootfs")).expect("it is there");
        let mut names: Vec<_> = names.map(|entry| entry.expect("it is there").file_name()).collect();
        names.sort();
        assert_eq!(names, ["shown", "top"], "{bundle}");
    }
    assert_eq!(convert(&scratch, &["oci:layout", "back.aci"]), id);
}

#[test]
fn the_place_of_a_layout_is_not_of_the_image() {
    needs!("busybox");
    let scratch = Scratch::new();
    image(&scratch);
    convert(&scratch, &["app.aci", "oci:ours"]);
    convert(&scratch, &["oci:ours", "bundle:bundle"]);
    let text = fs::read_to_string(scratch.work().join("bundle/config.json")).expect("it is there");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["annotations"] = json!({});
    fs::write(scratch.work().join("bundle/config.json"), config.to_string()).expect("it is ours");
    convert(&scratch, &["bundle:bundle", "docker-archive:app.tar:x:1"]);
    let here = scratch.work().join("app.tar").display().to_string();
    let ids = ["app.tar", "./app.tar", &here]
        .map(|path| convert(&scratch, &["--overwrite", &format!("docker-archive:{path}"), "out.aci"]));
    assert_eq!((&ids[0], &ids[0]), (&ids[1], &ids[2]));
}

#[test]
fn an_image_that_is_alone_keeps_its_name() {
    let scratch = Scratch::new();
    for words in ["begin", "set-name example.com/app", "write app.aci"] {
        scratch.acbuild(words.split(' ')).ok();
    }
    convert(&scratch, &["app.aci", "oci:one:stable"]);
    for (from, to) in [("oci:one", "oci:two"), ("./two", "oci-archive:three.tar"), ("./three.tar", "oci:four")] {
        convert(&scratch, &[from, to]);
    }
    let index = fs::read_to_string(scratch.work().join("four/index.json")).expect("it is there");
    assert!(index.contains(r#""org.opencontainers.image.ref.name":"stable""#), "{index}");
}

/// An App Container image of nothing, called `example.com/app`, in version `1.0+git`.
fn empty_image(scratch: &Scratch) {
    for line in ["begin", "set-name example.com/app", "label add version 1.0+git", "write app.aci", "end"] {
        scratch.acbuild(line.split(' ')).ok();
    }
}

#[test]
fn archives_for_docker_have_names_that_docker_takes_and_keep_them() {
    let scratch = Scratch::new();
    empty_image(&scratch);
    let names = |file: &str| {
        let list = Cmd::new("tar").args(["-xOf", file, "manifest.json"]).cwd(scratch.work()).ok().json();
        list[0]["RepoTags"].clone()
    };
    convert(&scratch, &["app.aci", "docker-archive:own.tar"]);
    assert_eq!(names("own.tar"), json!(["example.com/app:1.0_git"]));
    convert(&scratch, &["app.aci", "docker-archive:given.tar:team/app"]);
    assert_eq!(names("given.tar"), json!(["team/app:latest"]));
    convert(&scratch, &["./given.tar", "docker-archive:kept.tar"]);
    assert_eq!(names("kept.tar"), json!(["team/app:latest"]));
    scratch.acbuild(["convert", "app.aci", "docker-archive:bad.tar:Team/App:1"]).refused(1, &["lower case"]);
}

#[test]
fn what_was_not_meant_is_not_done() {
    let scratch = Scratch::new();
    empty_image(&scratch);
    convert(&scratch, &["app.aci", "oci:layout"]);
    let refused = |words: &[&str], said: &[&str]| {
        scratch.acbuild([&["convert"], words].concat()).refused(1, said);
    };
    for from in ["app.aci", "oci:layout"] {
        refused(&["--platform=linux/s390x", from, "oci:other"], &[from, "not for linux/s390x"]);
    }
    refused(&["app.aci", "docker://registry.example.com/UP:1"], &["lower case"]);
    refused(&["app.aci", "oci:"], &["a path must follow oci:"]);
    let config = scratch.acbuild(["cat-manifest", "--file=config", "oci:layout"]).ok().json();
    assert_eq!(config["rootfs"]["type"], "layers");

    // Nobody's words in a bundle bring files of the host into an image.
    scratch.file("secret/shadow", "secret");
    scratch.file("bundle/rootfs/f", "f");
    let here = scratch.work().display().to_string();
    for root in ["../secret", &format!("{here}/secret"), "link", "rootfs/../../secret"] {
        let config = json!({"ociVersion": "1.2.0", "process": {"args": ["x"], "cwd": "/"}, "root": {"path": root}});
        scratch.file("bundle/config.json", config.to_string());
        let _ = std::os::unix::fs::symlink("../secret", scratch.work().join("bundle/link"));
        refused(&["bundle:bundle", "leak.aci"], &["bundle"]);
    }
    let config = json!({"ociVersion": "1.2.0", "process": {"args": ["x"], "cwd": "/"}, "root": {"path": format!("{here}/bundle/rootfs")}});
    scratch.file("bundle/config.json", config.to_string());
    convert(&scratch, &["./bundle", "whole.aci"]);
}

#[test]
fn skopeo_takes_it_and_gives_it_back() {
    needs!("busybox", "skopeo");
    let scratch = Scratch::new();
    image(&scratch);
    let id = id_of(&scratch, "./app.aci");
    let digest = convert(&scratch, &["app.aci", "oci:layout:1.0"]);
    let seen = tool(&scratch, "skopeo", &["inspect", "oci:layout:1.0"]).ok().json();
    assert_eq!((&seen["Digest"], &seen["Os"]), (&json!(digest), &json!("linux")));
    let config = tool(&scratch, "skopeo", &["inspect", "--config", "oci:layout:1.0"]).ok().json();
    assert_eq!(config["config"]["Entrypoint"], json!(["/bin/echo", "converted"]));
    let copy = |from: &str, to: &str| tool(&scratch, "skopeo", &["--insecure-policy", "copy", from, to]).ok();
    // Its annotations survive, and with them the image's ID.
    copy("oci:layout:1.0", "oci:copied:1.0");
    assert_eq!(convert(&scratch, &["oci:copied:1.0", "copied.aci"]), id);
    // Docker's format has no annotations: what comes back is an image of the same files.
    convert(&scratch, &["app.aci", "docker-archive:docker.tar:example/app:1.0"]);
    copy("docker-archive:docker.tar", "oci:from-docker:1.0");
    convert(&scratch, &["oci:from-docker:1.0", "from-docker.aci"]);
    let manifest = scratch.rkt(["image", "cat-manifest", &id_of(&scratch, "./from-docker.aci")]).ok().json();
    assert_eq!(manifest["app"]["exec"], json!(["/bin/echo", "converted"]));
    // And what skopeo wrote comes back to it as it was.
    copy("oci:layout:1.0", "docker-archive:saved.tar:example/saved:1.0");
    let digest = convert(&scratch, &["docker-archive:saved.tar", "oci:plain:1.0"]);
    convert(&scratch, &["oci:plain:1.0", "plain.aci"]);
    assert_eq!(convert(&scratch, &["plain.aci", "oci:plain-again:1.0"]), digest);
}

#[test]
fn umoci_unpacks_it_and_runc_runs_it() {
    needs!(root, "busybox", "umoci", "runc");
    let scratch = Scratch::new();
    image(&scratch);
    convert(&scratch, &["app.aci", "oci:layout:1.0"]);
    tool(&scratch, "umoci", &["unpack", "--image", "layout:1.0", "bundle"]).ok();
    // There is no terminal to give it.
    let config = scratch.work().join("bundle/config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).expect("it is there")).expect("it is JSON");
    spec["process"]["terminal"] = json!(false);
    fs::write(&config, spec.to_string()).expect("it can be written");
    let name = format!("convert-{}", std::process::id());
    let ran = tool(&scratch, "runc", &["run", "--no-pivot", "--bundle", "bundle", &name]).run();
    ran.prints(&["converted"]);

    // A layer by umoci, with a deletion, on top of ours.
    let rootfs = scratch.work().join("bundle/rootfs");
    fs::write(rootfs.join("added"), "by umoci").expect("a file can be written");
    fs::remove_file(rootfs.join("bin/ls")).expect("a file can be removed");
    tool(&scratch, "umoci", &["repack", "--image", "layout:2.0", "bundle"]).ok();
    convert(&scratch, &["oci:layout:2.0", "second.aci"]);
    let id = id_of(&scratch, "./second.aci");
    scratch.rkt(["image", "extract", "--rootfs-only", &id, "out"]).ok();
    let out = scratch.work().join("out");
    assert_eq!(fs::read_to_string(out.join("added")).expect("it is there"), "by umoci");
    assert!(fs::symlink_metadata(out.join("bin/ls")).is_err() && out.join("bin/echo").exists());
}
