//! Images to and from a real registry, and those that buildah and umoci build.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::engine::Daemon;
use support::{Cmd, Scratch, busybox_image, needs, tree};

const LOGIN: &str = "someone:secret";

/// A registry on loopback, with a certificate of its own and one login.
struct Registry {
    // In this order: it must have ended before its folder goes.
    _daemon: Daemon,
    address: String,
    scratch: Scratch,
}

impl Registry {
    fn start() -> Self {
        let scratch = Scratch::new();
        let path = |name: &str| scratch.path().join(name).display().to_string();
        let tool = |name: &str, args: &[&str]| Cmd::new(name).args(args).cwd(scratch.path()).ok();
        let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out ca.crt -subj /CN=registry";
        // A server that is an authority, too, is not trusted by everyone.
        let names = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
        tool("openssl", &format!("{request} {names}").split(' ').collect::<Vec<_>>());
        let (user, password) = LOGIN.split_once(':').expect("it has two parts");
        let known = tool("htpasswd", &["-Bbn", user, password]).stdout;
        fs::write(scratch.path().join("htpasswd"), known).expect("the folder is ours");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port is free");
        let config = json!({
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": path("stored")}},
            "http": {"addr": free.to_string(), "tls": {"certificate": path("ca.crt"), "key": path("key.pem")}},
            "auth": {"htpasswd": {"realm": "registry", "path": path("htpasswd")}},
        });
        fs::write(scratch.path().join("config.yml"), config.to_string()).expect("the folder is ours");
        let serve = Cmd::new("docker-registry").cwd(scratch.path()).args(["serve", "config.yml"]);
        let ready = format!(": </dev/tcp/127.0.0.1/{}", free.port());
        let daemon = Daemon::start(&serve, &Cmd::new("bash").args(["-c", &ready]), &[]);
        let registry = Self { _daemon: daemon, address: free.to_string(), scratch };
        fs::create_dir(registry.file("logins")).expect("the folder is ours");
        let encoded = Cmd::new("openssl").args(["base64", "-A"]).input(LOGIN).ok();
        let logins = json!({"auths": {(registry.address.as_str()): {"auth": encoded.text()}}});
        fs::write(registry.file("logins/config.json"), logins.to_string()).expect("the folder is ours");
        registry
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn image(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    fn acbuild(&self, args: &[&str]) -> Cmd {
        self.knows_it(self.scratch.acbuild(["convert"].iter().chain(args)))
    }

    fn knows_it(&self, command: Cmd) -> Cmd {
        let command = command.env("SSL_CERT_FILE", self.file("ca.crt")).env("DOCKER_CONFIG", self.file("logins"));
        command.env("NO_PROXY", "127.0.0.1")
    }

    fn convert(&self, args: &[&str]) -> String {
        self.acbuild(args).ok().text().to_owned()
    }

    fn skopeo(&self, args: &[&str]) -> Cmd {
        // Its directory of certificates is to hold nothing else.
        let certificates = self.file("certificates");
        fs::create_dir_all(&certificates).expect("the folder is ours");
        fs::copy(self.file("ca.crt"), certificates.join("ca.crt")).expect("the folder is ours");
        let command = Cmd::new("skopeo").cwd(self.scratch.work()).arg("--insecure-policy").args(args);
        command.env("DOCKER_CONFIG", self.file("logins")).env("SSL_CERT_FILE", self.file("ca.crt"))
    }
}

#[test]
fn a_registry_with_tls_and_logins_takes_images_and_gives_them_back() {
    needs!("busybox", "docker-registry", "htpasswd", "openssl", "skopeo", "bash");
    let registry = Registry::start();
    let scratch = &registry.scratch;
    busybox_image(scratch, "app", "example.com/app", &["set-exec -- /bin/true", "label add version 1.0"]);
    let id = scratch.rkt(["fetch", "--full", "./app.aci"]).ok().text().to_owned();
    let ours = registry.image("team/app:1.0");
    // Neither without a login, nor to a stranger.
    let stranger = registry.acbuild(&["app.aci", &ours]);
    stranger.env("DOCKER_CONFIG", registry.file("nothing")).refused(1, &["convert: ", "log"]);
    registry.acbuild(&["app.aci", &ours]).env("SSL_CERT_FILE", "/dev/null").refused(1, &["convert: ", "certificate"]);
    let digest = registry.convert(&["app.aci", &ours]);
    assert_eq!(registry.convert(&["app.aci", &ours]), digest, "pushed again");
    assert_eq!(registry.convert(&[&ours, "back.aci"]), id);

    let seen = registry.skopeo(&["inspect", &ours]).ok().json();
    assert_eq!(seen["Digest"], json!(digest));
    registry.skopeo(&["copy", &ours, "oci:pulled:1.0"]).ok();
    assert_eq!(registry.convert(&["oci:pulled:1.0", "pulled.aci"]), id);
    // What another client pushes, in docker's format: a digest of its own, which is kept.
    let theirs = registry.image("team/theirs:2.0");
    registry.skopeo(&["copy", "--format", "v2s2", "oci:pulled:1.0", &theirs]).ok();
    let digest = registry.skopeo(&["inspect", &theirs]).ok().json()["Digest"].clone();
    assert_eq!(json!(registry.convert(&[&theirs, "oci:theirs:2.0"])), digest);
    registry.convert(&[&theirs, "theirs.aci"]);
    assert_eq!(json!(registry.convert(&["theirs.aci", &registry.image("team/again:2.0")])), digest);
    let by_digest = format!("{}@{}", registry.image("team/again"), digest.as_str().expect("a digest"));
    registry.convert(&[&by_digest, "by-digest.aci"]);
}

/// Puts a manifest about the image with this digest into a layout, and returns its digest.
fn sign(scratch: &Scratch, layout: &str, image: &str) -> String {
    let dir = scratch.work().join(layout);
    let put = |content: &str, media_type: &str| {
        let hex = tree::sha256(content.as_bytes());
        fs::write(dir.join("blobs/sha256").join(&hex), content).expect("the layout is ours");
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len()})
    };
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let size = fs::metadata(dir.join("blobs").join(image.replace(':', "/"))).expect("it is there").len();
    let signature = json!({"schemaVersion": 2, "mediaType": manifest, "artifactType": "application/x-signature",
        "config": put("{}", "application/vnd.oci.empty.v1+json"), "layers": [put("signed", "text/plain")],
        "subject": {"mediaType": manifest, "digest": image, "size": size}});
    let entry = put(&signature.to_string(), manifest);
    let mut index = index(scratch, layout);
    index["manifests"].as_array_mut().expect("a list").push(entry.clone());
    fs::write(dir.join("index.json"), index.to_string()).expect("the layout is ours");
    entry["digest"].as_str().expect("text").to_owned()
}

fn index(scratch: &Scratch, layout: &str) -> Value {
    let text = fs::read(scratch.work().join(layout).join("index.json")).expect("it is there");
    serde_json::from_slice(&text).expect("it is JSON")
}

#[test]
fn signatures_go_to_a_registry_without_lists_of_them_and_come_back() {
    needs!("busybox", "docker-registry", "htpasswd", "openssl", "skopeo", "bash");
    let registry = Registry::start();
    let scratch = &registry.scratch;
    busybox_image(scratch, "app", "example.com/app", &["set-exec -- /bin/true", "label add version 1.0"]);
    let image = registry.convert(&["app.aci", "oci:layout:1.0"]);
    let signature = sign(scratch, "layout", &image);
    let (there, copied) = (registry.image("team/app:1.0"), registry.image("team/copied:1.0"));
    assert_eq!(registry.convert(&["oci:layout", &there]), image, "a signature is no second image");
    // What other clients look at, too.
    let list = format!("{}:{}", registry.image("team/app"), image.replace(':', "-"));
    let list = registry.skopeo(&["inspect", "--raw", &list]).ok().json();
    assert_eq!(list["manifests"][0]["digest"], json!(signature));
    assert_eq!(list["manifests"][0]["artifactType"], "application/x-signature");
    registry.convert(&[&there, &copied]);
    registry.convert(&[&copied, "oci:back:1.0"]);
    assert_eq!(index(scratch, "back")["manifests"][1]["digest"], json!(signature));
    registry.convert(&["--no-referrers", &copied, "oci:bare:1.0"]);
    assert_eq!(index(scratch, "bare")["manifests"].as_array().map(Vec::len), Some(1));
    let made = registry.acbuild(&[&copied, "app-again.aci"]).ok();
    made.says(&["left out: 1 manifest(s) about the image"]);

    // By way of the store, with what only a tag stands for.
    busybox_image(scratch, "signed", "example.com/signed", &["label add version 1.0"]);
    let tag = format!("{}.sig", image.replace(':', "-"));
    let by_tag = registry.convert(&["signed.aci", &format!("{}:{tag}", registry.image("team/app"))]);
    let rkt = |args: &[&str]| registry.knows_it(scratch.rkt(args)).ok();
    let id = rkt(&["fetch", "--full", &there]).text().to_owned();
    rkt(&["image", "verify", &id]);
    rkt(&["image", "export", &id, "exported.tar"]);
    registry.convert(&["oci-archive:exported.tar", "oci:exported:1.0"]);
    let about = |place: &str| {
        let index = index(scratch, place);
        let all = index["manifests"].as_array().expect("a list").iter();
        let all = all.map(|one| one["digest"].as_str().expect("text").to_owned());
        all.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(about("exported"), [image, signature, by_tag].into());
    rkt(&["image", "export", "--aci", &id, "exported.aci"]).says(&["left out: 2 manifest(s) about the image"]);
    rkt(&["image", "rm", &id]);
    let blobs = fs::read_dir(scratch.data().join("store/blobs/sha256")).expect("the store is ours");
    assert_eq!(blobs.count(), 0);
}

#[test]
fn the_signature_of_an_index_goes_along_with_one_of_its_images() {
    needs!("busybox", "docker-registry", "htpasswd", "openssl", "skopeo", "bash");
    let registry = Registry::start();
    let scratch = &registry.scratch;
    busybox_image(scratch, "app", "example.com/app", &["set-exec -- /bin/true", "label add version 1.0"]);
    let image = registry.convert(&["app.aci", "oci:layout:1.0"]);
    let mut all = index(scratch, "layout");
    let mut entry = all["manifests"][0].clone();
    entry.as_object_mut().expect("a descriptor").remove("annotations");
    let media_type = "application/vnd.oci.image.index.v1+json";
    let signed = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}).to_string();
    let hex = tree::sha256(signed.as_bytes());
    fs::write(scratch.work().join("layout/blobs/sha256").join(&hex), &signed).expect("the layout is ours");
    all["manifests"] = json!([{"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": signed.len(),
        "annotations": {"org.opencontainers.image.ref.name": "all"}}]);
    fs::write(scratch.work().join("layout/index.json"), all.to_string()).expect("the layout is ours");
    let signature = sign(scratch, "layout", &format!("sha256:{hex}"));

    let (whole, one) = (registry.image("team/whole:1.0"), registry.image("team/one:1.0"));
    assert_eq!(registry.convert(&["--all-platforms", "oci:layout:all", &whole]), format!("sha256:{hex}"));
    // From there one image, into a registry that does not have the index.
    assert_eq!(registry.convert(&[&whole, &one]), image);
    let list = format!("{}:sha256-{hex}", registry.image("team/one"));
    let list = registry.skopeo(&["inspect", "--raw", &list]).ok().json();
    assert_eq!(list["manifests"][0]["digest"], json!(signature));
    registry.convert(&[&one, "oci:back:1.0"]);
    assert_eq!(fs::read(scratch.work().join("back/blobs/sha256").join(&hex)).ok(), Some(signed.into_bytes()));
    let listed = index(scratch, "back")["manifests"].as_array().expect("a list").clone();
    assert!(listed.iter().any(|entry| entry["digest"] == json!(signature)), "{listed:?}");
    registry.skopeo(&["copy", "oci:back:1.0", "oci:copied:1.0"]).ok();
}

#[test]
fn a_build_is_pushed_and_built_upon() {
    needs!("docker-registry", "htpasswd", "openssl", "skopeo", "bash");
    let registry = Registry::start();
    registry.scratch.file("f", "f");
    let build = |line: &str| {
        let command = registry.scratch.acbuild(line.split(' ')).env("SSL_CERT_FILE", registry.file("ca.crt"));
        let command = command.env("DOCKER_CONFIG", registry.file("logins")).env("NO_PROXY", "127.0.0.1");
        command.ok().text().to_owned()
    };
    let (first, second) = (registry.image("team/built:1.0"), registry.image("team/built:2.0"));
    build("begin --build-mode=oci");
    build("copy f /f");
    build("set-exec /f");
    let digest = build(&format!("write {first}"));
    assert_eq!(registry.skopeo(&["inspect", &first]).ok().json()["Digest"], json!(digest));
    build("end");
    build(&format!("begin --build-mode=oci {first}"));
    build("copy f /g");
    build(&format!("write {second}"));
    let layers = |image: &str| registry.skopeo(&["inspect", image]).ok().json()["Layers"].as_array().cloned();
    let (below, all) = (layers(&first).unwrap_or_default(), layers(&second).unwrap_or_default());
    assert_eq!((below.len(), all.len(), &below[0]), (1, 2, &all[0]));
}

/// Everything about the files of a root file system that containers see, but for the times.
fn listing(scratch: &Scratch, rootfs: &str) -> String {
    let print = "-type d -printf '%P d %m %U:%G\\n' -o -printf '%P %y %m %U:%G %n %s %l\\n'";
    let script = format!(
        "cd {rootfs} && find . {print} | LC_ALL=C sort && find . -type f -exec sha256sum {{}} + | LC_ALL=C sort"
    );
    Cmd::new("bash").cwd(scratch.work()).args(["-c", &script]).ok().stdout
}

/// What `acbuild convert` makes of an image of `layout` is what umoci makes of it, by every way.
#[track_caller]
fn same_as_umoci(scratch: &Scratch, layout: &str, layers: usize) {
    let image = format!("{layout}:1.0");
    Cmd::new("umoci").cwd(scratch.work()).args(["unpack", "--image", &image, "umoci"]).ok();
    let expected = listing(scratch, "umoci/rootfs");
    let convert = |args: &[&str]| scratch.acbuild(["convert"].iter().chain(args)).ok().text().to_owned();
    convert(&[&format!("oci:{image}"), "bundle:direct"]);
    assert_eq!(listing(scratch, "direct/rootfs"), expected);
    convert(&[&format!("oci:{image}"), "image.aci"]);
    convert(&["image.aci", "bundle:by-aci"]);
    assert_eq!(listing(scratch, "by-aci/rootfs"), expected);
    // And the very image comes back.
    let digest = convert(&["image.aci", "oci:back:1.0"]);
    let path = scratch.work().join("back/blobs").join(digest.replace(':', "/"));
    let manifest: Value = serde_json::from_slice(&fs::read(path).expect("it is there")).expect("it is JSON");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(layers));
    let index = fs::read_to_string(scratch.work().join(layout).join("index.json")).expect("it is there");
    assert!(index.contains(&digest), "{digest} is not in {index}");
}

/// Files, and what a second layer does to them.
const FIRST: &str = "mkdir -p etc dir/sub gone again links moved && echo m >moved/m && echo one >etc/one && echo old >etc/again && echo x >dir/x && \
    echo y >dir/sub/y && echo z >gone/z && echo a >again/a && echo linked >links/first && ln -s ../etc/one links/soft && \
    chown 12:34 etc/one && chmod 4755 links/first";
const SECOND: &str = "rm -r gone dir etc/again && mkdir dir && echo new >dir/new && echo again >etc/again && \
    rm -r again moved && echo file >again && ln -s etc moved && ln links/first links/second && mkdir gone.not && echo 2 >etc/two";

#[test]
fn images_by_umoci_come_in() {
    needs!(root, "umoci", "bash");
    let scratch = Scratch::new();
    let umoci = |args: &[&str]| drop(Cmd::new("umoci").cwd(scratch.work()).args(args).ok());
    umoci(&["init", "--layout", "layout"]);
    umoci(&["new", "--image", "layout:1.0"]);
    for (bundle, script) in [("first", FIRST), ("second", SECOND)] {
        umoci(&["unpack", "--image", "layout:1.0", bundle]);
        Cmd::new("bash").cwd(scratch.work().join(bundle).join("rootfs")).args(["-ec", script]).ok();
        umoci(&["repack", "--image", "layout:1.0", bundle]);
    }
    same_as_umoci(&scratch, "layout", 2);
}

#[test]
fn a_file_that_umoci_puts_below_a_link_is_where_the_link_leads() {
    needs!(root, "umoci", "bash");
    let scratch = Scratch::new();
    let umoci = |args: &[&str]| drop(Cmd::new("umoci").cwd(scratch.work()).args(args).ok());
    umoci(&["init", "--layout", "layout"]);
    umoci(&["new", "--image", "layout:1.0"]);
    umoci(&["unpack", "--image", "layout:1.0", "bundle"]);
    let script = "mkdir -p usr/lib/deep var/lib real && ln -s usr/lib lib && ln -s ../../usr var/lib/up && echo 1 >usr/lib/one && \
        chmod 750 usr/lib && ln -s /real usr/lib/far && ln -s nowhere dangling && echo gone >real/gone";
    Cmd::new("bash").cwd(scratch.work().join("bundle/rootfs")).args(["-ec", script]).ok();
    umoci(&["repack", "--image", "layout:1.0", "bundle"]);
    scratch.file("two", "two");
    // Without the directories above them.
    for place in ["/lib/two", "/lib/deep/two", "/var/lib/up/lib/deep/three", "/lib/far/two"] {
        umoci(&["insert", "--image", "layout:1.0", "two", place]);
    }
    umoci(&["insert", "--image", "layout:1.0", "--whiteout", "/lib/far/gone"]);
    umoci(&["insert", "--image", "layout:1.0", "--whiteout", "/none/gone"]);
    same_as_umoci(&scratch, "layout", 7);
    scratch.rkt(["image", "render", "--rootfs-only", "oci:layout:1.0", "rendered"]).ok();
    scratch.acbuild(["begin", "oci:layout:1.0"]).ok();
    scratch.acbuild(["end"]).ok();
    assert_eq!(listing(&scratch, "rendered"), listing(&scratch, "umoci/rootfs"));
}

#[test]
fn images_by_buildah_come_in() {
    needs!(root, "buildah", "umoci", "bash");
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    // Below a folder that is removed with all that was mounted in it.
    let buildah = |args: &[&str]| {
        let command = Cmd::new("buildah").cwd(scratch.work()).args(["--root", &path("storage")]);
        let command = command.args(["--runroot", &path("run"), "--storage-driver", "vfs"]).args(args);
        command.env("HOME", scratch.path()).env("BUILDAH_ISOLATION", "chroot").ok().text().to_owned()
    };
    let mut from = "scratch".to_owned();
    for (script, name) in [(FIRST, "first"), (SECOND, "second")] {
        let container = buildah(&["from", &from]);
        let mounted = buildah(&["mount", &container]);
        Cmd::new("bash").cwd(&mounted).args(["-ec", script]).ok();
        buildah(&["umount", &container]);
        buildah(&["config", "--cmd", "/bin/true", "--stop-signal", "SIGINT", "--port", "80", &container]);
        from = format!("localhost/{name}");
        buildah(&["commit", "--quiet", &container, &from]);
        buildah(&["rm", &container]);
    }
    buildah(&["push", "--quiet", "localhost/second", "oci:layout:1.0"]);
    same_as_umoci(&scratch, "layout", 2);
}
