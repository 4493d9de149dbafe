//! From a profile to a decision graph.
//!
//! The order of questions is architecture, number, arguments. Numbers are looked up in a balanced tree of ranges, not
//! of single numbers: a profile that allows most calls has few of them.

use std::collections::BTreeMap;

use super::arch::{Architecture, X32_BIT};
use super::graph::{Graph, Id, Piece, append};
use super::profile::{Case, Condition, ERRNO, KILL_THREAD, Operator, Profile};

// Offsets in `struct seccomp_data` of linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A number that tracers give to calls that are not to happen: never one to hide, whatever else it looks like.
const SKIPPED: u32 = u32::MAX;

/// One thing said of the call with this number.
struct Rule {
    number: u32,
    action: u32,
    case: Case,
}

/// Builds the graph; returns where it starts.
pub(super) fn compile(profile: &Profile) -> (Graph, Id) {
    let mut graph = Graph::default();
    // What no architecture of the profile accounts for.
    let foreign = graph.verdict(KILL_THREAD);
    let mut kinds: Vec<u32> = Vec::new();
    for architecture in &profile.architectures {
        if !kinds.contains(&architecture.audit) {
            kinds.push(architecture.audit);
        }
    }
    let mut start = foreign;
    // The native one is the first, and should be the first to be asked for.
    for &kind in kinds.iter().rev() {
        let section = section(&mut graph, profile, kind, foreign);
        start = graph.equal(ARCHITECTURE, u32::MAX, kind, section, start);
    }
    (graph, start)
}

/// The part for one `AUDIT_ARCH_*`, which x86_64 and x32 share.
fn section(graph: &mut Graph, profile: &Profile, audit: u32, foreign: Id) -> Id {
    let default = graph.verdict(profile.default);
    let mut pieces: Vec<Piece<u32>> = Vec::new();
    let of_kind = profile.architectures.iter().copied().filter(|a| a.audit == audit);
    match Architecture::x32_of(audit) {
        None => of_kind.for_each(|architecture| numbers(graph, profile, architecture, &mut pieces, 0)),
        Some(x32) => {
            let (others, with_bit): (Vec<_>, Vec<_>) = of_kind.partition(|a| *a != x32);
            for (list, start) in [(others, 0), (with_bit, X32_BIT)] {
                match list.first() {
                    Some(architecture) => numbers(graph, profile, architecture, &mut pieces, start),
                    None => append(&mut pieces, (start, foreign)),
                }
            }
        }
    }
    append(&mut pieces, (SKIPPED, default));
    graph.switch(NUMBER, &pieces)
}

/// Appends what the numbers of an architecture, from `start` on, lead to.
fn numbers(
    graph: &mut Graph,
    profile: &Profile,
    architecture: &Architecture,
    pieces: &mut Vec<Piece<u32>>,
    start: u32,
) {
    let default = graph.verdict(profile.default);
    let (rules, highest) = rules(profile, architecture);
    append(pieces, (start, default));
    for of_call in rules.chunk_by(|a, b| a.number == b.number) {
        let number = of_call[0].number;
        let id = arguments(graph, architecture, of_call, default);
        append(pieces, (number, id));
        append(pieces, (number + 1, default));
    }
    if let (true, Some(highest)) = (profile.hides_new_calls(), highest) {
        let unknown = graph.verdict(ERRNO | libc::ENOSYS as u32);
        append(pieces, (highest + 1, unknown));
    }
}

/// What is said of calls of an architecture, by number and then in the configuration's order; and the highest number
/// that is named, whatever is said of it.
fn rules(profile: &Profile, architecture: &Architecture) -> (Vec<Rule>, Option<u32>) {
    let mut rules = Vec::new();
    let mut highest = None;
    for call in &profile.calls {
        for &row in &call.rows {
            let (number, stand_in) = (architecture.number(row), architecture.stand_in(row));
            highest = highest.max(number).max(stand_in.map(|(number, _)| number));
            for case in &call.cases {
                let case: Case = case.iter().filter_map(|&condition| narrow(condition, architecture.wide)).collect();
                if let Some((number, part)) = stand_in {
                    // The arguments themselves are in memory, out of a filter's reach, all but the kind of call. The
                    // conditions on the others are kept as they are, since other compilers do.
                    let mut case: Case = case.iter().copied().filter(|c| c.argument != 0).collect();
                    case.insert(0, Condition { argument: 0, operator: Operator::Equal, value: part });
                    rules.push(Rule { number, action: call.action, case });
                }
                if let Some(number) = number {
                    rules.push(Rule { number, action: call.action, case });
                }
            }
        }
    }
    rules.sort_by_key(|rule| rule.number);
    (rules, highest)
}

/// The condition as far as arguments of this width can meet it; none when they always do.
fn narrow(condition: Condition, wide: bool) -> Option<Condition> {
    let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let value = condition.value & width;
    let operator = match condition.operator {
        Operator::Masked(mask) if mask & width == 0 => return None,
        Operator::Masked(mask) => Operator::Masked(mask & width),
        other => other,
    };
    Some(Condition { value, operator, ..condition })
}

/// What to do about a call, from its arguments. What is said without conditions counts before all else, and otherwise
/// what is said first.
fn arguments(graph: &mut Graph, architecture: &Architecture, rules: &[Rule], default: Id) -> Id {
    if let Some(always) = rules.iter().find(|rule| rule.case.is_empty()) {
        return graph.verdict(always.action);
    }
    let mut rules: Vec<&Rule> = rules.iter().collect();
    if rules.iter().all(|rule| rule.action == rules[0].action) {
        // Then the order means nothing, and neighbours on the same argument can be searched for together.
        rules.sort_by_key(|rule| lone_range(rule));
    }
    let mut next = default;
    let groups: Vec<&[&Rule]> =
        rules.chunk_by(|a, b| lone_range(a).is_some() && lone_range(a) == lone_range(b)).collect();
    for group in groups.iter().rev() {
        next = match lone_range(group[0]) {
            Some(argument) => ranges(graph, architecture, argument, group, next),
            None => {
                let action = graph.verdict(group[0].action);
                let case = group[0].case.iter().rev();
                case.fold(action, |yes, condition| one(graph, architecture, condition, yes, next))
            }
        };
    }
    next
}

/// The argument, when a rule has one condition and that is about a range of values.
fn lone_range(rule: &Rule) -> Option<u32> {
    match rule.case[..] {
        [Condition { operator: Operator::Masked(_), .. }] => None,
        [Condition { argument, .. }] => Some(argument),
        _ => None,
    }
}

/// Rules with one condition each, all on the same argument, by one search.
fn ranges(graph: &mut Graph, architecture: &Architecture, argument: u32, rules: &[&Rule], no: Id) -> Id {
    let mut map = BTreeMap::from([(0, no)]);
    for rule in rules.iter().rev() {
        let action = graph.verdict(rule.action);
        for (first, last) in accepted(&rule.case[0], architecture.wide) {
            // What the value after the last one leads to must stay as it is.
            if let (Some(end), Some((_, &after))) =
                (last.checked_add(1), map.range(..=last.saturating_add(1)).next_back())
            {
                map.insert(end, after);
            }
            map.retain(|start, _| !(first..=last).contains(start));
            map.insert(first, action);
        }
    }
    let mut pieces = Vec::with_capacity(map.len());
    map.into_iter().for_each(|piece| append(&mut pieces, piece));
    lookup(graph, architecture, argument, &pieces)
}

/// One condition.
fn one(graph: &mut Graph, architecture: &Architecture, condition: &Condition, yes: Id, no: Id) -> Id {
    let (low, high) = words(architecture, condition.argument);
    if let Operator::Masked(mask) = condition.operator {
        let yes = graph.equal(low, mask as u32, condition.value as u32, yes, no);
        return match architecture.wide {
            true => graph.equal(high, (mask >> 32) as u32, (condition.value >> 32) as u32, yes, no),
            false => yes,
        };
    }
    let mut pieces = vec![(0, no)];
    for (first, last) in accepted(condition, architecture.wide) {
        append(&mut pieces, (first, yes));
        if let Some(end) = last.checked_add(1) {
            append(&mut pieces, (end, no));
        }
    }
    lookup(graph, architecture, condition.argument, &pieces)
}

fn lookup(graph: &mut Graph, architecture: &Architecture, argument: u32, pieces: &[Piece<u64>]) -> Id {
    let (low, high) = words(architecture, argument);
    if architecture.wide {
        return graph.switch_wide(low, high, pieces);
    }
    // Ranges of the upper half begin where no argument of this width is.
    let narrow: Vec<Piece<u32>> =
        pieces.iter().filter_map(|&(start, id)| Some((u32::try_from(start).ok()?, id))).collect();
    graph.switch(low, &narrow)
}

/// Where the halves of an argument are.
fn words(architecture: &Architecture, argument: u32) -> (u32, u32) {
    let offset = ARGUMENTS + 8 * argument;
    if architecture.big_endian { (offset + 4, offset) } else { (offset, offset + 4) }
}

/// The values that meet a condition, as ranges from first to last. Not for masks.
fn accepted(condition: &Condition, wide: bool) -> Vec<(u64, u64)> {
    let value = condition.value;
    let most = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let below = value.checked_sub(1).map(|last| (0, last));
    let above = Some((value + u64::from(value < most), most)).filter(|_| value < most);
    match condition.operator {
        Operator::Less => below.into_iter().collect(),
        Operator::Greater => above.into_iter().collect(),
        Operator::NotEqual => below.into_iter().chain(above).collect(),
        Operator::LessOrEqual => vec![(0, value)],
        Operator::GreaterOrEqual => vec![(value, most)],
        Operator::Equal | Operator::Masked(_) => vec![(value, value)],
    }
}
