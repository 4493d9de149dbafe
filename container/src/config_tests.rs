use serde_json::json;

use super::*;

fn process(extra: Value) -> Result<Process, String> {
    let mut process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/"});
    process.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let alone = read_process(process.to_string().as_bytes(), &mut vec![]).map_err(|e| e.to_string())?;
    let config = json!({"ociVersion": "1.3.0", "process": process});
    let within = read_spec(config.to_string().as_bytes(), &mut vec![]).map_err(|e| e.to_string())?;
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
        let why = read_spec(config.to_string().as_bytes(), &mut vec![]).unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
    for mode in MEMORY_POLICY_MODES {
        let policy = json!({"mode": mode, "flags": MEMORY_POLICY_FLAGS});
        let config = json!({"ociVersion": "1.3.0", "linux": {"memoryPolicy": policy}});
        read_spec(config.to_string().as_bytes(), &mut vec![]).unwrap();
    }
}

#[test]
fn what_is_no_object_is_said() {
    for (text, found) in [("[]", "a list"), ("3", "a number"), ("\"{}\"", "a string"), ("null", "a single word")] {
        let wanted = format!("it is {found}, not an object: it has to begin with {{");
        assert_eq!(read_spec(text.as_bytes(), &mut vec![]).unwrap_err().to_string(), wanted);
        assert_eq!(read_process(text.as_bytes(), &mut vec![]).unwrap_err().to_string(), wanted);
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
        let Ok(spec) = read_spec(config.as_bytes(), &mut vec![]) else {
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
    let why = read_spec(b"{\n  \"ociVersion\": }", &mut vec![]).unwrap_err().to_string();
    assert!(why.contains("line 2"), "{why}");
}

#[test]
fn unknown_capabilities_are_left_away_and_said() {
    let sets = json!({"bounding": ["CAP_KILL", "cap_chown", "CAP_FOO"], "effective": ["CAP_FOO", "KILL"]});
    let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "capabilities": sets});
    let mut warnings = Vec::new();
    let read = read_process(process.to_string().as_bytes(), &mut warnings).unwrap();
    let sets = read.capabilities().clone().unwrap();
    assert_eq!((sets.bounding().as_ref().unwrap().len(), sets.effective().as_ref().unwrap().len()), (1, 0));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("ignoring unknown or unavailable capabilities: [CAP_FOO KILL cap_chown]"));
    // Nothing but capabilities is looked at twice for its spelling.
    assert!(has_usual_capabilities(br#"{"capabilities": {"ambient": ["CAP_KILL"]}, "x": "cap_kill"}"#));
    assert!(!has_usual_capabilities(br#"{"capabilities": {"ambient": ["cap_kill"]}}"#));
}

#[test]
fn a_process_without_a_user_is_root() {
    assert_eq!(read_process(br#"{"cwd": "/"}"#, &mut vec![]).unwrap().user().uid(), 0);
    let config = br#"{"ociVersion": "1.3.0", "process": {"cwd": "/"}}"#;
    assert_eq!(read_spec(config, &mut vec![]).unwrap().process().as_ref().unwrap().user().gid(), 0);
}

#[test]
fn unknown_words_are_refused_with_their_field() {
    for (config, field) in [
        (
            json!({"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]}}),
            "process.rlimits[0].type",
        ),
        (
            json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_BOGUS"]}}}),
            "linux.seccomp.architectures[0]",
        ),
        (json!({"process": {"cwd": "/", "scheduler": {"policy": "SCHED_BOGUS"}}}), "process.scheduler.policy"),
        (json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "foo"}]}}), "linux.namespaces[1].type"),
        (json!({"root": {"path": 5}}), "root.path"),
    ] {
        let mut config = config;
        config["ociVersion"] = json!("1.3.0");
        let why = read_spec(config.to_string().as_bytes(), &mut vec![]).unwrap_err().to_string();
        assert!(why.starts_with(&format!("{field}: ")), "{why}");
    }
}
