use std::fs;

use serde_json::{Value, json};

use super::*;

/// A folder that looks like a resctrl with both resources.
fn fake() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for resource in ["L3", "MB"] {
        fs::create_dir_all(root.path().join("info").join(resource)).unwrap();
    }
    root
}

fn plan(root: &Path, asked: Value) -> Result<ResctrlPlan> {
    ResctrlPlan::below(root.to_owned(), &serde_json::from_value(asked).unwrap(), "web")
}

#[test]
fn a_class_of_its_own_is_made_and_removed() {
    let root = fake();
    let asked = json!({"l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=20", "schemata": ["L2:0=f"]});
    let plan = plan(root.path(), asked).unwrap();
    plan.apply(42).unwrap();
    let class = root.path().join("web");
    assert_eq!(fs::read_to_string(class.join("schemata")).unwrap(), "L3:0=ff\nMB:0=20\nL2:0=f\n");
    assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "42");
    let why = plan.apply(43).unwrap_err().to_string();
    assert!(why.contains("exists already"), "{why}");
    // The kernel's files go with their folder.
    for file in ["schemata", "tasks"] {
        fs::remove_file(class.join(file)).unwrap();
    }
    plan.saved().remove().unwrap();
    assert!(!class.exists());
    plan.saved().remove().unwrap();
}

#[test]
fn a_shared_class_stays() {
    let root = fake();
    let why = plan(root.path(), json!({"closID": "gold"})).unwrap().apply(1).unwrap_err().to_string();
    assert!(why.starts_with("linux.intelRdt.closID: no such class") && !root.path().join("gold").exists(), "{why}");
    fs::create_dir_all(root.path().join("gold/mon_groups")).unwrap();
    let plan = plan(root.path(), json!({"closID": "gold", "enableMonitoring": true})).unwrap();
    plan.apply(7).unwrap();
    assert!(!root.path().join("gold/schemata").exists(), "it is somebody else's to say");
    let monitor = root.path().join("gold/mon_groups/web");
    assert_eq!(fs::read_to_string(monitor.join("tasks")).unwrap(), "7");
    fs::remove_file(monitor.join("tasks")).unwrap();
    plan.saved().remove().unwrap();
    assert!(root.path().join("gold").exists() && !monitor.exists());
}

#[test]
fn what_cannot_be_had_is_refused_by_field() {
    let root = tempfile::tempdir().unwrap();
    for (asked, field) in [
        (json!({"l3CacheSchema": "L3:0=f"}), "linux.intelRdt.l3CacheSchema"),
        (json!({"memBwSchema": "MB:0=20"}), "linux.intelRdt.memBwSchema"),
        (json!({"closID": ".."}), "linux.intelRdt.closID"),
        (json!({"closID": "a/b"}), "linux.intelRdt.closID"),
    ] {
        let why = plan(root.path(), asked).unwrap_err().to_string();
        assert!(why.starts_with(field), "{why}");
    }
}

#[test]
fn the_kernels_own_words_are_told() {
    let root = fake();
    fs::write(root.path().join("info/last_cmd_status"), "Bad mask\n").unwrap();
    fs::create_dir_all(root.path().join("gold/schemata")).unwrap();
    let why = plan(root.path(), json!({"closID": "gold", "schemata": ["L3:0=0"]})).unwrap().apply(1).unwrap_err();
    assert!(why.to_string().ends_with("last_cmd_status: Bad mask"), "{why}");
}

#[test]
fn the_mount_is_found_wherever_it_is() {
    let line = "36 35 0:31 / /mnt/rdt rw,relatime shared:9 - resctrl resctrl rw";
    assert_eq!(mount_point(line), Some("/mnt/rdt".into()));
    assert_eq!(mount_point("36 35 0:31 / /mnt rw - tmpfs resctrl rw"), None);
}

#[test]
fn shares_are_changed_later() {
    let root = fake();
    let class = root.path().join("web");
    let file = |name: &str| fs::read_to_string(class.join(name)).unwrap();
    // It had none: it gets a class of its own.
    let saved = change_below(root.path().to_owned(), None, "web", 42, Some("L3:0=f"), None).unwrap();
    assert_eq!((file("tasks").as_str(), file("schemata").as_str()), ("42", "L3:0=f\n"));
    let same = change_below(root.path().to_owned(), Some(&saved), "web", 42, None, Some("MB:0=30")).unwrap();
    assert_eq!((same, file("schemata").as_str()), (saved.clone(), "MB:0=30\n"));
    fs::remove_dir_all(root.path().join("info/L3")).unwrap();
    let why = change_below(root.path().to_owned(), Some(&saved), "web", 42, Some("L3:0=f"), None).unwrap_err();
    assert!(why.to_string().starts_with("--l3-cache-schema: Intel RDT/CAT: l3 cache schema is not enabled"), "{why}");
}

#[test]
fn what_is_used_is_counted() {
    let root = fake();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, text) in [
        ("info/L3/cbm_mask", "7ff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "8\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
        ("schemata", "    L3:0=7ff\n    MB:0=100\n"),
        ("gold/schemata", "    L3:0=f\n    MB:0=20\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_00/mbm_total_bytes", "300\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_00/mbm_local_bytes", "200\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
    ] {
        write(name, text);
    }
    let mut saved = plan(root.path(), json!({"closID": "gold", "enableMonitoring": true})).unwrap().saved();
    let shown = |saved: &Saved| serde_json::to_value(saved.stats_below(root.path())).unwrap();
    let wanted = json!({
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 2, "num_closids": 8},
        "l3_cache_schema_root": "L3:0=7ff", "l3_cache_schema": "L3:0=f",
        "mem_bw_info": {"min_bandwidth": 10},
        "mem_bw_schema_root": "MB:0=100", "mem_bw_schema": "MB:0=20",
        "schemata": ["L3:0=f", "MB:0=20"],
        "mbm_stats": [{"mbm_total_bytes": 300, "mbm_local_bytes": 200}, {}],
        "cmt_stats": [{"llc_occupancy": 4096}, {}],
    });
    assert_eq!(shown(&saved), wanted);
    // A class that others are in, too, says nothing of one container.
    saved.monitor = None;
    assert!(shown(&saved).get("cmt_stats").is_none());
}
