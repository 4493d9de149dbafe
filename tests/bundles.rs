//! `acbuild convert` to bundles and from them, and what runtimes make of those.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};
use support::{Cmd, HostState, Scratch, busybox_image, needs};

fn convert(scratch: &Scratch, args: &[&str]) -> String {
    scratch.acbuild(["convert"].iter().chain(args)).ok().text().to_owned()
}

fn config(scratch: &Scratch, bundle: &str) -> Value {
    let path = scratch.work().join(bundle).join("config.json");
    serde_json::from_slice(&fs::read(path).expect("it is there")).expect("it is JSON")
}

fn edit(scratch: &Scratch, bundle: &str, edit: impl FnOnce(&mut Value)) {
    let mut edited = config(scratch, bundle);
    edit(&mut edited);
    fs::write(scratch.work().join(bundle).join("config.json"), edited.to_string()).expect("it can be written");
}

/// What the bundle's program prints, the same under every runtime there is.
#[track_caller]
fn runs(scratch: &Scratch, bundle: &str) -> String {
    let name = format!("bundle-{}-{bundle}", std::process::id());
    let ours = scratch.rkt_oci(["run", "--bundle", bundle, &name]).ok().stdout;
    if support::need::check(support::need::find_program("runc").is_some(), "the program runc") {
        let theirs = Cmd::new("runc").cwd(scratch.work()).args(["run", "--no-pivot", "--bundle", bundle, &name]).ok();
        assert_eq!(theirs.stdout, ours, "of {bundle}");
    }
    ours
}

/// An app that tells of itself.
fn image(scratch: &Scratch) {
    let script =
        "id\t-u;id\t-g;pwd;echo\t$WORD\t$HOME;stat\t-c\t%u:%g:%a\t/owned;grep\tCapBnd\t/proc/self/status;ls\t/data";
    let exec = format!("set-exec -- /bin/sh -c {script}");
    scratch.file("owned", "");
    let owned = format!("copy {} /owned", scratch.work().join("owned").display());
    let passwd = scratch.file("passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:100:Web:/srv:/bin/sh\n");
    let group = scratch.file("group", "root:x:0:\nusers:x:100:\n");
    let commands = [
        &exec,
        &owned,
        &format!("copy {} /etc/passwd", passwd.display()),
        &format!("copy {} /etc/group", group.display()),
        "set-user web",
        "set-group users",
        "environment add WORD word",
        "mount add data /data",
        "label add version 1.0",
    ];
    fs::set_permissions(scratch.work().join("owned"), fs::Permissions::from_mode(0o640)).expect("it is ours");
    std::os::unix::fs::chown(scratch.work().join("owned"), Some(1000), Some(100)).expect("we are root");
    busybox_image(scratch, "app", "example.com/app", &commands);
}

const PRINTED: &str = "1000\n100\n/\nword /srv\n1000:100:640\nCapBnd:\t00000000a80425fb\n";

#[test]
fn every_format_becomes_a_bundle_that_runs() {
    needs!(root, "busybox");
    let host = HostState::new();
    let scratch = Scratch::new();
    image(&scratch);
    convert(&scratch, &["app.aci", "oci:layout"]);
    convert(&scratch, &["app.aci", "docker-archive:docker.tar:example/app:1.0"]);
    scratch.rkt(["fetch", "./app.aci"]).ok();
    for (source, bundle) in [
        ("app.aci", "of-aci"),
        ("example.com/app:1.0", "of-store"),
        ("oci:layout", "of-oci"),
        ("docker-archive:docker.tar", "of-docker"),
    ] {
        convert(&scratch, &[source, &format!("bundle:{bundle}")]);
        assert_eq!(runs(&scratch, bundle), PRINTED, "{bundle}");
    }
    let owned = scratch.work().join("of-oci/rootfs/owned").metadata().expect("it is there");
    assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (1000, 100, 0o640));
    assert_eq!(scratch.work().join("of-oci").metadata().expect("it is there").mode() & 0o777, 0o755);
    host.check();
}

#[test]
fn a_user_without_a_group_has_those_of_the_image() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    support::rootfs::busybox(&scratch.path().join("root"));
    let root = scratch.path().join("root").display().to_string();
    for user in ["carly", "1000"] {
        scratch.acbuild(["begin", "--build-mode=oci", &root]).ok();
        scratch.acbuild(["set-user", user]).ok();
        scratch.acbuild(["set-exec", "--", "/bin/sh", "-c", "id -u; id -g; id -G"]).ok();
        scratch.acbuild(["write", "oci:layout"]).ok();
        scratch.acbuild(["end"]).ok();
        let run = |flags: &[&str], image: &str| {
            let fixed = ["--insecure-options=image", "run", image];
            scratch.rkt(fixed.iter().chain(flags)).ok().stdout
        };
        assert_eq!(run(&[], "oci:layout"), "1000\n2000\n2000 2001\n");
        assert_eq!(run(&["--group=users"], "oci:layout"), "1000\n2000\n2000\n");
        assert_eq!(run(&["--user=nobody"], "oci:layout"), "65534\n65534\n65534\n");
        for (source, target) in [("oci:layout", "app.aci"), ("app.aci", "bundle:a"), ("oci:layout", "bundle:b")] {
            convert(&scratch, &[source, target]);
        }
        assert_eq!(run(&[], "./app.aci"), "1000\n2000\n2000 2001\n");
        for bundle in ["a", "b"] {
            assert_eq!(runs(&scratch, bundle), "1000\n2000\n2000 2001\n");
            convert(&scratch, &[&format!("bundle:{bundle}"), "oci:again"]);
        }
        convert(&scratch, &["app.aci", "oci:back"]);
        let digest = |layout: &str| fs::read_to_string(scratch.work().join(layout).join("index.json")).expect("there");
        assert_eq!(digest("back"), digest("layout"));
        for name in ["layout", "back", "again", "a", "b"] {
            fs::remove_dir_all(scratch.work().join(name)).expect("it is ours");
        }
        fs::remove_file(scratch.work().join("app.aci")).expect("it is ours");
    }
}

#[test]
fn a_bundle_becomes_every_format() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    image(&scratch);
    let id = scratch.rkt(["fetch", "--full", "./app.aci"]).ok().text().to_owned();
    convert(&scratch, &["app.aci", "bundle:app"]);
    // Nothing was changed: it is the same image.
    assert_eq!(convert(&scratch, &["bundle:app", "same.aci"]), id);
    for (way, bundle) in
        [("oci:layout:1.0", "b1"), ("oci-archive:oci.tar:1.0", "b2"), ("docker-archive:d.tar:example/app:1.0", "b3")]
    {
        convert(&scratch, &["bundle:app", way]);
        convert(&scratch, &[way, &format!("bundle:{bundle}")]);
        assert_eq!(runs(&scratch, bundle), PRINTED, "{way}");
        assert_eq!(convert(&scratch, &[way, &format!("{bundle}.aci")]), id, "{way}");
    }
    // What was changed is merged, the rest kept.
    edit(&scratch, "app", |config| {
        config["process"]["args"] = json!(["/bin/hostname"]);
        config["hostname"] = json!("edited");
        config["process"]["user"] = json!({ "uid": 0, "gid": 0 });
    });
    let id = convert(&scratch, &["bundle:app", "edited.aci"]);
    scratch.rkt(["fetch", "./edited.aci"]).ok();
    let manifest = scratch.rkt(["image", "cat-manifest", &id]).ok().json();
    assert_eq!(manifest["app"]["exec"], json!(["/bin/hostname"]));
    assert_eq!((&manifest["app"]["user"], &manifest["name"]), (&json!("0"), &json!("example.com/app")));
    assert_eq!(manifest["app"]["mountPoints"][0]["name"], json!("data"));
    assert_eq!(manifest["app"]["environment"], json!([{ "name": "WORD", "value": "word" }]));
    convert(&scratch, &["edited.aci", "bundle:edited"]);
    assert_eq!(runs(&scratch, "edited"), "edited\n");
}

#[test]
fn bundles_of_others_come_back_with_all_they_say() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let bundle = scratch.work().join("theirs");
    support::rootfs::busybox(&bundle.join("tree"));
    scratch.rkt_oci(["spec", "--bundle", "theirs"]).ok();
    edit(&scratch, "theirs", |config| {
        config["root"] = json!({ "path": "tree", "readonly": true });
        config["hostname"] = json!("theirs");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] =
            json!(["sh", "-c", "hostname; touch /x 2>/dev/null || echo read-only; echo $A; ulimit -n"]);
        config["process"]["env"] = json!(["PATH=/bin", "A=1=2", "1ODD=kept"]);
    });
    let printed = runs(&scratch, "theirs");
    assert!(printed.starts_with("theirs\nread-only\n1=2\n"), "{printed}");
    let theirs = config(&scratch, "theirs");
    for (way, back) in [("theirs.aci", "back1"), ("oci:layout", "back2")] {
        convert(&scratch, &["bundle:theirs", way]);
        convert(&scratch, &[way, &format!("bundle:{back}")]);
        let mut now = config(&scratch, back);
        assert_eq!(now["root"]["path"], json!("rootfs"));
        now["root"]["path"] = json!("tree");
        now.as_object_mut().expect("it is one").shift_remove("annotations");
        assert_eq!(now, theirs, "{way}");
        assert_eq!(runs(&scratch, back), printed, "{way}");
    }
}

#[test]
fn dependencies_are_in_the_bundle() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    busybox_image(&scratch, "base", "example.com/base", &[]);
    scratch.rkt(["fetch", "./base.aci"]).ok();
    scratch.file("hello", "hello");
    for line in ["begin", "set-name example.com/top", "copy hello /hello", "dependency add example.com/base"] {
        scratch.acbuild(line.split(' ')).ok();
    }
    scratch.acbuild(["set-exec", "--", "/bin/cat", "/hello"]).ok();
    scratch.acbuild(["write", "top.aci"]).ok();
    convert(&scratch, &["top.aci", "bundle:top"]);
    assert_eq!(runs(&scratch, "top"), "hello");
    convert(&scratch, &["top.aci", "oci:layout"]);
    convert(&scratch, &["oci:layout", "bundle:again"]);
    assert_eq!(runs(&scratch, "again"), "hello");
}

#[test]
fn nothing_is_overwritten_and_nothing_half_left() {
    needs!("busybox");
    let scratch = Scratch::new();
    busybox_image(&scratch, "app", "example.com/app", &["set-user stranger"]);
    let refused = |args: &[&str], words: &[&str]| {
        scratch.acbuild(["convert"].iter().chain(args)).refused(1, words);
    };
    let names = || {
        let names = fs::read_dir(scratch.work()).expect("it is there");
        let mut names: Vec<_> = names.map(|name| name.expect("it can be read").file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    refused(&["app.aci", "bundle:app"], &["\"stranger\" user not found"]);
    refused(&["nothing.aci", "bundle:app"], &["nothing.aci"]);
    refused(&["bundle:nothing", "x.aci"], &["nothing/config.json"]);
    assert_eq!(names(), before);
    fs::create_dir(scratch.work().join("full")).expect("the folder is ours");
    scratch.file("full/x", "");
    refused(&["app.aci", "bundle:full"], &["full exists"]);
    scratch.file("full/config.json", "{\"process\": 1}");
    refused(&["bundle:full", "x.aci"], &["full/config.json: process"]);
    scratch.file("full/config.json", "[".repeat(100_000));
    refused(&["bundle:full", "x.aci"], &["full/config.json"]);
    assert!(!Path::new(&scratch.work().join("x.aci")).exists());
}

#[test]
fn what_config_json_cannot_say_is_told() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let commands = ["isolator add os/linux/seccomp-remove-set seccomp", "set-event-handler pre-start -- /bin/true"];
    scratch.file("build-app-seccomp", "");
    let seccomp = scratch.file("seccomp", r#"{"set": ["reboot"]}"#);
    let add = commands[0].replace(" seccomp", &format!(" {}", seccomp.display()));
    busybox_image(&scratch, "app", "example.com/app", &[&add, commands[1], "set-exec -- /bin/true"]);
    let said = scratch.acbuild(["convert", "app.aci", "bundle:app"]).ok();
    said.says(&["os/linux/seccomp-remove-set", "pre-start handler", "config.json cannot say it"]);
    runs(&scratch, "app");
}
