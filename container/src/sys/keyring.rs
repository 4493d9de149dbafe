//! Keys of the kernel's key retention service.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;

/// Gives this process a session keyring of its own, called `name`. A kernel without keyrings has none to separate.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: the name is a C string that outlives the call.
    match unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) } {
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            e => Err(e),
        },
        _ => Ok(()),
    }
}
