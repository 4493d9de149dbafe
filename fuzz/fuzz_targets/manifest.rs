//! See `appc_image::fuzzing::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| appc_image::fuzzing::manifest(bytes));
