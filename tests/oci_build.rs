//! `acbuild begin --build-mode=oci`: what other programs make of what it writes, and it of what they write.

use std::fs;

use serde_json::{Value, json};
use support::{Cmd, Scratch, needs, rootfs};

fn tool(scratch: &Scratch, name: &str, args: &[&str]) -> Cmd {
    Cmd::new(name).args(args).cwd(scratch.work())
}

/// The words of each line to `acbuild`; what the last one printed.
fn build(scratch: &Scratch, lines: &[&str]) -> String {
    let mut printed = String::new();
    for line in lines {
        printed = scratch.acbuild(line.split(' ')).ok().text().to_owned();
    }
    printed
}

/// A build of busybox in two layers, the second of which deletes, replaces and adds.
fn busybox(scratch: &Scratch) {
    rootfs::busybox(&scratch.path().join("busybox"));
    scratch.file("motd", "by acbuild\n");
    let start = scratch.path().join("busybox").display().to_string();
    build(scratch, &[&format!("begin --build-mode=oci {start}"), "set-exec -- /bin/cat /etc/motd", "layer"]);
    let current = scratch.work().join(".acbuild/currentaci/rootfs");
    fs::remove_file(current.join("bin/ls")).expect("it is there");
    fs::remove_dir_all(current.join("var")).expect("it is there");
    fs::write(current.join("var"), "a file now").expect("the folder is ours");
    fs::hard_link(current.join("etc/group"), current.join("etc/same")).expect("the folder is ours");
    build(scratch, &["copy motd /etc/motd", "environment add A 1", "set-stop-signal SIGINT", "set-tag 1.0"]);
}

/// Everything about the files of a tree, but for the times.
fn listing(scratch: &Scratch, tree: &str) -> String {
    let print = "-type d -printf '%P d %m %U:%G\\n' -o -printf '%P %y %m %U:%G %n %s %l\\n'";
    let script =
        format!("cd {tree} && find . {print} | LC_ALL=C sort && find . -type f -exec sha256sum {{}} + | LC_ALL=C sort");
    Cmd::new("bash").cwd(scratch.work()).args(["-c", &script]).ok().stdout
}

#[test]
fn skopeo_and_umoci_take_it() {
    needs!(root, "busybox", "skopeo", "umoci", "bash");
    let scratch = Scratch::new();
    busybox(&scratch);
    let digest = build(&scratch, &["write oci:layout"]);
    let seen = tool(&scratch, "skopeo", &["inspect", "oci:layout:1.0"]).ok().json();
    assert_eq!((&seen["Digest"], seen["Layers"].as_array().map(Vec::len)), (&json!(digest), Some(2)));
    let config = tool(&scratch, "skopeo", &["inspect", "--config", "oci:layout:1.0"]).ok().json();
    assert_eq!(config["config"]["StopSignal"], "SIGINT");
    assert_eq!(config["history"].as_array().map(Vec::len), Some(2));

    // In every format that skopeo knows, and back: the files are those of the build.
    let expected = listing(&scratch, ".acbuild/currentaci/rootfs");
    build(&scratch, &["write out.tar", "write docker-archive:docker.tar:example/app:1.0"]);
    let copy = |from: &str, to: &str| drop(tool(&scratch, "skopeo", &["--insecure-policy", "copy", from, to]).ok());
    copy("oci-archive:out.tar", "oci:copied:1.0");
    copy("docker-archive:docker.tar", "oci:from-docker:1.0");
    for layout in ["layout", "copied", "from-docker"] {
        tool(&scratch, "umoci", &["unpack", "--image", &format!("{layout}:1.0"), &format!("{layout}-bundle")]).ok();
        assert_eq!(listing(&scratch, &format!("{layout}-bundle/rootfs")), expected, "{layout}");
    }
}

#[test]
fn what_others_build_is_built_upon() {
    needs!(root, "busybox", "skopeo", "umoci", "bash");
    let scratch = Scratch::new();
    busybox(&scratch);
    build(&scratch, &["write oci:layout", "end"]);
    tool(&scratch, "umoci", &["unpack", "--image", "layout:1.0", "bundle"]).ok();
    fs::write(scratch.work().join("bundle/rootfs/added"), "by umoci").expect("a file can be written");
    fs::remove_file(scratch.work().join("bundle/rootfs/etc/passwd")).expect("it is there");
    tool(&scratch, "umoci", &["repack", "--image", "layout:2.0", "bundle"]).ok();
    let copy = |from: &str, to: &str| drop(tool(&scratch, "skopeo", &["--insecure-policy", "copy", from, to]).ok());
    copy("oci:layout:2.0", "docker-archive:saved.tar:example/saved:1.0");
    for (start, layout) in [("oci:layout:2.0", "one"), ("./saved.tar", "two")] {
        build(&scratch, &[&format!("begin --build-mode=oci {start}")]);
        let unchanged = build(&scratch, &[&format!("write oci:unchanged-{layout}")]);
        let base = tool(&scratch, "skopeo", &["inspect", &format!("oci:unchanged-{layout}:latest")]).ok().json();
        assert_eq!(base["Digest"], json!(unchanged));
        build(&scratch, &["copy motd /again", &format!("write oci:{layout}"), "set-user 7", "set-group 8"]);
        let after = tool(&scratch, "skopeo", &["inspect", &format!("oci:{layout}:latest")]).ok().json();
        let layers = |seen: &Value| seen["Layers"].as_array().cloned().unwrap_or_default();
        assert_eq!(layers(&after).len(), 4, "{after}");
        assert_eq!(layers(&after)[..3], layers(&base), "the layers below stay as they are");
        let bundle = format!("{layout}-bundle");
        tool(&scratch, "umoci", &["unpack", "--image", &format!("{layout}:latest"), &bundle]).ok();
        let expected = listing(&scratch, ".acbuild/currentaci/rootfs");
        assert_eq!(listing(&scratch, &format!("{bundle}/rootfs")), expected, "{start}");
        build(&scratch, &["end"]);
    }
    let digest = tool(&scratch, "skopeo", &["inspect", "oci:layout:2.0"]).ok().json()["Digest"].clone();
    let unchanged = tool(&scratch, "skopeo", &["inspect", "oci:unchanged-one:latest"]).ok().json();
    assert_eq!(unchanged["Digest"], digest, "an image that nothing is done to is the same image");
}

#[test]
fn an_index_has_a_build_for_each_platform() {
    needs!("busybox", "skopeo");
    let scratch = Scratch::new();
    scratch.file("f", "f");
    for arch in ["amd64", "aarch64"] {
        fs::create_dir(scratch.work().join(arch)).expect("the folder is ours");
        for line in ["begin --build-mode=oci", "copy f /f", &format!("label add arch {arch}")] {
            scratch
                .acbuild([&format!("--work-path={arch}")].into_iter().map(String::as_str).chain(line.split(' ')))
                .ok();
        }
    }
    let write = |words: &str| scratch.acbuild(["--work-path=amd64", "write"].into_iter().chain(words.split(' ')));
    write("--index aarch64 oci:layout:1.0").ok();
    for (arch, variant) in [("amd64", Value::Null), ("arm64", json!("v8"))] {
        let choose = ["--override-os", "linux", "--override-arch", arch];
        let seen =
            tool(&scratch, "skopeo", &[&choose[..], &["inspect", "--config", "oci:layout:1.0"]].concat()).ok().json();
        assert_eq!((&seen["architecture"], &seen["variant"]), (&json!(arch), &variant));
    }
    let raw = tool(&scratch, "skopeo", &["inspect", "--raw", "oci:layout:1.0"]).ok().json();
    assert_eq!(raw["manifests"].as_array().map(Vec::len), Some(2));
    write("--index amd64 oci:twice").refused(1, &["linux/amd64", "more than once"]);
}
