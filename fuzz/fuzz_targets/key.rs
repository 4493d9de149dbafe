//! See `appc_image::fuzzing::key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| appc_image::fuzzing::key(bytes));
