//! Compressed data, ends, and bombs.

use std::io::Write;

use appc_image::Quiet;
use appc_image::archive::Kind;
use appc_rooted::Root;

use crate::check::{Contained, Refused, check, check_one, host};
use crate::tarball::{MANIFEST, Tar};

/// Compresses with a program's library, or not at all.
fn packed(format: &str, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        }
        "bzip2" => {
            let mut encoder = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(&mut out, 0);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        }
        "zstd" => zstd::stream::copy_encode(plain, &mut out, 1).unwrap(),
        _ => out.extend_from_slice(plain),
    }
    out
}

#[test]
fn endings() {
    let good = Tar::image().file("rootfs/f", &b"content\n".repeat(20_000)).end();
    for format in ["none", "gzip", "bzip2", "xz", "zstd"] {
        let whole = packed(format, &good);
        check_one(format, &whole, Contained, host(), Kind::Aci);
        let cuts = [whole.len() - 1, whole.len() - 7, whole.len() / 2, whole.len() / 3 + 1];
        for cut in cuts {
            check_one(format, &whole[..cut], Refused("cut short"), host(), Kind::Aci);
        }
        for garbage in [&b"garbage"[..], b"\x1f\x8bgarbage", &[1; 5000]] {
            let long = [&whole, garbage].concat();
            check_one(format, &long, Refused(""), host(), Kind::Aci);
        }
        let twice = [&whole[..], &whole].concat();
        check_one(format, &twice, Refused("garbage after the end"), host(), Kind::Aci);
        if format != "none" {
            let mut flipped = whole.clone();
            let at = whole.len() - 6;
            flipped[at] ^= 0x10;
            check_one(format, &flipped, Refused(""), host(), Kind::Aci);
            let inner = packed(format, &Tar::image().0);
            check_one(format, &inner, Refused("cut short"), host(), Kind::Aci);
            check_one(format, &packed(format, b""), Refused("cut short"), host(), Kind::Aci);
            check_one(format, &packed(format, &whole), Refused(""), host(), Kind::Aci);
        }
    }
}

#[test]
fn what_was_being_read_is_named_where_compressed_data_ends() {
    let noise: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(n).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let good = Tar::image().file("rootfs/noise", &noise).end();
    for format in ["gzip", "xz", "zstd"] {
        let whole = packed(format, &good);
        check_one(format, &whole[..whole.len() / 3 * 2], Refused("entry \"rootfs/noise\": bad"), host(), Kind::Aci);
    }
}

#[test]
fn what_is_no_archive() {
    check(vec![
        ("empty", Vec::new(), Refused("it is empty")),
        ("text", b"#!/bin/sh\necho hello\n".to_vec(), Refused("it is text, not a tar archive")),
        ("JSON", MANIFEST.repeat(20), Refused("it is text")),
        ("an error page", "<!DOCTYPE html>\n<html>ä".repeat(100).into_bytes(), Refused("it is text")),
        ("short", b"\x7fELF\x02\x01\x01\0".to_vec(), Refused("shorter than one tar header")),
        ("a program", [&b"\x7fELF\x02\x01\x01\0"[..], &[7; 2000]].concat(), Refused("neither tar nor gzip")),
        ("only a magic", vec![0x1f, 0x8b], Refused("")),
    ]);
}

#[test]
fn bombs() {
    // A frame that asks for a window of 2 GiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3][..], &[0; 64]].concat();
    // An xz block whose dictionary is 4 GiB: byte 16 is its size, four bytes of checksum end the block's header.
    let mut dictionary = packed("xz", &Tar::image().end());
    let header = 12..12 + (usize::from(dictionary[12]) + 1) * 4;
    dictionary[16] = 40;
    let crc = libdeflater::crc32(&dictionary[header.start..header.end - 4]).to_le_bytes();
    dictionary[header.end - 4..header.end].copy_from_slice(&crc);
    let mut zeros = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zeros.write_all(&Tar::image().header(b'0', "rootfs/f", 256 << 20, "", |_| {}).0).unwrap();
    for _ in 0..256 {
        zeros.write_all(&vec![0; 1 << 20]).unwrap();
    }
    zeros.write_all(&[0; 1024]).unwrap();
    let zeros = zeros.finish().unwrap();
    check(vec![
        ("zstd window", window, Refused("")),
        ("xz dictionary", dictionary, Refused("emory")),
        ("256 MiB of zeros", zeros, Contained),
    ]);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak: u64 =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
    assert!(peak < 200 << 10, "{peak} kB");
}

#[test]
fn a_member_that_lies_about_its_length() {
    let archive = {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.aci");
        let out = std::fs::File::create(&path).unwrap();
        appc_image::archive::write(MANIFEST, &Root::open(dir.path()).unwrap(), out, &Default::default(), &Quiet)
            .map(drop)
            .ok();
        let empty = tempfile::tempdir().unwrap();
        let out = std::fs::File::create(&path).unwrap();
        appc_image::archive::write(MANIFEST, &Root::open(empty.path()).unwrap(), out, &Default::default(), &Quiet)
            .unwrap();
        std::fs::read(path).unwrap()
    };
    check_one("honest", &archive, Contained, host(), Kind::Aci);
    let len = u32::from_le_bytes(archive[16..20].try_into().unwrap());
    for lie in [len - 1, len + 1, len - 8, 40] {
        let mut archive = archive.clone();
        archive[16..20].copy_from_slice(&lie.to_le_bytes());
        check_one("compressed length", &archive, Refused(""), host(), Kind::Aci);
    }
    for (at, lie) in [(20, 0), (20, 1 << 20), (24, 7)] {
        let mut archive = archive.clone();
        archive[at..at + 4].copy_from_slice(&u32::to_le_bytes(lie));
        check_one("content", &archive, Refused(""), host(), Kind::Aci);
    }
    let mut huge = archive.clone();
    huge[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    // Then the extra field is not believed, and the member is plain gzip.
    check_one("huge", &huge, Contained, host(), Kind::Aci);
}
