//! Filters as decision graphs: tests with two ways out, and verdicts.
//!
//! Equal nodes are one node, so whatever two architectures or two system calls have in common exists once. A node is
//! made after those it leads to, so numbers of nodes fall on every way from the start to a verdict.

use std::collections::BTreeMap;

/// A node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) usize);

/// A test of a word of `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Test {
    /// The word's offset.
    pub(super) word: u32,
    /// What the word is and-ed with first.
    pub(super) mask: u32,
    pub(super) comparison: Comparison,
    pub(super) value: u32,
    /// Where to go when it holds.
    pub(super) yes: Id,
    /// And when not.
    pub(super) no: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Comparison {
    Equal,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Verdict(u32),
    Test(Test),
}

/// Values from some number on, up to the next piece, lead to a node.
pub(super) type Piece<T> = (T, Id);

/// As many single values are compared one by one; more are searched for.
const BUCKET: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    known: BTreeMap<Node, Id>,
}

impl Graph {
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn node(&mut self, node: Node) -> Id {
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            Id(self.nodes.len() - 1)
        })
    }

    /// The end with this value for the kernel.
    pub(super) fn verdict(&mut self, value: u32) -> Id {
        self.node(Node::Verdict(value))
    }

    pub(super) fn test(&mut self, test: Test) -> Id {
        if test.yes == test.no { test.yes } else { self.node(Node::Test(test)) }
    }

    /// `yes` when the word is this value under the mask.
    pub(super) fn equal(&mut self, word: u32, mask: u32, value: u32, yes: Id, no: Id) -> Id {
        if mask == 0 {
            return if value == 0 { yes } else { no };
        }
        self.test(Test { word, mask, comparison: Comparison::Equal, value, yes, no })
    }

    /// Looks the word up in `pieces`, which are sorted, start at 0 and differ from one to the next.
    pub(super) fn switch(&mut self, word: u32, pieces: &[Piece<u32>]) -> Id {
        self.part(word, pieces, None)
    }

    /// `end` is where the piece after the last one starts, none at the end of all numbers.
    fn part(&mut self, word: u32, pieces: &[Piece<u32>], end: Option<u32>) -> Id {
        if let Some(id) = self.few_values(word, pieces, end) {
            return id;
        }
        let (low, high) = pieces.split_at(pieces.len() / 2);
        let value = high[0].0;
        let yes = self.part(word, high, end);
        let no = self.part(word, low, Some(value));
        self.test(Test { word, mask: u32::MAX, comparison: Comparison::AtLeast, value, yes, no })
    }

    /// When all but a few single values lead to the same node.
    fn few_values(&mut self, word: u32, pieces: &[Piece<u32>], end: Option<u32>) -> Option<Id> {
        if pieces.len() == 1 {
            return Some(pieces[0].1);
        }
        if pieces.len() > 2 * BUCKET + 1 {
            return None;
        }
        let single = |i: usize| match pieces.get(i + 1).map(|p| p.0).or(end) {
            Some(next) => next - pieces[i].0 == 1,
            None => pieces[i].0 == u32::MAX,
        };
        // Neighbours differ, so what is common is every second piece. The odd ones first: then it is more of them.
        let common = (0..2).find(|&common| {
            let same = |i: usize| pieces[i].1 == pieces[common].1;
            (0..pieces.len()).all(|i| if i % 2 == common { same(i) } else { single(i) })
        })?;
        let values = pieces.iter().enumerate().filter(|(i, _)| i % 2 != common).map(|(_, piece)| *piece);
        let values: Vec<Piece<u32>> = values.collect();
        if values.len() > BUCKET {
            return None;
        }
        let no = pieces[common].1;
        Some(values.iter().rev().fold(no, |no, &(value, yes)| self.equal(word, u32::MAX, value, yes, no)))
    }

    /// Looks a number of two words up in `pieces`, as [`Graph::switch`] does.
    pub(super) fn switch_wide(&mut self, low: u32, high: u32, pieces: &[Piece<u64>]) -> Id {
        let upper = |piece: &Piece<u64>| (piece.0 >> 32) as u32;
        let mut words: Vec<Piece<u32>> = vec![(0, pieces[0].1)];
        let mut before = pieces[0].1;
        for group in pieces.chunk_by(|a, b| upper(a) == upper(b)) {
            let value = upper(&group[0]);
            let mut lower: Vec<Piece<u32>> = Vec::with_capacity(group.len() + 1);
            if group[0].0 as u32 != 0 {
                lower.push((0, before));
            }
            lower.extend(group.iter().map(|&(start, id)| (start as u32, id)));
            let id = self.switch(low, &lower);
            before = group[group.len() - 1].1;
            append(&mut words, (value, id));
            if let Some(next) = value.checked_add(1) {
                append(&mut words, (next, before));
            }
        }
        self.switch(high, &words)
    }
}

/// Adds a piece at the end, in place of one with the same start, and not at all if it changes nothing.
pub(super) fn append<T: PartialEq>(pieces: &mut Vec<Piece<T>>, piece: Piece<T>) {
    if pieces.last().is_some_and(|last| last.0 == piece.0) {
        pieces.pop();
    }
    if pieces.last().is_none_or(|last| last.1 != piece.1) {
        pieces.push(piece);
    }
}
