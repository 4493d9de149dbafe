//! Whether a script makes the same image again: it is run twice in surroundings that differ, and what it wrote is compared.
//!
//! Each run has a copy of the current directory to itself, so that what the script reads and writes by relative paths is
//! its own, and nothing of the user's is touched. The images are the `.aci` files, OCI archives and layouts that a run added or
//! changed in there.

mod compare;
mod oci;
mod outputs;
mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};

use appc_container::Interrupt;

pub(crate) use compare::Compared;

use crate::error::{Error, Result};
use crate::install::copy_from_host;
use crate::session::Session;
use crate::temporary::Temporary;
use outputs::{Files, Outputs};
use surroundings::{BOTH, Surroundings};

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Subject {
    script: PathBuf,
    arguments: Vec<std::ffi::OsString>,
}

/// One of the two runs.
struct Run {
    /// The copy of the current directory.
    dir: PathBuf,
    outputs: Outputs,
}

impl Subject {
    /// A script of either kind.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn new(script: &Path, arguments: &[std::ffi::OsString]) -> Result<Subject> {
        let script = fs::canonicalize(script).map_err(Error::io("read the script", script))?;
        Ok(Subject { script, arguments: arguments.to_vec() })
    }

    /// Runs it twice and compares the images, one after the other by their names.
    ///
    /// # Errors
    /// When a run fails, or writes no image.
    pub(crate) fn verify(&self, session: &Session) -> Result<Vec<Compared>> {
        let interrupt = Interrupt::new().map_err(Error::io("take signals for", "the script"))?;
        let place = Temporary::new("verify")?;
        let here = std::env::current_dir().map_err(Error::io("find", "."))?;
        if place.path().starts_with(&here) {
            let why = format!(
                "the current directory cannot be copied into itself: set TMPDIR to one outside of {}",
                here.display()
            );
            return Err(Error::Refused(why));
        }
        let mut runs = Vec::new();
        for surroundings in &BOTH {
            runs.push(self.run(surroundings, (&here, place.path()), session, &interrupt)?);
        }
        let [first, second] = &runs[..] else { return Ok(Vec::new()) };
        let mut names: Vec<_> = first.outputs.images.iter().chain(&second.outputs.images).collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            let why = "the script wrote no image in the current directory or below it: have it write there";
            return Err(Error::refused(why));
        }
        let compared = names.into_iter().map(|name| compare::images(&first.dir, &second.dir, name));
        Ok(compared.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn run(
        &self,
        around: &Surroundings,
        (here, place): (&Path, &Path),
        session: &Session,
        interrupt: &Interrupt,
    ) -> Result<Run> {
        session.debug(format_args!("Running {} with {}", self.script.display(), around.name));
        let dir = around.copy_of_current_directory(place)?;
        let before = Files::of(&dir)?;
        // A script that looks beside itself finds its copy there.
        let script = match self.script.strip_prefix(here) {
            Ok(below) => dir.join(below),
            Err(_) => self.script.clone(),
        };
        around.run(&script, &self.arguments, &dir, session, interrupt)?;
        let outputs = Files::of(&dir)?.since(&before)?;
        Ok(Run { dir, outputs })
    }
}

/// Copies the current directory, without a build in it, to `target`.
fn copy_here(target: &Path) -> Result<()> {
    fs::create_dir_all(target).map_err(Error::io("create", target))?;
    let root = appc_rooted::Root::open(target).map_err(Error::io("open", target))?;
    let build = Path::new(".acbuild");
    // Nothing is left out where there is no build: the copy itself is never in the way.
    let leave_out = if build.is_dir() { build } else { target };
    copy_from_host(Path::new("./"), &root, Path::new(""), leave_out)
}
