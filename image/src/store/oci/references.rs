//! What belongs to whom: parts that several images share go with the last of them.

use std::collections::HashSet;

use appc_spec::ImageId;

use super::{BLOB_FOLDERS, blob_place};
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::lookup::entries;

/// How the names of trees begin that OCI images share.
const SHARED: [&str; 2] = ["layer-", "fix-"];

/// Whether a tree may be shared by OCI images.
pub(in crate::store) fn is_shared_tree(key: &str) -> bool {
    SHARED.iter().any(|prefix| key.starts_with(prefix))
}

impl Store {
    /// Removes blobs and trees of OCI images that no image names, and returns how many. Under the lock only.
    pub(in crate::store) fn remove_unshared(&self) -> Result<usize> {
        let (images, damaged) = self.summaries(&self.names()?)?;
        // What an image consists of whose metadata cannot be read is not known: nothing may go.
        if damaged.iter().any(|error| self.may_be_oci(error)) {
            return Ok(0);
        }
        let parts: Vec<_> = images.iter().filter_map(|image| image.oci.as_ref()).collect();
        let blobs = parts.iter().flat_map(|parts| parts.blobs());
        let blobs: HashSet<(&str, &str)> = blobs.map(|blob| blob_place(&blob.digest)).collect();
        let trees: HashSet<&str> = parts.iter().flat_map(|parts| &parts.trees).map(String::as_str).collect();
        let mut removed = 0;
        for folder in BLOB_FOLDERS {
            for name in entries(&self.dir.join(folder))? {
                if !blobs.contains(&(folder, name.as_str())) {
                    self.remove_path(folder, &name)?;
                    removed += 1;
                }
            }
        }
        for key in entries(&self.dir.join("store/trees"))? {
            if is_shared_tree(&key) && !trees.contains(key.as_str()) {
                self.remove_path("store/trees", &key)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Whether the image whose metadata cannot be read shares anything: those that do not have an archive of their own.
    fn may_be_oci(&self, error: &Error) -> bool {
        let own_archive = |id: &ImageId| self.blob(id).exists();
        !matches!(error, Error::Damaged { id, .. } if own_archive(id))
    }
}
