//! See `appc_image::fuzzing::auth_d`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| appc_image::fuzzing::auth_d(bytes));
