//! See `appc_container::fuzzing::mount_options`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| appc_container::fuzzing::mount_options(text));
