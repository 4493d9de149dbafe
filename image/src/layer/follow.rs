//! Links of the layers below, followed as within the root.
//!
//! A layer may have files below a path at which a layer below has a link, and say nothing of a directory there: then
//! they are meant to be where the link leads, as when all layers are unpacked one over the other.

use crate::tree::walk::split;

/// As many as the kernel follows on the way along a path.
pub(crate) const MOST: usize = 40;

/// Where `rest` leads from the directory `dir`, to which no link leads, when its own link and those on the way to it are
/// followed; `target` is what the link at a path holds, if there is one. Nothing for a loop.
pub(crate) fn resolve<E>(
    dir: &[u8],
    rest: &[u8],
    mut target: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let parts = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut to_come, mut done, mut followed) = (parts(rest), dir.to_vec(), 0);
    while let Some(part) = to_come.pop() {
        let above = done.len();
        match &*part {
            b"" | b"." => continue,
            b".." => {
                done.truncate(split(&done).0.len());
                continue;
            }
            _ if above > 0 => done.push(b'/'),
            _ => {}
        }
        done.extend(part);
        if let Some(target) = target(&done)? {
            followed += 1;
            if followed > MOST {
                return Ok(None);
            }
            done.truncate(if target.starts_with(b"/") { 0 } else { above });
            to_come.extend(parts(&target));
        }
    }
    Ok(Some(done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere_out_of_the_root() {
        let target = |at: &[u8]| {
            let link: Option<&[u8]> = match at {
                b"bin" => Some(b"usr/bin"),
                b"usr/bin/far" => Some(b"/etc/../../a"),
                b"up" => Some(b"../../../usr"),
                b"loop" => Some(b"./loop"),
                _ => None,
            };
            Ok::<_, ()>(link.map(<[u8]>::to_vec))
        };
        assert_eq!(resolve(b"usr/bin", b"../bin/far/x", target).unwrap().unwrap(), b"a/x");
        for (path, end) in
            [("bin/x", Some("usr/bin/x")), ("bin/far/y", Some("a/y")), ("up/lib", Some("usr/lib")), ("loop/x", None)]
        {
            let end = end.map(|end| end.as_bytes().to_vec());
            assert_eq!(resolve(b"", path.as_bytes(), target).unwrap(), end, "{path}");
        }
    }
}
