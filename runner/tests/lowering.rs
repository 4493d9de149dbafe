//! Lowering of pod manifests to OCI configurations, against reviewed files.
//!
//! `lowering/<case>.pod.json` goes in, `lowering/<case>.<app>.json` comes out. `UPDATE=1` writes the latter anew.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use appc_image::users::Account;
use appc_spec::{PodManifest, VolumeSource};
use oci_spec::runtime::{LinuxDeviceType, LinuxNamespaceType, Spec};
use rkt::pod::lower::{Error, HostVolume, Inputs, Terminal, handler, lower};
use serde_json::Value;

fn account() -> Account {
    Account { uid: 1000, gid: 100, groups: vec![], name: "web".into(), home: "/srv".into(), shell: "/bin/false".into() }
}

fn terminal() -> Terminal {
    Terminal { kind: "xterm-256color".into(), size: Some((132, 50)) }
}

fn volumes(pod: &PodManifest) -> BTreeMap<String, HostVolume> {
    let host = |volume: &appc_spec::Volume| match &volume.source {
        VolumeSource::Host { source, .. } if source.starts_with("/dev/") => {
            HostVolume { path: source.into(), device: Some((LinuxDeviceType::C, 10, 229)) }
        }
        VolumeSource::Host { source, .. } => HostVolume { path: source.into(), device: None },
        VolumeSource::Empty { .. } => HostVolume { path: format!("/pod/volumes/{}", volume.name).into(), device: None },
    };
    pod.volumes.iter().map(|v| (v.name.to_string(), host(v))).collect()
}

fn lowered(pod: &PodManifest, app: usize, terminal: Option<&Terminal>) -> Result<(Spec, Vec<String>), Error> {
    let namespaces = [(LinuxNamespaceType::Pid, "/proc/7/ns/pid"), (LinuxNamespaceType::Network, "/proc/7/ns/net")];
    let inputs = Inputs {
        pod,
        app: &pod.apps[app],
        account: &account(),
        namespaces: &namespaces.map(|(kind, path)| (kind, PathBuf::from(path))),
        cgroup: Path::new("/rkt-x/app"),
        volumes: &volumes(pod),
        shared_memory: (pod.apps.len() > 1).then_some(Path::new("/pod/shm")),
        limit_swap: true,
        terminal,
    };
    lower(&inputs).map(|l| (l.spec, l.unenforced.into_iter().map(|u| u.0).collect()))
}

/// Sets have no order; in the file they have one, for people and for `diff`.
fn sorted(mut value: Value) -> Value {
    if let Some(sets) = value.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_by_key(Value::to_string);
        }
    }
    value
}

fn check(case: &str, app: &str, spec: &Spec) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/lowering/{case}.{app}.json"));
    let value = sorted(serde_json::to_value(spec).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
    }
    let expected: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(value, expected, "{}", path.display());
}

fn pod(case: &str) -> PodManifest {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/lowering/{case}.pod.json"));
    PodManifest::parse(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_least_an_app_can_say() {
    let pod = pod("least");
    let (spec, unenforced) = lowered(&pod, 0, None).unwrap();
    check("least", "hello", &spec);
    assert!(unenforced.is_empty());
}

#[test]
fn everything_an_app_can_say() {
    let pod = pod("most");
    let (spec, unenforced) = lowered(&pod, 0, Some(&terminal())).unwrap();
    check("most", "web", &spec);
    assert_eq!(unenforced, ["resource/block-bandwidth", "os/linux/seccomp-retain-set", "example.com/unknown"]);
    let (spec, _) = lowered(&pod, 1, None).unwrap();
    check("most", "sidekick", &spec);
}

#[test]
fn an_event_handler_is_root_without_a_terminal() {
    let pod = pod("most");
    let (spec, _) = lowered(&pod, 0, Some(&terminal())).unwrap();
    let handler = handler(&spec, &["/prepare".into()]);
    let process = handler.process().as_ref().unwrap();
    assert_eq!((process.user().uid(), process.user().gid(), process.terminal()), (0, 0, None));
    assert_eq!(process.args().as_deref(), Some(&["/prepare".to_string()][..]));
    assert_eq!(handler.root(), spec.root());
}

#[test]
fn what_cannot_be_lowered_is_named() {
    let refused = |change: &dyn Fn(&mut PodManifest)| {
        let mut pod = pod("least");
        change(&mut pod);
        lowered(&pod, 0, None).unwrap_err().to_string()
    };
    let isolator = |name: &'static str, value: Value| {
        move |pod: &mut PodManifest| {
            let app = pod.apps[0].app.as_mut().unwrap();
            app.isolators.set(name.parse().unwrap(), value.clone()).unwrap();
        }
    };
    assert!(refused(&|pod| pod.apps[0].app = None).contains("--exec"));
    assert!(refused(&|pod| pod.apps[0].app.as_mut().unwrap().exec.clear()).contains("set-exec"));
    let caps = isolator("os/linux/capabilities-retain-set", serde_json::json!({"set": ["CAP_MAGIC"]}));
    assert!(refused(&caps).contains("\"CAP_MAGIC\""));
    assert!(refused(&isolator("resource/memory", serde_json::json!({"limit": "0"}))).contains("resource/memory"));
    assert!(refused(&isolator("resource/cpu", serde_json::json!({"limit": "-1"}))).contains("resource/cpu"));
    let dangling = |pod: &mut PodManifest| {
        pod.apps[0].mounts.push(appc_spec::Mount::new("lost".parse().unwrap(), "/lost"));
    };
    assert!(refused(&dangling).contains("--volume=lost"));
}

#[test]
fn a_tiny_cpu_limit_has_a_quota_that_the_kernel_takes() {
    let mut pod = pod("least");
    let app = pod.apps[0].app.as_mut().unwrap();
    app.isolators.set("resource/cpu".parse().unwrap(), serde_json::json!({"limit": "1m"})).unwrap();
    let (spec, _) = lowered(&pod, 0, None).unwrap();
    let cpu = spec.linux().as_ref().and_then(|l| l.resources().as_ref()).and_then(|r| r.cpu().clone()).unwrap();
    assert_eq!((cpu.quota(), cpu.period(), cpu.shares()), (Some(1000), Some(1_000_000), None));
}
