//! The architectures a filter can speak of.

use oci_spec::runtime::Arch;

use super::syscalls::SYSCALLS;

/// In the table: the architecture does not have that system call.
pub(super) const ABSENT: u16 = u16::MAX;
/// Set in the numbers of x32, which otherwise looks like x86_64 to a filter.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// In the table, arm's private calls are marked; in the kernel they start here.
const ARM_PRIVATE_MARK: u16 = 0x8000;
const ARM_PRIVATE: u32 = 0x000f_0000;

/// What a filter must know of an architecture.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    /// As the runtime specification spells it.
    pub(super) name: &'static str,
    /// `AUDIT_ARCH_*` of linux/audit.h, which the kernel shows to filters.
    pub(super) audit: u32,
    /// Of the table.
    column: usize,
    /// What is added to the table's numbers.
    pub(super) base: u32,
    /// Arguments are 64 bits wide.
    pub(super) wide: bool,
    pub(super) big_endian: bool,
    /// The numbers of `socketcall` and `ipc`, where these stand for other calls.
    pub(super) multiplexed: Option<(u32, u32)>,
}

const fn plain(name: &'static str, audit: u32, column: usize) -> Architecture {
    // AUDIT_ARCH_* says it all: the highest bit is 64 bits, the next little endian.
    let (wide, big_endian) = (audit & 0x8000_0000 != 0, audit & 0x4000_0000 == 0);
    Architecture { name, audit, column, base: 0, wide, big_endian, multiplexed: None }
}

const fn multiplexed(name: &'static str, audit: u32, column: usize) -> Architecture {
    Architecture { multiplexed: Some((102, 117)), ..plain(name, audit, column) }
}

/// The three of mips; the first number of the table is the kernel's `base`.
const fn mips(name: &'static str, audit: u32, base: u32) -> Architecture {
    match base {
        4000 => Architecture { base, multiplexed: Some((4102, 4117)), ..plain(name, audit, 6) },
        5000 => Architecture { base, ..plain(name, audit, 7) },
        _ => Architecture { base, wide: false, ..plain(name, audit, 8) },
    }
}

/// All of them, sorted by name.
pub(super) static ARCHITECTURES: [Architecture; 18] = [
    plain("SCMP_ARCH_AARCH64", 0xc000_00b7, 4),
    plain("SCMP_ARCH_ARM", 0x4000_0028, 3),
    plain("SCMP_ARCH_LOONGARCH64", 0xc000_0102, 5),
    mips("SCMP_ARCH_MIPS", 0x0000_0008, 4000),
    mips("SCMP_ARCH_MIPS64", 0x8000_0008, 5000),
    mips("SCMP_ARCH_MIPS64N32", 0xa000_0008, 6000),
    mips("SCMP_ARCH_MIPSEL", 0x4000_0008, 4000),
    mips("SCMP_ARCH_MIPSEL64", 0xc000_0008, 5000),
    mips("SCMP_ARCH_MIPSEL64N32", 0xe000_0008, 6000),
    multiplexed("SCMP_ARCH_PPC", 0x0000_0014, 9),
    multiplexed("SCMP_ARCH_PPC64", 0x8000_0015, 10),
    multiplexed("SCMP_ARCH_PPC64LE", 0xc000_0015, 10),
    plain("SCMP_ARCH_RISCV64", 0xc000_00f3, 11),
    multiplexed("SCMP_ARCH_S390", 0x0000_0016, 12),
    multiplexed("SCMP_ARCH_S390X", 0x8000_0016, 13),
    Architecture { base: X32_BIT, wide: false, ..plain("SCMP_ARCH_X32", 0xc000_003e, 2) },
    multiplexed("SCMP_ARCH_X86", 0x4000_0003, 0),
    plain("SCMP_ARCH_X86_64", 0xc000_003e, 1),
];

/// Calls that `socketcall` and `ipc` stand for, with the number these know them by; `ipc`'s are marked.
const IPC: u32 = 0x100;
static PARTS: [(&str, u32); 32] = [
    ("accept", 5),
    ("accept4", 18),
    ("bind", 2),
    ("connect", 3),
    ("getpeername", 7),
    ("getsockname", 6),
    ("getsockopt", 15),
    ("listen", 4),
    ("msgctl", IPC | 14),
    ("msgget", IPC | 13),
    ("msgrcv", IPC | 12),
    ("msgsnd", IPC | 11),
    ("recv", 10),
    ("recvfrom", 12),
    ("recvmmsg", 19),
    ("recvmsg", 17),
    ("semctl", IPC | 3),
    ("semget", IPC | 2),
    ("semop", IPC | 1),
    ("semtimedop", IPC | 4),
    ("send", 9),
    ("sendmmsg", 20),
    ("sendmsg", 16),
    ("sendto", 11),
    ("setsockopt", 14),
    ("shmat", IPC | 21),
    ("shmctl", IPC | 24),
    ("shmdt", IPC | 22),
    ("shmget", IPC | 23),
    ("shutdown", 13),
    ("socket", 1),
    ("socketpair", 8),
];

/// Finds the row of the table for a name.
pub(super) fn row(name: &str) -> Option<usize> {
    SYSCALLS.binary_search_by_key(&name, |(name, _)| name).ok()
}

impl Architecture {
    /// The one this program was built for.
    pub(super) fn native() -> &'static Architecture {
        let name = match std::env::consts::ARCH {
            "x86_64" => "SCMP_ARCH_X86_64",
            "x86" => "SCMP_ARCH_X86",
            "aarch64" => "SCMP_ARCH_AARCH64",
            "arm" => "SCMP_ARCH_ARM",
            "riscv64" => "SCMP_ARCH_RISCV64",
            "s390x" => "SCMP_ARCH_S390X",
            "loongarch64" => "SCMP_ARCH_LOONGARCH64",
            "powerpc64" if cfg!(target_endian = "little") => "SCMP_ARCH_PPC64LE",
            "powerpc64" => "SCMP_ARCH_PPC64",
            other => unreachable!("this crate is not built for {other}"),
        };
        Architecture::named(name).unwrap_or(&ARCHITECTURES[0])
    }

    /// The one of the configuration, if filters can be made for it.
    pub(super) fn of(arch: Arch) -> Option<&'static Architecture> {
        match arch {
            Arch::ScmpArchNative => Some(Architecture::native()),
            arch => Architecture::named(&arch.to_string()),
        }
    }

    /// x32, if that is what shares `AUDIT_ARCH_*` with another.
    pub(super) fn x32_of(audit: u32) -> Option<&'static Architecture> {
        Architecture::named("SCMP_ARCH_X32").filter(|x32| x32.audit == audit)
    }

    fn named(name: &str) -> Option<&'static Architecture> {
        ARCHITECTURES.iter().find(|a| a.name == name)
    }

    /// The number of the call in a row of the table.
    pub(super) fn number(&self, row: usize) -> Option<u32> {
        match SYSCALLS[row].1[self.column] {
            ABSENT => None,
            private if private & ARM_PRIVATE_MARK != 0 => Some(ARM_PRIVATE | u32::from(private & !ARM_PRIVATE_MARK)),
            number => Some(self.base + u32::from(number)),
        }
    }

    /// The call that stands for the one in a row of the table among others, and the first argument that means it.
    pub(super) fn stand_in(&self, row: usize) -> Option<(u32, u64)> {
        let (socketcall, ipc) = self.multiplexed?;
        let index = PARTS.binary_search_by_key(&SYSCALLS[row].0, |(name, _)| name).ok()?;
        let part = PARTS[index].1;
        Some((if part & IPC != 0 { ipc } else { socketcall }, u64::from(part & !IPC)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        assert!(SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(PARTS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(ARCHITECTURES.is_sorted_by(|a, b| a.name < b.name));
        for (name, _) in PARTS {
            assert!(row(name).is_some(), "{name}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let number = |arch: &str, name: &str| Architecture::named(arch).unwrap().number(row(name).unwrap());
        assert_eq!(
            number("SCMP_ARCH_X86_64", "execve"),
            Some(libc::SYS_execve as u32).filter(|_| cfg!(target_arch = "x86_64")).or(Some(59))
        );
        assert_eq!(number("SCMP_ARCH_X86", "execve"), Some(11));
        assert_eq!(number("SCMP_ARCH_X32", "execve"), Some(X32_BIT + 520));
        assert_eq!(number("SCMP_ARCH_AARCH64", "execve"), Some(221));
        assert_eq!(number("SCMP_ARCH_MIPS64N32", "read"), Some(6000));
        assert_eq!(number("SCMP_ARCH_ARM", "set_tls"), Some(0x000f_0005));
        assert_eq!(number("SCMP_ARCH_AARCH64", "open"), None);
        let openat2 = ["X86", "X86_64", "AARCH64", "ARM", "RISCV64", "PPC64LE", "S390X", "LOONGARCH64"];
        for arch in openat2 {
            assert_eq!(number(&format!("SCMP_ARCH_{arch}"), "openat2"), Some(437), "{arch}");
        }
    }

    #[test]
    fn socketcall_stands_for_others() {
        let x86 = Architecture::named("SCMP_ARCH_X86").unwrap();
        assert_eq!(x86.stand_in(row("accept4").unwrap()), Some((102, 18)));
        assert_eq!(x86.stand_in(row("shmctl").unwrap()), Some((117, 24)));
        assert_eq!(x86.stand_in(row("read").unwrap()), None);
        assert_eq!(Architecture::named("SCMP_ARCH_ARM").unwrap().stand_in(row("accept4").unwrap()), None);
    }
}
