//! Device rules for the `devices` controller: a default, and exceptions from it.

use super::{ALL, Kind, MKNOD, READ, Rule, WRITE};
use crate::cgroup::plan::Write;
use crate::cgroup::{Error, Result};

/// What the kernel keeps: for each kind a default for all devices, and what deviates from it.
///
/// The kernel has one default for both kinds, so a rule about everything of one kind is an exception there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct State {
    pub allow: bool,
    /// All with `allow` opposite to the default.
    pub exceptions: Vec<Rule>,
}

/// The writes that take a fresh cgroup, whatever it inherited, to the state the rules describe.
pub(in crate::cgroup) fn writes(rules: &[Rule]) -> Result<Vec<Write>> {
    let state = reduce(rules)?;
    let field = |rule: Option<usize>| match rule {
        Some(index) => format!("devices[{index}]"),
        None => "devices".to_owned(),
    };
    let file = |allow| if allow { "devices.allow" } else { "devices.deny" };
    let mut writes = vec![Write::new("devices", file(state.allow), "a")];
    for rule in &state.exceptions {
        let write = Write::new(field(rule.index), file(rule.allow), text(rule));
        // In a nested container the parent may not have all the defaults, and cannot pass them on.
        writes.push(if rule.index.is_none() { write.optional() } else { write });
    }
    Ok(writes)
}

/// Plays the rules through, the last one to speak about an access deciding.
pub(super) fn reduce(rules: &[Rule]) -> Result<State> {
    let mut state = State::default();
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        // "a *:* rwm" comes as a rule for each kind, one after the other.
        let both = rules.get(at + 1).is_some_and(|next| {
            rule.is_everything() && next.is_everything() && rule.kind != next.kind && rule.allow == next.allow
        });
        if both {
            state = State { allow: rule.allow, exceptions: Vec::new() };
            at += 2;
            continue;
        }
        at += 1;
        if rule.allow == state.allow {
            withdraw(&mut state.exceptions, rule)?;
        } else {
            add(&mut state.exceptions, *rule);
        }
    }
    widen(&mut state.exceptions);
    Ok(state)
}

/// The kernel allows a request when one exception has all of it, so each also says what those around it say.
fn widen(exceptions: &mut [Rule]) {
    for at in 0..exceptions.len() {
        let around = exceptions.iter().filter(|e| e.covers(&exceptions[at]));
        exceptions[at].access = around.fold(0, |access, e| access | e.access);
    }
}

/// Takes what `rule` covers out of the exceptions.
fn withdraw(exceptions: &mut Vec<Rule>, rule: &Rule) -> Result<()> {
    for exception in exceptions.iter_mut().filter(|e| e.meets(rule) && e.access & rule.access != 0) {
        if !rule.covers(exception) {
            let field = match rule.index.or(exception.index) {
                Some(index) => format!("linux.resources.devices[{index}]"),
                None => "linux.resources.devices".to_owned(),
            };
            let rule = format!("cgroup v1 cannot make an exception from the exception {:?}", text(exception));
            return Err(Error::invalid(field, rule));
        }
        exception.access &= !rule.access;
    }
    exceptions.retain(|e| e.access != 0);
    Ok(())
}

fn add(exceptions: &mut Vec<Rule>, rule: Rule) {
    match exceptions.iter_mut().find(|e| e.covers(&rule) && rule.covers(e)) {
        Some(same) => *same = Rule { access: same.access | rule.access, ..rule },
        None => exceptions.push(rule),
    }
}

fn text(rule: &Rule) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let kind = if rule.kind == Kind::Block { 'b' } else { 'c' };
    let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| rule.access & ALL & bit != 0)
        .map(|(_, letter)| *letter)
        .collect();
    format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
}
