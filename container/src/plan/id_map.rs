//! Id-mapped mounts: files that belong to other users where they are mounted than where they are.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use oci_spec::runtime::Mount;

use super::options::MountOptions;
use super::tree::HostTree;
use crate::error::{Error, Result};
use crate::mappings::Mappings;
use crate::namespaces::NamespacePlan;

/// The mappings in use. A user namespace is what the kernel takes a mapping from, so each needs one.
pub(super) struct IdMaps<'a> {
    namespaces: &'a NamespacePlan,
    made: Vec<(Mappings, Arc<OwnedFd>)>,
}

impl<'a> IdMaps<'a> {
    pub(super) fn new(namespaces: &'a NamespacePlan) -> IdMaps<'a> {
        IdMaps { namespaces, made: Vec::new() }
    }

    /// Whether a mount is to be mapped.
    pub(super) fn asked(&self, mount: &Mount, options: &MountOptions) -> bool {
        let some = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|m| !m.is_empty());
        options.id_map.is_some() || some(mount.uid_mappings()) || some(mount.gid_mappings())
    }

    /// Has the ids of a tree mapped.
    pub(super) fn apply(
        &mut self,
        place: &str,
        mount: &Mount,
        options: &MountOptions,
        tree: &mut HostTree,
    ) -> Result<()> {
        if !tree.is_found() {
            let why = "id-mapped mounts are not supported for rootless containers";
            return Err(Error::refused(format!("{place}.options"), why));
        }
        let mappings = self.mappings(place, mount)?;
        tree.set_ids(self.namespace(mappings)?, options.id_map.unwrap_or(false));
        Ok(())
    }

    fn mappings(&self, place: &str, mount: &Mount) -> Result<Mappings> {
        let [uids, gids] = [mount.uid_mappings(), mount.gid_mappings()].map(|m| m.as_deref().unwrap_or_default());
        match (uids.is_empty(), gids.is_empty()) {
            (false, false) => Mappings::read(uids, gids, place),
            (true, true) => self.namespaces.mappings().cloned().ok_or_else(|| {
                let why = "\"idmap\" needs uidMappings and gidMappings, or a new user namespace of the container";
                Error::refused(format!("{place}.options"), why)
            }),
            (true, false) | (false, true) => {
                let why = "id-mapped mounts must have both uid and gid mappings specified";
                Err(Error::refused(format!("{place}.uidMappings"), why))
            }
        }
    }

    fn namespace(&mut self, mappings: Mappings) -> Result<Arc<OwnedFd>> {
        let at = match self.made.iter().position(|(made, _)| *made == mappings) {
            Some(at) => at,
            None => {
                let namespace = Arc::new(mappings.namespace()?);
                self.made.push((mappings, namespace));
                self.made.len() - 1
            }
        };
        Ok(Arc::clone(&self.made[at].1))
    }
}
