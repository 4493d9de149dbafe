//! Packs and unpacks from the command line, for measuring: `archive write ROOTFS FILE [COMPRESSION [LEVEL]]` and
//! `archive unpack FILE DIR [COPY]`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::fs::File;

use appc_image::Quiet;
use appc_image::archive::{UnpackOptions, WriteOptions, unpack, write};
use appc_rooted::Root;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["write", rootfs, file, rest @ ..] => {
            let mut options = WriteOptions::default();
            if let Some(compression) = rest.first() {
                options.compression = compression.parse()?;
            }
            options.level = rest.get(1).map(|level| level.parse()).transpose()?;
            options.threads = rest.get(2).map(|n| n.parse()).transpose()?.unwrap_or(0);
            let manifest = br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/measured"}"#;
            let written = write(manifest, &Root::open(rootfs)?, File::create(file)?, &options, &Quiet)?;
            println!("{} {} bytes, {} sockets", written.image_id, written.size, written.sockets.len());
        }
        ["unpack", file, dir, rest @ ..] => {
            std::fs::create_dir(dir)?;
            let tee = rest.first().map(File::create).transpose()?;
            let options = UnpackOptions { tee, ..UnpackOptions::default() };
            let unpacked = unpack(File::open(file)?, &Root::open(dir)?, &options, &Quiet)?;
            rustix::fs::syncfs(File::open(dir)?)?;
            println!("{} {} bytes in, {} bytes out", unpacked.image_id, unpacked.size, unpacked.tree_size);
        }
        _ => {
            return Err(
                "usage: archive write ROOTFS FILE [COMPRESSION [LEVEL]] | archive unpack FILE DIR [COPY]".into()
            );
        }
    }
    Ok(())
}
