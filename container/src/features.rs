//! What this engine can do, as the runtime specification has runtimes say it.

use serde_json::{Value, json};

use crate::cgroup::ANNOTATION_PREFIX;
use crate::plan::MountOptions;
use crate::{capabilities, config, seccomp};

/// The earliest version of the runtime specification whose configurations are read.
pub const OCI_VERSION_MIN: &str = "1.0.0";
/// The latest version that everything is known of.
pub const OCI_VERSION_MAX: &str = "1.3.0";

/// The moments at which hooks run, as the configuration spells them.
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The kinds of namespaces that are made and joined.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// The features structure of the specification (`features.md`, `features-linux.md`).
///
/// Says what the engine implements, whatever the kernel it runs on: callers compare it with what they want to ask for.
pub fn features() -> Value {
    json!({
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": HOOKS,
        "mountOptions": MountOptions::names(),
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": capabilities::NAMES.as_slice(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": seccomp::ACTIONS,
                "operators": seccomp::OPERATORS,
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": seccomp::KNOWN_FLAGS,
                "supportedFlags": seccomp::supported_flags(),
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "mountExtensions": {"idmap": {"enabled": true}},
            "memoryPolicy": {"modes": config::MEMORY_POLICY_MODES, "flags": config::MEMORY_POLICY_FLAGS},
            "netDevices": {"enabled": true},
        },
        // A name of runc's, which others may use as well: engines look for it.
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "true"},
        // With --systemd-cgroup. Those of criu and of engines mean nothing here.
        "potentiallyUnsafeConfigAnnotations": [ANNOTATION_PREFIX],
    })
}
