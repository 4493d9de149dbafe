//! From a decision graph to instructions.
//!
//! The program is written from its end to its start, as jumps lead forwards only: where they lead is then known. A
//! conditional jump reaches 255 instructions far, so a verdict further away is repeated and a test further away is
//! reached through an unconditional jump.

use super::graph::{Comparison, Graph, Id, Node, Test};
use crate::sys::seccomp::Instruction;

/// The longest program the kernel takes: `BPF_MAXINSNS` of linux/bpf_common.h.
pub(super) const LONGEST: usize = 4096;

// linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// A node can be entered with its word already in the accumulator, or not.
#[derive(Clone, Copy, Debug, Default)]
struct Entries<T> {
    loaded: T,
    unloaded: T,
}

struct Assembler<'a> {
    nodes: &'a [Node],
    /// In reverse.
    code: Vec<Instruction>,
    /// Where in `code` nodes are.
    places: Vec<Entries<Option<usize>>>,
}

/// The program that starts at `start`.
pub(super) fn assemble(graph: &Graph, start: Id) -> Vec<Instruction> {
    let nodes = graph.nodes();
    let needed = needed(nodes, start);
    let mut assembler = Assembler { nodes, code: Vec::new(), places: vec![Entries::default(); nodes.len()] };
    for (index, node) in nodes.iter().enumerate() {
        match node {
            _ if !needed[index].loaded && !needed[index].unloaded => {}
            Node::Verdict(value) => {
                let place = Some(assembler.push(RETURN, *value));
                assembler.places[index] = Entries { loaded: place, unloaded: place };
            }
            Node::Test(test) => assembler.test(index, test, needed[index].unloaded),
        }
    }
    assembler.code.reverse();
    assembler.code
}

/// Whether the accumulator still has what `next` tests after `test`.
fn keeps(test: &Test, next: &Node) -> bool {
    matches!(next, Node::Test(next) if next.word == test.word && next.mask == test.mask)
}

/// Which entries of which nodes are used.
fn needed(nodes: &[Node], start: Id) -> Vec<Entries<bool>> {
    let mut needed = vec![Entries::default(); nodes.len()];
    needed[start.0].unloaded = true;
    // Ways lead to lower numbers only.
    for index in (0..nodes.len()).rev() {
        let (Node::Test(test), true) = (&nodes[index], needed[index].loaded || needed[index].unloaded) else {
            continue;
        };
        for next in [test.yes, test.no] {
            if keeps(test, &nodes[next.0]) {
                needed[next.0].loaded = true;
            } else {
                needed[next.0].unloaded = true;
            }
        }
    }
    needed
}

impl Assembler<'_> {
    fn push(&mut self, code: u16, value: u32) -> usize {
        self.code.push(Instruction { code, yes: 0, no: 0, value });
        self.code.len() - 1
    }

    fn test(&mut self, index: usize, test: &Test, load: bool) {
        let (yes, no) = loop {
            let (yes, no) = (self.distance(test, test.yes), self.distance(test, test.no));
            match (u8::try_from(yes), u8::try_from(no)) {
                (Ok(yes), Ok(no)) => break (yes, no),
                (Err(_), _) => self.bring_near(test, test.yes),
                (_, Err(_)) => self.bring_near(test, test.no),
            }
        };
        let code = match test.comparison {
            Comparison::Equal => JUMP_EQUAL,
            Comparison::AtLeast => JUMP_AT_LEAST,
        };
        self.code.push(Instruction { code, yes, no, value: test.value });
        self.places[index].loaded = Some(self.code.len() - 1);
        if load {
            if test.mask != u32::MAX {
                self.push(AND, test.mask);
            }
            self.places[index].unloaded = Some(self.push(LOAD_WORD, test.word));
        }
    }

    fn place(&mut self, test: &Test, next: Id) -> &mut Option<usize> {
        let places = &mut self.places[next.0];
        if keeps(test, &self.nodes[next.0]) { &mut places.loaded } else { &mut places.unloaded }
    }

    /// How many instructions to skip from the one to be written next.
    fn distance(&mut self, test: &Test, next: Id) -> usize {
        let here = self.code.len();
        // Nodes are written after those they lead to.
        self.place(test, next).map_or(usize::MAX, |place| here - 1 - place)
    }

    /// Makes a node reachable right here.
    fn bring_near(&mut self, test: &Test, next: Id) {
        let (node, distance) = (self.nodes[next.0], self.distance(test, next));
        let place = match node {
            Node::Verdict(value) => self.push(RETURN, value),
            Node::Test(_) => self.push(JUMP, distance as u32),
        };
        match node {
            Node::Verdict(_) => self.places[next.0] = Entries { loaded: Some(place), unloaded: Some(place) },
            Node::Test(_) => *self.place(test, next) = Some(place),
        }
    }
}

/// Whether the kernel would take it: every jump stays inside, every way ends with a verdict.
pub(super) fn is_valid(program: &[Instruction]) -> bool {
    // The last offset of `struct seccomp_data` that holds a word.
    const LAST_WORD: u32 = 60;
    if program.is_empty() || program.len() > LONGEST || program[program.len() - 1].code != RETURN {
        return false;
    }
    program.iter().enumerate().all(|(i, instruction)| {
        let left = program.len() - i - 1;
        match instruction.code {
            LOAD_WORD => instruction.value <= LAST_WORD && instruction.value % 4 == 0,
            AND | RETURN => true,
            JUMP => (instruction.value as usize) < left,
            JUMP_EQUAL | JUMP_AT_LEAST => usize::from(instruction.yes.max(instruction.no)) < left,
            _ => false,
        }
    })
}
