//! Our filters and libseccomp's, made of the same random profiles and asked about the same random calls.
//!
//! A third opinion is [`Profile::judge`], which does nothing but look for rules that match. Ours must always be of that
//! opinion. libseccomp must, too, with three exceptions: new calls are hidden by us, as runc does it on top of
//! libseccomp; among rules with conditions and different actions that match the same call, libseccomp chooses by the
//! shape of its trees, where we take the first; and in rare cases, counted below, its trees lose one of several conditions
//! on the same call, such as « chdir: 0 MASKED_EQ 0xfffffffe 2 » beside « chdir: 1 EQ 7, 0 NE 2 ».

mod oracle;
mod profile;

use oracle::Oracle;
use profile::{Profile, Random};

use super::arch::{ARCHITECTURES, Architecture, X32_BIT};
use super::syscalls::SYSCALLS;
use super::tests::{data, run};
use super::{Filter, assemble};

/// Whether what the comparison needs is installed; said aloud when not.
fn has_libseccomp() -> bool {
    let there = std::path::Path::new("/usr/include/seccomp.h").exists();
    support::need::check(there, "libseccomp-dev")
}

#[test]
fn numbers_are_those_of_libseccomp() {
    if !has_libseccomp() {
        return;
    }
    let mut oracle = Oracle::new();
    // So are architectures.
    let heard_of = ARCHITECTURES.iter().filter(|a| oracle.number(a, "read") >= 0).map(|a| a.name);
    let heard_of: Vec<&str> = heard_of.collect();
    assert!(heard_of.len() >= 17, "{heard_of:?}");
    let mut compared = 0;
    for (index, (name, _)) in SYSCALLS.iter().enumerate() {
        // What it has never heard of is newer than it is.
        if oracle.number(Architecture::native(), name) == -1 {
            continue;
        }
        for architecture in ARCHITECTURES.iter().filter(|a| heard_of.contains(&a.name)) {
            let theirs = oracle.number(architecture, name);
            // Those it finds behind others have no number there.
            let ours = architecture.number(index).filter(|_| architecture.stand_in(index).is_none());
            if theirs >= 0 || ours.is_some() {
                compared += 1;
                // x32 had that one later than others.
                let later = *name == "map_shadow_stack" && architecture.base == X32_BIT;
                assert!(later || ours == u32::try_from(theirs).ok(), "{name} on {}", architecture.name);
            }
        }
    }
    assert!(compared > 4000, "{compared}");
}

#[test]
fn verdicts_are_those_of_libseccomp() {
    if !has_libseccomp() {
        return;
    }
    let mut random = Random(0x5ecc_0de5);
    let mut oracle = Oracle::new();
    let known: Vec<bool> = SYSCALLS.iter().map(|(name, _)| oracle.number(Architecture::native(), name) != -1).collect();
    let (mut same, mut several, mut lost, mut hidden, mut rivals, mut refused) = (0, 0, 0, 0, 0, 0);
    for n in 0..3000 {
        let mut profile = Profile::random(&mut random);
        // It has the first not yet on x32, and takes the second for another call on powerpc.
        let wrong = ["map_shadow_stack", "sys_debug_setcontext"];
        profile.rules.retain(|rule| known[rule.row] && !wrong.contains(&SYSCALLS[rule.row].0));
        let ours = match Filter::compile(&serde_json::from_value(profile.json()).unwrap()) {
            Ok(filter) => filter,
            Err(e) => panic!("profile {n}: {e}"),
        };
        assert!(assemble::is_valid(ours.program()), "profile {n}");
        let (theirs, highest) = oracle.filter(&profile);
        for _ in 0..200 {
            let (audit, number, args) = call(&mut random, &profile);
            let judgement = profile.judge(audit, number, args);
            let data = data(audit, number, args);
            let what = || format!("profile {n}: {}", profile.about(audit, number, args));
            assert_eq!(run(ours.program(), &data), judgement.verdict, "ours, {}", what());
            let Some(theirs) = &theirs else {
                refused += 1;
                continue;
            };
            let verdict = run(theirs, &data);
            if judgement.hidden {
                hidden += 1;
                assert_eq!(verdict, profile.default.1, "theirs, {}", what());
                let place = profile.architectures.iter().position(|a| Some(*a) == profile.architecture(audit, number));
                assert!(i64::from(number) > i64::from(highest[place.unwrap()]), "hidden, {}", what());
            } else if !judgement.rivals.is_empty() {
                rivals += 1;
            } else if judgement.cases > 1 {
                several += 1;
                lost += usize::from(verdict != judgement.verdict);
            } else {
                same += 1;
                assert_eq!(verdict, judgement.verdict, "theirs, {}", what());
            }
        }
    }
    println!(
        "{same} calls judged the same, {several} with several conditional cases ({lost} of them differently), \
         {hidden} hidden, {rivals} with rival rules, {refused} refused by libseccomp"
    );
    assert!(same > 400_000 && several > 20_000 && hidden > 20_000, "{same}, {several}, {hidden}");
    assert!(lost * 100 < several, "{lost} of {several}");
}

/// A call that the profile may have something to say about.
fn call(random: &mut Random, profile: &Profile) -> (u32, u32, [u64; 6]) {
    let architecture = *random.of(&profile.architectures);
    let mut args: [u64; 6] = std::array::from_fn(|_| random.value());
    let mut number = match random.below(20) {
        0 => u32::MAX - random.below(2) as u32,
        1 => X32_BIT - 1 + random.below(3) as u32,
        2 => random.next() as u32,
        _ => random.below(480) as u32,
    };
    if !profile.rules.is_empty() && !random.one_in(5) {
        let rule = random.of(&profile.rules);
        let stand_in = architecture.stand_in(rule.row);
        if let Some(named) = architecture.number(rule.row).or(stand_in.map(|(number, _)| number)) {
            number = if random.one_in(10) { named.wrapping_add(1) } else { named };
        }
        if let Some((other, part)) = stand_in.filter(|_| random.one_in(2)) {
            (number, args[0]) = (other, part);
        }
        for c in &rule.conditions {
            let near = [c.a, c.b, c.a.wrapping_add(1), c.a.wrapping_sub(1), c.b | !c.a, c.a ^ 1 << 32];
            if !(number == 102 || number == 117) || c.argument != 0 {
                args[c.argument] = *random.of(&near);
            }
        }
    }
    let audit = if random.one_in(40) { 0x8000_0016 } else { architecture.audit };
    (audit, number, args)
}
