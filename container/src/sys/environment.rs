//! The memory that holds the environment of this process.
#![allow(unsafe_code)]

use libc::c_char;

unsafe extern "C" {
    /// environ(7)
    static environ: *const *mut c_char;
}

/// Overwrites the environment with zero bytes.
///
/// A child that is a copy of its caller has its caller's secrets, and processes of a container that may trace others can read
/// them in `/proc/PID/environ`. The calling process must have one thread; it finds empty strings afterwards.
pub(crate) fn forget() {
    // SAFETY: null, or an array of C strings with a null pointer at its end. The kernel puts the strings on the stack,
    // which is writable, and no other thread reads them.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            std::ptr::write_bytes(*next, 0, libc::strlen(*next));
            next = next.add(1);
        }
    }
}
