//! From what is to be run to an OCI runtime configuration.
//!
//! Pure: everything that has to be looked up on the host or in the image comes in through [`Inputs`].

use std::path::{Path, PathBuf};

use appc_container::capabilities;
use appc_image::users::Account;
use oci_spec::runtime::{
    Capabilities, Linux, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, LinuxResources, Mount,
    Process, Root, Spec, User, get_default_mounts,
};

/// The version of the runtime specification that is written.
const OCI_VERSION: &str = "1.2.0";

/// Always there, unless the image or the caller says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of the host the command is kept from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Confinement {
    /// The capabilities of the App Container specification, no device of the host, no control of the kernel.
    Container,
    /// Root file system and processes only, as after chroot(2): with these, the caller's own capabilities.
    Chroot(Capabilities),
}

/// A part of the host that is seen inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    /// Where it is seen.
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
}

/// What is run, and in what.
#[derive(Debug, Clone)]
pub(crate) struct Inputs<'a> {
    pub(crate) command: &'a [String],
    /// Variables, of which the last of a name counts.
    pub(crate) environment: &'a [(String, String)],
    pub(crate) working_dir: &'a str,
    pub(crate) account: &'a Account,
    pub(crate) binds: &'a [Bind],
    pub(crate) confinement: Confinement,
    /// Namespaces that exist already.
    pub(crate) namespaces: &'a [(LinuxNamespaceType, PathBuf)],
    /// The control group, where there is to be one.
    pub(crate) cgroup: Option<&'a Path>,
    /// What kind of terminal it has of its own, if it has one.
    pub(crate) terminal: Option<&'a str>,
    /// Whether this process is root of a user namespace only, where the host's network has no /sys of its own.
    pub(crate) host_sys: bool,
}

/// The configuration.
pub(crate) fn lower(inputs: &Inputs<'_>) -> Spec {
    let mut linux = Linux::default();
    linux.set_resources(inputs.cgroup.map(|_| devices(&inputs.confinement)));
    linux.set_cgroups_path(inputs.cgroup.map(Path::to_owned));
    linux.set_namespaces(Some(namespaces(inputs.namespaces)));
    if inputs.confinement != Confinement::Container {
        linux.set_masked_paths(None).set_readonly_paths(None);
    }
    let mut user = User::default();
    user.set_uid(inputs.account.uid).set_gid(inputs.account.gid);
    let mut process = Process::default();
    process
        .set_user(user)
        .set_args(Some(inputs.command.to_vec()))
        .set_env(Some(environment(inputs)))
        .set_terminal(Some(inputs.terminal.is_some()))
        .set_cwd(inputs.working_dir.into())
        .set_capabilities(Some(capabilities::ceiling(match &inputs.confinement {
            Confinement::Container => capabilities::DEFAULT.into(),
            Confinement::Chroot(own) => own.clone(),
        })))
        .set_no_new_privileges(Some(false))
        .set_rlimits(None);
    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(false));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.into())
        .set_root(Some(root))
        .set_hostname(None)
        .set_mounts(Some(mounts(inputs)))
        .set_process(Some(process))
        .set_linux(Some(linux));
    spec
}

/// Defaults, below the image's own, below the caller's.
pub(crate) fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let terminal = inputs.terminal.map(|kind| ("TERM", kind));
    let defaults = [("PATH", PATH), ("HOME", inputs.account.home.as_str())].into_iter().chain(terminal);
    let given = inputs.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut variables: Vec<(&str, &str)> = Vec::new();
    for (name, value) in defaults.chain(given) {
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => variables.push((name, value)),
        }
    }
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn mounts(inputs: &Inputs<'_>) -> Vec<Mount> {
    let standard = get_default_mounts().into_iter().filter(|mount| mount.destination() != "/sys/fs/cgroup");
    let standard = standard.map(|mut mount| {
        match mount.destination().to_str() {
            Some("/proc") => mount.set_options(options(&["nosuid", "noexec", "nodev"])),
            Some("/sys") if inputs.host_sys => mount
                .set_typ(Some("bind".into()))
                .set_source(Some("/sys".into()))
                .set_options(options(&["rbind", "rro"])),
            _ => &mut mount,
        };
        mount
    });
    let own = inputs.binds.iter().map(|bind| {
        let mut mount = Mount::default();
        mount
            .set_destination(bind.target.clone())
            .set_typ(Some("bind".into()))
            .set_source(Some(bind.source.clone()))
            .set_options(options(if bind.read_only { &["rbind", "rro"] } else { &["rbind"] }));
        mount
    });
    standard.chain(own).collect()
}

fn options(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(ToString::to_string).collect())
}

/// Every node may be made, as packages do, and only those that every container has be used.
fn devices(confinement: &Confinement) -> LinuxResources {
    let rule = |allow, kind, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(allow).set_typ(kind).set_access(Some(access.into()));
        rule
    };
    let rules = match confinement {
        Confinement::Container => vec![
            rule(false, None, "rwm"),
            rule(true, Some(LinuxDeviceType::C), "m"),
            rule(true, Some(LinuxDeviceType::B), "m"),
        ],
        Confinement::Chroot(_) => vec![rule(true, None, "rwm")],
    };
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(rules));
    resources
}

/// Those that exist, and a mount namespace of the command's own.
fn namespaces(shared: &[(LinuxNamespaceType, PathBuf)]) -> Vec<LinuxNamespace> {
    let mut own = LinuxNamespace::default();
    own.set_typ(LinuxNamespaceType::Mount).set_path(None);
    let join = |(kind, path): &(LinuxNamespaceType, PathBuf)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(*kind).set_path(Some(path.clone()));
        namespace
    };
    shared.iter().map(join).chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Capability;
    use serde_json::{Value, json};

    fn lowered(change: impl FnOnce(&mut Inputs<'_>)) -> Value {
        let account = Account {
            uid: 7,
            gid: 8,
            groups: vec![],
            name: "a".into(),
            home: "/home/a".into(),
            shell: "/bin/sh".into(),
        };
        let command = ["sh", "-c", "a,b \"c\""].map(String::from);
        let environment = [("B", "1"), ("PATH", "/bin"), ("B", "2,3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let bind =
            |source: &str, target: &str, read_only| Bind { source: source.into(), target: target.into(), read_only };
        let binds = [bind("/host/resolv.conf", "/etc/resolv.conf", false), bind("/a", "/b", true)];
        let namespaces = [(LinuxNamespaceType::Pid, PathBuf::from("/proc/1/ns/pid"))];
        let mut inputs = Inputs {
            command: &command,
            environment: &environment,
            working_dir: "/srv",
            account: &account,
            binds: &binds,
            confinement: Confinement::Container,
            namespaces: &namespaces,
            cgroup: Some(Path::new("/acbuild-1")),
            terminal: None,
            host_sys: false,
        };
        change(&mut inputs);
        serde_json::to_value(lower(&inputs)).unwrap()
    }

    #[test]
    fn a_command_becomes_a_configuration() {
        let spec = lowered(|_| ());
        let process = &spec["process"];
        assert_eq!(process["args"], json!(["sh", "-c", "a,b \"c\""]));
        assert_eq!(process["env"], json!(["PATH=/bin", "HOME=/home/a", "B=2,3"]));
        assert_eq!((&process["cwd"], &process["user"]), (&json!("/srv"), &json!({"uid": 7, "gid": 8})));
        assert_eq!(process["capabilities"]["bounding"].as_array().map(Vec::len), Some(14));
        assert_eq!(spec["linux"]["namespaces"], json!([{"type": "pid", "path": "/proc/1/ns/pid"}, {"type": "mount"}]));
        assert_eq!(spec["linux"]["cgroupsPath"], "/acbuild-1");
        let devices = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "access": "m"},
            {"allow": true, "type": "b", "access": "m"},
        ]);
        assert_eq!(spec["linux"]["resources"]["devices"], devices);
        let mounts = spec["mounts"].as_array().unwrap();
        let targets: Vec<_> = mounts.iter().filter_map(|mount| mount["destination"].as_str()).collect();
        let expected = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/etc/resolv.conf", "/b"];
        assert_eq!(targets, expected);
        assert_eq!(mounts[5]["options"], json!(["nosuid", "noexec", "nodev", "ro"]));
        assert_eq!(mounts[6]["options"], json!(["rbind"]));
        assert_eq!(
            mounts[7],
            json!({"destination": "/b", "type": "bind", "source": "/a", "options": ["rbind", "rro"]})
        );
    }

    #[test]
    fn a_path_is_always_there() {
        let spec = lowered(|inputs| inputs.environment = &[]);
        assert_eq!(spec["process"]["env"], json!([format!("PATH={PATH}"), "HOME=/home/a"]));
    }

    #[test]
    fn a_terminal_has_a_kind() {
        let spec = lowered(|inputs| (inputs.terminal, inputs.environment) = (Some("xterm"), &[]));
        assert_eq!(spec["process"]["terminal"], true);
        assert_eq!(spec["process"]["env"], json!([format!("PATH={PATH}"), "HOME=/home/a", "TERM=xterm"]));
    }

    #[test]
    fn a_chroot_may_do_all_that_the_caller_may() {
        let spec = lowered(|inputs| inputs.confinement = Confinement::Chroot([Capability::Bpf].into()));
        assert_eq!(spec["process"]["capabilities"]["bounding"], json!(["CAP_BPF"]));
        assert_eq!(spec["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
        assert!(spec["linux"].get("maskedPaths").is_none());
    }

    #[test]
    fn in_a_user_namespace_there_are_no_device_rules_and_sys_is_the_hosts() {
        let spec = lowered(|inputs| (inputs.cgroup, inputs.host_sys) = (None, true));
        assert!(spec["linux"].get("resources").is_none() && spec["linux"].get("cgroupsPath").is_none());
        let sys = json!({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "rro"]});
        assert_eq!(spec["mounts"][5], sys);
    }
}
