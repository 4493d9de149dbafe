use super::*;

/// A host with every controller, on one version or the other.
fn layout(version: Version) -> Layout {
    let dir = tempfile::tempdir().unwrap();
    let controllers = "cpuset cpu io memory hugetlb pids rdma";
    std::fs::write(dir.path().join("cgroup.controllers"), controllers).unwrap();
    let v1 = "9:name=systemd:/s\n8:pids:/p\n7:blkio:/\n6:freezer:/\n5:devices:/\n4:memory:/m/own\n2:cpu,cpuacct:/\n\
              3:cpuset:/\n1:hugetlb:/\n10:rdma:/\n11:net_cls,net_prio:/\n";
    let own = if version == Version::V1 { v1 } else { "0::/user/own\n" };
    Layout::from_own(dir.path(), own, |_, asked| asked == version).unwrap()
}

fn plan(version: Version, path: &str, resources: &str) -> Result<CgroupPlan> {
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    CgroupPlan::new(&layout(version), path.as_ref(), Some(&resources))
}

/// The writes of a plan, without those for devices, as `file=value` in their order.
fn writes(version: Version, resources: &str) -> String {
    let plan = plan(version, "/x", resources).unwrap();
    let writes = plan.groups.iter().flat_map(|g| &g.writes).filter(|w| !w.file.starts_with("devices."));
    writes.map(|w| format!("{}={}", w.file, w.value)).collect::<Vec<_>>().join("; ")
}

#[test]
fn every_resource_is_written_as_each_version_spells_it() {
    let table = [
        (r#"{}"#, "", ""),
        (
            r#"{"memory": {"limit": 100, "swap": 150, "reservation": 50, "kernel": 7}}"#,
            "memory.limit_in_bytes=100; memory.memsw.limit_in_bytes=150; memory.soft_limit_in_bytes=50",
            "memory.swap.max=50; memory.max=100; memory.low=50",
        ),
        (
            r#"{"memory": {"limit": -1}}"#,
            "memory.limit_in_bytes=-1; memory.memsw.limit_in_bytes=-1",
            "memory.swap.max=max; memory.max=max",
        ),
        (
            r#"{"memory": {"limit": 9, "swap": 9}}"#,
            "memory.limit_in_bytes=9; memory.memsw.limit_in_bytes=9",
            "memory.swap.max=0; memory.max=9",
        ),
        (
            r#"{"cpu": {"shares": 512, "quota": 2000000, "period": 1000000, "burst": 0, "cpus": "0-1", "mems": "0"}}"#,
            "cpu.shares=512; cpu.cfs_period_us=1000000; cpu.cfs_quota_us=2000000; cpu.cfs_burst_us=0; \
             cpuset.cpus=0-1; cpuset.mems=0",
            "cpu.weight=59; cpu.max=2000000 1000000; cpu.max.burst=0; cpuset.cpus=0-1; cpuset.mems=0",
        ),
        (r#"{"cpu": {"quota": -1, "idle": 1}}"#, "cpu.idle=1; cpu.cfs_quota_us=-1", "cpu.idle=1; cpu.max=max 100000"),
        (r#"{"cpu": {"period": 50000, "shares": 0, "cpus": ""}}"#, "cpu.cfs_period_us=50000", "cpu.max=max 50000"),
        (r#"{"pids": {"limit": 7}}"#, "pids.max=7", "pids.max=7"),
        (r#"{"pids": {"limit": -1}}"#, "pids.max=max", "pids.max=max"),
        (
            r#"{"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}}"#,
            "blkio.weight=500; blkio.weight_device=8:0 10; blkio.throttle.read_bps_device=8:0 600; \
             blkio.throttle.write_iops_device=8:16 0",
            "io.bfq.weight=500; io.bfq.weight=8:0 10; io.max=8:0 rbps=600; io.max=8:16 wiops=max",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#,
            "hugetlb.2MB.limit_in_bytes=4194304; hugetlb.2MB.rsvd.limit_in_bytes=4194304",
            "hugetlb.2MB.max=4194304; hugetlb.2MB.rsvd.max=4194304",
        ),
        (
            r#"{"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "a": {"hcaObjects": 0}}}"#,
            "rdma.max=a hca_object=0; rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
            "rdma.max=a hca_object=0; rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
        ),
    ];
    for (resources, v1, v2) in table {
        assert_eq!(writes(Version::V1, resources), v1, "{resources}");
        assert_eq!(writes(Version::V2, resources), v2, "{resources}");
    }
    let network = r#"{"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}}"#;
    assert_eq!(writes(Version::V1, network), "net_cls.classid=1048577; net_prio.ifpriomap=eth0 500");
    let old = r#"{"memory": {"swappiness": 60, "disableOOMKiller": true, "kernelTCP": 5, "useHierarchy": true},
                  "cpu": {"realtimeRuntime": 5, "realtimePeriod": 6}, "blockIO": {"leafWeight": 10}}"#;
    assert_eq!(
        writes(Version::V1, old),
        "blkio.leaf_weight=10; memory.kmem.tcp.limit_in_bytes=5; memory.swappiness=60; memory.oom_control=1; \
         memory.use_hierarchy=1; cpu.rt_period_us=6; cpu.rt_runtime_us=5"
    );
    let unified = r#"{"unified": {"memory.high": "5", "cgroup.max.depth": "3"}}"#;
    assert_eq!(writes(Version::V2, unified), "cgroup.max.depth=3; memory.high=5");
}

#[test]
fn what_cannot_be_given_is_refused_with_the_field() {
    use Version::{V1, V2};
    let table: &[(&[Version], &str, &str)] = &[
        (&[V1, V2], r#"{"memory": {"limit": -2}}"#, "memory.limit"),
        (&[V1, V2], r#"{"memory": {"limit": 10, "swap": 9}}"#, "memory.swap"),
        (&[V2], r#"{"memory": {"swap": 9}}"#, "memory.swap"),
        (&[V1, V2], r#"{"memory": {"swappiness": 101}}"#, "memory.swappiness"),
        (&[V2], r#"{"memory": {"swappiness": 1}}"#, "memory.swappiness"),
        (&[V2], r#"{"memory": {"disableOOMKiller": true}}"#, "memory.disableOOMKiller"),
        (&[V2], r#"{"memory": {"kernelTCP": 1}}"#, "memory.kernelTCP"),
        (&[V1], r#"{"cpu": {"shares": 1}}"#, "cpu.shares"),
        (&[V1], r#"{"cpu": {"shares": 262145}}"#, "cpu.shares"),
        (&[V2], r#"{"cpu": {"realtimeRuntime": 1}}"#, "cpu.realtimeRuntime"),
        (&[V1, V2], r#"{"blockIO": {"weight": 9}}"#, "blockIO.weight"),
        (
            &[V1, V2],
            r#"{"blockIO": {"weightDevice": [{"major": 1, "minor": 1, "weight": 1001}]}}"#,
            "blockIO.weightDevice[0].weight",
        ),
        (&[V2], r#"{"blockIO": {"leafWeight": 10}}"#, "blockIO.leafWeight"),
        (&[V1, V2], r#"{"hugepageLimits": [{"pageSize": "../x2MB", "limit": 1}]}"#, "hugepageLimits[0].pageSize"),
        (&[V1, V2], r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}"#, "hugepageLimits[0].limit"),
        (&[V1, V2], r#"{"rdma": {"a b": {"hcaObjects": 0}}}"#, "rdma.a b"),
        (&[V1], r#"{"network": {"priorities": [{"name": "a b", "priority": 5}]}}"#, "network.priorities[0].name"),
        (&[V2], r#"{"network": {"classID": 1}}"#, "network.classID"),
        (&[V1], r#"{"unified": {"memory.high": "5"}}"#, "unified.memory.high"),
        (&[V2], r#"{"unified": {"misc.max": "5"}}"#, "unified.misc.max"),
        (&[V2], r#"{"unified": {"../memory.high": "5"}}"#, "unified.../memory.high"),
        (&[V2], r#"{"unified": {"memory": "5"}}"#, "unified.memory"),
        (&[V2], r#"{"unified": {"cgroup.procs": "1"}}"#, "unified.cgroup.procs"),
        (&[V2], r#"{"unified": {"cgroup.kill": "1"}}"#, "unified.cgroup.kill"),
        (&[V1, V2], r#"{"devices": [{"allow": true, "access": ""}]}"#, "devices[0].access"),
        (&[V1, V2], r#"{"devices": [{"allow": true, "access": "r", "major": -2}]}"#, "devices[0].major"),
        (&[V1, V2], r#"{"devices": [{"allow": true, "type": "p", "access": "r"}]}"#, "devices[0].type"),
    ];
    for (versions, resources, field) in table {
        for version in *versions {
            let text = plan(*version, "/x", resources).unwrap_err().to_string();
            assert!(text.starts_with(&format!("linux.resources.{field}: ")), "{version:?} {resources}: {text}");
        }
    }
}

#[test]
fn a_missing_controller_names_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let few = Layout::from_own(dir.path(), "1:cpu:/\n", |_, asked| asked == Version::V1).unwrap();
    let plan = |resources: &str| {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        CgroupPlan::new(&few, "/x".as_ref(), Some(&resources))
    };
    assert_eq!(plan("{}").unwrap().groups.len(), 1);
    let text = plan(r#"{"memory": {"limit": 5}}"#).unwrap_err().to_string();
    assert!(text.starts_with("linux.resources.memory.limit: this host has no memory cgroup controller"), "{text}");
    let text = plan(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#).unwrap_err().to_string();
    assert!(text.starts_with("linux.resources.devices: this host has no devices cgroup controller"), "{text}");
}

#[test]
fn paths_are_confined() {
    let places = |version, path| {
        let plan = plan(version, path, r#"{"memory": {"limit": 5}}"#).unwrap();
        plan.groups.into_iter().map(|g| g.path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Freezer, then in the order of the list above.
    assert_eq!(places(Version::V1, "/a/../../../b//./c"), ["b/c"; 11]);
    let own = ["b", "s/b", "p/b", "b", "b", "m/own/b", "b", "b", "b", "b", "b"];
    assert_eq!(places(Version::V1, "../../../b"), own);
    assert_eq!(places(Version::V2, "/../b"), ["b"]);
    // Beside our own cgroup: below it there can be no controllers while we are in it.
    assert_eq!(places(Version::V2, "b/../c"), ["user/c"]);
    for path in ["", "/", "..", "/../..", "a/.."] {
        let text = plan(Version::V2, path, "{}").unwrap_err().to_string();
        assert!(text.starts_with("linux.cgroupsPath: "), "{text}");
    }
}

#[test]
fn every_hierarchy_is_joined_once() {
    let joined = |resources: &str| {
        let plan = plan(Version::V1, "/x", resources).unwrap();
        plan.groups.into_iter().map(|g| g.controllers.join(",")).collect::<Vec<_>>().join(" ")
    };
    let all = "freezer name=systemd pids blkio devices memory cpu,cpuacct cpuset hugetlb rdma net_cls,net_prio";
    assert_eq!(joined("{}"), all);
    assert_eq!(joined(r#"{"cpu": {"shares": 2}, "pids": {"limit": 7}}"#), all);
}
