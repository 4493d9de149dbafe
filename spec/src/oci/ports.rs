//! Ports and volumes: names here, bare numbers and paths there.

use std::collections::BTreeSet;

use crate::{AcName, MountPoint, Port};

/// A port, or a row of them: `80/tcp`, `443`, `8000-8010/udp`.
struct Exposed {
    first: u16,
    count: u32,
    protocol: String,
}

fn parse(key: &str) -> Option<Exposed> {
    let (numbers, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| *n != 0 && !text.starts_with('+'));
    let (first, last) = (number(first)?, number(last)?);
    let count = u32::from(last.checked_sub(first)?) + 1;
    let protocol = protocol.to_ascii_lowercase();
    is_known(&protocol).then_some(Exposed { first, count, protocol })
}

fn is_known(protocol: &str) -> bool {
    matches!(protocol, "tcp" | "udp" | "sctp")
}

fn keys(first: u16, count: u32, protocol: &str) -> impl Iterator<Item = String> {
    (u32::from(first)..(u32::from(first) + count.max(1)).min(65536)).map(move |port| format!("{port}/{protocol}"))
}

/// The single ports that a key means, none if it is no port.
pub(super) fn expand(key: &str) -> Option<BTreeSet<String>> {
    parse(key).map(|exposed| keys(exposed.first, exposed.count, &exposed.protocol).collect())
}

/// What OCI lists for these ports: each by itself, of the protocols it knows.
pub(super) fn project(ports: &[Port]) -> BTreeSet<String> {
    let known = ports.iter().filter(|port| is_known(&port.protocol));
    known.flat_map(|port| keys(port.port, port.count, &port.protocol)).collect()
}

/// Takes ports out that were removed, and adds those that were added, in the order of their keys.
pub(super) fn apply(ports: &mut Vec<Port>, from: &BTreeSet<String>, to: &BTreeSet<String>) {
    let wanted: BTreeSet<String> = to.iter().filter_map(|key| expand(key)).flatten().collect();
    // A row of which one is gone is no row any more: what is left of it comes back one by one.
    ports.retain(|port| {
        !is_known(&port.protocol) || keys(port.port, port.count, &port.protocol).all(|key| wanted.contains(&key))
    });
    let mut have = project(ports);
    let added = to.difference(from).filter(|key| expand(key).is_some_and(|all| all.is_disjoint(&have)));
    for key in added.cloned().collect::<Vec<_>>() {
        add(ports, &key);
    }
    have = project(ports);
    for key in wanted.difference(&have) {
        add(ports, key);
    }
}

fn add(ports: &mut Vec<Port>, key: &str) {
    let (Some(exposed), Ok(name)) = (parse(key), AcName::sanitize(key)) else { return };
    let name = unused(name, |name| ports.iter().any(|port| port.name == *name));
    let mut port = Port::new(name, exposed.protocol, exposed.first);
    port.count = exposed.count;
    ports.push(port);
}

/// Takes mount points out whose path was removed, and adds those whose path was added.
pub(super) fn apply_volumes(mount_points: &mut Vec<MountPoint>, from: &BTreeSet<String>, to: &BTreeSet<String>) {
    mount_points.retain(|mount_point| !from.contains(&mount_point.path) || to.contains(&mount_point.path));
    for path in to.difference(from).filter(|path| !path.is_empty()) {
        if mount_points.iter().any(|mount_point| mount_point.path == *path) {
            continue;
        }
        let name = AcName::sanitize(&format!("volume{}{path}", if path.starts_with('/') { "" } else { "-" }));
        let Ok(name) = name else { continue };
        let name = unused(name, |name| mount_points.iter().any(|mount_point| mount_point.name == *name));
        mount_points.push(MountPoint::new(name, path));
    }
}

/// The name, or the first of `name-1`, `name-2`, … that is free.
fn unused(name: AcName, taken: impl Fn(&AcName) -> bool) -> AcName {
    let others = (1..).filter_map(|n: u32| format!("{name}-{n}").parse().ok());
    std::iter::once(name.clone()).chain(others).find(|name| !taken(name)).unwrap_or(name)
}
