//! Device nodes that cannot be made: in a user namespace an empty file stands for one.
//!
//! An extended attribute of the file says which device it is, as `c 1 3` or `b 8 0`. It means something only to a process
//! that is in a user namespace itself, see [`caller`](crate::caller): root makes devices of archives and of devices, never of
//! an attribute. No archive's entry can bring the attribute along.

use crate::archive::entry::{Type, Xattrs};
use crate::caller;

/// The attribute.
pub(crate) const PLACEHOLDER: &str = "user.appc.device";

/// The attribute's value for a device. There is none for what is no device, nor for a whiteout, which hides other files and
/// which everyone can make.
pub(crate) fn value(kind: Type) -> Option<String> {
    match kind {
        Type::CharDevice { major: 0, minor: 0 } => None,
        Type::CharDevice { major, minor } => Some(format!("c {major} {minor}")),
        Type::BlockDevice { major, minor } => Some(format!("b {major} {minor}")),
        _ => None,
    }
}

/// Whether an attribute is the one.
pub(crate) fn is_placeholder(name: &[u8]) -> bool {
    name == PLACEHOLDER.as_bytes()
}

/// Takes the attribute off those of a regular file of `size` bytes; the device that the file stands for, if it does.
pub(crate) fn take(xattrs: &mut Xattrs, size: u64) -> Option<Type> {
    let at = xattrs.iter().position(|(name, _)| is_placeholder(name))?;
    let (_, value) = xattrs.remove(at);
    // What has been written into is a file, whatever it was before.
    if size == 0 && caller::is_mapped() { parse(&value) } else { None }
}

fn parse(text: &[u8]) -> Option<Type> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let kind = words.next()?;
    // As in a header: the kernel has 12 and 20 bits for them.
    let mut number = |bits: u32| words.next()?.parse::<u32>().ok().filter(|number| number >> bits == 0);
    let (major, minor) = (number(12)?, number(20)?);
    let device = match kind {
        "c" => Type::CharDevice { major, minor },
        "b" => Type::BlockDevice { major, minor },
        _ => return None,
    };
    // Spelled as it is written, and not a whiteout.
    (value(device)?.as_bytes() == text).then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_devices_are_read() {
        assert_eq!(parse(b"c 1 3"), Some(Type::CharDevice { major: 1, minor: 3 }));
        assert_eq!(parse(b"b 0 0"), Some(Type::BlockDevice { major: 0, minor: 0 }));
        for bad in
            ["", "c", "c 1", "c 1 3 ", "c 01 3", "c +1 3", "d 1 3", "c 0 0", "c 4096 0", "c 1 1048576", "c 1 3 5"]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn outside_a_namespace_the_attribute_means_nothing_and_is_not_kept() {
        let mut xattrs = vec![(PLACEHOLDER.as_bytes().to_vec(), b"c 1 3".to_vec())];
        assert_eq!(take(&mut xattrs, 0), None);
        assert!(xattrs.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(major in 0u32..4096, minor in 0u32..1 << 20, block: bool) {
            let device = if block { Type::BlockDevice { major, minor } } else { Type::CharDevice { major, minor } };
            if let Some(text) = value(device) {
                prop_assert_eq!(parse(text.as_bytes()), Some(device));
            }
        }
    }
}
