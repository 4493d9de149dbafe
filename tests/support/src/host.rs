//! What the host looks like, to prove that nothing of it was changed and nothing was left behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::scratch::{self, Scratch};
use crate::tree::Tree;

/// The host's mounts, cgroups, devices and network links, and the content of chosen folders.
///
/// Other tests run at the same time, so what is merely there for a while is no fault: only what is new and stays is.
pub struct HostState {
    facts: BTreeSet<String>,
    watched: Vec<(PathBuf, Tree)>,
    own: Option<PathBuf>,
}

impl HostState {
    /// Takes it down as it is now.
    #[expect(clippy::new_without_default, reason = "it reads the host")]
    pub fn new() -> Self {
        Self { facts: facts(), watched: Vec::new(), own: None }
    }

    /// Watches a folder too: nothing in it may change in any way.
    pub fn watch(mut self, folder: &Path) -> Self {
        self.watched.push((folder.to_owned(), Tree::read(folder)));
        self
    }

    /// Takes what is called like this test's folder for its own doing, and what is called like another test's, which is
    /// at work as long as its folder exists, for that one's.
    pub fn of(mut self, scratch: &Scratch) -> Self {
        self.own = Some(scratch.path().to_owned());
        self
    }

    fn is_of_another(&self, fact: &str) -> bool {
        let Some(own) = &self.own else { return false };
        let Some(at) = fact.find(scratch::PREFIX) else { return false };
        let name: String = fact[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        own.file_name().is_none_or(|own| own != name.as_str()) && own.with_file_name(name).exists()
    }

    /// Fails the test when something was left behind or changed.
    #[track_caller]
    pub fn check(&self) {
        // What another test has there may stay for long on a busy machine; only a failure waits for all of it.
        let end = Instant::now() + Duration::from_secs(60);
        let mut left: BTreeSet<String> = facts().difference(&self.facts).cloned().collect();
        left.retain(|fact| !self.is_of_another(fact));
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            let now = facts();
            left.retain(|fact| now.contains(fact) && !self.is_of_another(fact));
        }
        // Only what is surely the test's own, where that is known.
        let own = self.own.as_ref().and_then(|own| own.file_name()).map(|own| own.to_string_lossy());
        for fact in left.iter().filter(|fact| own.as_ref().is_none_or(|own| fact.contains(own.as_ref()))) {
            clean(fact);
        }
        assert!(left.is_empty(), "left behind on the host:\n{}", left.into_iter().collect::<Vec<_>>().join("\n"));
        for (folder, before) in &self.watched {
            before.assert_same(&Tree::read(folder), &format!("{} changed", folder.display()));
        }
    }
}

fn facts() -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for line in std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        facts.insert(format!("mount {}", line.split(' ').nth(4).unwrap_or(line)));
    }
    cgroups(Path::new("/sys/fs/cgroup"), &mut facts);
    for (folder, what) in [("/dev", "device"), ("/sys/class/net", "link"), ("/dev/mqueue", "queue")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            facts.insert(format!("{what} {}", entry.file_name().display()));
        }
    }
    facts
}

fn cgroups(folder: &Path, facts: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            facts.insert(format!("cgroup {}", entry.path().display()));
            cgroups(&entry.path(), facts);
        }
    }
}

/// Removes an empty cgroup that a faulty program left, so that one fault does not spoil the tests after it.
/// Mounts lie in the place of their test, which unmounts them itself.
fn clean(fact: &str) {
    if let Some(cgroup) = fact.strip_prefix("cgroup ") {
        let _ = std::fs::remove_dir(cgroup);
    }
}
