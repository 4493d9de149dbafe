//! The last two calls of a container's first process.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The strings as exec wants them, while they live.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Replaces this program by the one behind a descriptor. Returns only when that failed.
pub fn execute(program: impl AsFd, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    let program = program.as_fd().as_raw_fd();
    // SAFETY: the path is an empty C string, both arrays end with a null pointer, and their strings outlive the call.
    unsafe {
        let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        libc::syscall(libc::SYS_execveat, program, path, args.as_ptr(), env.as_ptr(), flags);
    }
    io::Error::last_os_error()
}

/// Replaces this program. Returns only when that failed.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer, and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on to be closed by the next exec, whoever opened it.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on. For a process that is about to live on without what it inherited.
///
/// The caller must not use a descriptor above `first` afterwards, nor drop its owner expecting success.
pub fn close_from(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

/// Closes every descriptor from `first` on but these, with the same caution.
pub fn close_all_but(first: u32, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).filter(|&fd| fd >= first).collect();
    keep.sort_unstable();
    let mut start = first;
    for fd in keep {
        if fd > start {
            close_between(start, fd - 1, 0)?;
        }
        start = fd + 1;
    }
    close_range(start, 0)
}

fn close_range(first: u32, flags: u32) -> io::Result<()> {
    close_between(first, u32::MAX, flags)
}

fn close_between(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: no memory is involved; what closing means for owners is the callers' business, as said above.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the effective user may execute the file behind a descriptor (also `O_PATH`).
///
/// `faccessat2(2)` itself: the wrappers of libraries do without the flag for descriptors, for older kernels' sake.
pub fn may_execute(file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty C string, and the descriptor is open.
    match unsafe { libc::syscall(libc::SYS_faccessat2, file.as_raw_fd(), c"".as_ptr(), libc::X_OK, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
