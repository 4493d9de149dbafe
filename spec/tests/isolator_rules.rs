//! Every rule of the isolators: one app that keeps it, one that breaks it, and what is said then.

use appc_spec::{ImageManifest, Isolator, Quantity, Resource};

fn manifest(isolators: &str) -> String {
    let app = format!(r#""app": {{"exec": ["/a"], "user": "0", "group": "0", "isolators": [{isolators}]}}"#);
    format!(r#"{{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "a", {app}}}"#)
}

fn isolator(name: &str, value: &str) -> String {
    format!(r#"{{"name": "{name}", "value": {value}}}"#)
}

fn refusal(isolators: &str) -> String {
    match ImageManifest::parse(manifest(isolators).as_bytes()) {
        Ok(_) => panic!("must be refused: {isolators}"),
        Err(e) => e.to_string(),
    }
}

fn accepted(isolators: &str) -> ImageManifest {
    match ImageManifest::parse(manifest(isolators).as_bytes()) {
        Ok(manifest) => manifest,
        Err(e) => panic!("must be accepted: {isolators}\n{e}"),
    }
}

/// Isolator, value that keeps the rule, value that breaks it, error below `app.isolators[0].value`.
const VALUES: &[(&str, &str, &str, &str)] = &[
    (
        "resource/block-bandwidth",
        r#"{"default": true, "limit": "2M"}"#,
        r#"{"limit": "2M"}"#,
        ".default: default must be true",
    ),
    (
        "resource/block-iops",
        r#"{"default": true, "limit": "1000"}"#,
        r#"{"default": false, "limit": "2M"}"#,
        ".default: default must be true",
    ),
    (
        "resource/network-bandwidth",
        r#"{"default": true, "limit": "1G", "request": null}"#,
        r#"{"default": true, "limit": "1G", "request": "1"}"#,
        ".request: request not supported by this resource, must be empty",
    ),
    (
        "resource/cpu",
        r#"{"request": "250m", "limit": "500m"}"#,
        r#"{"default": true, "limit": "1"}"#,
        ".default: default must be false",
    ),
    (
        "resource/cpu",
        r#"{"limit": 0.5}"#,
        r#"{"limit": true}"#,
        ".limit: expected a quantity such as \"500m\" or \"64Mi\", found a boolean",
    ),
    (
        "resource/memory",
        r#"{"LIMIT": 1000000}"#,
        r#"{"limit": "1GB"}"#,
        ".limit: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$', found \"1GB\"",
    ),
    (
        "resource/memory",
        r#"{"limit": "1K"}"#,
        r#"{"limit": "1.0.0"}"#,
        ".limit: unable to parse numeric part of quantity \"1.0.0\"",
    ),
    (
        "resource/memory",
        r#"{"request": "1Gi"}"#,
        r#"{"request": "1MG"}"#,
        ".request: unable to parse quantity's suffix in \"1MG\"",
    ),
    ("resource/memory", "{}", r#""1G""#, ": expected an object, found a string"),
    ("os/linux/capabilities-retain-set", r#"{"set": ["CAP_KILL"]}"#, r#"{"set": []}"#, ".set: set must be non-empty"),
    ("os/linux/capabilities-remove-set", r#"{"set": ["CAP_NEW_ONE"]}"#, "{}", ".set: set must be non-empty"),
    ("os/linux/no-new-privileges", "true", r#""true""#, ": expected true or false, found a string"),
    (
        "os/linux/seccomp-retain-set",
        r#"{"set": ["@appc.io/all"], "errno": ""}"#,
        r#"{"errno": "EPERM"}"#,
        ".set: set must be non-empty",
    ),
    (
        "os/linux/seccomp-remove-set",
        r#"{"set": ["reboot"], "errno": "ENOTSUP"}"#,
        r#"{"set": ["reboot"], "errno": "PERM"}"#,
        ".errno: errno must start with an 'E' character, got PERM",
    ),
    (
        "os/linux/seccomp-remove-set",
        r#"{"set": ["reboot"], "errno": "E2BIG"}"#,
        r#"{"set": ["reboot"], "errno": "Eperm\n"}"#,
        ".errno: errno can only contain upper case or numeric characters, got Eperm\\n",
    ),
    (
        "os/linux/selinux-context",
        r#"{"user": "u", "role": "r", "type": "t", "level": "s0:c1"}"#,
        r#"{"user": "u:", "role": "r", "type": "t", "level": "s0"}"#,
        ".user: invalid user value \"u:\"",
    ),
    (
        "os/linux/selinux-context",
        r#"{"user": "u", "role": "r", "type": "t", "level": "s0"}"#,
        r#"{"user": "u", "type": "t", "level": "s0"}"#,
        ".role: invalid role value \"\"",
    ),
    (
        "os/linux/selinux-context",
        r#"{"user": "u", "role": "r", "type": "t", "level": "s0"}"#,
        r#"{"user": "u", "role": "r", "type": "t:", "level": "s0"}"#,
        ".type: invalid type value \"t:\"",
    ),
    (
        "os/linux/selinux-context",
        r#"{"user": "u", "role": "r", "type": "t", "level": "s0"}"#,
        r#"{"user": "u", "role": "r", "type": "t"}"#,
        ".level: invalid level value \"\"",
    ),
    ("os/linux/apparmor-profile", r#"{"profile": "unconfined"}"#, "{}", ".profile: invalid profile value \"\""),
    ("os/linux/oom-score-adj", "-1000", "-1001", ": os/linux/oom-score-adj must be between -1000 and 1000, got -1001"),
    ("os/linux/oom-score-adj", "1000", "1001", ": os/linux/oom-score-adj must be between -1000 and 1000, got 1001"),
    ("os/linux/oom-score-adj", "0", "0.5", ": expected an integer, found 0.5"),
    ("os/linux/cpu-shares", "2", "1", ": os/linux/cpu-shares must be between 2 and 262144, got 1"),
    ("os/linux/cpu-shares", "262144", "262145", ": os/linux/cpu-shares must be between 2 and 262144, got 262145"),
    (
        "os/unix/sysctl",
        r#"{"net.ipv4.tcp_mtu_probing": "1"}"#,
        r#"{"net.ipv4.tcp_mtu_probing": 1}"#,
        "[\"net.ipv4.tcp_mtu_probing\"]: expected a string, found a number",
    ),
];

#[test]
fn values() {
    for (name, good, bad, error) in VALUES {
        let manifest = accepted(&isolator(name, good));
        let app = manifest.app.as_ref().expect("the manifest has an app");
        assert!(!matches!(app.isolators.get(name), None | Some(Isolator::Unknown)), "{name} is known");
        assert_eq!(refusal(&isolator(name, bad)), format!("app.isolators[0].value{error}"), "{name} {bad}");
    }
}

/// Isolators that stand together, isolators that cannot, error.
#[test]
fn the_list() {
    let two = |a: (&str, &str), b: (&str, &str)| format!("{}, {}", isolator(a.0, a.1), isolator(b.0, b.1));
    let (retain, remove) = ("os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set");
    let (seccomp_retain, seccomp_remove) = ("os/linux/seccomp-retain-set", "os/linux/seccomp-remove-set");
    let set = r#"{"set": ["x"]}"#;
    accepted(&two((retain, set), (seccomp_remove, set)));
    for (first, second) in
        [(retain, remove), (remove, retain), (seccomp_retain, seccomp_remove), (seccomp_remove, seccomp_retain)]
    {
        let error =
            format!("app.isolators[1].name: isolators set contains incompatible types: {second} and {first}, keep one");
        assert_eq!(refusal(&two((first, set), (second, set))), error);
    }
    let singles = [
        (seccomp_retain, set),
        (seccomp_remove, set),
        ("os/linux/selinux-context", r#"{"user": "u", "role": "r", "type": "t", "level": "l"}"#),
        ("os/linux/apparmor-profile", r#"{"profile": "p"}"#),
        ("os/linux/oom-score-adj", "1"),
        ("os/linux/cpu-shares", "1024"),
        ("os/unix/sysctl", "{}"),
    ];
    for single in singles {
        accepted(&isolator(single.0, single.1));
        let error = format!("app.isolators[1].name: isolators set contains too many instances of type {}", single.0);
        assert_eq!(refusal(&two(single, single)), error);
    }
}

#[test]
fn of_several_the_last_counts() {
    let one = isolator("resource/memory", r#"{"limit": "1G"}"#);
    let two = isolator("resource/memory", r#"{"limit": "2G"}"#);
    let manifest = accepted(&format!("{one}, {two}"));
    let limit: Quantity = "2G".parse().expect("a quantity");
    let expected = Isolator::Memory(Resource { request: None, limit: Some(limit) });
    assert_eq!(manifest.app.expect("the manifest has an app").isolators.get("resource/memory"), Some(&expected));
}

#[test]
fn the_entry() {
    let unknown = isolator("example.com/unheard-of", r#"{"a": [1, 2.5, null]}"#);
    assert!(accepted(&unknown).to_json().contains(r#"{"name":"example.com/unheard-of","value":{"a":[1,2.5,null]}}"#));
    assert!(accepted(&isolator("example.com/null", "null")).to_json().contains(r#""value":null"#));

    let error = "app.isolators[0].value: isolator resource/memory must have a value";
    assert_eq!(refusal(r#"{"name": "resource/memory"}"#), error);
    assert_eq!(refusal(&isolator("resource/memory", "null")), "app.isolators[0].value: expected an object, found null");
    assert_eq!(refusal(r#"{"value": 1}"#), "app.isolators[0].name: isolator name must be set");
    assert!(refusal(&isolator("Resource/memory", "1")).starts_with("app.isolators[0].name: ACIdentifier must"));
}
