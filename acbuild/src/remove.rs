//! Removing files from the image.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_image::fetch::Insecure;
use appc_image::stack;
use appc_rooted::Root;

use crate::cache::{Change, Effect, Key, Step};
use crate::context::Access;
use crate::document::Mode;
use crate::error::{Error, Result};
use crate::links::{Last, resolve, target};
use crate::run::{self, deleted::Deleted};
use crate::session::Session;
use crate::whole::{Parts, discard};

/// What to remove: of the build's own files, and of its dependencies. No path is below another of its kind.
struct Plan {
    own: Vec<PathBuf>,
    deleted: Deleted,
}

/// Removes `paths` from the build: all of them or, when one is not there, none.
pub(crate) fn remove(session: &Session, paths: &[PathBuf]) -> Result<()> {
    let build = session.build(Access::Change)?;
    let mut document = build.document()?;
    session.record(&mut *document)?;
    let (rendered, whitelist) = match build.mode() {
        Mode::Appc => {
            let manifest = build.manifest()?;
            (run::dependencies(session, &manifest, Insecure::default())?, manifest.path_whitelist)
        }
        // All layers of an OCI image are merged in its root file system.
        Mode::Oci => (None, Vec::new()),
    };
    let inputs = |key: &mut Key<'_>| {
        key.list("path", paths.iter().map(|path| path.as_os_str().as_bytes()));
        key.list("whitelist", &whitelist);
        key.trees(rendered.as_ref());
        Ok(())
    };
    let step = Step::new(session, &build, "file remove", &inputs)?;
    if step.known().is_some() {
        return step.replay(&*document);
    }
    let parts = Parts::new(&build, rendered.as_ref(), whitelist.clone())?;
    let plan = plan(&parts, paths)?;
    let staging = build.staging()?;
    let removed = Root::open(&staging).map_err(Error::io("open", staging)).and_then(|trash| {
        let new = build.prepare(&*document)?;
        let changing = step.change(Change::Remove, &Effect::removed(&plan.own, &plan.deleted))?;
        build.touch(&plan.own)?;
        plan.deleted.save(build.dir())?;
        for (number, path) in plan.own.iter().enumerate() {
            discard(&parts.own, path, &trash, number).map_err(Error::io("remove", Path::new("/").join(path)))?;
        }
        new.commit()?;
        changing.finish()
    });
    let cleared = build.clear_staging();
    removed.and(cleared)
}

fn plan(parts: &Parts, paths: &[PathBuf]) -> Result<Plan> {
    let mut plan = Plan { own: Vec::new(), deleted: parts.deleted.clone() };
    for typed in paths {
        let path = resolve(typed, Last::Meant, |path| readlink(parts, path)).map_err(Error::io("remove", typed))?;
        if path.as_os_str().is_empty() {
            return Err(Error::Refused(format!("{} is the root of the image, which stays", typed.display())));
        }
        let own = parts.own.lstat(&path).is_ok();
        let below =
            !parts.deleted.hides(&path) && stack::shows(&parts.below, &path).map_err(Error::io("remove", typed))?;
        if below && !parts.whitelist.is_empty() {
            let why = "comes from an image that this one depends on by a path whitelist: \"acbuild squash\" makes it this one's own";
            return Err(Error::Refused(format!("{} {why}", typed.display())));
        }
        if !own && !below {
            return Err(Error::NoFile(typed.clone()));
        }
        if below {
            plan.deleted.insert(&path);
        }
        if own && !plan.own.iter().any(|above| path.starts_with(above)) {
            plan.own.retain(|below| !below.starts_with(&path));
            plan.own.push(path);
        }
    }
    Ok(plan)
}

/// The target of the link at `path`, a path without links; none when there is no link.
fn readlink(parts: &Parts, path: &Path) -> io::Result<Option<OsString>> {
    let below = if parts.deleted.hides(path) { &[][..] } else { &parts.below[..] };
    let mut trees = [&parts.own].into_iter().chain(below.iter().rev());
    let Some(tree) = trees.find(|tree| tree.lstat(path).is_ok()) else { return Ok(None) };
    target(tree, path)
}
