//! Looking at images and builds, and making and patching images without a build: what actool did.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Scratch, is_root};
use serde_json::{Value, json};

const MANIFEST: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x"}"#;

fn sh(dir: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}");
}

fn layout(scratch: &Scratch) {
    scratch.file("layout/manifest", MANIFEST);
    scratch.file("layout/rootfs/bin/x", "x");
}

fn manifest_of(scratch: &Scratch, file: &str) -> Value {
    serde_json::from_str(&scratch.ok(["cat-manifest", file])).unwrap()
}

#[test]
fn the_manifest_of_any_image_is_printed() {
    let scratch = Scratch::new();
    scratch.file("x/manifest", &format!("{{\n{}", &MANIFEST[1..]));
    fs::create_dir(scratch.path("x/rootfs")).unwrap();
    sh(&scratch.path(""), "tar -C x -cJf x.aci rootfs manifest; tar -C x -cf none.aci rootfs");
    // As it is, and as it is meant.
    assert_eq!(scratch.ok(["cat-manifest", "x.aci"]), format!("{{\n{}", &MANIFEST[1..]));
    assert!(scratch.ok(["cat-manifest", "--pretty-print", "x.aci"]).contains("\n    \"name\": \"example.com/x\""));
    let store = appc_image::store::Store::open(scratch.path("store")).unwrap();
    let file = fs::File::open(scratch.path("x.aci")).unwrap();
    let id = store.import(file, "x.aci", &appc_image::Quiet).unwrap().id.to_string();
    assert_eq!(manifest_of(&scratch, "example.com/x")["name"], "example.com/x");
    assert_eq!(manifest_of(&scratch, &id[..20])["name"], "example.com/x");
    scratch.refused(["cat-manifest", "none.aci"], 1, "none.aci: at byte");
    scratch.refused(["cat-manifest", "./missing.aci"], 1, "cannot open \"./missing.aci\"");
}

#[test]
fn status_shows_the_build() {
    let scratch = Scratch::new();
    scratch.refused(["status"], 1, "status: no build in progress");
    scratch.ok(["begin"]);
    scratch.ok(["set-name", "example.com/s"]);
    scratch.file("f", "12345");
    scratch.ok(["copy", "f", "/a/f"]);
    sh(&scratch.rootfs("a"), "ln f g");
    let before = scratch.state();
    let shown: Value = serde_json::from_str(&scratch.ok(["status", "--format=json"])).unwrap();
    let steps = [r#"acbuild set-name "example.com/s""#, r#"acbuild copy "f" "/a/f""#];
    let wanted = json!({"mode": "appc", "name": "example.com/s", "size": 5, "entries": 3, "steps": steps});
    assert_eq!(shown, wanted);
    let text = scratch.ok(["status"]);
    for words in ["appc", "example.com/s", "5 bytes in 3", steps[0], steps[1]] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(scratch.state(), before);
}

#[test]
fn what_is_valid_is_passed_over_in_silence() {
    let scratch = Scratch::named();
    scratch.ok(["write", "good.aci"]);
    layout(&scratch);
    scratch.file("image.json", MANIFEST);
    scratch.file("pod.json", r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[]}"#);
    assert_eq!(scratch.ok(["validate", "good.aci", "layout", "image.json", "pod.json"]), "");
    let ran = scratch.run(["--debug", "validate", "good.aci", "layout", "image.json", "pod.json"]);
    let wanted = "good.aci: valid app container image\nlayout: valid image layout\n\
                  image.json: valid ImageManifest\npod.json: valid PodManifest\n";
    assert_eq!(ran.stderr, wanted);
    scratch.ok(["validate", "--type=appimage", "good.aci"]);
    scratch.ok(["validate", "--type=layout", "layout"]);
    scratch.ok(["validate", "--type=manifest", "image.json"]);
}

#[test]
fn an_image_is_validated_wherever_it_is() {
    let scratch = Scratch::named();
    scratch.file("f", "content");
    scratch.ok(["copy", "f", "/f"]);
    scratch.ok(["write", "good.aci"]);
    scratch.ok(["convert", "good.aci", "oci:layout:1.0"]);
    scratch.ok(["convert", "good.aci", "oci-archive:oci.tar"]);
    scratch.ok(["convert", "good.aci", "docker-archive:docker.tar:example/test:1.0"]);
    scratch.ok(["convert", "good.aci", "bundle:bundle"]);
    let store = appc_image::store::Store::open(scratch.path("store")).unwrap();
    let id = store.import(fs::File::open(scratch.path("good.aci")).unwrap(), "x", &appc_image::Quiet).unwrap().id;
    for (word, what) in [
        ("example.com/test", "app container image"),
        (&*id.to_string(), "app container image"),
        ("oci:layout:1.0", "OCI image"),
        ("oci-archive:oci.tar", "OCI image"),
        ("docker-archive:docker.tar", "OCI image"),
        ("bundle:bundle", "app container image"),
        ("bundle", "app container image"),
    ] {
        let ran = scratch.run(["--debug", "validate", word]);
        assert_eq!((ran.code, ran.stderr), (Some(0), format!("{word}: valid {what}\n")));
    }
    scratch.ok(["validate", "--type=appimage", "example.com/test"]);
    scratch.refused(["validate", "--type=layout", "example.com/test"], 1, "wrong --type?");
    scratch.refused(["validate", "--type=appimage", "oci:layout:1.0"], 1, "wrong --type?");
    sh(
        &scratch.path("layout/blobs/sha256"),
        "f=$(ls -S | head -1); printf x | dd of=$f bs=1 seek=40 conv=notrunc status=none",
    );
    scratch.refused(["validate", "oci:layout:1.0"], 1, "validate: oci:layout:1.0: invalid OCI image: ");
}

#[test]
fn what_is_not_valid_is_named() {
    let scratch = Scratch::new();
    layout(&scratch);
    sh(
        &scratch.path(""),
        r#"tar -C layout -cf twice.aci manifest rootfs rootfs/bin/x
        tar -C layout -cf no-rootfs.aci manifest; tar -C layout -cf no-manifest.aci rootfs
        cp -r layout more; mv more/rootfs more/rootfsx; tar -C more -cf more.aci manifest rootfsx
        cp -r layout bad; echo '{"acKind":"ImageManifest"}' > bad/manifest; tar -C bad -cf bad.aci manifest rootfs
        tar -C layout -czf cut.aci manifest rootfs; truncate -s -20 cut.aci
        mkdir linked; cp layout/manifest linked; ln -s ../layout/rootfs linked/rootfs
        echo text > text; echo '{' > broken.json; echo '{"acKind":"Other"}' > other.json; touch empty"#,
    );
    let cases: &[(&[&str], &str)] = &[
        (&["twice.aci"], "validate: twice.aci: invalid app container image: archive entry \"rootfs/bin/x\""),
        (&["no-rootfs.aci"], "the archive ends without a rootfs"),
        (&["no-manifest.aci"], "the archive ends without a manifest"),
        (&["more.aci"], "an image holds `manifest` and `rootfs` and nothing else at its top"),
        (&["bad.aci"], "bad.aci: invalid app container image: bad image manifest: acVersion: acVersion must be set"),
        (&["bad"], "bad: invalid image layout: bad image manifest"),
        (&["cut.aci"], "cut short"),
        (&["more"], "more: invalid image layout: more: unrecognized file path in layout: \"rootfsx\""),
        (&["linked"], "rootfs is not a directory"),
        (&["text"], "text: unable to detect filetype (try --type)"),
        (&["empty"], "empty: unable to detect filetype (try --type)"),
        (&["broken.json"], "broken.json: error unmarshaling manifest: "),
        (&["other.json"], "acKind must be ImageManifest or PodManifest, found \"Other\""),
        (&["missing"], "validate: unable to access missing: "),
        (&["./missing.aci"], "validate: unable to access ./missing.aci: "),
        (&["oci:missing"], "missing"),
        (&["docker:user:secret@registry.example.com/x"], "validate: docker://registry.example.com/x: "),
        (&["--type=manifest", "layout"], "layout is a directory (wrong --type?)"),
        (&["--type=layout", "text"], "it is not a directory (wrong --type?)"),
    ];
    for (args, words) in cases {
        scratch.refused([&["validate"], *args].concat(), 1, words);
    }
    let several = scratch.run(["validate", "text", "layout", "missing"]);
    assert_eq!((several.code, several.stderr.lines().count()), (Some(1), 2), "{several:#?}");
    assert_eq!(scratch.run(["validate"]).code, Some(1));
    assert_eq!(scratch.run(["validate", "--type=none", "text"]).code, Some(3));
}

#[test]
fn an_image_is_built_of_a_layout() {
    let scratch = Scratch::new();
    layout(&scratch);
    if is_root() {
        sh(&scratch.path("layout"), "chown 3:4 rootfs/bin/x");
    }
    assert_eq!(scratch.ok(["build", "layout", "x.aci"]), "");
    assert_eq!(scratch.ok(["cat-manifest", "x.aci"]), MANIFEST);
    let first = fs::read(scratch.path("x.aci")).unwrap();
    assert_eq!(first[..2], [0x1f, 0x8b]);
    scratch.refused(["build", "layout", "x.aci"], 1, "already exists: x.aci - use --overwrite to replace it");
    scratch.ok(["build", "--overwrite", "layout", "x.aci"]);
    assert_eq!(fs::read(scratch.path("x.aci")).unwrap(), first);
    scratch.ok(["build", "--no-compression", "--owner-root", "layout", "root.aci"]);
    let list = Command::new("tar").args(["--numeric-owner", "-tvf", "root.aci"]).current_dir(scratch.path("")).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    assert!(list.contains("rootfs/bin/x") && list.lines().all(|line| line.contains(" 0/0 ")), "{list}");
    scratch.ok(["validate", "x.aci", "root.aci"]);

    scratch.refused(["build", "layout", "x.tar"], 1, "build: Extension must be .aci (given x.tar)");
    scratch.file("layout/other", "");
    scratch.refused(["build", "layout", "y.aci"], 1, "build: Layout failed validation: layout: unrecognized file path");
    scratch.refused(["build", "missing", "y.aci"], 1, "build: Layout failed validation: ");
    assert_eq!(scratch.run(["build", "layout"]).code, Some(1));
}

#[test]
fn manifests_are_patched() {
    let scratch = Scratch::new();
    layout(&scratch);
    scratch.ok(["build", "layout", "in.aci"]);
    let before = fs::read(scratch.path("in.aci")).unwrap();
    fn patch<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [&["patch-manifest"], args].concat()
    }
    scratch.ok(patch(&[
        "--name=example.com/y",
        "--exec=/bin/x --flag",
        "--user=1",
        "--group=2",
        "--supplementary-groups=3,4",
        "--capability=CAP_KILL,CAP_CHOWN",
        "--mounts=a,path=/a:b,path=/b,readOnly=true",
        "--ports=www,protocol=tcp,port=80:dns,protocol=udp,port=53,count=2",
        "--isolators=resource/cpu,request=50m,limit=100m:os/linux/no-new-privileges,true",
        "--seccomp-mode=retain,errno=EPERM",
        "--seccomp-set=read,write",
        "in.aci",
        "out.aci",
    ]));
    assert_eq!(fs::read(scratch.path("in.aci")).unwrap(), before);
    let wanted = json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/y",
        "app": {
            "exec": ["/bin/x", "--flag"], "user": "1", "group": "2", "supplementaryGIDs": [3, 4],
            "mountPoints": [{"name": "a", "path": "/a"}, {"name": "b", "path": "/b", "readOnly": true}],
            "ports": [
                {"name": "www", "protocol": "tcp", "port": 80, "count": 1, "socketActivated": false},
                {"name": "dns", "protocol": "udp", "port": 53, "count": 2, "socketActivated": false}
            ],
            "isolators": [
                {"name": "resource/cpu", "value": {"request": "50m", "limit": "100m"}},
                {"name": "os/linux/no-new-privileges", "value": true},
                {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL", "CAP_CHOWN"]}},
                {"name": "os/linux/seccomp-retain-set", "value": {"set": ["read", "write"], "errno": "EPERM"}}
            ]
        }
    });
    assert_eq!(manifest_of(&scratch, "out.aci"), wanted);
    scratch.ok(["validate", "out.aci"]);

    scratch.ok(patch(&["--replace", "--revoke-capability=CAP_KILL", "--mounts=a,path=/c", "out.aci"]));
    let app = &manifest_of(&scratch, "out.aci")["app"];
    assert_eq!(app["mountPoints"].as_array().unwrap().len(), 2);
    assert_eq!(app["mountPoints"][1], json!({"name": "a", "path": "/c"}));
    assert!(!app["isolators"].to_string().contains("retain-set\",\"value\":{\"set\":[\"CAP"), "{app}");
    scratch.file("new.json", MANIFEST);
    scratch.ok(patch(&["--replace", "--manifest=new.json", "--no-compression", "out.aci"]));
    assert_eq!(scratch.ok(["cat-manifest", "out.aci"]), MANIFEST);
    assert!(fs::read(scratch.path("out.aci")).unwrap().starts_with(b"manifest\0"));
    scratch.ok(["validate", "out.aci"]);
}

#[test]
fn patches_that_cannot_be_are_refused() {
    let scratch = Scratch::new();
    layout(&scratch);
    scratch.ok(["build", "layout", "in.aci"]);
    scratch.file("bad.json", r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"NOT A NAME"}"#);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--user=1", "in.aci", "out.aci"], 1, "no app in the supplied manifest and no exec command provided"),
        (&["--name=x", "in.aci"], 1, "Must provide input and output files (or use --replace)"),
        (&["--replace", "--name=x", "in.aci", "out.aci"], 1, "Must provide one file"),
        (&["--replace", "--overwrite", "--name=x", "in.aci"], 1, "Cannot use both --replace and --overwrite"),
        (&["--name=x", "in.aci", "in.aci"], 1, "already exists: in.aci"),
        (&["--manifest=bad.json", "--name=x", "in.aci", "out.aci"], 1, "--manifest is incompatible with other"),
        (&["--manifest=bad.json", "in.aci", "out.aci"], 1, "patch-manifest: name: "),
        (&["--capability=A", "--revoke-capability=B", "--exec=x", "in.aci", "o.aci"], 1, "conflicting capabilities"),
        (&["--name=NOT A NAME", "in.aci", "out.aci"], 1, "patch-manifest: "),
        (&["--mounts=a", "--exec=x", "in.aci", "out.aci"], 3, "--mounts"),
        (&["--seccomp-mode=keep", "--seccomp-set=a", "in.aci", "out.aci"], 3, "it must be retain or remove"),
        (&["--isolators=x,true", "--exec=x", "in.aci", "out.aci"], 3, "--isolators"),
    ];
    for (args, code, words) in cases {
        scratch.refused([&["patch-manifest"], *args].concat(), *code, words);
    }
    assert!(!scratch.path("out.aci").exists());
    fs::set_permissions(scratch.path("in.aci"), fs::Permissions::from_mode(0o600)).unwrap();
    scratch.ok(["patch-manifest", "--replace", "--name=example.com/z", "in.aci"]);
    assert_eq!(fs::metadata(scratch.path("in.aci")).unwrap().permissions().mode() & 0o7777, 0o600);
}
