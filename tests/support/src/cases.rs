//! Tests that share something expensive, such as a daemon: run one after the other, told as the usual test runner does.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A test and its name.
pub type Case<T> = (&'static str, fn(&T));

/// Names the cases of a file: `cases![starts, ends]`.
#[macro_export]
macro_rules! cases {
    ($($name:ident),+ $(,)?) => { &[$((stringify!($name), $name as fn(&_))),+] };
}

/// Runs the cases that the command line asks for, all without a word there; `after` runs between them.
/// Returns whether all went well.
pub fn run<T>(shared: &T, cases: &[Case<T>], after: impl Fn(&T)) -> bool {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut failed = Vec::new();
    let mut passed = 0;
    for (name, case) in cases.iter().filter(|(name, _)| wanted(name)) {
        let began = std::time::Instant::now();
        // What a case broke is put right by `after`.
        let ended = catch_unwind(AssertUnwindSafe(|| case(shared)));
        after(shared);
        match ended {
            Ok(()) => passed += 1,
            Err(_) => failed.push(*name),
        }
        let verdict = if ended_well(&failed, name) { "ok" } else { "FAILED" };
        say(&format!("test {name} ... {verdict} ({:.1} s)", began.elapsed().as_secs_f32()));
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    for name in &failed {
        say(&format!("failed: {name}"));
    }
    say(&format!("test result: {verdict}. {passed} passed; {} failed; 0 ignored", failed.len()));
    failed.is_empty()
}

fn ended_well(failed: &[&str], name: &str) -> bool {
    failed.last() != Some(&name)
}

fn say(line: &str) {
    // Nobody reads it: then nobody is told.
    let _ = writeln!(std::io::stdout(), "{line}");
}
