//! The `key value` files of cgroups.

/// The number after `key`, in a file such as `memory.events`.
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_is_matched_whole() {
        let text = "oom 3\noom_kill 2\noom_group_kill x\n";
        assert_eq!(super::value(text, "oom_kill"), Some(2));
        assert_eq!(super::value(text, "oom_group_kill"), None);
        assert_eq!(super::value(text, "kill"), None);
    }
}
