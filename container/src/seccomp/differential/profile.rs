//! Random profiles, and what they say of calls.

use serde_json::{Value, json};

use super::oracle::token;
use crate::seccomp::arch::{ARCHITECTURES, Architecture, X32_BIT};
use crate::seccomp::syscalls::SYSCALLS;

/// Actions with their numbers.
const DEFAULTS: [(&str, u32); 8] = [
    ("SCMP_ACT_ERRNO", 0x0005_0001),
    ("SCMP_ACT_ERRNO", 0x0005_0026),
    ("SCMP_ACT_ALLOW", 0x7fff_0000),
    ("SCMP_ACT_KILL_THREAD", 0),
    ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
    ("SCMP_ACT_TRAP", 0x0003_0000),
    ("SCMP_ACT_LOG", 0x7ffc_0000),
    ("SCMP_ACT_TRACE", 0x7ff0_0001),
];
const OPERATORS: [&str; 8] = ["", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const MASKED: usize = 7;

/// Numbers that look random and are the same every time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// A value of an argument, with a liking for those near which mistakes are.
    pub(super) fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => self.next(),
            1 => u64::MAX - self.below(3) as u64,
            2 => u64::from(u32::MAX) - 1 + self.below(3) as u64,
            3 => (self.below(3) as u64) << 32 | self.below(8) as u64,
            _ => self.below(8) as u64,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Condition {
    pub(super) argument: usize,
    pub(super) operator: usize,
    pub(super) a: u64,
    pub(super) b: u64,
}

pub(super) struct Rule {
    pub(super) row: usize,
    pub(super) action: (&'static str, u32),
    pub(super) conditions: Vec<Condition>,
}

pub(super) struct Profile {
    pub(super) default: (&'static str, u32),
    pub(super) architectures: Vec<&'static Architecture>,
    pub(super) rules: Vec<Rule>,
}

/// What a profile says of a call.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) verdict: u32,
    /// Not for a rule, but for being newer than all rules.
    pub(super) hidden: bool,
    /// The actions of other rules that match as well.
    pub(super) rivals: Vec<u32>,
    /// How many cases with conditions there are for the call, whether they match or not.
    pub(super) cases: usize,
}

impl Profile {
    pub(super) fn random(random: &mut Random) -> Profile {
        let mut architectures = vec![Architecture::native()];
        let others: &[&str] = match random.below(4) {
            0 => &[],
            1 => &["X86"],
            2 => &["X86", "X32"],
            _ => &["X86", "X32", "ARM", "AARCH64", "RISCV64", "PPC64LE", "MIPSEL", "MIPSEL64N32"],
        };
        for name in others {
            let found = ARCHITECTURES.iter().find(|a| a.name == format!("SCMP_ARCH_{name}")).unwrap();
            if !random.one_in(3) && !architectures.contains(&found) && architectures.len() < 8 {
                architectures.push(found);
            }
        }
        // Few names make rules meet.
        let names: Vec<usize> = (0..[2, 10, 300][random.below(3)]).map(|_| random.below(SYSCALLS.len())).collect();
        let actions = [*random.of(&DEFAULTS), *random.of(&DEFAULTS), *random.of(&DEFAULTS)];
        let (kinds, conditional) = ([1, 1, 3][random.below(3)], !random.one_in(3));
        let arguments = 1 + random.below(3);
        let count = [3, 10, 40, 400][random.below(4)];
        let rules = (0..1 + random.below(count)).map(|_| {
            let conditions = if conditional && !random.one_in(3) { 1 + random.below(3) } else { 0 };
            Rule {
                row: *random.of(&names),
                action: actions[random.below(kinds)],
                conditions: (0..conditions)
                    .map(|_| Condition {
                        argument: random.below(arguments),
                        operator: 1 + random.below(MASKED),
                        a: random.value(),
                        b: random.value(),
                    })
                    .collect(),
            }
        });
        let rules = rules.collect();
        Profile { default: *random.of(&DEFAULTS), architectures, rules }
    }

    pub(super) fn json(&self) -> Value {
        let errno = |action: (&str, u32)| match action.0 {
            "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE" => json!(action.1 & 0xffff),
            _ => Value::Null,
        };
        let arg = |c: &Condition| json!({"index": c.argument, "value": c.a, "valueTwo": c.b, "op": format!("SCMP_CMP_{}", OPERATORS[c.operator])});
        let rule = |rule: &Rule| {
            let args: Vec<Value> = rule.conditions.iter().map(arg).collect();
            json!({
                "names": [SYSCALLS[rule.row].0], "action": rule.action.0, "errnoRet": errno(rule.action), "args": args,
            })
        };
        json!({
            "defaultAction": self.default.0,
            "defaultErrnoRet": errno(self.default),
            "architectures": self.architectures.iter().map(|a| a.name).collect::<Vec<_>>(),
            "syscalls": self.rules.iter().map(rule).collect::<Vec<_>>(),
        })
    }

    /// The same for the oracle, as runc would tell libseccomp.
    pub(super) fn lines(&self) -> String {
        let mut lines = format!("filter {:x}\n", self.default.1);
        for architecture in &self.architectures {
            lines += &format!("arch {:x}\n", token(architecture));
        }
        for rule in &self.rules {
            for case in rule.cases() {
                let action = if rule.action.1 == self.default.1 { u32::MAX } else { rule.action.1 };
                lines += &format!("rule {action:x} {} {:x}", SYSCALLS[rule.row].0, case.len());
                for c in case {
                    lines += &format!(" {:x} {:x} {:x} {:x}", c.argument, c.operator, c.a, c.b);
                }
                lines.push('\n');
            }
        }
        lines + "end\n"
    }

    /// What a person needs to know to judge a call.
    pub(super) fn about(&self, audit: u32, number: u32, args: [u64; 6]) -> String {
        let mut about =
            format!("default {}, {} rules, {audit:#x} {number:#x} {args:x?}", self.default.0, self.rules.len());
        for rule in &self.rules {
            let is_it = |a: &&Architecture| {
                a.number(rule.row) == Some(number) || a.stand_in(rule.row).is_some_and(|(other, _)| other == number)
            };
            if self.architecture(audit, number).is_some_and(|a| is_it(&a)) {
                about += &format!("\n  {} {}", SYSCALLS[rule.row].0, rule.action.0);
                for c in &rule.conditions {
                    about += &format!(", {} {} {:#x} {:#x}", c.argument, OPERATORS[c.operator], c.a, c.b);
                }
            }
        }
        about
    }

    /// The architecture that a call is of, if the profile has it.
    pub(super) fn architecture(&self, audit: u32, number: u32) -> Option<&'static Architecture> {
        let x32 = Architecture::x32_of(audit).filter(|_| number >= X32_BIT);
        let matches = |a: &&&Architecture| a.audit == audit && (a.base == X32_BIT) == x32.is_some();
        self.architectures.iter().find(matches).copied()
    }

    pub(super) fn judge(&self, audit: u32, number: u32, args: [u64; 6]) -> Judgement {
        let judgement = |verdict| Judgement { verdict, hidden: false, rivals: vec![], cases: 0 };
        if number == u32::MAX && self.architectures.iter().any(|a| a.audit == audit) {
            return judgement(self.default.1);
        }
        let Some(architecture) = self.architecture(audit, number) else { return judgement(0) };
        let mut matching = Vec::new();
        let (mut highest, mut cases) = (None, 0);
        for rule in &self.rules {
            let (direct, other) = (architecture.number(rule.row), architecture.stand_in(rule.row));
            highest = highest.max(direct).max(other.map(|(number, _)| number));
            let says = rule.action.1 != self.default.1;
            for case in rule.cases().iter().filter(|_| says) {
                let mut case: Vec<Condition> = case.iter().copied().filter(|c| c.counts(architecture.wide)).collect();
                if direct == Some(number) {
                    if case.is_empty() {
                        return judgement(rule.action.1);
                    }
                    cases += 1;
                    if case.iter().all(|c| c.holds(args, architecture.wide)) {
                        matching.push(rule.action.1);
                    }
                }
                if let Some((_, part)) = other.filter(|(stand_in, _)| *stand_in == number) {
                    cases += 1;
                    case.retain(|c| c.argument != 0);
                    case.push(Condition { argument: 0, operator: 4, a: part, b: 0 });
                    if case.iter().all(|c| c.holds(args, architecture.wide)) {
                        matching.push(rule.action.1);
                    }
                }
            }
        }
        let permissive = matches!(self.default.0, "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" | "SCMP_ACT_TRACE");
        match matching.split_first() {
            Some((&verdict, rivals)) => {
                let rivals = rivals.iter().copied().filter(|&rival| rival != verdict).collect();
                Judgement { verdict, hidden: false, rivals, cases }
            }
            None if !permissive && highest.is_some_and(|highest| number > highest) => {
                Judgement { verdict: 0x0005_0000 | libc::ENOSYS as u32, hidden: true, rivals: vec![], cases }
            }
            None => Judgement { cases, ..judgement(self.default.1) },
        }
    }
}

impl Rule {
    /// What must hold together.
    fn cases(&self) -> Vec<&[Condition]> {
        let mut seen = [0; 6];
        self.conditions.iter().for_each(|c| seen[c.argument] += 1);
        match seen.iter().any(|&n| n > 1) {
            true => self.conditions.chunks(1).collect(),
            false => vec![&self.conditions],
        }
    }
}

impl Condition {
    /// Whether there is anything to compare.
    fn counts(&self, wide: bool) -> bool {
        self.operator != MASKED || (if wide { self.a } else { self.a & 0xffff_ffff }) != 0
    }

    fn holds(&self, args: [u64; 6], wide: bool) -> bool {
        let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
        let (arg, a) = (cut(args[self.argument]), cut(self.a));
        match self.operator {
            1 => arg != a,
            2 => arg < a,
            3 => arg <= a,
            4 => arg == a,
            5 => arg >= a,
            6 => arg > a,
            _ => arg & a == cut(self.b) & a,
        }
    }
}
