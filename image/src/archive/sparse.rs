//! The maps of sparse files: the old GNU format and the three that PAX headers brought.

use super::entry::Segment;
use super::header::{self, BLOCK, Header};
use super::pax::{MAX_SEGMENTS, Pax, decimal};
use super::reader::{Reader, Source};
use crate::Result;

/// The map and the real size of a sparse file; `None` for any other.
pub(super) fn read<S: Source>(
    reader: &mut Reader<S>,
    header: &Header,
    pax: &Pax,
) -> Result<Option<(Vec<Segment>, u64)>> {
    let (map, size) = match pax.sparse.version {
        _ if header.kind() == b'S' => old_gnu(reader, header)?,
        (1, 0) => {
            let size = pax.sparse.real_size.ok_or_else(|| reader.refuse_map("its sparse map has no real size"))?;
            (embedded(reader)?, size)
        }
        (0, 0 | 1) => match pax.sparse.real_size {
            None if pax.sparse.numbers.is_empty() => return Ok(None),
            None => return Err(reader.refuse_map("its sparse map has no real size")),
            Some(size) => (pax.sparse.segments().map_err(|rule| reader.refuse_map(&rule))?, size),
        },
        _ => return Err(reader.refuse_map("its sparse format is unknown")),
    };
    if !matches!(header.kind(), b'S' | b'0' | b'\0' | b'7') {
        return Err(reader.refuse_map("it is sparse, but no regular file"));
    }
    reader.checked_map(map, size).map(Some)
}

/// Four segments in the header, 21 in each extension block after it.
fn old_gnu<S: Source>(reader: &mut Reader<S>, header: &Header) -> Result<(Vec<Segment>, u64)> {
    let size = header.number(header::GNU_REAL_SIZE, "real size").map_err(|rule| reader.refuse_map(&rule))?;
    let mut map = Vec::new();
    let mut more = header.0[header::GNU_IS_EXTENDED] != 0;
    segments(&header.0[header::GNU_SPARSE..header::GNU_IS_EXTENDED], &mut map)
        .map_err(|rule| reader.refuse_map(&rule))?;
    while more {
        let block = reader.extension_block()?.0;
        segments(&block[..21 * 24], &mut map).map_err(|rule| reader.refuse_map(&rule))?;
        more = block[21 * 24] != 0;
    }
    Ok((map, size))
}

fn segments(fields: &[u8], map: &mut Vec<Segment>) -> Result<(), String> {
    for field in fields.chunks_exact(24) {
        if field[0] == 0 {
            break;
        }
        let number =
            |field| header::number(field).and_then(|n| u64::try_from(n).ok()).ok_or("its sparse map is malformed");
        let segment = Segment { offset: number(&field[..12])?, len: number(&field[12..])? };
        if map.len() == MAX_SEGMENTS {
            return Err("its sparse map is too long".into());
        }
        map.push(segment);
    }
    Ok(())
}

/// PAX 1.0: decimal lines in whole blocks before the content, first the number of segments.
fn embedded<S: Source>(reader: &mut Reader<S>) -> Result<Vec<Segment>> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut line = Vec::new();
    loop {
        for byte in reader.map_block()? {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            numbers.push(decimal(&line).ok_or_else(|| reader.refuse_map("its sparse map is malformed"))?);
            line.clear();
            if numbers[0] > MAX_SEGMENTS as u64 {
                return Err(reader.refuse_map("its sparse map is too long"));
            }
            if numbers.len() as u64 == 1 + 2 * numbers[0] {
                return Ok(numbers[1..].chunks_exact(2).map(|n| Segment { offset: n[0], len: n[1] }).collect());
            }
        }
        if line.len() > BLOCK {
            return Err(reader.refuse_map("its sparse map is malformed"));
        }
    }
}

/// The map without empty segments, after checking that it is in order and fits the size and what is stored.
pub(super) fn check(mut map: Vec<Segment>, size: u64, stored: u64) -> Result<Vec<Segment>, String> {
    if size > i64::MAX as u64 {
        return Err("its real size is impossibly large".into());
    }
    let (mut end, mut sum) = (0u64, 0u64);
    for Segment { offset, len } in &map {
        if *offset < end {
            return Err("its sparse map is out of order".into());
        }
        end = offset.checked_add(*len).filter(|end| *end <= size).ok_or("its sparse map reaches beyond its size")?;
        sum += len;
    }
    if sum != stored {
        return Err(format!("its sparse map speaks of {sum} bytes, but {stored} are stored"));
    }
    map.retain(|segment| segment.len != 0);
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let map = |pairs: &[(u64, u64)]| {
            pairs.iter().map(|(offset, len)| Segment { offset: *offset, len: *len }).collect::<Vec<_>>()
        };
        assert_eq!(check(map(&[(0, 5), (10, 5), (20, 0)]), 20, 10).unwrap(), map(&[(0, 5), (10, 5)]));
        assert!(check(map(&[(10, 5), (0, 5)]), 20, 10).is_err(), "order");
        assert!(check(map(&[(0, 6), (5, 5)]), 20, 11).is_err(), "overlap");
        assert!(check(map(&[(10, 11)]), 20, 11).is_err(), "beyond the end");
        assert!(check(map(&[(u64::MAX, 2)]), 20, 2).is_err(), "overflow");
        assert!(check(map(&[(0, 5)]), 20, 6).is_err(), "stored differs");
        assert!(check(map(&[]), u64::MAX, 0).is_err(), "impossible size");
        assert!(check(map(&[]), 1 << 40, 0).unwrap().is_empty());
    }
}
