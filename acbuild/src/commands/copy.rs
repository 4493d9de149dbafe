//! `acbuild copy`

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;

use crate::cache::{Change, Inputs, Key, Step};
use crate::context::Access;
use crate::error::{Error, Result};
use crate::install::Staged;
use crate::run::whitelist;
use crate::session::Session;

/// Copy a file or directory into the image
///
/// The path in the image is that of the copy itself, and missing directories above it are made. A directory that is
/// already there is merged with the copied one and keeps its own owner and mode; "copy DIR /" puts what is in DIR into
/// the root of the image.
///
/// Owners, modes, times, hard links, extended attributes and devices are kept. Links in the image are never followed
/// out of it. The build itself is left out; the directory that it is in, whose time "acbuild begin" has changed, has that of
/// 1970. Where the image has a path whitelist, the copies are added to that.
///
/// When an ordinary user builds, the user's own files become root's in the image, and those of others of the host, too; the
/// user's subordinate ids are the image's users from 1 on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild copy hello /bin/hello")]
pub(crate) struct Copy {
    /// File or directory to copy
    path_on_host: PathBuf,
    /// What it is to be in the image
    path_in_aci: PathBuf,
}

impl Copy {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!(
            "Copying host:{} to aci:{}",
            self.path_on_host.display(),
            self.path_in_aci.display()
        ));
        let target = self.path_in_aci.as_os_str().as_bytes();
        if target.ends_with(b"/") && !target.iter().all(|byte| *byte == b'/') {
            let why = "there is a trailing path separator in the second operand: leave it out, or use copy-to-dir";
            return Err(Error::refused(why));
        }
        let leave_out = session.build_dir();
        let inputs = |key: &mut Key<'_>| {
            key.path("to", &self.path_in_aci);
            key.source(&self.path_on_host, &leave_out)
        };
        copy(session, ("copy", &inputs), |staged| staged.add(&self.path_on_host, &self.path_in_aci))
    }
}

/// Stages with `fill`, which works on `inputs`, then moves everything into the image and records the command.
pub(super) fn copy(
    session: &Session,
    (name, inputs): (&'static str, &Inputs<'_>),
    fill: impl FnOnce(&mut Staged<'_>) -> Result<()>,
) -> Result<()> {
    // What is made on the way must not depend on who builds.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let build = session.build(Access::Change)?;
    let mut document = build.document()?;
    session.record(&mut *document)?;
    let listed = document.whitelist().is_some();
    let inputs = |key: &mut Key<'_>| match listed {
        false => inputs(key),
        true => Err(Error::refused("the image has a path whitelist, which what is copied is added to")),
    };
    let step = Step::new(session, &build, name, &inputs)?;
    if step.known().is_some() {
        return step.replay(&*document);
    }
    let mut staged = Staged::new(&build)?;
    fill(&mut staged)?;
    if let Some(list) = document.whitelist() {
        whitelist::add(list, staged.paths()?)?;
    }
    let new = build.prepare(&*document)?;
    let changing = step.change(Change::Copy, &staged.effect())?;
    staged.install()?;
    new.commit()?;
    changing.finish()
}
