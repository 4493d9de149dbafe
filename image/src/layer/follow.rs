//! Links of the layers below, followed as within the root.
//!
//! A layer may have files below a path at which a layer below has a link, and say nothing of a directory there: then
//! they are meant to be where the link leads, as when all layers are unpacked one over the other.

/// As many as the kernel follows.
const MOST: usize = 40;

/// Where `path` leads when its own link and those on the way to it are followed; `target` is what the link at a path holds,
/// if there is one. Nothing for a loop.
pub(crate) fn resolve<E>(
    path: &[u8],
    mut target: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let parts = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut to_come, mut done, mut followed) = (parts(path), Vec::<Vec<u8>>::new(), 0);
    while let Some(part) = to_come.pop() {
        match &*part {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        if let Some(target) = target(&done.join(&b'/'))? {
            followed += 1;
            if followed > MOST {
                return Ok(None);
            }
            done.pop();
            if target.starts_with(b"/") {
                done.clear();
            }
            to_come.extend(parts(&target));
        }
    }
    Ok(Some(done.join(&b'/')))
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
        for (path, end) in
            [("bin/x", Some("usr/bin/x")), ("bin/far/y", Some("a/y")), ("up/lib", Some("usr/lib")), ("loop/x", None)]
        {
            let end = end.map(|end| end.as_bytes().to_vec());
            assert_eq!(resolve(path.as_bytes(), target).unwrap(), end, "{path}");
        }
    }
}
