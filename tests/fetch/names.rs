//! App Container images.

use std::fs;
use std::time::Duration;

use support::{Cmd, Gpg, Reply, Terminal, needs};

use super::{World, etag, place};

#[test]
fn a_name_is_found_fetched_and_run() {
    needs!(root, "busybox");
    let world = World::new();
    world.publish("app", &[]);
    let id = world.rkt(&["--insecure-options=image", "fetch", "--full", "example.com/app:1.0"]).ok();
    assert_eq!(world.server.lines()[..2], ["GET example.com/app?ac-discovery=1", "GET example.com/?ac-discovery=1"]);
    assert_eq!(world.asked_since(0), ["GET app-1.0-linux.aci"]);
    world.rkt(&["run", "example.com/app:1.0"]).ok().prints(&["I am app"]);
    let by_address = world.rkt(&["run", "--insecure-options=image", &format!("https://{}", place("app", "latest"))]);
    by_address.ok().prints(&["I am app"]);
    assert_eq!(world.rkt(&["image", "list", "--no-legend"]).ok().stdout.lines().count(), 1, "the same image");
    let list = world.rkt(&["image", "list", "--format=json"]).ok().json();
    assert_eq!(list[0]["id"].as_str(), Some(id.text()));

    // Every command finds it, not only these two.
    world.rkt(&["image", "rm", "example.com/app:1.0"]).ok();
    let shown = world.rkt(&["--insecure-options=image", "image", "cat-manifest", "example.com/app:1.0"]).ok();
    shown.prints(&["example.com/app"]);
    world
        .rkt(&["image", "cat-manifest", "example.com/nothing"])
        .refused(254, &["example.com/nothing", "not found", "404"]);

    // Without a network, and without the right to ask for it.
    world.scratch.rkt(["run", "example.com/app:1.0"]).ok();
    let unknown = world.rkt(&["fetch", "example.com/nothing"]);
    unknown.refused(254, &["fetch: example.com/nothing", "not found", "nothing-latest-linux.aci", "404"]);
    let elsewhere = world.scratch.rkt(["fetch", "https://images.example.com/x.aci"]);
    elsewhere.refused(254, &["fetch: https://images.example.com/x.aci"]);
}

#[test]
fn the_policy_says_when_the_network_is_asked() {
    needs!(root, "busybox");
    let world = World::new();
    world.publish("app", &[]);
    let fetch = |policy: &str| {
        let before = world.requests();
        let command = world.rkt(&["--insecure-options=image", "fetch", policy, "example.com/app"]);
        (command, before)
    };
    let (command, before) = fetch("--pull-policy=never");
    command.refused(254, &["fetch: example.com/app", "no image"]);
    assert_eq!(world.requests(), before);
    let (command, before) = fetch("--pull-policy=new");
    let first = command.ok().text().to_owned();
    assert_eq!(world.asked_since(before).len(), 1);
    for policy in ["--pull-policy=new", "--pull-policy=never"] {
        let (command, before) = fetch(policy);
        assert_eq!(command.ok().text(), first);
        assert_eq!(world.requests(), before, "{policy}");
    }
    // Whether it has changed is asked, and nothing is sent when it has not.
    let (command, _) = fetch("--pull-policy=update");
    assert_eq!(command.ok().text(), first);
    assert!(world.server.seen().last().is_some_and(|request| request.header("if-none-match").is_some()));
    let other = world.publish("other", &["set-name example.com/app"]);
    world.put(&place("app", "latest"), other);
    let (command, _) = fetch("--pull-policy=new");
    assert_eq!(command.ok().text(), first);
    world.rkt(&["run", "--pull-policy=never", "example.com/app"]).ok().prints(&["I am app"]);
    let updated = world.rkt(&["run", "--pull-policy=update", "--insecure-options=image", "example.com/app"]);
    updated.ok().prints(&["I am other"]);
}

#[test]
fn images_from_elsewhere_are_signed() {
    needs!(root, "busybox", "gpg");
    let (world, gpg) = (World::new(), Gpg::new());
    gpg.simple("maker");
    gpg.simple("stranger");
    let content = world.publish("app", &[]);
    let signature = format!("{}.asc", place("app", "latest"));
    let fetch = || world.rkt(&["fetch", "example.com/app"]);
    fetch().refused(254, &["app-latest-linux.aci.asc", "404", "--insecure-options=image"]);
    world.put(&signature, gpg.sign("stranger", &content));
    fetch().refused(254, &["rkt trust"]);
    let key = world.scratch.file("key.gpg", gpg.export("maker")).display().to_string();
    world.rkt(&["trust", "--prefix=example.com/app", "--skip-fingerprint-review", &key]).ok();
    fetch().refused(254, &["unknown entity"]);
    world.put(&signature, gpg.sign("maker", b"another image"));
    fetch().refused(254, &["is not one of this image"]);
    assert_eq!(world.rkt(&["image", "list", "--no-legend"]).ok().stdout, "", "nothing of that was stored");
    world.put(&signature, gpg.sign("maker", &content));
    fetch().ok().says(&["signature verified: maker"]);

    // A signature that is at hand already.
    let part = world.publish("app/part", &[]);
    let by_hand = world.scratch.file("by-hand.asc", gpg.sign("maker", &part));
    let by_hand = format!("--signature={}", by_hand.display());
    world.rkt(&["run", "example.com/app/part", &by_hand]).ok().prints(&["I am app/part"]);
    // Keys are for what they were trusted for.
    let other = world.publish("other", &[]);
    world.put(&format!("{}.asc", place("other", "latest")), gpg.sign("maker", &other));
    world.rkt(&["run", "example.com/other"]).refused(254, &["run: example.com/other", "rkt trust"]);
    world.put("images.example.com/keys.gpg", gpg.export("maker"));
    let trusting = world.rkt(&["run", "--trust-keys-from-https", "example.com/other"]).ok();
    trusting.says(&["trusting the key of maker for example.com/other"]);
    trusting.prints(&["I am other"]);
}

#[test]
fn what_an_image_depends_on_comes_along() {
    needs!(root, "busybox");
    let world = World::new();
    world.publish("base", &[]);
    let library = world.scratch.file("library", "of the library");
    world.publish("library", &["dependency add example.com/base", &format!("copy {} /library", library.display())]);
    world.publish("app", &["dependency add example.com/base", "dependency add example.com/library:1.0"]);
    let run = world.rkt(&["--insecure-options=image", "run", "example.com/app", "--exec=/bin/cat", "--", "/library"]);
    run.ok().prints(&["of the library"]);
    let mut asked = world.asked_since(0);
    asked.sort();
    assert_eq!(
        asked,
        ["GET app-latest-linux.aci", "GET base-latest-linux.aci", "GET library-1.0-linux.aci"],
        "each once"
    );
    world.publish("lost", &["dependency add example.com/away"]);
    let lost = world.rkt(&["--insecure-options=image", "run", "example.com/lost"]);
    lost.refused(254, &["dependency example.com/away of example.com/lost", "404"]);
}

#[test]
fn an_interrupted_download_goes_on() {
    needs!(root, "busybox", "setsid");
    let world = World::new();
    let content = world.publish("app", &[]);
    let piece = content.len() / 8;
    world.say_once(
        &place("app", "latest"),
        Reply::ok(content.clone()).with("ETag", &etag(&content)).slow(piece, Duration::from_secs(1)),
    );
    let fetch = || world.rkt(&["--insecure-options=image", "fetch", "example.com/app"]);
    let mut terminal = Terminal::start(&fetch());
    terminal.expect("app-latest-linux.aci [");
    terminal.send("\x03");
    let ended = terminal.wait();
    ended.require(ended.code() == 130, "an end by SIGINT");
    let partial = fs::read_dir(world.scratch.data().join("fetch/partial")).expect("it is kept");
    let have = partial.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).max();
    assert!(have.is_some_and(|have| have >= piece as u64), "{have:?}");

    let done = fetch().ok();
    done.require(done.stderr.is_empty(), "no bar on what is no terminal");
    let request = world.server.seen().pop().expect("it was asked");
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    assert!(range.is_some_and(|range: usize| range >= piece && range < content.len()), "{:?}", request.headers);
    world.rkt(&["image", "export", "example.com/app", "out.aci"]).ok();
    assert_eq!(fs::read(world.scratch.work().join("out.aci")).expect("exported"), content);
}

#[test]
fn logins_are_kept_secret() {
    needs!(root, "busybox");
    let world = World::new();
    let content = world.publish("app", &[]);
    world.scratch.file(
        "../local/auth.d/a.json",
        r#"{"rktKind": "auth", "rktVersion": "v1", "domains": ["images.example.com"],
        "type": "basic", "credentials": {"user": "me", "password": "very-secret"}}"#,
    );
    world.put("other.example.org/app.aci", content);
    world.say_once(&place("app", "latest"), Reply::redirect("https://other.example.org/app.aci"));
    let fetched = world.rkt(&["--debug", "--insecure-options=image", "fetch", "example.com/app"]).ok();
    let broken = world.rkt(&["fetch", "https://me:very-secret@/x.aci"]).exits(254);
    let sent: Vec<_> = world.server.seen().into_iter().filter(|r| r.header("authorization").is_some()).collect();
    assert!(!sent.is_empty() && sent.iter().all(|request| request.host == "images.example.com"));
    let url = "https://me:very-secret@images.example.com/missing.aci";
    let refused = world.rkt(&["--debug", "--insecure-options=image", "fetch", url]).exits(254);
    refused.says(&["https://images.example.com/missing.aci", "404"]);
    for text in [&fetched.stderr, &refused.stderr, &broken.stderr] {
        assert!(!text.contains("very-secret") && !text.contains("bWU6"), "{text}");
    }
    // Not even the address is kept with it.
    for file in fs::read_dir(world.scratch.data().join("fetch/known")).expect("there").flatten() {
        let text = fs::read_to_string(file.path()).expect("JSON");
        assert!(!text.contains("very-secret"), "{text}");
    }
}

/// What a server of S3's kind makes of a request, step by step as its reference has it.
const SIGNATURE_OF: &str = r#"
import hashlib, hmac, sys
method, host, path, date = sys.argv[1:]
empty = hashlib.sha256(b"").hexdigest()
names = "host;x-amz-content-sha256;x-amz-date"
lines = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{date}\n"
request = "\n".join([method, path, "", lines, names, empty])
scope = f"{date[:8]}/eu-west-1/s3/aws4_request"
text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(request.encode()).hexdigest()])
key = b"AWS4very-secret"
for part in scope.split("/"):
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
print(hmac.new(key, text.encode(), hashlib.sha256).hexdigest())
"#;

#[test]
fn requests_to_s3_are_signed() {
    needs!(root, "busybox", "python3");
    let world = World::new();
    let content = world.publish("app", &[]);
    world.scratch.file(
        "../local/auth.d/a.json",
        r#"{"rktKind": "auth", "rktVersion": "v1", "domains": ["images.example.com"], "type": "aws",
        "credentials": {"accessKeyID": "me", "secretAccessKey": "very-secret", "awsRegion": "eu-west-1"}}"#,
    );
    world.put("images.example.com/a%20bucket/app.aci", content);
    let url = "https://images.example.com/a%20bucket/app.aci";
    let fetched = world.rkt(&["--debug", "--insecure-options=image", "fetch", url]).ok();
    assert!(!fetched.stderr.contains("very-secret"), "{}", fetched.stderr);
    let request = world.server.seen().pop().expect("it was asked");
    let header = |name: &str| request.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", request.headers));
    let date = header("x-amz-date");
    let args = ["-c", SIGNATURE_OF, &request.method, &request.host, &request.path, date];
    let signature = Cmd::new("python3").args(args).ok().text().to_owned();
    let authorization = header("authorization");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=me/"), "{authorization}");
    assert!(authorization.ends_with(&format!(",Signature={signature}")), "{authorization}");
}

#[test]
fn keys_are_reviewed_on_a_terminal() {
    needs!(root, "busybox", "gpg", "setsid");
    let (world, gpg) = (World::new(), Gpg::new());
    let fingerprint = gpg.simple("maker");
    let content = world.publish("app", &[]);
    world.put(&format!("{}.asc", place("app", "latest")), gpg.sign("maker", &content));
    world.put("images.example.com/keys.gpg", gpg.export("maker"));
    // Nobody is there to be asked.
    world.rkt(&["fetch", "example.com/app"]).refused(254, &["rkt trust"]);
    assert!(world.asked_since(0).iter().all(|line| !line.ends_with("keys.gpg")));
    let fetch = || Terminal::start(&world.rkt(&["fetch", "example.com/app"]));
    let mut no = fetch();
    no.expect("gpg key fingerprint is: ");
    no.expect("maker");
    no.expect("Are you sure you want to trust this key (yes/no)?");
    no.send("no\n");
    no.expect("not trusting the keys from https://images.example.com/keys.gpg");
    let no = no.wait();
    no.require(no.code() == 254, "a refusal");
    let mut yes = fetch();
    yes.expect("(yes/no)?");
    yes.send("yes\n");
    let yes = yes.wait();
    yes.require(yes.code() == 0, "the image");
    let trusted = world.scratch.path().join("local/trustedkeys/prefix.d/example.com/app").join(fingerprint);
    assert!(trusted.is_file());
}

#[test]
fn what_is_larger_than_it_may_be_is_refused_and_leaves_nothing() {
    needs!(root, "busybox", "gzip");
    let world = World::new();
    let zeros = world.scratch.file("zeros", vec![0; 5 << 20]);
    world.publish("app", &[&format!("copy {} /zeros", zeros.display())]);
    let endless = || Reply::ok(vec![b'x'; 1 << 16]).endless(Duration::ZERO);
    world.say_once(&place("endless", "1.0"), endless());
    let address = format!("https://{}", place("endless", "1.0"));
    let rkt = |args: &[&str]| world.rkt(&[&["--insecure-options=image"], args].concat());
    rkt(&["--max-image-size=1Mi", "fetch", &address]).refused(254, &["too large", "1048576 bytes", "--max-image-size"]);
    world.say_once(&place("endless", "1.0"), endless());
    rkt(&["run", "--max-image-size=1Mi", &address]).refused(254, &["too large", "1048576 bytes"]);
    rkt(&["--max-image-size=0", "fetch", "app.aci"]).refused(254, &["\"0\" is no size", "20Gi"]);

    // It takes two megabytes, and seven when it is unpacked.
    for target in ["oci:layout:1.0", "docker-archive:docker.tar:x:1"] {
        world.scratch.acbuild(["convert", "app.aci", target]).ok();
    }
    for word in ["app.aci", "example.com/app:1.0", "oci:layout:1.0", "docker-archive:docker.tar"] {
        rkt(&["--max-image-size=4Mi", "fetch", word]).refused(254, &["too large", "4194304 bytes"]);
    }
    let acbuild = |args: &[&str]| world.scratch.acbuild([&["--max-image-size=4Mi"], args].concat());
    acbuild(&["begin", "./app.aci"]).refused(1, &["4194304 bytes"]);
    for [source, target] in [["app.aci", "oci:new"], ["app.aci", "bundle:new"], ["oci:layout", "new.aci"]] {
        acbuild(&["convert", source, target]).refused(1, &["4194304 bytes"]);
    }
    for made in ["new", "new.aci", ".acbuild"] {
        assert!(!world.scratch.work().join(made).exists(), "{made}");
    }
    for folder in ["fetch/partial", "tmp", "store/images"] {
        let left = fs::read_dir(world.scratch.data().join(folder)).expect("the store was made").count();
        assert_eq!(left, 0, "{folder}");
    }
    rkt(&["--max-image-size=20Mi", "fetch", "example.com/app:1.0"]).ok();
}
