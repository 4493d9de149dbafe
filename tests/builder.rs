//! What scripts rely on when they call `acbuild`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::guard::Mounted;
use support::{Cmd, Scratch, Tree, needs, rootfs};

fn manifest(scratch: &Scratch) -> Value {
    scratch.acbuild(["cat-manifest"]).ok().json()
}

/// Runs commands whose words are separated by spaces; each must succeed.
fn all(scratch: &Scratch, commands: &[&str]) {
    for command in commands {
        scratch.acbuild(command.split(' ')).ok();
    }
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let scratch = Scratch::new();
    for usage in [&[][..], &["label"]] {
        let shown = scratch.acbuild(usage).ok();
        shown.require(!shown.stdout.is_empty() && shown.stderr.is_empty(), "usage on stdout");
    }
    all(&scratch, &["begin"]);
    let removals = [
        "annotation remove no",
        "label remove no",
        "environment remove no",
        "dependency remove no",
        "port remove no",
        "mount remove no",
        "isolator remove no",
    ];
    let before = fs::read(scratch.work().join(".acbuild/currentaci/manifest")).expect("a build is open");
    for removal in removals {
        let group = removal.split(' ').next().unwrap_or_default();
        scratch.acbuild(removal.split(' ')).refused(2, &[&format!("{group} remove: ")]);
    }
    for unknown in [
        &["frobnicate"][..],
        &["--nope"],
        &["label", "add", "--nope", "a", "b"],
        &["set-"],
        &["port", "add", "--count=x", "a", "tcp", "1"],
    ] {
        let ended = scratch.acbuild(unknown).run();
        ended.require(ended.code() == 3 && !ended.stderr.is_empty(), "the exit code 3 and a reason");
    }
    scratch.acbuild(["label", "add", "one"]).refused(1, &["label add: incorrect number of arguments"]);
    assert_eq!(before, fs::read(scratch.work().join(".acbuild/currentaci/manifest")).expect("a build is open"));
}

#[test]
fn commands_may_be_shortened_and_have_other_names() {
    let scratch = Scratch::new();
    all(
        &scratch,
        &[
            "beg",
            "set-n example.com/short",
            "dep add example.com/base",
            "env add A 1",
            "env add B 2",
            "environment rm A",
            "volume add data /data",
            "set-wd /tmp",
            "set-eh pre-start /bin/true",
            "lab add version 1",
            "label rm version",
            "anno add authors me",
        ],
    );
    let manifest = manifest(&scratch);
    assert_eq!(manifest["name"], "example.com/short");
    assert_eq!(manifest["app"]["environment"], json!([{"name": "B", "value": "2"}]));
    assert_eq!(manifest["app"]["mountPoints"][0]["path"], "/data");
    assert_eq!(manifest["app"]["workingDirectory"], "/tmp");
    assert_eq!(manifest["app"]["eventHandlers"], json!([{"name": "pre-start", "exec": ["/bin/true"]}]));
    let history: Vec<_> =
        manifest["annotations"].as_array().expect("a list").iter().filter_map(|one| one["value"].as_str()).collect();
    assert!(history.contains(&"acbuild dependency add \"example.com/base\""), "{history:?}");
    assert!(history.contains(&"acbuild environment remove \"A\""), "{history:?}");
}

#[test]
fn every_field_is_written_as_the_original_writes_it() {
    let scratch = Scratch::new();
    scratch.file("memory.json", r#"{"limit": "1G",  "request":"512M"}"#);
    all(
        &scratch,
        &[
            "--no-history begin",
            "--no-history set-name example.com/all",
            "--no-history set-exec -- /bin/app --flag a,b",
            "--no-history set-user 1000",
            "--no-history set-group users",
            "--no-history set-supp-groups 10 20",
            "--no-history set-working-directory /srv",
            "--no-history set-event-handler post-stop /bin/bye now",
            "--no-history environment add NAME <&>",
            "--no-history port add web tcp 80",
            "--no-history port add range udp 5000 --count 10 --socket-activated",
            "--no-history mount add data /data --read-only",
            "--no-history isolator add resource/memory memory.json",
            "--no-history dependency add example.com/base:1.0,os=linux --size 7",
            "--no-history annotation add homepage https://example.com",
        ],
    );
    let text = scratch.acbuild(["cat-manifest"]).ok().stdout;
    let wanted = concat!(
        r#"{"acKind":"ImageManifest","acVersion":"VERSION","name":"example.com/all","labels":[{"name":"arch","value":"ARCH"},{"name":"os","value":"linux"}],"#,
        r#""app":{"exec":["/bin/app","--flag","a,b"],"eventHandlers":[{"name":"post-stop","exec":["/bin/bye","now"]}],"user":"1000","group":"users","#,
        r#""supplementaryGIDs":[10,20],"workingDirectory":"/srv","environment":[{"name":"NAME","value":"\u003c\u0026\u003e"}],"#,
        r#""mountPoints":[{"name":"data","path":"/data","readOnly":true}],"ports":[{"name":"web","protocol":"tcp","port":80,"count":1,"socketActivated":false},"#,
        r#"{"name":"range","protocol":"udp","port":5000,"count":10,"socketActivated":true}],"#,
        r#""isolators":[{"name":"resource/memory","value":{"limit":"1G","request":"512M"}}]},"#,
        r#""annotations":[{"name":"homepage","value":"https://example.com"}],"#,
        r#""dependencies":[{"imageName":"example.com/base","labels":[{"name":"os","value":"linux"},{"name":"version","value":"1.0"}],"size":7}]}"#,
        "\n"
    );
    let wanted = wanted.replace("VERSION", appc_spec::AC_VERSION).replace("ARCH", appc_spec::host_arch());
    // The order of a dependency's labels is not given by anything.
    let other = wanted.replace(
        r#"{"name":"os","value":"linux"},{"name":"version","value":"1.0"}],"size""#,
        r#"{"name":"version","value":"1.0"},{"name":"os","value":"linux"}],"size""#,
    );
    assert!(text == wanted || text == other, "{text}\n{wanted}");
    let pretty = scratch.acbuild(["cat-manifest", "--pretty-print"]).ok().stdout;
    assert!(pretty.contains("\n    \"name\": \"example.com/all\""), "{pretty}");
}

#[test]
fn a_hundred_labels_at_once_are_a_hundred_labels() {
    let scratch = Scratch::new();
    all(&scratch, &["begin", "set-name example.com/many"]);
    let running: Vec<_> = (0..100)
        .map(|number| scratch.acbuild(["label", "add", &format!("label{number}"), &number.to_string()]).spawn())
        .collect();
    for one in running {
        let ended = one.wait();
        ended.require(ended.code() == 0, "success");
    }
    let manifest = manifest(&scratch);
    let labels = manifest["labels"].as_array().expect("a list");
    for number in 0..100 {
        let wanted = json!({"name": format!("label{number}"), "value": number.to_string()});
        assert!(labels.contains(&wanted), "{wanted} in {labels:?}");
    }
    let history = manifest["annotations"].as_array().expect("a list");
    let mut names: Vec<_> = history.iter().filter_map(|one| one["name"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 101, "every command has a number of its own");
}

#[test]
fn write_keeps_what_is_there() {
    let scratch = Scratch::new();
    all(&scratch, &["begin", "set-name example.com/write", "write out.aci"]);
    let image = scratch.work().join("out.aci");
    let before = fs::read(&image).expect("just written");
    scratch.acbuild(["label", "add", "version", "2"]).ok();
    scratch.acbuild(["write", "out.aci"]).refused(1, &["write: ", "out.aci", "--overwrite"]);
    assert_eq!(fs::read(&image).expect("still there"), before);
    scratch.acbuild(["write", "--overwrite", "out.aci"]).ok();
    assert_ne!(fs::read(&image).expect("written again"), before);
    let names: Vec<_> = fs::read_dir(scratch.work()).expect("ours").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 2, "only .acbuild and the image: {names:?}");
}

#[test]
fn a_failed_write_damages_nothing() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    rootfs::busybox(&root);
    let noise: Vec<u8> =
        (0..3_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(root.join("noise"), noise).expect("the folder is ours");
    scratch.acbuild(["begin"]).arg(&root).ok();
    scratch.acbuild(["set-name", "example.com/full"]).ok();
    let small = scratch.path().join("small");
    let _disk = Mounted::tmpfs(&small, "2m");
    let image = small.join("image.aci");
    fs::write(&image, "what was there").expect("room for this");
    let before = Tree::read(&small).without_folder_times();
    let write = |args: &[&str]| scratch.acbuild(["write"]).args(args);
    write(&["--overwrite"]).arg(&image).refused(1, &["write: ", "o space left"]);
    before.assert_same(&Tree::read(&small).without_folder_times(), "the full disk");
    write(&[]).arg(small.join("other.aci")).refused(1, &["write: ", "o space left"]);
    before.assert_same(&Tree::read(&small).without_folder_times(), "the full disk");
    write(&[]).arg(small.join("no/such/folder.aci")).refused(1, &["write: "]);
    before.assert_same(&Tree::read(&small).without_folder_times(), "the full disk");
}

#[test]
fn copies_keep_everything_and_stay_inside() {
    needs!(root, "debootstrap");
    let scratch = Scratch::new();
    let odd = rootfs::debian().join("srv/odd");
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).expect("the folder is ours");
    fs::write(outside.join("target"), "untouched").expect("the folder is ours");
    let before = Tree::read(&outside);
    all(&scratch, &["begin", "set-name example.com/copy"]);
    let rootfs = scratch.work().join(".acbuild/currentaci/rootfs");
    scratch.acbuild(["copy"]).arg(&odd).arg("/srv/odd").ok();
    Tree::read(&odd).assert_same(&Tree::read(&rootfs.join("srv/odd")), "copy");
    scratch.acbuild(["copy-to-dir"]).arg(odd.join("owner")).arg(odd.join("empty/")).arg("/more").ok();
    assert!(rootfs.join("more/owner").is_file() && rootfs.join("more/empty").is_dir());

    // Links that lead out of the image, put there the way an image could bring them.
    std::os::unix::fs::symlink(&outside, rootfs.join("folder")).expect("the folder is ours");
    std::os::unix::fs::symlink(outside.join("target"), rootfs.join("file")).expect("the folder is ours");
    let file = scratch.file("new", "new");
    for target in ["/folder/new", "/file", "/../../escaped", "../../../escaped"] {
        scratch.acbuild(["copy"]).arg(&file).arg(target).run();
        scratch.acbuild(["copy-to-dir"]).arg(&file).arg(target).run();
        before.assert_same(&Tree::read(&outside), target);
    }
    assert!(!scratch.work().join("escaped").exists() && !scratch.work().join(".acbuild/escaped").exists());
    assert!(!scratch.path().join("escaped").exists());
}

#[test]
fn work_path_and_replace_manifest() {
    let scratch = Scratch::new();
    let elsewhere = scratch.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("the folder is ours");
    let acbuild = |words: &[&str]| scratch.acbuild(["--work-path"]).arg(&elsewhere).args(words);
    acbuild(&["begin"]).ok();
    acbuild(&["set-name", "example.com/elsewhere"]).ok();
    acbuild(&["annotation", "add", "authors", "me"]).ok();
    assert!(elsewhere.join(".acbuild/currentaci/manifest").is_file() && !scratch.work().join(".acbuild").exists());
    let new = scratch.file("new.json", r#"{"ACKIND":"ImageManifest","acVersion":"0.8.5","name":"example.com/new"}"#);
    acbuild(&["--no-history", "replace-manifest"]).arg(&new).ok();
    let manifest = acbuild(&["cat-manifest"]).ok().json();
    assert_eq!(manifest["name"], "example.com/new");
    assert_eq!(manifest.get("annotations"), None, "replaced, not merged");
    acbuild(&["--debug", "end"]).ok();
    assert!(!elsewhere.join(".acbuild").exists());
}

#[test]
fn a_killed_command_leaves_a_build_that_goes_on() {
    let scratch = Scratch::new();
    all(&scratch, &["begin", "set-name example.com/killed"]);
    for number in 0..u64::from(support::kills(40)) {
        let running = scratch.acbuild(["label", "add", "count", &number.to_string()]).spawn();
        std::thread::sleep(std::time::Duration::from_micros(number * 150 % 6000));
        drop(running);
        let manifest = manifest(&scratch);
        assert_eq!(manifest["name"], "example.com/killed");
    }
    all(&scratch, &["label add count last", "write out.aci", "end"]);
    assert!(!scratch.work().join(".acbuild").exists());
}

#[test]
fn versions_are_told() {
    let scratch = Scratch::new();
    scratch.acbuild(["version"]).ok().prints(&["acbuild version ", "appc version "]);
    scratch.rkt(["version"]).ok().prints(&["rkt Version: ", "appc Version: "]);
    scratch.rkt_oci(["--version"]).ok().prints(&["rkt-oci version ", "spec: 1."]);
    assert!(!Path::new(&scratch.data()).exists(), "asking changes nothing");
    Cmd::new(support::programs::find("acbuild")).arg("--help").ok().prints(&["begin", "cat-manifest", "write"]);
}
