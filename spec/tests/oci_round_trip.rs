//! Nothing is lost between App Container and OCI: whole images there and back, edited and not.

use std::collections::BTreeMap;

use appc_spec::oci::{Origin, to_appc, to_oci};
use appc_spec::{Annotations, App, Environment, ImageManifest, Labels, MountPoint, Port};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

fn word() -> impl Strategy<Value = String> {
    "[ -~é\u{2028}]{0,8}"
}

fn identifier() -> impl Strategy<Value = String> {
    let special = select(vec![
        "created",
        "authors",
        "homepage",
        "io.appc.oci.env",
        "io.appc.image.name",
        "appc.io/docker/cmd",
        "lorem",
        "org.opencontainers.image.url",
        "org.opencontainers.image.version",
        "io.appc.label.os",
        "io.appc.app.ports",
    ]);
    prop_oneof![3 => "[a-z0-9]([a-z0-9._~/-]{0,8}[a-z0-9])?", 1 => special.prop_map(str::to_owned)]
}

fn annotations() -> impl Strategy<Value = Annotations> {
    btree_map(identifier(), word(), 0..5).prop_map(|map| {
        let mut annotations = Annotations::new();
        for (name, value) in map {
            let value = match &*name {
                "created" => "2014-10-27T19:32:27Z".to_owned(),
                "homepage" | "documentation" => "https://example.com".to_owned(),
                _ => value,
            };
            annotations.set(name.parse().expect("an identifier"), value);
        }
        annotations
    })
}

fn labels() -> impl Strategy<Value = Labels> {
    let platforms = vec![
        ("", ""),
        ("linux", ""),
        ("linux", "amd64"),
        ("linux", "armv7b"),
        ("linux", "aarch64"),
        ("freebsd", "i386"),
        ("darwin", "x86_64"),
        ("", "riscv64"),
        ("linux", "armv6l"),
    ];
    (select(platforms), btree_map("[a-m][a-z.]{0,5}[a-z]", word(), 0..3)).prop_map(|((os, arch), map)| {
        let mut labels = Labels::new();
        for (name, value) in map.iter().map(|(n, v)| (&n[..], &v[..])).chain([("os", os), ("arch", arch)]) {
            if !value.is_empty() {
                labels.set(name.parse().expect("an identifier"), value);
            }
        }
        labels
    })
}

prop_compose! {
    fn app()(
        exec in vec(word(), 0..4), user in "/?[a-z0-9:]{1,5}", group in "[a-z0-9]{1,5}",
        env in btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,4}", word(), 0..4),
        directory in option::of("/[a-z/]{0,5}"),
        mounts in vec(("[a-z]{1,5}", "/[a-z/]{0,5}", any::<bool>()), 0..3),
        ports in vec(("[a-z]{1,5}", select(vec!["tcp", "udp", "dccp", ""]), 1..60000u16, 1..9u32), 0..3),
        user_labels in btree_map(word(), word(), 0..3), gids in vec(0..9u32, 0..3),
    ) -> App {
        let mut environment = Environment::new();
        env.iter().for_each(|(name, value)| environment.set(name, value));
        let mount = |(name, path, read_only): (String, String, bool)| {
            MountPoint { read_only, ..MountPoint::new(name.parse().expect("a name"), path) }
        };
        let port = |(name, protocol, port, count): (String, &str, u16, u32)| {
            Port { count, ..Port::new(name.parse().expect("a name"), protocol, port) }
        };
        App {
            exec, user, group, environment, user_labels, supplementary_gids: gids, working_directory: directory,
            mount_points: mounts.into_iter().map(mount).collect(), ports: ports.into_iter().map(port).collect(),
            ..App::new()
        }
    }
}

prop_compose! {
    fn manifest()(
        name in "[a-z0-9]{1,5}", labels in labels(), app in option::of(app()), annotations in annotations(),
        whitelist in vec("/[a-z]{1,5}", 0..2),
    ) -> ImageManifest {
        let manifest = ImageManifest::new(name.parse().expect("a name"));
        ImageManifest { labels, app, annotations, path_whitelist: whitelist, ..manifest }
    }
}

fn object(keys: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    vec(keys, 0..4).prop_map(|keys| keys.into_iter().map(|key| (key, json!({}))).collect::<Map<_, _>>().into())
}

fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    option::weighted(0.6, prop_oneof![1 => Just(Value::Null), 9 => value])
}

fn list() -> impl Strategy<Value = Value> {
    vec(word(), 0..3).prop_map(Value::from)
}

prop_compose! {
    fn config()(
        os in maybe(select(vec!["linux", "windows", "", "freebsd"]).prop_map(Value::from)),
        architecture in maybe(select(vec!["amd64", "arm", "arm64", "riscv64", "", "386"]).prop_map(Value::from)),
        variant in maybe(select(vec!["v7", "v8", "v3", ""]).prop_map(Value::from)),
        created in maybe(select(vec!["2014-10-27T19:32:27.5Z", "yesterday"]).prop_map(Value::from)),
        author in maybe(word().prop_map(Value::from)),
        user in maybe("[a-z0-9:]{0,5}".prop_map(Value::from)), entrypoint in maybe(list()), cmd in maybe(list()),
        env in maybe(vec(prop_oneof!["[A-Za-z1_.]{0,2}=[a-z]{0,2}", "[a-z]{0,2}"], 0..5).prop_map(Value::from)),
        directory in maybe("[a-z/]{0,4}".prop_map(Value::from)),
        volumes in maybe(object("/?[a-z/-]{0,3}")), ports in maybe(object("[1-9]{1,2}(-[1-9]{2})?(/tcp|/udp|/x)?")),
        labels in maybe(btree_map(word(), word(), 0..3).prop_map(|map| json!(map))),
        signal in maybe(word().prop_map(Value::from)), health in maybe(word().prop_map(|word| json!({ "Test": [word] }))),
        lower in any::<bool>(), none in any::<bool>(),
    ) -> Value {
        let run = [
            ("User", user), ("Entrypoint", entrypoint), ("Cmd", cmd), ("Env", env), ("WorkingDir", directory),
            ("Volumes", volumes), ("ExposedPorts", ports), ("Labels", labels), ("StopSignal", signal),
            ("Healthcheck", health), ("OnBuild", Some(json!(["RUN x"]))),
        ];
        let spelt = |name: &str| if lower { name.to_lowercase() } else { name.to_owned() };
        let run: Map<_, _> = run.into_iter().filter_map(|(name, value)| Some((spelt(name), value?))).collect();
        let top = [
            ("os", os), ("architecture", architecture), ("variant", variant), ("created", created), ("author", author),
            ("config", Some(if none { Value::Null } else { run.into() })), ("history", Some(json!([{}]))),
        ];
        top.into_iter().filter_map(|(name, value)| Some((spelt(name), value?))).collect::<Map<_, _>>().into()
    }
}

fn foreign_annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(prop_oneof![3 => identifier(), 1 => word()], word(), 0..5)
}

fn origin() -> impl Strategy<Value = Origin> {
    ("[a-zA-Z.]{0,5}", "[a-zA-Z/._]{0,5}", "[a-z0-9.]{0,3}").prop_map(|(registry, repository, tag)| Origin {
        original: format!("docker://{registry}/{repository}"),
        registry,
        repository,
        tag,
        ..Origin::default()
    })
}

fn document(annotations: &BTreeMap<String, String>) -> String {
    json!({ "schemaVersion": 2, "annotations": annotations }).to_string()
}

proptest! {
    #[test]
    fn from_here_to_oci_and_back(manifest in manifest()) {
        prop_assume!(manifest.validate().is_ok());
        let parts = to_oci(&manifest);
        let document = document(&parts.annotations);
        let back = to_appc(parts.config.to_string().as_bytes(), document.as_bytes(), &Origin::default());
        prop_assert_eq!(back.expect("it reads"), manifest);
    }

    #[test]
    fn from_oci_to_here_and_back(config in config(), annotations in foreign_annotations(), origin in origin()) {
        let (config, manifest) = (config.to_string(), document(&annotations));
        let made = to_appc(config.as_bytes(), manifest.as_bytes(), &origin).expect("it converts");
        let made = ImageManifest::parse(made.to_json().as_bytes()).expect("it parses");
        let original = to_oci(&made).original.expect("nothing was edited");
        prop_assert_eq!((original.config, original.manifest), (config, manifest));
    }

    #[test]
    fn from_oci_edited_here_and_back(config in config(), annotations in foreign_annotations(), edit in word()) {
        let manifest = document(&annotations);
        let mut made = to_appc(config.to_string().as_bytes(), manifest.as_bytes(), &Origin::default()).expect("it converts");
        let had_edit = annotations.contains_key("edit");
        made.annotations.set("edit".parse().expect("a name"), &*edit);
        let parts = to_oci(&made);
        if parts.original.is_some() {
            prop_assert!(had_edit && annotations["edit"] == edit);
            return Ok(());
        }
        // All of the original is there, and the edit.
        for (name, value) in annotations.iter().filter(|(name, _)| *name != "edit") {
            prop_assert_eq!(parts.annotations.get(name), Some(value), "{}", name);
        }
        prop_assert_eq!(&parts.annotations["edit"], &edit);
        for (name, value) in config.as_object().expect("an object") {
            let now = &parts.config[name];
            prop_assert!(now == value || (name == "config" && value.is_null()), "{}: {} {}", name, value, now);
        }
        let document = document(&parts.annotations);
        let back = to_appc(parts.config.to_string().as_bytes(), document.as_bytes(), &Origin::default());
        prop_assert_eq!(back.expect("it reads"), made);
    }

    #[test]
    fn an_edited_configuration_is_what_comes_back(manifest in manifest(), entry in "[A-Z]{1,3}=[a-z]{0,3}", user in "[a-z]{1,3}:[a-z]{1,3}") {
        prop_assume!(manifest.validate().is_ok());
        let mut parts = to_oci(&manifest);
        parts.config["config"]["Env"] = json!([entry]);
        parts.config["config"]["User"] = json!(user);
        let document = document(&parts.annotations);
        let back = to_appc(parts.config.to_string().as_bytes(), document.as_bytes(), &Origin::default());
        let back = back.expect("it reads");
        let again = to_oci(&back);
        prop_assert_eq!(&again.config["config"]["Env"], &json!([entry]));
        prop_assert_eq!(&again.config["config"]["User"], &json!(user));
        let mut expected = manifest.app.unwrap_or_default();
        let app = back.app.expect("an app");
        expected.environment = app.environment.clone();
        (expected.user, expected.group) = (app.user.clone(), app.group.clone());
        prop_assert_eq!(app, expected);
    }

    #[test]
    fn no_document_is_too_strange(config in "[{}\\[\\]\":,a-z0-9]{0,40}", manifest in "[{}\\[\\]\":,a-z0-9]{0,40}") {
        let _ = to_appc(config.as_bytes(), manifest.as_bytes(), &Origin::default());
    }
}
