//! Reading `config.json` and `process.json`.
//!
//! The types are oci-spec's. Where they take less than the specification has, or say less about a mistake than callers
//! expect, a text that they refuse is looked at a second time; one that they take costs nothing more.

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Reads a container's configuration.
///
/// # Errors
/// Says what is wrong and where, but not in which file.
pub fn read_spec(text: &[u8]) -> Result<Spec> {
    let mut spec: Spec = read(text, |config| {
        if let Some(policy) = config.pointer("/linux/memoryPolicy") {
            check_memory_policy(policy)?;
        }
        config.get_mut("process").map_or(Ok(()), mend_process)
    })?;
    let resources = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut());
    if let Some(resources) = resources.filter(|r| says_no_processes(r)) {
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
    let mut resources: LinuxResources = serde_json::from_value(value).map_err(|e| Error::Other(e.to_string()))?;
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
pub fn read_process(text: &[u8]) -> Result<Process> {
    read(text, mend_process)
}

fn read<T: DeserializeOwned>(text: &[u8], mend: impl FnOnce(&mut Value) -> Result<()>) -> Result<T> {
    if text.trim_ascii_start().first() != Some(&b'{')
        && let Ok(value) = serde_json::from_slice(text)
    {
        object(&value)?;
    }
    let error = match serde_json::from_slice(text) {
        Ok(read) => return Ok(read),
        Err(e) => e,
    };
    let Ok(mut value) = serde_json::from_slice(text) else { return Err(Error::Other(error.to_string())) };
    let before: Value = Value::clone(&value);
    mend(&mut value)?;
    match value == before {
        true => Err(Error::Other(error.to_string())),
        false => serde_json::from_value(value).map_err(|e| Error::Other(e.to_string())),
    }
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

fn mend_process(process: &mut Value) -> Result<()> {
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
    Ok(())
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
mod tests {
    use serde_json::json;

    use super::*;

    fn process(extra: Value) -> Result<Process, String> {
        let mut process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/"});
        process.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let alone = read_process(process.to_string().as_bytes()).map_err(|e| e.to_string())?;
        let config = json!({"ociVersion": "1.3.0", "process": process});
        let within = read_spec(config.to_string().as_bytes()).map_err(|e| e.to_string())?;
        assert_eq!(within.process().as_ref(), Some(&alone));
        Ok(alone)
    }

    #[test]
    fn every_scheduler_flag_of_the_specification_is_known() {
        let flags = ["RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS", "UTIL_CLAMP_MIN"];
        let flags: Vec<String> = flags.iter().map(|flag| format!("SCHED_FLAG_{flag}")).collect();
        let read = process(json!({"scheduler": {"policy": "SCHED_OTHER", "flags": flags}})).unwrap();
        assert_eq!(read.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), flags.len());
        let why = process(json!({"scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}})).unwrap_err();
        assert!(why.contains("SCHED_FLAG_X"), "{why}");
    }

    #[test]
    fn lists_of_processors_may_have_spaces() {
        let read = process(json!({"execCPUAffinity": {"initial": " 0-1, 2,", "final": ""}})).unwrap();
        let affinity = read.exec_cpu_affinity().clone().unwrap();
        assert_eq!((affinity.initial().as_deref(), affinity.cpu_affinity_final().as_deref()), (Some("0-1,2"), None));
        assert!(process(json!({"execCPUAffinity": {"initial": "x"}})).is_err());
    }

    #[test]
    fn memory_policies_are_refused_with_the_known_words() {
        for (policy, words) in [
            (json!({}), "invalid memory policy mode"),
            (json!({"nodes": "0-7"}), "invalid memory policy mode"),
            (json!({"mode": "INTERLEAVE", "nodes": "0"}), "invalid memory policy mode \"INTERLEAVE\""),
            (json!({"mode": "MPOL_LOCAL", "flags": ["badflag"]}), "invalid memory policy flag \"badflag\""),
        ] {
            let config = json!({"ociVersion": "1.3.0", "linux": {"memoryPolicy": policy}});
            let why = read_spec(config.to_string().as_bytes()).unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
        }
        for mode in MEMORY_POLICY_MODES {
            let policy = json!({"mode": mode, "flags": MEMORY_POLICY_FLAGS});
            read_spec(json!({"ociVersion": "1.3.0", "linux": {"memoryPolicy": policy}}).to_string().as_bytes())
                .unwrap();
        }
    }

    #[test]
    fn what_is_no_object_is_said() {
        for (text, found) in [("[]", "a list"), ("3", "a number"), ("\"{}\"", "a string"), ("null", "a single word")] {
            let wanted = format!("it is {found}, not an object: it has to begin with {{");
            assert_eq!(read_spec(text.as_bytes()).unwrap_err().to_string(), wanted);
            assert_eq!(read_process(text.as_bytes()).unwrap_err().to_string(), wanted);
            assert_eq!(read_resources(serde_json::from_str(text).unwrap()).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn no_limit_of_processes_is_not_zero() {
        for (pids, limit) in [
            (json!({"limit": 0}), Some(0)),
            (json!({"limit": -1}), Some(-1)),
            (json!({}), None),
            (json!({"limit": null}), None),
            (json!(null), None),
        ] {
            let resources = json!({"pids": pids});
            let config = json!({"ociVersion": "1.3.0", "linux": {"resources": resources}}).to_string();
            // A null where oci-spec wants a number is a mistake as before.
            let Ok(spec) = read_spec(config.as_bytes()) else {
                assert!(pids["limit"].is_null() && pids.is_object());
                continue;
            };
            let read = |r: &LinuxResources| r.pids().map(|pids| pids.limit());
            assert_eq!(spec.linux().as_ref().unwrap().resources().as_ref().and_then(read), limit);
            assert_eq!(read(&read_resources(resources).unwrap()), limit);
        }
    }

    #[test]
    fn what_is_not_json_is_said_with_its_place() {
        let why = read_spec(b"{\n  \"ociVersion\": }").unwrap_err().to_string();
        assert!(why.contains("line 2"), "{why}");
    }
}
