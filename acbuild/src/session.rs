//! What every command has at hand: the global flags, and the line for the history.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use appc_image::Progress;
use appc_image::archive::Limit;
use appc_image::fetch::Reporter;
use appc_spec::{App, ImageManifest};

use crate::cache::Row;
use crate::cli::Global;
use crate::context::{Access, Build};
use crate::document::{Document, Mode};
use crate::error::{Error, Result};
use crate::modify::Image;
use crate::progress::Bar;
use crate::{context, oci, output};

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    global: Global,
    store: PathBuf,
    line: String,
    started: Instant,
    /// What is changed instead of the build.
    image: Option<Image>,
}

impl Session {
    /// `line` is what the history will say about this command, of which `command` is the first word.
    ///
    /// # Errors
    /// When the command cannot work on the image file that it is to change.
    pub(crate) fn new(global: &Global, line: String, command: &str) -> Result<Session> {
        let image = Image::flagged(global.modify_appc.as_deref(), global.modify_oci.as_deref(), command)?;
        let store = global.dir.clone().unwrap_or_else(appc_image::store::default_dir);
        Ok(Session { line, started: Instant::now(), global: global.clone(), store, image })
    }

    /// What is left to do when the command has succeeded.
    pub(crate) fn finish(&self) -> Result<()> {
        self.image.as_ref().map_or(Ok(()), |image| image.finish(self))
    }

    /// The directory that `.acbuild` lies in.
    pub(crate) fn work_path(&self) -> &Path {
        self.given_work_path().unwrap_or(Path::new("."))
    }

    /// Where the build is kept; a tree that is copied into it must leave that out.
    pub(crate) fn build_dir(&self) -> PathBuf {
        self.work_path().join(context::NAME)
    }

    /// The same, if the user said where it is.
    pub(crate) fn given_work_path(&self) -> Option<&Path> {
        self.global.work_path.as_deref()
    }

    /// The global flags of this run, for one elsewhere.
    pub(crate) fn flags_but_work_path(&self) -> Vec<OsString> {
        Global { work_path: None, ..self.global.clone() }.as_typed()
    }

    /// The global flags of this run, for another one.
    pub(crate) fn flags(&self) -> Vec<OsString> {
        self.global.as_typed()
    }

    /// The data directory shared with `rkt`.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.store.clone()
    }

    /// How large images may be.
    pub(crate) fn limit(&self) -> Limit {
        self.global.max_image_size.unwrap_or_default()
    }

    /// What the history says about this command.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// How long this command has been at work.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether what the cache knows of this step is to be left aside.
    pub(crate) fn no_cache(&self) -> bool {
        self.global.no_cache
    }

    /// Says what is being done, to those who asked for it.
    pub(crate) fn debug(&self, line: impl Display) {
        if self.global.debug {
            output::note(line);
        }
    }

    /// Opens the build, with all its files.
    pub(crate) fn whole(&self, access: Access) -> Result<Build> {
        match &self.image {
            Some(image) => image.build(access),
            None => Build::open_whole(self.work_path(), access),
        }
    }

    /// Opens the build, whose files may still have to be made.
    pub(crate) fn build(&self, access: Access) -> Result<Build> {
        match &self.image {
            Some(image) => image.build(access),
            None => Build::open(self.work_path(), access),
        }
    }

    /// What kind of image is changed.
    pub(crate) fn mode(&self) -> Result<Mode> {
        match &self.image {
            Some(image) => Ok(image.mode()),
            None => Ok(self.build(Access::Look)?.mode()),
        }
    }

    /// The manifest, to be looked at.
    pub(crate) fn manifest(&self) -> Result<ImageManifest> {
        match &self.image {
            Some(image) => ImageManifest::parse(&image.manifest_bytes()?).map_err(Error::BadManifest),
            None => self.build(Access::Look)?.manifest(),
        }
    }

    /// What is said of an OCI image, to be looked at.
    pub(crate) fn image(&self) -> Result<oci::Image> {
        match &self.image {
            Some(image) => image.image(),
            None => self.build(Access::Look)?.image(),
        }
    }

    /// Adds this command to the history in `document`, unless that is switched off.
    pub(crate) fn record(&self, document: &mut dyn Document) -> Result<()> {
        if self.global.no_history { Ok(()) } else { document.record(&self.line) }
    }

    /// Changes what is said of the image, whichever kind it is: the whole of what most commands do. Nothing is saved
    /// when `change` fails.
    pub(crate) fn change(&self, change: impl FnOnce(&mut dyn Document) -> Result<()>) -> Result<()> {
        match self.image.as_ref().map(Image::mode) {
            Some(Mode::Appc) => return self.edit(|manifest| change(manifest)),
            Some(Mode::Oci) => return self.edit_oci(|image| change(image)),
            None => {}
        }
        let build = self.build(Access::Change)?;
        let mut document = build.document()?;
        change(&mut *document)?;
        self.save(&build, &mut *document)
    }

    /// Makes `document` what is said of the image, with this command in its history.
    pub(crate) fn save(&self, build: &Build, document: &mut dyn Document) -> Result<()> {
        self.record(document)?;
        build.prepare(document)?.commit()?;
        build.log(&Row::of(self, None, None));
        Ok(())
    }

    /// [`Session::change`] for what only oci images have.
    pub(crate) fn edit_oci(&self, change: impl FnOnce(&mut oci::Image) -> Result<()>) -> Result<()> {
        if let Some(image) = &self.image {
            return image.edit_oci(|mut image| {
                change(&mut image)?;
                self.record(&mut image)?;
                Ok(image)
            });
        }
        let build = self.build(Access::Change)?;
        let mut image = build.image()?;
        change(&mut image)?;
        self.save(&build, &mut image)
    }

    /// [`Session::change`] for what only appc images have.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut ImageManifest) -> Result<()>) -> Result<()> {
        if let Some(image) = &self.image {
            return image.edit(|bytes| {
                let mut manifest = ImageManifest::parse(bytes).map_err(Error::BadManifest)?;
                change(&mut manifest)?;
                self.record(&mut manifest)?;
                Ok(manifest)
            });
        }
        let build = self.build(Access::Change)?;
        let mut manifest = build.manifest()?;
        change(&mut manifest)?;
        self.save(&build, &mut manifest)
    }

    /// Puts `manifest` in place of the present one, which need not even be readable.
    pub(crate) fn replace(&self, mut manifest: ImageManifest) -> Result<()> {
        if let Some(image) = &self.image {
            return image.edit(|_| self.record(&mut manifest).map(|()| manifest));
        }
        self.save(&self.build(Access::Change)?, &mut manifest)
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
