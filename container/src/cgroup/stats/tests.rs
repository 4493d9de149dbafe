use super::*;

#[test]
fn nothing_used_is_written_as_runc_writes_it() {
    let text = serde_json::to_string(&Stats::default()).unwrap();
    let wanted = r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{"usage":{"limit":0,"failcnt":0},"swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0}},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#;
    assert_eq!(text, wanted);
}

#[test]
fn what_is_used_has_runcs_names() {
    let entry = MemoryEntry { limit: u64::MAX, usage: 2, max: 3, failcnt: 0 };
    let text = serde_json::to_string(&Memory { kernel_tcp: entry, ..Memory::default() }).unwrap();
    let wanted = r#""kernelTCP":{"limit":18446744073709551615,"usage":2,"max":3,"failcnt":0}}"#;
    assert!(text.ends_with(wanted), "{text}");
    let blkio = v2::block_io("8:0 rbytes=1024 wbytes=0 rios=1 wios=2 dbytes=0\n7:1 \n").unwrap();
    let wanted = r#"{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":1024},{"major":8,"op":"Write"}],"ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write","value":2}]}"#;
    assert_eq!(serde_json::to_string(&blkio).unwrap(), wanted);
    let pressure = read::pressure(
        "some avg10=0.00 avg60=1.50 avg300=2.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0",
    );
    let wanted =
        r#"{"some":{"avg10":0,"avg60":1.5,"avg300":2,"total":7},"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}"#;
    assert_eq!(serde_json::to_string(&pressure).unwrap(), wanted);
}

#[test]
fn the_formats_of_the_kernel() {
    assert_eq!(read::list("0-2,7"), Some(vec![0, 1, 2, 7]));
    assert_eq!(read::list(""), Some(vec![]));
    assert_eq!(read::list("a"), None);
    assert_eq!(read::number("max"), Some(u64::MAX));
    assert_eq!(read::number("-3"), Some(0));
    assert_eq!(read::number("x"), None);
    let entry = |op: &str, value| BlkioEntry { major: 8, minor: 16, op: op.to_owned(), value };
    assert_eq!(read::device("8:16 Read 5"), Some(entry("Read", 5)));
    assert_eq!(read::device("8:16 5"), Some(entry("", 5)));
    assert_eq!(read::device("Read 5"), None);
    assert_eq!(v2::page_size("hugepages-2048kB").as_deref(), Some("2MB"));
    assert_eq!(v2::page_size("hugepages-1048576kB").as_deref(), Some("1GB"));
    assert_eq!(v2::page_size("hugepages-64kB").as_deref(), Some("64KB"));
}
