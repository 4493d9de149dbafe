//! Every rule of the image manifest: one manifest that keeps it, one that breaks it, and what is said then.

use appc_spec::ImageManifest;

/// Rule, kept by, broken by, error.
type Case = (&'static str, String, String, &'static str);

fn check(cases: &[Case]) {
    for (rule, good, bad, error) in cases {
        if let Err(e) = ImageManifest::parse(good.as_bytes()) {
            panic!("{rule}: must be accepted: {good}\n{e}");
        }
        match ImageManifest::parse(bad.as_bytes()) {
            Ok(_) => panic!("{rule}: must be refused: {bad}"),
            Err(e) => assert_eq!(e.to_string(), *error, "{rule}: {bad}"),
        }
    }
}

fn image(fields: &str) -> String {
    format!(r#"{{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/a"{fields}}}"#)
}

fn labels(list: &str) -> String {
    image(&format!(r#", "labels": [{list}]"#))
}

fn annotation(name: &str, value: &str) -> String {
    image(&format!(r#", "annotations": [{{"name": "{name}", "value": "{value}"}}]"#))
}

fn dependency(fields: &str) -> String {
    image(&format!(r#", "dependencies": [{{"imageName": "b"}}, {{{fields}}}]"#))
}

fn app(fields: &str) -> String {
    image(&format!(r#", "app": {{"exec": ["/a"], "user": "0", "group": "0"{fields}}}"#))
}

fn port(fields: &str) -> String {
    app(&format!(r#", "ports": [{{"name": "www", {fields}}}]"#))
}

const ID: &str = "sha512-00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn the_document() {
    let text = |text: &str| text.to_owned();
    check(&[
        (
            "it is JSON",
            image(""),
            text("{\n  \"acKind\": \"ImageManifest\"\n  \"name\": 1}"),
            "invalid JSON at line 3, column 3: expected `,` or `}`",
        ),
        (
            "and nothing follows",
            image("") + "\n",
            image("") + "x",
            "invalid JSON at line 1, column 76: trailing characters",
        ),
        ("and whole", image(""), text("{\"acKind\": "), "invalid JSON at line 1, column 11: EOF while parsing a value"),
        ("and not empty", image(""), text(""), "invalid JSON at line 1, column 0: EOF while parsing a value"),
        ("an object", image(""), text("[]"), "expected an object, found a list"),
        (
            "acKind is set",
            image(""),
            text(r#"{"acVersion": "0.8.11", "name": "a"}"#),
            "acKind: missing or bad ACKind (must be \"ImageManifest\")",
        ),
        (
            "acKind is ImageManifest",
            image(""),
            text(r#"{"acKind": "PodManifest", "acVersion": "0.8.11", "name": "a"}"#),
            "acKind: missing or bad ACKind (must be \"ImageManifest\"), found \"PodManifest\"",
        ),
        (
            "acVersion is set",
            image(""),
            text(r#"{"acKind": "ImageManifest", "name": "a"}"#),
            "acVersion: acVersion must be set",
        ),
        (
            "acVersion is semantic",
            text(r#"{"acKind": "ImageManifest", "acVersion": "1.2.3-rc.1+git", "name": "a"}"#),
            text(r#"{"acKind": "ImageManifest", "acVersion": "0.8", "name": "a"}"#),
            "acVersion: SemVer is bad: \"0.8\" is not like 0.8.11: unexpected end of input while parsing minor version number",
        ),
        (
            "acVersion is not zero",
            text(r#"{"acKind": "ImageManifest", "acVersion": "0.0.1", "name": "a"}"#),
            text(r#"{"acKind": "ImageManifest", "acVersion": "0.0.0", "name": "a"}"#),
            "acVersion: SemVer cannot be zero",
        ),
        (
            "name is set",
            image(""),
            text(r#"{"acKind": "ImageManifest", "acVersion": "0.8.11"}"#),
            "name: name must be set",
        ),
        (
            "name is an identifier",
            text(r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/~user/app_v1"}"#),
            text(r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "Example"}"#),
            "name: ACIdentifier must contain only lower case alphanumeric characters plus \"-._~/\", found \"Example\"",
        ),
        (
            "name is a string",
            image(""),
            text(r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": 5}"#),
            "name: expected a string, found a number",
        ),
    ]);
}

#[test]
fn the_lists_of_an_image() {
    check(&[
        ("labels are a list", labels(""), image(r#", "labels": {}"#), "labels: expected a list, found an object"),
        (
            "labels have names",
            labels(r#"{"name": "a", "value": ""}"#),
            labels(r#"{"value": "1"}"#),
            "labels[0].name: name must be set",
        ),
        (
            "no label is called name",
            labels(r#"{"name": "names", "value": "x"}"#),
            labels(r#"{"name": "name", "value": "x"}"#),
            "labels[0].name: invalid label name: \"name\"",
        ),
        (
            "label names are unique",
            labels(r#"{"name": "a", "value": "1"}, {"name": "b", "value": "1"}"#),
            labels(r#"{"name": "a", "value": "1"}, {"name": "a", "value": "1"}"#),
            "labels[1].name: duplicate labels of name \"a\"",
        ),
        (
            "os is known",
            labels(r#"{"name": "os", "value": "freebsd"}, {"name": "arch", "value": "arm"}"#),
            labels(r#"{"name": "os", "value": "plan9"}, {"name": "arch", "value": "arm"}"#),
            "labels[0].value: bad os \"plan9\" (must be one of: [darwin freebsd linux])",
        ),
        (
            "arch is known for the os",
            labels(r#"{"name": "arch", "value": "s390x"}, {"name": "os", "value": "linux"}"#),
            labels(r#"{"name": "os", "value": "linux"}, {"name": "arch", "value": "x"}"#),
            "labels[1].value: bad arch \"x\" for linux (must be one of: [amd64 i386 aarch64 aarch64_be armv6l armv7l armv7b ppc64 ppc64le s390x])",
        ),
        (
            "arch means nothing without os",
            labels(r#"{"name": "arch", "value": "x"}"#),
            labels(r#"{"name": "os", "value": ""}"#),
            "labels[0].value: bad os \"\" (must be one of: [darwin freebsd linux])",
        ),
        (
            "annotation names are identifiers",
            annotation("appc.io/executor/supports-systemd-notify", "false"),
            annotation("Authors", "x"),
            "annotations[0].name: ACIdentifier must contain only lower case alphanumeric characters plus \"-._~/\", found \"Authors\"",
        ),
        (
            "annotation names are unique",
            image(r#", "annotations": [{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]"#),
            image(r#", "annotations": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]"#),
            "annotations[1].name: duplicate annotations of name \"a\"",
        ),
        (
            "created is a date",
            annotation("created", "2014-10-27T19:32:27.67021798Z"),
            annotation("created", "yesterday"),
            "annotations[0].value: bad Date: \"yesterday\" is not in RFC 3339 form (2014-10-27T19:32:27Z)",
        ),
        (
            "homepage is a URL",
            annotation("homepage", "https://example.com"),
            annotation("homepage", "ftp://example.com"),
            "annotations[0].value: bad URL scheme, must be http/https",
        ),
        (
            "documentation is a URL",
            annotation("documentation", "HTTP://example.com/a%20b"),
            annotation("documentation", "http://example.com/%zz"),
            "annotations[0].value: bad URL: \"http://example.com/%zz\" has a % without two hexadecimal digits after it",
        ),
        (
            "a URL has no control characters",
            annotation("documentation", "http:example"),
            annotation("documentation", "http://example.com/\\u0007"),
            "annotations[0].value: bad URL: control character in it",
        ),
        (
            "path whitelist is a list of strings",
            image(r#", "pathWhitelist": ["/a", "/b/", ""]"#),
            image(r#", "pathWhitelist": ["/a", 7]"#),
            "pathWhitelist[1]: expected a string, found a number",
        ),
    ]);
}

#[test]
fn dependencies() {
    check(&[
        (
            "has a name",
            dependency(r#""imageName": "example.com/base""#),
            dependency(r#""labels": []"#),
            "dependencies[1].imageName: imageName cannot be empty",
        ),
        (
            "has a valid name",
            dependency(r#""imageName": "a""#),
            dependency(r#""imageName": """#),
            "dependencies[1].imageName: ACIdentifier cannot be empty",
        ),
        (
            "image ID is whole",
            dependency(&format!(r#""imageName": "a", "imageID": "{ID}""#)),
            dependency(r#""imageName": "a", "imageID": "sha512-deadbeef""#),
            "dependencies[1].imageID: image ID must have 128 hexadecimal digits, found 8",
        ),
        (
            "labels keep the rules of labels",
            dependency(r#""imageName": "a", "labels": [{"name": "version", "value": "1"}]"#),
            dependency(r#""imageName": "a", "labels": [{"name": "name", "value": "1"}]"#),
            "dependencies[1].labels[0].name: invalid label name: \"name\"",
        ),
        (
            "size is a number without sign",
            dependency(r#""imageName": "a", "size": 18446744073709551615"#),
            dependency(r#""imageName": "a", "size": -1"#),
            "dependencies[1].size: expected an unsigned integer, found -1",
        ),
    ]);
}

#[test]
fn app_itself() {
    check(&[
        ("user is set", app(""), image(r#", "app": {"exec": ["/a"], "group": "0"}"#), "app.user: user is required"),
        (
            "group is set",
            app(""),
            image(r#", "app": {"exec": ["/a"], "user": "0", "group": ""}"#),
            "app.group: group is required",
        ),
        (
            "exec may be null but not a string",
            image(r#", "app": {"exec": null, "user": "0", "group": "0"}"#),
            image(r#", "app": {"exec": "/a", "user": "0", "group": "0"}"#),
            "app.exec: expected a list, found a string",
        ),
        (
            "working directory is absolute",
            app(r#", "workingDirectory": "/opt/work""#),
            app(r#", "workingDirectory": "opt""#),
            "app.workingDirectory: workingDirectory must be an absolute path, found \"opt\"",
        ),
        (
            "groups are numbers without sign",
            app(r#", "supplementaryGids": [400, 500]"#),
            app(r#", "supplementaryGids": [400, -500]"#),
            "app.supplementaryGIDs[1]: expected an unsigned integer, found -500",
        ),
        (
            "groups fit",
            app(r#", "supplementaryGIDs": [4294967295]"#),
            app(r#", "supplementaryGIDs": [4294967296]"#),
            "app.supplementaryGIDs[0]: expected a number up to 4294967295, found 4294967296",
        ),
        (
            "one handler for an event",
            app(r#", "eventHandlers": [{"name": "pre-start", "exec": ["/a"]}, {"name": "post-stop", "exec": []}]"#),
            app(r#", "eventHandlers": [{"name": "pre-start", "exec": ["/a"]}, {"name": "pre-start", "exec": []}]"#),
            "app.eventHandlers[1].name: Only one eventHandler of name \"pre-start\" allowed",
        ),
        (
            "events are known",
            app(r#", "eventHandlers": [{"name": "post-stop", "exec": ["/a"]}]"#),
            app(r#", "eventHandlers": [{"name": "post-start", "exec": ["/a"]}]"#),
            "app.eventHandlers[0].name: bad eventHandler \"name\": \"post-start\" (must be pre-start or post-stop)",
        ),
        (
            "events have a name",
            app(r#", "eventHandlers": []"#),
            app(r#", "eventHandlers": [{"exec": ["/a"]}]"#),
            "app.eventHandlers[0].name: eventHandler \"name\" cannot be empty",
        ),
        (
            "environment names are set",
            app(r#", "environment": [{"name": "A", "value": ""}]"#),
            app(r#", "environment": [{"name": "", "value": "1"}]"#),
            "app.environment[0].name: environment variable name must not be empty",
        ),
        (
            "environment names are names",
            app(r#", "environment": [{"name": "_A.b-1", "value": "1"}]"#),
            app(r#", "environment": [{"name": "1A", "value": "1"}]"#),
            "app.environment[0].name: environment variable does not have valid identifier \"1A\"",
        ),
        (
            "environment names are unique",
            app(r#", "environment": [{"name": "A", "value": "1"}, {"name": "a", "value": "1"}]"#),
            app(r#", "environment": [{"name": "A", "value": "1"}, {"name": "A", "value": "1"}]"#),
            "app.environment[1].name: duplicate environment variable of name \"A\"",
        ),
        (
            "user annotations are strings",
            app(r#", "userAnnotations": {"Any Key": "x", "none": null}"#),
            app(r#", "userAnnotations": {"Any\nKey": 5}"#),
            "app.userAnnotations[\"Any\\nKey\"]: expected a string, found a number",
        ),
        (
            "user labels are an object",
            app(r#", "userLabels": {}"#),
            app(r#", "userLabels": []"#),
            "app.userLabels: expected an object of strings, found a list",
        ),
    ]);
}

#[test]
fn mount_points_and_ports() {
    check(&[
        (
            "mount points have a local name",
            app(r#", "mountPoints": [{"name": "work-1", "path": "/work"}]"#),
            app(r#", "mountPoints": [{"name": "work.1", "path": "/work"}]"#),
            "app.mountPoints[0].name: ACName must contain only lower case alphanumeric characters plus \"-\", found \"work.1\"",
        ),
        (
            "mount points have a path",
            app(r#", "mountPoints": [{"name": "work", "path": "/work", "readOnly": true}]"#),
            app(r#", "mountPoints": [{"name": "work"}]"#),
            "app.mountPoints[0].path: path must be set",
        ),
        (
            "read only is a boolean",
            app(r#", "mountPoints": [{"name": "work", "path": "/work", "readOnly": null}]"#),
            app(r#", "mountPoints": [{"name": "work", "path": "/work", "readOnly": "yes"}]"#),
            "app.mountPoints[0].readOnly: expected true or false, found a string",
        ),
        (
            "ports have a name",
            port(r#""protocol": "tcp", "port": 1"#),
            app(r#", "ports": [{"protocol": "tcp", "port": 80}]"#),
            "app.ports[0].name: name must be set",
        ),
        (
            "ports are not above 65535",
            port(r#""protocol": "tcp", "port": 65535"#),
            port(r#""protocol": "tcp", "port": 70000"#),
            "app.ports[0].port: port must be in 1-65535 range",
        ),
        (
            "ports are not 0",
            port(r#""protocol": "tcp", "port": 1"#),
            port(r#""protocol": "tcp", "port": 0"#),
            "app.ports[0].port: port must be in 1-65535 range",
        ),
        (
            "ports are set",
            port(r#""port": 80"#),
            port(r#""protocol": "tcp""#),
            "app.ports[0].port: port must be in 1-65535 range",
        ),
        (
            "ports are whole",
            port(r#""port": 80"#),
            port(r#""port": 80.5"#),
            "app.ports[0].port: expected an integer, found 80.5",
        ),
        (
            "ranges end at 65535",
            port(r#""protocol": "tcp", "port": 65000, "count": 536"#),
            port(r#""protocol": "tcp", "port": 65000, "count": 537"#),
            "app.ports[0].count: end of port range must be in 1-65535 range",
        ),
    ]);
}
