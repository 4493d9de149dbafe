//! Keys of the kernel's key retention service.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;

/// What a new session keyring's possessor and owner may do (keyrings(7)), and the owner's searching on top: by it
/// processes that join the container find the keyring.
const PERMISSIONS: u32 = 0x3f13_0000 | 0x0008_0000;

/// Gives this process a session keyring of its own, called `name`. A kernel without keyrings has none to separate.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: the name is a C string that outlives the call.
    let key = match unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) } {
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENOSYS) => return Ok(()),
            e => return Err(e),
        },
        key => key,
    };
    // SAFETY: no memory is involved.
    match unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key, PERMISSIONS) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
