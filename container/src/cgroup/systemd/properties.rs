//! systemd's names for limits. It must know of those it manages, or it would undo them.

use super::Property;
use super::wire::Value;
use crate::cgroup::Result;
use crate::cgroup::devices::{self, Kind, MKNOD, READ, Rule, WRITE};
use crate::cgroup::plan::{Group, Write};

/// What `cpu.max` has for a period that nobody set.
const DEFAULT_PERIOD: u64 = 100_000;
/// systemd counts quotas in percent of a processor: this many microseconds in each second.
const PERCENT: u64 = 10_000;

/// Files of one number, and the property that is the same.
const NUMBERS: [(&str, &str); 10] = [
    ("memory.max", "MemoryMax"),
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("memory.limit_in_bytes", "MemoryLimit"),
    ("cpu.weight", "CPUWeight"),
    ("cpu.shares", "CPUShares"),
    ("blkio.weight", "BlockIOWeight"),
    ("pids.max", "TasksMax"),
];

/// The properties for these limits.
pub(super) fn limits(groups: &[Group]) -> Vec<Property> {
    let writes = || groups.iter().flat_map(|g| &g.writes);
    let idle = writes().any(|w| w.file == "cpu.idle" && w.value == "1");
    let mut properties: Vec<Property> = writes()
        .filter(|w| !(idle && w.file == "cpu.weight"))
        .filter_map(|w| {
            let (_, name) = NUMBERS.iter().find(|(file, _)| *file == w.file)?;
            Some(((*name).to_owned(), Value::U64(number(&w.value)?)))
        })
        .collect();
    properties.extend(writes().filter_map(cpu_set));
    if idle {
        // How systemd spells it.
        properties.push(("CPUWeight".to_owned(), Value::U64(0)));
    }
    properties.extend(quota(writes()));
    properties
}

/// Any number below 0 and `max` mean no limit, which is the largest.
fn number(value: &str) -> Option<u64> {
    if value == "max" || value.starts_with('-') { Some(u64::MAX) } else { value.parse().ok() }
}

fn cpu_set(write: &Write) -> Option<Property> {
    let name = match write.file.as_str() {
        "cpuset.cpus" => "AllowedCPUs",
        "cpuset.mems" => "AllowedMemoryNodes",
        _ => return None,
    };
    let bits = bits(&write.value)?.into_iter().map(Value::Byte).collect();
    Some((name.to_owned(), Value::Array("y".to_owned(), bits)))
}

/// `0-2,7` as a little endian mask.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        for n in first.parse::<u16>().ok()?..=last.parse().ok()? {
            let byte = usize::from(n / 8);
            bits.resize(bits.len().max(byte + 1), 0);
            bits[byte] |= 1 << (n % 8);
        }
    }
    Some(bits)
}

fn quota<'a>(writes: impl Iterator<Item = &'a Write>) -> Vec<Property> {
    let (mut quota, mut period) = (None, None);
    for write in writes {
        match write.file.as_str() {
            "cpu.max" => {
                let mut words = write.value.split_whitespace();
                quota = words.next().and_then(number);
                period = words.next().and_then(number).or(period);
            }
            "cpu.cfs_quota_us" => quota = number(&write.value),
            "cpu.cfs_period_us" => period = number(&write.value),
            _ => {}
        }
    }
    let mut properties = Vec::new();
    properties.extend(period.map(|period| ("CPUQuotaPeriodUSec".to_owned(), Value::U64(period))));
    if quota.is_some() || period.is_some() {
        let per_second = match quota {
            None | Some(u64::MAX) => u64::MAX,
            Some(quota) => {
                let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(DEFAULT_PERIOD).max(1));
                u64::try_from(exact).unwrap_or(u64::MAX - PERCENT).div_ceil(PERCENT).saturating_mul(PERCENT)
            }
        };
        properties.push(("CPUQuotaPerSecUSec".to_owned(), Value::U64(per_second)));
    }
    properties
}

/// Who may use which devices: reloading systemd would otherwise let version 1 forget it.
pub(super) fn devices(asked: &[oci_spec::runtime::LinuxDeviceCgroup]) -> Result<Vec<Property>> {
    let rules = devices::rules(asked)?;
    // What comes before the last rule about everything has no effect.
    let everything = rules.iter().rposition(|r| r.major.is_none() && r.minor.is_none() && is_all(r));
    let open = everything.is_some_and(|at| rules[at].allow);
    let pair = |node: String, access: &str| Value::Struct(vec![Value::Text(node), Value::text(access)]);
    let allowed = rules[everything.map_or(0, |at| at + 1)..].iter().filter(|r| r.allow && !open);
    let list = allowed.filter_map(|rule| Some(pair(node(rule)?, &access(rule.access)))).collect();
    Ok(vec![
        ("DevicePolicy".to_owned(), Value::text(if open { "auto" } else { "strict" })),
        ("DeviceAllow".to_owned(), Value::Array("(ss)".to_owned(), list)),
    ])
}

fn is_all(rule: &Rule) -> bool {
    rule.access == MKNOD | READ | WRITE
}

fn access(bits: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].iter().filter(|(bit, _)| bits & bit != 0).map(|(_, c)| c).collect()
}

/// How systemd names the devices of a rule; it has no way to name all with one minor number.
fn node(rule: &Rule) -> Option<String> {
    let kind = if rule.kind == Kind::Block { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (None, None) => Some(format!("{kind}-*")),
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{kind}-{}", driver(rule.kind, major)?)),
        (None, Some(_)) => None,
    }
}

/// The name of a major number in `/proc/devices`.
fn driver(kind: Kind, major: u32) -> Option<String> {
    let text = std::fs::read_to_string("/proc/devices").ok()?;
    let (characters, blocks) = text.split_once("Block devices:")?;
    let lines = if kind == Kind::Block { blocks } else { characters };
    lines.lines().find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_masks() {
        assert_eq!(bits("0"), Some(vec![1]));
        assert_eq!(bits("0-3,9"), Some(vec![15, 2]));
        assert_eq!(bits("x"), None);
    }

    #[test]
    fn quotas_become_whole_percents() {
        let quota = |value: &str| quota([Write::new("cpu.quota", "cpu.max", value)].iter());
        let properties = |period, per_second| {
            vec![
                ("CPUQuotaPeriodUSec".to_owned(), Value::U64(period)),
                ("CPUQuotaPerSecUSec".to_owned(), Value::U64(per_second)),
            ]
        };
        assert_eq!(quota("50000 100000"), properties(100_000, 500_000));
        assert_eq!(quota("50001 100000"), properties(100_000, 510_000));
        assert_eq!(quota("max 100000"), properties(100_000, u64::MAX));
    }

    #[test]
    fn the_last_rule_about_everything_decides() {
        let rules = |text: &str| devices(&serde_json::from_str::<Vec<_>>(text).unwrap()).unwrap();
        assert_eq!(rules(r#"[{"allow": true, "access": "rwm"}]"#)[0].1, Value::text("auto"));
        let some = r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#;
        assert_eq!(rules(some)[0].1, Value::text("strict"));
        let Value::Array(_, list) = &rules(some)[1].1 else { panic!() };
        assert_eq!(list[0], Value::Struct(vec![Value::text("/dev/char/1:11"), Value::text("r")]));
    }
}
