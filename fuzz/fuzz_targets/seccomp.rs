//! See `appc_container::fuzzing::seccomp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| appc_container::fuzzing::seccomp(text));
