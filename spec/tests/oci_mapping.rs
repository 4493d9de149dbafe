//! The mapping between App Container manifests and OCI configurations: the tables, and what waits for the way back.

use std::collections::BTreeMap;

use appc_spec::oci::{CONFIG_STASH, MANIFEST, OciParts, Origin, to_appc, to_oci};
use appc_spec::{App, ImageManifest, MountPoint, Port, host_arch};
use serde_json::{Value, json};

fn busybox() -> Origin {
    Origin {
        registry: "registry.example.com:5000".into(),
        repository: "Library/busy_box".into(),
        tag: "1.36".into(),
        original: "docker://registry.example.com:5000/Library/busy_box:1.36".into(),
        config_digest: "sha256:aa".into(),
        manifest_digest: "sha256:bb".into(),
    }
}

fn appc(config: &Value, annotations: &Value) -> ImageManifest {
    let manifest = json!({ "schemaVersion": 2, "annotations": annotations });
    to_appc(config.to_string().as_bytes(), manifest.to_string().as_bytes(), &busybox()).expect("it converts")
}

fn app(run: Value) -> App {
    appc(&json!({ "os": "linux", "architecture": "amd64", "config": run }), &Value::Null).app.expect("an app")
}

/// Back again, with what the image carries.
fn back(parts: &OciParts) -> ImageManifest {
    let manifest = json!({ "annotations": parts.annotations });
    to_appc(parts.config.to_string().as_bytes(), manifest.to_string().as_bytes(), &Origin::default()).expect("it reads")
}

fn full() -> ImageManifest {
    ImageManifest::parse(
        br#"{"acKind": "ImageManifest", "acVersion": "0.8.10", "name": "example.com/full", "x-top": 1,
        "labels": [{"name": "version", "value": "1.0"}, {"name": "arch", "value": "aarch64"},
                   {"name": "channel", "value": "beta"}, {"name": "os", "value": "linux"}],
        "app": {"exec": ["/bin/app", "--port", "80"], "user": "www", "group": "data", "x-app": [1],
            "eventHandlers": [{"name": "pre-start", "exec": ["/bin/pre"]}], "supplementaryGIDs": [7, 8],
            "workingDirectory": "/srv", "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1=1"}],
            "mountPoints": [{"name": "data", "path": "/var/data", "readOnly": true}],
            "ports": [{"name": "www", "protocol": "tcp", "port": 80, "count": 3, "socketActivated": true},
                      {"name": "odd", "protocol": "dccp", "port": 99}],
            "isolators": [{"name": "resource/memory", "value": {"limit": "1G"}}],
            "userLabels": {"team": "a"}, "userAnnotations": {"note": "b"}},
        "annotations": [{"name": "created", "value": "2020-01-02T03:04:05Z"}, {"name": "authors", "value": "me"},
            {"name": "homepage", "value": "https://example.com"}, {"name": "lorem", "value": "ipsum"},
            {"name": "documentation", "value": "https://example.com/docs"}],
        "dependencies": [{"imageName": "example.com/base"}], "pathWhitelist": ["/bin/app"]}"#,
    )
    .expect("a valid manifest")
}

#[test]
fn an_aci_in_words_of_oci() {
    let parts = to_oci(&full());
    assert_eq!(parts.original, None);
    let expected = json!({
        "created": "2020-01-02T03:04:05Z", "author": "me", "architecture": "arm64", "os": "linux", "variant": "v8",
        "config": {
            "User": "www:data", "ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}}, "Env": ["B=2", "A=1=1"],
            "Entrypoint": ["/bin/app", "--port", "80"], "Volumes": {"/var/data": {}}, "WorkingDir": "/srv",
            "Labels": {"team": "a"},
        },
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    assert_eq!(parts.config, expected);
    let mut annotations = parts.annotations.clone();
    assert_eq!(annotations.remove(MANIFEST), Some(full().to_json()));
    let expected: BTreeMap<String, String> = [
        ("io.appc.app.event-handlers", r#"[{"name":"pre-start","exec":["/bin/pre"]}]"#),
        ("io.appc.app.isolators", r#"[{"name":"resource/memory","value":{"limit":"1G"}}]"#),
        ("io.appc.app.mount-points", r#"[{"name":"data","path":"/var/data","readOnly":true}]"#),
        (
            "io.appc.app.ports",
            concat!(
                r#"[{"name":"www","protocol":"tcp","port":80,"count":3,"socketActivated":true},"#,
                r#"{"name":"odd","protocol":"dccp","port":99,"count":1,"socketActivated":false}]"#
            ),
        ),
        ("io.appc.app.supplementary-gids", "[7,8]"),
        ("io.appc.app.user-annotations", r#"{"note":"b"}"#),
        ("io.appc.image.name", "example.com/full"),
        ("io.appc.label.channel", "beta"),
        ("lorem", "ipsum"),
        ("org.opencontainers.image.authors", "me"),
        ("org.opencontainers.image.created", "2020-01-02T03:04:05Z"),
        ("org.opencontainers.image.documentation", "https://example.com/docs"),
        ("org.opencontainers.image.url", "https://example.com"),
        ("org.opencontainers.image.version", "1.0"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    assert_eq!(annotations, expected);
    assert_eq!(back(&parts), full());
}

#[test]
fn an_aci_that_lost_its_manifest_comes_back_but_for_what_only_it_had() {
    let mut parts = to_oci(&full());
    parts.annotations.remove(MANIFEST);
    let mut made = back(&parts);
    for name in ["appc.io/docker/entrypoint", CONFIG_STASH, "io.appc.oci.manifest"] {
        assert!(made.annotations.remove(name), "{name}");
    }
    let expected = full();
    assert_eq!((&made.name, made.labels.len()), (&expected.name, 4));
    assert_eq!(made.labels.get("channel"), Some("beta"));
    let mut app = expected.app.clone().expect("an app");
    app.extra.clear();
    assert_eq!(made.app, Some(app));
    assert_eq!(made.annotations.len(), expected.annotations.len());
    assert!(expected.annotations.iter().all(|a| made.annotations.get(a.name.as_str()) == Some(&a.value)));
}

#[test]
fn an_image_without_an_app_stays_one() {
    let manifest = ImageManifest::new("example.com/data".parse().expect("a name"));
    let parts = to_oci(&manifest);
    assert_eq!(parts.annotations["io.appc.labels.noarch"], "os,arch");
    assert_eq!(parts.config["os"], "linux");
    assert_eq!(back(&parts), manifest);
    // Written on another kind of machine.
    let mut elsewhere = parts;
    elsewhere.config["architecture"] = json!("s390x");
    assert_eq!(back(&elsewhere), manifest);
    elsewhere.annotations.remove(MANIFEST);
    assert!(back(&elsewhere).labels.is_empty());
}

#[test]
fn edits_of_the_configuration_are_merged() {
    let mut parts = to_oci(&full());
    let run = &mut parts.config["config"];
    run["Env"] = json!(["B=3", "C=4"]);
    run["User"] = json!("1000");
    run["Cmd"] = json!(["more"]);
    run["Volumes"]["/new"] = json!({});
    run["ExposedPorts"] = json!({"80/tcp": {}, "82/tcp": {}, "53/udp": {}});
    run["Labels"] = json!({"team": "b"});
    run["WorkingDir"] = json!("");
    parts.config["architecture"] = json!("amd64");
    parts.config["variant"] = Value::Null;
    parts.annotations.insert("lorem".into(), "dolor".into());
    parts.annotations.insert("org.opencontainers.image.version".into(), "1.1".into());
    parts.annotations.remove("org.opencontainers.image.url");

    let made = back(&parts);
    let mut expected = full();
    expected.labels = made.labels.clone();
    assert_eq!(made.labels.get("version"), Some("1.1"));
    assert_eq!(made.labels.get("arch"), Some("amd64"));
    assert_eq!(made.labels.get("channel"), Some("beta"));
    expected.annotations = made.annotations.clone();
    assert_eq!(made.annotations.get("lorem"), Some("dolor"));
    assert_eq!(made.annotations.get("homepage"), None);
    assert_eq!(made.annotations.get("appc.io/docker/cmd"), Some(r#"["more"]"#));
    let app = expected.app.as_mut().expect("an app");
    app.environment = Default::default();
    app.environment.set("B", "3");
    app.environment.set("C", "4");
    (app.user, app.group) = ("1000".into(), "1000".into());
    app.exec.push("more".into());
    app.mount_points.push(MountPoint::new("volume-new".parse().expect("a name"), "/new"));
    let port = |name: &str, protocol, port| Port::new(name.parse().expect("a name"), protocol, port);
    app.ports =
        vec![app.ports[1].clone(), port("53-udp", "udp", 53), port("80-tcp", "tcp", 80), port("82-tcp", "tcp", 82)];
    app.user_labels = BTreeMap::from([("team".into(), "b".into())]);
    app.working_directory = None;
    assert_eq!(made, expected);
}

#[test]
fn a_user_that_a_file_names_is_the_same_one_by_number() {
    let mut manifest = full();
    let app = manifest.app.as_mut().expect("an app");
    (app.user, app.group) = ("/srv/file".into(), "/srv/file".into());
    let mut parts = to_oci(&manifest);
    parts.config["config"]["User"] = json!("33:34");
    parts.annotations.insert("io.appc.app.user".into(), "33:34".into());
    assert_eq!(back(&parts), manifest);
    parts.config["config"]["User"] = json!("35:36");
    assert_eq!(back(&parts).app.expect("an app").user, "35");
}

#[test]
fn a_docker_image_in_words_of_appc() {
    let made = appc(
        &json!({
            "created": "2021-02-03T04:05:06.789Z", "author": "someone", "architecture": "arm", "variant": "v7",
            "os": "linux", "history": [{"created_by": "x"}], "rootfs": {"type": "layers", "diff_ids": []},
            "config": {
                "User": "www", "Env": ["PATH=/bin", "A=1", "A=2", "nothing", "1BAD=x", "good.name-x=1"],
                "Entrypoint": ["/entry"], "Cmd": ["a", "b"], "WorkingDir": "srv/app", "Labels": {"l": "v"},
                "Volumes": {"/var/tmp": {}, "/var-tmp": {}, "": {}},
                "ExposedPorts": {"80/tcp": {}, "443": {}, "8000-8010/UDP": {}, "x/tcp": {}, "70000": {}},
                "StopSignal": "SIGQUIT", "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30}, "OnBuild": ["RUN x"],
            },
        }),
        &json!({"org.opencontainers.image.source": "https://x", "Upper.Case": "kept", "created": "odd"}),
    );
    assert_eq!(made.name, "registry.example.com_5000/library/busy_box");
    let labels: Vec<(&str, &str)> = made.labels.iter().map(|l| (l.name.as_str(), &l.value[..])).collect();
    assert_eq!(labels, [("version", "1.36"), ("os", "linux"), ("arch", "armv7l")]);
    let app = made.app.as_ref().expect("an app");
    assert_eq!(
        (&app.exec[..], &app.user[..], &app.group[..]),
        (&["/entry", "a", "b"].map(String::from)[..], "www", "www")
    );
    assert_eq!(app.working_directory.as_deref(), Some("/srv/app"));
    let env: Vec<(&str, &str)> = app.environment.iter().map(|v| (&v.name[..], &v.value[..])).collect();
    assert_eq!(env, [("PATH", "/bin"), ("A", "2"), ("good.name-x", "1")]);
    let mounts: Vec<(&str, &str)> = app.mount_points.iter().map(|m| (m.name.as_str(), &m.path[..])).collect();
    assert_eq!(mounts, [("volume-var-tmp", "/var-tmp"), ("volume-var-tmp-1", "/var/tmp")]);
    let ports: Vec<String> = app.ports.iter().map(Port::to_string).collect();
    let expected =
        ["443,protocol=tcp,port=443", "80-tcp,protocol=tcp,port=80", "8000-8010-udp,protocol=udp,port=8000,count=11"];
    assert_eq!(ports, expected);
    assert_eq!(app.user_labels, BTreeMap::from([("l".into(), "v".into())]));
    for (name, value) in [
        ("created", "2021-02-03T04:05:06.789Z"),
        ("authors", "someone"),
        ("org.opencontainers.image.source", "https://x"),
        ("appc.io/docker/entrypoint", r#"["/entry"]"#),
        ("appc.io/docker/cmd", r#"["a","b"]"#),
        ("appc.io/docker/repository", "Library/busy_box"),
        ("appc.io/docker/registryurl", "registry.example.com:5000"),
        ("appc.io/docker/imageid", "sha256:aa"),
        ("appc.io/docker/manifesthash", "sha256:bb"),
        ("io.appc.oci.env", r#"["nothing","1BAD=x"]"#),
        ("io.appc.oci.annotations", r#"{"Upper.Case":"kept","created":"odd"}"#),
        ("io.appc.oci.stop-signal", "SIGQUIT"),
        ("io.appc.oci.healthcheck", r#"{"Test":["CMD","true"],"Interval":30}"#),
    ] {
        assert_eq!(made.annotations.get(name), Some(value), "{name}");
    }
}

#[test]
fn users_and_their_groups() {
    for (written, user, group) in
        [("", "0", "0"), ("www", "www", "www"), ("1:2", "1", "2"), (":7", "0", "7"), ("www:", "www", "www")]
    {
        let app = app(json!({ "User": written, "Cmd": ["x"] }));
        assert_eq!((&app.user[..], &app.group[..]), (user, group), "{written:?}");
    }
}

#[test]
fn platforms_without_a_label_are_kept_for_the_way_back() {
    for (os, architecture, variant, os_label, arch_label) in [
        ("linux", "amd64", "", Some("linux"), Some("amd64")),
        ("linux", "amd64", "v3", Some("linux"), Some("amd64")),
        ("linux", "386", "", Some("linux"), Some("i386")),
        ("linux", "arm64", "", Some("linux"), Some("aarch64")),
        ("linux", "arm64", "v8", Some("linux"), Some("aarch64")),
        ("linux", "arm", "", Some("linux"), Some("armv6l")),
        ("linux", "arm", "v5", Some("linux"), None),
        ("linux", "riscv64", "", Some("linux"), None),
        ("linux", "aarch64_be", "", Some("linux"), Some("aarch64_be")),
        ("freebsd", "amd64", "", Some("freebsd"), Some("amd64")),
        ("darwin", "amd64", "", Some("darwin"), Some("x86_64")),
        ("windows", "amd64", "", None, None),
    ] {
        let config = json!({ "os": os, "architecture": architecture, "variant": variant });
        let mut made = appc(&config, &Value::Null);
        let name = format!("{os}/{architecture}/{variant}");
        assert_eq!((made.labels.get("os"), made.labels.get("arch")), (os_label, arch_label), "{name}");
        // Even when it was edited.
        made.annotations.set("edited".parse().expect("a name"), "yes");
        let parts = to_oci(&made);
        assert_eq!(parts.config["os"], os, "{name}");
        assert_eq!(parts.config["architecture"], architecture, "{name}");
        assert_eq!(parts.config["variant"], variant, "{name}");
    }
    let bare = to_oci(&ImageManifest::new("example.com/x".parse().expect("a name")));
    let arch = if host_arch() == "aarch64" { "arm64" } else { host_arch() };
    assert_eq!(bare.config["architecture"], arch);
}

#[test]
fn an_unedited_foreign_image_is_its_own_documents() {
    let config =
        "{ \"OS\": \"linux\",\n \"architecture\" : \"amd64\", \"config\": {\"Cmd\": [\"x\"]}, \"history\": [] }\n";
    let manifest = "{\"schemaVersion\":2,\"annotations\":{\"A\":\"<b>\"},\"x\":1.50}";
    let made = to_appc(config.as_bytes(), manifest.as_bytes(), &busybox()).expect("it converts");
    // As it lies in an archive.
    let made = ImageManifest::parse(made.to_json().as_bytes()).expect("it parses");
    let original = to_oci(&made).original.expect("the documents");
    assert_eq!((&original.config[..], &original.manifest[..]), (config, manifest));
}

#[test]
fn edits_of_a_foreign_image_leave_the_rest_of_it() {
    let config = json!({
        "created": "2021-02-03T04:05:06Z", "architecture": "riscv64", "os": "linux", "os.version": "7",
        "config": {"entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=1", "nothing"], "StopSignal": "SIGQUIT",
            "OnBuild": ["RUN x"], "ExposedPorts": {"80-82/tcp": {}, "odd": {}}, "Shell": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:11"]}, "history": [{"created_by": "x"}],
    });
    let mut made = appc(&config, &json!({"Upper": "x", "lower": "y"}));
    let app = made.app.as_mut().expect("an app");
    app.environment.set("B", "2");
    app.ports.push(Port::new("more".parse().expect("a name"), "udp", 53));
    made.annotations.set("lower".parse().expect("a name"), "z");
    made.annotations.set("io.appc.oci.stop-signal".parse().expect("a name"), "SIGTERM");
    let parts = to_oci(&made);
    assert_eq!(parts.original, None);
    let mut expected = config;
    expected["config"]["Env"] = json!(["A=1", "B=2", "nothing"]);
    expected["config"]["ExposedPorts"]["53/udp"] = json!({});
    expected["config"]["StopSignal"] = json!("SIGTERM");
    assert_eq!(parts.config, expected);
    assert_eq!((&parts.annotations["Upper"][..], &parts.annotations["lower"][..]), ("x", "z"));
    assert_eq!(back(&parts), made);
}

#[test]
fn what_is_no_image_is_refused_with_its_place() {
    for (config, manifest, expected) in [
        ("", "{}", "image configuration: invalid JSON at line 1, column 0: EOF while parsing a value"),
        ("[]", "{}", "image configuration: expected an object"),
        ("{}", "1", "image manifest: expected an object"),
        (r#"{"config": {"Env": "x"}}"#, "{}", "config.Env: expected a list, found a string"),
        (r#"{"config": {"Env": [1]}}"#, "{}", "config.Env[0]: expected a string, found a number"),
        (r#"{"config": []}"#, "{}", "expected an object, found a list"),
        ("{}", r#"{"annotations": {"a": 1}}"#, "annotations[\"a\"]: expected a string, found a number"),
    ] {
        let error = to_appc(config.as_bytes(), manifest.as_bytes(), &busybox()).expect_err(config);
        assert_eq!(error.to_string(), expected);
    }
    let deep = format!("{{\"config\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(to_appc(deep.as_bytes(), b"{}", &busybox()).is_err());
    // Nothing at all is an image of a sort.
    assert_eq!(to_appc(b"{}", b"{}", &Origin::default()).expect("it converts").name, "image");
}

#[test]
fn variables_that_appc_has_no_name_for_are_in_bundles() {
    let env = json!(["A=1", "1BAD=x", "unnamed"]);
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": env, "Cmd": ["sh"]}});
    let manifest = appc_spec::oci::to_appc(config.to_string().as_bytes(), b"{}", &busybox()).expect("it converts");
    let user = appc_spec::runtime::User { uid: 0, gid: 0, groups: vec![], home: "/root".into() };
    let bundle = |manifest: &ImageManifest| appc_spec::runtime::to_bundle(manifest, &user, None).expect("it converts");
    let mut made = bundle(&manifest).config;
    let env = made["process"]["env"].as_array().expect("a list").clone();
    assert_eq!(env[env.len() - 2..], [json!("A=1"), json!("1BAD=x")]);
    let back = |config: &Value| {
        let name = "example.com/x".parse().expect("a name");
        appc_spec::runtime::to_appc(config.to_string().as_bytes(), name).expect("it converts")
    };
    assert_eq!(back(&made), manifest);
    made["process"]["env"] = json!(["A=1", "2BAD=y"]);
    let edited = to_oci(&back(&made)).config;
    assert_eq!(edited["config"]["Env"], json!(["A=1", "unnamed", "2BAD=y"]));
}
