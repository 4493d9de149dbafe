//! The build script of appc's own tutorial, and the pod that comes of it.

use std::path::{Path, PathBuf};

use support::{Cmd, HostState, Scratch, needs, programs, rootfs};

/// Builds the stand-in for `quay.io/coreos/alpine-sh`.
fn dependency(scratch: &Scratch) -> PathBuf {
    let base = rootfs::folder().join("../examples/hello/base");
    scratch.acbuild(["begin"]).arg(base).ok();
    scratch.acbuild(["set-name", "quay.io/coreos/alpine-sh"]).ok();
    scratch.acbuild(["write", "alpine-sh.aci"]).ok();
    scratch.acbuild(["end"]).ok();
    scratch.work().join("alpine-sh.aci")
}

/// Runs the tutorial's script as it is, with the built `acbuild` in `$PATH`.
fn tutorial(scratch: &Scratch) -> PathBuf {
    rootfs::hello(&scratch.work().join("hello"));
    let programs = programs::find("acbuild").parent().expect("a program lies in a folder").to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let script = rootfs::folder().join("../examples/hello/build.sh");
    Cmd::new("sh").arg(script).cwd(scratch.work()).env("PATH", path).ok();
    assert!(!scratch.work().join(".acbuild").exists(), "the build has ended");
    scratch.work().join("hello-0.0.1-linux-amd64.aci")
}

fn manifest(image: &Path) -> serde_json::Value {
    let tar = Cmd::new("tar").args(["-xzOf"]).arg(image).arg("manifest");
    tar.ok().json()
}

#[test]
fn the_script_builds_an_image_and_rkt_runs_it() {
    needs!(root, "cc");
    let scratch = Scratch::new();
    let host = HostState::new();
    dependency(&scratch);
    scratch.rkt(["fetch", "./alpine-sh.aci"]).ok().prints(&["sha512-"]);
    tutorial(&scratch);

    let ran = scratch.rkt(["run", "hello-0.0.1-linux-amd64.aci", "--", "--self-test"]).ok();
    ran.prints(&["hello"]);
    host.check();
    assert_eq!(scratch.processes(), Vec::<String>::new());
}

#[test]
fn the_manifest_says_what_the_script_said() {
    needs!("cc");
    let scratch = Scratch::new();
    let manifest = manifest(&tutorial(&scratch));
    assert_eq!(manifest["acKind"], "ImageManifest");
    assert_eq!(manifest["name"], "example.com/hello");
    assert_eq!(manifest["app"]["exec"], serde_json::json!(["/bin/hello"]));
    assert_eq!(manifest["dependencies"][0]["imageName"], "quay.io/coreos/alpine-sh");
    let port =
        serde_json::json!([{"name": "www", "protocol": "tcp", "port": 5000, "count": 1, "socketActivated": false}]);
    assert_eq!(manifest["app"]["ports"], port);
    // A label that exists is replaced and goes to the end.
    let labels = serde_json::json!([
        {"name": "version", "value": "0.0.1"}, {"name": "arch", "value": "amd64"}, {"name": "os", "value": "linux"}
    ]);
    assert_eq!(manifest["labels"], labels);
    let annotations = manifest["annotations"].as_array().expect("a list");
    let authors = serde_json::json!({"name": "authors", "value": "Carly Container <carly@example.com>"});
    assert!(annotations.contains(&authors), "{annotations:?}");
    let history =
        serde_json::json!({"name": "coreos.com/acbuild/command-1", "value": "acbuild set-name \"example.com/hello\""});
    assert!(annotations.contains(&history), "{annotations:?}");
}

#[test]
fn without_its_dependency_the_image_is_refused_with_the_way_out() {
    needs!(root, "cc");
    let scratch = Scratch::new();
    let host = HostState::new();
    tutorial(&scratch);
    let run = scratch.rkt(["run", "hello-0.0.1-linux-amd64.aci"]);
    run.refused(254, &["run: ", "quay.io/coreos/alpine-sh", "rkt fetch"]);
    dependency(&scratch);
    scratch.rkt(["fetch", "alpine-sh.aci"]).ok();
    scratch.rkt(["run", "hello-0.0.1-linux-amd64.aci", "--", "--self-test"]).ok().prints(&["hello"]);
    host.check();
}
