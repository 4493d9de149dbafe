//! Every rule of the pod manifest: one manifest that keeps it, one that breaks it, and what is said then.

use appc_spec::PodManifest;

const ID: &str = "sha512-00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

/// Rule, kept by, broken by, error.
type Case = (&'static str, String, String, &'static str);

fn check(cases: &[Case]) {
    for (rule, good, bad, error) in cases {
        if let Err(e) = PodManifest::parse(good.as_bytes()) {
            panic!("{rule}: must be accepted: {good}\n{e}");
        }
        match PodManifest::parse(bad.as_bytes()) {
            Ok(_) => panic!("{rule}: must be refused: {bad}"),
            Err(e) => assert_eq!(e.to_string(), *error, "{rule}: {bad}"),
        }
    }
}

fn pod(fields: &str) -> String {
    format!(r#"{{"acVersion": "0.8.11", "acKind": "PodManifest"{fields}}}"#)
}

fn app(fields: &str) -> String {
    pod(&format!(r#", "apps": [{{"name": "a", "image": {{"id": "{ID}"}}{fields}}}]"#))
}

fn volume(fields: &str) -> String {
    pod(&format!(r#", "volumes": [{{"name": "v", {fields}}}]"#))
}

fn port(fields: &str) -> String {
    pod(&format!(r#", "ports": [{{"name": "www", {fields}}}]"#))
}

#[test]
fn the_document() {
    check(&[
        (
            "acKind is PodManifest",
            pod(""),
            r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "a"}"#.to_owned(),
            "acKind: missing or bad ACKind (must be \"PodManifest\"), found \"ImageManifest\"",
        ),
        (
            "acVersion is set",
            pod(r#", "apps": null, "volumes": null, "isolators": null, "annotations": null, "ports": null"#),
            r#"{"acKind": "PodManifest"}"#.to_owned(),
            "acVersion: acVersion must be set",
        ),
        (
            "isolators keep their rules",
            pod(r#", "isolators": [{"name": "os/unix/sysctl", "value": {"a": "1"}}]"#),
            pod(r#", "isolators": [{"name": "os/unix/sysctl"}]"#),
            "isolators[0].value: isolator os/unix/sysctl must have a value",
        ),
        (
            "annotations keep their rules",
            pod(r#", "annotations": [{"name": "ip-address", "value": "10.1.2.3"}]"#),
            pod(r#", "annotations": [{"name": "created", "value": "2014-02-30T00:00:00Z"}]"#),
            "annotations[0].value: bad Date: \"2014-02-30T00:00:00Z\" is not in RFC 3339 form (2014-10-27T19:32:27Z)",
        ),
        (
            "user labels are strings",
            pod(r#", "userLabels": {"A b": "c"}, "userAnnotations": {}"#),
            pod(r#", "userLabels": {"A b": []}"#),
            "userLabels[\"A b\"]: expected a string, found a list",
        ),
    ]);
}

#[test]
fn apps() {
    let named = |names: [&str; 2]| {
        let apps = names.map(|name| format!(r#"{{"name": "{name}", "image": {{"id": "{ID}"}}}}"#));
        pod(&format!(r#", "apps": [{}]"#, apps.join(", ")))
    };
    check(&[
        ("names are unique", named(["a", "b"]), named(["a", "a"]), "apps[1].name: duplicate apps of name \"a\""),
        (
            "names are local",
            named(["a-1", "b"]),
            named(["a/1", "b"]),
            "apps[0].name: ACName must contain only lower case alphanumeric characters plus \"-\", found \"a/1\"",
        ),
        (
            "names are set",
            app(""),
            pod(&format!(r#", "apps": [{{"image": {{"id": "{ID}"}}}}]"#)),
            "apps[0].name: name must be set",
        ),
        ("there is an image", app(""), pod(r#", "apps": [{"name": "a"}]"#), "apps[0].image: image must be set"),
        (
            "the image has an ID",
            app(""),
            pod(r#", "apps": [{"name": "a", "image": {}}]"#),
            "apps[0].image.id: image id must be set",
        ),
        (
            "the image's ID is an ID",
            app(""),
            pod(r#", "apps": [{"name": "a", "image": {"id": "md5-00"}}]"#),
            "apps[0].image.id: unrecognized hash type: md5 (must be sha512)",
        ),
        (
            "the image's labels keep their rules",
            pod(&format!(
                r#", "apps": [{{"name": "a", "image": {{"name": "x/y", "id": "{ID}", "labels": [{{"name": "version", "value": "1"}}]}}}}]"#
            )),
            pod(&format!(
                r#", "apps": [{{"name": "a", "image": {{"id": "{ID}", "labels": [{{"name": "os", "value": "x"}}]}}}}]"#
            )),
            "apps[0].image.labels[0].value: bad os \"x\" (must be one of: [darwin freebsd linux])",
        ),
        (
            "an app in place of the image's keeps its rules",
            app(r#", "app": {"exec": ["/x"], "user": "root", "group": "root"}"#),
            app(r#", "app": {"exec": ["/x"], "user": "root"}"#),
            "apps[0].app.group: group is required",
        ),
        (
            "read only is a boolean",
            app(r#", "readOnlyRootFS": true"#),
            app(r#", "readOnlyRootFS": 1"#),
            "apps[0].readOnlyRootFS: expected true or false, found a number",
        ),
        (
            "annotations keep their rules",
            app(r#", "annotations": [{"name": "a", "value": "1"}]"#),
            app(r#", "annotations": [{"name": "a", "value": "1"}, {"name": "a", "value": "1"}]"#),
            "apps[0].annotations[1].name: duplicate annotations of name \"a\"",
        ),
        (
            "mounts have a volume",
            app(r#", "mounts": [{"volume": "work", "path": "/work"}]"#),
            app(r#", "mounts": [{"path": "/work"}]"#),
            "apps[0].mounts[0].volume: volume must be set",
        ),
        (
            "mounts have a path",
            app(r#", "mounts": [{"volume": "work", "path": "/work", "appVolume": {"name": "x", "kind": "empty"}}]"#),
            app(r#", "mounts": [{"volume": "work", "path": ""}]"#),
            "apps[0].mounts[0].path: path must be set",
        ),
        (
            "an app's own volume keeps the rules",
            app(
                r#", "mounts": [{"volume": "w", "path": "/w", "appVolume": {"name": "x", "kind": "host", "source": "/x"}}]"#,
            ),
            app(
                r#", "mounts": [{"volume": "w", "path": "/w", "appVolume": {"name": "x", "kind": "host", "source": "x"}}]"#,
            ),
            "apps[0].mounts[0].appVolume.source: source for host volume must be absolute path, found \"x\"",
        ),
    ]);
}

#[test]
fn volumes() {
    let two = |second: &str| {
        pod(&format!(r#", "volumes": [{{"name": "v", "kind": "empty"}}, {{"name": "{second}", "kind": "empty"}}]"#))
    };
    let host = |field: &str| volume(&format!(r#""kind": "host", "source": "/srv", {field}"#));
    check(&[
        ("names are unique", two("w"), two("v"), "volumes[1].name: duplicate volume name \"v\""),
        ("names are set", two("w"), pod(r#", "volumes": [{"kind": "empty"}]"#), "volumes[0].name: name must be set"),
        (
            "kind is known",
            volume(r#""kind": "empty""#),
            volume(r#""kind": "tmpfs""#),
            "volumes[0].kind: unrecognized volume kind: should be one of \"empty\", \"host\"",
        ),
        (
            "host: there is a source",
            volume(r#""kind": "host", "source": "/""#),
            volume(r#""kind": "host""#),
            "volumes[0].source: source for host volume cannot be empty",
        ),
        (
            "host: the source is absolute",
            volume(r#""kind": "host", "source": "/srv/data""#),
            volume(r#""kind": "host", "source": "../data""#),
            "volumes[0].source: source for host volume must be absolute path, found \"../data\"",
        ),
        (
            "host: no mode",
            host(r#""recursive": false"#),
            host(r#""mode": "0755""#),
            "volumes[0].mode: mode for host volume cannot be set",
        ),
        (
            "host: no uid",
            host(r#""readOnly": false"#),
            host(r#""uid": 0"#),
            "volumes[0].uid: uid for host volume cannot be set",
        ),
        (
            "host: no gid",
            host(r#""gid": null"#),
            host(r#""gid": 0"#),
            "volumes[0].gid: gid for host volume cannot be set",
        ),
        (
            "empty: no source",
            volume(r#""kind": "empty", "source": """#),
            volume(r#""kind": "empty", "source": "/srv""#),
            "volumes[0].source: source for empty volume must be empty",
        ),
        (
            "empty: mode is octal",
            volume(r#""kind": "empty", "mode": "1777", "uid": 1, "gid": 1"#),
            volume(r#""kind": "empty", "mode": "0799""#),
            "volumes[0].mode: mode must be an octal number from 0000 to 7777, found \"0799\"",
        ),
        (
            "empty: mode is in range",
            volume(r#""kind": "empty", "mode": "07777""#),
            volume(r#""kind": "empty", "mode": "10000""#),
            "volumes[0].mode: mode must be an octal number from 0000 to 7777, found \"10000\"",
        ),
        (
            "empty: owner has no sign",
            volume(r#""kind": "empty", "uid": 1000"#),
            volume(r#""kind": "empty", "uid": -1"#),
            "volumes[0].uid: expected an unsigned integer, found -1",
        ),
    ]);
}

#[test]
fn exposed_ports() {
    check(&[
        (
            "they have a name",
            port(r#""hostPort": 80"#),
            pod(r#", "ports": [{"hostPort": 80}]"#),
            "ports[0].name: name must be set",
        ),
        (
            "the host's port is in range",
            port(r#""hostPort": 65535"#),
            port(r#""hostPort": 99999"#),
            "ports[0].hostPort: hostPort must be in 1-65535 range",
        ),
        (
            "the host's port is set",
            port(r#""hostPort": 1"#),
            port(r#""hostIP": "10.0.0.1""#),
            "ports[0].hostPort: hostPort must be in 1-65535 range",
        ),
        (
            "the address is one",
            port(r#""hostPort": 80, "hostIP": "203.0.113.23""#),
            port(r#""hostPort": 80, "hostIP": "localhost""#),
            "ports[0].hostIP: hostIP must be an IP address such as 203.0.113.23, found \"localhost\"",
        ),
        (
            "no address is the empty string, too",
            port(r#""hostPort": 80, "hostIP": """#),
            port(r#""hostPort": 80, "hostIP": 5"#),
            "ports[0].hostIP: expected a string, found a number",
        ),
        (
            "the pod's port keeps its rules",
            port(r#""hostPort": 80, "podPort": {"name": "x", "protocol": "tcp", "port": 8080}"#),
            port(r#""hostPort": 80, "podPort": {"name": "x", "protocol": "tcp", "port": 80800}"#),
            "ports[0].podPort.port: port must be in 1-65535 range",
        ),
    ]);
}
