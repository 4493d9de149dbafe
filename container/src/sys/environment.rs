//! The memory that holds the environment of this process.
#![allow(unsafe_code)]

use std::io;

use libc::{c_char, c_void};

unsafe extern "C" {
    /// environ(7)
    static environ: *const *mut c_char;
}

/// The strings of the environment with their lengths.
fn strings() -> Vec<(*mut c_char, usize)> {
    let mut found = Vec::new();
    // SAFETY: null, or an array of C strings with a null pointer at its end.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            found.push((*next, libc::strlen(*next)));
            next = next.add(1);
        }
    }
    found
}

/// Overwrites the environment with zero bytes.
///
/// A child that is a copy of its caller has its caller's secrets, and processes of a container that may trace others can read
/// them in `/proc/PID/environ`. The calling process must have one thread; it finds empty strings afterwards.
pub(crate) fn forget() {
    for (string, length) in strings() {
        // SAFETY: the kernel puts the strings on the stack, which is writable, and no other thread reads them.
        unsafe { std::ptr::write_bytes(string, 0, length) };
    }
}

/// Runs `clone`, whose child has no environment at any time. For children that processes of a container can see from
/// their first moment on.
///
/// The calling process must have one thread.
pub(crate) fn hidden_from_child<T>(clone: impl FnOnce() -> T) -> io::Result<T> {
    let strings = strings();
    let kept = Kept::new(strings.iter().map(|(_, length)| length).sum())?;
    let mut at = kept.0;
    for (string, length) in &strings {
        // SAFETY: the mapping is as long as all strings together.
        unsafe {
            std::ptr::copy_nonoverlapping(*string, at, *length);
            at = at.add(*length);
        }
    }
    forget();
    let cloned = clone();
    at = kept.0;
    for (string, length) in &strings {
        // SAFETY: as above, the other way.
        unsafe {
            std::ptr::copy_nonoverlapping(at, *string, *length);
            at = at.add(*length);
        }
    }
    Ok(cloned)
}

/// Memory that children do not have.
struct Kept(*mut c_char, usize);

impl Kept {
    fn new(length: usize) -> io::Result<Kept> {
        // None of nothing can be mapped.
        let length = length.max(1);
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at no address in particular.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let kept = Kept(start.cast(), length);
        // SAFETY: this is that mapping.
        match unsafe { libc::madvise(start, length, libc::MADV_DONTFORK) } {
            0 => Ok(kept),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing points into it any more.
        unsafe { libc::munmap(self.0.cast::<c_void>(), self.1) };
    }
}
