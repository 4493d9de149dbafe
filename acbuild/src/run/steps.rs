//! What an upper layer of an overlay mount comes to, as steps that change a tree into what was seen.
//!
//! The steps can be taken again after a part of them has been taken: each looks whether its part is still to be done. So
//! they are first written to a file as a whole, and then taken, by the next command if this one is killed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One change of the tree. Paths are relative to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// What the tree has there is removed.
    Remove(PathBuf),
    /// What the upper layer has there is moved into the tree, in the place of whatever is there.
    Put(PathBuf),
    /// The directory becomes what it is in the upper layer, as old as is said: seconds and nanoseconds since 1970.
    Like(PathBuf, (i64, i64)),
}

/// The steps as bytes: each a letter, numbers if there are any, and a path, ended by a NUL.
pub(crate) fn to_bytes(steps: &[Step]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for step in steps {
        let (head, path) = match step {
            Step::Remove(path) => ("r ".to_owned(), path),
            Step::Put(path) => ("p ".to_owned(), path),
            Step::Like(path, (seconds, nanoseconds)) => (format!("l {seconds} {nanoseconds} "), path),
        };
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Reads them back; nothing for what [`to_bytes`] did not write.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Vec<Step>> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    // What was written ends with a NUL, and nothing comes behind that.
    lines.pop().filter(|end| end.is_empty())?;
    lines.into_iter().map(parse).collect()
}

fn parse(line: &[u8]) -> Option<Step> {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    match line {
        [b'r', b' ', rest @ ..] => Some(Step::Remove(path(rest))),
        [b'p', b' ', rest @ ..] => Some(Step::Put(path(rest))),
        [b'l', b' ', rest @ ..] => {
            let mut fields = rest.splitn(3, |byte| *byte == b' ');
            let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
            let time = (number()?, number()?);
            Some(Step::Like(Path::new(OsStr::from_bytes(fields.next()?)).to_owned(), time))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back_from_their_bytes() {
        let odd = PathBuf::from(OsStr::from_bytes(b"caf\xe9 l 1 2\n/x"));
        let steps = [
            Step::Remove("a/b c".into()),
            Step::Put(odd.clone()),
            Step::Like(odd, (-3, 999_999_999)),
            Step::Like("".into(), (0, 0)),
        ];
        assert_eq!(from_bytes(&to_bytes(&steps)).unwrap(), steps);
        assert_eq!(from_bytes(b"").unwrap(), []);
        for broken in [&b"p half"[..], b"x /\0", b"l 1 \0", b"l one 2 a\0"] {
            assert_eq!(from_bytes(broken), None, "{broken:?}");
        }
    }
}
