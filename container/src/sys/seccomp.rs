//! `seccomp(2)`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

// include/uapi/linux/seccomp.h
const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
/// Log what is not allowed.
pub const SECCOMP_FILTER_FLAG_LOG: u32 = 1 << 1;
/// Leave speculative store bypass as it is.
pub const SECCOMP_FILTER_FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// Return a descriptor that notifications come from.
pub const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 1 << 3;
/// Only fatal signals interrupt who waits for the answer to a notification that was received.
pub const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// `struct sock_filter`: an instruction of the classic packet filter machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// Class, size or operation.
    pub code: u16,
    /// How many instructions to skip when the comparison holds.
    pub yes: u8,
    /// And when it does not.
    pub no: u8,
    /// The operand.
    pub value: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Puts a filter on the calling thread, for ever. With the flag for a listener that is returned.
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN unless the thread has no_new_privs, `EINVAL` for a program or flags that the kernel does
/// not take, `EBUSY` for a second listener.
pub fn load(program: &[Instruction], flags: u32) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = Program { length, instructions: program.as_ptr() };
    // SAFETY: the kernel reads `length` instructions from the slice, which outlives the call, and writes nothing.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match answer {
        0 if flags & SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 => Ok(None),
        // SAFETY: with that flag a success is a new descriptor, which nobody else owns.
        fd if fd >= 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the running kernel knows these flags.
pub fn knows(flags: u32) -> bool {
    let none: *const Program = std::ptr::null();
    // SAFETY: the null pointer is never followed: flags are looked at first, and then copying from it fails.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, none) };
    answer < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
