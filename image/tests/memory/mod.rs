//! OCI images that lie nowhere.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;

use appc_image::Error;
use appc_image::oci::{Descriptor, Digest, Manifest, Platform, Source, media_type};
use serde_json::json;

/// Blobs in memory, and how often each was opened.
#[derive(Default)]
pub struct Memory {
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub top: Option<Descriptor>,
    opened: Mutex<BTreeMap<Digest, usize>>,
}

impl Memory {
    pub fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.blobs.insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// An image of these tars, each compressed unless `plain`.
    pub fn image(layers: &[Vec<u8>], note: &str) -> Memory {
        let mut memory = Memory::default();
        let diff_ids: Vec<Digest> = layers.iter().map(|tar| Digest::of(tar)).collect();
        let layers = layers.iter().map(|tar| memory.add(media_type::LAYER_GZIP, gzip(tar))).collect();
        let config = json!({
            "architecture": Platform::host().architecture, "os": "linux",
            "config": {"Cmd": ["/bin/app"], "Labels": {"note": note}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = memory.add(media_type::CONFIG, config.to_string().into_bytes());
        let manifest = serde_json::to_vec(&Manifest::new(config, layers)).unwrap();
        memory.top = Some(memory.add(media_type::MANIFEST, manifest));
        memory
    }

    pub fn opened(&self) -> usize {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap());
        opened.values().sum()
    }
}

impl Source for Memory {
    fn top(&self) -> Result<Descriptor, Error> {
        Ok(self.top.clone().unwrap())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>, Error> {
        *self.opened.lock().unwrap().entry(descriptor.digest.clone()).or_default() += 1;
        Ok(Box::new(self.blobs[&descriptor.digest].as_slice()))
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut out, bytes).unwrap();
    out.finish().unwrap()
}
