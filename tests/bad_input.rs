//! Refused input: one line that says what, why and what to do; a non-zero exit code; and nothing changed.

use std::fs;

use support::guard::Mounted;
use support::{Cmd, HostState, Scratch, Tree, busybox_image, needs, tree};

/// What a test may not change: the work folder with the build in it, and the data folder.
struct Unchanged<'a> {
    scratch: &'a Scratch,
    work: Tree,
    data: Option<Tree>,
}

impl<'a> Unchanged<'a> {
    fn new(scratch: &'a Scratch) -> Self {
        // When an image was last used is kept as a time.
        let data = scratch.data().exists().then(|| Tree::read(&scratch.data()).without_times());
        Self { scratch, work: Tree::read(&scratch.work()).without_folder_times(), data }
    }

    #[track_caller]
    fn check(&self) {
        self.work.assert_same(&Tree::read(&self.scratch.work()).without_folder_times(), "the work folder");
        if let Some(before) = &self.data {
            // Lock files and the folders for work in progress may come to be; no image and no pod may.
            let images = |tree: &Tree| tree.clone().without("locks").without("tmp").without("pods");
            let after = Tree::read(&self.scratch.data()).without_times();
            images(before).assert_same(&images(&after), "the data folder");
        }
    }
}

#[test]
fn manifests_that_are_none() {
    let scratch = Scratch::new();
    scratch.acbuild(["begin"]).ok();
    let cases = [
        ("not JSON", "this is not a manifest"),
        ("cut off", r#"{"acKind":"ImageManifest","acVersion":"0.8.5","name":"example.com/x""#),
        ("another kind", r#"{"acKind":"PodManifest","acVersion":"0.8.5","name":"example.com/x"}"#),
        ("no name", r#"{"acKind":"ImageManifest","acVersion":"0.8.5"}"#),
        ("a bad name", r#"{"acKind":"ImageManifest","acVersion":"0.8.5","name":"Example.com/X"}"#),
        ("no version", r#"{"acKind":"ImageManifest","name":"example.com/x"}"#),
        (
            "a bad port",
            r#"{"acKind":"ImageManifest","acVersion":"0.8.5","name":"a","app":{"exec":["/x"],"user":"0","group":"0","ports":[{"name":"a","protocol":"tcp","port":70000}]}}"#,
        ),
        ("a list", "[]"),
        ("empty", ""),
    ];
    for (name, text) in cases {
        scratch.file("bad.json", text);
        let unchanged = Unchanged::new(&scratch);
        let refused = scratch.acbuild(["replace-manifest", "bad.json"]).refused(1, &["replace-manifest: "]);
        refused.require(refused.stderr.len() > "replace-manifest: ".len() + 5, name);
        unchanged.check();
    }
    let unchanged = Unchanged::new(&scratch);
    scratch.acbuild(["replace-manifest", "nowhere.json"]).refused(1, &["replace-manifest: ", "nowhere.json"]);
    unchanged.check();
}

#[test]
fn values_that_break_a_rule() {
    let scratch = Scratch::new();
    scratch.acbuild(["begin"]).ok();
    scratch.file("null", "null");
    let unchanged = Unchanged::new(&scratch);
    let cases: &[(&[&str], &[&str])] = &[
        (&["label", "add", "name", "x"], &["label add: ", "name", "set-name"]),
        (&["label", "add", "arch", "nonsense"], &["label add: ", "nonsense"]),
        (&["port", "add", "www", "tcp", "70000"], &["port add: ", "65535"]),
        (&["port", "add", "www", "tcp", "0"], &["port add: ", "65535"]),
        (&["port", "add", "www", "tcp", "many"], &["port add: "]),
        (&["port", "add", "Big", "tcp", "80"], &["port add: ", "Big"]),
        (&["port", "add", "www", "tcp", "65535", "--count", "9"], &["port add: ", "65535"]),
        (&["set-name", "Example.COM"], &["set-name: "]),
        (&["set-name", ""], &["set-name: "]),
        (&["set-user", ""], &["set-user: "]),
        (&["set-group", ""], &["set-group: "]),
        (&["set-supp-groups", "wheel"], &["set-supp-groups: ", "wheel"]),
        (&["set-working-directory", "here"], &["here"]),
        (&["environment", "add", "1A", "x"], &["environment add: ", "1A"]),
        (&["annotation", "add", "created", "yesterday"], &["annotation add: "]),
        (&["annotation", "add", "homepage", "gopher://x"], &["annotation add: "]),
        (&["mount", "add", "Data", "/data"], &["mount add: ", "Data"]),
        (&["isolator", "add", "os/linux/nonsense", "null"], &["isolator add: ", "os/linux/nonsense"]),
        (&["isolator", "add", "resource/memory", "nowhere"], &["isolator add: ", "nowhere"]),
        (&["isolator", "add", "resource/memory", "null"], &["isolator add: "]),
        (&["dependency", "add", "Not/OK"], &["dependency add: "]),
        (&["dependency", "add", "example.com/a", "--image-id", "sha512-zz"], &["dependency add: "]),
        (&["copy", "nowhere", "/x"], &["copy: ", "nowhere"]),
    ];
    for (command, words) in cases {
        scratch.acbuild(*command).refused(1, words);
        unchanged.check();
    }
}

#[test]
fn commands_at_the_wrong_time() {
    let scratch = Scratch::new();
    let unchanged = Unchanged::new(&scratch);
    let without: &[&[&str]] = &[
        &["label", "add", "a", "b"],
        &["set-name", "example.com/x"],
        &["write", "x.aci"],
        &["end"],
        &["cat-manifest"],
        &["copy", "/etc/hostname", "/x"],
    ];
    for command in without {
        scratch.acbuild(*command).refused(1, &["no build in progress", "acbuild begin"]);
        unchanged.check();
    }
    scratch.acbuild(["begin"]).ok();
    let unchanged = Unchanged::new(&scratch);
    scratch.acbuild(["begin"]).refused(1, &["begin: ", "already in progress", "acbuild end"]);
    unchanged.check();
    scratch.acbuild(["write", "x.aci"]).refused(1, &["write: ", "name was never set", "set-name"]);
    unchanged.check();
}

#[test]
fn starts_that_are_no_image() {
    let scratch = Scratch::new();
    scratch.file("text.aci", "this is no archive\n");
    scratch.file("empty.aci", "");
    let unchanged = Unchanged::new(&scratch);
    for start in ["./nowhere.aci", "./text.aci", "./empty.aci"] {
        scratch.acbuild(["begin", start]).refused(1, &["begin: ", start.trim_start_matches("./")]);
        unchanged.check();
    }
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    needs!("mkfifo");
    let scratch = Scratch::new();
    Cmd::new("mkfifo").arg("fifo.aci").cwd(scratch.work()).ok();
    let unchanged = Unchanged::new(&scratch);
    for (word, what) in [("./fifo.aci", "it is a pipe, not a regular file"), ("/dev/zero", "it is a device")] {
        for command in [&["fetch"][..], &["run"], &["image", "verify"], &["image", "rm"]] {
            scratch.rkt(command).arg(word).refused(254, &[word, what]);
        }
        for command in [&["convert", word, "oci:out"][..], &["convert", word, "out.aci"], &["validate", word]] {
            scratch.acbuild(command).refused(1, &[word, what]);
        }
        scratch.acbuild(["cat-manifest", word]).refused(1, &[word, what]);
        scratch.acbuild(["verify", word]).refused(1, &[word]);
        scratch.acbuild(["begin", word]).refused(1, &[word, "neither a file nor a directory"]);
    }
    unchanged.check();
}

#[test]
fn apps_that_cannot_be_started() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    busybox_image(&scratch, "exec", "example.com/exec", &["set-exec /bin/no-such-program"]);
    busybox_image(&scratch, "user", "example.com/user", &["set-exec /bin/true", "set-user nosuchuser"]);
    busybox_image(&scratch, "group", "example.com/group", &["set-exec /bin/true", "set-group nosuchgroup"]);
    busybox_image(&scratch, "none", "example.com/none", &[]);
    let names = ["exec", "user", "group", "none"];
    // Files that were never in the store are not afterwards.
    scratch.rkt(["image", "list"]).ok();
    let unchanged = Unchanged::new(&scratch);
    for name in names {
        scratch.rkt(["run", &format!("{name}.aci")]).refused(254, &["run: "]);
        unchanged.check();
    }
    // Nor those of one that is there twice, or beside one that could run: then nothing runs at all.
    busybox_image(&scratch, "fine", "example.com/fine", &["set-exec /bin/echo ran"]);
    let unchanged = Unchanged::new(&scratch);
    scratch.rkt(["run", "fine.aci", "fine.aci"]).refused(254, &["run: ", "--name"]);
    let refused = scratch.rkt(["run", "fine.aci", "exec.aci"]).refused(254, &["run: ", "/bin/no-such-program"]);
    refused.require(refused.stdout.is_empty(), "nothing ran");
    unchanged.check();
    // What a file was like is noted only when it has been so for more than two seconds.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    for name in names {
        scratch.rkt(["fetch", &format!("{name}.aci")]).ok();
    }
    let host = HostState::new();
    let unchanged = Unchanged::new(&scratch);
    scratch.rkt(["run", "exec.aci"]).refused(254, &["run: ", "/bin/no-such-program"]);
    scratch.rkt(["run", "example.com/exec"]).refused(254, &["run: ", "/bin/no-such-program"]);
    scratch.rkt(["run", "example.com/user"]).refused(254, &["run: ", "nosuchuser"]);
    scratch.rkt(["run", "example.com/group"]).refused(254, &["run: ", "nosuchgroup"]);
    scratch.rkt(["run", "example.com/none"]).refused(254, &["run: ", "example.com/none"]);
    scratch.rkt(["run", "example.com/unknown"]).refused(254, &["run: ", "example.com/unknown", "fetch"]);
    scratch.rkt(["run", "./nowhere.aci"]).refused(254, &["run: ", "nowhere.aci"]);
    scratch.rkt(["run"]).exits(254);
    unchanged.check();
    host.check();
}

#[test]
fn archives_that_are_damaged() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    busybox_image(&scratch, "old", "example.com/old", &[]);
    scratch.rkt(["fetch", "old.aci"]).ok();
    let good =
        fs::read(busybox_image(&scratch, "good", "example.com/good", &["set-exec /bin/true"])).expect("just built");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let plain = Cmd::new("sh").args(["-c", "gzip -dc good.aci >good.tar"]).cwd(scratch.work());
    plain.ok();
    let tar = fs::read(scratch.work().join("good.tar")).expect("just written");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("truncated", good[..good.len() - 5].to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("header", good[..9].to_vec()),
        ("flipped", flipped),
        ("garbage", [good.as_slice(), b"trailing garbage"].concat()),
        ("short-tar", tar[..tar.len() / 2].to_vec()),
        ("long-tar", [tar.as_slice(), &[7; 512]].concat()),
        ("text", b"hello".to_vec()),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in &cases {
        scratch.file(&format!("{name}.aci"), bytes);
    }
    let unchanged = Unchanged::new(&scratch);
    for (name, _) in &cases {
        let file = format!("{name}.aci");
        scratch.rkt(["fetch", &file]).refused(254, &["fetch: ", &file, "get or build the image anew"]);
        scratch.rkt(["run", &file]).refused(254, &["run: ", &file]);
        unchanged.check();
    }
    assert_eq!(fs::read_dir(scratch.data().join("tmp")).map_or(0, Iterator::count), 0, "no work is left half done");
    scratch.rkt(["image", "list", "--no-legend"]).ok().prints(&["example.com/old"]);
}

/// One entry of a hostile archive: kind, name, target or content.
type Hostile<'a> = (tar::EntryType, &'a str, &'a str);

fn hostile(entries: &[Hostile<'_>]) -> Vec<u8> {
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.5","name":"example.com/evil"}"#;
    let mut builder = tar::Builder::new(Vec::new());
    let first = [(tar::EntryType::Regular, "manifest", manifest), (tar::EntryType::Directory, "rootfs", "")];
    for (kind, name, text) in first.iter().chain(entries) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        // Written by hand: the library refuses what these tests are about.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let content = if kind.is_file() {
            text.as_bytes()
        } else {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            b""
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).expect("written to memory");
    }
    builder.into_inner().expect("written to memory")
}

#[test]
fn archives_that_reach_out_of_their_root() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    needs!(root);
    let scratch = Scratch::new();
    let wire = scratch.path().join("tripwire");
    fs::create_dir(&wire).expect("the folder is ours");
    fs::write(wire.join("file"), "untouched").expect("the folder is ours");
    let host = HostState::new().watch(&wire);
    let outside = wire.display().to_string();
    let file = format!("{outside}/file");
    let inside = format!("rootfs{outside}/new");
    let up = format!("rootfs/../../../../../../../../../..{outside}/new");
    let cases: Vec<Vec<Hostile<'_>>> = vec![
        vec![(Regular, "rootfs/../../escaped", "x")],
        vec![(Regular, &up, "x")],
        vec![(Regular, &file, "x")],
        vec![(Regular, "/etc/appc-escaped", "x")],
        vec![(Symlink, "rootfs/link", &outside), (Regular, "rootfs/link/new", "x")],
        vec![(Symlink, "rootfs/link", &outside), (Directory, "rootfs/link", ""), (Regular, "rootfs/link/new", "x")],
        vec![(Symlink, "rootfs/a", "b"), (Symlink, "rootfs/b", &outside), (Regular, "rootfs/a/new", "x")],
        vec![(Link, "rootfs/hard", &file), (Regular, "rootfs/hard", "x")],
        vec![(Link, "rootfs/hard", "../../../../../../etc/passwd")],
        vec![(Symlink, "rootfs/link", &file), (Link, "rootfs/hard", "rootfs/link"), (Regular, "rootfs/hard", "x")],
        vec![(Symlink, "rootfs/file", &file), (Regular, "rootfs/file", "x")],
        vec![(Regular, "rootfsx/file", "x")],
        vec![(Regular, "other", "x")],
        vec![(Regular, "manifest", "{}")],
        vec![(Symlink, "rootfs", &outside), (Regular, "rootfs/new", "x")],
        vec![(Regular, &inside, "contained")],
    ];
    for (number, entries) in cases.iter().enumerate() {
        let name = format!("evil{number}.aci");
        scratch.file(&name, hostile(entries));
        for command in [scratch.rkt(["fetch", &name]), scratch.acbuild(["begin", &format!("./{name}")])] {
            let ended = command.run();
            ended.require(ended.code() == 0 || ended.stderr.lines().count() == 1, "contained, or refused in one line");
            host.check();
            assert!(!fs::exists("/etc/appc-escaped").expect("/etc is readable"));
            assert!(!scratch.path().join("escaped").exists() && !scratch.work().join("escaped").exists());
        }
        scratch.acbuild(["end"]).run();
    }
}

#[test]
fn a_full_disk() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let noise: Vec<u8> =
        (0..2_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let noise = scratch.file("noise", noise).display().to_string();
    busybox_image(&scratch, "small", "example.com/small", &[]);
    busybox_image(&scratch, "big", "example.com/big", &[&format!("copy {noise} /noise")]);
    let _disk = Mounted::tmpfs(&scratch.data(), "8m");
    scratch.rkt(["fetch", "small.aci"]).ok();
    let unchanged = Unchanged::new(&scratch);
    for command in ["fetch", "run"] {
        scratch.rkt([command, "big.aci"]).refused(254, &[&format!("{command}: "), "o space left", "make room"]);
        unchanged.check();
        assert_eq!(fs::read_dir(scratch.data().join("tmp")).map_or(0, Iterator::count), 0, "the room is given back");
    }
    let filled = scratch.data().join("filled");
    std::io::copy(&mut std::io::repeat(0), &mut fs::File::create(&filled).expect("made")).expect_err("it is full");
    scratch.rkt(["run", "example.com/small", "--exec=/bin/true"]).refused(254, &["run: ", "o space left", "make room"]);
    fs::remove_file(filled).expect("there");
    scratch.rkt(["image", "export", "example.com/small", "out.aci"]).ok();
    let same = |name: &str| tree::sha512(&fs::read(scratch.work().join(name)).expect("there"));
    assert_eq!(same("out.aci"), same("small.aci"));

    let builds = scratch.path().join("builds");
    let _disk = Mounted::tmpfs(&builds, "1m");
    let root = scratch.path().join("busybox");
    fs::write(builds.join("filled"), vec![0; 2 << 20]).expect_err("it is smaller");
    scratch.rkt_oci(["spec"]).cwd(&builds).refused(1, &["config.json", "o space left"]);
    fs::remove_file(builds.join("filled")).expect("there");
    let begin = scratch.acbuild(["begin"]).arg(root).cwd(&builds);
    begin.refused(1, &["begin: ", "o space left", "make room"]);
    assert_eq!(fs::read_dir(&builds).expect("there").count(), 0, "no half of a build is left");
}

#[test]
fn a_read_only_store() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    busybox_image(&scratch, "old", "example.com/old", &["set-exec /bin/true"]);
    busybox_image(&scratch, "new", "example.com/new", &[]);
    scratch.rkt(["fetch", "old.aci"]).ok();
    let mount = Mounted::bind(&scratch.data());
    mount.read_only();
    let unchanged = Unchanged::new(&scratch);
    scratch.rkt(["fetch", "new.aci"]).refused(254, &["fetch: ", "ead-only", "make it writable"]);
    scratch.rkt(["run", "example.com/old"]).refused(254, &["run: ", "ead-only", "make it writable"]);
    scratch.rkt(["image", "rm", "example.com/old"]).exits(254).says(&["ead-only"]);
    unchanged.check();
    // Reading goes on.
    scratch.rkt(["image", "list"]).ok().prints(&["example.com/old"]);
    scratch.rkt(["image", "cat-manifest", "example.com/old"]).ok();
}

#[test]
fn not_root_where_root_is_needed() {
    needs!(root, "busybox", "setpriv");
    let scratch = Scratch::new();
    busybox_image(&scratch, "app", "example.com/app", &["set-exec /bin/true"]);
    scratch.rkt(["fetch", "app.aci"]).ok();
    let unchanged = Unchanged::new(&scratch);
    let nobody = support::programs::for_everyone(&scratch);
    for (words, code) in [
        (&["rkt", "run", "app.aci"][..], 254),
        (&["rkt", "gc"], 254),
        (&["rkt", "rm", "00000000-0000-0000-0000-000000000000"], 254),
    ] {
        let command =
            Cmd::new(nobody.join(words[0])).args(&words[1..]).cwd(scratch.work()).env("RKT_DIR", scratch.data());
        support::programs::as_nobody(command).refused(code, &[words[1], "root"]);
    }
    unchanged.check();
}
