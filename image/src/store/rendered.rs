//! Whether the merged tree of an image is still what its layers make.

use std::path::Path;

use appc_rooted::Root;
use appc_spec::ImageId;

use super::mend::Repair;
use super::verify::Fault;
use super::{IoContext, Store, work};
use crate::error::{Error, Result};
use crate::render;
use crate::tree::compare::{Rules, compare};

/// What faults call it.
pub(super) const PART: &str = "rendered tree";

impl Store {
    /// Compares the merged tree of the image, if there is one, with what is made of its layers below `work`, and notes what
    /// differs. Then it is made again, unless somebody uses the image.
    pub(super) fn verify_rendered(&self, id: &ImageId, work: &Path, faults: &mut Vec<Fault>) -> Result<Option<Repair>> {
        let mut own = Vec::new();
        for key in self.rendered_trees()? {
            if self.rendered_from(&key)?.last() == Some(id) {
                own.push(key);
            }
        }
        if own.is_empty() {
            return Ok(None);
        }
        let rootfs = work.join("rendered");
        let again = self.get(id).and_then(|image| Ok((render::merged_again(self, &image, &rootfs)?, image)));
        let (key, image) = match again {
            Ok((Some(key), image)) if own.contains(&key) => (key, image),
            // It is from when a dependency was another image.
            Ok(_) => return Ok(None),
            Err(error @ Error::Io { .. }) => return Err(error),
            // What it was made of is not there any more.
            Err(_) => return Ok(None),
        };
        let path = self.tree_dir(&key).join("rootfs");
        match work::found(Root::open(&path)).on("open", &path)? {
            None => faults.push(Fault::of(PART, "missing")),
            Some(stored) => {
                let right = Root::open(&rootfs).on("open", &rootfs)?;
                let different = compare(&[right], &[stored], Rules::Exact)?;
                if different.is_empty() {
                    return Ok(None);
                }
                faults.extend(different.into_iter().map(|difference| Fault::path(PART, difference)));
            }
        }
        {
            let _lock = self.lock()?;
            let Some(_unused) = self.lock_unused(id)? else { return Ok(Some(Repair::InUse)) };
            self.remove_rendered(&key)?;
        }
        render::layers(self, &image)?;
        Ok(Some(Repair::Rebuilt))
    }
}
