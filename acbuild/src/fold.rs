//! Folding the dependencies of a build into its own root file system.

use rustix::fs::{CWD, RenameFlags};

use crate::context::Build;
use crate::error::{Error, Result};
use crate::run::deleted::Deleted;
use crate::session::Session;
use crate::whole::Parts;

/// Makes everything that the image consists of the build's own: no dependencies are left, and no whitelist.
pub(crate) fn fold(session: &Session, build: &Build) -> Result<()> {
    // What is made on the way must not depend on who builds.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let mut manifest = build.manifest()?;
    let parts = Parts::of(session, build, &manifest)?;
    manifest.dependencies.clear();
    manifest.path_whitelist.clear();
    session.record(&mut manifest)?;
    if parts.below.is_empty() && parts.is_plain() {
        return build.prepare(&manifest)?.commit();
    }
    let staging = build.staging()?;
    let folded = parts.merge(&staging).and_then(|whole| {
        let new = build.prepare(&manifest)?;
        let own = build.dir().join("currentaci/rootfs");
        // Killed from here on, the image is the same: the new files cover what they were made of.
        rustix::fs::renameat_with(CWD, whole, CWD, &own, RenameFlags::EXCHANGE)
            .map_err(|e| Error::io("replace", own)(e.into()))?;
        new.commit()?;
        Deleted::default().save(build.dir())
    });
    let cleared = build.clear_staging();
    folded.and(cleared)
}
