//! What people and engines ask the program about itself: features, version, help.

use support::{Cmd, Scratch};

fn rkt_oci(args: &[&str]) -> Cmd {
    Scratch::new().rkt_oci(args).cwd("/")
}

#[test]
fn features_are_those_of_the_specification() {
    let outcome = rkt_oci(&["features"]).ok();
    assert!(outcome.stdout.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n    \"ociVersionMax\": \"1.3.0\",\n"));
    let features = outcome.json();
    let list = |pointer: &str| -> Vec<String> {
        let list = features.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is there"));
        list.as_array().expect("a list").iter().map(|v| v.as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(list("/hooks").len(), 6);
    assert_eq!(list("/potentiallyUnsafeConfigAnnotations"), ["org.systemd.property."]);
    for pointer in ["/mountOptions", "/linux/namespaces"] {
        assert!(list(pointer).is_sorted(), "{pointer} is in order");
    }
    assert!(list("/mountOptions").contains(&"rro".to_owned()));
    assert_eq!(list("/linux/capabilities")[21], "CAP_SYS_ADMIN");
    // Engines read it into a typed structure that is not ours.
    let typed: oci_spec::runtime::Features = serde_json::from_str(&outcome.stdout).expect("the structure is right");
    assert!(typed.linux().is_some());
}

#[test]
fn what_is_wrong_with_a_command_line_is_in_the_log_too() {
    let scratch = Scratch::new();
    let log = scratch.path().join("log");
    let log = log.to_str().expect("a name");
    let rkt_oci = |args: &[&str]| scratch.rkt_oci(["--log", log, "--log-format=json"]).args(args);
    rkt_oci(&["state", "--bad", "x"]).refused(1, &["'--bad'", "see `rkt-oci state --help`"]);
    rkt_oci(&["nonesuch"]).refused(3, &["No help topic for 'nonesuch': see `rkt-oci --help`"]);
    let top = "Option --root argument should not be set to /";
    rkt_oci(&["--root", "", "state", "x"]).refused(1, &[top, "see `rkt-oci state --help`"]);
    let lines = std::fs::read_to_string(log).expect("it was written");
    let said: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(said.len(), 3, "{lines}");
    assert!(said[0]["msg"].as_str().is_some_and(|text| text.contains("'--bad'")), "{lines}");
    assert_eq!(said[0]["level"], "error");
}

#[test]
fn help_is_wrapped_once() {
    let help = rkt_oci(&["create", "--help"]).ok();
    // Where the source ends a line within a sentence.
    assert!(!help.stdout.contains(" and for\nwhoever"), "{}", help.stdout);
    assert!(rkt_oci(&["--help"]).ok().stdout.contains("rkt-oci manual DIR"));
}

#[test]
fn the_version_has_three_lines() {
    for flag in ["-v", "--version"] {
        let outcome = rkt_oci(&[flag]).ok();
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], concat!("rkt-oci version ", env!("CARGO_PKG_VERSION")));
        let commit = lines[1].strip_prefix("commit: ").expect("the second line");
        assert!(!commit.is_empty() && !commit.contains(char::is_whitespace), "{commit:?}");
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}

#[test]
fn flags_of_old_callers_are_taken() {
    let flags = ["--criu", "/usr/bin/criu", "--rootless=auto", "--systemd-cgroup", "--log-format", "json", "features"];
    rkt_oci(&flags).ok();
    // Said by the engine, and by whoever configured it: the last one counts.
    let scratch = Scratch::new();
    let empty = scratch.work().display().to_string();
    let twice =
        ["--debug", "--debug", "--systemd-cgroup", "--systemd-cgroup", "--log-format=text", "--log-format=json"];
    rkt_oci(&twice).args(["--root", "/", "--root", &empty, "list", "-f", "table", "-f", "json", "-q", "-q"]).ok();
    rkt_oci(&["--root", "/", "list"]).refused(1, &["Option --root argument should not be set to /"]);
    rkt_oci(&["--rootless", "maybe", "features"]).refused(1, &["\"maybe\" is none of true, false, auto"]);
    rkt_oci(&["--log-format", "xml", "features"]).refused(1, &["invalid log-format: xml"]);
}

#[test]
fn flags_are_taken_as_gos_programs_write_them() {
    let scratch = Scratch::new();
    let flags = ["-root", ".", "-log-format=json", "--debug=true", "-systemd-cgroup=false"];
    scratch.rkt_oci(flags).args(["list", "-format", "json", "-quiet=T"]).ok();
    scratch.rkt_oci(["-root", "none", "list"]).refused(1, &["/none: there is no such directory"]);
    rkt_oci(&["-root", "/", "list"]).refused(1, &["Option --root argument should not be set to /"]);
    rkt_oci(&["restore", "-bundle", "/no/such", "-detach=false", "x"]).refused(1, &["--bundle /no/such"]);
    rkt_oci(&["-version"]).ok().prints(&["rkt-oci version"]);
    // What is said not to be given is not.
    rkt_oci(&["-root", "/no/such", "delete", "-force", "x"]).ok();
    rkt_oci(&["-root", "/no/such", "delete", "-force=false", "x"]).refused(1, &["container does not exist"]);
    rkt_oci(&["--debug=perhaps", "list"]).refused(1, &["'perhaps'", "'--debug'", "see `rkt-oci list --help`"]);
    rkt_oci(&["-nonesuch", "list"]).refused(1, &["see `rkt-oci --help`"]);
}

#[test]
fn every_program_brings_its_manual() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("share");
    for program in ["acbuild", "rkt", "rkt-oci"] {
        scratch.program(program).arg("manual").arg(&folder).ok();
        for file in [
            format!("man/man1/{program}.1"),
            format!("bash-completion/completions/{program}"),
            format!("zsh/site-functions/_{program}"),
            format!("fish/vendor_completions.d/{program}.fish"),
        ] {
            let text = std::fs::read_to_string(folder.join(&file)).expect(&file);
            assert!(text.contains(program), "{file}");
        }
    }
    let page = std::fs::read_to_string(folder.join("man/man1/rkt-oci-run.1")).expect("each command has a page");
    assert!(page.contains("\\-\\-bundle"), "{page}");
    let bash = folder.join("bash-completion/completions/rkt-oci");
    Cmd::new("bash").arg("-n").arg(&bash).ok();
    let complete = format!(
        ". {}; COMP_WORDS=(rkt-oci st); COMP_CWORD=1; _rkt__oci rkt-oci st rkt-oci; echo \"${{COMPREPLY[@]}}\"",
        bash.display()
    );
    assert_eq!(Cmd::new("bash").args(["-c", &complete]).ok().text(), "start state");
    scratch.rkt_oci(["manual", "/proc/no/such"]).refused(1, &["rkt-oci manual failed: write below /proc/no/such"]);
}

#[test]
fn callers_find_out_what_there_is() {
    rkt_oci(&["checkpoint", "--help"]).ok().prints(&["--image-path"]);
    rkt_oci(&["restore", "--lsm-mount-context"]).refused(1, &["flag needs an argument"]);
    rkt_oci(&["foo", "-h"]).refused(3, &["No help topic for 'foo'"]);
    rkt_oci(&["restore", "--bundle", "/no/such", "-no-subreaper", "x"]).refused(1, &["--bundle /no/such"]);
}
