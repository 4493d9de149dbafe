//! What prints parses to the same thing: parse(print(x)) = x, for every value type and for whole manifests.

use std::collections::BTreeMap;

use appc_spec::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

fn identifier() -> impl Strategy<Value = AcIdentifier> {
    "[a-z0-9]([a-z0-9._~/-]{0,20}[a-z0-9])?".prop_map(|text| text.parse().expect("an identifier"))
}

fn name() -> impl Strategy<Value = AcName> {
    "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?".prop_map(|text| text.parse().expect("a name"))
}

/// Text of any kind, with what JSON and Go escape in it more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ -~\u{2028}\u{2029}\u{0}-\u{1f}<>&\"\\\\]{0,12}"]
}

fn image_id() -> impl Strategy<Value = ImageId> {
    vec(any::<u8>(), 64).prop_map(|bytes| ImageId::from_digest(bytes.try_into().expect("64 bytes")))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no infinity", |f| f.is_finite()).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Fields of no known name: none of those has an `x-` at the beginning.
fn extra() -> impl Strategy<Value = Map> {
    let entry = (text().prop_map(|name| format!("x-{name}")), value());
    prop_oneof![3 => Just(Map::new()), 1 => vec(entry, 0..3).prop_map(|entries| entries.into_iter().collect())]
}

/// Labels of different names, an operating system of the specification among them now and then.
fn labels() -> impl Strategy<Value = Labels> {
    let os = option::of(subsequence(vec![("os", "linux"), ("arch", "s390x"), ("version", "1.0")], 0..=3));
    (btree_map(identifier(), (text(), extra()), 0..4), os).prop_map(|(map, os)| {
        let mut labels: Labels = map
            .into_iter()
            .filter(|(name, _)| !["name", "os", "arch"].contains(&name.as_str()))
            .map(|(name, (value, extra))| Label { name, value, extra })
            .collect();
        for (name, value) in os.into_iter().flatten() {
            labels.set(name.parse().expect("a name"), value);
        }
        labels
    })
}

fn annotations() -> impl Strategy<Value = Annotations> {
    let created = option::of(Just("2014-10-27T19:32:27.67021798Z"));
    (btree_map(identifier(), (text(), extra()), 0..4), created).prop_map(|(map, created)| {
        let special = ["created", "homepage", "documentation"];
        let mut annotations: Annotations = map
            .into_iter()
            .filter(|(name, _)| !special.contains(&name.as_str()))
            .map(|(name, (value, extra))| Annotation { name, value, extra })
            .collect();
        if let Some(created) = created {
            annotations.set("created".parse().expect("a name"), created);
        }
        annotations
    })
}

fn environment() -> impl Strategy<Value = Environment> {
    let variables = btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,10}", (text(), extra()), 0..4);
    variables.prop_map(|map| {
        map.into_iter().map(|(name, (value, extra))| EnvironmentVariable { name, value, extra }).collect()
    })
}

fn quantity_text() -> impl Strategy<Value = String> {
    let suffix = select(vec!["n", "u", "m", "", "k", "K", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]);
    let suffix = prop_oneof![4 => suffix.prop_map(str::to_owned), 1 => "[eE][+-]?[0-9]{1,2}"];
    ("[+-]?([0-9]{1,12}(\\.[0-9]{0,12})?|\\.[0-9]{1,12})", suffix).prop_map(|(number, suffix)| number + &suffix)
}

fn isolator() -> impl Strategy<Value = (&'static str, Value)> {
    let resource = select(vec!["resource/cpu", "resource/memory"]);
    let throughput = select(vec!["resource/block-iops", "resource/block-bandwidth", "resource/network-bandwidth"]);
    let capabilities = select(vec!["os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"]);
    let seccomp = select(vec!["os/linux/seccomp-retain-set", "os/linux/seccomp-remove-set"]);
    let word = || "[A-Z@a-z/._]{1,10}";
    prop_oneof![
        (resource, quantity_text(), quantity_text()).prop_map(|(name, r, l)| (name, json!({"request": r, "limit": l}))),
        (throughput, 1u64..).prop_map(|(name, limit)| (name, json!({"default": true, "limit": limit}))),
        (capabilities, vec(word(), 1..4)).prop_map(|(name, set)| (name, json!({"set": set}))),
        (seccomp, vec(word(), 1..4), "(E[A-Z0-9]{1,5})?").prop_map(|(n, set, e)| (n, json!({"set": set, "errno": e}))),
        any::<bool>().prop_map(|on| ("os/linux/no-new-privileges", json!(on))),
        (-1000..=1000i32).prop_map(|score| ("os/linux/oom-score-adj", json!(score))),
        (2..=262_144u32).prop_map(|shares| ("os/linux/cpu-shares", json!(shares))),
        word().prop_map(|profile| ("os/linux/apparmor-profile", json!({"profile": profile}))),
        word().prop_map(|w| ("os/linux/selinux-context", json!({"user": w, "role": w, "type": w, "level": "s0:c1"}))),
        btree_map(word(), text(), 0..3).prop_map(|map| ("os/unix/sysctl", json!(map))),
        value().prop_map(|value| ("example.com/unheard-of", value)),
    ]
}

/// At most one of each name, and not two that exclude each other: a list that `set` made.
fn isolators() -> impl Strategy<Value = Isolators> {
    vec(isolator(), 0..5).prop_map(|pairs| {
        let mut isolators = Isolators::new();
        for (name, value) in pairs {
            let other = match name.rsplit_once('-').map(|(name, _)| name) {
                Some("os/linux/capabilities-retain") => "os/linux/capabilities-remove-set",
                Some("os/linux/capabilities-remove") => "os/linux/capabilities-retain-set",
                Some("os/linux/seccomp-retain") => "os/linux/seccomp-remove-set",
                Some("os/linux/seccomp-remove") => "os/linux/seccomp-retain-set",
                _ => "",
            };
            isolators.remove(other);
            isolators.set(name.parse().expect("a name"), value).expect("a valid value");
        }
        isolators
    })
}

fn port() -> impl Strategy<Value = Port> {
    let range = (1..=u16::MAX).prop_flat_map(|first| (Just(first), 1..=65536 - u32::from(first)));
    (name(), text(), range, any::<bool>(), extra()).prop_map(
        |(name, protocol, (port, count), socket_activated, extra)| Port {
            name,
            protocol,
            port,
            count,
            socket_activated,
            extra,
        },
    )
}

fn mount_point() -> impl Strategy<Value = MountPoint> {
    (name(), text(), any::<bool>(), extra()).prop_map(|(name, path, read_only, extra)| MountPoint {
        name,
        path: format!("/{path}"),
        read_only,
        extra,
    })
}

fn strings() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn event_handlers() -> impl Strategy<Value = Vec<EventHandler>> {
    let events = subsequence(vec![EventName::PreStart, EventName::PostStop], 0..=2);
    (events, vec(text(), 0..3), extra()).prop_map(|(events, exec, extra)| {
        events.into_iter().map(|name| EventHandler { name, exec: exec.clone(), extra: extra.clone() }).collect()
    })
}

fn app() -> impl Strategy<Value = App> {
    let identity = (vec(text(), 0..3), event_handlers(), "[a-z0-9/]{1,5}", "[a-z0-9/]{1,5}", vec(any::<u32>(), 0..3));
    let places = (option::of(text()), environment(), vec(mount_point(), 0..3), vec(port(), 0..3), isolators());
    let notes = (strings(), strings(), extra());
    (identity, places, notes).prop_map(|(identity, places, notes)| {
        let (exec, event_handlers, user, group, supplementary_gids) = identity;
        let (directory, environment, mount_points, ports, isolators) = places;
        let (user_annotations, user_labels, extra) = notes;
        let working_directory = directory.map(|directory| format!("/{directory}"));
        App {
            exec,
            event_handlers,
            user,
            group,
            supplementary_gids,
            working_directory,
            environment,
            mount_points,
            ports,
            isolators,
            user_annotations,
            user_labels,
            extra,
        }
    })
}

fn version() -> impl Strategy<Value = Version> {
    "0\\.[1-9][0-9]?\\.[0-9](-[a-z]{1,3}\\.[1-9])?(\\+[a-z0-9]{1,5})?".prop_map(|text| text.parse().expect("a version"))
}

fn dependency() -> impl Strategy<Value = Dependency> {
    (identifier(), option::of(image_id()), labels(), option::of(1u64..), extra()).prop_map(
        |(image_name, image_id, labels, size, extra)| Dependency { image_name, image_id, labels, size, extra },
    )
}

fn image_manifest() -> impl Strategy<Value = ImageManifest> {
    let head = (version(), identifier(), labels(), option::of(app()), annotations());
    (head, vec(dependency(), 0..3), vec(text(), 0..3), extra()).prop_map(
        |((ac_version, name, labels, app, annotations), dependencies, path_whitelist, extra)| ImageManifest {
            ac_version,
            name,
            labels,
            app,
            annotations,
            dependencies,
            path_whitelist,
            extra,
        },
    )
}

fn volume(path: impl Strategy<Value = String>) -> impl Strategy<Value = Volume> {
    let host = (path, option::of(any::<bool>()))
        .prop_map(|(path, recursive)| VolumeSource::Host { source: format!("/{path}"), recursive });
    let empty =
        (0..=0o7777u32, any::<u32>(), any::<u32>()).prop_map(|(mode, uid, gid)| VolumeSource::Empty { mode, uid, gid });
    (name(), option::of(any::<bool>()), prop_oneof![host, empty], extra())
        .prop_map(|(name, read_only, source, extra)| Volume { name, read_only, source, extra })
}

fn mount() -> impl Strategy<Value = Mount> {
    (name(), text(), option::of(volume(text())), extra()).prop_map(|(volume, path, app_volume, extra)| Mount {
        volume,
        path: format!("/{path}"),
        app_volume,
        extra,
    })
}

fn runtime_app() -> impl Strategy<Value = RuntimeApp> {
    let image = (option::of(identifier()), image_id(), labels(), extra())
        .prop_map(|(name, id, labels, extra)| RuntimeImage { name, id, labels, extra });
    (name(), image, option::of(app()), any::<bool>(), vec(mount(), 0..3), annotations(), extra()).prop_map(
        |(name, image, app, read_only_rootfs, mounts, annotations, extra)| RuntimeApp {
            name,
            image,
            app,
            read_only_rootfs,
            mounts,
            annotations,
            extra,
        },
    )
}

fn exposed_port() -> impl Strategy<Value = ExposedPort> {
    (name(), 1..=u16::MAX, option::of(any::<std::net::IpAddr>()), option::of(port()), extra()).prop_map(
        |(name, host_port, host_ip, pod_port, extra)| ExposedPort { name, host_port, host_ip, pod_port, extra },
    )
}

fn pod_manifest() -> impl Strategy<Value = PodManifest> {
    let lists = (vec(runtime_app(), 0..3), vec(volume(text()), 0..3), isolators(), vec(exposed_port(), 0..3));
    (version(), lists, annotations(), strings(), strings(), extra()).prop_map(
        |(ac_version, (mut apps, mut volumes, isolators, ports), annotations, user_annotations, user_labels, extra)| {
            apps.sort_by(|a, b| a.name.cmp(&b.name));
            apps.dedup_by(|a, b| a.name == b.name);
            volumes.sort_by(|a, b| a.name.cmp(&b.name));
            volumes.dedup_by(|a, b| a.name == b.name);
            PodManifest {
                ac_version,
                apps,
                volumes,
                isolators,
                annotations,
                ports,
                user_annotations,
                user_labels,
                extra,
            }
        },
    )
}

/// An image name in all that its printed form can say.
fn image_name() -> impl Strategy<Value = ImageName> {
    let label = ("[a-z][a-z0-9.-]{0,5}[a-z0-9]", "[^,:\\PC]{0,8}");
    (identifier(), option::of("[^,:/\\PC]{0,8}"), vec(label, 0..3)).prop_map(|(name, version, pairs)| {
        let mut labels = Labels::new();
        if let Some(version) = version {
            labels.set("version".parse().expect("a name"), version);
        }
        for (name, value) in
            pairs.into_iter().filter(|(name, _)| !["name", "os", "arch", "version"].contains(&&name[..]))
        {
            labels.set(name.parse().expect("a name"), value);
        }
        ImageName { name, labels }
    })
}

proptest! {
    #[test]
    fn names(identifier in identifier(), name in name(), id in image_id()) {
        prop_assert_eq!(identifier.to_string().parse(), Ok(identifier.clone()));
        prop_assert_eq!(AcIdentifier::sanitize(identifier.as_str()), Ok(identifier));
        prop_assert_eq!(name.to_string().parse(), Ok(name.clone()));
        prop_assert_eq!(AcName::sanitize(name.as_str()), Ok(name));
        prop_assert_eq!(id.to_string().parse(), Ok(id.clone()));
        prop_assert!(id.short().parse::<ImageIdPrefix>().is_ok_and(|prefix| prefix.matches(&id)));
    }

    #[test]
    fn sanitized_names_are_names(text in text()) {
        for sanitized in [AcName::sanitize(&text).map(|n| n.to_string()), AcIdentifier::sanitize(&text).map(|n| n.to_string())] {
            let Ok(sanitized) = sanitized else { continue };
            prop_assert_eq!(sanitized.parse::<AcIdentifier>().map(|n| n.to_string()), Ok(sanitized));
        }
    }

    #[test]
    fn image_names(name in image_name()) {
        prop_assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn typed_forms(mut volume in volume("[a-z=/]{0,9}"), mut mount_point in mount_point(), mut port in port()) {
        volume.extra = Map::new();
        prop_assert_eq!(volume.to_string().parse(), Ok(volume));
        mount_point.extra = Map::new();
        mount_point.path = mount_point.path.replace(',', "");
        prop_assert_eq!(mount_point.to_string().parse(), Ok(mount_point));
        port.extra = Map::new();
        port.protocol = port.protocol.replace(',', "");
        port.count = port.count.min(65535);
        prop_assert_eq!(port.to_string().parse(), Ok(port));
    }

    #[test]
    fn quantities(text in quantity_text()) {
        let quantity: Quantity = text.parse().expect("a quantity");
        prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
        let canonical = quantity.to_string();
        prop_assert_eq!(canonical.parse::<Quantity>().expect("a quantity").to_string(), canonical);
        // The parts agree with one another as roundings of the same number do.
        let (value, milli) = (i128::from(quantity.value()), i128::from(quantity.milli_value()));
        if milli.abs() < i128::from(i64::MAX) {
            prop_assert_eq!(value, milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) != 0));
        }
    }

    /// Against plain integer arithmetic: whole numbers with a suffix, and binary fractions that are exact.
    #[test]
    fn quantities_are_exact(number in 0..1_000_000i64, power in 0..4u32) {
        let binary = ["", "Ki", "Mi", "Gi"][power as usize];
        let parsed = |text: String| text.parse::<Quantity>().expect("a quantity");
        prop_assert_eq!(parsed(format!("{number}{binary}")), Quantity::from(number << (10 * power)));
        let decimal = ["", "k", "M", "G"][power as usize];
        prop_assert_eq!(parsed(format!("{number}{decimal}")), Quantity::from(number * 1000i64.pow(power)));
        prop_assert_eq!(parsed(format!("{number}.5Ki")), Quantity::from(number * 1024 + 512));
        prop_assert_eq!(parsed(format!("{number}m")).milli_value(), number);
    }

    #[test]
    fn image_manifests(manifest in image_manifest()) {
        prop_assert_eq!(manifest.validate(), Ok(()));
        let json = manifest.to_json();
        let read = ImageManifest::parse(json.as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&manifest));
        prop_assert_eq!(read.expect("it was equal").to_json(), json, "in the same order, too");
        prop_assert_eq!(ImageManifest::parse(manifest.to_json_pretty().as_bytes()), Ok(manifest));
    }

    #[test]
    fn pod_manifests(manifest in pod_manifest()) {
        prop_assert_eq!(manifest.validate(), Ok(()));
        let json = manifest.to_json();
        let read = PodManifest::parse(json.as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&manifest));
        prop_assert_eq!(read.expect("it was equal").to_json(), json, "in the same order, too");
        prop_assert_eq!(PodManifest::parse(manifest.to_json_pretty().as_bytes()), Ok(manifest));
    }

    /// Whatever the bytes are: an answer, and what is accepted stays as it is from then on.
    #[test]
    fn any_json(value in value(), key in select(vec!["labels", "app", "annotations", "dependencies", "pathWhitelist"])) {
        let json = json!({"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "a", key: value}).to_string();
        if let Ok(manifest) = ImageManifest::parse(json.as_bytes()) {
            prop_assert_eq!(ImageManifest::parse(manifest.to_json().as_bytes()), Ok(manifest));
        }
    }

    #[test]
    fn any_text(text in any::<String>(), bytes in vec(any::<u8>(), 0..64)) {
        prop_assert!(ImageManifest::parse(&bytes).is_err() && PodManifest::parse(text.as_bytes()).is_err());
        let typed = (text.parse::<ImageName>(), text.parse::<Quantity>(), text.parse::<Volume>(), text.parse::<Port>());
        drop((typed, text.parse::<MountPoint>(), text.parse::<ImageId>(), text.parse::<ImageIdPrefix>()));
    }
}
