//! See `appc_image::fuzzing::cosign`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| appc_image::fuzzing::cosign(bytes));
