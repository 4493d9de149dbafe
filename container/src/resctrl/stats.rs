//! What a container's class of service has and uses, as `runc events` has it.

use std::path::Path;

use serde::Serialize;

use super::{Saved, mounted};

/// Shares and counters; what the machine does not have is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are the kernel's and runc's")]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mbm_stats: Vec<Bandwidth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmt_stats: Vec<Occupancy>,
}

/// What can be said of the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "see Stats")]
pub struct CacheInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cbm_mask: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub min_cbm_bits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_closids: u64,
}

/// What can be said of the bandwidth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "see Stats")]
pub struct BandwidthInfo {
    #[serde(skip_serializing_if = "is_zero")]
    pub bandwidth_gran: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_linear: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub min_bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_closids: u64,
}

/// Bytes that went to and from memory, through one cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "see Stats")]
pub struct Bandwidth {
    #[serde(skip_serializing_if = "is_zero")]
    pub mbm_total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub mbm_local_bytes: u64,
}

/// Bytes in one cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "see Stats")]
pub struct Occupancy {
    #[serde(skip_serializing_if = "is_zero")]
    pub llc_occupancy: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Saved {
    /// What there is now. Files that are missing count as zero.
    pub(crate) fn stats(&self) -> Stats {
        mounted().map_or_else(Stats::default, |root| self.stats_below(&root))
    }

    pub(super) fn stats_below(&self, root: &Path) -> Stats {
        let mut stats = Stats { schemata: lines(&self.class), ..Stats::default() };
        let whole = lines(root);
        let of = |list: &[String], kind: &str| list.iter().find(|l| l.starts_with(kind)).cloned();
        let info = root.join("info/L3");
        if info.exists() {
            stats.l3_cache_info = Some(CacheInfo {
                cbm_mask: text(&info, "cbm_mask"),
                min_cbm_bits: number(&info, "min_cbm_bits"),
                num_closids: number(&info, "num_closids"),
            });
            stats.l3_cache_schema_root = of(&whole, "L3:");
            stats.l3_cache_schema = of(&stats.schemata, "L3:");
        }
        let info = root.join("info/MB");
        if info.exists() {
            stats.mem_bw_info = Some(BandwidthInfo {
                bandwidth_gran: number(&info, "bandwidth_gran"),
                delay_linear: number(&info, "delay_linear"),
                min_bandwidth: number(&info, "min_bandwidth"),
                num_closids: number(&info, "num_closids"),
            });
            stats.mem_bw_schema_root = of(&whole, "MB:");
            stats.mem_bw_schema = of(&stats.schemata, "MB:");
        }
        self.count(&mut stats, &text(root, "info/L3_MON/mon_features"));
        stats
    }

    fn count(&self, stats: &mut Stats, features: &str) {
        let has = |name: &str| features.lines().any(|line| line == name);
        // A class of its own counts for the container alone; one that is shared only with a group of counters.
        let Some(group) = self.monitor.as_ref().or(self.own.then_some(&self.class)) else { return };
        let entries = std::fs::read_dir(group.join("mon_data")).into_iter().flatten().flatten();
        let mut caches: Vec<_> = entries.map(|e| e.path()).collect();
        caches.retain(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("mon_L3_")));
        caches.sort();
        for cache in caches {
            if has("mbm_total_bytes") || has("mbm_local_bytes") {
                let [mbm_total_bytes, mbm_local_bytes] =
                    ["mbm_total_bytes", "mbm_local_bytes"].map(|file| number(&cache, file));
                stats.mbm_stats.push(Bandwidth { mbm_total_bytes, mbm_local_bytes });
            }
            if has("llc_occupancy") {
                stats.cmt_stats.push(Occupancy { llc_occupancy: number(&cache, "llc_occupancy") });
            }
        }
    }
}

/// The kernel indents the names of resources.
fn lines(group: &Path) -> Vec<String> {
    text(group, "schemata").lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn text(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap_or_default().trim().to_owned()
}

fn number(folder: &Path, file: &str) -> u64 {
    text(folder, file).parse().unwrap_or_default()
}
