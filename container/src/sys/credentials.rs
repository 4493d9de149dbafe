//! Users, groups and capabilities of the calling thread.
#![allow(unsafe_code)]

use std::io;

use rustix::process::{Gid, Uid};

/// The three sets that `capset(2)` takes, one bit for each capability number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What is checked.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What an exec may keep.
    pub inheritable: u64,
}

/// Sets the capabilities of this thread.
pub fn set_capabilities(sets: CapabilitySets) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: sets of 64 bits in two halves.
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and data are laid out as version 3 asks and outlive the call.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Real, effective and saved user at once.
pub fn set_all_uids(uid: u32) -> io::Result<()> {
    let uid = Uid::from_raw(uid);
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Real, effective and saved group at once.
pub fn set_all_gids(gid: u32) -> io::Result<()> {
    let gid = Gid::from_raw(gid);
    Ok(rustix::thread::set_thread_res_gid(gid, gid, gid)?)
}

/// The supplementary groups.
pub fn set_groups(gids: &[u32]) -> io::Result<()> {
    let gids: Vec<Gid> = gids.iter().map(|&gid| Gid::from_raw(gid)).collect();
    Ok(rustix::thread::set_thread_groups(&gids)?)
}

/// Takes back what a caller has changed of the way in which users and capabilities belong together. What it has locked
/// stays, and everything without `CAP_SETPCAP`: capabilities(7).
pub fn reset_securebits() -> io::Result<()> {
    // SAFETY: PR_GET_SECUREBITS takes nothing.
    match unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0u64, 0u64, 0u64, 0u64) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(()),
        _ => match prctl(libc::PR_SET_SECUREBITS, 0, 0) {
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => Ok(()),
            done => done,
        },
    }
}

/// Drops a capability from the bounding set; `EINVAL` for one the running kernel does not know.
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability as u64, 0)
}

/// Adds a capability to the ambient set.
pub fn raise_ambient(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability as u64)
}

/// Whether this thread's bounding set has the capability; `EINVAL` for an unknown one.
pub fn in_bounding(capability: u32) -> io::Result<bool> {
    // SAFETY: PR_CAPBSET_READ takes a number only.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability as u64, 0u64, 0u64, 0u64) } {
        -1 => Err(io::Error::last_os_error()),
        set => Ok(set == 1),
    }
}

fn prctl(option: i32, first: u64, second: u64) -> io::Result<()> {
    // SAFETY: the options used here take numbers only.
    match unsafe { libc::prctl(option, first, second, 0u64, 0u64) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
