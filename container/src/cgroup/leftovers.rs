//! Cgroups whose maker was killed, or does not remove them.

use std::path::Path;

use appc_rooted::Root;

use super::layout::{Hierarchy, Layout};
use super::tree::{self, Dir};

impl Layout {
    /// Removes the cgroups at the top of the hierarchies of whose names `left` says that nobody will come back to them.
    ///
    /// One that cannot be removed has processes, or belongs to somebody else.
    pub fn remove_left(&self, left: impl Fn(&str) -> bool) {
        self.hierarchies().for_each(|hierarchy| remove_left(hierarchy, Path::new(""), &left));
    }

    /// The same right below the cgroups that this process is in.
    pub fn remove_left_below(&self, left: impl Fn(&str) -> bool) {
        self.hierarchies().for_each(|hierarchy| remove_left(hierarchy, &hierarchy.own, &left));
    }

    fn hierarchies(&self) -> impl Iterator<Item = &Hierarchy> {
        self.v1.iter().chain(&self.unified)
    }
}

fn remove_left(hierarchy: &Hierarchy, above: &Path, left: impl Fn(&str) -> bool) {
    let Ok(root) = Root::open(&hierarchy.mount) else { return };
    let above = appc_rooted::clean(above);
    let above = above.strip_prefix("/").unwrap_or(&above);
    let dir = Dir::below(&root, &hierarchy.mount, above);
    for child in dir.and_then(|dir| dir.children()).unwrap_or_default() {
        let name = child.path.file_name().unwrap_or_default();
        if name.to_str().is_some_and(&left) {
            let _in_use = tree::remove(&root, &hierarchy.mount, &above.join(name));
        }
    }
}
