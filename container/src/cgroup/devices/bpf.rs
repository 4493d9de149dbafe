//! Device rules as a `BPF_PROG_TYPE_CGROUP_DEVICE` program.
//!
//! The kernel runs it for each mknod and open of a device node, with a `struct bpf_cgroup_dev_ctx`:
//! `access << 16 | kind`, major, minor. It goes through the rules from the last to the first and keeps in `r3` what
//! of the access no rule has spoken about yet: a rule that denies any of it ends with 0, one that allows the rest
//! of it ends with 1. What is left at the end was never allowed.

use super::v1::{State, reduce};
use super::{Kind, Rule};
use crate::sys::bpf::Instruction;

/// A program ready for the kernel.
pub(in crate::cgroup) type Program = Vec<Instruction>;

// include/uapi/linux/bpf.h: the kinds as the context gives them; access bits are those of our rules.
const DEVCG_BLOCK: i32 = 1;
const DEVCG_CHAR: i32 = 2;

// Classes, sizes and operations of instructions: Documentation/bpf/standardization/instruction-set.rst
const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const MOV_IMM: u8 = 0xb7; // ALU64 | MOV | K
const MOV_REG: u8 = 0xbf; // ALU64 | MOV | X
const AND_IMM: u8 = 0x57; // ALU64 | AND | K
const RSH_IMM: u8 = 0x77; // ALU64 | RSH | K
const JNE_IMM: u8 = 0x56; // JMP32 | JNE | K
const JEQ_IMM: u8 = 0x16; // JMP32 | JEQ | K
const EXIT: u8 = 0x95;

// Registers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// The program for `rules`; `None` where they allow everything, so that none is needed.
pub(in crate::cgroup) fn program(rules: &[Rule]) -> Option<Program> {
    let everything = State { allow: true, exceptions: Vec::new() };
    let needless = reduce(rules).is_ok_and(|state| state == everything);
    (!needless).then(|| compile(rules))
}

/// The program for `rules`, whatever they are.
pub(super) fn compile(rules: &[Rule]) -> Program {
    let op = |code, dst, src, offset, value| Instruction::new(code, dst, src, offset, value);
    let mut program = vec![
        op(LOAD_WORD, KIND, CONTEXT, 0, 0),
        op(MOV_REG, ACCESS, KIND, 0, 0),
        op(AND_IMM, KIND, 0, 0, 0xffff),
        op(RSH_IMM, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let kind = if rule.kind == Kind::Block { DEVCG_BLOCK } else { DEVCG_CHAR };
        let mut tests = vec![(KIND, kind)];
        tests.extend(rule.major.map(|n| (MAJOR, n.cast_signed())));
        tests.extend(rule.minor.map(|n| (MINOR, n.cast_signed())));
        let access = i32::from(rule.access);
        let verdict = if rule.allow {
            vec![
                op(AND_IMM, ACCESS, 0, 0, !access),
                op(JNE_IMM, ACCESS, 0, 2, 0),
                op(MOV_IMM, RESULT, 0, 0, 1),
                op(EXIT, 0, 0, 0, 0),
            ]
        } else {
            vec![
                op(MOV_REG, SCRATCH, ACCESS, 0, 0),
                op(AND_IMM, SCRATCH, 0, 0, access),
                op(JEQ_IMM, SCRATCH, 0, 2, 0),
                op(MOV_IMM, RESULT, 0, 0, 0),
                op(EXIT, 0, 0, 0, 0),
            ]
        };
        let mut left = (tests.len() + verdict.len()) as i16;
        for (register, value) in tests {
            left -= 1;
            program.push(op(JNE_IMM, register, 0, left, value));
        }
        program.extend(verdict);
    }
    program.extend([op(MOV_IMM, RESULT, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}
