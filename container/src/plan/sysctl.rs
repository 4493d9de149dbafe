//! Kernel settings that belong to a namespace of the container.

use std::collections::HashMap;

use oci_spec::runtime::LinuxNamespaceType;

use crate::error::{Error, Result};
use crate::namespaces::NamespacePlan;

/// Settings of an ipc namespace, besides `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The files below `/proc/sys` to write, in the order of their names.
pub(super) fn plan(
    sysctl: Option<&HashMap<String, String>>,
    namespaces: &NamespacePlan,
) -> Result<Vec<(String, String)>> {
    let mut writes = Vec::new();
    for (key, value) in sysctl.into_iter().flatten() {
        let field = format!("linux.sysctl[{key:?}]");
        let (dotted, path) = spellings(key);
        if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(Error::refused(field, "is not the name of a setting"));
        }
        if dotted == "kernel.hostname" {
            return Err(Error::refused(field, "conflicts with the hostname of the configuration: use that"));
        }
        let needs = owner(&dotted).ok_or_else(|| Error::refused(&field, "is not in a separate kernel namespace"))?;
        if !namespaces.has(needs) {
            return Err(Error::refused(field, format!("needs a separate {needs} namespace")));
        }
        writes.push((path, value.clone()));
    }
    writes.sort();
    Ok(writes)
}

/// The name with dots and as a path. As for sysctl(8), the first separator says which of the two was written.
fn spellings(key: &str) -> (String, String) {
    let swap = |key: &str| -> String {
        key.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    };
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'/') => (swap(key), key.to_owned()),
        _ => (key.to_owned(), swap(key)),
    }
}

fn owner(key: &str) -> Option<LinuxNamespaceType> {
    if IPC.contains(&key) || key.starts_with("fs.mqueue.") {
        Some(LinuxNamespaceType::Ipc)
    } else if key.starts_with("net.") {
        Some(LinuxNamespaceType::Network)
    } else if key == "kernel.domainname" {
        Some(LinuxNamespaceType::Uts)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_mean_the_same_file() {
        assert_eq!(spellings("net.ipv4.ip_forward").1, "net/ipv4/ip_forward");
        assert_eq!(
            spellings("net/ipv4/conf/eth0.1/x"),
            ("net.ipv4.conf.eth0/1.x".into(), "net/ipv4/conf/eth0.1/x".into())
        );
    }
}
