//! OCI images.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Cmd, Reply, busybox_image, needs, tree};

use super::World;

/// An image in a registry.
pub(super) const APP: &str = "docker://images.example.com/team/app:1.0";
pub(super) const REPOSITORY: &str = "images.example.com/v2/team/app";

/// Makes `app.aci` and of that the layout `layout` with the image `1.0`, and returns the digest of its manifest.
fn make(world: &World) -> String {
    world.publish("app", &["dependency add example.com/base"]);
    world.publish("base", &[]);
    world.rkt(&["fetch", "base.aci"]).ok();
    let made = world.scratch.acbuild(["convert", "app.aci", "oci:layout:1.0"]).ok().text().to_owned();
    world.rkt(&["image", "rm", "example.com/base"]).ok();
    made
}

/// Puts the image of the layout into the registry.
pub(super) fn push(world: &World, manifest: &str) {
    let blobs = world.scratch.work().join("layout/blobs/sha256");
    for blob in fs::read_dir(blobs).expect("a layout has blobs").flatten() {
        let name = blob.file_name().to_string_lossy().into_owned();
        let content = fs::read(blob.path()).expect("ours");
        world.put(&format!("{REPOSITORY}/blobs/sha256:{name}"), content.clone());
        if manifest.ends_with(&name) {
            world.put(&format!("{REPOSITORY}/manifests/{manifest}"), content.clone());
            world.put(&format!("{REPOSITORY}/manifests/1.0"), content);
        }
    }
}

fn ids(world: &World) -> usize {
    world.rkt(&["image", "list", "--no-legend"]).ok().stdout.lines().count()
}

fn policy(world: &World, policy: &Value) {
    world.scratch.file("../local/trust.d/policy.json", policy.to_string());
}

#[test]
fn images_from_everywhere_are_converted() {
    needs!(root, "busybox");
    let world = World::new();
    let digest = make(&world);
    push(&world, &digest);
    let content = world.publish("other", &[]);
    world.put("images.example.com/direct.aci", content);
    let convert = |args: &[&str]| {
        let command = world.scratch.acbuild(["convert", "--insecure-options=image"].iter().chain(args));
        command.env("SSL_CERT_FILE", &world.authority).env("HTTPS_PROXY", world.server.proxy())
    };
    // What is not in the store is fetched: by address, and by name, unsigned only by those who want it.
    convert(&["--insecure-options=none", "https://images.example.com/direct.aci", "oci:none"])
        .refused(1, &["direct.aci.asc"]);
    let direct = convert(&["https://images.example.com/direct.aci", "oci:direct:1.0"]).ok();
    assert_eq!(convert(&["example.com/other:1.0", "oci:named:1.0"]).ok().text(), direct.text());
    convert(&["example.com/nothing", "oci:none"]).refused(1, &["example.com/nothing", "not found"]);
    assert!(!world.scratch.work().join("none").exists());

    // One of OCI that is in the store is read there, by its name and its ID, as what it came as and as anything else.
    world.rkt(&["fetch", APP]).ok();
    let before = world.requests();
    assert_eq!(convert(&["images.example.com/team/app:1.0", "oci:stored:1.0"]).ok().text(), digest);
    let id = world.rkt(&["image", "list", "--no-legend", "--fields=id", "--full", "--sort=importtime"]).ok();
    let id = id.text().lines().last().expect("it was fetched").to_owned();
    let app = convert(&["oci:layout:1.0", "from-layout.aci"]).ok().text().to_owned();
    assert_eq!(convert(&[&id, "stored.aci"]).ok().text(), app);
    convert(&[&id, "bundle:stored-bundle"]).ok();
    assert!(world.scratch.work().join("stored-bundle/rootfs/bin/busybox").is_file());
    assert_eq!(world.requests(), before, "nobody is asked for what is there");
    // Of what an image depends on, too, though it has a single layer.
    world.rkt(&["fetch", "oci:direct:1.0"]).ok();
    let top = busybox_image(&world.scratch, "top", "example.com/top", &["dependency add example.com/other"]);
    convert(&[&top.display().to_string(), "oci:top:1.0"]).ok();
}

#[test]
fn layouts_and_archives_of_this_host_are_run() {
    needs!(root, "busybox");
    let world = World::new();
    make(&world);
    for target in ["oci-archive:layout.tar:1.0", "docker-archive:docker.tar:example/app:1.0"] {
        world.scratch.acbuild(["convert", "oci:layout:1.0", target]).ok();
    }
    let words =
        ["oci:layout:1.0", "oci:./layout", "oci-archive:layout.tar", "docker-archive:docker.tar:example/app:1.0"];
    for word in words {
        world.rkt(&["run", word]).ok().prints(&["I am app"]);
        world.rkt(&["image", "cat-manifest", word]).ok().prints(&["\"example.com/app\""]);
    }
    assert_eq!(ids(&world), 1, "the same image");
    world.rkt(&["run", "example.com/app"]).ok().prints(&["I am app"]);
    assert_eq!(world.requests(), 0, "what it depended on is in its layers");
    world.rkt(&["image", "extract", "--rootfs-only", "oci:layout:1.0", "rootfs"]).ok();
    assert!(world.scratch.work().join("rootfs/bin/busybox").is_file());
    world.rkt(&["fetch", "oci:layout:2.0"]).refused(254, &["fetch: oci:layout:2.0", "1.0"]);
    world.rkt(&["run", "oci:nowhere"]).refused(254, &["run: oci:nowhere"]);
    world.rkt(&["run", "oci:layout:1.0", "--signature=x.asc"]).refused(254, &["--signature"]);

    world.scratch.acbuild(["convert", "oci:layout:1.0", "bundle:bundle"]).ok();
    for word in ["bundle:bundle", "./bundle", "bundle"] {
        world.rkt(&["run", word]).ok().prints(&["I am app"]);
    }

    policy(&world, &json!({"rktKind": "trust", "rktVersion": "v1", "localFiles": "signed"}));
    world.rkt(&["run", "bundle"]).refused(254, &["policy", "--insecure-options=image"]);
    for word in words {
        world.rkt(&["run", word]).refused(254, &["policy", "--insecure-options=image"]);
        world.rkt(&["--insecure-options=image", "run", word]).ok();
    }
}

#[test]
fn images_from_registries_are_run() {
    needs!(root, "busybox");
    let world = World::new();
    let manifest = make(&world);
    push(&world, &manifest);
    let advice = format!("`rkt fetch {APP}`");
    world.rkt(&["run", "--pull-policy=never", APP]).refused(254, &["run: ", APP, "no image", &advice]);
    assert_eq!(world.requests(), 0);
    let id = world.rkt(&["fetch", "--full", APP]).ok().text().to_owned();
    let asked = world.requests();
    for policy in ["never", "new"] {
        world.rkt(&["run", &format!("--pull-policy={policy}"), APP]).ok().prints(&["I am app"]);
    }
    world.rkt(&["image", "cat-manifest", APP]).ok();
    assert_eq!(world.requests(), asked, "it is there");
    // A digest means the same for ever.
    let by_digest = format!("docker://images.example.com/team/app@{manifest}");
    assert_eq!(world.rkt(&["fetch", "--full", "--pull-policy=update", &by_digest]).ok().text(), id);
    assert_eq!(world.requests(), asked, "it is there under another name");
    assert_eq!(world.rkt(&["fetch", "--full", "--pull-policy=update", APP]).ok().text(), id);
    // Only what may change: the tag, and what is about the image.
    let (about, image): (Vec<_>, Vec<_>) =
        world.asked_since(asked).into_iter().partition(|asked| asked.contains("sha256"));
    assert_eq!(image, ["GET images.example.com/v2/team/app/manifests/1.0"]);
    assert!(
        about.iter().all(|asked| asked.contains("/referrers/sha256:") || asked.contains("/manifests/sha256-")),
        "{about:?}"
    );

    // It says that it is example.com/app: that is not for the registry to say.
    world.rkt(&["run", "--pull-policy=never", "example.com/app"]).refused(254, &["no image"]);
    world.rkt(&["run", "--pull-policy=never", "images.example.com/team/app:1.0"]).ok();
    let lost = format!("docker://images.example.com/team/app@sha256:{}", "0".repeat(64));
    world.rkt(&["run", &lost]).refused(254, &["there is no manifest"]);
    world.put(&format!("{REPOSITORY}/manifests/sha256:{}", "0".repeat(64)), "{}");
    world.rkt(&["run", &lost]).refused(254, &["its content is another"]);
    world.rkt(&["image", "rm", "docker://images.example.com/team/other"]).refused(254, &["cannot find image"]);
    world.rkt(&["image", "rm", APP]).ok().prints(&[&id]);
}

#[test]
fn an_image_goes_with_the_last_of_its_names() {
    needs!(root, "busybox");
    let world = World::new();
    let manifest = make(&world);
    push(&world, &manifest);
    let content = fs::read(world.scratch.work().join("layout/blobs").join(manifest.replace(':', "/"))).expect("ours");
    world.put(&format!("{REPOSITORY}/manifests/2.0"), content);
    let other = APP.replace(":1.0", ":2.0");
    let id = world.rkt(&["fetch", "--full", APP]).ok().text().to_owned();
    assert_eq!(world.rkt(&["fetch", "--full", &other]).ok().text(), id);
    let removed = world.rkt(&["image", "rm", APP]).ok();
    // It says itself that its version is 1.0.
    removed.prints(&[
        "successfully removed name",
        APP,
        &id,
        &format!("still images.example.com/team/app:1.0, from {other}"),
    ]);
    assert_eq!((ids(&world), removed.stderr.as_str()), (1, ""));
    world.rkt(&["run", "--pull-policy=never", APP]).refused(254, &["no image"]);
    world.rkt(&["run", "--pull-policy=never", &other]).ok().prints(&["I am app"]);
    // It comes back, and goes by its name.
    assert_eq!(world.rkt(&["fetch", "--full", APP]).ok().text(), id);
    world.rkt(&["image", "rm", &other]).ok().prints(&[&format!("from {APP}")]);
    let last = world.rkt(&["image", "rm", APP]).ok();
    last.prints(&["successfully removed aci for image", &id]);
    last.says(&["1 image(s) successfully removed"]);
    assert_eq!(ids(&world), 0);
}

#[test]
fn a_build_for_another_platform_leaves_this_one_its_image() {
    let world = World::new();
    let acbuild = |args: &[&str]| {
        let command = world.scratch.acbuild(args).env("SSL_CERT_FILE", &world.authority);
        command.env("HTTPS_PROXY", world.server.proxy())
    };
    for arch in ["amd64", "s390x"] {
        fs::create_dir(world.scratch.work().join(arch)).expect("ours");
        acbuild(&["--work-path", arch, "begin", "--build-mode=oci", "--arch", arch]).ok();
    }
    let index =
        acbuild(&["--work-path", "amd64", "write", "--index", "s390x", "oci:layout:1.0"]).ok().text().to_owned();
    push(&world, &index);
    let index: Value = read(&world.scratch.work().join("layout/blobs").join(index.replace(':', "/")));
    for manifest in index["manifests"].as_array().expect("an index") {
        let digest = manifest["digest"].as_str().expect("a digest");
        let content = fs::read(world.scratch.work().join("layout/blobs").join(digest.replace(':', "/"))).expect("ours");
        world.put(&format!("{REPOSITORY}/manifests/{digest}"), content);
    }
    let arch = |arch: &[&str]| {
        acbuild(&[&["begin", "--build-mode=oci", APP], arch].concat()).ok();
        let config: Value =
            serde_json::from_str(acbuild(&["cat-manifest", "--file=config"]).ok().text()).expect("JSON");
        acbuild(&["end"]).ok();
        config["architecture"].as_str().expect("a word").to_owned()
    };
    // Whichever comes first, and when it is in the store without the network.
    assert_eq!((arch(&["--arch=s390x"]), arch(&[])), ("s390x".into(), "amd64".into()));
    let asked = world.requests();
    for policy in ["--pull-policy=new", "--pull-policy=never"] {
        assert_eq!((arch(&["--arch=s390x", policy]), arch(&[policy])), ("s390x".into(), "amd64".into()));
    }
    assert_eq!(world.requests(), asked, "they are there");
    acbuild(&["begin", "--build-mode=oci", "--arch=ppc64le", APP]).refused(1, &["no image for linux/ppc64le"]);
    assert_eq!(arch(&["--arch=s390x", "--pull-policy=update"]), "s390x");
    assert_eq!(arch(&["--pull-policy=never"]), "amd64");
    acbuild(&["cat-manifest", APP]).ok().prints(&["\"amd64\""]);
}

#[test]
fn a_credential_helper_that_fails_is_named() {
    let world = World::new();
    world.scratch.file("../docker/config.json", r#"{"credHelpers": {"images.example.com": "mute"}}"#);
    let fetch = |script: &str| {
        let helper = world.scratch.file("../bin/docker-credential-mute", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
        let challenge = Reply::status(401).with("WWW-Authenticate", "Basic realm=\"team\"");
        world.say_once(&format!("{REPOSITORY}/manifests/1.0"), challenge);
        world.rkt(&["fetch", APP]).env("PATH", helper.parent().expect("a folder"))
    };
    fetch("exit 3").refused(254, &["docker-credential-mute failed: without a word, exit status: 3"]);
    fetch("echo locked; exit 1").refused(254, &["docker-credential-mute failed: locked"]);
    let login = r#"echo '{"Username":"u","Secret":"hidden"}'; exit 1"#;
    let failed = fetch(login).refused(254, &["docker-credential-mute failed: exit status: 1"]);
    failed.require(!failed.stderr.contains("hidden"), "no secret");
}

#[test]
fn every_command_takes_every_word_for_an_image() {
    needs!(root, "busybox");
    let world = World::new();
    let manifest = make(&world);
    push(&world, &manifest);
    // An index, which leads to the manifest by another digest than its own.
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size":
            fs::metadata(world.scratch.work().join("layout/blobs").join(manifest.replace(':', "/"))).expect("ours").len()}]});
    let index_digest = format!("sha256:{}", tree::sha256(index.to_string().as_bytes()));
    world.put(&format!("{REPOSITORY}/manifests/{index_digest}"), index.to_string());
    for target in ["oci-archive:layout.tar:1.0", "docker-archive:docker.tar:example/app:1.0", "bundle:bundle"] {
        world.scratch.acbuild(["convert", "oci:layout:1.0", target]).ok();
    }
    let plain = world.publish("plain", &[]);
    world.put("images.example.com/direct.aci", plain);
    let by_digest = format!("docker://images.example.com/team/app@{manifest}");
    let by_index = format!("docker://images.example.com/team/app@{index_digest}");
    let both = format!("docker://images.example.com/team/app:1.0@{manifest}");
    let words = [
        APP,
        &by_digest,
        &by_index,
        &both,
        "oci:layout",
        "oci:./layout:1.0",
        "oci-archive:layout.tar",
        "docker-archive:docker.tar:example/app:1.0",
        "bundle:bundle",
        "./bundle",
        "bundle",
        "plain.aci",
        "./plain.aci",
        "https://images.example.com/direct.aci",
        "example.com/plain:1.0,os=linux",
    ];
    for word in words {
        let rkt = |args: &[&str]| world.rkt(&[&["--insecure-options=image"], args].concat());
        let id = rkt(&["fetch", "--full", word]).ok().text().to_owned();
        let asked = world.requests();
        let by_id = [word, &id, &id[..20]];
        for &by in if word == APP { &by_id[..] } else { &by_id[..1] } {
            rkt(&["run", by]).ok().prints(&["I am"]);
            rkt(&["image", "cat-manifest", by]).ok().prints(&["I am"]);
            rkt(&["image", "verify", by]).ok().prints(&[&id[..19]]);
            rkt(&["image", "usage", by]).ok().prints(&[&id[..19]]);
            rkt(&["image", "tree", "--full", by]).ok().prints(&[&id]);
            rkt(&["image", "diff", by, &id]).ok();
            rkt(&["image", "export", "--overwrite", by, "exported"]).ok();
            rkt(&["image", "extract", "--overwrite", "--rootfs-only", by, "extracted"]).ok();
            rkt(&["image", "render", "--overwrite", "--rootfs-only", by, "rendered"]).ok();
            for made in ["extracted", "rendered"] {
                assert!(world.scratch.work().join(made).join("bin/busybox").is_file(), "{by}: {made}");
            }
            let acbuild = |args: &[&str]| {
                let command = world.scratch.acbuild(args).env("SSL_CERT_FILE", &world.authority);
                command.env("HTTPS_PROXY", world.server.proxy())
            };
            acbuild(&["cat-manifest", by]).ok().prints(&["I am"]);
            acbuild(&["diff", by, &id]).ok();
            acbuild(&["validate", "--insecure-options=image", by]).ok();
            acbuild(&["begin", "--insecure-options=image", by]).ok();
            acbuild(&["end"]).ok();
        }
        assert!(word.starts_with("docker:") || world.requests() == asked, "{word}: it is there");
        rkt(&["image", "rm", word]).ok().prints(&[&id]);
        assert_eq!(ids(&world), 0, "{word}");
        rkt(&["image", "rm", word]).refused(254, &["cannot find image"]);
    }
    // What lies here is found whatever word it came by.
    let id = world.rkt(&["fetch", "--full", "oci:layout:1.0"]).ok().text().to_owned();
    for word in ["oci:layout", "oci-archive:layout.tar", "docker-archive:docker.tar"] {
        world.rkt(&["image", "verify", word]).ok().prints(&[&id[..19]]);
    }
    world.rkt(&["image", "rm", "oci-archive:layout.tar:1.0"]).ok().prints(&[&id]);
}

#[test]
fn logins_stay_with_the_registry() {
    needs!(root, "busybox");
    let world = World::new();
    let manifest = make(&world);
    push(&world, &manifest);
    let auth = json!({"rktKind": "dockerAuth", "rktVersion": "v1", "registries": ["images.example.com"],
        "credentials": {"user": "me", "password": "very-secret"}});
    world.scratch.file("../local/auth.d/docker.json", auth.to_string());
    let challenge = Reply::status(401).with("WWW-Authenticate", "Basic realm=\"team\"");
    world.say_once(&format!("{REPOSITORY}/manifests/1.0"), challenge.clone());
    let layout = world.scratch.work().join("layout");
    let manifest: Value = read(&layout.join("blobs/sha256").join(&manifest["sha256:".len()..]));
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
    world.put("other.example.org/layer", fs::read(layout.join("blobs/sha256").join(&layer[7..])).expect("ours"));
    world.say_once(&format!("{REPOSITORY}/blobs/{layer}"), Reply::redirect("https://other.example.org/layer"));
    let fetched = world.rkt(&["--debug", "fetch", APP]).ok();
    let told = world.server.seen().into_iter().filter(|request| request.header("authorization").is_some());
    let told: Vec<String> = told.map(|request| request.host).collect();
    assert!(told.len() > 1 && told.iter().all(|host| host == "images.example.com"), "{told:?}");
    assert!(world.server.seen().iter().any(|request| request.host == "other.example.org"));
    world.say_once(&format!("{REPOSITORY}/manifests/2.0"), challenge);
    let refused = world.rkt(&["--debug", "fetch", "docker://images.example.com/team/app:2.0"]).exits(254);
    for text in [&fetched.stderr, &refused.stderr] {
        assert!(!text.contains("very-secret") && !text.contains("bWU6"), "{text}");
    }
}

pub(super) fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("ours")).expect("JSON")
}

/// Signs the image as cosign does.
fn sign(world: &World, key: &str, manifest: &str) {
    let statement = json!({"critical": {"identity": {"docker-reference": "images.example.com/team/app"},
        "image": {"docker-manifest-digest": manifest}, "type": "cosign container image signature"}, "optional": null});
    let statement = statement.to_string();
    world.scratch.file("statement", &statement);
    let sign = format!("openssl dgst -sha256 -sign {key} statement | openssl base64 -A");
    let signature = Cmd::new("sh").args(["-c", &sign]).cwd(world.scratch.work()).ok().text().to_owned();
    let put = |content: &str| {
        let digest = format!("sha256:{}", tree::sha256(content.as_bytes()));
        world.put(&format!("{REPOSITORY}/blobs/{digest}"), content);
        json!({"digest": digest, "size": content.len()})
    };
    let (mut config, mut layer) = (put("{}"), put(&statement));
    config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    layer["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let signed = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer]});
    world.put(&format!("{REPOSITORY}/manifests/{}.sig", manifest.replace(':', "-")), signed.to_string());
}

#[test]
fn a_policy_demands_signatures_in_registries() {
    needs!(root, "busybox", "openssl");
    let world = World::new();
    let manifest = make(&world);
    push(&world, &manifest);
    for key in ["team", "stranger"] {
        let make = format!(
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}.key &&
             openssl pkey -in {key}.key -pubout -out {key}.pub"
        );
        Cmd::new("sh").args(["-c", &make]).cwd(world.scratch.work()).ok();
    }
    world.rkt(&["fetch", APP]).ok();
    let key = world.scratch.work().join("team.pub");
    policy(
        &world,
        &json!({"rktKind": "trust", "rktVersion": "v1",
            "registries": [{"prefix": "images.example.com/team", "keys": [key]}]}),
    );
    // It came before there was a policy.
    world.rkt(&["run", "--pull-policy=never", APP]).refused(254, &["policy demands", "--pull-policy=update"]);
    for policy in ["new", "update"] {
        let run = world.rkt(&["run", &format!("--pull-policy={policy}"), APP]);
        run.refused(254, &["is not signed as the policy demands", "--insecure-options=image"]);
    }
    world.rkt(&["run", "--insecure-options=image", APP]).ok();
    sign(&world, "stranger.key", &manifest);
    world.rkt(&["run", APP]).refused(254, &["signed by none of the keys"]);
    sign(&world, "team.key", &manifest);
    world.rkt(&["run", APP]).ok().says(&["signature of docker://images.example.com/team/app:1.0 verified"]);
    let asked = world.requests();
    for policy in ["never", "new"] {
        world.rkt(&["run", &format!("--pull-policy={policy}"), APP]).ok().prints(&["I am app"]);
    }
    assert_eq!(world.requests(), asked, "it was checked when it came");
    let verify = |args: &[&str]| {
        let command = world.scratch.acbuild([&["verify"], args].concat()).env("SSL_CERT_FILE", &world.authority);
        command.env("HTTPS_PROXY", world.server.proxy()).env("XDG_CONFIG_HOME", world.scratch.path())
    };
    verify(&["--key=team.pub", APP]).ok().prints(&["signed with a key that was given"]);
    verify(&["--key=stranger.pub", APP]).refused(1, &["signed by none of the keys"]);
    verify(&[APP]).refused(1, &["give --key PUBKEY"]);
}

#[test]
fn builds_begin_with_them() {
    needs!(root, "busybox");
    let world = World::new();
    let manifest = make(&world);
    push(&world, &manifest);
    world.scratch.acbuild(["convert", "oci:layout:1.0", "bundle:bundle"]).ok();
    let acbuild = |args: &[&str]| {
        let command = world.scratch.acbuild(args).env("SSL_CERT_FILE", &world.authority);
        command.env("HTTPS_PROXY", world.server.proxy())
    };
    let address = format!("https://{}", super::place("app", "latest"));
    acbuild(&["begin", &address]).refused(1, &["begin: ", "404", "--insecure-options=image"]);
    acbuild(&["begin", "docker://images.example.com/team/none"]).refused(1, &["begin: ", "no tag"]);
    for start in [APP, "oci:layout:1.0", "bundle:bundle", &address, "example.com/app:1.0"] {
        acbuild(&["begin", "--insecure-options=image", start]).ok();
        let manifest = acbuild(&["cat-manifest"]).ok();
        manifest.prints(&["I am app"]);
        assert!(world.scratch.work().join(".acbuild/currentaci/rootfs/bin/busybox").is_file(), "{start}");
        acbuild(&["end"]).ok();
    }
    // What is stored is taken, until somebody asks for the newest.
    world.scratch.acbuild(["--modify-oci=oci:layout:1.0", "label", "add", "note", "I am newer"]).ok();
    let index = read(&world.scratch.work().join("layout/index.json"));
    push(&world, index["manifests"][0]["digest"].as_str().expect("a digest"));
    for (policy, newer) in [("new", false), ("never", false), ("update", true), ("new", true)] {
        acbuild(&["begin", "--build-mode=oci", &format!("--pull-policy={policy}"), APP]).ok();
        let config = acbuild(&["cat-manifest", "--file=config"]).ok();
        assert_eq!(config.stdout.contains("I am newer"), newer, "{policy}");
        acbuild(&["end"]).ok();
    }
}
