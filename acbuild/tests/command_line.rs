//! How the command line is understood: prefixes, aliases, flags, exit codes, help, and what the history keeps.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use common::Scratch;

#[test]
fn any_clear_beginning_of_a_name_will_do_and_the_history_has_the_full_one() {
    let cases: &[(&[&str], &str)] = &[
        (&["dep", "add", "example.com/a", "--size=3"], r#"acbuild dependency add "example.com/a""#),
        (&["env", "add", "A", "1"], r#"acbuild environment add "A" "1""#),
        (&["env", "rm", "A"], r#"acbuild environment remove "A""#),
        (
            &["iso", "a", "os/linux/no-new-privileges", "true.json"],
            r#"acbuild isolator add "os/linux/no-new-privileges" "true.json""#,
        ),
        (&["volume", "add", "a", "/a"], r#"acbuild mount add "a" "/a""#),
        (&["mo", "r", "a"], r#"acbuild mount remove "a""#),
        (&["set-eh", "pre", "/a"], r#"acbuild set-event-handler pre-start "/a""#),
        (&["set-wd", "/"], r#"acbuild set-working-directory "/""#),
        (&["set-working-dir", "/"], r#"acbuild set-working-directory "/""#),
        (&["set-n", "example.com/n"], r#"acbuild set-name "example.com/n""#),
        (&["copy", "true.json", "/x"], r#"acbuild copy "true.json" "/x""#),
        (&["copy-", "true.json", "/y"], r#"acbuild copy-to-dir "true.json" "/y""#),
        (&["set-exec", "--", "/bin/sh", "-c", "say \"hi\"\n"], r#"acbuild set-exec "/bin/sh" "-c" "say \"hi\"\n""#),
        (
            &["--debug", "label", "--work-path", ".", "add", "--work-path=.", "b", "--debug", "c"],
            r#"acbuild label add "b" "c""#,
        ),
        (&["label", "add", "--", "d", "--no-history"], r#"acbuild label add "d" "--no-history""#),
    ];
    for (args, expected) in cases {
        let scratch = Scratch::begun();
        scratch.file("true.json", "true");
        // What the removals remove.
        scratch.ok(["--no-history", "environment", "add", "A", "1"]);
        scratch.ok(["mount", "add", "a", "/b", "--no-history"]);
        scratch.ok(*args);
        assert_eq!(scratch.history(), [*expected], "{args:?}");
    }
}

#[test]
fn history_is_numbered_kept_out_on_request_and_not_about_looking() {
    let scratch = Scratch::begun();
    scratch.ok(["set-name", "example.com/h"]);
    scratch.ok(["--no-history", "set-user", "www"]);
    scratch.ok(["set-tag", "1"]);
    scratch.ok(["cat-manifest"]);
    scratch.ok(["write", "h.aci"]);
    scratch.ok(["version"]);
    let manifest = scratch.manifest();
    let names: Vec<_> =
        manifest["annotations"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["coreos.com/acbuild/command-1", "coreos.com/acbuild/command-2"]);
    scratch.ok(["annotation", "remove", "coreos.com/acbuild/command-1"]);
    assert_eq!(
        scratch.history(),
        ["acbuild set-tag \"1\"", "acbuild annotation remove \"coreos.com/acbuild/command-1\""]
    );
}

#[test]
fn what_is_not_understood_exits_with_3_and_a_hint() {
    let scratch = Scratch::begun();
    let cases: &[(&[&str], &str)] = &[
        (&["frobnicate"], "acbuild: unknown command \"frobnicate\" for \"acbuild\" - try \"acbuild --help\""),
        (&["lable", "add", "a", "b"], "did you mean label?"),
        (&["set-"], "did you mean set-name, set-exec, set-user, set-group, set-supp-groups, set-working-directory"),
        (&["e"], "unknown command \"e\" for \"acbuild\", did you mean end, environment?"),
        (&["label", "frob"], "label: unknown command \"frob\" for \"acbuild label\" - try \"acbuild label --help\""),
        (&["set-event-handler", "p", "x"], "did you mean pre-start, post-stop?"),
        (&["--nope"], "acbuild: unknown flag: --nope"),
        (&["label", "add", "a", "b", "--nope"], "label add: unknown flag: --nope - try \"acbuild label add --help\""),
        (
            &["set-exec", "/bin/sh", "-c", "x"],
            "set-exec: unknown flag: -c (put -- before a command line that has flags)",
        ),
        (
            &["dep", "add", "x", "--label", "foo"],
            "dependency add: invalid argument \"foo\" for --label: no '=' character in \"foo\"",
        ),
        (&["dep", "add", "x", "--size", "big"], "dependency add: invalid argument \"big\" for --size"),
        (&["port", "add", "a", "b", "1", "--count", "0"], "invalid argument \"0\" for --count"),
        (
            &["write", "x", "--compression=rar"],
            "invalid argument \"rar\" for --compression: it must be one of none, gzip",
        ),
        (&["begin", "--build-mode", "tar"], "invalid argument \"tar\" for --build-mode: it must be one of appc, oci"),
        (&["copy", "x", ""], "copy: an argument is empty: <PATH_IN_ACI>"),
        (&["end", "--work-path"], "end: flag needs a value: --work-path"),
        (&["end", "--debug=yes"], "flag --debug takes no value"),
    ];
    for (args, words) in cases {
        scratch.refused(*args, 3, words);
    }
}

#[test]
fn a_wrong_number_of_arguments_exits_with_1() {
    let scratch = Scratch::begun();
    let wrong: &[(&[&str], &str)] = &[
        (&["label", "add", "a"], "label add: incorrect number of arguments, the command is: acbuild label add"),
        (&["lab", "add", "a", "b", "c"], "label add: incorrect number of arguments"),
        (&["end", "now"], "end: incorrect number of arguments"),
        (&["begin", "a", "b"], "begin: incorrect number of arguments"),
        (&["write", "a", "b"], "write: incorrect number of arguments"),
        (&["copy", "a"], "copy: incorrect number of arguments"),
        (&["copy-to-dir", "a"], "copy-to-dir: incorrect number of arguments"),
        (&["port", "add", "a", "b"], "port add: incorrect number of arguments"),
        (&["cat-manifest", "x", "y"], "cat-manifest: incorrect number of arguments"),
    ];
    for (args, words) in wrong {
        scratch.refused(*args, 1, words);
    }
    // None at all is a question.
    for args in
        [&["label", "add"][..], &["write"], &["copy"], &["copy-to-dir"], &["set-exec"], &["set-supp-groups", "--debug"]]
    {
        let ran = scratch.run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:#?}");
        assert!(ran.stdout.contains("Usage: acbuild "), "{ran:#?}");
    }
}

#[test]
fn groups_and_help_print_usage_and_succeed() {
    let scratch = Scratch::new();
    let cases: &[&[&str]] = &[
        &[],
        &["label"],
        &["--debug", "label"],
        &["set-event-handler"],
        &["--help"],
        &["-h"],
        &["help"],
        &["help", "write"],
        &["write", "--help"],
        &["label", "add", "-h"],
    ];
    for args in cases {
        let ran = scratch.run(*args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
        assert!(ran.stdout.contains("Usage: acbuild"), "{ran:#?}");
    }
    assert!(scratch.ok(["label", "add", "--help"]).contains("Example:\n  acbuild label add"));
    let version = scratch.ok(["version"]);
    assert_eq!(version, format!("acbuild version {}\nappc version 0.8.11", env!("CARGO_PKG_VERSION")));
}

#[test]
fn debug_says_what_is_done() {
    let scratch = Scratch::new();
    scratch.file("f", "");
    let cases: &[(&[&str], &str)] = &[
        (&["begin"], "Beginning build with an empty ACI\n"),
        (&["set-name", "example.com/d"], "Setting name of ACI to example.com/d\n"),
        (&["set-exec", "a", "b c"], "Setting exec command [a b c]\n"),
        (&["label", "add", "version", "1"], "Adding label \"version\"=\"1\"\n"),
        (&["mount", "add", "a", "/a", "--read-only"], "Adding read only mount point \"a\"=\"/a\"\n"),
        (&["copy", "f", "/f"], "Copying host:f to aci:/f\n"),
        (&["copy-to-dir", "f", "f", "/d"], "Copying f f to /d\n"),
        (&["write", "d.aci"], "Writing ACI to d.aci\n"),
        (&["end"], "Ending the build\n"),
    ];
    for (args, expected) in cases {
        let ran = scratch.run(args.iter().chain(&["--debug"]));
        assert!(ran.stderr.contains(expected), "{ran:#?}");
    }
}

#[test]
fn the_work_path_may_be_elsewhere() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("deep")).unwrap();
    scratch.ok(["--work-path", "deep", "begin"]);
    assert!(scratch.path("deep/.acbuild/currentaci/rootfs").is_dir());
    assert_eq!(std::fs::read_to_string(scratch.path("deep/.acbuild/buildMode")).unwrap(), "appc");
    scratch.refused(["cat-manifest"], 1, "no build in progress");
    scratch.ok(["end", "--work-path=deep"]);
    assert!(!scratch.path("deep/.acbuild").exists());
    scratch.refused(["begin", "--work-path", "none"], 1, "begin: cannot create");
}
