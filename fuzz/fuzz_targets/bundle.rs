//! See `appc_image::fuzzing::bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| appc_image::fuzzing::bundle(bytes));
