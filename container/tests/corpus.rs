//! Reads the texts that the fuzz targets start from, and those that once broke something, without a fuzzer.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::Path;

use appc_container::fuzzing::TARGETS;

#[test]
fn every_seed_is_survived() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (name, target) in TARGETS {
        let mut count = 0;
        for entry in std::fs::read_dir(seeds.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read(&path).unwrap();
            let survived = std::panic::catch_unwind(|| target(&text));
            assert!(survived.is_ok(), "{} breaks {name}", path.display());
            // Cut off at every tenth of its length, and with a bit turned over.
            for tenth in 1..10 {
                target(&text[..text.len() * tenth / 10]);
                let mut turned = text.clone();
                if let Some(byte) = turned.get_mut(text.len() * tenth / 10) {
                    *byte ^= 1 << (tenth % 8);
                }
                target(&turned);
            }
            count += 1;
        }
        assert!(count > 0, "no seeds for {name}");
    }
}
