//! What of the host a command sees: its network's files, made for the time of the command, and the volumes asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use appc_container::Network;

use super::Request;
use super::execute::HOST_NAME;
use super::lower::Bind;
use super::seam::MountPoint;
use crate::error::{Error, Result};

/// What every container has mounted, see `lower.rs`.
const DIRECTORIES: [&str; 3] = ["/proc", "/dev", "/sys"];

const ETC: &str = "/etc";

const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Makes the files in `dir`, and says what is to be mounted where. Volumes come last: they may replace the files.
pub(crate) fn binds(dir: &Path, request: &Request<'_>) -> Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for (name, content) in of_network(request)? {
        // A copy: the command may write to it, as some packages do, and neither the host nor the image is changed.
        let path = dir.join(name);
        fs::write(&path, content).map_err(Error::io("write", &path))?;
        binds.push(Bind { source: path, target: Path::new(ETC).join(name), read_only: false });
    }
    binds.extend(request.volumes.iter().cloned());
    for bind in &mut binds {
        bind.source = fs::canonicalize(&bind.source).map_err(Error::io("find", &bind.source))?;
    }
    Ok(binds)
}

/// The names and contents of the files in /etc that are made for the command: those that no volume replaces.
pub(crate) fn of_network(request: &Request<'_>) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let host = request.network == Network::Host;
    let resolver = if host { read(Path::new("/etc/resolv.conf"))? } else { Vec::new() };
    let hosts = if host { read(Path::new("/etc/hosts"))? } else { Vec::new() };
    let mut files = vec![("resolv.conf", resolver), ("hosts", with_own_name(hosts))];
    files.retain(|(name, _)| {
        let target = Path::new(ETC).join(name);
        !request.volumes.iter().any(|volume| appc_rooted::clean(&volume.target) == target)
    });
    Ok(files)
}

/// Everything that is mounted on.
pub(crate) fn mount_points(binds: &[Bind]) -> Result<Vec<MountPoint>> {
    let standard = DIRECTORIES.map(|path| Ok(MountPoint { path: path.into(), directory: true }));
    let own = binds.iter().filter(|bind| !DIRECTORIES.iter().any(|above| bind.target.starts_with(above))).map(|bind| {
        let directory = fs::metadata(&bind.source).map_err(Error::io("read", &bind.source))?.is_dir();
        Ok(MountPoint { path: PathBuf::from(&bind.target), directory })
    });
    standard.into_iter().chain(own).collect()
}

/// A file of the host; one that is not there is empty.
fn read(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(Error::io("read", path)),
    }
}

/// `/etc/hosts` that knows this machine by the name it has inside.
fn with_own_name(hosts: Vec<u8>) -> Vec<u8> {
    let start = if hosts.is_empty() { LOCAL_HOSTS.as_bytes().to_vec() } else { hosts };
    let newline: &[u8] = if start.ends_with(b"\n") { b"" } else { b"\n" };
    [&start, newline, format!("127.0.1.1\t{HOST_NAME}\n").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_host_and_our_own_name() {
        let text = |hosts: &str| String::from_utf8(with_own_name(hosts.into())).unwrap();
        assert_eq!(text("10.0.0.1 a"), "10.0.0.1 a\n127.0.1.1\tacbuild\n");
        assert!(text("").starts_with("127.0.0.1\tlocalhost\n") && text("").ends_with("\n127.0.1.1\tacbuild\n"));
    }
}
