//! See `appc_image::fuzzing::docker_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| appc_image::fuzzing::docker_config(bytes));
