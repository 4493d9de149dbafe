//! A difference between two trees as one line for people.

use std::fmt::{self, Write};

use super::compare::{Change, Difference};

/// `+ path` for what only the second has, `- path` for what only the first has, `~ path (how)` for what both have.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.change {
            Change::Added => "+ ",
            Change::Removed => "- ",
            Change::Changed(_) => "~ ",
        })?;
        // On one line, whatever is in a name.
        for c in self.path.to_string_lossy().chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        match &self.change {
            Change::Changed(what) => write!(f, " ({})", what.join(", ")),
            _ => Ok(()),
        }
    }
}
