//! The rules, the program made of them and the kernel's way of reading version 1 exceptions must all say the same.

use proptest::prelude::*;

use super::*;
use crate::sys::bpf::Instruction;

/// A request: kind, major, minor, access bits.
type Request = (Kind, u32, u32, u8);

/// What the rules mean: for each access the last rule that speaks about it decides.
fn meant(rules: &[Rule], (kind, major, minor, access): Request) -> bool {
    [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
        let device = Rule { allow: true, kind, major: Some(major), minor: Some(minor), access: bit, index: None };
        rules.iter().rev().find(|r| r.access & bit != 0 && r.covers(&device)).is_some_and(|r| r.allow)
    })
}

/// security/device_cgroup.c: with a default of « deny » one exception must have all of the request, with
/// « allow » none may have any of it.
fn version_1(state: &super::v1::State, (kind, major, minor, access): Request) -> bool {
    let device = Rule { allow: true, kind, major: Some(major), minor: Some(minor), access, index: None };
    let mut about = state.exceptions.iter().filter(|e| e.covers(&device));
    match state.allow {
        true => !about.any(|e| e.access & access != 0),
        false => about.any(|e| access & !e.access == 0),
    }
}

/// Runs a program as the kernel would.
fn run(program: &[Instruction], (kind, major, minor, access): Request) -> bool {
    let kind = if kind == Kind::Block { 1 } else { 2 };
    let context = [u32::from(access) << 16 | kind, major, minor];
    let mut registers = [0_u64; 11];
    let mut at = 0;
    loop {
        let Instruction { code, offset, value, .. } = program[at];
        let (dst, src) = program[at].registers();
        let (dst, src, imm) = (usize::from(dst), usize::from(src), i64::from(value) as u64);
        at += 1;
        match code {
            0x61 => registers[dst] = u64::from(context[offset as usize / 4]),
            0xb7 => registers[dst] = imm,
            0xbf => registers[dst] = registers[src],
            0x57 => registers[dst] &= imm,
            0x77 => registers[dst] >>= imm,
            0x56 if registers[dst] as u32 != value as u32 => at += offset as usize,
            0x16 if registers[dst] as u32 == value as u32 => at += offset as usize,
            0x56 | 0x16 => {}
            0x95 => return registers[0] == 1,
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

fn rule() -> impl Strategy<Value = Vec<Rule>> {
    let number = || prop_oneof![2 => Just(None), 3 => (0_u32..3).prop_map(Some), 1 => Just(Some(u32::MAX))];
    let kinds = prop_oneof![Just(vec![Kind::Block]), Just(vec![Kind::Char]), Just(vec![Kind::Block, Kind::Char])];
    (any::<bool>(), kinds, number(), number(), 1_u8..8).prop_map(|(allow, kinds, major, minor, access)| {
        kinds.into_iter().map(|kind| Rule { allow, kind, major, minor, access, index: Some(0) }).collect()
    })
}

fn requests() -> impl Iterator<Item = Request> {
    let numbers = [0, 1, 2, 7, u32::MAX];
    let devices = numbers.into_iter().flat_map(move |major| numbers.into_iter().map(move |minor| (major, minor)));
    devices.flat_map(|(major, minor)| {
        let kinds = [Kind::Block, Kind::Char].into_iter();
        kinds.flat_map(move |kind| (1..8).map(move |access| (kind, major, minor, access)))
    })
}

proptest! {
    #[test]
    fn the_program_says_what_the_rules_mean(rules in prop::collection::vec(rule(), 0..8)) {
        let rules = rules.concat();
        let program = bpf::compile(&rules);
        for request in requests() {
            prop_assert_eq!(run(&program, request), meant(&rules, request), "{:?}", request);
        }
        if bpf::program(&rules).is_none() {
            prop_assert!(requests().all(|request| meant(&rules, request)));
        }
    }

    #[test]
    fn version_1_never_allows_more_than_the_rules(rules in prop::collection::vec(rule(), 0..8)) {
        let rules = rules.concat();
        // What it cannot express is refused.
        let Ok(state) = v1::reduce(&rules) else { return Ok(()) };
        for request in requests() {
            let (kernel, meant) = (version_1(&state, request), meant(&rules, request));
            prop_assert!(meant || !kernel, "{:?}", request);
            // One access at a time there is no difference; several may lie in exceptions that overlap only here.
            prop_assert!(kernel == meant || request.3.count_ones() > 1, "{:?}", request);
        }
    }
}

#[test]
fn the_usual_rules_become_the_usual_lines() {
    let mut deny = LinuxDeviceCgroup::default();
    deny.set_access(Some("rwm".to_owned()));
    let writes = v1::writes(&rules(&[deny.clone()]).unwrap()).unwrap();
    let lines: Vec<_> = writes.iter().map(|w| format!("{} {}", w.file, w.value)).collect();
    assert_eq!(
        lines[..4],
        ["devices.deny a", "devices.allow c *:* m", "devices.allow b *:* m", "devices.allow c 1:3 rwm"]
    );
    assert_eq!(lines.len(), 1 + DEFAULT.len());
    for nothing_said in [None, Some(String::new())] {
        let mut same = deny.clone();
        same.set_access(nothing_said);
        assert!(rules(&[same]).is_err(), "which runc refuses, too");
    }
    deny.set_allow(true);
    let writes = v1::writes(&rules(&[deny.clone()]).unwrap()).unwrap();
    assert_eq!(writes.iter().map(|w| format!("{} {}", w.file, w.value)).collect::<Vec<_>>(), ["devices.allow a"]);
    assert!(bpf::program(&rules(&[deny]).unwrap()).is_none());
}
