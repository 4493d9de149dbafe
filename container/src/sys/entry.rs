//! The first instructions of `rkt-oci`, which [`crate::protect`] it before its C library is there.
//!
//! A program that finds out in `main` that it has to be executed again has paid for its start twice, which is a tenth of
//! the time of a container that does nothing: for relocations, and for asking the processor what it can, of which a
//! hypervisor takes microseconds for each question. These instructions ask the kernel whether the executable can be
//! written, and execute a read-only mount of it. Whatever fails is left to [`crate::protect::protect`], which also knows
//! other ways; so are other processors. `build.rs` makes this the entry of the program.
#![allow(unsafe_code)]

use std::arch::global_asm;

/// Where `struct statfs` of the kernel (asm-generic/statfs.h) has its flags, after ten fields of eight bytes.
const F_FLAGS: usize = 80;

// SAFETY: nothing of Rust runs yet. Memory is written only below the kernel's stack pointer, in 128 bytes taken from it,
// which hold a `struct statfs` (120 bytes) or a `struct mount_attr` (32); `_start` finds the stack as it was.
global_asm!(
    ".pushsection .text.appc_protected_entry, \"ax\", @progbits",
    ".globl appc_protected_entry",
    ".type appc_protected_entry, @function",
    "appc_protected_entry:",
    // The stack is the kernel's (argc, argv, environment), rdx a dynamic linker's; _start is to find both as they are.
    "mov r12, rsp",
    "mov r13, rdx",
    "sub rsp, 128",
    // statfs(OWN): is it read-only already?
    "lea rdi, [rip + 2f]",
    "mov rsi, rsp",
    "mov eax, {statfs}",
    "syscall",
    "test eax, eax",
    "jnz 9f",
    "test byte ptr [rsp + {f_flags}], {read_only}",
    "jnz 9f",
    // open_tree(AT_FDCWD, OWN, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    "mov edi, {cwd}",
    "lea rsi, [rip + 2f]",
    "mov edx, {clone}",
    "mov eax, {open_tree}",
    "syscall",
    "test eax, eax",
    "js 9f",
    "mov ebx, eax",
    // mount_setattr(mount, "", AT_EMPTY_PATH, { attr_set: MOUNT_ATTR_RDONLY })
    "mov qword ptr [rsp], {read_only}",
    "mov qword ptr [rsp + 8], 0",
    "mov qword ptr [rsp + 16], 0",
    "mov qword ptr [rsp + 24], 0",
    "mov edi, ebx",
    "lea rsi, [rip + 3f]",
    "mov edx, {empty_path}",
    "mov r10, rsp",
    "mov r8d, 32",
    "mov eax, {mount_setattr}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    // fstatfs(mount): what is asked after the execve, or it would be executed for ever.
    "mov edi, ebx",
    "mov rsi, rsp",
    "mov eax, {fstatfs}",
    "syscall",
    "test eax, eax",
    "jnz 8f",
    "test byte ptr [rsp + {f_flags}], {read_only}",
    "jz 8f",
    // execveat(mount, "", argv, environment, AT_EMPTY_PATH)
    "mov edi, ebx",
    "lea rsi, [rip + 3f]",
    "lea rdx, [r12 + 8]",
    "mov rax, [r12]",
    "lea r10, [rdx + rax * 8 + 8]",
    "mov r8d, {empty_path}",
    "mov eax, {execveat}",
    "syscall",
    // close(mount)
    "8:",
    "mov edi, ebx",
    "mov eax, {close}",
    "syscall",
    "9:",
    "mov rsp, r12",
    "mov rdx, r13",
    "jmp _start",
    "2: .asciz \"/proc/self/exe\"",
    "3: .byte 0",
    ".size appc_protected_entry, . - appc_protected_entry",
    ".popsection",
    statfs = const libc::SYS_statfs,
    fstatfs = const libc::SYS_fstatfs,
    open_tree = const libc::SYS_open_tree,
    mount_setattr = const libc::SYS_mount_setattr,
    execveat = const libc::SYS_execveat,
    close = const libc::SYS_close,
    cwd = const libc::AT_FDCWD,
    clone = const libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
    empty_path = const libc::AT_EMPTY_PATH,
    f_flags = const F_FLAGS,
    // ST_RDONLY of statfs(2) and MOUNT_ATTR_RDONLY of mount_setattr(2) are the same bit.
    read_only = const libc::ST_RDONLY,
);
