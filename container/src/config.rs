//! Reading `config.json` and `process.json`.
//!
//! The types are oci-spec's. Where they take less than the specification has, or say less about a mistake than callers
//! expect, a text that they refuse is looked at a second time; one that they take costs nothing more.

use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxMemory, LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::capabilities;
use crate::error::{Error, Result};

/// Reads a container's configuration. What it asks for in vain is added to `warnings`.
///
/// # Errors
/// Says what is wrong and where, but not in which file.
pub fn read_spec(text: &[u8], warnings: &mut Vec<String>) -> Result<Spec> {
    let mut spec: Spec = read(text, |config| {
        if let Some(policy) = config.pointer("/linux/memoryPolicy") {
            check_memory_policy(policy)?;
        }
        config.get_mut("process").into_iter().for_each(|process| mend_process(process, warnings));
        Ok(())
    })?;
    let resources = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut());
    let Some(resources) = resources else { return Ok(spec) };
    if resources.memory().as_ref().and_then(LinuxMemory::kernel).is_some_and(|limit| limit > 0) {
        warnings.push("linux.resources.memory.kernel: no kernel since 5.15 has such a limit: ignored".to_owned());
    }
    if says_no_processes(resources) {
        let limit = |config: Value| config.pointer("/linux/resources/pids/limit").is_some_and(Value::is_number);
        if !serde_json::from_slice(text).is_ok_and(limit) {
            resources.set_pids(None);
        }
    }
    Ok(spec)
}

/// Reads limits as `update` takes them.
///
/// # Errors
/// Says what is wrong and where.
pub fn read_resources(value: Value) -> Result<LinuxResources> {
    let limit = value.pointer("/pids/limit").is_some_and(Value::is_number);
    object(&value)?;
    let mut resources: LinuxResources = by_path(value).map_err(|e| match e {
        Error::Refused { field, rule } => Error::refused(format!("linux.resources.{field}"), rule),
        other => other,
    })?;
    if says_no_processes(&resources) && !limit {
        resources.set_pids(None);
    }
    Ok(resources)
}

/// A limit of 0, which is one since runtime-spec 1.3, or none at all: oci-spec does not say which.
fn says_no_processes(resources: &LinuxResources) -> bool {
    resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0)
}

/// Reads a further process of a container.
///
/// # Errors
/// As [`read_spec`].
pub fn read_process(text: &[u8], warnings: &mut Vec<String>) -> Result<Process> {
    read(text, |process| {
        mend_process(process, warnings);
        Ok(())
    })
    .map_err(|e| match e {
        Error::Refused { field, rule } => Error::refused(format!("process.{field}"), rule),
        other => other,
    })
}

fn read<T: DeserializeOwned>(text: &[u8], mend: impl FnOnce(&mut Value) -> Result<()>) -> Result<T> {
    if text.trim_ascii_start().first() != Some(&b'{')
        && let Ok(value) = serde_json::from_slice(text)
    {
        object(&value)?;
    }
    let error = match serde_json::from_slice(text) {
        Ok(read) if has_usual_capabilities(text) => return Ok(read),
        Ok(_) => None,
        Err(e) => Some(e),
    };
    let mut value = match (serde_json::from_slice(text), error) {
        (Ok(value), _) => value,
        (Err(_), Some(error)) | (Err(error), None) => return Err(Error::Other(error.to_string())),
    };
    mend(&mut value)?;
    by_path(value)
}

/// Reads `value`; an error names the field.
fn by_path<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|e| match e.path().to_string() {
        path if path == "." => Error::Other(e.into_inner().to_string()),
        path => Error::refused(path, e.into_inner()),
    })
}

/// The structures of oci-spec would be filled from a list, too.
fn object(value: &Value) -> Result<()> {
    let found = match value {
        Value::Object(_) => return Ok(()),
        Value::Array(_) => "a list",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) | Value::Null => "a single word",
    };
    Err(Error::Other(format!("it is {found}, not an object: it has to begin with {{")))
}

/// Whether no name in `capabilities` needs a second look: oci-spec takes more spellings than the specification has.
fn has_usual_capabilities(text: &[u8]) -> bool {
    const KEY: &[u8] = b"\"capabilities\"";
    let usual = |name: &[u8]| {
        name.starts_with(b"CAP_")
            || matches!(name, b"bounding" | b"effective" | b"inheritable" | b"permitted" | b"ambient")
    };
    let starts = text.windows(KEY.len()).enumerate().filter(|(_, found)| *found == KEY).map(|(at, _)| at + KEY.len());
    starts.map(|at| text[at..].split(|&byte| byte == b'}').next().unwrap_or_default()).all(|within| {
        within.split(|&byte| byte == b'"').skip(1).step_by(2).all(|name| usual(name) && !name.starts_with(b"CAP_CAP_"))
    })
}

fn mend_process(process: &mut Value, warnings: &mut Vec<String>) {
    // Names that oci-spec derives from its own spelling.
    if let Some(Value::Array(flags)) = process.pointer_mut("/scheduler/flags") {
        for flag in flags {
            match flag.as_str() {
                Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
                Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
                _ => {}
            }
        }
    }
    // It wants a list without the spaces and empty parts that the kernel does not mind.
    if let Some(Value::Object(affinity)) = process.get_mut("execCPUAffinity") {
        for list in affinity.values_mut() {
            let Some(text) = list.as_str() else { continue };
            let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
            *list = if parts.is_empty() { Value::Null } else { parts.join(",").into() };
        }
    }
    // Without one it is user 0.
    if let Some(process) = process.as_object_mut().filter(|p| p.get("user").is_none_or(Value::is_null)) {
        process.insert("user".to_owned(), Value::Object(Map::new()));
    }
    if let Some(Value::Object(sets)) = process.get_mut("capabilities") {
        drop_unknown_capabilities(sets, warnings);
    }
}

/// The specification has runtimes go on without what the kernel may not even have yet, and say so.
fn drop_unknown_capabilities(sets: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let mut unknown = BTreeSet::new();
    for names in sets.values_mut().filter_map(Value::as_array_mut) {
        names.retain(|name| {
            let lost = name.as_str().filter(|name| !capabilities::NAMES.contains(name));
            unknown.extend(lost.map(str::to_owned));
            lost.is_none()
        });
    }
    warnings.extend(capabilities::ignored(unknown));
}

/// With the sentences that callers know from runc.
fn check_memory_policy(policy: &Value) -> Result<()> {
    let mode = policy.get("mode").and_then(Value::as_str).unwrap_or_default();
    if !MEMORY_POLICY_MODES.contains(&mode) {
        return Err(Error::refused("linux.memoryPolicy", format!("invalid memory policy mode {mode:?}")));
    }
    for flag in policy.get("flags").and_then(Value::as_array).into_iter().flatten() {
        let flag = flag.as_str().unwrap_or_default();
        if !MEMORY_POLICY_FLAGS.contains(&flag) {
            return Err(Error::refused("linux.memoryPolicy", format!("invalid memory policy flag {flag:?}")));
        }
    }
    Ok(())
}

/// The modes of `linux.memoryPolicy`, sorted.
pub const MEMORY_POLICY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// The flags of `linux.memoryPolicy`, sorted.
pub const MEMORY_POLICY_FLAGS: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
