//! `acbuild script`, and shell scripts as they are written for acbuild.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ran, Scratch, finish, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_acbuild");

/// Runs `acbuild script` with a folder of its own for temporary files, which must be empty afterwards.
fn script(scratch: &Scratch, args: &[&str]) -> Ran {
    let ran = finish(&mut command(scratch, args));
    assert_eq!(fs::read_dir(scratch.path("tmp")).unwrap().count(), 0, "something was left: {ran:#?}");
    ran
}

fn command(scratch: &Scratch, args: &[&str]) -> Command {
    fs::create_dir_all(scratch.path("tmp")).unwrap();
    let mut command = scratch.command(["script"].iter().chain(args));
    command.env("TMPDIR", scratch.path("tmp"));
    command
}

fn ok(ran: Ran) -> Ran {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
    ran
}

fn failed(ran: Ran, code: i32, last: &str) {
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    assert_eq!(ran.stderr.lines().last(), Some(last), "{ran:#?}");
}

#[test]
fn a_script_does_what_its_lines_would() {
    let scratch = Scratch::new();
    scratch.file("hello", "hi");
    let text = "#!/usr/bin/env acbuild-script\n\nBEGIN\nset-name $name # the name\nlabel add version ${1}.0\n\
                env add A '$1 \"as it is\"'\nenv add EMPTY \"\"\ncopy hello \\\n   /bin/a#b\nset-exec /bin/sh -c \"echo $2\"\n\
                annotation add authors \\\n  \"a b\"\nwrite out.aci\nend\n";
    scratch.file("build", text);
    let ran = ok(script(&scratch, &["--set", "name=example.com/s", "build", "1", "a  b"]));
    assert!(ran.stdout.starts_with("sha512-") && ran.stdout.lines().count() == 1, "{ran:#?}");
    assert!(!scratch.path(".acbuild").exists());

    scratch.ok(["begin", "./out.aci"]);
    let manifest = scratch.manifest();
    assert_eq!(manifest["name"], "example.com/s");
    assert_eq!(manifest["labels"][2], json!({"name": "version", "value": "1.0"}));
    assert_eq!(manifest["app"]["exec"], json!(["/bin/sh", "-c", "echo a  b"]));
    let environment = json!([{"name": "A", "value": "$1 \"as it is\""}, {"name": "EMPTY", "value": ""}]);
    assert_eq!(manifest["app"]["environment"], environment);
    assert_eq!(fs::read_to_string(scratch.rootfs("bin/a#b")).unwrap(), "hi");
    assert_eq!(scratch.history()[1], r#"acbuild label add "version" "1.0""#);
}

#[test]
fn what_is_wrong_with_the_text_is_found_before_anything_is_done() {
    let scratch = Scratch::new();
    let cases: &[(&str, i32, &str)] = &[
        ("frob x", 3, "unknown command \"frob\" for \"acbuild\" - try \"acbuild --help\""),
        ("label add a b --nope", 3, "label add: unknown flag: --nope - try \"acbuild label add --help\""),
        ("label add a", 1, "label add: incorrect number of arguments, the command is: acbuild label add"),
        ("label", 1, "label: incorrect number of arguments, the command is: acbuild label"),
        ("label add a $no", 1, "$no is not set: give it with --set no=VALUE, or write \\$ for the character"),
        ("label add a $2", 1, "$2 is not set: the script was given 1 arguments"),
        ("label add a $", 1, "$ stands before no name"),
        ("label add a 'b", 1, "unterminated single quote block"),
        ("label add a \"b", 1, "unterminated double quote block"),
        ("label add a b\\", 1, "ended with an escape"),
        ("script none", 1, "cannot read the script \"none\": no such file or directory"),
        ("script bad", 1, "scripts call one another without end: "),
    ];
    for (line, code, words) in cases {
        // Where the third line begins, whatever was joined before.
        scratch.file("bad", &format!("begin\nset-name \\\nexample.com/x\nwrite early.aci\n{line}"));
        let ran = script(&scratch, &["bad", "one"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(*code), ""), "{ran:#?}");
        assert!(ran.stderr.starts_with("script: bad:5: ") && ran.stderr.contains(words), "{line}: {ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
        assert!(!scratch.path("early.aci").exists());
    }
    failed(script(&scratch, &["none"]), 1, "script: cannot read the script \"none\": no such file or directory");
    let ran = script(&scratch, &["--set", "1x=2", "bad"]);
    assert!(ran.code == Some(3) && ran.stderr.contains("\"1x\" is no name"), "{ran:#?}");
}

#[test]
fn the_first_command_that_fails_ends_the_script_with_its_exit_code() {
    let scratch = Scratch::new();
    scratch.file("inner", "# first\nlabel rm none");
    for (text, code, last) in [
        ("begin\n\nlabel rm none\nset-name example.com/x\nwrite late.aci", 2, "bad:3: label remove"),
        ("begin\nscript inner\nset-name example.com/x\nwrite late.aci", 2, "inner:2, called at bad:2: label remove"),
        ("begin\nset-name -\nset-name example.com/x\nwrite late.aci", 1, "bad:2: set-name"),
        ("set-name example.com/x\nbegin", 1, "bad:1: set-name"),
        ("begin\nbegin", 1, "bad:2: begin"),
    ] {
        scratch.file("bad", text);
        let ran = script(&scratch, &["bad"]);
        assert_eq!(ran.stderr.lines().count(), 2, "what is wrong, and where: {ran:#?}");
        failed(ran, code, &format!("script: {last} failed with exit code {code}"));
        assert!(!scratch.path("late.aci").exists() && !scratch.path(".acbuild").exists());
    }
}

#[test]
fn scripts_call_scripts_on_the_same_build() {
    let scratch = Scratch::new();
    scratch.file("inner", "label add $1 $value\n");
    scratch.file("outer", "begin\nset-name example.com/n\nscript inner a\nscript --set value=2 inner b\nwrite n.aci");
    ok(script(&scratch, &["--set", "value=1", "outer"]));
    scratch.ok(["begin", "./n.aci"]);
    let labels = &scratch.manifest()["labels"];
    assert_eq!(labels[2], json!({"name": "a", "value": "1"}));
    assert_eq!(labels[3], json!({"name": "b", "value": "2"}));
}

#[test]
fn a_working_path_that_is_given_is_used() {
    let scratch = Scratch::new();
    scratch.file("whole", "begin\nset-name example.com/w\nlabel rm none");
    let ran = script(&scratch, &["--work-path", ".", "whole"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(!scratch.path(".acbuild").exists(), "what the script began it ends");

    // A build that was there before goes on.
    scratch.ok(["begin"]);
    scratch.file("part", "label add a b");
    ok(script(&scratch, &["--work-path", ".", "part"]));
    failed(script(&scratch, &["--work-path=.", "whole"]), 1, "script: whole:1: begin failed with exit code 1");
    assert_eq!(scratch.manifest()["labels"][2]["name"], "a");
    // One without that option is another.
    scratch.file("other", "begin\nset-name example.com/e\nend");
    ok(script(&scratch, &["other"]));
    assert_eq!(scratch.manifest()["labels"][2]["name"], "a");
}

#[test]
fn several_builds_go_on_at_once_in_one_folder() {
    let scratch = Scratch::new();
    let build = "mkdir work$1; n=$1; a() { acbuild --work-path work$n \"$@\"; }
        set -e; a begin; trap 'a end' EXIT
        for step in 1 2 3 4 5; do a label add step$step $n; done
        a set-name example.com/b$n; a copy file$n /file; a write b$n.aci";
    let run = |n: usize| {
        scratch.file(&format!("file{n}"), &n.to_string());
        let mut command = Command::new("sh");
        command
            .args(["-c", build, "build", &n.to_string()])
            .current_dir(scratch.path(""))
            .env("PATH", with_acbuild(&scratch));
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let running: Vec<_> = (0..6).map(run).collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    for n in 0..6 {
        assert!(!scratch.path(format!("work{n}/.acbuild")).exists());
        scratch.ok(["begin", &format!("./b{n}.aci")]);
        assert_eq!(scratch.manifest()["labels"][6]["value"], n.to_string());
        assert_eq!(fs::read_to_string(scratch.rootfs("file")).unwrap(), n.to_string());
        scratch.ok(["end"]);
    }
}

/// A search path with `acbuild`, and `acbuild-script` as the README says to make it.
fn with_acbuild(scratch: &Scratch) -> String {
    let bin = scratch.path("bin");
    let _there = fs::create_dir(&bin);
    for name in ["acbuild", "acbuild-script"] {
        let _there = symlink(PROGRAM, bin.join(name));
    }
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn a_script_can_be_called_by_its_own_name() {
    let scratch = Scratch::new();
    let path = with_acbuild(&scratch);
    let text = scratch.file("text", "#!/usr/bin/env acbuild-script\nbegin\nset-name $1\nwrite -- $2\n");
    let file = scratch.path("build");
    // Written by another process: what another thread starts must not inherit it open for writing (ETXTBSY).
    let installed = finish(Command::new("install").arg("-m755").args([&text, &file]));
    assert_eq!(installed.code, Some(0), "{installed:#?}");
    let call = |args: &[&str]| finish(Command::new(&file).args(args).env("PATH", &path).current_dir(scratch.path("")));
    let ran = call(&["example.com/own", "--debug"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "what follows is the script's: {ran:#?}");
    assert!(scratch.path("--debug").exists());
    let ran = call(&["example.com/own"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("build:4: $2 is not set"), "{ran:#?}");
}

/// Whether this process, and so what it starts, takes no notice of a signal.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

#[test]
fn a_signal_ends_the_command_and_the_script_and_leaves_nothing() {
    let scratch = Scratch::new();
    scratch.file("slow", "begin\nisolator add resource/memory -\nset-name example.com/late");
    for (signal, name, code) in
        [(Signal::TERM, "SIGTERM", 143), (Signal::INT, "SIGINT", 130), (Signal::HUP, "SIGHUP", 129)]
    {
        if is_ignored(signal) {
            continue; // As in a job in the background: it stays ignored.
        }
        // The second command waits for its input.
        let mut command = command(&scratch, &["slow"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        let begun = || {
            let mut places = fs::read_dir(scratch.path("tmp")).unwrap().map(|entry| entry.unwrap().path());
            places.any(|place| place.join(".acbuild/buildMode").exists())
        };
        while !begun() {
            assert!(started.elapsed() < Duration::from_secs(30), "no build is begun");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(100));
        let _held = child.stdin.take();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{out:?}");
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.contains(&format!(": stopped by {name}")), "{said}");
        assert_eq!(fs::read_dir(scratch.path("tmp")).unwrap().count(), 0, "the working path is removed");
    }
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/script")
}

/// A copy of the example, to run `name` in.
fn run_example(scratch: &Scratch, name: &str, args: &[&str]) -> Ran {
    let copied = Command::new("cp").arg("-a").arg(example()).arg(scratch.path("example")).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(scratch.path("example").join(name));
    command.args(args).current_dir(scratch.path("example"));
    finish(command.env("PATH", with_acbuild(scratch)).env("SOURCE_DATE_EPOCH", "0"))
}

#[test]
fn the_example_is_the_same_image_from_a_shell_and_from_a_script() {
    let results = ["build.sh", "build.acbuild"].map(|name| {
        let scratch = Scratch::new();
        let ran = ok(run_example(&scratch, name, &["1.2.3"]));
        (ran.stdout, fs::read(scratch.path("example/greeting.aci")).unwrap())
    });
    assert!(results[0] == results[1], "{} and {}", results[0].0, results[1].0);
}

#[test]
fn the_trap_of_a_shell_script_ends_the_build_and_keeps_the_exit_code() {
    let scratch = Scratch::new();
    let ran = run_example(&scratch, "build.sh", &[]);
    assert_eq!(ran.code, Some(2), "the shell's own: {ran:#?}");
    let text = fs::read_to_string(example().join("build.sh")).unwrap();
    let text = text.replace("acbuild write", "acbuild label remove none\nacbuild write");
    scratch.file("failing.sh", &text);
    scratch.file("greeting", "");
    let mut command = Command::new("sh");
    command.args(["failing.sh", "1"]).current_dir(scratch.path("")).env("PATH", with_acbuild(&scratch));
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stderr.starts_with("label remove: element to be removed does not exist"), "{ran:#?}");
    assert!(!scratch.path(".acbuild").exists() && !scratch.path("greeting.aci").exists());
}

#[test]
fn what_a_killed_one_leaves_is_removed_by_the_next_when_nothing_of_it_runs() {
    let scratch = Scratch::new();
    scratch.file("waits", "begin\nreplace-manifest -");
    scratch.file("next", "begin");
    let left = || fs::read_dir(scratch.path("tmp")).unwrap().count();
    // What others may have in there stays.
    for name in ["tmp/acbuild-script-mine", "tmp/acbuild-other"] {
        fs::create_dir_all(scratch.path(name)).unwrap();
    }
    std::os::unix::fs::symlink("../next", scratch.path("tmp/acbuild-script-link")).unwrap();
    let mut child = command(&scratch, &["waits"]).stdin(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let place = || fs::read_dir(scratch.path("tmp")).unwrap().flatten();
    until(|| place().any(|dir| dir.path().join(".acbuild/buildMode").exists()));
    child.kill().unwrap();
    child.wait().unwrap();
    // The command on its second line may wait still, in there.
    assert_eq!(finish(&mut command(&scratch, &["next"])).code, Some(0));
    drop(input);
    until(|| {
        assert_eq!(finish(&mut command(&scratch, &["next"])).code, Some(0));
        left() == 3
    });
}

#[test]
fn a_script_can_come_from_a_pipe() {
    use std::io::Write;
    let scratch = Scratch::new();
    let mut command = command(&scratch, &["/dev/stdin", "1.0"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"begin\nset-name example.com/p\nlabel add version $1\ncat-manifest")
        .unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains(r#"{"name":"version","value":"1.0"}"#), "{out:?}");
}

#[test]
fn what_is_wrong_in_a_script_that_was_called_names_the_caller_too() {
    let scratch = Scratch::new();
    scratch.file("inner", "set-name example.com/x\nlabel remove none");
    scratch.file("middle", "\nscript inner");
    scratch.file("outer", "begin\nscript middle");
    let ran = script(&scratch, &["outer"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(
        ran.stderr.contains("script: inner:2, called at middle:2, called at outer:2: label remove failed"),
        "{ran:#?}"
    );
    scratch.file("inner", "label add $2 x");
    let ran = script(&scratch, &["outer"]);
    assert!(ran.stderr.contains("script: inner:1, called at middle:2, called at outer:2: $2 is not set"), "{ran:#?}");
}

/// Whether a `replace-manifest` of the build in `dir` runs.
fn replaces_in(dir: &Path) -> bool {
    let lines = fs::read_dir("/proc").unwrap().flatten().flat_map(|process| fs::read(process.path().join("cmdline")));
    let has = |line: &[u8], word: &str| line.split(|byte| *byte == 0).any(|one| one == word.as_bytes());
    lines.into_iter().any(|line| has(&line, dir.to_str().unwrap()) && has(&line, "replace-manifest"))
}

#[test]
fn the_command_that_runs_ends_with_a_script_that_is_killed() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("work")).unwrap();
    let (work, temporary) = (scratch.path("work"), tempfile::tempdir().unwrap());
    // The last command waits for its input, which nobody closes.
    let made = Command::new("mkfifo").arg(work.join("input")).status().unwrap();
    assert!(made.success());
    let _held = fs::OpenOptions::new().read(true).write(true).open(work.join("input")).unwrap();
    let dir = work.to_str().unwrap();
    scratch.file("waits", &format!("begin\nreplace-manifest {dir}/input"));
    let shell =
        format!("#!/bin/sh\nacbuild --work-path {dir} begin\nacbuild --work-path {dir} replace-manifest {dir}/input");
    scratch.file("waits.sh", &shell);
    for words in [&["--work-path", dir, "script", "waits"][..], &["verify-reproducible", "waits.sh"]] {
        let mut command = scratch.command(words);
        let mut child = command.env("TMPDIR", temporary.path()).stderr(Stdio::null()).spawn().unwrap();
        until(|| replaces_in(&work));
        child.kill().unwrap();
        child.wait().unwrap();
        until(|| !replaces_in(&work));
        scratch.ok(["--work-path", dir, "end"]);
    }
    // One that starts when it is too late to be told: this process never was whoever runs a script.
    let late =
        scratch.command(["version"]).env("ACBUILD_ENDS_WITH", format!("{} 0", std::process::id())).output().unwrap();
    assert_eq!((late.status.code(), late.stdout.as_slice()), (Some(1), &b""[..]));
}

#[test]
fn scripts_that_begin_at_once_leave_one_another_alone() {
    let scratch = Scratch::new();
    scratch.file("name", "begin\nset-name example.com/many\n");
    for _ in 0..8 {
        let run = |_| command(&scratch, &["name"]).stderr(Stdio::piped()).spawn().unwrap();
        let running: Vec<_> = (0..8).map(run).collect();
        for child in running {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{out:?}");
        }
    }
    assert_eq!(fs::read_dir(scratch.path("tmp")).unwrap().count(), 0);
}
