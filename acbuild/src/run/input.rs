//! Standard input, of which a build with a cache cannot know what a command reads.

use std::fs::OpenOptions;
use std::io::IsTerminal;

use rustix::fs::{FileType, fstat, major, minor};

use crate::error::{Error, Result};

/// mem(4): `/dev/null` is character device 1:3.
const NULL: (u32, u32) = (1, 3);

/// Puts an empty standard input in the place of a terminal's, so that nothing depends on what is typed there.
pub(super) fn leave_terminal() -> Result<()> {
    if std::io::stdin().is_terminal() {
        let null = OpenOptions::new().read(true).open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
        rustix::stdio::dup2_stdin(&null).map_err(|e| Error::io("use", "/dev/null")(e.into()))?;
    }
    Ok(())
}

/// Whether there is nothing to be read there: no input at all, or `/dev/null`.
pub(super) fn is_empty() -> bool {
    match fstat(std::io::stdin()) {
        Ok(found) => {
            let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
            is_device && (major(found.st_rdev), minor(found.st_rdev)) == NULL
        }
        Err(_) => true,
    }
}
