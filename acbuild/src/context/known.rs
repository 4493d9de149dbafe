//! What is known of the files of a build until a command changes them: how much they are, and, in oci builds, where they can
//! differ from the layers below. What is changed by hand is not noticed here; `write` looks at every file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_image::layer::Part;
use appc_image::measure::{Measure, measure};

use super::{Build, MEASURE, NEW_MEASURE, TOUCHED, files};
use crate::error::{Error, Result};

impl Build {
    /// Notes that what is at `paths` (below the root, without links) is about to be changed; of a directory whose path ends
    /// with a slash, nothing that is in it.
    pub(crate) fn touch(&self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
        self.forget(MEASURE)?;
        // A NUL before it as well: of a line that a killed command began nothing gets into this one.
        let lines = paths.into_iter().flat_map(|path| [b"\0", path.as_ref().as_os_str().as_bytes(), b"\0"].concat());
        let lines: Vec<u8> = lines.collect();
        match files::append(self.dir(), TOUCHED).and_then(|mut file: File| file.write_all(&lines)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("write", self.dir().join(TOUCHED))(e)),
            _ => Ok(()),
        }
    }

    /// Notes that anything may differ from the layers below.
    pub(crate) fn touch_all(&self) -> Result<()> {
        self.forget(MEASURE)?;
        self.forget(TOUCHED)
    }

    /// Notes that the files are others.
    pub(super) fn forget_measure(&self) -> Result<()> {
        self.forget(MEASURE)
    }

    /// Notes that everything is as the layers below have it.
    pub(crate) fn settle(&self) -> Result<()> {
        if self.touched()?.is_some_and(|part| part.is_empty()) {
            return Ok(());
        }
        files::write(self.dir(), TOUCHED, b"")
    }

    /// What was touched since everything was as the layers below have it; nothing when that is not known.
    pub(crate) fn touched(&self) -> Result<Option<Part>> {
        match files::read(self.dir(), TOUCHED) {
            Ok(lines) => Ok(Some(lines.split(|byte| *byte == 0).filter(|line| !line.is_empty()).collect())),
            // There is none, or it is too long to be of use.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge) => Ok(None),
            Err(e) => Err(Error::io("read", self.dir().join(TOUCHED))(e)),
        }
    }

    /// How much its root file system is.
    pub(crate) fn measure(&self) -> Result<Measure> {
        let kept = files::read(self.dir(), MEASURE).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let found = measure(&self.rootfs()?)?;
        if !self.locked.busy {
            // For the next who asks; who only looks may not be allowed to, or somebody else does the same.
            let _ = self.keep(found);
        }
        Ok(found)
    }

    fn keep(&self, found: Measure) -> Result<()> {
        files::write(self.dir(), NEW_MEASURE, &serde_json::to_vec(&found).unwrap_or_default())?;
        files::rename(self.dir(), NEW_MEASURE, MEASURE).map_err(Error::io("replace", self.dir().join(MEASURE)))
    }

    fn forget(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.dir().join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", self.dir().join(name))(e)),
            _ => Ok(()),
        }
    }
}
