//! What is refused before anything else is looked at: fields for other platforms.

use std::collections::HashSet;
use std::path::{Component, PathBuf};

use oci_spec::runtime::{Process, Spec};

use crate::error::{Error, Result};
use crate::plan::Stdio;

/// Names the first field that means nothing here.
pub(super) fn unsupported(spec: &Spec) -> Result<()> {
    version(spec.version())?;
    let foreign = [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ];
    for (field, present) in foreign {
        if present {
            return Err(Error::refused(field, "is for another platform: this engine makes Linux containers"));
        }
    }
    // Keys "MUST NOT be an empty string" (config.md, annotations).
    match spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        true => Err(Error::refused("annotations", "have a key that is empty")),
        false => Ok(()),
    }
}

/// Names a field of a process that means nothing here.
pub(super) fn unsupported_process(process: &Process) -> Result<()> {
    if process.command_line().as_ref().is_some_and(|line| !line.is_empty()) {
        return Err(Error::refused("process.commandLine", "is for another platform: use process.args"));
    }
    Ok(())
}

/// The specification is stable from 1.0.0 on, and a later 1.x may be read by an earlier reader.
fn version(version: &str) -> Result<()> {
    if version.split('.').next() == Some("1") && version.split('.').count() >= 3 {
        return Ok(());
    }
    Err(Error::refused("ociVersion", format!("{version:?} is not a version 1.x.y of the runtime specification")))
}

/// A terminal is asked for in two places, which must agree.
pub(crate) fn stdio(terminal: bool, stdio: &Stdio) -> Result<()> {
    match (terminal, stdio) {
        (true, Stdio::Inherit | Stdio::Fds(_)) => {
            Err(Error::refused("process.terminal", "needs a terminal or a console socket from the caller"))
        }
        (false, Stdio::Terminal | Stdio::ConsoleSocket(_)) => {
            Err(Error::refused("process.terminal", "must be true for a terminal or a console socket to be used"))
        }
        _ => Ok(()),
    }
}

/// Absolute paths of the container, made clean.
pub(super) fn container_paths(field: &str, paths: Option<&Vec<String>>) -> Result<Vec<PathBuf>> {
    let (mut clean, mut seen) = (Vec::new(), HashSet::new());
    for (i, path) in paths.into_iter().flatten().enumerate() {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(Error::refused(format!("{field}[{i}]"), format!("{path:?} is not an absolute path")));
        }
        if path.components().any(|c| c == Component::ParentDir) || path.components().count() < 2 {
            return Err(Error::refused(
                format!("{field}[{i}]"),
                format!("{path:?} must name something below /, without .."),
            ));
        }
        let path = appc_rooted::clean(&path);
        // A second cover over the same thing would be a cover of the cover.
        if seen.insert(path.clone()) {
            clean.push(path);
        }
    }
    Ok(clean)
}
