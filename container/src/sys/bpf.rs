//! `bpf(2)`, as far as device programs on cgroups need it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// include/uapi/linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, size or operation.
    pub code: u8,
    registers: u8,
    /// Of a jump or of a memory access.
    pub offset: i16,
    /// The immediate value.
    pub value: i32,
}

impl Instruction {
    /// An instruction on registers `dst` and `src` (0 to 10).
    pub fn new(code: u8, dst: u8, src: u8, offset: i16, value: i32) -> Instruction {
        // Two bit fields of four, the first in the low bits on a little-endian machine.
        let (low, high) = if cfg!(target_endian = "little") { (dst, src) } else { (src, dst) };
        Instruction { code, registers: low | high << 4, offset, value }
    }

    /// The registers, destination first.
    pub fn registers(&self) -> (u8, u8) {
        let (low, high) = (self.registers & 15, self.registers >> 4);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` must have.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` must have.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Has the kernel check `program` and compile it.
///
/// # Errors
/// `EPERM` without CAP_BPF or CAP_SYS_ADMIN, `EACCES` or `EINVAL` when the verifier refuses it, `E2BIG` when it is too long.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let attr = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &attr)?;
    // SAFETY: a successful BPF_PROG_LOAD returns a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts `program` on the cgroup directory `cgroup`, beside any that are there. It stays when `program` is closed.
///
/// # Errors
/// `EPERM` without the right to, or where a program that suffers none beside it is already attached.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let raw = |fd: BorrowedFd<'_>| fd.as_fd().as_raw_fd().cast_unsigned();
    let (target, program) = (raw(cgroup), raw(program));
    bpf(BPF_PROG_ATTACH, &Attach { target, program, kind: BPF_CGROUP_DEVICE, flags: BPF_F_ALLOW_MULTI }).map(drop)
}

fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<libc::c_int> {
    // SAFETY: both commands read `size_of::<T>()` bytes of `attr` and take the rest of the union as zero; the
    // addresses in it are of slices and literals that outlive the call, and the kernel writes to none of them.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as libc::c_int) }
}
