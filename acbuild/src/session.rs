//! What every command has at hand: the global flags, and the line for the history.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use appc_image::Progress;
use appc_image::fetch::Reporter;
use appc_spec::{App, ImageManifest};

use crate::cli::Global;
use crate::context::{Access, Build};
use crate::error::Result;
use crate::progress::Bar;
use crate::{history, output};

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    work_path: PathBuf,
    store: Option<PathBuf>,
    debug: bool,
    history: Option<String>,
}

impl Session {
    /// `line` is what the history will say about this command.
    pub(crate) fn new(global: &Global, line: String) -> Session {
        Session {
            work_path: global.work_path.clone(),
            store: global.dir.clone(),
            debug: global.debug,
            history: (!global.no_history).then_some(line),
        }
    }

    /// The directory that `.acbuild` lies in.
    pub(crate) fn work_path(&self) -> &Path {
        &self.work_path
    }

    /// The data directory shared with `rkt`.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(appc_image::store::default_dir)
    }

    /// Says what is being done, to those who asked for it.
    pub(crate) fn debug(&self, line: impl Display) {
        if self.debug {
            output::note(line);
        }
    }

    /// Opens the build.
    pub(crate) fn build(&self, access: Access) -> Result<Build> {
        Build::open(&self.work_path, access)
    }

    /// Adds this command to the history in `manifest`, unless that is switched off.
    pub(crate) fn record(&self, manifest: &mut ImageManifest) -> Result<()> {
        match &self.history {
            Some(line) => history::record(manifest, line),
            None => Ok(()),
        }
    }

    /// Changes the manifest: the whole of what most commands do. Nothing is saved when `change` fails.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut ImageManifest) -> Result<()>) -> Result<()> {
        let build = self.build(Access::Change)?;
        let mut manifest = build.manifest()?;
        change(&mut manifest)?;
        self.record(&mut manifest)?;
        build.prepare(&manifest)?.commit()
    }

    /// Puts `manifest` in place of the present one, which need not even be readable.
    pub(crate) fn replace(&self, mut manifest: ImageManifest) -> Result<()> {
        let build = self.build(Access::Change)?;
        self.record(&mut manifest)?;
        build.prepare(&manifest)?.commit()
    }

    /// [`Session::edit`] for what describes the process to run; a manifest without it gets the default one.
    pub(crate) fn edit_app(&self, change: impl FnOnce(&mut App) -> Result<()>) -> Result<()> {
        self.edit(|manifest| change(manifest.app.get_or_insert_with(App::new)))
    }
}

impl Reporter for Session {
    fn bar(&self) -> Box<dyn Progress + '_> {
        Box::new(Bar::new())
    }

    fn note(&self, text: &str) {
        output::note(text);
    }

    fn debug(&self, text: &str) {
        Session::debug(self, text);
    }
}
