//! Keeping images: every `rkt image` command over ACIs and OCI images, and what kills leave of a store that two processes work in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::{Scratch, busybox_image, needs, tree};

/// The names in a folder of the store.
fn names(folder: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A base image, and one that depends on it and has a file of its own.
fn two_images(scratch: &Scratch) {
    busybox_image(scratch, "base", "example.com/base", &["label add version 1.0"]);
    let own = scratch.file("own", "what the app has").display().to_string();
    let commands = ["dependency add example.com/base", &format!("copy {own} /srv/own")];
    busybox_image(scratch, "app", "example.com/app", &commands);
    scratch.rkt(["fetch", "base.aci"]).ok();
    scratch.rkt(["fetch", "app.aci"]).ok();
}

fn tree_of(scratch: &Scratch, name: &str) -> PathBuf {
    let list = scratch.rkt(["image", "list", "--format=json"]).ok().json();
    let image =
        list.as_array().expect("a list").iter().find(|image| image["name"] == name).expect("in the list").clone();
    scratch.data().join("store/trees").join(image["id"].as_str().expect("text")).join("rootfs")
}

#[test]
fn what_changed_is_found_and_named() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    two_images(&scratch);
    scratch.rkt(["image", "verify"]).ok().prints(&["successfully verified", "example.com/app", "example.com/base:1.0"]);
    fs::write(tree_of(&scratch, "example.com/app").join("srv/own"), "something else").expect("the store is ours");
    let found = scratch.rkt(["image", "verify", "example.com/app"]).exits(1);
    found.prints(&["is not what was fetched", "/srv/own", "content"]);
    found.prints(&["tree of \"example.com/app\" is damaged: rebuilt from its archive"]);
    scratch.rkt(["image", "verify"]).ok();
    fs::remove_file(tree_of(&scratch, "example.com/app").join("srv/own")).expect("the store is ours");
    let found = scratch.rkt(["image", "verify", "--format=json"]).exits(1).json();
    let bad = found.as_array().expect("a list").iter().find(|image| image["verified"] == false).expect("the app");
    assert_eq!((&bad["name"], &bad["repair"]), (&"example.com/app".into(), &"rebuilt".into()));
    assert!(bad["faults"].as_array().expect("a list").iter().any(|fault| fault["path"] == "/srv/own"), "{bad}");
    scratch.rkt(["image", "verify", "example.com/none"]).refused(254, &["example.com/none"]);
    let used = |name: &str| {
        let list = scratch.rkt(["image", "list", "--format=json"]).ok().json();
        let image = list.as_array().expect("a list").iter().find(|image| image["name"] == name).expect("it is there");
        image["last_used_time"].as_i64().expect("a number")
    };
    for command in [&["export", "example.com/base", "again.aci"][..], &["render", "example.com/base", "base"]] {
        let before = used("example.com/base:1.0");
        scratch.rkt(["image"].iter().chain(command)).ok();
        assert!(used("example.com/base:1.0") > before, "{command:?}");
    }
    let some = scratch.rkt(["image", "verify", "example.com/none", "example.com/base"]).exits(254);
    assert!(some.stdout.contains("successfully verified image: \"example.com/base:1.0\""), "{}", some.stdout);
    assert!(some.stderr.contains("example.com/none"), "{}", some.stderr);
}

#[test]
fn what_is_damaged_is_not_exported() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    two_images(&scratch);
    scratch.acbuild(["convert", "example.com/base:1.0", "oci:layout:1.0"]).ok();
    scratch.rkt(["fetch", "oci:layout:1.0"]).ok();
    for folder in ["sha512", "sha256"] {
        for blob in fs::read_dir(scratch.data().join("store/blobs").join(folder)).expect("a store").flatten() {
            let mut content = fs::read(blob.path()).expect("ours");
            let at = content.len() / 2;
            content[at] ^= 1;
            fs::write(blob.path(), content).expect("ours");
        }
    }
    for image in ["example.com/app", "oci:layout:1.0"] {
        scratch.rkt(["image", "export", image, "exported"]).refused(254, &[]);
        let left = fs::read_dir(scratch.work()).expect("ours").flatten().map(|entry| entry.file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().contains("exported")), "{image}");
    }
}

#[test]
fn who_collects_garbage_is_told_of_damaged_images() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    two_images(&scratch);
    let id = tree_of(&scratch, "example.com/app").parent().and_then(Path::file_name).expect("its ID").to_owned();
    fs::write(scratch.data().join("store/images").join(&id).join("metadata"), "{").expect("ours");
    let short = &id.to_string_lossy()[.."sha512-".len() + 12].to_owned();
    let words = [short, "is damaged", "fetch it again, or remove it with `rkt image rm sha512-"];
    scratch.rkt(["gc"]).ok().says(&words);
    scratch.rkt(["image", "gc"]).ok().says(&words);
    scratch.rkt(["image", "rm", short]).ok();
    let told = scratch.rkt(["gc"]).ok();
    told.require(!told.stderr.contains("damaged"), "nothing of an image that is gone");
}

#[test]
fn images_are_shown_compared_and_rendered() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    two_images(&scratch);
    scratch.rkt(["image", "tree", "example.com/app"]).ok().prints(&["example.com/app", "└─ example.com/base:1.0"]);
    let json = scratch.rkt(["image", "tree", "--format=json", "example.com/app"]).ok().json();
    assert_eq!(json["below"][0]["name"], "example.com/base:1.0");
    let diff = scratch.rkt(["image", "diff", "example.com/base", "example.com/app"]).ok();
    assert_eq!(diff.text(), "+ /srv\n+ /srv/own");
    assert_eq!(scratch.rkt(["image", "diff", "example.com/app", "example.com/app"]).ok().text(), "");
    let json = scratch.rkt(["image", "diff", "--format=json", "example.com/app", "example.com/base"]).ok().json();
    assert_eq!(
        json,
        serde_json::json!([{"path": "/srv", "change": "removed"}, {"path": "/srv/own", "change": "removed"}])
    );
    scratch.rkt(["image", "usage"]).ok().prints(&["FREED", "example.com/app", "in total"]);
    let usage = scratch.rkt(["image", "usage", "--format=json"]).ok().json();
    let shared = usage["images"][0]["shared"].as_u64().expect("a number");
    assert!(shared > 100_000, "busybox is in both, once: {usage}");

    scratch.rkt(["image", "render", "example.com/app", "whole"]).ok();
    assert!(scratch.work().join("whole/manifest").is_file() && scratch.work().join("whole/rootfs/srv/own").is_file());
    scratch.rkt(["image", "render", "example.com/app", "whole"]).refused(254, &["whole", "--overwrite"]);
    scratch.rkt(["image", "render", "--rootfs-only", "--overwrite", "example.com/app", "whole"]).ok();
    assert!(scratch.work().join("whole/bin/busybox").exists() && !scratch.work().join("whole/manifest").exists());
    scratch.rkt(["image", "rm", "example.com/base"]).ok();
    scratch.rkt(["image", "tree", "example.com/app"]).ok().prints(&["not in the store"]);
    scratch.rkt(["image", "render", "example.com/app", "other"]).refused(254, &["example.com/base"]);
    let missing = scratch.rkt(["image", "rm", "example.com/base"]).refused(254, &["example.com/base"]);
    missing.require(missing.stderr.lines().count() == 1, "one line");
}

#[test]
fn images_that_nobody_uses_any_more_go() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    two_images(&scratch);
    busybox_image(&scratch, "other", "example.com/other", &["set-exec -- /bin/true"]);
    scratch.rkt(["fetch", "other.aci"]).ok();
    let gc = |grace: &str| scratch.rkt(["image", "gc", &format!("--grace-period={grace}")]).ok();
    let left = || scratch.rkt(["image", "list", "--no-legend", "--fields=name", "--sort=name"]).ok().text().to_owned();
    let all = left();
    gc("1h");
    scratch.rkt(["image", "gc"]).ok();
    assert_eq!(left(), all, "all are new");
    // A pod is made of it, though it has ended.
    scratch.rkt(["run", "example.com/other"]).ok();
    let old = |name: &str| {
        let rootfs = tree_of(&scratch, name);
        let id = rootfs.parent().and_then(Path::file_name).expect("it is called as the image");
        let metadata = scratch.data().join("store/images").join(id).join("metadata");
        support::Cmd::new("touch").args(["-d", "2020-01-01"]).arg(metadata).ok();
    };
    ["example.com/base:1.0", "example.com/other"].iter().for_each(|name| old(name));
    gc("1h");
    assert_eq!(left(), all, "the one is what an image that stays depends on, the other that of a pod");
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    let removed = gc("1h");
    removed.prints(&["successfully removed aci for image"]);
    removed.says(&["1 image(s) successfully removed"]);
    assert_eq!(left(), "example.com/app\nexample.com/base:1.0");
    gc("0s").says(&["2 image(s) successfully removed"]);
    for folder in ["images", "trees", "blobs/sha512"] {
        assert_eq!(names(scratch.data().join("store").join(folder)), Vec::<String>::new(), "{folder}");
    }
}

#[test]
fn what_is_fetched_is_not_collected_before_it_is_used() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    two_images(&scratch);
    scratch.acbuild(["convert", "base.aci", "oci-archive:base.tar:1.0"]).ok();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                scratch.rkt(["image", "gc", "--grace-period=0s"]).run();
            }
        });
        // Told to the other also when this one fails.
        let fetched = std::panic::catch_unwind(|| {
            for _ in 0..15 {
                let fetched = scratch.rkt(["fetch", "base.aci", "app.aci"]).ok();
                fetched.require(fetched.stderr.is_empty(), "that the dependency is there");
                scratch.rkt(["fetch", "oci-archive:base.tar:1.0"]).ok();
                scratch.rkt(["run", "base.aci", "--exec=/bin/true"]).ok();
            }
        });
        ended.store(true, Ordering::Relaxed);
        fetched.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
}

#[test]
fn an_oci_image_is_kept_and_given_out_again() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    busybox_image(&scratch, "a", "example.com/a", &["label add version 1.0"]);
    let id = |file: &str| {
        let pipe = format!("gzip -dc {} | sha512sum", scratch.work().join(file).display());
        support::Cmd::new("sh").args(["-c", &pipe]).ok().text().split(' ').next().map(str::to_owned)
    };
    scratch.acbuild(["convert", "a.aci", "oci-archive:a.tar:1.0"]).ok();
    scratch.rkt(["--insecure-options=image", "fetch", "oci-archive:a.tar:1.0"]).ok();
    scratch.rkt(["image", "verify"]).ok();
    let name = scratch.rkt(["image", "list", "--no-legend", "--fields=name"]).ok().text().to_owned();
    scratch.rkt(["image", "tree", &name]).ok().prints(&["└─ sha256:"]);
    scratch.rkt(["image", "export", &name, "out.tar"]).ok();
    scratch.acbuild(["convert", "oci-archive:out.tar", "again.aci"]).ok();
    assert_eq!(id("again.aci"), id("a.aci"), "by way of the store the same image");
    scratch.rkt(["image", "export", "--aci", &name, "out.aci"]).ok();
    assert_eq!(id("out.aci"), id("a.aci"));
    scratch.rkt(["image", "extract", "--rootfs-only", &name, "out"]).ok();
    assert!(scratch.work().join("out/bin/busybox").exists());
    scratch.rkt(["image", "rm", &name]).ok();
    assert_eq!(names(scratch.data().join("store/trees")), Vec::<String>::new());
    assert_eq!(names(scratch.data().join("store/blobs/sha256")), Vec::<String>::new());
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The words of a command, and the image that it brings or takes.
type Action = (&'static [&'static str], Option<(&'static str, bool)>);

/// What is done at once.
const ACTIONS: [Action; 9] = [
    (&["fetch", "one.aci"], Some(("example.com/one", true))),
    (&["fetch", "two.aci"], Some(("example.com/two", true))),
    (&["--insecure-options=image", "fetch", "oci-archive:oci.tar:1.0"], None),
    (&["image", "rm", "example.com/one"], Some(("example.com/one", false))),
    (&["image", "rm", "example.com/two"], Some(("example.com/two", false))),
    (&["image", "rm", "oci-archive:oci.tar:1.0"], None),
    (&["image", "render", "--rootfs-only", "--overwrite", "example.com/kept", "rendered"], None),
    (&["image", "verify", "example.com/kept"], None),
    (&["gc", "--grace-period=0s"], None),
];

#[test]
fn a_kill_at_any_moment_of_any_two_commands_loses_nothing() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let noise: Vec<u8> = (0..500_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let noise = scratch.file("noise", noise);
    let copy = format!("copy {} /lib/noise", noise.display());
    // Many files take a while to be removed: the layer of the third is met half gone.
    (0..300).for_each(|number| drop(scratch.file(&format!("many/{number}"), "")));
    for name in ["kept", "one", "two", "oci"] {
        let own = if name == "oci" { scratch.work().join("many") } else { scratch.file(name, name) };
        let own = format!("copy {} /own", own.display());
        busybox_image(&scratch, name, &format!("example.com/{name}"), &[&copy, &own]);
    }
    scratch.acbuild(["convert", "oci.aci", "oci-archive:oci.tar:1.0"]).ok();
    scratch.rkt(["fetch", "kept.aci"]).ok();
    let wanted = tree::sha512(&fs::read(&noise).expect("written above"));

    let mut random = Random(20_240_229);
    let mut known: Vec<(&str, bool)> = vec![("example.com/one", false), ("example.com/two", false)];
    for round in 0..support::kills(16) {
        let [first, second] = [(); 2].map(|()| random.below(ACTIONS.len() as u64) as usize);
        let running = [first, second].map(|action| scratch.rkt(ACTIONS[action].0).spawn());
        running[0].ended_within(Duration::from_millis(random.below(200)));
        running[0].signal(rustix::process::Signal::KILL);
        if random.below(2) == 0 {
            running[1].ended_within(Duration::from_millis(random.below(100)));
            running[1].signal(rustix::process::Signal::KILL);
        }
        let codes = running.map(|one| one.wait().code());
        // All that is listed is whole.
        scratch.rkt(["image", "verify"]).ok().prints(&["example.com/kept"]);
        let listed = scratch.rkt(["image", "list", "--no-legend", "--fields=name"]).ok();
        for (name, there) in &mut known {
            let about = |action: usize| ACTIONS[action].1.filter(|(about, _)| about == name);
            let now = listed.text().contains(*name);
            match (about(first), about(second)) {
                (None, None) => assert_eq!(now, *there, "round {round}: {name} is as it was"),
                (Some((_, brings)), None) if codes[0] == 0 => assert_eq!(now, brings, "round {round}: {name}"),
                (None, Some((_, brings))) if codes[1] == 0 => assert_eq!(now, brings, "round {round}: {name}"),
                _ => {}
            }
            *there = now;
        }
        let rendered = scratch.work().join("rendered");
        if rendered.exists() {
            let noise = fs::read(rendered.join("lib/noise")).expect("whole or not there");
            assert_eq!(tree::sha512(&noise), wanted, "round {round}");
        }
    }
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    assert_eq!(names(scratch.data().join("tmp")), Vec::<String>::new(), "the rest is collected");
    for image in scratch.rkt(["image", "list", "--format=json"]).ok().json().as_array().expect("a list") {
        if image["name"] != "example.com/kept" {
            scratch.rkt(["image", "rm", image["id"].as_str().expect("text")]).ok();
        }
    }
    for folder in ["images", "trees", "blobs/sha512"] {
        assert_eq!(names(scratch.data().join("store").join(folder)).len(), 1, "{folder}: what is kept");
    }
    assert_eq!(names(scratch.data().join("store/blobs/sha256")), Vec::<String>::new());
    scratch.rkt(["image", "export", "example.com/kept", "out.aci"]).ok();
    let same = |a: &Path, b: &Path| fs::read(a).expect("there") == fs::read(b).expect("there");
    assert!(same(&scratch.work().join("out.aci"), &scratch.work().join("kept.aci")));
}
