//! What a header's fields mean, together with the extended header before it.

use super::entry::{Attributes, Time, Type};
use super::header::{self, Header};
use super::pax::Pax;

/// The name that the plain header gives, of both its halves.
pub(super) fn header_name(header: &Header) -> Vec<u8> {
    let (prefix, name) = (header.text(header::PREFIX), header.text(header::NAME));
    if header.is_gnu() || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// What the header makes.
pub(super) fn kind(header: &Header) -> Result<Type, String> {
    // The kernel has 12 and 20 bits for them, and drops the rest silently.
    let device = |field, bits: u32, what| -> Result<u32, String> {
        let number = u32::try_from(header.number(field, what)?).ok().filter(|number: &u32| *number >> bits == 0);
        number.ok_or_else(|| format!("its {what} is too large"))
    };
    let major = || device(header::MAJOR, 12, "major number");
    let numbers = || Ok::<_, String>((major()?, device(header::MINOR, 20, "minor number")?));
    Ok(match header.kind() {
        b'0' | b'\0' | b'7' | b'S' => Type::File,
        b'1' => Type::HardLink,
        b'2' => Type::Symlink,
        b'3' => numbers().map(|(major, minor)| Type::CharDevice { major, minor })?,
        b'4' => numbers().map(|(major, minor)| Type::BlockDevice { major, minor })?,
        b'5' => Type::Directory,
        b'6' => Type::Fifo,
        other => return Err(format!("its type '{}' is unknown", char::from(other).escape_default())),
    })
}

/// The attributes that the headers give together.
pub(super) fn attributes(header: &Header, pax: &Pax) -> Result<Attributes, String> {
    let id = |recorded: Option<u64>, field, what: &str| -> Result<u32, String> {
        let id = recorded.map_or_else(|| header.number(field, what), Ok)?;
        // -1 tells chown(2) to leave the owner as it is.
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| format!("its {what} {id} is too large"))
    };
    let seconds = |field, what| Ok::<_, String>(Time { seconds: header.signed(field, what)?, nanoseconds: 0 });
    let gnu_atime = header.is_gnu() && !header.text(header::GNU_ATIME).is_empty();
    Ok(Attributes {
        mode: (header.number(header::MODE, "mode")? & 0o7777) as u32,
        uid: id(pax.uid, header::UID, "user id")?,
        gid: id(pax.gid, header::GID, "group id")?,
        mtime: pax.mtime.map_or_else(|| seconds(header::MTIME, "time"), Ok)?,
        atime: match pax.atime {
            None if gnu_atime => Some(seconds(header::GNU_ATIME, "access time")?),
            recorded => recorded,
        },
        xattrs: pax.xattrs.clone(),
    })
}
