//! Imports that were broken off: the next goes on where they ended.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Mutex;

use appc_image::fetch::http::{Client, Options};
use appc_image::oci::{Descriptor, Platform, Source, read_image};
use appc_image::registry::{Access, Credentials, Registry};
use appc_image::store::StoredImage;
use appc_image::{Error, Quiet};

mod lying;
mod memory;
mod support;
mod tarball;
use memory::Memory;
use support::Fixture;
use tarball::Tar;

const LEN: usize = 6 << 20;

/// What no program compresses.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(LEN).collect()
}

fn image() -> Memory {
    Memory::image(&[1, 2].map(|seed| Tar::default().file(&format!("noise-{seed}"), &noise(seed)).end()), "")
}

/// Its network fails in the middle of the last layer; what is asked of it is noted.
struct Broken {
    memory: Memory,
    fails: bool,
    asked: Mutex<Vec<(String, u64)>>,
}

impl Broken {
    fn new(memory: Memory, fails: bool) -> Broken {
        Broken { memory, fails, asked: Mutex::default() }
    }

    fn last(&self) -> Descriptor {
        read_image(&self.memory, &Platform::host()).unwrap().layers.pop().unwrap().descriptor
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        // The other layer is whole by then, or nearly.
        std::thread::sleep(std::time::Duration::from_millis(500));
        Err(Error::Fetch { url: "x".into(), why: "the cable is cut".into(), again: None }.into())
    }
}

impl Source for Broken {
    fn top(&self) -> Result<Descriptor, Error> {
        self.memory.top()
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>, Error> {
        self.open_at(descriptor, 0)
    }

    fn open_at(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>, Error> {
        self.asked.lock().unwrap().push((descriptor.digest.to_string(), offset));
        let content = &self.memory.blobs[&descriptor.digest][usize::try_from(offset).unwrap()..];
        match self.fails && descriptor.size > 1 << 20 && descriptor.digest == self.last().digest {
            true => Ok(Box::new(content[..LEN / 2].chain(Failing))),
            false => Ok(Box::new(content)),
        }
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

fn import(f: &Fixture, source: &dyn Source) -> Result<StoredImage, Error> {
    f.store.import_oci(source, &Platform::host(), "oci:x:1", &Quiet)
}

/// Where a failed import's blobs lie.
fn left(f: &Fixture) -> PathBuf {
    let mut entries: Vec<_> = fs::read_dir(f.data().join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.pop().unwrap()
}

#[test]
fn what_has_come_is_not_fetched_again() {
    let f = Fixture::new();
    let broken = Broken::new(image(), true);
    let error = import(&f, &broken).unwrap_err().to_string();
    assert!(error.contains("the cable is cut") && f.store.list().unwrap().is_empty(), "{error}");
    assert!(!left(&f).join("store/trees").exists());

    // Again, and again.
    import(&f, &Broken::new(image(), true)).unwrap_err();
    let whole = Broken::new(image(), false);
    let stored = import(&f, &whole).unwrap();
    let asked = whole.asked.lock().unwrap();
    let layers: Vec<_> = asked.iter().filter(|(digest, _)| !small(&whole, digest)).collect();
    assert_eq!(layers.len(), 1, "the other was whole: {layers:?}");
    assert!(layers[0].0 == whole.last().digest.to_string() && layers[0].1 > (LEN / 2) as u64, "{layers:?}");
    assert_eq!(f.store.verify(&stored.id, &Quiet).unwrap().faults, []);
    f.store.gc(&[]).unwrap();
    assert_eq!(fs::read_dir(f.data().join("tmp")).unwrap().count(), 0);
}

fn small(source: &Broken, digest: &str) -> bool {
    source.memory.blobs[&digest.parse().unwrap()].len() < 1 << 20
}

#[test]
fn what_is_left_and_wrong_is_found_out_and_gone() {
    let f = Fixture::new();
    import(&f, &Broken::new(image(), true)).unwrap_err();
    let blobs = left(&f).join("store/blobs/sha256");
    let partial = blobs.join(Broken::new(image(), false).last().digest.hex()).with_extension("partial");
    let len = fs::metadata(&partial).unwrap().len();
    fs::write(&partial, vec![0; usize::try_from(len).unwrap()]).unwrap();
    import(&f, &Broken::new(image(), false)).unwrap_err();
    let stored = import(&f, &Broken::new(image(), false)).unwrap();
    assert_eq!(f.store.verify(&stored.id, &Quiet).unwrap().faults, []);
}

#[test]
fn registries_are_asked_for_the_rest() {
    let f = Fixture::new();
    let memory = image();
    let last = Broken::new(image(), false).last();
    let (server, held) = lying::registry::start(lying::registry::Faults::default());
    {
        let mut held = held.lock().unwrap();
        let top = memory.top().unwrap();
        held.manifests.insert("1".into(), (top.media_type.clone(), memory.blobs[&top.digest].clone()));
        held.blobs = memory.blobs.iter().map(|(digest, bytes)| (digest.to_string(), bytes.clone())).collect();
    }
    import(&f, &Broken::new(image(), true)).unwrap_err();
    let client = Client::new(Options { insecure_http: true, ..Options::default() }).unwrap();
    let name = format!("{}/x:1", server.address).parse().unwrap();
    let registry = Registry::new(client.into(), name, Access::Pull, Credentials::none().into());
    let stored = import(&f, &registry).unwrap();
    assert_eq!(f.store.verify(&stored.id, &Quiet).unwrap().faults, []);
    let of_last = |asked: &lying::Asked| asked.path.ends_with(&last.digest.to_string());
    let asked = server.asked.lock().unwrap();
    let ranges: Vec<_> = asked.iter().filter(|asked| of_last(asked)).map(lying::Asked::from).collect();
    assert!(ranges.len() == 1 && ranges[0] > Some(LEN / 4), "{ranges:?}");
}
