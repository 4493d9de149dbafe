//! Whether an app's program is there before its pre-start handlers run.

use std::io;
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root, clean};
use oci_spec::runtime::Spec;

/// The name of the app's program when there is nothing of that name in `root`, where the engine would look for it.
///
/// Below a mount there may be one that is not seen yet.
pub fn missing<'s>(root: &Root, spec: &'s Spec) -> Option<&'s str> {
    let process = spec.process().as_ref()?;
    let name = process.args().as_ref()?.first()?;
    let below = |directory: &Path| process.cwd().join(directory).join(name);
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![below(Path::new(""))]
    } else {
        let path = process.env().iter().flatten().find_map(|variable| variable.strip_prefix("PATH="));
        path.unwrap_or_default().split(':').filter(|d| !d.is_empty()).map(|d| below(Path::new(d))).collect()
    };
    let mounted =
        |path: &Path| spec.mounts().iter().flatten().any(|mount| clean(path).starts_with(mount.destination()));
    let absent = |path: &PathBuf| {
        let found = root.open_at(path, OFlags::PATH);
        matches!(found, Err(e) if e.kind() == io::ErrorKind::NotFound) && !mounted(path)
    };
    candidates.iter().all(absent).then_some(name)
}
