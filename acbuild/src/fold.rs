//! Folding the dependencies of a build into its own root file system.

use appc_image::fetch::Insecure;
use appc_rooted::Root;

use crate::cache::{Change, Effect, Key, Step};
use crate::context::Build;
use crate::error::{Error, Result};
use crate::run::{self, deleted::Deleted};
use crate::session::Session;
use crate::whole::Parts;

/// Makes everything that the image consists of the build's own: no dependencies are left, and no whitelist.
pub(crate) fn fold(session: &Session, build: &Build) -> Result<()> {
    // What is made on the way must not depend on who builds.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let mut manifest = build.manifest()?;
    let rendered = run::dependencies(session, &manifest, Insecure::default())?;
    let whitelist = std::mem::take(&mut manifest.path_whitelist);
    manifest.dependencies.clear();
    let deletes = match build.state() {
        Some(state) => state.deletes(),
        None => !Deleted::load(build.dir())?.is_empty(),
    };
    if rendered.is_none() && whitelist.is_empty() && !deletes {
        return session.save(build, &mut manifest);
    }
    session.record(&mut manifest)?;
    let inputs = |key: &mut Key<'_>| {
        key.list("whitelist", &whitelist);
        key.trees(rendered.as_ref());
        Ok(())
    };
    let step = Step::new(session, build, "squash", &inputs)?;
    if step.known().is_some() {
        return step.replay(&manifest);
    }
    let parts = Parts::new(build, rendered.as_ref(), whitelist.clone())?;
    let staging = build.staging()?;
    let folded = parts.merge(&staging).and_then(|whole| {
        let new = build.prepare(&manifest)?;
        let tree = Root::open(&whole).map_err(Error::io("open", &whole))?;
        let changing = step.change(Change::Whole, &Effect::of_tree(&tree))?;
        // Killed from here on, the image is the same: the new files cover what they were made of.
        build.exchange_rootfs(&whole)?;
        new.commit()?;
        Deleted::default().save(build.dir())?;
        changing.finish()
    });
    let cleared = build.clear_staging();
    folded.and(cleared)
}
