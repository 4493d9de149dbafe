//! From a manifest to a new configuration.

use serde_json::{Value, json};

use super::{Bundle, User};
use crate::json::Map;
use crate::oci::{RESOLVED_USER, other_env, to_oci};
use crate::{App, Error, ImageManifest, Isolator, Isolators, Resource};

/// The version of the runtime specification that is written.
const OCI_VERSION: &str = "1.0.2";

pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an app may have when nothing else is said: the 14 of the App Container specification.
pub(super) const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETFCAP",
    "CAP_SYS_CHROOT",
];

/// Paths that show or change the host: covered, or read-only.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn build(manifest: &ImageManifest, user: &User, rootless: Option<(u32, u32)>) -> Result<Bundle, Error> {
    let nothing = App::new();
    let app = manifest.app.as_ref().unwrap_or(&nothing);
    let (limits, mut unenforced) = limits(&app.isolators)?;
    let handlers = app.event_handlers.iter().map(|handler| format!("the {} handler", handler.name));
    unenforced.extend(handlers);
    let (mut uid, mut gid, mut groups) = (user.uid, user.gid, [&app.supplementary_gids[..], &user.groups].concat());
    if rootless.is_some() && (uid != 0 || gid != 0 || !groups.is_empty()) {
        unenforced.push(format!("user {} and group {} (an ordinary user has only one)", app.user, app.group));
        (uid, gid, groups) = (0, 0, Vec::new());
    }
    let mut process = json!({
        "terminal": false,
        "user": { "uid": uid, "gid": gid },
        // An image without a program is for looking around in.
        "args": if app.exec.is_empty() { vec!["sh".to_owned()] } else { app.exec.clone() },
        "env": environment(app, &other_env(manifest), user),
        "cwd": app.working_directory.as_deref().unwrap_or("/"),
        "capabilities": {
            "bounding": limits.capabilities, "effective": limits.capabilities, "permitted": limits.capabilities,
        },
        "noNewPrivileges": limits.no_new_privileges,
    });
    if !groups.is_empty() {
        process["user"]["additionalGids"] = json!(groups);
    }
    if let Some(score) = limits.oom_score_adj {
        process["oomScoreAdj"] = json!(score);
    }
    let config = json!({
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "container",
        "mounts": mounts(app, rootless.is_some()),
        "linux": linux(limits.resources, rootless),
        "annotations": annotations(manifest, user),
    });
    Ok(Bundle { config, unenforced })
}

fn environment(app: &App, others: &[String], user: &User) -> Vec<String> {
    let defaults = [("PATH", PATH), ("HOME", &user.home)];
    let missing = defaults.into_iter().filter(|(name, _)| app.environment.get(name).is_none());
    let own = app.environment.iter().map(|variable| (variable.name.as_str(), variable.value.as_str()));
    // What has no name at all is refused by runtimes.
    let others = others.iter().filter_map(|entry| entry.split_once('=')).filter(|(name, _)| !name.is_empty());
    missing.chain(own).chain(others).map(|(name, value)| format!("{name}={value}")).collect()
}

/// What the image specification has converters say, and who the user was when it was looked up.
fn annotations(manifest: &ImageManifest, user: &User) -> Map {
    let config = to_oci(manifest).config;
    let mut all = Map::new();
    for (name, pointer) in [
        ("org.opencontainers.image.os", "/os"),
        ("org.opencontainers.image.architecture", "/architecture"),
        ("org.opencontainers.image.variant", "/variant"),
        ("org.opencontainers.image.author", "/author"),
        ("org.opencontainers.image.created", "/created"),
        ("org.opencontainers.image.stopSignal", "/config/StopSignal"),
    ] {
        if let Some(value) = config.pointer(pointer).and_then(Value::as_str) {
            all.insert(name.into(), value.into());
        }
    }
    if let Some(Value::Object(ports)) = config.pointer("/config/ExposedPorts") {
        let ports: Vec<&str> = ports.keys().map(String::as_str).collect();
        all.insert("org.opencontainers.image.exposedPorts".into(), ports.join(",").into());
    }
    if let Some(Value::Object(labels)) = config.pointer("/config/Labels") {
        all.extend(labels.clone());
    }
    let groups: String = user.groups.iter().map(|gid| format!(":{gid}")).collect();
    all.insert(RESOLVED_USER.into(), format!("{}:{}{groups}", user.uid, user.gid).into());
    all
}

/// What every container has, and an empty file system wherever the image expects data from outside: the bundle itself
/// is not to be written to.
fn mounts(app: &App, rootless: bool) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let terminals: &[&str] = &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        // Group 5 is nobody's in a user namespace with one group.
        mount("/dev/pts", "devpts", &terminals[..terminals.len() - usize::from(rootless)]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        match rootless {
            false => mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            true => json!({ "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] }),
        },
    ];
    if !rootless {
        mounts.push(mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]));
    }
    for point in &app.mount_points {
        let access = if point.read_only { "ro" } else { "rw" };
        mounts.push(mount(&point.path, "tmpfs", &["nosuid", "nodev", "tmpcopyup", access]));
    }
    mounts
}

fn linux(mut resources: Value, rootless: Option<(u32, u32)>) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    resources["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    let mut linux = json!({ "maskedPaths": MASKED, "readonlyPaths": READ_ONLY });
    match rootless {
        None => {
            namespaces.extend(["network", "cgroup"]);
            linux["resources"] = resources;
        }
        // Only root may limit, and only root may make a network.
        Some((uid, gid)) => {
            namespaces.push("user");
            linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
            linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
        }
    }
    linux["namespaces"] = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    linux
}

struct Limits {
    capabilities: Vec<String>,
    no_new_privileges: bool,
    oom_score_adj: Option<i32>,
    resources: Value,
}

/// What is set twice counts as it was set last.
fn limits(isolators: &Isolators) -> Result<(Limits, Vec<String>), Error> {
    let mut limits = Limits {
        capabilities: CAPABILITIES.map(String::from).into(),
        no_new_privileges: false,
        oom_score_adj: None,
        resources: json!({}),
    };
    let mut unenforced = Vec::new();
    for entry in isolators.iter() {
        match &entry.parsed {
            Isolator::CapabilitiesRetain(set) => {
                limits.capabilities = set.iter().map(|name| capability(name)).collect()
            }
            Isolator::CapabilitiesRemove(set) => {
                let removed: Vec<String> = set.iter().map(|name| capability(name)).collect();
                limits.capabilities.retain(|name| !removed.contains(name));
            }
            Isolator::NoNewPrivileges(yes) => limits.no_new_privileges = *yes,
            Isolator::OomScoreAdj(score) => limits.oom_score_adj = Some(*score),
            Isolator::Memory(resource) => limits.resources["memory"] = memory(resource)?,
            Isolator::Cpu(resource) => cpu(resource, &mut limits.resources)?,
            Isolator::CpuShares(shares) => limits.resources["cpu"]["shares"] = json!(shares),
            _ => unenforced.push(format!("isolator {}", entry.name)),
        }
    }
    Ok((limits, unenforced))
}

fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

fn memory(resource: &Resource) -> Result<Value, Error> {
    let mut memory = json!({});
    for (name, quantity) in [("limit", resource.limit), ("reservation", resource.request)] {
        if let Some(quantity) = quantity {
            memory[name] = json!(positive(quantity.value(), "resource/memory")?);
        }
    }
    Ok(memory)
}

/// A limit is a quota; a request is a weight, where a whole core is 1024. The kernel takes no quota of less than a
/// millisecond: below 10m the period is longer.
fn cpu(resource: &Resource, resources: &mut Value) -> Result<(), Error> {
    if let Some(limit) = resource.limit {
        let milli = positive(limit.milli_value(), "resource/cpu")?;
        let period = if milli < 10 { 1_000_000 } else { 100_000 };
        resources["cpu"]["quota"] = json!(milli.saturating_mul(period / 1000));
        resources["cpu"]["period"] = json!(period);
    }
    if let Some(request) = resource.request {
        let milli = positive(request.milli_value(), "resource/cpu")?;
        resources["cpu"]["shares"] = json!((milli.saturating_mul(1024) / 1000).clamp(2, 262_144));
    }
    Ok(())
}

fn positive(amount: i64, isolator: &str) -> Result<i64, Error> {
    if amount > 0 { Ok(amount) } else { Err(Error::new(format!("isolator {isolator}: {amount} is no amount"))) }
}
