//! Filters, run by an interpreter.

use serde_json::{Value, json};

use super::assemble::is_valid;
use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0000 | 38;
const KILL: u32 = 0;

fn compile(profile: Value) -> Result<Filter> {
    Filter::compile(&serde_json::from_value(profile).expect("a profile"))
}

fn filter(profile: Value) -> Filter {
    let filter = compile(profile).unwrap();
    assert!(is_valid(filter.program()));
    filter
}

/// `struct seccomp_data`.
pub(super) fn data(arch: u32, number: u32, args: [u64; 6]) -> [u8; 64] {
    let mut data = [0; 64];
    data[..4].copy_from_slice(&number.to_ne_bytes());
    data[4..8].copy_from_slice(&arch.to_ne_bytes());
    for (place, arg) in data[16..].chunks_mut(8).zip(args) {
        place.copy_from_slice(&arg.to_ne_bytes());
    }
    data
}

/// What the kernel would do.
pub(super) fn run(program: &[Instruction], data: &[u8; 64]) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, yes, no, value } = program[at];
        at += 1;
        let jump = |condition| usize::from(if condition { yes } else { no });
        match code {
            0x20 => accumulator = u32::from_ne_bytes(data[value as usize..][..4].try_into().unwrap()),
            0x54 => accumulator &= value,
            0x05 => at += value as usize,
            0x15 => at += jump(accumulator == value),
            0x25 => at += jump(accumulator > value),
            0x35 => at += jump(accumulator >= value),
            0x06 => return value,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn verdict(filter: &Filter, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    run(filter.program(), &data(arch, number, args))
}

fn of(filter: &Filter, number: u32, args: &[u64]) -> u32 {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    verdict(filter, X86_64, number, six)
}

#[test]
fn an_empty_profile_is_its_default() {
    let filter = filter(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    assert_eq!(of(&filter, 0, &[]), ALLOW);
    assert_eq!(of(&filter, 5000, &[]), ALLOW);
    assert_eq!(of(&filter, u32::MAX, &[]), ALLOW);
    // Neither x32 nor i386 are part of it.
    assert_eq!(of(&filter, 0x4000_0001, &[]), KILL);
    assert_eq!(verdict(&filter, I386, 0, [0; 6]), KILL);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_are_told_apart_by_architecture() {
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": ["read", "execve", "openat2", "nonesuch"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100},
        ],
    }));
    assert_eq!(filter.warnings(), ["unknown seccomp syscall \"nonesuch\" ignored"]);
    for (arch, number, wanted) in [
        (X86_64, 0, ALLOW),
        (X86_64, 1, EPERM),
        (X86_64, 59, ALLOW),
        (X86_64, 83, 0x0005_0000 | 100),
        (X86_64, 437, ALLOW),
        (X86_64, 438, ENOSYS),
        (X86_64, 0x3fff_ffff, ENOSYS),
        (X86_64, 0x4000_0000, ALLOW),
        (X86_64, 0x4000_0000 + 59, EPERM),
        (X86_64, 0x4000_0000 + 520, ALLOW),
        (X86_64, 0x4000_0000 + 521, ENOSYS),
        // What a tracer skips.
        (X86_64, u32::MAX, EPERM),
        (I386, 3, ALLOW),
        (I386, 0, EPERM),
        (I386, 39, 0x0005_0000 | 100),
        (I386, 438, ENOSYS),
        (AARCH64, 63, ALLOW),
        (AARCH64, 0, EPERM),
        (0x8000_0016, 3, KILL),
    ] {
        assert_eq!(verdict(&filter, arch, number, [0; 6]), wanted, "{arch:#x} {number:#x}");
    }
}

#[test]
fn new_calls_are_hidden_only_where_they_would_be_refused() {
    let last = |default: &str| {
        let profile = json!({"defaultAction": default, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL"}]});
        of(&filter(profile), 4000, &[])
    };
    assert_eq!(last("SCMP_ACT_ERRNO"), ENOSYS);
    assert_eq!(last("SCMP_ACT_KILL_PROCESS"), ENOSYS);
    assert_eq!(last("SCMP_ACT_TRAP"), ENOSYS);
    assert_eq!(last("SCMP_ACT_ALLOW"), ALLOW);
    assert_eq!(last("SCMP_ACT_LOG"), 0x7ffc_0000);
    assert_eq!(last("SCMP_ACT_TRACE"), 0x7ff0_0001);
}

#[test]
fn every_action_is_the_kernels() {
    for (action, errno, value) in [
        ("KILL", None, 0),
        ("KILL_THREAD", None, 0),
        ("KILL_PROCESS", None, 0x8000_0000),
        ("TRAP", None, 0x0003_0000),
        ("ERRNO", None, 0x0005_0001),
        ("ERRNO", Some(0), 0x0005_0000),
        ("ERRNO", Some(4095), 0x0005_0fff),
        ("TRACE", Some(0xffff), 0x7ff0_ffff),
        ("TRACE", None, 0x7ff0_0001),
        ("LOG", None, 0x7ffc_0000),
        ("NOTIFY", None, 0x7fc0_0000),
    ] {
        let filter = filter(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": format!("SCMP_ACT_{action}"), "errnoRet": errno}],
        }));
        assert_eq!(of(&filter, libc::SYS_mkdir as u32, &[]), value, "{action}");
        assert_eq!(filter.notifies(), action == "NOTIFY");
        assert!(ACTIONS.contains(&format!("SCMP_ACT_{action}").as_str()));
    }
}

#[test]
fn arguments_are_compared_as_64_bits() {
    let high = 7 << 32 | 5u64;
    let around = [0, 1, 4, 5, 6, high - 1, high, high + 1, 6 << 32 | 5, 8 << 32, u64::MAX];
    type Compare = fn(u64, u64) -> bool;
    let compare: [(&str, Compare); 6] = [
        ("EQ", |a, b| a == b),
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("GT", |a, b| a > b),
        ("GE", |a, b| a >= b),
    ];
    for (operator, holds) in compare {
        for value in [0, 1, 5, high, u64::MAX] {
            let filter = filter(json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{
                    "names": ["read"], "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 3, "value": value, "op": format!("SCMP_CMP_{operator}")}],
                }],
            }));
            for arg in around {
                let wanted = if holds(arg, value) { EPERM } else { ALLOW };
                assert_eq!(of(&filter, 0, &[0, 0, 0, arg]), wanted, "{arg:#x} {operator} {value:#x}");
            }
        }
    }
}

#[test]
fn masks_select_bits() {
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["read"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 0xff_0000_000fu64, "valueTwo": 0x12_0000_0001u64, "op": "SCMP_CMP_MASKED_EQ"}],
        }],
    }));
    assert_eq!(of(&filter, 0, &[0x12_0000_0001]), EPERM);
    assert_eq!(of(&filter, 0, &[0xff12_ffff_fff1]), EPERM);
    assert_eq!(of(&filter, 0, &[0x12_0000_0000]), ALLOW);
    assert_eq!(of(&filter, 0, &[0x13_0000_0001]), ALLOW);
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_not() {
    let case = |first: u32, second: u32| {
        filter(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{
                "names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [
                    {"index": first, "value": 1, "op": "SCMP_CMP_EQ"},
                    {"index": second, "value": 2, "op": "SCMP_CMP_EQ"},
                ],
            }],
        }))
    };
    let alternatives = case(0, 0);
    assert_eq!(of(&alternatives, 0, &[1]), EPERM);
    assert_eq!(of(&alternatives, 0, &[2]), EPERM);
    assert_eq!(of(&alternatives, 0, &[3]), ALLOW);
    let together = case(0, 1);
    assert_eq!(of(&together, 0, &[1, 2]), EPERM);
    assert_eq!(of(&together, 0, &[1, 1]), ALLOW);
    assert_eq!(of(&together, 0, &[2, 2]), ALLOW);
}

#[test]
fn two_thousand_rules_fit() {
    let rule = |i: u32| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 3 * i, "op": "SCMP_CMP_EQ"}]});
    let rules: Vec<Value> = (0..2000).map(rule).collect();
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }));
    for i in 0..6100 {
        let wanted = if i % 3 == 0 && i < 6000 { ALLOW } else { EPERM };
        assert_eq!(of(&filter, libc::SYS_ioctl as u32, &[0, i]), wanted, "{i}");
    }
    assert!(filter.program().len() < 3200, "{}", filter.program().len());
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    let names = |n: usize| -> Vec<Value> {
        let mask = |i: usize| json!({"index": 0, "value": i + 1, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"});
        (0..n).map(|i| json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [mask(i)]})).collect()
    };
    for (profile, field, words) in [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "defaultAction", "cannot be used as default action"),
        (
            rule(json!({"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"})),
            "syscalls[0].names[1]",
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (rule(json!({"names": [""], "action": "SCMP_ACT_KILL"})), "syscalls[0].names[0]", "empty string"),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
            "syscalls[0].errnoRet",
            "4095",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}),
            ),
            "syscalls[0].args[0].index",
            "arguments 0 to 5",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PARISC"]}),
            "architectures[0]",
            "is not supported",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_S390X"]}),
            "architectures[1]",
            "byte order",
        ),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": names(5000)}), "", "the kernel takes 4096"),
    ] {
        let error = compile(profile).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("linux.seccomp{}{field}: ", if field.is_empty() { "" } else { "." })),
            "{error}"
        );
        assert!(error.contains(words), "{error}");
    }
    let unheard =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    let error = Seccomp::new(&serde_json::from_value(unheard).unwrap(), None).unwrap_err().to_string();
    assert!(error.contains("seccomp listenerPath is not set"), "{error}");
}

#[test]
fn flags_are_the_kernels() {
    let flags = |flags: Value| filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).flags();
    assert_eq!(flags(Value::Null), sys::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"])), sys::SECCOMP_FILTER_FLAG_LOG);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), 0);
    assert_eq!(supported_flags(), KNOWN_FLAGS, "of this kernel");
    assert!(ARCHITECTURES.is_sorted() && OPERATORS.is_sorted() && ACTIONS.is_sorted());
}

/// What engines give an ordinary container: hundreds of names, a few conditions.
fn engines_default() -> LinuxSeccomp {
    serde_json::from_str(include_str!("../../tests/seccomp/docker.json")).unwrap()
}

#[test]
fn the_default_of_engines_is_a_short_program() {
    let filter = Filter::compile(&engines_default()).unwrap();
    assert!(is_valid(filter.program()));
    let length = filter.program().len();
    // libseccomp makes more than a thousand of it: one for each call.
    assert!(length < 450, "{length}");
}
